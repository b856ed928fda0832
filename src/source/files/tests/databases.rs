//! Databases that are met in a tree which somebody else writes to meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};

use super::*;

const ROUNDS: usize = 100;
const MARKER: &[u8] = b"not for this snapshot";

fn database(path: &Path, text: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("CREATE TABLE t(a)").unwrap();
    connection.execute("INSERT INTO t VALUES(?)", [text]).unwrap();
}

/// A tree with a database in a folder, and a database elsewhere that a link leads to.
fn scene() -> (TempDir, TempDir) {
    let (tree, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    database(&tree.path().join("d/app.db"), b"own");
    write(tree.path().join("a"), "first");
    database(&elsewhere.path().join("app.db"), MARKER);
    symlink(elsewhere.path(), tree.path().join("link")).unwrap();
    symlink(elsewhere.path().join("app.db"), tree.path().join("link.db")).unwrap();
    (tree, elsewhere)
}

/// A folder, or a database in it, and a link that leads to another one.
const SWAPS: [(&str, &str); 2] = [("d", "link"), ("d/app.db", "link.db")];

fn swap(tree: &Path, (one, two): (&str, &str)) {
    renameat_with(CWD, tree.join(one), CWD, tree.join(two), RenameFlags::EXCHANGE).unwrap();
}

fn holds_marker(sink: &Recorder) -> bool {
    sink.chunks.values().any(|chunk| chunk.windows(MARKER.len()).any(|window| window == MARKER))
}

#[test]
fn a_folder_that_becomes_a_link_while_it_is_captured_leaks_no_database_of_another_place() {
    let (tree, _elsewhere) = scene();
    let place = tree.path().to_owned();
    let mut sink = Recorder {
        before: Some(Box::new(move |entry| {
            if entry.path.to_string() == "d" {
                swap(&place, SWAPS[0]);
            }
        })),
        ..Recorder::default()
    };
    capture_with(options(tree.path()), Vec::new(), &mut sink, &Arc::default()).unwrap();
    assert!(!holds_marker(&sink));
    assert!(sink.bytes("d/app.db").starts_with(b"SQLite format 3"));
    // What became a folder while it was looked at as a link is told.
    assert!(sink.skips.iter().all(|skip| skip.path == "link"), "{:?}", sink.skips);
}

#[test]
fn folders_and_links_that_change_places_all_the_time_leak_nothing() {
    for names in SWAPS {
        let (tree, _elsewhere) = scene();
        let stop = AtomicBool::new(false);
        let leaks = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    swap(tree.path(), names);
                }
            });
            let leaks = |_: &usize| {
                let mut sink = Recorder::default();
                let captured = capture_with(options(tree.path()), Vec::new(), &mut sink, &Arc::default());
                captured.is_err() || holds_marker(&sink)
            };
            let leaks = (0..ROUNDS).filter(leaks).count();
            stop.store(true, Ordering::Relaxed);
            leaks
        });
        assert_eq!(leaks, 0, "of {ROUNDS} captures, {names:?}");
    }
}

#[test]
fn a_fifo_named_like_a_log_costs_only_its_database() {
    for end in ["-journal", "-wal", "-shm"] {
        let (tree, _elsewhere) = scene();
        let fifo = tree.path().join(format!("d/app.db{end}"));
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let sink = captured(options(tree.path()));
        assert_eq!(sink.bytes("a"), b"first");
        let reason = format!("unable to open database file: app.db{end} is a FIFO");
        let told =
            sink.skips.iter().map(|skip| (skip.path.as_str(), skip.reason.contains(&format!("app.db{end} is a FIFO"))));
        assert_eq!(told.collect::<Vec<_>>(), [("d/app.db", true)], "{reason}: {:?}", sink.skips);
        assert_eq!(sink.find(&format!("d/app.db{end}")).kind, Kind::Fifo);
    }
}
