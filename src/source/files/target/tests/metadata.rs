//! Owners, attributes, times, devices.

use super::*;

#[test]
fn times_before_1970_and_far_ahead_come_back() {
    let bench = Bench::new();
    for (name, seconds) in [("old", -86_400 * 365), ("far", 7_000_000_000)] {
        let entry = Entry { mtime: Instant::from_unix(seconds, 5), ..file(name, b"") };
        bench.begin(&entry).unwrap();
        assert_eq!(mtime(bench.path(name)), (seconds, 5));
    }
}

#[test]
fn links_fifos_and_devices_come_back() {
    let bench = Bench::new();
    bench.begin(&link_to("dangling", "/no/such %FF%0Aplace%25")).unwrap();
    assert_eq!(fs::read_link(bench.path("dangling")).unwrap().as_os_str().as_bytes(), b"/no/such \xff\nplace%");
    assert_eq!(mtime(bench.path("dangling")), (1_600_000_000, 123_456_789));
    fs::write(bench.path("fifo"), "in the way").unwrap();
    bench.begin(&Entry { mode: 0o622, ..entry("fifo", Kind::Fifo) }).unwrap();
    let fifo = fs::metadata(bench.path("fifo")).unwrap();
    assert!(fifo.file_type().is_fifo());
    assert_eq!((fifo.mode() & 0o7777, fifo.mtime()), (0o622, 1_600_000_000));
    let null = Entry { device: Some((1, 3)), mode: 0o666, ..entry("null", Kind::Char) };
    let outcome = bench.begin(&null).unwrap();
    let issues = bench.target.seal();
    if is_root() {
        assert!(matches!(outcome, Outcome::Done));
        assert_eq!(fs::metadata(bench.path("null")).unwrap().rdev(), rustix::fs::makedev(1, 3));
    } else {
        assert_eq!(issues[0].reason, "1 device not made (not root)");
    }
}

#[test]
fn a_socket_is_left_out_and_counted() {
    let bench = Bench::new();
    assert!(matches!(bench.begin(&entry("s", Kind::Socket)), Ok(Outcome::Skipped)));
    let issues = bench.target.seal();
    assert_eq!((issues.len(), issues[0].path.as_str(), issues[0].count), (1, "s", 1));
}

#[test]
fn owners_come_back_links_included() {
    if !is_root() {
        return not_tested("owners other than oneself need root");
    }
    let bench = Bench::new();
    let mine = |entry: Entry| Entry { uid: 12_345, gid: 54_321, ..entry };
    bench.target.small_file(&mine(Entry { mode: 0o6755, ..file("f", b"x") }), b"x").unwrap();
    bench.begin(&mine(link_to("l", "f"))).unwrap();
    bench.begin(&mine(entry("d", Kind::Dir))).unwrap();
    bench.begin(&mine(entry("p", Kind::Fifo))).unwrap();
    let named = Entry { uid: 12_345, user: Some("root".into()), ..file("named", b"") };
    bench.begin(&named).unwrap();
    assert_eq!(bench.target.seal(), []);
    for name in ["f", "l", "d", "p"] {
        let there = fs::symlink_metadata(bench.path(name)).unwrap();
        assert_eq!((there.uid(), there.gid()), (12_345, 54_321), "{name}");
    }
    assert_eq!(fs::metadata(bench.path("f")).unwrap().mode() & 0o7777, 0o6755);
    assert_eq!(fs::metadata(bench.path("named")).unwrap().uid(), 0);
    let numeric = Target::open(&bench.path(""), Options { numeric_ids: true, ..Options::default() }).unwrap();
    numeric.small_file(&named, b"").unwrap();
    assert_eq!(fs::metadata(bench.path("named")).unwrap().uid(), 12_345);
}

