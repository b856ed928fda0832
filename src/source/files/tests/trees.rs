//! What is captured of a tree at rest.

use super::*;

#[test]
fn everything_is_captured_in_path_order_with_its_content() {
    let root = TempDir::new().unwrap();
    let large: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    for (path, bytes) in [("a/z", b"1".as_slice()), ("a-b", b"2"), ("a/b/c", b"3"), ("a.txt", &large), ("e/f", b"")] {
        write(root.path().join(path), bytes);
    }
    fs::create_dir(root.path().join("empty")).unwrap();
    symlink("a/z", root.path().join("link")).unwrap();
    let sink = captured(options(root.path()));
    assert_eq!(sink.paths(), [".", "a", "a/b", "a/b/c", "a/z", "a-b", "a.txt", "e", "e/f", "empty", "link"]);
    assert_eq!(sink.bytes("a.txt"), large);
    assert_eq!((sink.bytes("a/z"), sink.bytes("e/f")), (b"1".to_vec(), vec![]));
    assert_eq!(sink.find("link").target.as_deref(), Some("a/z"));
    assert!(sink.skips.is_empty());
}

#[test]
fn modes_times_owners_and_attributes_are_captured() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("f");
    write(&path, "x");
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    Command::new("chmod").args(["6751"]).arg(&path).status().unwrap();
    let attributes = rustix::fs::setxattr(&path, "user.note", b"a%\xff", rustix::fs::XattrFlags::empty()).is_ok();
    let sink = captured(options(root.path()));
    let entry = sink.find("f");
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((entry.mode, entry.uid, entry.gid, entry.size), (0o6751, meta.uid(), meta.gid(), 1));
    assert_eq!(entry.mtime.to_string(), "2001-09-09T01:46:40.123456789Z");
    if entry.uid == 0 {
        assert_eq!(entry.user.as_deref(), Some("root"));
    }
    if attributes {
        assert_eq!(entry.xattrs["user.note"], "a%25%FF");
    }
}

#[test]
fn fifos_and_sockets_are_captured_without_being_opened() {
    let root = TempDir::new().unwrap();
    assert!(Command::new("mkfifo").arg(root.path().join("fifo")).status().unwrap().success());
    let _listener = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
    let device = Command::new("mknod").arg(root.path().join("null")).args(["c", "1", "3"]).status().unwrap().success();
    let sink = captured(options(root.path()));
    assert_eq!((sink.find("fifo").kind, sink.find("socket").kind), (Kind::Fifo, Kind::Socket));
    if device {
        assert_eq!((sink.find("null").kind, sink.find("null").device), (Kind::Char, Some((1, 3))));
    }
    assert!(sink.skips.is_empty());
}

#[test]
fn names_of_any_bytes_and_of_255_bytes_are_captured() {
    let root = TempDir::new().unwrap();
    let long = "n".repeat(255);
    write(root.path().join(&long).join(&long), "deep");
    write(root.path().join(OsStr::from_bytes(b"caf\xe9\n%")), "odd");
    let sink = captured(options(root.path()));
    assert_eq!(sink.bytes(&format!("{long}/{long}")), b"deep");
    assert_eq!(sink.bytes("caf%E9%0A%25"), b"odd");
}

#[test]
fn the_first_name_of_a_file_carries_its_content_and_the_others_refer_to_it() {
    let root = TempDir::new().unwrap();
    write(root.path().join("b/one"), "shared");
    fs::hard_link(root.path().join("b/one"), root.path().join("c")).unwrap();
    fs::hard_link(root.path().join("b/one"), root.path().join("a")).unwrap();
    settle();
    let first = captured(options(root.path()));
    let second = again(options(root.path()), first.recall());
    for sink in [&first, &second] {
        assert_eq!((sink.find("a").link.as_ref(), sink.find("a").size), (None, 6));
        for later in ["b/one", "c"] {
            assert_eq!(sink.find(later).link.as_ref().unwrap().to_string(), "a");
            assert!(sink.find(later).content.is_empty());
        }
    }
    assert_eq!(second.find("a").content, first.find("a").content);
    assert!(second.chunks.is_empty(), "content was read again");
    fs::remove_file(root.path().join("a")).unwrap();
    let third = again(options(root.path()), second.recall());
    assert_eq!(third.bytes("b/one"), b"shared");
    assert_eq!(third.find("c").link.as_ref().unwrap().to_string(), "b/one");
}

