//! Where a source lives on this host, and who says so.
//!
//! A snapshot says where it was captured, and whoever can write to the storage can make a snapshot. So that decides neither
//! where something is written or read, nor which server is sent a password: the configuration does, or a person, or what
//! this host remembers of its own captures.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::name::Name;
use crate::base::path;
use crate::base::text::{printable, shell_word};
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::backup::Planned;
use crate::ops::error::{OpError, Problem};
use crate::vault::Vault;
use crate::vault::places::{self, Place};

/// What is known of places besides the configuration.
#[derive(Clone, Debug, Default)]
pub struct Places {
    captured: Vec<Place>,
    named: BTreeMap<Name, String>,
}

impl Places {
    /// The places that this host captured into a vault.
    pub fn of(vault: &Vault) -> Self {
        Self { captured: places::all(vault.host()), named: BTreeMap::new() }
    }

    /// A person says where a source lives; the place is written as manifests write it.
    pub fn name(&mut self, source: Name, root: String) {
        self.named.insert(source, root);
    }

    /// Where a source of a snapshot lives here.
    pub fn root(&self, manifest: &Manifest, record: &SourceRecord, configured: &[Planned]) -> Result<String, OpError> {
        if let Some(root) = self.named.get(&record.name) {
            return Ok(root.clone());
        }
        let own = configured.iter().find(|planned| planned.name == record.name && planned.source.kind() == record.kind);
        if let Some(planned) = own {
            return Ok(planned.source.root());
        }
        match self.knows(record) {
            true => Ok(record.root.clone()),
            false => Err(Problem::UnknownPlace(Box::new(Unknown::of(manifest, record))).into()),
        }
    }

    /// Did a person say where the source lives?
    pub fn names(&self, source: &Name) -> bool {
        self.named.contains_key(source)
    }

    /// Fails where a person says where a source lives that none of these snapshots has: what is meant would be passed over.
    pub fn must_be_of(&self, manifests: &[&Manifest]) -> Result<(), OpError> {
        let sources = manifests.iter().flat_map(|manifest| &manifest.sources).map(|source| &source.name);
        let sources: BTreeSet<&Name> = sources.collect();
        match self.named.keys().find(|named| !sources.contains(named)) {
            None => Ok(()),
            Some(named) => {
                let (source_name, sources) = (named.clone(), sources.into_iter().map(Name::to_string).collect());
                Err(Problem::NoSuchPlace { source_name, sources }.into())
            }
        }
    }

    /// Where this host captured a source of this name, written as manifests write it.
    pub fn captured<'p>(&'p self, source: &'p Name) -> impl Iterator<Item = &'p str> {
        self.captured.iter().filter(|place| place.source == source.as_str()).map(|place| place.root.as_str())
    }

    /// Did this host capture the source where the snapshot says?
    fn knows(&self, record: &SourceRecord) -> bool {
        let is_it = |place: &Place| {
            (&place.source[..], &place.kind, &place.root) == (record.name.as_str(), &record.kind, &record.root)
        };
        self.captured.iter().any(is_it)
    }

    /// Every place there is data at: what this host captured, and what the configuration names.
    pub fn all<'p>(&'p self, configured: &'p [Planned]) -> impl Iterator<Item = (String, String)> + 'p {
        let captured = self.captured.iter().map(|place| (place.source.clone(), place.root.clone()));
        captured.chain(configured.iter().map(|planned| (planned.name.to_string(), planned.source.root())))
    }
}

/// A place that only a snapshot names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    pub snapshot: String,
    pub source_name: Name,
    /// As manifests write it: control characters are not in it as they are.
    pub root: String,
    pub host: String,
}

impl Unknown {
    fn of(manifest: &Manifest, record: &SourceRecord) -> Self {
        Self {
            snapshot: manifest.id.short(),
            source_name: record.name.clone(),
            root: record.root.clone(),
            host: manifest.host.clone(),
        }
    }

    /// The place for people to read.
    pub fn shown(&self) -> String {
        printable(&self.root)
    }

    /// How a person says that the source lives there, as a shell takes it.
    pub fn argument(&self) -> String {
        let plain = path::decode(&self.root).and_then(|root| String::from_utf8(root).ok());
        let plain = plain.filter(|root| path::encode(root.as_bytes()) == root.replace('%', "%25"));
        shell_word(&format!("{}={}", self.source_name, plain.as_deref().unwrap_or("PATH")))
    }
}
