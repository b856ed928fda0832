//! The host's cache, damaged byte by byte: it costs time, and never a file of a snapshot.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use strongroom::format::layout;
use strongroom::store::{Faults, Store, When};
use strongroom::vault::host::Folders;

use crate::support::disk::Disk;
use crate::support::program::Home;
use crate::support::vaults::{
    ALL_DATA, Lab, Random, Tree, assert_same, backup, catalogued, copy_folder, copy_store, plant, restore, verify,
};

/// A vault whose host has something in every file of its cache.
struct Scene {
    lab: Lab,
    random: std::cell::RefCell<Random>,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::in_memory();
        let tree = lab.path("tree");
        let mut random = Random::new(3);
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::write(tree.join("one"), random.bytes(700)).unwrap();
        fs::write(tree.join("sub/two"), random.bytes(900)).unwrap();
        let database = Connection::open(tree.join("app.db")).unwrap();
        database.execute_batch("PRAGMA page_size = 512; CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x')").unwrap();
        // Old enough to be recognised unchanged by its times.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        lab.backup(&tree);
        lab.backup(&tree);
        let scene = Self { lab, random: random.into() };
        scene.die_between_pack_and_catalog();
        scene
    }

    /// Leaves a note of a pack that is in no catalog.
    fn die_between_pack_and_catalog(&self) {
        let tree = self.lab.path("tree");
        fs::write(tree.join("three"), self.random.borrow_mut().bytes(800)).unwrap();
        let faults = Faults::new();
        faults.crash_at_change(1, When::After);
        let store = self.lab.store.clone().with_faults(faults);
        assert!(backup(&self.lab.vault(&store, &self.lab.folders), &tree).is_err());
        assert!(self.files().iter().any(|file| file.to_str().unwrap().contains("/journal/")));
    }

    /// The files of the cache, as far as they hold anything.
    fn files(&self) -> Vec<PathBuf> {
        let cache = &self.lab.folders.cache;
        let entries = walkdir::WalkDir::new(cache).sort_by_file_name().into_iter().map(Result::unwrap);
        let files = entries.filter(|entry| entry.file_type().is_file() && entry.metadata().unwrap().len() > 0);
        files.map(|entry| entry.path().strip_prefix(cache).unwrap().to_owned()).collect()
    }

    /// A host with this cache, in which `harm` is done to one file, makes a snapshot.
    fn check(&self, harm: impl Fn(&Path), context: &str) {
        let place = tempfile::tempdir().unwrap();
        let folders = Folders { config: self.lab.folders.config.clone(), cache: place.path().join("cache") };
        copy_folder(&self.lab.folders.cache, &folders.cache);
        harm(&folders.cache);
        let store = copy_store(&self.lab.store);
        let tree = self.lab.path("tree");
        let made = backup(&self.lab.vault(&store, &folders), &tree).unwrap().manifest;
        assert!(made.complete(), "{context}");
        let stranger = Folders { cache: place.path().join("stranger"), ..folders.clone() };
        for host in [&folders, &stranger] {
            self.restores(&store, host, &made, place.path(), context);
        }
    }

    fn restores(
        &self,
        store: &Store,
        host: &Folders,
        made: &strongroom::format::manifest::Manifest,
        place: &Path,
        context: &str,
    ) {
        let to = place.join("out");
        let report = restore(&self.lab.unlock(store, host).unwrap(), made, &to).unwrap();
        assert_eq!(report.issues, [], "{context}");
        assert_same(&Tree::read(&to), &Tree::read(&self.lab.path("tree")), context);
        fs::remove_dir_all(&to).unwrap();
    }
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

fn cut(file: &Path, length: usize) {
    fs::File::options().write(true).open(file).unwrap().set_len(length as u64).unwrap();
}

/// Places in a file of this length: all of them when asked for, some otherwise. Unit tests beside the code go through
/// all of them, of each kind of file.
fn places(length: usize) -> impl Iterator<Item = usize> {
    let step = if std::env::var_os("STRONGROOM_EVERY_BYTE").is_some() { 1 } else { (length / 5).max(1) };
    (0..length).rev().step_by(step)
}

#[test]
fn a_damaged_cache_costs_time_and_never_a_file_of_a_snapshot() {
    let scene = Scene::new();
    let files = scene.files();
    for folder in ["recall", "index", "pages", "journal"] {
        assert!(files.iter().any(|file| file.iter().any(|part| part == folder)), "{folder}: {files:?}");
    }
    for file in &files {
        let length = fs::metadata(scene.lab.folders.cache.join(file)).unwrap().len() as usize;
        for at in places(length) {
            scene.check(|cache| flip(&cache.join(file), at), &format!("{} flipped at {at}", file.display()));
            scene.check(|cache| cut(&cache.join(file), at), &format!("{} cut at {at}", file.display()));
        }
    }
}

