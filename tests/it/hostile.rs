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

mod catalogs;
mod listings;
mod objects;

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
