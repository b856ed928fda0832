use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::base::chunk::plain_digest;
use crate::base::entry::Content;
use crate::base::error::{Class, Explain};
use crate::base::path::encode;
use crate::base::time::Instant;

mod links;
mod many;
mod metadata;
mod obstacles;

/// A folder to restore into, beside one that nothing may touch.
struct Bench {
    scratch: TempDir,
    target: Target,
}

impl Bench {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("outside")).unwrap();
        fs::write(scratch.path().join("outside/passwd"), "precious").unwrap();
        let target = Target::open(&scratch.path().join("target"), Options::default()).unwrap();
        Self { scratch, target }
    }

    fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.scratch.path().join("target").join(name.as_ref())
    }

    fn outside(&self) -> PathBuf {
        self.scratch.path().join("outside")
    }

    fn begin(&self, entry: &Entry) -> Result<Outcome, TargetError> {
        self.target.begin(entry, &mut entry.content.extents.iter().cloned().map(Ok))
    }

    fn again(&mut self) {
        self.target = Target::open(&self.path(""), Options::default()).unwrap();
    }

    /// Every name in the target: to see that nothing temporary is left.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("")).unwrap();
        let mut names: Vec<String> = entries.map(|e| encode(e.unwrap().file_name().as_bytes())).collect();
        names.sort();
        names
    }
}

fn entry(path: &str, kind: Kind) -> Entry {
    Entry {
        path: path.parse().unwrap(),
        kind,
        mode: 0o644,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        user: None,
        group: None,
        mtime: Instant::from_unix(1_600_000_000, 123_456_789),
        size: 0,
        content: Content::default(),
        target: None,
        link: None,
        device: None,
        xattrs: Default::default(),
        inconsistent: false,
    }
}

fn file(path: &str, bytes: &[u8]) -> Entry {
    let content = Content::of_chunk(plain_digest(bytes), bytes.len() as u64);
    Entry { size: bytes.len() as u64, content, ..entry(path, Kind::File) }
}

fn link_to(path: &str, target: &str) -> Entry {
    Entry { target: Some(target.into()), ..entry(path, Kind::Symlink) }
}

fn write(outcome: Outcome, bytes: &[u8]) {
    let Outcome::Content(writer) = outcome else { panic!("content was not asked for") };
    let (left, right) = bytes.split_at(bytes.len() / 2);
    writer.write_at(left.len() as u64, right).unwrap();
    writer.write_at(0, left).unwrap();
    writer.finish(bytes.len() as u64).unwrap();
}

fn mtime(path: PathBuf) -> (i64, i64) {
    let there = fs::symlink_metadata(path).unwrap();
    (there.mtime(), there.mtime_nsec())
}

