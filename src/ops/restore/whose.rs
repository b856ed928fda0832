//! Which of several sources of one name is meant.
//!
//! Owns the rule that a source is known by its name and its place: folders may have one last name, and a person who says
//! `latest` means one of them. Where a snapshot is named by its id, it is that one's.

use std::path::Path;

use crate::base::name::Name;
use crate::base::selector::Selector;
use crate::base::text::shell_word;
use crate::engine::postgres::settings::Settings;
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::backup::Planned;
use crate::ops::choose::{Chooser, Named};
use crate::ops::error::{OpError, Problem};
use crate::ops::places::Places;
use crate::ops::restore::Request;
use crate::ops::restore::claims::real;
use crate::ops::safety::place;
use crate::ops::show::Part;
use crate::source::postgres::reach;

/// A snapshot, and how it was chosen.
pub struct Chosen<'c, 'v> {
    pub chooser: &'c Chooser<'v>,
    pub selector: &'c Selector,
    pub named: &'c Named,
    /// The name of this host.
    pub host: &'c str,
}

/// A snapshot of another host, and the one of this host that may be meant instead.
#[derive(Debug)]
pub struct Hosts {
    pub source_name: String,
    pub selector: String,
    pub host: String,
    pub snapshot: String,
    pub own_host: String,
    pub own: String,
}

impl Chosen<'_, '_> {
    /// Was it named by its id?
    pub fn is_exact(&self) -> bool {
        matches!(self.selector, Selector::Prefix(_))
    }

    /// The snapshot that would be chosen of those that captured the source there.
    pub(super) fn at(&self, source: &Name, real_path: &Path) -> Result<Option<&Manifest>, OpError> {
        let is_there = |_: &Manifest, record: &SourceRecord| {
            record.name == *source && !record.root.contains("://") && real(&place(&record.root)) == real_path
        };
        self.chooser.among(self.selector, self.named, &is_there)
    }

    /// Refuses to change live data of a snapshot that was not named by its id, where these parts of it may be meant of another
    /// place.
    pub fn must_be_certain(
        &self,
        manifest: &Manifest,
        parts: &[Part],
        (places, configured): (&Places, &[Planned]),
    ) -> Result<(), OpError> {
        if self.is_exact() {
            return Ok(());
        }
        self.must_be_of_one_app(manifest, parts)?;
        self.must_be_of_this_host(manifest, parts)?;
        for record in meant(manifest, parts)?.into_iter().filter(|record| !places.names(&record.name)) {
            // Where the configuration says which one is meant, snapshots of that one are.
            let own = configured.iter().find(|planned| planned.name == record.name).map(|own| own.source.root());
            let roots: Vec<String> = match own {
                Some(root) => vec![root],
                None => places.captured(&record.name).map(str::to_owned).collect(),
            };
            let mut found = vec![(manifest.id.short(), record.root.clone())];
            for root in roots.iter().filter(|root| !is_same(root, &record.root)) {
                let is_there = |_: &Manifest, one: &SourceRecord| one.name == record.name && is_same(&one.root, root);
                let among = |selector: &Selector| self.chooser.among(selector, self.named, &is_there);
                let other = match among(self.selector)? {
                    // What the configuration means has snapshots, if not one of this tag or time.
                    None if configured.iter().any(|own| own.name == record.name) => among(&Selector::Latest(0))?,
                    other => other,
                };
                found.extend(other.map(|other| (other.id.short(), root.clone())));
            }
            if found.len() > 1 {
                let (source_name, selector) = (record.name.to_string(), self.selector.to_string());
                return Err(Problem::WhichPlace { source_name, selector, found }.into());
            }
        }
        Ok(())
    }

    /// Refuses where nobody says of which app a snapshot is meant and several have one. Apps that captured the same are no
    /// doubt: it is one place.
    fn must_be_of_one_app(&self, manifest: &Manifest, parts: &[Part]) -> Result<(), OpError> {
        let apps = self.chooser.apps(self.selector, self.named)?;
        let record_of = |other: &Manifest, record: &SourceRecord| {
            other.sources.iter().any(|one| one.name == record.name && is_same(&one.root, &record.root))
        };
        let records = meant(manifest, parts)?;
        let is_same_place = |other: &&Manifest| {
            let is_whole = !parts.is_empty() || other.sources.len() == records.len();
            is_whole && records.iter().all(|record| record_of(other, record))
        };
        if apps.values().all(is_same_place) {
            return Ok(());
        }
        Err(Problem::AnyApp { selector: self.selector.to_string(), apps: apps.into_keys().collect() }.into())
    }

    /// Refuses what another host captured where this host has captured its own: hosts may share a vault, and the names of what
    /// they capture. A server is the same from every host.
    pub fn must_be_of_this_host(&self, manifest: &Manifest, parts: &[Part]) -> Result<(), OpError> {
        match self.of_this_host(manifest, parts)? {
            Some(hosts) => Err(Problem::WhichHost(Box::new(hosts)).into()),
            None => Ok(()),
        }
    }

    /// The snapshot of this host that may be meant instead of another host's.
    pub fn of_this_host(&self, manifest: &Manifest, parts: &[Part]) -> Result<Option<Hosts>, OpError> {
        if self.is_exact() || manifest.host == self.host || self.chooser.names_a_host() {
            return Ok(None);
        }
        for record in meant(manifest, parts)?.into_iter().filter(|record| !record.root.contains("://")) {
            let is_own = |one: &Manifest, source: &SourceRecord| one.host == self.host && source.name == record.name;
            if let Some(own) = self.chooser.among(self.selector, self.named, &is_own)? {
                return Ok(Some(Hosts {
                    source_name: record.name.to_string(),
                    selector: self.selector.to_string(),
                    host: manifest.host.clone(),
                    snapshot: manifest.id.short(),
                    own_host: self.host.to_owned(),
                    own: own.id.short(),
                }));
            }
        }
        Ok(None)
    }
}

/// The sources that these parts are of; all of them where there are no parts.
fn meant<'m>(manifest: &'m Manifest, parts: &[Part]) -> Result<Vec<&'m SourceRecord>, OpError> {
    match parts {
        [] => Ok(manifest.sources.iter().collect()),
        some => some.iter().map(|part| part.source_of(manifest)).collect(),
    }
}

/// Are these, written as in manifests, one place?
fn is_same(one: &str, other: &str) -> bool {
    let server = |root: &str| root.contains("://").then(|| reach(root).ok()).flatten();
    match (server(one), server(other)) {
        (Some(one), Some(other)) => Settings::names_same(&one, &other),
        (None, None) => one == other || real(&place(one)) == real(&place(other)),
        _ => false,
    }
}

/// What was asked for, as a shell takes it, with a space behind it; nothing for everything.
pub(super) fn asked(request: &Request) -> String {
    let part = |part: &Part| {
        let name = part.source.as_deref().unwrap_or_default();
        let text =
            if part.path.is_root() && !name.is_empty() { name.to_owned() } else { format!("{name}:{}", part.path) };
        shell_word(&text) + " "
    };
    request.parts.iter().map(part).collect()
}
