//! After damage, the next backup of what still exists makes a snapshot that restores, here and on other hosts.

use std::path::PathBuf;

use strongroom::base::name::ObjectKey;
use strongroom::format::layout;
use strongroom::format::manifest::Manifest;
use strongroom::ops::backup;
use strongroom::ops::verify::Depth;
use strongroom::store::Store;
use strongroom::vault::host::Folders;

use crate::damage::{Harm, Scene, put_instead};
use crate::support::vaults::{ALL_DATA, Tree, assert_same, request, restore, verify};

/// What tells the host of the damage before it backs up.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    /// The backup reads everything again.
    Rescan,
    /// A check was made on this host; the backup is an ordinary one.
    Verify(Depth),
    /// Nothing but what a backup sees anyway.
    Nothing,
}

/// One object harmed, and a host with a warm or a cold cache.
struct Case<'s> {
    scene: &'s Scene,
    object: ObjectKey,
    store: Store,
    folders: Folders,
}

impl Case<'_> {
    fn tree(&self) -> PathBuf {
        self.scene.lab.path("tree")
    }

    fn verify(&self, depth: Depth) -> strongroom::ops::verify::Report {
        verify(&self.scene.lab.unlock(&self.store, &self.folders).unwrap(), depth).unwrap()
    }

    fn backup(&self, rescan: bool) -> Manifest {
        let vault = self.scene.lab.vault(&self.store, &self.folders);
        backup::backup(&vault, &request(&self.tree(), rescan)).unwrap().manifest
    }

    /// How much of a snapshot does not come back, on this host and on one that has never seen the vault.
    fn issues(&self, manifest: &Manifest) -> u64 {
        let stranger = self.scene.host("stranger", false);
        let hosts = [&self.folders, &stranger];
        let issues = hosts.map(|host| {
            let to = tempfile::tempdir().unwrap();
            let unlocked = self.scene.lab.unlock(&self.store, host).unwrap();
            let report = restore(&unlocked, manifest, to.path()).unwrap();
            if report.issues_count == 0 {
                assert_same(&Tree::read(to.path()), &Tree::read(&self.tree()), self.object.as_str());
            }
            report.issues_count
        });
        issues.iter().sum()
    }
}

/// A scene whose tree has rested, so that what is unchanged is recognised, and was backed up since.
fn settled() -> Scene {
    let scene = Scene::new();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    scene.lab.backup(&scene.lab.path("tree"));
    scene
}

/// Harms each object of a folder of the vault in turn.
fn each_case(object_of: &str, harm: impl Fn(usize) -> Harm, warm: bool, check: impl Fn(&Case)) {
    let scene = settled();
    let objects = scene.lab.store.list(object_of).unwrap();
    assert!(objects.len() > 1);
    for object in objects.into_iter().map(|object| object.key) {
        let store = scene.harmed(&object, &harm(scene.lab.store.get(&object).unwrap().len()));
        let folders = scene.host("healing", warm);
        check(&Case { scene: &scene, object, store, folders });
    }
}

/// The next backup makes a snapshot that restores everywhere; the one after it reads nothing, and restores as well.
fn heals(object_of: &str, harm: impl Fn(usize) -> Harm, warm: bool, told: Told) {
    each_case(object_of, harm, warm, |case| {
        if let Told::Verify(depth) = told {
            assert!(!case.verify(depth).sound(), "{}", case.object);
        }
        let healed = case.backup(told == Told::Rescan);
        assert_eq!(case.issues(&healed), 0, "{}", case.object);
        let again = case.backup(false);
        assert_eq!((again.bytes_read, case.issues(&again)), (0, 0), "{}", case.object);
        // The object is still damaged, and harms the old snapshots at most.
        let report = case.verify(ALL_DATA);
        let harmed = report.damage.iter().flat_map(|damage| &damage.harmed);
        assert!(
            harmed.clone().all(|harmed| harmed.snapshot != healed.id && harmed.snapshot != again.id),
            "{report:#?}"
        );
    });
}

fn flip(length: usize) -> Harm {
    Harm::Flip(length / 2)
}

#[test]
fn a_catalog_that_is_gone_is_done_without() {
    for warm in [true, false] {
        heals(layout::CATALOGS, |_| Harm::Delete, warm, Told::Nothing);
    }
}

#[test]
fn a_damaged_catalog_is_done_without_by_a_host_without_a_cache() {
    heals(layout::CATALOGS, flip, false, Told::Nothing);
}

#[test]
fn a_backup_that_reads_everything_again_does_without_a_damaged_catalog() {
    heals(layout::CATALOGS, flip, true, Told::Rescan);
}

#[test]
fn a_damaged_catalog_is_done_without_once_a_check_on_this_host_found_it() {
    heals(layout::CATALOGS, flip, true, Told::Verify(Depth::Structure));
}

#[test]
fn what_a_lost_or_a_shorter_pack_held_is_stored_anew() {
    for warm in [true, false] {
        heals(layout::PACKS, |_| Harm::Delete, warm, Told::Nothing);
        heals(layout::PACKS, |length| Harm::Cut(length - 1), warm, Told::Nothing);
    }
}

#[test]
fn what_an_altered_pack_held_is_stored_anew_once_a_check_on_this_host_found_it() {
    for warm in [true, false] {
        heals(layout::PACKS, flip, warm, Told::Verify(ALL_DATA));
    }
}

#[test]
fn a_damaged_catalog_still_serves_restores_of_the_host_that_has_it_in_its_cache() {
    each_case(layout::CATALOGS, flip, true, |case| {
        assert!(!case.verify(Depth::Structure).sound());
        case.backup(false);
        for old in case.scene.made() {
            let to = tempfile::tempdir().unwrap();
            let unlocked = case.scene.lab.unlock(&case.store, &case.folders).unwrap();
            assert_eq!(restore(&unlocked, old, to.path()).unwrap().issues, [], "{}", case.object);
        }
    });
}

#[test]
fn what_was_put_right_is_relied_on_again_after_the_next_check() {
    each_case(layout::PACKS, flip, true, |case| {
        let good = case.scene.lab.store.get(&case.object).unwrap().to_vec();
        assert!(!case.verify(ALL_DATA).sound());
        put_instead(&case.store, &case.object, good);
        assert!(case.verify(ALL_DATA).sound());
        let manifest = case.backup(false);
        assert_eq!(manifest.bytes_read, 0, "{}", case.object);
    });
    each_case(layout::CATALOGS, flip, true, |case| {
        let good = case.scene.lab.store.get(&case.object).unwrap().to_vec();
        assert!(!case.verify(Depth::Structure).sound());
        put_instead(&case.store, &case.object, good);
        let manifest = case.backup(false);
        assert_eq!(manifest.bytes_read, 0, "{}", case.object);
    });
}

#[test]
fn a_check_that_finds_nothing_costs_the_next_backup_nothing() {
    let scene = settled();
    let unlocked = scene.lab.unlock(&scene.lab.store, &scene.lab.folders).unwrap();
    assert!(verify(&unlocked, ALL_DATA).unwrap().sound());
    let faults = strongroom::store::Faults::new();
    let store = scene.lab.store.clone().with_faults(faults.clone());
    let vault = scene.lab.vault(&store, &scene.lab.folders);
    let report = backup::backup(&vault, &request(&scene.lab.path("tree"), false)).unwrap();
    assert_eq!(report.manifest.bytes_read, 0);
    let read: Vec<_> = faults.log().into_iter().filter(|line| line.object.starts_with(layout::CATALOGS)).collect();
    assert_eq!(read.len(), 1, "the listing of catalogs: {read:?}");
}
