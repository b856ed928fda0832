//! Which snapshot is meant, and what should be known of the choice.

use std::path::Path;

use strongroom::base::error::one_line;
use strongroom::base::name::Name;
use strongroom::base::selector::Selector;
use strongroom::base::text::counted;
use strongroom::base::time::Instant;
use strongroom::format::manifest::{Manifest, SourceRecord};
use strongroom::ops::choose::{Chooser, Named};
use strongroom::ops::restore::whose::{Chosen, Hosts};
use strongroom::vault::order;
use strongroom::vault::select::Filter;
use strongroom::vault::snapshots::{Snapshot, Snapshots};
use strongroom::vault::unlocked::UnlockedVault;

use crate::context::{Context, host_name, name_of};
use crate::exit::Failure;
use crate::render::local_with_zone;

/// So many snapshots that may be meant and cannot be read are named.
const MOST_DOUBTS: usize = 5;

impl Context {
    /// Chooses among snapshots.
    pub fn chooser<'v>(
        &self,
        vault: &'v UnlockedVault,
        snapshots: &'v Snapshots,
        filter: Filter,
    ) -> Result<Chooser<'v>, Failure> {
        let app = self.configured_app(snapshots)?;
        Ok(Chooser::new(vault, snapshots, (filter, app), self.control.clone()))
    }

    /// The app whose snapshots are meant where nobody names one: the configuration's. One that says nothing of it is of the app
    /// that its folder is called, if there is such a one.
    pub fn configured_app(&self, snapshots: &Snapshots) -> Result<Option<String>, Failure> {
        let Some(config) = self.config()? else { return Ok(None) };
        if let Some(app) = config.app {
            return Ok(Some(app.to_string()));
        }
        let app = name_of(Path::new("."));
        let is_known = || snapshots.readable.iter().any(|snapshot| snapshot.manifest.app == app);
        Ok((!config.sources.is_empty() && is_known()).then(|| app.to_string()))
    }

    /// The snapshot that a selector means, whatever it holds.
    pub fn select(&self, vault: &UnlockedVault, selector: &Selector, filter: &Filter) -> Result<Snapshot, Failure> {
        let snapshots = vault.snapshots()?;
        let chooser = self.chooser(vault, &snapshots, filter.clone())?;
        let chosen = self.choose(&chooser, selector, &Named::Nothing)?;
        self.tell_whose(&chooser, (selector, &Named::Nothing), &chosen.manifest)?;
        Ok(chosen)
    }

    /// Says of which app and host a snapshot is, where it might have been of another and nothing is changed that lives.
    pub fn tell_whose(
        &self,
        chooser: &Chooser<'_>,
        (selector, named): (&Selector, &Named),
        manifest: &Manifest,
    ) -> Result<(), Failure> {
        let mut apps = chooser.apps(selector, named)?;
        let app = &manifest.app;
        if apps.remove(app.as_str()).is_some() && !apps.is_empty() {
            let others = apps.into_keys().collect::<Vec<_>>().join(", ");
            self.warn(&format!("note: {selector} is of the app {app}; with --app it is of {others}"));
        }
        let host = host_name();
        let chosen = Chosen { chooser, selector, named, host: &host };
        if let Some(Hosts { host, own_host, own, .. }) = chosen.of_this_host(manifest, &[])? {
            self.warn(&format!("note: {selector} is of the host {host}; with --host {own_host} it is {own}"));
        }
        Ok(())
    }

    /// Which sources of the configuration the snapshot that a selector means was made without, where another one has them: whoever
    /// names none means all of them.
    pub fn lacking(
        &self,
        chooser: &Chooser<'_>,
        selector: &Selector,
        manifest: &Manifest,
    ) -> Result<Vec<String>, Failure> {
        let configured = self.config()?.map(|config| config.sources).unwrap_or_default();
        if matches!(selector, Selector::Prefix(_)) {
            return Ok(Vec::new());
        }
        let has = |one: &Manifest, name: &Name| one.sources.iter().any(|source| source.name == *name);
        let mut lines = Vec::new();
        for name in configured.iter().map(|planned| &planned.name).filter(|name| !has(manifest, name)) {
            let is_its = |one: &Manifest, source: &SourceRecord| {
                (&one.app, &one.host, &source.name) == (&manifest.app, &manifest.host, name)
            };
            if let Some(other) = chooser.among(selector, &Named::Nothing, &is_its)? {
                let (own, other, time) = (manifest.id.short(), other.id.short(), local_with_zone(other.time));
                lines.push(format!(
                    "{selector} is {own}, which was made without {name}: the newest with it is {other} of {time}"
                ));
            }
        }
        Ok(lines)
    }

    /// Says which snapshots could not be looked at, where all of them are looked at.
    pub fn tell_unread(&self, snapshots: &Snapshots) {
        for (object, error) in snapshots.damaged.iter().chain(&snapshots.newer) {
            self.alarm(&format!("warning: {object} was left out: {}", error.of(object)));
        }
        for object in &snapshots.gone {
            self.alarm(&format!("warning: {object} was left out: it is gone"));
        }
        self.tell_altered(&snapshots.altered);
        self.tell_ahead(snapshots.readable.iter());
    }

    /// Says that this host does not know any more all that it knew of the vault: what is gone of it may not be missed.
    pub fn tell_altered(&self, altered: &[String]) {
        let Some(first) = altered.first() else { return };
        let more = match altered.len() {
            1 => String::new(),
            all => format!(" (and {} more)", all - 1),
        };
        self.alarm(&format!("warning: what this host noted of the vault is not all there: {first}{more}"));
        self.warn("hint: compare what the vault holds with a copy of it; then: strongroom snapshots --accept-gone");
    }

    /// Names the snapshots that cannot have been made when they say.
    pub fn tell_ahead<'s>(&self, snapshots: impl Iterator<Item = &'s Snapshot>) {
        snapshots.filter_map(ahead).for_each(|line| self.warn(&line));
    }

    /// The snapshot that a selector means, of those that have what is named beside it. Says what should be known of the
    /// choice.
    pub fn choose(&self, chooser: &Chooser<'_>, selector: &Selector, named: &Named) -> Result<Snapshot, Failure> {
        let chosen = chooser.choose(selector, named)?;
        let (id, time) = (chosen.snapshot.manifest.id.short(), local_with_zone(chosen.snapshot.manifest.time));
        if chosen.without > 0 {
            let newer = counted(chosen.without, "newer snapshot");
            let verb = if chosen.without == 1 { "does" } else { "do" };
            self.warn(&format!("note: {selector} is {id} of {time}: {newer} {verb} not have what was asked for"));
        }
        let doubts = chooser.doubts(selector, chosen.snapshot)?;
        for doubt in doubts.iter().take(MOST_DOUBTS) {
            let why = doubt.error.map_or_else(|| format!("{} is gone", doubt.object), |error| one_line(error));
            self.alarm(&format!("warning: {selector} may be newer than {id} of {time}: {why}"));
        }
        if let more @ 1.. = doubts.len().saturating_sub(MOST_DOUBTS) {
            self.alarm(&format!("warning: … and {more} more: strongroom snapshots names them"));
        }
        let older = chooser.gone_before(chosen.snapshot);
        if older > 0 && !matches!(selector, Selector::Prefix(_)) {
            let gone = counted(older, "older snapshot");
            let verb = if older == 1 { "is" } else { "are" };
            self.alarm(&format!("warning: {gone} {verb} gone from the vault: strongroom snapshots tells which"));
        }
        self.tell_altered(chooser.altered());
        ahead(chosen.snapshot).iter().for_each(|line| self.alarm(line));
        Ok(chosen.snapshot.clone())
    }
}

/// What is to be said of a snapshot that cannot have been made when it says.
fn ahead(snapshot: &Snapshot) -> Option<String> {
    let (manifest, now) = (&snapshot.manifest, Instant::now());
    let (id, time, clock) = (manifest.id.short(), local_with_zone(manifest.time), local_with_zone(now));
    if order::is_ahead(manifest.time, now) {
        return Some(format!(
            "warning: snapshot {id} says {time}, and it is {clock} by this host's clock: one of the two is wrong"
        ));
    }
    let after = local_with_zone(order::made_after(snapshot)?);
    Some(format!("warning: snapshot {id} says {time}, and was made after one of {after}: one of the two is wrong"))
}
