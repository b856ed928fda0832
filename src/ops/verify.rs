//! Is everything there that should be? Three depths: names, structure, every byte; and do databases work (`deep`).
//!
//! Reads catalogs from the vault itself, never from the host's cache: a check that trusts a cache misses what
//! the vault has lost. Damage is reported object by object with the snapshots and paths it harms.

pub mod deep;
mod harm;
mod stored;
mod structure;

use std::sync::Arc;

use serde::Serialize;

use crate::base::control::Control;
use crate::base::name::ObjectKey;
use crate::ops::error::OpError;
use crate::store::Store;
use crate::vault::LockedVault;
use crate::vault::ledger::Known;
use crate::vault::snapshots::Snapshot;
use crate::vault::unlocked::UnlockedVault;

pub use harm::Harmed;

/// How deep to look with the keys at hand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Depth {
    /// Every manifest, listing and catalog is read, and every reference resolves.
    Structure,
    /// And every chunk is read and hashed again: of all packs, or of the next part of them.
    Data { sample: Option<f64> },
}

/// One object that is not what it should be.
#[derive(Clone, Debug, Serialize)]
pub struct Damage {
    pub object: ObjectKey,
    pub what: String,
    /// It is not there, or refers to what is not there; what is there of it is whole. So a copy looks that was made
    /// while its vault was written, in the wrong order.
    pub missing: bool,
    /// Snapshots and paths that cannot come back whole; the first few of each.
    pub harmed: Vec<Harmed>,
}

/// What was looked at and what was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub packs: Checked,
    pub catalogs: Checked,
    pub snapshots: Checked,
    pub keys: Checked,
    /// Objects that belong to no snapshot and no catalog: leftovers of an interrupted backup, harmless.
    pub unreferenced: u64,
    /// Manifests of a newer format: they could not be checked.
    pub newer: Vec<ObjectKey>,
    pub damage: Vec<Damage>,
    /// Packs that are damaged or gone, and of which everything lies elsewhere too: no snapshot needs them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spare: Vec<Damage>,
}

/// How many of how many, and how long they are.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Checked {
    pub checked: u64,
    pub total: u64,
    pub bytes: u64,
}

impl Report {
    pub fn sound(&self) -> bool {
        self.damage.is_empty()
    }
}

/// Every object against its name. Needs no key, only a copy of the vault.
pub fn stored(store: &Store, control: &Control) -> Result<Report, OpError> {
    stored::verify(store, &Known::default(), control)
}

/// The same, and whether everything is there that this host knows of.
pub fn stored_known(vault: &LockedVault, control: &Control) -> Result<Report, OpError> {
    stored::verify(vault.store(), &vault.ledger().read(), control)
}

/// With keys: structure, and if asked for the data itself.
///
/// With `only`, what that snapshot refers to; without, everything there is.
pub fn unlocked(
    vault: &UnlockedVault,
    only: Option<&Snapshot>,
    depth: Depth,
    control: &Arc<Control>,
) -> Result<Report, OpError> {
    structure::verify(vault, only, depth, control)
}
