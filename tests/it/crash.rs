//! A crash, a kill, a full disk or a second writer at any moment loses no snapshot and needs no repair.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom::base::error::{Class, Explain};
use strongroom::base::name::ObjectKey;
use strongroom::format::manifest::Manifest;
use strongroom::format::{layout, seal};
use strongroom::ops::error::OpError;
use strongroom::ops::verify::Depth;
use strongroom::store::{Faults, Operation, Store, When};
use strongroom::vault::LockedVault;
use strongroom::vault::host::Folders;

use crate::support::vaults::{
    ALL_DATA, Lab, Random, SMALL, Tree, assert_restores, assert_sound, backup, catalogued, change, copy_folder,
    copy_store, packs, plant, restore, snapshots,
};

mod disk;
mod processes;
mod writers;

/// A vault with two snapshots, and a tree that has changed since.
struct Scene {
    lab: Lab,
    tree: PathBuf,
    kept: Vec<(Manifest, Tree)>,
    now: Tree,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::in_memory();
        let tree = lab.path("tree");
        let mut random = Random::new(7);
        plant(&tree, &mut random, 60, 8 << 10);
        let mut kept = Vec::new();
        for _ in 0..2 {
            kept.push((lab.backup(&tree), Tree::read(&tree)));
            change(&tree, &mut random, 40, 20 << 10);
        }
        let now = Tree::read(&tree);
        Self { lab, tree, kept, now }
    }

    /// The scene once more, to be spoilt.
    fn take(&self, name: &str) -> Take<'_> {
        let folders = self.lab.with_cache(name);
        copy_folder(&self.lab.folders.cache, &folders.cache);
        Take { scene: self, store: copy_store(&self.lab.store), folders }
    }
}

struct Take<'s> {
    scene: &'s Scene,
    store: Store,
    folders: Folders,
}

impl Take<'_> {
    /// A backup over a store that fails as asked; opening the vault is part of it.
    fn backup(&self, faults: &Arc<Faults>) -> Result<Manifest, OpError> {
        let store = self.store.clone().with_faults(faults.clone());
        let vault = LockedVault::open(store, &self.folders)?.into_vault()?.with_limits(SMALL);
        Ok(backup(&vault, &self.scene.tree)?.manifest)
    }

    /// What was committed before is there, byte for byte, and nothing looks damaged.
    fn nothing_is_lost(&self, context: &str) {
        let unlocked = self.scene.lab.unlock(&self.store, &self.folders).unwrap();
        assert_sound(&unlocked, Depth::Structure, context);
        for (manifest, tree) in &self.scene.kept {
            assert_restores(&unlocked, manifest, tree, context);
        }
    }

    /// The next backup just works, and the vault is as good as one that never saw a crash.
    fn goes_on(&self, context: &str) {
        let durable = packs(&self.store);
        let faults = Faults::new();
        let manifest = self.backup(&faults).unwrap_or_else(|error| panic!("{context}: the next backup: {error}"));
        let unlocked = self.scene.lab.unlock(&self.store, &self.folders).unwrap();
        assert_sound(&unlocked, ALL_DATA, context);
        assert_restores(&unlocked, &manifest, &self.scene.now, context);
        let puts = faults.log().into_iter().filter(|line| line.operation == Operation::Put);
        let sent = puts.filter(|line| line.object.starts_with(layout::PACKS)).count();
        let grown = packs(&self.store).difference(&durable).count();
        assert_eq!(sent, grown, "{context}: packs sent");
    }
}

/// Nothing that was durable was stored a second time.
fn nothing_is_stored_twice(store: &Store, folders: &Folders, context: &str) {
    let catalogued = catalogued(store, folders);
    let named: BTreeSet<_> = catalogued.iter().map(|pack| pack.digest).collect();
    assert_eq!(named.len(), catalogued.len(), "{context}: a pack is in two catalogs");
    assert_eq!(named, packs(store), "{context}: packs that were sent are made use of");
    let mut seen = BTreeSet::new();
    for (digest, _) in catalogued.iter().flat_map(|pack| pack.places()) {
        assert!(seen.insert(digest), "{context}: {digest} is in two packs");
    }
}

