//! Objects that a check on this host found damaged: not relied on until they are found whole again.
//!
//! Only ever takes trust away: a doubt vouches for nothing, and a host that has none, or lost them, is where every
//! other host is. Written down twice, under a digest each: only a check can find them again.

use std::collections::{BTreeSet, HashSet};

use crate::base::error::{Class, Explain};
use crate::base::id::SealedDigest;
use crate::base::name::ObjectKey;
use crate::format::layout;
use crate::vault::Vault;
use crate::vault::error::VaultError;

/// One object's name on each line.
const FILES: [&str; 2] = ["damaged", "damaged-again"];

impl Vault {
    /// The objects that are doubted. What cannot be read names none.
    pub(super) fn doubts(&self) -> Result<BTreeSet<ObjectKey>, VaultError> {
        let folder = self.host.folder("verify");
        let bytes = FILES.iter().filter_map(|file| folder.read(file));
        let names = |bytes: Vec<u8>| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<ObjectKey>>()
        };
        Ok(bytes.flat_map(names).collect())
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
        let folder = self.host.folder("verify");
        folder.noted(FILES.iter().try_for_each(|file| folder.replace(file, text.as_bytes())));
        Ok(())
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
