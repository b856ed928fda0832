//! What commands cost: bytes and requests asked of the store, and the time until something is said.
//!
//! Bytes and requests are exact on every machine. Times are bounds for the profile that tests are built in; what an
//! optimised build takes is in docs/performance.md.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use strongroom::format::layout;
use strongroom::format::manifest::Manifest;
use strongroom::ops::restore;
use strongroom::ops::show::{self, Part};
use strongroom::store::{Faults, Operation};
use strongroom::vault::LockedVault;
use strongroom::vault::host::Folders;

use crate::support::program::Home;
use crate::support::vaults::{Lab, Random, backup, plant, snapshots};

/// Words as they stand in programs: they compress to about a third, as sources do.
fn text(random: &mut Random, length: usize) -> Vec<u8> {
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        let number = random.next();
        match number % 5 {
            0 => text.push_str("    return value\n"),
            1 => text.push_str("let name = "),
            _ => text.push_str(&format!("word{:03} ", number / 5 % 1000)),
        }
    }
    text.truncate(length);
    text.into_bytes()
}

/// Three thousand small files of 18 MB, and 30 large ones of 126 MB that do not compress. A small file costs its frame,
/// which may hold up to 2 MiB that do not compress, and a little of the listing: two percent of a vault of 120 MB.
fn many_small_and_some_large(root: &Path) {
    let mut random = Random::new(31);
    for n in 0..3000 {
        let folder = root.join(format!("sources/{:02}", n % 60));
        fs::create_dir_all(&folder).unwrap();
        let length = 1000 + random.below(10_000);
        fs::write(folder.join(format!("{n:04}.rs")), text(&mut random, length)).unwrap();
    }
    fs::create_dir_all(root.join("documents")).unwrap();
    for n in 0..30 {
        fs::write(root.join(format!("documents/{n}.pdf")), random.bytes(4 << 20)).unwrap();
    }
}

struct Scene {
    lab: Lab,
    tree: PathBuf,
}

impl Scene {
    /// Five snapshots of it, made with the limits everybody uses.
    fn new() -> Self {
        let lab = Lab::in_memory();
        let tree = lab.path("tree");
        many_small_and_some_large(&tree);
        for n in 0..5 {
            fs::write(tree.join("sources/00/changing.rs"), format!("let n = {n};\n")).unwrap();
            let vault = LockedVault::open(lab.store.clone(), &lab.folders).unwrap().into_vault().unwrap();
            backup(&vault, &tree).unwrap();
        }
        Self { lab, tree }
    }

    fn size_of(&self, folder: &str) -> u64 {
        self.lab.store.list(folder).unwrap().iter().map(|object| object.size).sum()
    }

    /// Restores one path of the latest snapshot, from opening the vault on; the bytes that were fetched for it.
    fn fetched_for(&self, path: &str, folders: &Folders) -> u64 {
        let faults = Faults::new();
        let store = self.lab.store.clone().with_faults(faults.clone());
        let unlocked = self.lab.unlock(&store, folders).unwrap();
        let latest: Manifest = snapshots(&unlocked).pop().unwrap().manifest;
        let to = tempfile::tempdir().unwrap();
        let part = Part { source: None, path: path.parse().unwrap() };
        let request = restore::Request {
            parts: vec![part],
            to: to.path().to_owned(),
            numeric_ids: true,
            control: Default::default(),
        };
        let report = restore::restore(&unlocked, &latest, &request).unwrap();
        assert_eq!((report.files, report.issues_count), (1, 0), "{path}");
        assert!(fs::read(to.path().join(path)).unwrap() == fs::read(self.tree.join(path)).unwrap(), "{path}");
        faults.bytes_read()
    }
}

