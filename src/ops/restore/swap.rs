//! Databases of servers that change places: prepared beside the live ones, swapped by rename, swapped back.
//!
//! Owns which database is called what before and after, and that what was prepared in vain is dropped. The one that was
//! live is kept under a name that says until when it was.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::base::control::Control;
use crate::base::time::Instant;
use crate::engine::postgres::restore::server::{self, Server};
use crate::engine::postgres::restore::{Loaded, ReadBack, What};
use crate::engine::postgres::settings::Settings as Connection;
use crate::engine::sqlite::apply::OnDamage;
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::actions::{Action, Actions, State, Swap, Touched};
use crate::ops::backup::Planned;
use crate::ops::diff::Change;
use crate::ops::error::{OpError, Problem};
use crate::ops::restore::foreseen::{self, Foreseen};
use crate::ops::restore::in_place::Settings;
use crate::ops::restore::server::{Captured, KIND, Made, changed, options, settings_of};
use crate::vault::unlocked::UnlockedVault;

/// Databases that are about to change places.
#[derive(Default)]
pub struct Swaps(Vec<Pair>);

struct Pair {
    source: String,
    connection: Connection,
    swap: Swap,
    made: Option<Made>,
    wait: Duration,
}

/// A database that took another's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Swapped {
    pub source: String,
    pub database: String,
    /// The one that was there, under its name from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// What was made for it; nothing where one that was kept came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Loaded>,
}

/// Makes and checks what is to take the places of the live databases among these parts.
pub fn prepare(
    unlocked: &UnlockedVault,
    manifest: &Manifest,
    parts: &mut [Touched],
    configured: &[Planned],
    settings: &Settings<'_>,
) -> Result<Swaps, OpError> {
    let mut swaps = Swaps::default();
    for part in parts.iter_mut().filter(|part| part.kind == KIND) {
        let connection = connection_of(part, configured)?;
        let is_live = Server::of(&connection, &settings.control)?.has(&connection.dbname)?;
        let left_out = left_out(part, configured, is_live, settings)?;
        let mut pair = made(unlocked, manifest, part, connection, settings)?;
        pair.swap.left_out = left_out;
        part.swap = Some(pair.swap.clone());
        swaps.0.push(pair);
    }
    Ok(swaps)
}