/// A home whose cache is somewhere else.
fn home_with_cache(cache: &Path) -> Home {
    let mut home = Home::new();
    home.set("XDG_CACHE_HOME", cache.to_str().unwrap());
    plant(&home.path("tree"), &mut Random::new(6), 40, 3 << 10);
    let database = Connection::open(home.path("tree/app.db")).unwrap();
    database.execute_batch("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x')").unwrap();
    home
}

/// Everything works, and it is told that it worked without a cache.
fn works_without_a_cache(home: &Home, context: &str) {
    for n in 0..2 {
        fs::write(home.path("tree/new"), format!("{n}")).unwrap();
        let ran = home.ok(&["backup", "tree"]);
        assert!(ran.err.contains("cannot use the cache"), "{context}: {}", ran.err);
        let _ = fs::remove_dir_all(home.path("out"));
        home.ok(&["restore", "latest", "--to", "out"]);
        assert_same(&Tree::read(&home.path("out")), &Tree::read(&home.path("tree")), context);
    }
    home.ok(&["verify", "--read-data"]);
    home.ok(&["query", "latest", "SELECT * FROM t"]);
    let told = home.json(&["backup", "tree"]);
    assert!(told["warnings"][0].as_str().unwrap().contains("the snapshot is complete"), "{told}");
}

#[test]
fn a_full_cache_disk_fails_no_backup_and_no_restore() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(place.path().join("cache"), "64k") else { return };
    for free in [0, 4, 12, 24] {
        let home = home_with_cache(&disk.0);
        fs::write(disk.0.join("filler"), vec![1; (64 - free) << 10]).unwrap();
        works_without_a_cache(&home, &format!("{free} KiB free"));
        for entry in fs::read_dir(&disk.0).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() { fs::remove_dir_all(entry).unwrap() } else { fs::remove_file(entry).unwrap() }
        }
    }
}

#[test]
fn a_file_in_the_place_of_the_cache_fails_no_backup_and_no_restore() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, b"").unwrap();
    works_without_a_cache(&home_with_cache(&file), "a file");
    works_without_a_cache(&home_with_cache(&file.join("below")), "below a file");
}

#[test]
fn a_cache_that_was_damaged_is_told_to_whoever_wants_to_know() {
    let home = home_with_cache(&tempfile::tempdir().unwrap().path().join("cache"));
    home.ok(&["backup", "tree"]);
    let cache = home.command(&[]).get_envs().find(|(name, _)| *name == "XDG_CACHE_HOME").unwrap().1.unwrap().to_owned();
    let is_run = |path: &Path| path.extension().is_some_and(|end| end == "index");
    let files = walkdir::WalkDir::new(cache).into_iter().map(|entry| entry.unwrap().path().to_owned());
    let runs: Vec<PathBuf> = files.filter(|path| is_run(path)).collect();
    assert!(!runs.is_empty());
    runs.iter().for_each(|run| flip(run, 1));
    let ran = home.ok(&["--verbose", "backup", "tree"]);
    assert!(ran.err.contains("is damaged or of another version, dropped"), "{}", ran.err);
    assert!(!home.ok(&["--verbose", "backup", "tree"]).err.contains("dropped"));
}

#[test]
fn what_a_check_found_damaged_is_known_though_the_note_of_it_is_damaged() {
    let scene = Scene::new();
    let store = scene.lab.store.clone();
    // One that a catalog names: there is another.
    let pack = layout::pack(catalogued(&store, &scene.lab.folders)[0].digest);
    let mut harmed = store.get(&pack).unwrap().to_vec();
    let middle = harmed.len() / 2;
    harmed[middle] ^= 1;
    store.delete(&pack).unwrap();
    store.put_new(&pack, harmed.into()).unwrap();
    assert!(!verify(&scene.lab.unlock(&store, &scene.lab.folders).unwrap(), ALL_DATA).unwrap().sound());
    for name in ["damaged", "damaged-again"] {
        let is_it = |file: &PathBuf| file.file_name().is_some_and(|file| file == name);
        let file = scene.files().into_iter().find(is_it).unwrap();
        for at in places(fs::metadata(scene.lab.folders.cache.join(&file)).unwrap().len() as usize) {
            scene.check(|cache| flip(&cache.join(&file), at), &format!("{name} flipped at {at}"));
        }
    }
}
