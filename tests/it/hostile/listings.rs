//! Forged listings: paths, order, sizes, fields, lists without end.

use super::*;

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
