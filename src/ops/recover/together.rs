//! Which other databases take part in a recovery because relations tie their sources to the one that is asked for, and
//! both sides of all of them as one.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::control::Control;
use crate::base::name::Name;
use crate::base::record::Change;
use crate::format::manifest::Manifest;
use crate::ops::databases::Place;
use crate::ops::error::{OpError, Problem};
use crate::ops::live_database::LiveDatabase;
use crate::ops::recover::Request;
use crate::ops::recover::case::live_place;
use crate::ops::show::Part;
use crate::ops::side::Side;
use crate::record::error::RecordError;
use crate::record::model::Model;
use crate::record::several::{Several, called};
use crate::vault::random::Desk;

/// Which other databases take part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Beside {
    /// Those of every source that relations tie to the one that is asked for.
    #[default]
    Tied,
    None,
    /// Those of a plan.
    Planned(Vec<Joined>),
}

/// A database that takes part, by its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    pub source: Name,
    pub live: LiveDatabase,
}

/// The other sources, as one snapshot has them.
pub(super) struct Together<'m> {
    first: Name,
    places: Vec<Place<'m>>,
    /// Sources that relations name and the snapshot does not have.
    absent: Vec<Name>,
    /// Sources whose rows stay out, and why.
    left: Option<(Vec<Name>, &'static str)>,
}

impl<'m> Together<'m> {
    pub fn find(manifest: &'m Manifest, asked: &Place<'_>, request: &Request) -> Result<Self, OpError> {
        let first = asked.source.name.clone();
        let is_there = |name: &Name| manifest.sources.iter().any(|source| source.name == *name);
        let (tied, absent) = request.model.tied(&first, &is_there);
        let (others, absent, left) = match &request.beside {
            Beside::Planned(others) => (others.iter().map(|one| one.source.clone()).collect(), absent, None),
            Beside::Tied if request.into.is_none() => (tied, absent, None),
            Beside::Tied => (Vec::new(), Vec::new(), Some((tied, "--into names one database"))),
            Beside::None => (Vec::new(), Vec::new(), Some((tied, "--alone"))),
        };
        let place = |name: &Name| {
            let part = Part { source: Some(name.to_string()), ..Part::whole() };
            Place::find(manifest, Some(&part)).map_err(of(name))
        };
        let places = others.iter().map(place).collect::<Result<_, _>>()?;
        Ok(Self { first, places, absent, left })
    }

    /// Their databases, as parts of the snapshot.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        self.places.iter().map(Place::part)
    }

    /// What the configuration says of all of them.
    pub fn model(&self, request: &Request) -> Model {
        let there = self.places.iter().map(|place| &place.source.name);
        request.model.of(&self.first, &there.chain(&self.absent).cloned().collect::<Vec<_>>())
    }

    /// What the snapshot has of all of them.
    pub fn side(
        &self,
        asked: &Place<'_>,
        manifest: &Manifest,
        desk: &Arc<Desk>,
        control: &Arc<Control>,
    ) -> Result<Side, OpError> {
        let first = Side::open(asked, manifest, desk, control)?;
        if self.places.is_empty() {
            return Ok(first);
        }
        let mut several = Several::new(Box::new(first), control.clone());
        for place in &self.places {
            let name = &place.source.name;
            let side = Side::open(place, manifest, desk, control).map_err(of(name))?;
            several.add(name.clone(), Box::new(side));
        }
        Ok(Side::Several(several))
    }

    /// Where they live.
    pub fn joined(&self, manifest: &Manifest, request: &Request) -> Result<Vec<Joined>, OpError> {
        if let Beside::Planned(others) = &request.beside {
            let known = |one: &Joined| Joined { live: one.live.clone().known(&request.configured), ..one.clone() };
            return Ok(others.iter().map(known).collect());
        }
        let joined = |place: &Place<'_>| {
            let source = place.source.name.clone();
            let live = live_place(manifest, place, &request.configured, &request.places).map_err(of(&source))?;
            Ok(Joined { source, live })
        };
        self.places.iter().map(joined).collect()
    }

    /// What should be known of sources whose rows stay out.
    pub fn note(&self) -> Option<String> {
        let (left, why) = self.left.as_ref().filter(|(left, _)| !left.is_empty())?;
        let names = left.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        Some(format!("rows of {names}, which relations tie to {}, stay out: {why}", self.first))
    }
}

/// Opens a live database, with others beside it.
pub(super) fn open(
    first: &LiveDatabase,
    others: &[Joined],
    wait: Duration,
    control: &Arc<Control>,
) -> Result<Box<dyn Change>, OpError> {
    if others.is_empty() {
        return Ok(first.open(wait, control).map_err(RecordError::store)?);
    }
    Ok(Box::new(several(first, others, wait, control)?))
}

/// The same, where there are others.
pub(super) fn several(
    first: &LiveDatabase,
    others: &[Joined],
    wait: Duration,
    control: &Arc<Control>,
) -> Result<Several<dyn Change>, OpError> {
    let open = |live: &LiveDatabase| live.open(wait, control).map_err(|error| OpError::from(RecordError::store(error)));
    let mut several = Several::new(open(first)?, control.clone());
    for one in others {
        several.add(one.source.clone(), open(&one.live).map_err(of(&one.source))?);
    }
    Ok(several)
}

/// Are rows of more than one database among these, which are named by their tables?
pub(super) fn are_spread<'n>(mut tables: impl Iterator<Item = &'n String>, others: &[&Name]) -> bool {
    let whose = |table: &String| others.iter().position(|name| table.starts_with(&called(name, "")));
    let first = tables.next().map(whose);
    tables.any(|table| Some(whose(table)) != first)
}

fn of(source: &Name) -> impl Fn(OpError) -> OpError {
    let source_name = source.to_string();
    move |error| Problem::Beside { source_name: source_name.clone(), error: Box::new(error) }.into()
}