#[test]
fn holes_are_captured_as_holes() {
    let root = TempDir::new().unwrap();
    let file = File::create(root.path().join("sparse")).unwrap();
    file.set_len(3 << 20).unwrap();
    file.write_all_at(b"middle", 1 << 20).unwrap();
    file.sync_all().unwrap();
    let sink = captured(options(root.path()));
    let entry = sink.find("sparse");
    let holes: u64 = entry.content.extents.iter().filter(|e| e.chunk.is_none()).map(|e| e.length).sum();
    assert!(holes >= 2 << 20, "{:?}", entry.content);
    assert_eq!(sink.bytes("sparse"), fs::read(root.path().join("sparse")).unwrap());
}

#[test]
fn excluded_items_are_left_out_and_not_reported() {
    let root = TempDir::new().unwrap();
    for path in ["a.tmp", "d/b.tmp", "d/keep.tmp", "cache/x", "d/cache", "only/here", "d/only/there"] {
        write(root.path().join(path), "x");
    }
    let exclude = ["*.tmp", "!keep.tmp", "cache/", "/only"].map(str::to_owned).to_vec();
    let sink = captured(FilesOptions { exclude, ..options(root.path()) });
    assert_eq!(sink.paths(), [".", "d", "d/cache", "d/keep.tmp", "d/only", "d/only/there"]);
    assert!(sink.skips.is_empty());
}

#[test]
fn ignore_files_hold_for_their_folder_and_the_nearest_decides() {
    let root = TempDir::new().unwrap();
    for path in ["a.log", "d/b.log", "d/keep.log", "d/e/f", "e/f"] {
        write(root.path().join(path), "x");
    }
    write(root.path().join(".gitignore"), "*.log\n");
    write(root.path().join("d/.gitignore"), "!keep.log\n/e\n");
    let ignore_files = vec![".gitignore".to_owned()];
    let sink = captured(FilesOptions { ignore_files, ..options(root.path()) });
    assert_eq!(sink.paths(), [".", ".gitignore", "d", "d/.gitignore", "d/keep.log", "e", "e/f"]);
}

#[test]
fn a_marked_cache_folder_keeps_only_its_tag() {
    let root = TempDir::new().unwrap();
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# by a test";
    write(root.path().join("cache/CACHEDIR.TAG"), tag);
    write(root.path().join("cache/sub/file"), "x");
    write(root.path().join("not/CACHEDIR.TAG"), "not the signature");
    write(root.path().join("not/file"), "x");
    let marked = captured(options(root.path()));
    assert_eq!(marked.paths(), [".", "cache", "cache/CACHEDIR.TAG", "not", "not/CACHEDIR.TAG", "not/file"]);
    let all = captured(FilesOptions { cachedirs: true, ..options(root.path()) });
    assert!(all.paths().contains(&"cache/sub/file".to_owned()));
    let named = captured(options(&root.path().join("cache")));
    assert!(named.paths().contains(&"sub/file".to_owned()));
}

#[test]
fn a_chain_of_ten_thousand_folders_is_captured() {
    let root = TempDir::new().unwrap();
    let mut fd: std::os::fd::OwnedFd = File::open(root.path()).unwrap().into();
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
    for _ in 0..10_000 {
        rustix::fs::mkdirat(&fd, "d", rustix::fs::Mode::RWXU).unwrap();
        fd = rustix::fs::openat(&fd, "d", flags, rustix::fs::Mode::empty()).unwrap();
    }
    let create = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let file = rustix::fs::openat(&fd, "file", create, rustix::fs::Mode::RUSR).unwrap();
    rustix::io::write(&file, b"deep").unwrap();
    let sink = captured(options(root.path()));
    assert_eq!(sink.entries.len(), 10_002);
    assert_eq!(sink.bytes(&format!("{}file", "d/".repeat(10_000))), b"deep");
    assert!(sink.skips.is_empty());
    // The standard library's own removal goes as deep as the stack allows.
    assert!(Command::new("rm").arg("-rf").arg(root.path()).status().unwrap().success());
}

