//! Every object of a vault is damaged in turn, in every way: it is always found, and no wrong byte is ever given back.

use std::collections::BTreeSet;
use std::fs;

use bytes::Bytes;
use strongroom::base::control::Control;
use strongroom::base::error::{Class, Explain};
use strongroom::base::name::ObjectKey;
use strongroom::format::layout;
use strongroom::format::manifest::Manifest;
use strongroom::ops::verify::{self, Damage};
use strongroom::store::Store;
use strongroom::vault::host::Folders;
use strongroom::vault::unlocked::UnlockedVault;

use crate::support::vaults::{
    ALL_DATA, Lab, Random, Tree, change, copy_folder, copy_store, plant, restore, verify as verify_all,
};

/// A vault with three snapshots and two people's keys.
pub struct Scene {
    pub lab: Lab,
    made: Vec<(Manifest, Tree)>,
}

/// What is done to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Harm {
    Flip(usize),
    Cut(usize),
    Append,
    Delete,
    Swap(ObjectKey),
}

impl Scene {
    pub fn new() -> Self {
        let lab = Lab::in_memory();
        let tree = lab.path("tree");
        let mut random = Random::new(17);
        plant(&tree, &mut random, 45, 5 << 10);
        let mut made = Vec::new();
        for _ in 0..3 {
            made.push((lab.backup(&tree), Tree::read(&tree)));
            change(&tree, &mut random, 10, 5 << 10);
        }
        Self { lab, made }
    }

    fn objects(&self) -> Vec<ObjectKey> {
        self.lab.store.list("").unwrap().into_iter().map(|object| object.key).collect()
    }

    /// All that can be done to an object, with a second object of the same type for the swap.
    fn harms(&self, object: &ObjectKey) -> Vec<Harm> {
        let length = self.lab.store.get(object).unwrap().len();
        let flips = [0, 60, length / 2, length - 1].map(Harm::Flip);
        let cuts = [0, length / 2, length - 1].map(Harm::Cut);
        let kind = |key: &ObjectKey| key.as_str().split('/').next().unwrap().to_owned();
        let other = self.objects().into_iter().find(|key| key != object && kind(key) == kind(object));
        let rest = [Harm::Append, Harm::Delete].into_iter().chain(other.map(Harm::Swap));
        flips.into_iter().chain(cuts).chain(rest).collect()
    }

    /// A copy of the vault in which this was done to `object`.
    pub fn harmed(&self, object: &ObjectKey, harm: &Harm) -> Store {
        let store = copy_store(&self.lab.store);
        let mut bytes = store.get(object).unwrap().to_vec();
        match harm {
            Harm::Flip(at) => bytes[*at] ^= 0x10,
            Harm::Cut(length) => bytes.truncate(*length),
            Harm::Append => bytes.push(0),
            Harm::Delete => return delete(store, object),
            Harm::Swap(other) => {
                let theirs = store.get(other).unwrap();
                store.delete(other).unwrap();
                store.put_new(other, bytes.into()).unwrap();
                bytes = theirs.to_vec();
            }
        }
        put_instead(&store, object, bytes);
        store
    }

    /// The snapshots there are.
    pub fn made(&self) -> impl Iterator<Item = &Manifest> {
        self.made.iter().map(|(manifest, _)| manifest)
    }

    /// The host's folders with a copy of its cache, or with none.
    pub fn host(&self, name: &str, warm: bool) -> Folders {
        let folders = self.lab.with_cache(name);
        let _ = fs::remove_dir_all(&folders.cache);
        if warm {
            copy_folder(&self.lab.folders.cache, &folders.cache);
        }
        folders
    }
}

fn delete(store: Store, object: &ObjectKey) -> Store {
    store.delete(object).unwrap();
    store
}

pub fn put_instead(store: &Store, object: &ObjectKey, bytes: Vec<u8>) {
    store.delete(object).unwrap();
    store.put_new(object, Bytes::from(bytes)).unwrap();
}

/// Does everything that can be done to every object of these folders of the vault.
fn damage_all(folders: &[&str], warm: bool) {
    let scene = Scene::new();
    let mut cases = 0;
    for object in scene.objects().iter().filter(|key| folders.iter().any(|folder| key.as_str().starts_with(folder))) {
        for harm in scene.harms(object) {
            let case = Case { scene: &scene, object, harm: &harm, warm };
            case.run();
            cases += 1;
        }
    }
    assert!(cases >= 9, "{cases}");
}