/// Crashes a backup at each operation in turn, as `arm` says and `count` counts, until one is through before that.
/// Returns how many crashes there were.
fn crash_everywhere(arm: impl Fn(&Faults, u64), count: fn(&Faults) -> u64, after: impl Fn(&Take<'_>, &str)) -> u64 {
    let scene = Scene::new();
    for number in 1.. {
        let take = scene.take(&format!("cache-{number}"));
        let faults = Faults::new();
        arm(&faults, number);
        let context = format!("crash {number}");
        match take.backup(&faults) {
            Err(_) => after(&take, &context),
            Ok(_) if count(&faults) < number => return number - 1,
            Ok(_) => panic!("{context}: the backup did not notice"),
        }
        fs::remove_dir_all(&take.folders.cache).unwrap();
    }
    unreachable!()
}

fn then_go_on(take: &Take<'_>, context: &str) {
    take.nothing_is_lost(context);
    take.goes_on(context);
    nothing_is_stored_twice(&take.store, &take.folders, context);
}

#[test]
fn after_a_crash_before_any_operation_nothing_is_lost_and_nothing_is_sent_again() {
    let crashes = crash_everywhere(|faults, number| faults.crash_at(number, When::Before), Faults::count, then_go_on);
    assert!(crashes >= 15, "{crashes}");
}

#[test]
fn after_a_crash_after_any_change_nothing_is_lost_and_nothing_is_sent_again() {
    let crashes =
        crash_everywhere(|faults, number| faults.crash_at_change(number, When::After), Faults::changes, then_go_on);
    assert!(crashes >= 10, "{crashes}");
}

#[test]
fn after_a_crash_and_the_loss_of_the_cache_the_next_backup_is_as_good() {
    for when in [When::Before, When::After] {
        crash_everywhere(
            |faults, number| faults.crash_at_change(number, when),
            Faults::changes,
            |take, context| {
                fs::remove_dir_all(&take.folders.cache).unwrap();
                take.nothing_is_lost(context);
                take.goes_on(context);
            },
        );
    }
}

#[test]
fn a_network_that_fails_once_at_any_operation_costs_at_most_that_backup() {
    crash_everywhere(|faults, number| faults.fail_once_at(number), Faults::count, then_go_on);
}

#[test]
fn several_crashes_in_a_row_send_nothing_twice() {
    let scene = Scene::new();
    let take = scene.take("cache-row");
    for number in 1..30 {
        let faults = Faults::new();
        faults.crash_at_change(1 + number % 4, if number % 2 == 0 { When::Before } else { When::After });
        if take.backup(&faults).is_ok() {
            break;
        }
    }
    then_go_on(&take, "many crashes");
}

#[test]
fn a_vault_that_is_full_at_any_point_says_so_and_goes_on_when_there_is_space() {
    let scene = Scene::new();
    let mut failures = 0;
    for step in 0.. {
        let take = scene.take(&format!("cache-{step}"));
        let faults = Faults::new();
        faults.full_after(step * 17_000);
        let context = format!("full after {}", step * 17_000);
        match take.backup(&faults) {
            Ok(_) => break,
            Err(error) => {
                assert!(error.to_string().starts_with("no space left for "), "{context}: {error}");
                assert!(error.hint().unwrap().contains("free some space"));
                failures += 1;
            }
        }
        then_go_on(&take, &context);
    }
    assert!(failures > 5, "{failures}");
}

#[test]
fn a_vault_that_may_only_be_read_can_be_read_and_says_so_to_a_backup() {
    let scene = Scene::new();
    let take = scene.take("cache-read");
    let faults = Faults::new();
    faults.read_only();
    let error = take.backup(&faults).unwrap_err();
    assert!(error.to_string().ends_with("memory:// is read-only"), "{error}");
    assert!(!error.to_string().contains('\n'));
    let store = take.store.clone().with_faults(faults.clone());
    let unlocked = scene.lab.unlock(&store, &take.folders).unwrap();
    assert_eq!(snapshots(&unlocked).len(), 2);
    assert_sound(&unlocked, ALL_DATA, "read-only");
    for (manifest, tree) in &scene.kept {
        assert_restores(&unlocked, manifest, tree, "read-only");
    }
    then_go_on(&take, "read-only before");
}