/// What would take the places of the live databases among these parts, and which of their tables are other than it.
pub fn foresee(
    unlocked: &UnlockedVault,
    manifest: &Manifest,
    parts: &[Touched],
    (configured, settings): (&[Planned], &Settings<'_>),
    foreseen: &mut Foreseen,
) -> Result<(), OpError> {
    for part in parts.iter().filter(|part| part.kind == KIND) {
        let (connection, record) = (connection_of(part, configured)?, record_of(manifest, part)?);
        let mut server = Server::of(&connection, &settings.control)?;
        let dump = Captured::of(unlocked, record)?;
        let is_live = server.has(&connection.dbname)?;
        Made::allowed(&dump, &connection, &mut server)?;
        left_out(part, configured, is_live, settings)?;
        let tables = if is_live { changed(&dump, &connection, &settings.control)? } else { Vec::new() };
        let change = if is_live { Change::Content } else { Change::Added };
        let (source, database) = (part.source.to_string(), connection.dbname.clone());
        foreseen.servers.push(foreseen::Server { source, database, change, tables, kept: None });
    }
    Ok(())
}

/// What taking a swap back would do. Returns the live databases, to be asked what has changed in them.
pub(in crate::ops) fn foresee_reverse(
    gives: Option<&Manifest>,
    done: &Action,
    (configured, settings): (&[Planned], &Settings<'_>),
    foreseen: &mut Foreseen,
) -> Result<Swaps, OpError> {
    let mut swaps = Swaps::default();
    for part in &done.parts {
        let Some(Swap { live, incoming, kept, left_out, .. }) = part.swap.clone() else { continue };
        if incoming.is_none() && kept.is_none() {
            continue;
        }
        let connection = connection_of(part, configured)?;
        let mut server = Server::of(&connection, &settings.control)?;
        let is_kept = kept.as_deref().map(|kept| server.has(kept)).transpose()?;
        let (change, kept) = match (is_kept, gives) {
            (Some(true), _) => (Change::Content, kept),
            (Some(false), _) if done.state == State::Begun => continue,
            (Some(false), Some(_)) => (Change::Content, None),
            (Some(false), None) => return Err(Problem::NoWayBack { action: live }.into()),
            (None, _) => (Change::Removed, None),
        };
        let is_live = server.has(&live)?;
        let swap = Swap { kept: is_live.then(|| live.clone()), live, incoming: None, forgotten: false, left_out };
        let (source, database, tables) = (part.source.to_string(), swap.live.clone(), Vec::new());
        foreseen.servers.push(foreseen::Server { source, database, change, tables, kept });
        swaps.0.push(Pair::new(part, connection, swap, settings));
    }
    Ok(swaps)
}

/// What takes a swap back: the kept databases, or new ones of the safety snapshot where they are gone.
pub(in crate::ops) fn reverse(
    unlocked: &UnlockedVault,
    gives: Option<&Manifest>,
    (parts, state): (&mut [Touched], State),
    configured: &[Planned],
    settings: &Settings<'_>,
) -> Result<Swaps, OpError> {
    let mut swaps = Swaps::default();
    for part in parts.iter_mut().filter(|part| part.kind == KIND) {
        let Some(before) = part.swap.clone() else { continue };
        let nothing =
            Swap { live: before.live.clone(), forgotten: true, left_out: before.left_out.clone(), ..Swap::default() };
        if before == nothing {
            continue;
        }
        let connection = connection_of(part, configured)?;
        let mut server = Server::of(&connection, &settings.control)?;
        let is_kept = before.kept.as_deref().map(|kept| server.has(kept)).transpose()?;
        let is_live = server.has(&before.live)?;
        let pair = match (is_kept, gives) {
            (Some(true), _) => {
                let kept = is_live.then(|| kept_name(&mut server, &before.live)).transpose()?;
                let swap = Swap { incoming: before.kept.clone(), kept, ..before };
                Pair::new(part, connection, swap, settings)
            }
            // It was killed before they changed places: there is nothing to change back.
            (Some(false), _) if state == State::Begun => {
                part.swap = Some(nothing);
                continue;
            }
            (Some(false), Some(gives)) => {
                let mut pair = made(unlocked, gives, part, connection, settings)?;
                pair.swap.left_out = before.left_out;
                pair
            }
            (Some(false), None) => return Err(Problem::NoWayBack { action: before.live }.into()),
            // There was none.
            (None, _) => {
                let kept = is_live.then(|| kept_name(&mut server, &before.live)).transpose()?;
                Pair::new(part, connection, Swap { incoming: None, kept, forgotten: false, ..before }, settings)
            }
        };
        part.swap = Some(pair.swap.clone());
        swaps.0.push(pair);
    }
    Ok(swaps)
}

fn connection_of(part: &Touched, configured: &[Planned]) -> Result<Connection, OpError> {
    let own = configured.iter().find(|planned| planned.name == part.source && planned.source.root() == part.root);
    settings_of(part.source.as_str(), &part.root, own.map(|planned| &*planned.source))
}

/// What is in the live database and is not captured: where that is not accepted, nothing takes its place.
fn left_out(
    part: &Touched,
    configured: &[Planned],
    is_live: bool,
    settings: &Settings<'_>,
) -> Result<Vec<String>, OpError> {
    let own = configured.iter().find(|planned| planned.name == part.source && planned.source.root() == part.root);
    let Some(own) = own.filter(|_| is_live) else { return Ok(Vec::new()) };
    let names = own.source.leaves_out(&settings.control)?;
    if names.is_empty() || settings.accept_left_out {
        return Ok(names);
    }
    let (source_name, database) = (part.source.to_string(), part.root.clone());
    Err(Problem::LeftOut { source_name, database, names }.into())
}

fn record_of<'m>(manifest: &'m Manifest, part: &Touched) -> Result<&'m SourceRecord, OpError> {
    let record = manifest.sources.iter().find(|source| source.name == part.source);
    let (snapshot, source_name) = (manifest.id.short(), part.source.to_string());
    Ok(record.ok_or(Problem::NoSource { snapshot, source_name, sources: Vec::new() })?)
}

fn made(
    unlocked: &UnlockedVault,
    manifest: &Manifest,
    part: &Touched,
    connection: Connection,
    settings: &Settings<'_>,
) -> Result<Pair, OpError> {
    let record = record_of(manifest, part)?;
    let mut server = Server::of(&connection, &settings.control)?;
    let live = connection.dbname.clone();
    let is_live = server.has(&live)?;
    let told = matches!(settings.on_damage, OnDamage::Tell);
    let read_back = if told { ReadBack::Told } else { ReadBack::Must };
    let dump = Captured::of(unlocked, record)?;
    let options = options(What::default(), None, read_back, &settings.control);
    let kept = is_live.then(|| kept_name(&mut server, &live)).transpose()?;
    let made = Made::new(&dump, &connection, &options, is_live.then_some(live.as_str()), server)?;
    let swap = Swap { live, incoming: Some(made.scratch.clone()), kept, ..Swap::default() };
    Ok(Pair { made: Some(made), ..Pair::new(part, connection, swap, settings) })
}

/// `app_before_20261121_110203`, or one more where that is taken.
fn kept_name(server: &mut Server, live: &str) -> Result<String, OpError> {
    let now: String = Instant::now().to_string().chars().filter(char::is_ascii_digit).take(14).collect();
    let behind = format!("_before_{}_{}", &now[..8], &now[8..]);
    let mut name = server::named(live, &behind);
    for number in 2.. {
        if !server.has(&name)? {
            break;
        }
        name = server::named(live, &format!("{behind}_{number}"));
    }
    Ok(name)
}

