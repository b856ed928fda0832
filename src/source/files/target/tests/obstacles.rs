//! What stands in the way, does not fit, or makes no sense.

use super::*;

#[test]
fn an_abandoned_file_leaves_the_old_one_and_nothing_else() {
    let bench = Bench::new();
    fs::write(bench.path("old"), "other").unwrap();
    for name in ["old", "new", "dropped"] {
        let Ok(Outcome::Content(writer)) = bench.begin(&file(name, b"hello")) else { panic!() };
        writer.write_at(0, b"hel").unwrap();
        if name != "dropped" {
            writer.abandon();
        }
    }
    assert_eq!(bench.names(), ["old"]);
    assert_eq!(fs::read(bench.path("old")).unwrap(), b"other");
}

#[test]
fn content_that_is_not_as_long_as_its_size_is_refused() {
    let bench = Bench::new();
    let Ok(Outcome::Content(writer)) = bench.begin(&file("f", b"hello")) else { panic!() };
    assert!(writer.write_at(3, b"abc").is_err() && writer.write_at(u64::MAX, b"abc").is_err());
    assert_eq!(writer.finish(3).unwrap_err().class(), Class::Damaged);
    assert!(bench.target.small_file(&file("g", b"hello"), b"hell").is_err());
    assert_eq!(bench.names(), [""; 0]);
}

#[test]
fn a_listing_that_makes_no_sense_is_damage() {
    let bench = Bench::new();
    let bad = [
        Entry { xattrs: [("user.%zz".into(), String::new())].into(), ..file("x", b"") },
        Entry { xattrs: [("user.%00".into(), String::new())].into(), ..file("x", b"") },
        entry("l", Kind::Symlink),
        link_to("l", "a%00b"),
        entry("c", Kind::Char),
        entry(".", Kind::File),
        Entry { link: Some(EntryPath::root()), ..entry(".", Kind::Symlink) },
    ];
    for entry in bad {
        assert_eq!(bench.begin(&entry).err().unwrap().class(), Class::Damaged, "{entry:?}");
    }
    assert!(bench.target.link(&Entry { link: Some(EntryPath::root()), ..entry("l", Kind::File) }).is_err());
    assert_eq!(bench.names(), [""; 0]);
}

#[test]
fn a_huge_size_takes_no_room() {
    let bench = Bench::new();
    let Ok(Outcome::Content(writer)) = bench.begin(&Entry { size: u64::MAX, ..entry("f", Kind::File) }) else {
        panic!()
    };
    assert!(writer.finish(u64::MAX).is_err());
    assert_eq!(bench.names(), [""; 0]);
}

#[test]
fn odd_names_come_back() {
    let bench = Bench::new();
    let long = "n".repeat(255);
    let names = ["%FFnot%C3utf8", "new%0Aline%09tab", "back\\slash", "-rf", "per%25cent", " ", long.as_str()];
    for name in names {
        bench.target.small_file(&file(name, b"x"), b"x").unwrap();
        bench.target.small_file(&file(name, b"again"), b"again").unwrap();
    }
    let mut expected = names.map(str::to_owned);
    expected.sort();
    assert_eq!(bench.names(), expected);
}

#[test]
fn what_stands_in_the_way_is_an_error_of_its_entry_only() {
    let bench = Bench::new();
    fs::write(bench.path("file"), "x").unwrap();
    fs::create_dir(bench.path("folder")).unwrap();
    let error = bench.begin(&entry("file", Kind::Dir)).err().unwrap();
    assert_eq!(error.to_string(), "cannot restore file: file is in the way");
    for bad in [file("folder", b"x"), link_to("folder", "x"), entry("folder", Kind::Fifo), file("file/f", b"x")] {
        let error = bench.begin(&bad).err().unwrap();
        assert!(matches!(error, TargetError::InTheWay { .. }) && !error.is_fatal(), "{error}");
    }
    assert_eq!(bench.names(), ["file", "folder"]);
}

#[test]
fn a_target_that_is_a_file_is_refused() {
    let bench = Bench::new();
    fs::write(bench.path("f"), "x").unwrap();
    let error = Target::open(&bench.path("f"), Options::default()).err().unwrap();
    assert!(matches!(error, TargetError::NotAFolder { .. }) && error.is_fatal() && error.class() == Class::Usage);
    let error = Target::open(&bench.path("f/below"), Options::default()).err().unwrap();
    assert!(error.is_fatal() && error.to_string().ends_with("not a directory"), "{error}");
    Target::open(&bench.path("made/with/parents"), Options::default()).unwrap();
    assert_eq!(fs::metadata(bench.path("made/with/parents")).unwrap().mode() & 0o777, 0o700);
}