#[test]
fn a_setgid_folder_does_not_give_its_group_away() {
    if !is_root() {
        return not_tested("owners other than oneself need root");
    }
    let bench = Bench::new();
    fs::create_dir(bench.path("d")).unwrap();
    std::os::unix::fs::chown(bench.path("d"), None, Some(54_321)).unwrap();
    fs::set_permissions(bench.path("d"), fs::Permissions::from_mode(0o2755)).unwrap();
    bench.target.small_file(&file("d/f", b"x"), b"x").unwrap();
    bench.begin(&entry("d/new", Kind::Dir)).unwrap();
    bench.target.seal();
    assert_eq!(fs::metadata(bench.path("d/f")).unwrap().gid(), 0);
    assert_eq!(fs::metadata(bench.path("d/new")).unwrap().gid(), 0);
}

#[test]
fn attributes_and_acls_come_back_and_others_go() {
    let bench = Bench::new();
    let names = |path: PathBuf| {
        let mut buffer = vec![0; 4096];
        let length = rustix::fs::llistxattr(&path, &mut buffer[..]).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    if rustix::fs::setxattr(bench.outside(), "user.x", b"y", rustix::fs::XattrFlags::empty()).is_err() {
        return not_tested("attributes: the temporary folder's file system has none");
    }
    // user::rw- user:12345:r-- group::r-- mask::r-- other::---, as the kernel wants it.
    let mut acl = vec![2, 0, 0, 0];
    for (tag, bits, id) in
        [(1u16, 6u16, u32::MAX), (2, 4, 12_345), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
    {
        acl.extend(tag.to_le_bytes());
        acl.extend(bits.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let with = |entry: Entry| {
        let xattrs = [("user.color%25", encode(b"\xffred\0")), ("system.posix_acl_access", encode(&acl))];
        Entry { mode: 0o640, xattrs: xattrs.map(|(n, v)| (n.into(), v)).into(), ..entry }
    };
    bench.begin(&with(entry("d", Kind::Dir))).unwrap();
    bench.target.small_file(&with(file("f", b"x")), b"x").unwrap();
    fs::write(bench.path("g"), "x").unwrap();
    rustix::fs::setxattr(bench.path("g"), "user.extra", b"y", rustix::fs::XattrFlags::empty()).unwrap();
    assert!(matches!(bench.begin(&with(file("g", b"x"))), Ok(Outcome::Identical)));
    bench.begin(&Entry { mode: 0o755, ..entry("plain", Kind::Dir) }).unwrap();
    // What is made in a folder with a default ACL gets one, and must lose it.
    rustix::fs::setxattr(bench.path("plain"), "system.posix_acl_default", &acl, rustix::fs::XattrFlags::empty())
        .unwrap();
    bench.target.small_file(&file("plain/f", b"x"), b"x").unwrap();
    assert_eq!(bench.target.seal(), []);
    for name in ["d", "f", "g"] {
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(bench.path(name), "user.color%", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"\xffred\0");
        let mut value = [0; 128];
        let length = rustix::fs::getxattr(bench.path(name), "system.posix_acl_access", &mut value[..]).unwrap();
        assert_eq!(value[..length], acl);
        assert_eq!(fs::metadata(bench.path(name)).unwrap().mode() & 0o7777, 0o640, "{name}");
        assert!(!names(bench.path(name)).contains("extra"));
    }
    assert_eq!(names(bench.path("plain")) + &names(bench.path("plain/f")), "");
    assert_eq!(fs::metadata(bench.path("plain/f")).unwrap().mode() & 0o7777, 0o644);
}

#[test]
fn an_attribute_that_cannot_be_set_is_counted_once_for_all_files() {
    let bench = Bench::new();
    for name in ["a", "b", "c"] {
        let xattrs = [("nonsense.name".to_owned(), "x".to_owned())].into();
        bench.target.small_file(&Entry { xattrs, ..file(name, b"x") }, b"x").unwrap();
    }
    let issues = bench.target.seal();
    assert_eq!((issues.len(), issues[0].count, issues[0].path.as_str()), (1, 3, "a"));
    assert!(issues[0].reason.starts_with("attribute nonsense.name not set on 3 files ("), "{}", issues[0].reason);
}
