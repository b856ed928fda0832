//! Which table a question about a record is about, through all snapshots.
//!
//! Owns the rule that a server's table is one by its exact name: of two that differ in capital letters only, or in quotes,
//! one is never followed into the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::control::Control;
use crate::base::error::{Class, Explain};
use crate::base::record::name::{Meant, meant_of_parts};
use crate::base::record::{Table, exactly};
use crate::format::manifest::Manifest;
use crate::ops::databases::Place;
use crate::ops::error::OpError;
use crate::ops::find::database::State;
use crate::ops::find::{Request, database};
use crate::ops::side::Side;
use crate::record::error::RecordError;
use crate::record::model::{Model, meant_table};
use crate::vault::random::Desk;

/// The table that is asked for.
pub(super) struct Called {
    name: String,
    /// The name is as the snapshots write it.
    is_exact: bool,
}

impl Called {
    /// The newest snapshots are asked first: most often the first one knows the name.
    pub fn of(states: &[State<'_>], request: &Request<'_>, desk: &Arc<Desk>) -> Result<Self, OpError> {
        let asked = request.table().to_owned();
        let servers: Vec<&State<'_>> = states.iter().rev().filter(|(place, _)| place.is_postgres()).collect();
        if servers.is_empty() {
            return Ok(Self { name: asked, is_exact: false });
        }
        let (mut fitting, mut is_known) = (BTreeSet::new(), true);
        for (place, manifest) in servers {
            let names = match tables((place, manifest), desk, &request.control) {
                Ok(tables) => tables.into_iter().map(|table| table.name).collect::<Vec<_>>(),
                Err(error) if error.class() == Class::Interrupted => return Err(error),
                // Why it cannot be read is told where it is looked into.
                Err(_) => {
                    is_known = false;
                    continue;
                }
            };
            let places = match meant_of_parts(&asked, names.iter().map(String::as_str)) {
                Meant::One(at) if names[at] == asked => return Ok(Self { name: asked, is_exact: true }),
                Meant::One(at) => vec![at],
                Meant::Several(places) => places,
                Meant::Nothing => Vec::new(),
            };
            fitting.extend(places.into_iter().map(|at| names[at].clone()));
        }
        let mut fitting = Vec::from_iter(fitting);
        match fitting.len() {
            0 if is_known => Err(database::nowhere(request, states)),
            0 => Ok(Self { name: asked, is_exact: true }),
            1 => Ok(Self { name: fitting.remove(0), is_exact: true }),
            _ => {
                let place = "the snapshots".to_owned();
                Err(RecordError::Several { what: "tables", name: asked, place, fitting }.into())
            }
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The one of these tables that it is.
    pub fn among(&self, tables: &[Table]) -> Result<Option<usize>, RecordError> {
        match exactly(tables, &self.name) {
            Some((at, _)) => Ok(Some(at)),
            None if self.is_exact => Ok(None),
            None => meant_table(tables, &self.name, "the snapshots"),
        }
    }

    /// What a person says it is called now, if that is another name.
    pub fn renamed(
        &self,
        (place, manifest): (&Place<'_>, &Manifest),
        model: &Model,
        desk: &Arc<Desk>,
        control: &Arc<Control>,
    ) -> Result<Option<String>, OpError> {
        if model.renames.is_empty() {
            return Ok(None);
        }
        // Where the snapshot cannot be read, the name is the one that was written.
        let tables = tables((place, manifest), desk, control).unwrap_or_default();
        let model = model.settled(&tables, "the snapshots")?;
        let name = self.among(&tables)?.map_or(&self.name, |at| &tables[at].name);
        Ok(Some(model.table_now(name)).filter(|now| now != name).map(str::to_owned))
    }
}

fn tables(
    (place, manifest): (&Place<'_>, &Manifest),
    desk: &Arc<Desk>,
    control: &Arc<Control>,
) -> Result<Vec<Table>, OpError> {
    let side = Side::open(place, manifest, desk, control)?;
    Ok(side.records().tables().map_err(RecordError::store)?)
}