#[test]
fn restoring_one_file_reads_at_most_two_percent_of_the_vault() {
    let scene = Scene::new();
    let vault = scene.size_of("");
    assert!((120 << 20..140 << 20).contains(&vault), "{vault}");
    let share = vault / 50;
    for path in ["sources/00/0000.rs", "sources/33/0933.rs", "sources/59/2999.rs", "sources/00/changing.rs"] {
        let warm = scene.fetched_for(path, &scene.lab.folders);
        assert!(warm <= share, "{path}: {warm} of {vault} bytes");
        // A host that has never seen the vault reads the catalogs as well, once.
        let stranger = scene.lab.with_cache(&format!("cold-{}", path.replace('/', "-")));
        let cold = scene.fetched_for(path, &stranger);
        let catalogs = scene.size_of(layout::CATALOGS);
        assert!(cold <= share + catalogs, "{path}: {cold} of {vault} bytes, catalogs of {catalogs}");
        assert!(cold >= catalogs, "{path}: the catalogs were not read");
    }
    // What is large itself costs its own length, and what lies beside it in its first and its last frame.
    let large = scene.fetched_for("documents/7.pdf", &scene.lab.folders);
    let most = (4 << 20) + 2 * (2 << 20) + (512 << 10);
    assert!((4 << 20..=most).contains(&large), "{large} of {vault} bytes");
}

/// What was asked of the store to list the snapshots and to show one file, with everything in the cache.
fn requests(catalogs: usize) -> (usize, Vec<Operation>) {
    let lab = Lab::in_memory();
    let tree = lab.path("tree");
    plant(&tree, &mut Random::new(37), 8, 2 << 10);
    lab.backup(&tree);
    while lab.store.list(layout::CATALOGS).unwrap().len() < catalogs {
        // A catalog more, and no snapshot: as an interrupted backup leaves it.
        fs::write(tree.join("more"), format!("{}", lab.store.list(layout::CATALOGS).unwrap().len())).unwrap();
        lab.backup(&tree);
        let spare = lab.store.list(layout::SNAPSHOTS).unwrap().pop().unwrap().key;
        lab.store.delete(&spare).unwrap();
    }
    let faults = Faults::new();
    let store = lab.store.clone().with_faults(faults.clone());
    let unlocked = lab.unlock(&store, &lab.folders).unwrap();
    let latest = snapshots(&unlocked).pop().unwrap().manifest;
    let file = Part { source: None, path: "folder-3/file-003".parse().unwrap() };
    show::cat(&unlocked, &latest, &file, &mut std::io::sink()).unwrap();
    let log = faults.log();
    assert!(log.iter().all(|line| line.operation != Operation::Get || !line.object.starts_with(layout::CATALOGS)));
    (lab.store.list(layout::CATALOGS).unwrap().len(), log.into_iter().map(|line| line.operation).collect())
}

#[test]
fn with_a_warm_cache_the_number_of_catalogs_costs_no_request() {
    let (few, (many, asked)) = (requests(2).1, requests(60));
    assert!(many >= 60);
    assert_eq!(few.len(), asked.len(), "{few:?} and {asked:?}");
    let lists = asked.iter().filter(|operation| **operation == Operation::List).count();
    assert!(lists <= 4 && asked.len() <= 16, "{asked:?}");
}

/// The shortest of twenty runs until the first byte of the answer: what the machine does beside is not measured.
fn first_byte(run: impl Fn() -> Child) -> Duration {
    let once = || {
        let clock = Instant::now();
        let mut child = run();
        let mut byte = [0];
        child.stdout.take().unwrap().read_exact(&mut byte).unwrap();
        let took = clock.elapsed();
        child.wait().unwrap();
        took
    };
    (0..20).map(|_| once()).min().unwrap()
}

#[test]
fn the_first_byte_comes_within_thirty_milliseconds() {
    let home = Home::new();
    for n in 0..30 {
        home.write(&format!("app/{n}.txt"), format!("file {n}\n"));
    }
    for _ in 0..10 {
        home.write("app/changing.txt", format!("{:?}", Instant::now()));
        home.ok(&["--quiet", "backup", "app"]);
    }
    let start = |arguments: &[&str]| {
        let (out, err) = (Stdio::piped(), Stdio::null());
        home.command(arguments).stdout(out).stderr(err).spawn().unwrap()
    };
    for command in [&["--version"][..], &["snapshots"], &["show", "latest"], &["show", "latest", ":7.txt", "--cat"]] {
        let took = first_byte(|| start(command));
        assert!(took < Duration::from_millis(30), "{command:?}: {took:?}");
    }
}
