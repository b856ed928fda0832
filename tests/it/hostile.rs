//! Snapshots forged with the right keys: they end in errors or issues, never in a panic, a wrong place or full memory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use strongroom::base::chunk::{Chunk, plain_digest};
use strongroom::base::entry::{Content, Extent};
use strongroom::base::path::EntryPath;
use strongroom::format::catalog::FrameContents;
use strongroom::format::manifest::Manifest;
use strongroom::format::{layout, pack, seal};
use strongroom::ops::diff;
use strongroom::ops::show::{self, Part};
use strongroom::ops::verify::Depth;
use strongroom::store::Store;
use strongroom::vault::unlocked::UnlockedVault;

use crate::support::forge::Forge;
use crate::support::vaults::{ALL_DATA, Lab, Random, Tree, assert_same, copy_store, plant, restore, verify};

/// What the chunk named `C` in the lines below holds.
const BYTES: &[u8] = b"12345";
const ROOT: &str = r#"{"path":".","type":"dir","mode":"0755","uid":0,"gid":0,"mtime":"2026-01-01T00:00:00Z"}"#;
/// So much memory a process may have touched in all.
const MEMORY_KIB: u64 = 400 << 10;

struct Scene {
    lab: Lab,
    honest: Manifest,
    tree: Tree,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::in_memory();
        let folder = lab.path("tree");
        plant(&folder, &mut Random::new(23), 5, 2 << 10);
        let honest = lab.backup(&folder);
        fs::create_dir(lab.path("outside")).unwrap();
        fs::write(lab.path("outside/secret"), "untouched").unwrap();
        Self { tree: Tree::read(&folder), honest, lab }
    }

    fn forge(&self) -> Forge {
        Forge { store: copy_store(&self.lab.store), keys: self.lab.owner_keys(), honest: self.honest.clone() }
    }

    /// Does everything one can do with the forged snapshot. Everything must end, and soon.
    fn survive(&self, name: &str, forge: &Forge, forged: &Manifest) -> Outcome {
        let outside = Tree::read(&self.lab.path("outside"));
        let (sender, receiver) = mpsc::channel();
        let (store, target) = (forge.store.clone(), self.lab.path("target"));
        let outcome = std::thread::scope(|scope| {
            scope.spawn(move || {
                let folders = self.lab.with_cache("hostile-cache");
                let _ = fs::remove_dir_all(&folders.cache);
                let unlocked = self.lab.unlock(&store, &folders).unwrap();
                let _ = sender.send(self.do_everything(&store, &unlocked, forged, &target));
            });
            match receiver.recv_timeout(Duration::from_secs(30)) {
                Ok(outcome) => outcome,
                Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{name}: panicked"),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    eprintln!("{name}: does not end");
                    std::process::abort();
                }
            }
        });
        assert_same(&Tree::read(&self.lab.path("outside")), &outside, name);
        assert!(!self.lab.path("escaped").exists() && !Path::new("/escaped").exists(), "{name}");
        assert!(peak_memory() < MEMORY_KIB, "{name}: {} KiB", peak_memory());
        outcome
    }

    fn do_everything(&self, store: &Store, unlocked: &UnlockedVault, forged: &Manifest, target: &Path) -> Outcome {
        let _ = fs::remove_dir_all(target);
        let restored = restore(unlocked, forged, target);
        let left_out = restored.as_ref().map_or(true, |report| report.issues_count > 0);
        // Into what is there now, links and all.
        let _ = restore(unlocked, forged, target);
        let structure = verify(unlocked, Depth::Structure);
        let data = verify(unlocked, ALL_DATA);
        let part = Part::whole();
        let _ = show::list(unlocked, forged, &part, |_| Ok(()));
        let file = Part { source: None, path: EntryPath::from_bytes(b"f").unwrap() };
        let _ = show::cat(unlocked, forged, &file, &mut Short(0));
        let mut each = |_| Ok(());
        for source in &forged.sources {
            let _ = diff::snapshots(unlocked, &self.honest.sources[0], source, &mut each);
            let _ = diff::snapshots(unlocked, source, &self.honest.sources[0], &mut each);
        }
        // The honest snapshot is none the worse for it.
        let whole = self.lab.path("whole");
        let honest = restore(unlocked, &self.honest, &whole).is_ok_and(|report| report.issues_count == 0)
            && Tree::read(&whole) == self.tree;
        let _ = fs::remove_dir_all(&whole);
        let _ = store;
        let sound = [structure, data].map(|report| report.is_ok_and(|report| report.sound()));
        Outcome { left_out, found_by_structure: !sound[0], found_by_data: !sound[1], honest }
    }
}

