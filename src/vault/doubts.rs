//! Objects that a check on this host found damaged: not relied on until they are found whole again.
//!
//! Only ever takes trust away: a doubt vouches for nothing, and a host that has none, or lost them, is where every
//! other host is.

use std::collections::{BTreeSet, HashSet};
use std::fs;

use crate::base::error::{Class, Explain};
use crate::base::id::SealedDigest;
use crate::base::name::ObjectKey;
use crate::format::layout;
use crate::vault::error::VaultError;
use crate::vault::{Vault, host};

/// One object's name on each line.
const FILE: &str = "damaged";

impl Vault {
    /// The objects that are doubted. What cannot be read names none.
    pub(super) fn doubts(&self) -> Result<BTreeSet<ObjectKey>, VaultError> {
        let text = fs::read_to_string(self.host.cache("verify")?.join(FILE)).unwrap_or_default();
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Takes note of a check: `damaged` is doubted from now on, and what else it `answered` for no longer.
    pub fn note_check(
        &self,
        damaged: BTreeSet<ObjectKey>,
        answered: impl Fn(&ObjectKey) -> bool,
    ) -> Result<(), VaultError> {
        let before = self.doubts()?;
        let mut after: BTreeSet<ObjectKey> = before.iter().filter(|object| !answered(object)).cloned().collect();
        after.extend(damaged);
        if after == before {
            return Ok(());
        }
        let text: String = after.iter().map(|object| format!("{object}\n")).collect();
        host::replace(&self.host.cache("verify")?.join(FILE), text.as_bytes())
    }

    /// Those of these catalogs that cannot be relied on: of the doubted ones, or of `all` if asked, each that cannot
    /// be read. The cached index may know what they named; the vault does not.
    pub(super) fn unreliable_catalogs(
        &self,
        listed: &[SealedDigest],
        all: bool,
    ) -> Result<HashSet<SealedDigest>, VaultError> {
        let doubts = self.doubts()?;
        let asked = |catalog: &&SealedDigest| all || doubts.contains(&layout::catalog(**catalog));
        let mut damaged = HashSet::new();
        for catalog in listed.iter().filter(asked) {
            match self.read_catalog(*catalog) {
                Ok(_) => {}
                Err(error) if error.class() == Class::Damaged || error.is_not_found() => drop(damaged.insert(*catalog)),
                Err(error) => return Err(error),
            }
        }
        let is_catalog = |object: &ObjectKey| object.as_str().starts_with(layout::CATALOGS);
        self.note_check(damaged.iter().map(|catalog| layout::catalog(*catalog)).collect(), is_catalog)?;
        Ok(damaged)
    }
}