/// Tells scripts/check.sh, which says it at its end.
fn not_tested(what: &str) {
    if let Some(file) = std::env::var_os("STRONGROOM_NOT_TESTED") {
        let mut file = File::options().append(true).create(true).open(file).unwrap();
        std::io::Write::write_all(&mut file, format!("{what}\n").as_bytes()).unwrap();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_file_comes_back_with_bytes_mode_and_nanoseconds() {
    let bench = Bench::new();
    let small = Entry { mode: 0o4751, ..file("a/small", b"hello") };
    bench.target.small_file(&small, b"hello").unwrap();
    let large = Entry { mode: 0o2444, ..file("a/large", b"hello world") };
    write(bench.begin(&large).unwrap(), b"hello world");
    bench.target.small_file(&file("a/empty", b""), b"").unwrap();
    assert!(matches!(bench.begin(&file("a/empty-too", b"")).unwrap(), Outcome::Done));
    assert_eq!(fs::read(bench.path("a/small")).unwrap(), b"hello");
    assert_eq!(fs::read(bench.path("a/large")).unwrap(), b"hello world");
    for (name, mode) in [("a/small", 0o4751), ("a/large", 0o2444), ("a/empty", 0o644), ("a/empty-too", 0o644)] {
        assert_eq!(fs::metadata(bench.path(name)).unwrap().mode() & 0o7777, mode, "{name}");
        assert_eq!(mtime(bench.path(name)), (1_600_000_000, 123_456_789), "{name}");
    }
    assert_eq!(bench.target.seal(), []);
}

#[test]
fn folders_get_their_metadata_after_what_is_in_them() {
    let bench = Bench::new();
    for (path, mode) in [(".", 0o755), ("a", 0o1777), ("a/b", 0o500), ("c", 0o2750)] {
        bench.begin(&Entry { mode, ..entry(path, Kind::Dir) }).unwrap();
    }
    bench.target.small_file(&file("a/b/f", b"x"), b"x").unwrap();
    bench.target.small_file(&file("c/f", b"x"), b"x").unwrap();
    assert_eq!(bench.target.seal(), []);
    for (path, mode) in [("", 0o755), ("a", 0o1777), ("a/b", 0o500), ("c", 0o2750)] {
        let there = fs::metadata(bench.path(path)).unwrap();
        assert_eq!((there.mode() & 0o7777, there.mtime(), there.mtime_nsec()), (mode, 1_600_000_000, 123_456_789));
    }
}

#[test]
fn duplicate_paths_replace_each_other_inside_the_target() {
    let bench = Bench::new();
    let first = bench.begin(&file("f", b"first")).unwrap();
    let second = bench.begin(&file("f", b"second")).unwrap();
    write(second, b"second");
    write(first, b"first");
    assert_eq!(fs::read(bench.path("f")).unwrap(), b"second");
    assert_eq!(bench.names(), ["f"]);
}

#[test]
fn identical_files_are_left_alone() {
    let mut bench = Bench::new();
    bench.target.small_file(&file("small", b"hello"), b"hello").unwrap();
    write(bench.begin(&file("large", b"hello world")).unwrap(), b"hello world");
    bench.begin(&link_to("link", "anywhere")).unwrap();
    let stamp = |bench: &Bench, name: &str| {
        let there = fs::symlink_metadata(bench.path(name)).unwrap();
        (there.ino(), there.ctime(), there.ctime_nsec())
    };
    let before = ["small", "large", "link"].map(|name| stamp(&bench, name));
    bench.again();
    assert!(matches!(bench.target.small_file(&file("small", b"hello"), b"hello"), Ok(Outcome::Identical)));
    assert!(matches!(bench.begin(&file("large", b"hello world")), Ok(Outcome::Identical)));
    assert!(matches!(bench.begin(&link_to("link", "anywhere")), Ok(Outcome::Identical)));
    assert_eq!(before, ["small", "large", "link"].map(|name| stamp(&bench, name)));
}

#[test]
fn identical_content_gets_its_metadata_put_right() {
    let bench = Bench::new();
    fs::write(bench.path("f"), "hello").unwrap();
    let inode = fs::metadata(bench.path("f")).unwrap().ino();
    let wanted = Entry { mode: 0o4711, ..file("f", b"hello") };
    assert!(matches!(bench.begin(&wanted), Ok(Outcome::Identical)));
    let there = fs::metadata(bench.path("f")).unwrap();
    assert_eq!((there.ino(), there.mode() & 0o7777, there.mtime()), (inode, 0o4711, 1_600_000_000));
}

#[test]
fn a_file_that_differs_is_replaced_by_a_new_one_and_not_written_through() {
    let bench = Bench::new();
    for name in ["f", "g"] {
        fs::write(bench.path(name), "other").unwrap();
        fs::hard_link(bench.path(name), bench.outside().join(name)).unwrap();
    }
    let writer = bench.begin(&file("f", b"hello")).unwrap();
    assert_eq!(fs::read(bench.path("f")).unwrap(), b"other");
    write(writer, b"hello");
    bench.target.small_file(&file("g", b"hello"), b"hello").unwrap();
    for name in ["f", "g"] {
        assert_eq!(fs::read(bench.path(name)).unwrap(), b"hello");
        assert_eq!(fs::read(bench.outside().join(name)).unwrap(), b"other");
    }
    assert_eq!(bench.names(), ["f", "g"]);
}

#[test]
fn sparse_files_stay_sparse_and_compare_as_zeros() {
    let mut bench = Bench::new();
    const MIB: u64 = 1 << 20;
    let middle = vec![7; 4096];
    let extents = vec![Extent::hole(8 * MIB), Extent::whole(plain_digest(&middle), 4096), Extent::hole(64 * MIB)];
    let sparse = Entry { size: 72 * MIB + 4096, content: Content { depth: 0, extents }, ..entry("s", Kind::File) };
    let Ok(Outcome::Content(writer)) = bench.begin(&sparse) else { panic!() };
    writer.write_at(8 * MIB, &middle).unwrap();
    writer.finish(sparse.size).unwrap();
    let there = fs::metadata(bench.path("s")).unwrap();
    assert_eq!(there.len(), sparse.size);
    assert!(there.blocks() * 512 < MIB, "{} blocks", there.blocks());
    assert_eq!(fs::read(bench.path("s")).unwrap()[(8 * MIB) as usize..][..4096], middle);
    bench.again();
    assert!(matches!(bench.begin(&sparse), Ok(Outcome::Identical)));
    let extents = vec![Extent::hole(sparse.size)];
    let empty = Entry { content: Content { depth: 0, extents }, ..sparse.clone() };
    assert!(matches!(bench.begin(&empty), Ok(Outcome::Content(_))));
    // Holes that were filled with zeros meanwhile are the same content.
    fs::write(bench.path("s"), fs::read(bench.path("s")).unwrap()).unwrap();
    assert!(matches!(bench.begin(&sparse), Ok(Outcome::Identical)));
}

#[test]
fn a_part_of_a_chunk_is_not_taken_for_the_whole() {
    let bench = Bench::new();
    fs::write(bench.path("f"), "hello").unwrap();
    let mut entry = file("f", b"hello");
    entry.content.extents[0].offset = 1;
    assert!(matches!(bench.begin(&entry), Ok(Outcome::Content(_))));
}