#[derive(Debug)]
struct Outcome {
    left_out: bool,
    found_by_structure: bool,
    found_by_data: bool,
    honest: bool,
}

/// Takes a hundred megabytes and then no more, as a disk would.
struct Short(usize);

impl std::io::Write for Short {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        if self.0 > 100 << 20 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// An entry's line; `fields` come after the usual ones, or instead of them where they begin with `!`.
fn line(path: &str, kind: &str, fields: &str) -> String {
    match fields.strip_prefix('!') {
        Some(fields) => format!(r#"{{"path":"{path}","type":"{kind}",{fields}}}"#),
        None => format!(
            r#"{{"path":"{path}","type":"{kind}","mode":"0644","uid":0,"gid":0,"mtime":"2026-01-01T00:00:00Z"{fields}}}"#
        ),
    }
}

/// Fields of a file of these extents. `C` stands for the digest of a chunk that is there.
fn content(size: u64, extents: &str) -> String {
    let extents = extents.replace('C', &plain_digest(BYTES).to_hex());
    format!(r#","size":{size},"content":{{"extents":[{extents}]}}"#)
}

fn good() -> String {
    content(5, r#"{"chunk":"C","length":5}"#)
}

/// Tries a listing of these lines after the root's; something of it must be refused.
fn refuse(scene: &Scene, name: &str, lines: &[String]) -> Outcome {
    let forge = scene.forge();
    forge.chunk(BYTES);
    let text: String = std::iter::once(ROOT.to_owned()).chain(lines.iter().cloned()).map(|line| line + "\n").collect();
    let forged = forge.manifest(forge.listing(&text), |_| {});
    let outcome = scene.survive(name, &forge, &forged);
    assert!(outcome.left_out, "{name}: restored without a word");
    assert!(outcome.honest, "{name}: {outcome:?}");
    outcome
}

#[test]
fn a_listing_never_leads_out_of_the_target() {
    let scene = Scene::new();
    let outside = scene.lab.path("outside");
    let out = outside.to_str().unwrap();
    for path in ["../escaped", "/escaped", "a/../../escaped", "..%2Fescaped", "a%00b", "", "a//b", "a/", "./a", "%"] {
        let found = refuse(&scene, path, &[line(path, "file", &good())]);
        assert!(found.found_by_structure && found.found_by_data, "{path}: {found:?}");
        refuse(&scene, path, &[line("f", "file", &format!(r#","link":"{path}""#))]);
    }
    let way = line("d", "symlink", &format!(r#","target":"{out}""#));
    refuse(&scene, "a file through a link", &[way.clone(), line("d/secret", "file", &good())]);
    refuse(&scene, "a folder through a link", &[way.clone(), line("d/new", "dir", "")]);
    refuse(&scene, "a fifo through a link", &[way.clone(), line("d/new", "fifo", "")]);
    refuse(&scene, "a hard link through a link", &[way.clone(), line("f", "file", r#","link":"d/secret""#)]);
    refuse(&scene, "a hard link to a link's other side", &[way.clone(), line("d/f", "file", r#","link":"f""#)]);
    let folder = line("d", "dir", "");
    refuse(&scene, "a link and a folder of one name", &[way.clone(), folder, line("d/secret", "file", &good())]);
    refuse(&scene, "a file over a folder", &[line("f", "dir", ""), line("f", "file", &good())]);
    refuse(&scene, "a file that is a folder", &[line("f", "file", &good()), line("f/g", "file", &good())]);
}

#[test]
fn what_stands_in_the_target_is_no_way_out() {
    let scene = Scene::new();
    let forge = scene.forge();
    forge.chunk(BYTES);
    let text = [ROOT.to_owned(), line("d", "dir", ""), line("d/secret", "file", &good())].join("\n") + "\n";
    let forged = forge.manifest(forge.listing(&text), |_| {});
    let target = scene.lab.path("prepared");
    fs::create_dir(&target).unwrap();
    symlink(scene.lab.path("outside"), target.join("d")).unwrap();
    let unlocked = scene.lab.unlock(&forge.store, &scene.lab.folders).unwrap();
    let report = restore(&unlocked, &forged, &target).unwrap();
    assert!(report.issues_count > 0);
    assert_eq!(fs::read(scene.lab.path("outside/secret")).unwrap(), b"untouched");
}

#[test]
fn paths_that_come_twice_or_out_of_order_are_refused() {
    let scene = Scene::new();
    let other = content(4, r#"{"chunk":"C","length":4}"#);
    let lines = [line("f", "file", &good()), line("f", "file", &other)];
    assert!(refuse(&scene, "twice", &lines).found_by_structure);
    let lines = [line("b", "file", &good()), line("a", "file", &good())];
    assert!(refuse(&scene, "out of order", &lines).found_by_structure);
    let lines = [line("f", "file", r#","link":"f""#)];
    refuse(&scene, "a link to itself", &lines);
    let lines = [line("f", "file", r#","link":"g""#), line("g", "file", r#","link":"f""#)];
    refuse(&scene, "links to each other", &lines);
}

#[test]
fn sizes_and_places_that_cannot_be_are_refused() {
    let scene = Scene::new();
    let max = u64::MAX;
    let cases = [
        ("a size without end", content(max, r#"{"chunk":"C","length":5}"#)),
        ("a length without end", content(5, &format!(r#"{{"chunk":"C","length":{max}}}"#))),
        ("both without end", content(max, &format!(r#"{{"chunk":"C","length":{max}}}"#))),
        ("an offset without end", content(5, &format!(r#"{{"chunk":"C","length":5,"offset":{max}}}"#))),
        ("an extent beyond its chunk", content(5, r#"{"chunk":"C","length":5,"offset":1}"#)),
        ("a hole without end", content(max, &format!(r#"{{"length":{max}}}"#))),
        ("two holes without end", content(5, &format!(r#"{{"length":{max}}},{{"length":{max}}}"#))),
        ("holes that come to the size again", content(5, &format!(r#"{{"length":{max}}},{{"length":6}}"#))),
        ("a hole, then bytes beyond", content(5, &format!(r#"{{"length":{max}}},{{"chunk":"C","length":5}}"#))),
        ("more bytes than the size", content(4, r#"{"chunk":"C","length":5}"#)),
        ("fewer bytes than the size", content(6, r#"{"chunk":"C","length":5}"#)),
        ("bytes of an empty file", content(0, r#"{"chunk":"C","length":5}"#)),
        ("extents of nothing", content(5, r#"{"chunk":"C","length":0},{"chunk":"C","length":5}"#)),
        ("a chunk that is nowhere", content(5, &format!(r#"{{"chunk":"{}","length":5}}"#, "ab".repeat(32)))),
        ("a negative size", content(5, r#"{"chunk":"C","length":-5}"#)),
    ];
    for (name, fields) in cases {
        refuse(&scene, name, &[line("f", "file", &fields)]);
    }
}

#[test]
fn fields_that_make_no_sense_are_refused() {
    let scene = Scene::new();
    let long = "x".repeat(1 << 20);
    let rest = r#""uid":0,"gid":0,"mtime":"2026-01-01T00:00:00Z""#;
    let cases = [
        ("a mode of letters", line("f", "file", &format!(r#"!"mode":"rwx",{rest}"#))),
        ("a mode too large", line("f", "file", &format!(r#"!"mode":"7777777",{rest}"#))),
        ("a mode as a number", line("f", "file", &format!(r#"!"mode":420,{rest}"#))),
        ("no mode", line("f", "file", &format!("!{rest}"))),
        ("an owner below zero", line("f", "file", r#"!"mode":"0644","uid":-1,"gid":0,"mtime":"2026-01-01T00:00:00Z""#)),
        ("a time that is none", line("f", "file", r#"!"mode":"0644","uid":0,"gid":0,"mtime":"noon""#)),
        ("a kind that is none", line("f", "wormhole", "")),
        ("a link without a target", line("f", "symlink", "")),
        ("a link to NUL", line("f", "symlink", r#","target":"a%00b""#)),
        ("a link too long", line("f", "symlink", &format!(r#","target":"{long}""#))),
        ("a device without a number", line("f", "char", "")),
        ("a name too long", line(&long, "file", &good())),
        ("a folder's name too long", line(&format!("{long}/f"), "file", &good())),
        ("an attribute with NUL", line("f", "file", &(good() + r#","xattrs":{"user.a%00b":"x"}"#))),
        ("an attribute too long", line("f", "file", &(good() + &format!(r#","xattrs":{{"user.a":"{long}"}}"#)))),
        ("an attribute of no kind", line("f", "file", &(good() + r#","xattrs":{"nonsense":"x"}"#))),
        ("no JSON", "what is this".to_owned()),
        ("JSON without end", "[".repeat(1 << 20)),
        ("an empty line", String::new()),
        ("a root that is a file", line(".", "file", &good())),
    ];
    for (name, line) in cases {
        refuse(&scene, name, &[line]);
    }
    let deep = vec!["d"; 3000].join("/");
    let forge = scene.forge();
    forge.chunk(BYTES);
    let text = [ROOT.to_owned(), line(&deep, "file", &good())].join("\n") + "\n";
    let forged = forge.manifest(forge.listing(&text), |_| {});
    scene.survive("three thousand folders deep", &forge, &forged);
}

#[test]
fn lists_of_lists_without_end_are_refused() {
    let scene = Scene::new();
    let file = |content: &Content, size: u64| {
        let content = serde_json::to_string(content).unwrap();
        let file = line("f", "file", &format!(r#","size":{size},"content":{content}"#));
        [ROOT.to_owned(), file].join("\n") + "\n"
    };
    for (name, depth, width, length) in [
        ("a few lists", 2, 3, 5),
        ("nested at the limit", 4, 9_000, 5),
        ("extents of nothing", 4, 9_000, 0),
        ("nested beyond the limit", 6, 2, 5),
    ] {
        let forge = scene.forge();
        let extent = Extent { length, ..forge.chunk(BYTES) };
        for (name, innermost) in [(name.to_owned(), extent), (format!("{name}, of holes"), Extent::hole(length))] {
            let list = forge.nested(innermost, width, depth);
            let forged = forge.manifest(forge.listing(&file(&list, 7)), |_| {});
            let outcome = scene.survive(&name, &forge, &forged);
            assert!(outcome.left_out && outcome.found_by_structure && outcome.honest, "{name}: {outcome:?}");
            forge.store.delete(&forge.store.list(layout::SNAPSHOTS).unwrap().pop().unwrap().key).unwrap();
        }
    }
    for depth in [5, 255] {
        let forge = scene.forge();
        let list = Content { depth, extents: vec![forge.chunk(BYTES)] };
        let forged = forge.manifest(forge.listing(&file(&list, 5)), |_| {});
        let outcome = scene.survive(&format!("depth {depth}"), &forge, &forged);
        assert!(outcome.left_out && outcome.honest, "depth {depth}: {outcome:?}");
    }
}

#[test]
fn listings_without_end_are_refused() {
    let scene = Scene::new();
    let root = format!("{ROOT}\n");
    let endless = "x".repeat(4 << 20);
    let lines = [ROOT.to_owned(), line("f", "dir", "")].join("\n") + "\n";
    for (name, bytes, first) in [
        ("the same entries again and again", lines.as_str(), Some(".")),
        ("without their first path", lines.as_str(), None),
        ("no end of a line", endless.as_str(), Some(".")),
        ("nothing but ends of lines", "\n\n\n\n", Some(".")),
        ("only the root", root.as_str(), Some("%zz")),
    ] {
        for depth in [1, 4] {
            let forge = scene.forge();
            let extent = Extent { first: first.map(str::to_owned), ..forge.chunk(bytes.as_bytes()) };
            let forged = forge.manifest(forge.nested(extent, 9_000, depth), |_| {});
            let outcome = scene.survive(&format!("{name}, {depth} deep"), &forge, &forged);
            assert!(outcome.left_out && outcome.found_by_structure && outcome.honest, "{name}: {outcome:?}");
        }
    }
    for depth in [5, 255] {
        let forge = scene.forge();
        let listing = Content { depth, ..forge.listing(&lines) };
        let forged = forge.manifest(listing, |_| {});
        let outcome = scene.survive(&format!("a listing of depth {depth}"), &forge, &forged);
        assert!(outcome.left_out && outcome.found_by_structure && outcome.honest, "depth {depth}: {outcome:?}");
    }
    let forge = scene.forge();
    let holes = forge.nested(Extent { first: Some(".".into()), ..Extent::hole(9) }, 9_000, 4);
    let forged = forge.manifest(holes, |_| {});
    let outcome = scene.survive("a listing of holes", &forge, &forged);
    assert!(outcome.left_out && outcome.found_by_structure && outcome.honest, "{outcome:?}");
}

/// A part of a listing in a chunk of its own; `first` is the path it is said to begin with.
fn listing_part(forge: &Forge, first: Option<&str>, lines: &[String]) -> Extent {
    let text: String = lines.iter().map(|line| line.clone() + "\n").collect();
    Extent { first: first.map(str::to_owned), ..forge.chunk(text.as_bytes()) }
}

#[test]
fn the_order_of_paths_holds_across_the_parts_of_a_listing_however_they_are_shared() {
    let scene = Scene::new();
    let file = |path: &str| line(path, "file", &good());
    for (name, first, second) in [
        ("a part that goes back", None, vec![file("a"), file("c")]),
        ("a part that begins as the last one ends", None, vec![file("b"), file("c")]),
        ("a part said to begin later", Some("d"), vec![file("c"), file("e")]),
        ("a part said to begin earlier", Some("bb"), vec![file("c"), file("d")]),
    ] {
        let forge = scene.forge();
        forge.chunk(BYTES);
        let before = listing_part(&forge, Some("."), &[ROOT.to_owned(), file("b")]);
        let after = listing_part(&forge, first, &second);
        // An honest listing that shares the second part, looked through first: it hides nothing.
        let root = listing_part(&forge, Some("."), &[ROOT.to_owned()]);
        let honest_part = Extent { first: None, ..after.clone() };
        forge.manifest(Content { depth: 0, extents: vec![root, honest_part] }, |manifest| {
            manifest.id = strongroom::base::id::SnapshotId::from_bytes([8; 16]);
        });
        let unlocked = scene.lab.unlock(&forge.store, &scene.lab.with_cache("parts")).unwrap();
        assert!(verify(&unlocked, Depth::Structure).unwrap().sound(), "{name}: before it was forged");
        let forged = forge.manifest(Content { depth: 0, extents: vec![before, after] }, |_| {});
        let outcome = scene.survive(name, &forge, &forged);
        assert!(outcome.found_by_structure && outcome.found_by_data && outcome.honest, "{name}: {outcome:?}");
        assert!(outcome.left_out || first.is_some(), "{name}: restored without a word");
    }
}

#[test]
fn counts_that_cannot_be_are_only_numbers() {
    let scene = Scene::new();
    let forge = scene.forge();
    let forged = forge.manifest(scene.honest.sources[0].listing.clone(), |manifest| {
        let source = &mut manifest.sources[0];
        (source.files, source.bytes, source.entries) = (u64::MAX, u64::MAX, u64::MAX);
        source.skipped_count = u64::MAX;
        let second = source.clone();
        manifest.sources.push(second);
        manifest.sources[1].name = "second".parse().unwrap();
        manifest.bytes = u64::MAX;
        manifest.previous = Some("vault.json/../../x".to_owned());
        manifest.keys = vec!["keys/none".to_owned(), "\n".to_owned()];
    });
    let outcome = scene.survive("counts", &forge, &forged);
    assert!(outcome.honest && !outcome.left_out && outcome.found_by_structure, "{outcome:?}");
}

/// A pack and a catalog that disagree about it; a file of the chunk that the catalog promises must not come back.
fn refuse_catalog(scene: &Scene, name: &str, forged: impl FnOnce(&Forge, &Chunk)) {
    let forge = scene.forge();
    let chunk = Chunk::new(BYTES.to_vec());
    forged(&forge, &chunk);
    let text = [ROOT.to_owned(), line("f", "file", &good())].join("\n") + "\n";
    let manifest = forge.manifest(forge.listing(&text), |_| {});
    let outcome = scene.survive(name, &forge, &manifest);
    assert!(outcome.left_out && outcome.found_by_data && outcome.honest, "{name}: {outcome:?}");
}

#[test]
fn catalogs_that_lie_are_found_out() {
    let scene = Scene::new();
    let honest = |forge: &Forge, chunk: &Chunk| forge.frame(std::slice::from_ref(chunk));
    let with = |name: &str, lie: fn(&mut FrameContents)| {
        refuse_catalog(&scene, name, |forge, chunk| {
            let (bytes, contents) = honest(forge, chunk);
            let mut pack = forge.pack_of(vec![(bytes, contents)]);
            lie(&mut pack.frames[0]);
            pack.size = pack.size.max(pack.frames[0].stored.into());
            forge.catalog(&[pack]);
        });
    };
    with("a frame said to be longer", |frame| frame.plain += 512);
    with("a frame said to be longest", |frame| frame.plain = u32::MAX);
    with("a frame said to take more room", |frame| frame.stored += 100);
    with("a frame said to take all room", |frame| frame.stored = u32::MAX);
    with("a frame said to take no room", |frame| frame.stored = 0);
    with("a chunk said to be shorter", |frame| frame.members[0].1 -= 1);
    with("a chunk said to be longest", |frame| frame.members[0].1 = u32::MAX);
    refuse_catalog(&scene, "a pack that is not there", |forge, chunk| {
        let mut pack = forge.pack_of(vec![honest(forge, chunk)]);
        pack.digest = strongroom::base::id::SealedDigest::from_bytes([5; 32]);
        forge.catalog(&[pack.clone()]);
    });
    refuse_catalog(&scene, "packs without end", |forge, chunk| {
        let mut pack = forge.pack_of(vec![honest(forge, chunk)]);
        pack.size = u64::MAX;
        let other = forge.pack_of(vec![honest(forge, chunk)]);
        forge.catalog(&[pack, strongroom::format::catalog::PackContents { size: u64::MAX, ..other }]);
    });
    refuse_catalog(&scene, "a pack of somebody else's", |forge, chunk| {
        let (bytes, contents) = honest(forge, chunk);
        let stranger = age::x25519::Identity::generate();
        let sealed = seal::seal(&[&stranger.to_public()], &bytes);
        let (digest, size) = (sealed.digest, sealed.bytes.len() as u64);
        forge.store.put_new(&layout::pack(digest), sealed.bytes.into()).unwrap();
        forge.catalog(&[strongroom::format::catalog::PackContents { digest, size, frames: vec![contents] }]);
    });
    refuse_catalog(&scene, "a frame that unpacks to a gigabyte", |forge, chunk| {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
        let (_, mut contents) = honest(forge, chunk);
        contents.stored = bomb.len() as u32;
        let pack = forge.pack_of(vec![(bomb, contents)]);
        forge.catalog(&[pack]);
    });
    refuse_catalog(&scene, "other bytes under the chunk's name", |forge, chunk| {
        let mut plain = Vec::new();
        pack::append(&mut plain, &Chunk::new(b"54321".to_vec()));
        let bytes = zstd::bulk::compress(&plain, 3).unwrap();
        let (_, contents) = honest(forge, chunk);
        let contents = FrameContents { stored: bytes.len() as u32, ..contents };
        let pack = forge.pack_of(vec![(bytes, contents)]);
        forge.catalog(&[pack]);
    });
}

#[test]
fn two_catalogs_that_disagree_about_a_pack_are_found_out() {
    let scene = Scene::new();
    for lie in 0..4 {
        let forge = scene.forge();
        let chunks = [Chunk::new(BYTES.to_vec()), Chunk::new(b"other".to_vec())];
        let pack = forge.pack_of(vec![forge.frame(&chunks)]);
        let (mut one, mut two) = (pack.clone(), pack);
        one.frames[0].members.truncate(1);
        two.frames[0].members.rotate_left(1);
        two.frames[0].members.truncate(1);
        match lie {
            0 => two.frames[0].stored /= 2,
            1 => two.frames[0].stored += 50,
            2 => two.size += 1,
            _ => two.frames[0].plain -= 512,
        }
        forge.catalog(&[one]);
        forge.catalog(&[two]);
        let other = content(5, &format!(r#"{{"chunk":"{}","length":5}}"#, chunks[1].digest()));
        let text = [ROOT.to_owned(), line("f", "file", &good()), line("g", "file", &other)].join("\n") + "\n";
        let forged = forge.manifest(forge.listing(&text), |_| {});
        let outcome = scene.survive(&format!("lie {lie}"), &forge, &forged);
        assert!(outcome.found_by_data && outcome.honest, "lie {lie}: {outcome:?}");
    }
}

#[test]
fn catalogs_and_manifests_that_are_none_are_found_and_hide_nothing() {
    let scene = Scene::new();
    let magic = b"strongroom catalog 1\n".to_vec();
    for count in [&[0xff; 4][..], &[1, 0, 0, 0], &[]] {
        let forge = scene.forge();
        forge.catalog_bytes(&[&magic[..], count].concat());
        let outcome = scene.survive("a catalog of absurd counts", &forge, &scene.honest);
        assert!(outcome.found_by_structure && outcome.honest, "{count:?}: {outcome:?}");
    }
    let json = serde_json::to_string(&scene.honest).unwrap();
    let compress = |bytes: &[u8]| zstd::bulk::compress(bytes, 3).unwrap();
    for (name, plain) in [
        ("not compressed", json.clone().into_bytes()),
        ("cut short", compress(&json.as_bytes()[..json.len() / 2])),
        ("nested without end", compress(&[b'['; 1 << 20])),
        ("a bomb", compress(&vec![b' '; 80 << 20])),
        ("another vault's", compress(json.replace(&scene.honest.vault.to_hex(), &"ab".repeat(16)).as_bytes())),
        ("a source that leaves", compress(json.replace(r#""name":"docs""#, r#""name":"../escaped""#).as_bytes())),
    ] {
        let forge = scene.forge();
        let sealed = seal::seal(&[&forge.keys.vault.to_public()], &plain);
        let (digest, time) = (sealed.digest, scene.honest.time);
        forge.store.put_new(&layout::manifest(time, digest), sealed.bytes.into()).unwrap();
        let unlocked = scene.lab.unlock(&forge.store, &scene.lab.with_cache("manifests")).unwrap();
        let snapshots = unlocked.snapshots().unwrap();
        assert_eq!((snapshots.readable.len(), snapshots.damaged.len()), (1, 1), "{name}");
        assert!(verify(&unlocked, Depth::Structure).unwrap().damage.len() == 1, "{name}");
    }
    assert!(peak_memory() < MEMORY_KIB);
}
