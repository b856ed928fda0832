//! Links of both kinds: never a way out of the target.

use super::*;

#[test]
fn a_link_in_the_listing_is_never_a_way_out() {
    let bench = Bench::new();
    let outside = bench.outside();
    bench.begin(&link_to("a", outside.to_str().unwrap())).unwrap();
    let inner = file("a/passwd", b"stolen");
    let error = bench.begin(&inner).err().unwrap();
    assert_eq!(error.to_string(), "cannot restore a/passwd: a is in the way");
    assert!(!error.is_fatal() && error.hint().is_some());
    assert!(bench.target.small_file(&inner, b"stolen").is_err());
    assert!(bench.begin(&entry("a", Kind::Dir)).is_err());
    assert!(bench.begin(&entry("a/deeper", Kind::Dir)).is_err());
    assert!(bench.begin(&link_to("a/l", "x")).is_err());
    let linked = Entry { link: Some("a/passwd".parse().unwrap()), ..entry("mine", Kind::File) };
    assert!(bench.target.link(&linked).is_err());
    let linked = Entry { link: Some("mine".parse().unwrap()), ..entry("a/theirs", Kind::File) };
    assert!(bench.target.link(&linked).is_err());
    assert_eq!(fs::read(outside.join("passwd")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(outside).unwrap().count(), 1);
}

#[test]
fn a_folder_that_became_a_link_is_not_followed() {
    let bench = Bench::new();
    bench.begin(&entry("a", Kind::Dir)).unwrap();
    // The open folder is what is written into, wherever its name leads meanwhile.
    fs::rename(bench.path("a"), bench.path("moved")).unwrap();
    symlink(bench.outside(), bench.path("a")).unwrap();
    bench.target.small_file(&file("a/passwd", b"stolen"), b"stolen").unwrap();
    assert_eq!(fs::read(bench.path("moved/passwd")).unwrap(), b"stolen");
    assert_eq!(fs::read(bench.outside().join("passwd")).unwrap(), b"precious");
}

#[test]
fn a_link_where_a_file_goes_is_replaced_and_not_followed() {
    let bench = Bench::new();
    symlink(bench.outside().join("passwd"), bench.path("f")).unwrap();
    symlink(bench.outside().join("passwd"), bench.path("g")).unwrap();
    // Not even when what it points to is identical.
    bench.target.small_file(&file("f", b"precious"), b"precious").unwrap();
    write(bench.begin(&file("g", b"precious")).unwrap(), b"precious");
    for name in ["f", "g"] {
        assert!(fs::symlink_metadata(bench.path(name)).unwrap().is_file());
    }
    let there = fs::metadata(bench.outside().join("passwd")).unwrap();
    assert_ne!(there.mtime(), 1_600_000_000);
    assert_eq!(bench.names(), ["f", "g"]);
}

#[test]
fn metadata_is_not_set_through_a_name_shared_with_the_outside() {
    let bench = Bench::new();
    fs::hard_link(bench.outside().join("passwd"), bench.path("f")).unwrap();
    let before = fs::metadata(bench.outside().join("passwd")).unwrap().mode();
    let wanted = Entry { mode: 0o4777, ..file("f", b"precious") };
    bench.target.small_file(&wanted, b"precious").unwrap();
    assert_eq!(fs::metadata(bench.outside().join("passwd")).unwrap().mode(), before);
    assert_eq!(fs::metadata(bench.path("f")).unwrap().mode() & 0o7777, 0o4777);
}

#[test]
fn hard_links_come_back_and_existing_names_are_replaced() {
    let mut bench = Bench::new();
    bench.target.small_file(&file("a/first", b"hello"), b"hello").unwrap();
    fs::write(bench.path("taken"), "other").unwrap();
    let other = |path: &str| Entry { link: Some("a/first".parse().unwrap()), ..entry(path, Kind::File) };
    for name in ["b/second", "taken"] {
        assert!(matches!(bench.begin(&other(name)), Ok(Outcome::Link)));
        assert!(matches!(bench.target.link(&other(name)), Ok(Outcome::Done)));
    }
    bench.again();
    assert!(matches!(bench.target.link(&other("taken")), Ok(Outcome::Identical)));
    let first = fs::metadata(bench.path("a/first")).unwrap();
    assert_eq!((first.nlink(), first.ino()), (3, fs::metadata(bench.path("b/second")).unwrap().ino()));
    assert_eq!(bench.names(), ["a", "b", "taken"]);
    for missing in ["nowhere", "no/where"] {
        let lost = Entry { link: Some(missing.parse().unwrap()), ..entry("lost", Kind::File) };
        let error = bench.target.link(&lost).err().unwrap();
        assert_eq!(error.to_string(), format!("cannot link lost: its other name {missing} is not there"));
    }
}

#[test]
fn a_file_with_a_name_elsewhere_keeps_the_attributes_that_the_snapshot_does_not_hold() {
    let bench = Bench::new();
    let (inside, outside) = (bench.path("f"), bench.outside().join("f"));
    fs::write(&inside, "hello").unwrap();
    if rustix::fs::setxattr(&inside, "user.mine", b"1", rustix::fs::XattrFlags::empty()).is_err() {
        return not_tested("attributes of files: the file system has none");
    }
    fs::hard_link(&inside, &outside).unwrap();
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o644)).unwrap();
    let wanted = file("f", b"hello");
    let written = std::time::UNIX_EPOCH + std::time::Duration::new(1_600_000_000, 123_456_789);
    File::options().write(true).open(&inside).unwrap().set_modified(written).unwrap();
    // All else is as it should be: the file is another one all the same.
    write(bench.begin(&wanted).unwrap(), b"hello");
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(&outside, "user.mine", &mut value[..]), Ok(1));
    assert!(rustix::fs::getxattr(&inside, "user.mine", &mut value[..]).is_err());
    assert_ne!(fs::metadata(&inside).unwrap().ino(), fs::metadata(&outside).unwrap().ino());
}
