//! What is captured of a tree that changes, before or while it is captured.

use super::*;
use crate::source::files::capture::{Start, start};

#[test]
fn an_unchanged_tree_is_repeated_and_a_change_is_noticed() {
    let root = TempDir::new().unwrap();
    for path in ["a/b", "a/c", "d"] {
        write(root.path().join(path), "1234");
    }
    symlink("d", root.path().join("link")).unwrap();
    settle();
    let first = captured(options(root.path()));
    let same = again(options(root.path()), first.recall());
    assert_eq!(same.repeated, first.paths());
    assert_eq!(same.recall().len(), 6);
    write(root.path().join("a/c"), "5678");
    write(root.path().join("e"), "new");
    fs::remove_file(root.path().join("link")).unwrap();
    let changed = again(options(root.path()), same.recall());
    assert_eq!(changed.repeated, ["a", "a/b", "d"]);
    assert_eq!((changed.bytes("a/c"), changed.bytes("e")), (b"5678".to_vec(), b"new".to_vec()));
    assert_eq!(changed.paths(), [".", "a", "a/b", "a/c", "d", "e"]);
}

#[test]
fn a_file_written_a_moment_ago_is_not_trusted_to_be_unchanged() {
    let root = TempDir::new().unwrap();
    write(root.path().join("fresh"), "1234");
    let first = captured(options(root.path()));
    assert_eq!(first.entries[1].1.unwrap().ctime, 0);
    let second = again(options(root.path()), first.recall());
    assert!(second.repeated.is_empty());
}

#[test]
fn a_file_that_keeps_changing_is_kept_and_reported() {
    let root = TempDir::new().unwrap();
    for (name, size) in [("small", 40_000), ("large", 20 << 20)] {
        let path = root.path().join(name);
        write(&path, vec![7; size]);
        let stop = std::sync::atomic::AtomicBool::new(false);
        let sink = std::thread::scope(|scope| {
            scope.spawn(|| {
                let file = File::options().write(true).open(&path).unwrap();
                let mut n = 0u64;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    n += 1;
                    file.write_all_at(&n.to_le_bytes(), 0).unwrap();
                }
            });
            // Whether a small file is caught in the act is up to chance.
            let sink = (0..2000).map(|_| captured(options(&path))).find(|sink| !sink.skips.is_empty());
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            sink
        });
        let Some(sink) = sink else { continue };
        assert!(sink.find(".").inconsistent && sink.entries[0].1.is_none());
        assert_eq!(sink.skips, [Skip::new(".", "changed while it was read")]);
        let bytes = sink.bytes(".");
        assert!(bytes.len() == size && bytes[8..].iter().all(|&byte| byte == 7));
    }
}

/// Runs `change` when the root's entry is handed over: then the walk has been everywhere and little was read.
fn captured_while(root: &Path, change: impl FnMut(&Entry) + Send + 'static) -> Recorder {
    let mut sink = Recorder { before: Some(Box::new(change)), ..Recorder::default() };
    capture_with(options(root), vec![], &mut sink, &Arc::default()).unwrap();
    sink.assert_sorted();
    sink
}

#[test]
fn what_vanishes_or_is_replaced_during_the_capture_does_no_harm() {
    let root = TempDir::new().unwrap();
    for folder in 0..2000 {
        for file in 0..3 {
            write(root.path().join(format!("{folder:04}/{file}")), "x");
        }
    }
    let path = root.path().to_owned();
    let sink = captured_while(root.path(), move |entry| {
        if entry.path.is_root() {
            for folder in (1000..2000).step_by(2) {
                fs::remove_dir_all(path.join(format!("{folder:04}"))).unwrap();
            }
            for folder in (1001..2000).step_by(4) {
                fs::remove_file(path.join(format!("{folder:04}/1"))).unwrap();
                fs::create_dir(path.join(format!("{folder:04}/1"))).unwrap();
            }
        }
    });
    assert!(sink.paths().contains(&"0999/2".to_owned()));
    let replaced = "was replaced by something else while it was captured";
    assert!(sink.skips.iter().all(|skip| skip.reason == replaced), "{:?}", sink.skips);
}

#[test]
fn a_folder_replaced_by_a_file_is_reported() {
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("folder")).unwrap();
    let source = FilesSource::new(options(root.path())).unwrap();
    let Start { ahead, parent, root: item, .. } = start(&source, Default::default()).unwrap();
    let mut walk = crate::source::files::walk::Walk::new(&ahead, parent, item);
    assert!(walk.next().unwrap().opened.is_some());
    // It was seen as a folder with its siblings, and is opened only when the walk comes to it.
    fs::remove_dir(root.path().join("folder")).unwrap();
    write(root.path().join("folder"), "now a file");
    assert_eq!(walk.next().unwrap().closed, Some(rustix::io::Errno::NOTDIR));
}

