//! Which database a question is about, through all snapshots: where it is named, or where only one has such a table.
//!
//! A database is the same in two snapshots when it lived in the same place, or is called the same of the same app.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::text::nearest;
use crate::format::manifest::Manifest;
use crate::ops::databases::Place;
use crate::ops::error::{OpError, Problem};
use crate::ops::find::{Request, entity};
use crate::ops::holders::{Has, Holders, known_tables};
use crate::ops::show::Part;
use crate::record::error::RecordError;
use crate::vault::random::Desk;

/// A database in one snapshot.
pub type State<'m> = (Place<'m>, &'m Manifest);

/// The states of the one database that is meant, oldest first; those without the table, too.
pub fn states<'m>(
    manifests: &[&'m Manifest],
    request: &Request<'_>,
    desk: &Arc<Desk>,
) -> Result<Vec<State<'m>>, OpError> {
    let mut holders = Holders::new(desk.clone(), request.control.clone());
    let (table, mut all) = (request.table(), Vec::new());
    for manifest in manifests {
        if request.control.stopped() {
            return Err(Problem::Interrupted.into());
        }
        let places = meant(manifest, request)?;
        all.extend(places.into_iter().map(|place| (place, *manifest)));
    }
    let mut groups = Groups::of(&all);
    let (mut having, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    for (at, (place, manifest)) in all.iter().enumerate() {
        match holders.has(place, manifest, table) {
            Has::Yes => drop(having.insert(groups.of_state(at))),
            Has::Unknown => drop(unknown.insert(groups.of_state(at))),
            Has::No => {}
        }
    }
    let having = if having.is_empty() { unknown } else { having };
    match having.iter().collect::<Vec<_>>()[..] {
        [] => Err(nowhere(request, &all)),
        [group] => {
            let of_group = all.into_iter().enumerate().filter(|(at, _)| groups.of_state(*at) == *group);
            Ok(of_group.map(|(_, state)| state).collect())
        }
        _ => {
            let mut newest = |group: &usize| (0..all.len()).rev().find(|at| groups.of_state(*at) == *group);
            let named: Vec<&State<'_>> = having.iter().filter_map(&mut newest).map(|at| &all[at]).collect();
            Err(which(table, &named))
        }
    }
}

/// Keeps the states that this host captured, where there are some, and returns the other hosts: what is called the same there is
/// another file. A server is the same from every host.
pub fn keep_own(states: &mut Vec<State<'_>>, host: Option<&str>) -> Vec<String> {
    let is_own = |(place, manifest): &State<'_>| place.is_postgres() || host.is_some_and(|host| manifest.host == host);
    if !states.iter().any(is_own) {
        return Vec::new();
    }
    let others: BTreeSet<String> =
        states.iter().filter(|state| !is_own(state)).map(|(_, manifest)| manifest.host.clone()).collect();
    states.retain(is_own);
    others.into_iter().collect()
}

/// The databases of a snapshot that may be meant.
fn meant<'m>(manifest: &'m Manifest, request: &Request<'_>) -> Result<Vec<Place<'m>>, OpError> {
    let of_entity = entity(request).map(|entity| Part { source: Some(entity.source.to_string()), ..Part::whole() });
    let part = (request.part)(manifest)?.or(of_entity);
    if let Ok(place) = Place::find(manifest, part.as_ref()) {
        return Ok(vec![place]);
    }
    let source = part.map(|part| part.source_of(manifest).map(|source| &source.name));
    Ok(match source {
        Some(Err(_)) => Vec::new(),
        Some(Ok(name)) => Place::all(manifest).into_iter().filter(|place| place.source.name == *name).collect(),
        None => Place::all(manifest),
    })
}

/// Which states are of one database.
struct Groups(Vec<usize>);

impl Groups {
    fn of(states: &[State<'_>]) -> Self {
        let mut groups = Self((0..states.len()).collect());
        let mut places: Vec<((String, PathBuf), usize)> = Vec::new();
        let mut names: Vec<((String, String), usize)> = Vec::new();
        for (at, (place, manifest)) in states.iter().enumerate() {
            places.push(((manifest.host.clone(), place.live()), at));
            names.push(((manifest.app.to_string(), place.label()), at));
        }
        groups.join(places);
        groups.join(names);
        groups
    }

    /// States with the same key are of one database.
    fn join<K: Ord>(&mut self, mut keyed: Vec<(K, usize)>) {
        keyed.sort();
        for pair in keyed.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            let (one, other) = (self.of_state(pair[0].1), self.of_state(pair[1].1));
            self.0[one.max(other)] = one.min(other);
        }
    }

    fn of_state(&mut self, at: usize) -> usize {
        let mut group = at;
        while self.0[group] != group {
            group = self.0[group];
        }
        self.0[at] = group;
        group
    }
}

fn which(table: &str, states: &[&State<'_>]) -> OpError {
    let labels: BTreeSet<String> = states.iter().map(|(place, _)| place.label()).collect();
    let table = table.to_owned();
    if labels.len() == states.len() {
        return Problem::WhichHolder { table, databases: labels.into_iter().collect() }.into();
    }
    let apps: BTreeSet<String> = states.iter().map(|(_, manifest)| manifest.app.to_string()).collect();
    Problem::WhichApp { table, apps: apps.into_iter().collect() }.into()
}

pub fn nowhere(request: &Request<'_>, states: &[State<'_>]) -> OpError {
    // Of an entity, its table is what no snapshot has.
    let name = request.table().to_owned();
    let tables: BTreeSet<&String> = states.iter().flat_map(|(place, _)| known_tables(place)).collect();
    let plain = tables.iter().map(|name| name.strip_prefix("public.").unwrap_or(name));
    let entities = request.model.entities.keys().map(String::as_str).filter(|_| name == request.wanted.name());
    let nearest = nearest(&name, plain.chain(entities)).map(str::to_owned);
    RecordError::NoTable { name, place: "any snapshot".to_owned(), nearest }.into()
}