#[test]
fn a_folder_of_more_names_than_a_slice_is_captured_in_order() {
    let root = TempDir::new().unwrap();
    for n in 0..3000 {
        write(root.path().join(format!("{n:04}")).join("f"), n.to_string());
    }
    let sink = captured(options(root.path()));
    assert_eq!(sink.entries.len(), 6001);
    assert_eq!(sink.bytes("2047/f"), b"2047");
}

#[test]
fn a_root_may_be_a_file_or_a_link_to_a_folder() {
    let root = TempDir::new().unwrap();
    write(root.path().join("folder/file"), "content");
    symlink("folder", root.path().join("link")).unwrap();
    let file = captured(options(&root.path().join("folder/file")));
    assert_eq!((file.paths(), file.bytes(".")), (vec![".".to_owned()], b"content".to_vec()));
    let linked = captured(options(&root.path().join("link")));
    assert_eq!(linked.paths(), [".", "file"]);
    let mut sink = Recorder::default();
    let missing = capture_with(options(&root.path().join("none")), vec![], &mut sink, &Arc::default()).unwrap_err();
    assert!(missing.to_string().ends_with("none: no such file or directory") && missing.hint().is_some());
}

#[test]
fn a_mount_point_is_kept_as_an_empty_folder_on_request() {
    let options = FilesOptions {
        exclude: vec!["/*".to_owned(), "!/proc".to_owned()],
        one_file_system: true,
        ..options(Path::new("/"))
    };
    assert_eq!(captured(options).paths(), [".", "proc"]);
}

#[test]
fn the_estimate_counts_what_the_capture_counts() {
    let root = TempDir::new().unwrap();
    for path in ["a/b", "c", "d/e/f", "x.tmp"] {
        write(root.path().join(path), "12345");
    }
    fs::hard_link(root.path().join("c"), root.path().join("cc")).unwrap();
    let options = FilesOptions { exclude: vec!["*.tmp".to_owned()], ..options(root.path()) };
    let control = Arc::new(Control::default());
    FilesSource::new(options.clone()).unwrap().estimate(&control);
    capture_with(options, vec![], &mut Recorder::default(), &control).unwrap();
    assert_eq!((control.items.get(), control.items_expected.get()), (8, 8));
    assert_eq!((control.bytes.get(), control.bytes_expected.get()), (15, 15));
}

#[test]
fn a_configuration_is_refused_by_the_key_at_fault() {
    let refused = |text: &str| {
        let table: toml::Table = text.parse().unwrap();
        let error = crate::source::configure(&table, Path::new("/base")).unwrap_err();
        (error.key().to_owned(), error.to_string(), error.hint(), error.class())
    };
    let (key, message, hint, class) = refused("kind = 'files'\npath = 'x'\nexlcude = []");
    assert_eq!((key.as_str(), message.as_str(), class), ("exlcude", "unknown key \"exlcude\"", Class::Usage));
    assert_eq!(hint.as_deref(), Some("did you mean \"exclude\"?"));
    assert_eq!(refused("kind = 'flies'").2.as_deref(), Some("did you mean \"files\"?"));
    assert_eq!(refused("kind = 'files'").1, "\"path\" is missing");
    assert_eq!(refused("kind = 'files'\npath = 3").1, "\"path\" is not a text in quotes");
    assert_eq!(refused("kind = 'files'\npath = 'x'\nexclude = ['a{']").0, "exclude");
    let table: toml::Table = "kind = 'files'\npath = 'x'".parse().unwrap();
    assert_eq!(
        configure(&table, Path::new("/base")).map(|source| source.root()),
        Ok::<_, ConfigError>("/base/x".into())
    );
}