impl Pair {
    fn new(part: &Touched, connection: Connection, swap: Swap, settings: &Settings<'_>) -> Self {
        Self { source: part.source.to_string(), connection, swap, made: None, wait: settings.wait }
    }

    fn forward(&self, control: &Arc<Control>) -> Result<(), OpError> {
        let Swap { live, incoming, kept, .. } = &self.swap;
        let mut names: Vec<(&str, &str)> = Vec::new();
        names.extend(kept.as_deref().map(|kept| (live.as_str(), kept)));
        names.extend(incoming.as_deref().map(|incoming| (incoming, live.as_str())));
        Ok(Server::of(&self.connection, control)?.rename(&names, self.wait)?)
    }

    fn back(&self) -> Result<(), OpError> {
        let Swap { live, incoming, kept, .. } = &self.swap;
        let mut names: Vec<(&str, &str)> = Vec::new();
        names.extend(incoming.as_deref().map(|incoming| (live.as_str(), incoming)));
        names.extend(kept.as_deref().map(|kept| (kept, live.as_str())));
        Ok(Server::of(&self.connection, &Arc::default())?.rename(&names, self.wait)?)
    }
}

impl Swaps {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Swaps them, counting how many were.
    pub(in crate::ops) fn forward(&self, given: &mut Vec<Swapped>, count: &mut usize) -> Result<(), OpError> {
        for pair in &self.0 {
            pair.forward(&Arc::default())?;
            *count += 1;
            given.push(Swapped {
                source: pair.source.clone(),
                database: pair.swap.live.clone(),
                kept: pair.swap.kept.clone(),
                loaded: pair.made.as_ref().map(|made| made.loaded.clone()),
            });
        }
        Ok(())
    }

    /// Swaps the first so many back.
    pub(in crate::ops) fn back(&self, count: usize) -> Result<(), OpError> {
        self.0[..count].iter().rev().try_for_each(Pair::back)
    }

    /// They are where they belong: nothing is dropped.
    pub(in crate::ops) fn done(self) {
        self.0.into_iter().filter_map(|pair| pair.made).for_each(Made::taken);
    }

    /// The tables of a live database that are not as the snapshot that was given has them.
    pub(in crate::ops) fn changed(
        &self,
        unlocked: &UnlockedVault,
        left: &Manifest,
        part: &Touched,
        control: &Arc<Control>,
    ) -> Result<Vec<String>, OpError> {
        let pair = self.0.iter().find(|pair| part.source.as_str() == pair.source);
        let record = left.sources.iter().find(|source| source.name == part.source);
        let (Some(pair), Some(record)) = (pair, record) else { return Ok(Vec::new()) };
        if pair.swap.kept.is_none() {
            return Ok(Vec::new());
        }
        let mut changed = changed(&Captured::of(unlocked, record)?, &pair.connection, control)?;
        // What is not captured is no change: it was never compared.
        let is_left_out = |name: &str| {
            let mut left_out = pair.swap.left_out.iter();
            left_out
                .any(|left| name == left || name.strip_prefix(left.as_str()).is_some_and(|rest| rest.starts_with('.')))
        };
        changed.retain(|name| !is_left_out(name));
        Ok(changed)
    }
}

/// Drops the databases that an action keeps aside; without one named, those of the last that keeps any. Returns their
/// names.
pub fn forget(
    actions: &Actions,
    prefix: Option<&str>,
    configured: &[Planned],
    control: &Arc<Control>,
) -> Result<(Action, Vec<String>), OpError> {
    let keeps = |action: &Action| {
        let kept = |part: &Touched| part.swap.as_ref().is_some_and(|swap| swap.kept.is_some() && !swap.forgotten);
        action.undone_by.is_none() && action.state == State::Done && action.parts.iter().any(kept)
    };
    let mut action = match prefix {
        Some(prefix) => actions.find(Some(prefix))?,
        None => actions.list()?.into_iter().rfind(keeps).ok_or(Problem::NothingKept)?,
    };
    if !keeps(&action) {
        return Err(Problem::NothingKept.into());
    }
    let mut dropped = Vec::new();
    for part in &mut action.parts {
        let connection = if part.swap.is_some() { connection_of(part, configured)? } else { continue };
        let Some(swap) = &mut part.swap else { continue };
        let Some(kept) = swap.kept.clone().filter(|_| !swap.forgotten) else { continue };
        if !swap.left_out.is_empty() {
            return Err(Problem::KeptAlone { database: kept, names: swap.left_out.clone() }.into());
        }
        swap.forgotten = true;
        let mut server = Server::of(&connection, control)?;
        if server.has(&kept)? {
            server.drop(&kept)?;
            dropped.push(kept);
        }
    }
    actions.keep(&action)?;
    Ok((action, dropped))
}