#[test]
fn a_later_name_carries_the_content_when_the_first_cannot() {
    let root = TempDir::new().unwrap();
    for n in 0..4000 {
        write(root.path().join(format!("a/{n:04}")), "x");
    }
    write(root.path().join("b"), "shared");
    fs::hard_link(root.path().join("b"), root.path().join("c")).unwrap();
    let path = root.path().to_owned();
    let sink = captured_while(root.path(), move |entry| {
        if entry.path.is_root() {
            fs::remove_file(path.join("b")).unwrap();
        }
    });
    assert!(!sink.paths().contains(&"b".to_owned()));
    assert_eq!((sink.find("c").link.as_ref(), sink.bytes("c")), (None, b"shared".to_vec()));
}

#[test]
fn what_may_not_be_read_is_reported_and_the_rest_captured() {
    let root = TempDir::new().unwrap();
    write(root.path().join("closed/inside"), "x");
    write(root.path().join("open"), "fine");
    write(root.path().join("secret"), "x");
    for path in ["secret", "closed"] {
        Command::new("chmod").arg("0").arg(root.path().join(path)).status().unwrap();
    }
    Command::new("chmod").arg("755").arg(root.path()).status().unwrap();
    let path = root.path().to_owned();
    // Permissions belong to a thread: this one gives up being root, if it is.
    let sink = std::thread::spawn(move || {
        let (nobody, nogroup) = (rustix::fs::Uid::from_raw(65534), rustix::fs::Gid::from_raw(65534));
        if rustix::process::geteuid().is_root() {
            rustix::thread::set_thread_res_gid(nogroup, nogroup, nogroup).unwrap();
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        captured(options(&path))
    });
    let sink = sink.join().unwrap();
    let skip = |path: &str| Skip::new(path, "permission denied");
    assert_eq!(sink.skips, [skip("closed"), skip("secret")]);
    assert_eq!(sink.paths(), [".", "closed", "open"]);
    Command::new("chmod").arg("700").arg(root.path().join("closed")).status().unwrap();
}

#[test]
fn a_capture_stops_when_asked_to() {
    let root = TempDir::new().unwrap();
    for n in 0..5000 {
        write(root.path().join(format!("{n:04}")), "x");
    }
    write(root.path().join("large"), vec![0; 100 << 20]);
    let control = Arc::new(Control::default());
    let stopper = control.clone();
    let mut seen = 0;
    let before: Before = Box::new(move |_| {
        seen += 1;
        if seen == 10 {
            stopper.stop();
        }
    });
    let mut sink = Recorder { before: Some(before), ..Recorder::default() };
    let error = capture_with(options(root.path()), vec![], &mut sink, &control).unwrap_err();
    assert!(matches!(error, SourceError::Interrupted) && error.class() == Class::Interrupted);
    assert_eq!(sink.entries.len(), 10);
}

#[test]
fn an_error_of_the_sink_ends_the_capture() {
    struct Full;
    impl EntrySink for Full {
        fn content(
            &mut self,
            pieces: &mut dyn Iterator<Item = Result<Piece, Explained>>,
            _: Access,
        ) -> Result<Content, Explained> {
            let _ = pieces.next();
            Err(Box::new(SourceError::Threads(std::io::ErrorKind::StorageFull.into())))
        }
        fn pages(
            &mut self,
            _: &EntryPath,
            _: usize,
            _: &mut dyn Iterator<Item = Result<Lent, Explained>>,
        ) -> Result<Content, Explained> {
            Ok(Content::default())
        }
        fn rows(
            &mut self,
            _: &EntryPath,
            _: &EntryPath,
            _: &mut dyn Iterator<Item = Result<Rows, Explained>>,
        ) -> Result<(Content, Content), Explained> {
            Ok(Default::default())
        }
        fn database(&mut self, _: Database) {}
        fn entry(&mut self, _: &Entry, _: Option<Fingerprint>) -> Result<(), Explained> {
            Ok(())
        }
        fn repeat(&mut self, _: &Known) -> Result<(), Explained> {
            Ok(())
        }
        fn skip(&mut self, _: Skip) {}
    }
    let root = TempDir::new().unwrap();
    write(root.path().join("large"), vec![1; 50 << 20]);
    let capture = Capture {
        cutter: Arc::new(Equal(64 << 10)),
        recall: Box::new(std::iter::empty()),
        control: Arc::default(),
        rescan: Default::default(),
        check: true,
        own: Default::default(),
    };
    let error = FilesSource::new(options(root.path())).unwrap().capture(capture, &mut Full).unwrap_err();
    assert!(matches!(error, SourceError::Sink(_)));
}