struct Case<'s> {
    scene: &'s Scene,
    object: &'s ObjectKey,
    harm: &'s Harm,
    warm: bool,
}

impl Case<'_> {
    fn context(&self) -> String {
        format!("{:?} of {} with a {} cache", self.harm, self.object, if self.warm { "warm" } else { "cold" })
    }

    fn run(&self) {
        let context = self.context();
        let store = self.scene.harmed(self.object, self.harm);
        self.without_keys(&store);
        let folders = self.scene.host("host", self.warm);
        let unlocked = match self.scene.lab.unlock(&store, &folders) {
            Ok(unlocked) => unlocked,
            Err(error) => {
                // Without the vault's file or one's own key there is nothing to read, and that is what is said.
                let class = error.class();
                let expected = [Class::Damaged, Class::NoVault, Class::NoIdentity];
                assert!(expected.contains(&class), "{context}: {error}");
                assert!(!matches!(self.object.as_str().split('/').next(), Some("packs" | "catalogs" | "snapshots")));
                return;
            }
        };
        let report = verify_all(&unlocked, ALL_DATA).unwrap_or_else(|error| panic!("{context}: {error}"));
        if self.cannot_be_known() {
            return assert!(report.sound());
        }
        assert!(!report.sound(), "{context}: verify found nothing");
        self.is_named(&report.damage);
        for (manifest, tree) in &self.scene.made {
            self.restores_only_what_was(&unlocked, manifest, tree, &report.damage);
        }
    }

    /// The newest manifest is referred to by nothing in the vault: only a host that committed it misses it.
    fn cannot_be_known(&self) -> bool {
        let newest = self.scene.lab.store.list(layout::SNAPSHOTS).unwrap().pop().unwrap().key;
        !self.warm && *self.harm == Harm::Delete && *self.object == newest
    }

    /// A machine without keys sees all but what is missing.
    fn without_keys(&self, store: &Store) {
        match verify::stored(store, &Control::default()) {
            Ok(report) if *self.harm == Harm::Delete => assert!(report.sound()),
            Ok(report) => {
                let named = report.damage.iter().any(|damage| damage.object == *self.object);
                assert!(named, "{}: {:?}", self.context(), report.damage);
            }
            Err(error) => assert_eq!(error.class(), Class::NoVault, "{}", self.context()),
        }
    }

    fn is_named(&self, damage: &[Damage]) {
        // A catalog that is gone is known by nothing but what it named: the snapshots that miss it.
        let gone = *self.harm == Harm::Delete && self.object.as_str().starts_with(layout::CATALOGS);
        let named = |damage: &Damage| {
            damage.object == *self.object || (gone && damage.object.as_str().starts_with(layout::SNAPSHOTS))
        };
        assert!(damage.iter().any(named), "{}: {damage:#?}", self.context());
    }

    /// Every file is as it was, or not there and told of by both restore and verify.
    fn restores_only_what_was(&self, unlocked: &UnlockedVault, manifest: &Manifest, tree: &Tree, damage: &[Damage]) {
        let context = format!("{}, snapshot of {}", self.context(), manifest.time);
        let readable = unlocked.snapshots().unwrap().readable;
        let Some(snapshot) = readable.iter().find(|snapshot| snapshot.manifest.id == manifest.id) else {
            return assert!(self.object.as_str().starts_with(layout::SNAPSHOTS), "{context}");
        };
        assert_eq!(snapshot.manifest, *manifest, "{context}");
        let to = tempfile::tempdir().unwrap();
        let report = restore(unlocked, manifest, to.path()).unwrap_or_else(|error| panic!("{context}: {error}"));
        let found = Tree::read(to.path());
        let mut missing = BTreeSet::new();
        for (path, thing) in tree.files() {
            match found.0.get(path) {
                Some(there) => assert_eq!(there, thing, "{context}: {path}"),
                None => drop(missing.insert(path.clone())),
            }
        }
        let strange: Vec<_> = found.files().filter(|(path, _)| !tree.0.contains_key(*path)).collect();
        assert!(strange.is_empty(), "{context}: {strange:?}");
        let listing_lost = report.issues.iter().any(|issue| issue.path == "docs");
        let told: BTreeSet<_> = report.issues.iter().map(|issue| issue.path.clone()).collect();
        let silent: Vec<_> = missing.iter().filter(|path| !listing_lost && !told.contains(*path)).collect();
        assert!(silent.is_empty(), "{context}: left out without a word: {silent:?}");
        self.foretold(damage, manifest, &missing, &context);
    }

    /// What could not be restored is what verify said is harmed.
    fn foretold(&self, damage: &[Damage], manifest: &Manifest, missing: &BTreeSet<String>, context: &str) {
        let harmed = damage.iter().flat_map(|damage| &damage.harmed).filter(|harmed| harmed.snapshot == manifest.id);
        let paths: BTreeSet<_> = harmed.clone().flat_map(|harmed| &harmed.paths).cloned().collect();
        let all_named = harmed.clone().all(|harmed| harmed.paths_count == harmed.paths.len() as u64);
        let by_listing = paths.iter().any(|path| path.starts_with("docs: the listing"));
        for path in missing.iter().filter(|_| !by_listing && all_named) {
            assert!(paths.contains(&format!("docs/{path}")), "{context}: {path} is missing, harmed are {paths:?}");
        }
        let unharmed: Vec<_> = paths.iter().filter_map(|path| path.strip_prefix("docs/")).collect();
        let restored: Vec<_> = unharmed.iter().filter(|path| !missing.contains(**path)).collect();
        // With a warm cache more is found than the vault itself vouches for.
        let exact = !self.warm && !by_listing;
        assert!(restored.is_empty() || !exact, "{context}: called harmed, and restored: {restored:?}");
    }
}

#[test]
fn every_harm_to_a_pack_is_found_and_no_wrong_byte_restored() {
    damage_all(&["packs/"], false);
}

#[test]
fn every_harm_to_a_pack_is_found_however_warm_the_cache() {
    damage_all(&["packs/"], true);
}

#[test]
fn every_harm_to_a_catalog_or_manifest_is_found_and_no_wrong_byte_restored() {
    damage_all(&["catalogs/", "snapshots/"], false);
}

#[test]
fn every_harm_to_a_catalog_or_manifest_is_found_however_warm_the_cache() {
    damage_all(&["catalogs/", "snapshots/"], true);
}

#[test]
fn every_harm_to_a_key_or_the_vaults_own_file_is_found() {
    damage_all(&["keys/", "vault.json"], false);
    damage_all(&["keys/", "vault.json"], true);
}

#[test]
fn every_bit_of_a_manifest_a_catalog_and_a_key_counts() {
    let scene = Scene::new();
    let folders = scene.host("host", false);
    let first = |folder: &str| scene.lab.store.list(folder).unwrap().remove(0).key;
    for object in [first(layout::CATALOGS), first(layout::SNAPSHOTS), first(layout::KEYS)] {
        let length = scene.lab.store.get(&object).unwrap().len();
        for at in (0..length).step_by(7) {
            let store = scene.harmed(&object, &Harm::Flip(at));
            match scene.lab.unlock(&store, &folders) {
                Ok(unlocked) => {
                    let report = verify_all(&unlocked, strongroom::ops::verify::Depth::Structure).unwrap();
                    assert!(report.damage.iter().any(|damage| damage.object == object), "{object}, byte {at}");
                }
                Err(error) => assert_eq!(error.class(), Class::Damaged, "{object}, byte {at}: {error}"),
            }
        }
    }
}

#[test]
fn a_catalog_that_is_gone_harms_every_snapshot_that_shares_what_it_named() {
    let lab = Lab::in_memory();
    let tree = lab.path("tree");
    plant(&tree, &mut Random::new(19), 40, 9 << 10);
    let made: BTreeSet<_> = (0..3).map(|_| lab.backup(&tree).id).collect();
    let catalogs = lab.store.list(layout::CATALOGS).unwrap();
    assert!(catalogs.len() > 2);
    for object in catalogs {
        let store = delete(copy_store(&lab.store), &object.key);
        let report = verify_all(&lab.unlock(&store, &lab.with_cache("other")).unwrap(), ALL_DATA).unwrap();
        let harmed: BTreeSet<_> =
            report.damage.iter().flat_map(|damage| &damage.harmed).map(|harmed| harmed.snapshot).collect();
        assert_eq!(harmed, made, "{}: {:#?}", object.key, report.damage);
    }
}
