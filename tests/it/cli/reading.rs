//! `snapshots`, `show`, `diff`, `restore` and `verify`.

use super::*;

#[test]
fn every_selector_finds_its_snapshot() {
    let home = small();
    let id = |report: serde_json::Value| report["id"].as_str().unwrap().to_owned();
    let first = id(home.json(&["backup", "app", "--tag", "old", "--label", "k=v"]));
    let second = id(home.json(&["backup", "app", "--app", "other"]));
    let third = id(home.json(&["backup", "app"]));
    let shown = |selector: &str| home.json(&["show", selector])["id"].as_str().unwrap().to_owned();
    assert_eq!([shown("latest"), shown("latest~1"), shown("latest~2")], [third.clone(), second.clone(), first.clone()]);
    assert_eq!([shown(&second[..12]), shown(&second)], [second.clone(), second.clone()]);
    assert_eq!(
        [shown("@now"), shown("@today"), shown("tag:old"), shown("label:k=v")],
        [third.clone(), third.clone(), first.clone(), first.clone()]
    );
    let time = home.json(&["show", &second])["time"].as_str().unwrap().to_owned();
    assert_eq!(shown(&format!("@{time}")), second);
    assert_eq!(home.json(&["show", "latest", "--app", "other"])["id"], second);
    for none in ["latest~9", "@yesterday", "@3 days ago", "tag:new", "label:k=w"] {
        assert!(home.fails(1, &["show", none]).contains("no snapshot fits"), "{none}");
    }
    assert_eq!(home.run(&["show", "newest"]).code, 2);
    assert!(home.fails(2, &["show", "@soon"]).contains("is not a point in time"));
    assert!(home.fails(2, &["show", "latest", "--host", "elsewhere"]).contains("no snapshot has the host elsewhere"));
}

#[test]
fn an_ambiguous_prefix_lists_the_candidates() {
    let home = small();
    let mut digits = std::collections::BTreeMap::<char, u32>::new();
    let shared = loop {
        let id = home.json(&["backup", "app"])["id"].as_str().unwrap().to_owned();
        let first = id.chars().next().unwrap();
        *digits.entry(first).or_default() += 1;
        if digits[&first] == 2 {
            break first.to_string();
        }
    };
    let said = home.fails(2, &["show", &shared]);
    assert!(said.contains("fits 2 snapshots") && said.matches(&format!(" {shared}")).count() >= 2, "{said}");
}

#[test]
fn show_lists_and_writes_content_exactly() {
    let home = small();
    let noise: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    home.write("app/noise.bin", &noise);
    home.ok(&["backup", "app"]);
    assert_eq!(home.ok(&["show", "latest", "app:noise.bin", "--cat"]).bytes, noise);
    assert_eq!(home.ok(&["show", "latest", "docs/b.txt", "--cat"]).out, "beta\n");
    let listing = home.ok(&["show", "latest", ":docs"]).out;
    assert_eq!(listing.lines().count(), 3, "{listing}");
    assert!(home.fails(1, &["show", "latest", ":docs/c.txt", "--cat"]).contains("docs/c.txt is not in app"));
    assert!(home.fails(2, &["show", "latest", ":docs", "--cat"]).contains("is not a file"));
    assert!(home.fails(2, &["show", "latest", ":../x"]).contains("not a path inside"));
}

#[test]
fn a_reader_that_goes_away_is_told_by_the_code_alone() {
    let home = small();
    for n in 0..3000 {
        home.write(&format!("app/many/{n}"), "x");
    }
    home.ok(&["backup", "app"]);
    let mut child =
        home.command(&["show", "latest", "app"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(141) && said.is_empty(), "{:?} {said}", output.status);
}

#[test]
fn a_restore_over_what_is_there_leaves_the_identical_and_the_foreign_alone() {
    let home = backed_up();
    home.ok(&["restore", "latest", "--to", "out"]);
    let inode = |name: &str| fs::metadata(home.path(name)).unwrap().ino();
    let (kept, replaced) = (inode("out/docs/a.txt"), inode("out/readme.md"));
    home.write("out/readme.md", "spoiled\n");
    home.write("out/foreign.txt", "mine\n");
    fs::remove_file(home.path("out/docs/b.txt")).unwrap();
    let report = home.json(&["restore", "latest", "--to", "out"])["report"].clone();
    assert_eq!((report["files"].as_u64(), report["identical"].as_u64()), (Some(2), Some(1)));
    assert_eq!(inode("out/docs/a.txt"), kept);
    assert_ne!(inode("out/readme.md"), replaced);
    assert_eq!(fs::read_to_string(home.path("out/readme.md")).unwrap(), "one\n");
    assert_eq!(fs::read_to_string(home.path("out/foreign.txt")).unwrap(), "mine\n");
}

#[test]
fn parts_single_files_and_impossible_targets() {
    let home = backed_up();
    home.ok(&["restore", "latest", ":docs/a.txt", "--to", "part"]);
    assert_eq!(fs::read_to_string(home.path("part/docs/a.txt")).unwrap(), "alpha\n");
    assert!(!home.path("part/readme.md").exists());
    assert!(home.fails(1, &["restore", "latest", ":nothing", "--to", "part"]).contains("nothing is not in app"));
    home.write("file", "x");
    home.fails(2, &["restore", "latest", "--to", "file"]);
    home.fails(1, &["restore", "latest", "--to", "/proc/strongroom"]);
    assert_eq!(home.run(&["restore", "latest"]).code, 2);
    home.write("single.txt", "alone\n");
    home.ok(&["backup", "single.txt"]);
    home.ok(&["restore", "latest", "--to", "single"]);
    assert_eq!(fs::read_to_string(home.path("single/single.txt")).unwrap(), "alone\n");
}

#[test]
fn a_source_that_one_of_two_snapshots_knows_nothing_of_is_named_by_diff_and_the_others_are_compared() {
    let home = Home::new();
    for name in ["old", "both", "new"] {
        home.write(&format!("{name}/a"), "1\n");
    }
    let backup = |names: [&str; 2]| {
        home.write("both/a", names.concat());
        home.ok(&["backup", names[0], names[1], "--app", "shop"]);
    };
    backup(["old", "both"]);
    backup(["both", "new"]);
    let ran = home.ok(&["diff", "latest~1", "latest"]);
    for line in ["  M both/a", "both: 1 changed", "old: only in snapshot ", "new: only in snapshot "] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }
    let ids = ["latest~1", "latest"].map(|snapshot| home.json(&["show", snapshot])["id"].clone());
    let document = home.json(&["diff", "latest~1", "latest"]);
    assert_eq!(
        document["only_in"],
        serde_json::json!([{ "source": "old", "snapshot": ids[0] }, { "source": "new", "snapshot": ids[1] }])
    );
    assert_eq!(document["changes"].as_array().unwrap().len(), 1, "{document}");
    assert!(home.json(&["diff", "latest", "latest"])["only_in"].is_null());
}

#[test]
fn diff_tells_what_was_added_removed_changed_and_only_touched() {
    let home = backed_up();
    home.write("app/new.txt", "new\n");
    home.write("app/docs/a.txt", "other\n");
    fs::remove_file(home.path("app/readme.md")).unwrap();
    fs::set_permissions(home.path("app/docs/b.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    let expected =
        [("docs/a.txt", "content"), ("docs/b.txt", "metadata"), ("new.txt", "added"), ("readme.md", "removed")];
    let check = |document: serde_json::Value| {
        let changes = document["changes"].as_array().unwrap().clone();
        let found: Vec<(&str, &str)> =
            changes.iter().map(|c| (c["path"].as_str().unwrap(), c["change"].as_str().unwrap())).collect();
        assert_eq!(found, expected);
    };
    check(home.json(&["diff", "latest", "live"]));
    check(home.json(&["diff", "latest"]));
    home.ok(&["backup", "app"]);
    check(home.json(&["diff", "latest~1", "latest"]));
    assert!(home.ok(&["diff", "latest"]).out.contains("app: no change"));
    let words = home.ok(&["diff", "latest~1", "latest"]).out;
    assert!(words.contains("app: 1 removed   1 added   1 changed   1 with other metadata"), "{words}");
}

#[test]
fn verify_finds_damage_names_it_and_ends_with_four_and_the_rest_restores() {
    let home = backed_up();
    let pack = first_pack(&home);
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&pack, bytes).unwrap();
    for depth in [&["verify", "--read-data"][..], &["verify", "--stored"]] {
        let ran = home.run(depth);
        assert_eq!(ran.code, 4, "{}{}", ran.out, ran.err);
        assert!(ran.err.contains("damaged: packs/") && ran.err.contains("hint: "), "{}", ran.err);
    }
    let code = home.run(&["restore", "latest", "--to", "out"]).code;
    assert!(code == 3 || code == 4, "{code}");
}

fn first_pack(home: &Home) -> std::path::PathBuf {
    let folder = fs::read_dir(home.vault().join("packs")).unwrap().next().unwrap().unwrap().path();
    fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn samples_cover_every_pack_in_turn() {
    let home = small();
    for n in 0..4 {
        home.write("app/n.txt", format!("{n}"));
        home.ok(&["backup", "app", "--rescan"]);
    }
    let packs = |report: serde_json::Value| report["report"]["packs"]["checked"].as_u64().unwrap();
    assert_eq!(packs(home.json(&["verify", "--read-data"])), 4);
    assert_eq!(packs(home.json(&["verify", "--read-data", "--sample", "25%"])), 1);
    // One bad pack is found within four samples of a quarter each; sooner if a listing lies in it.
    let pack = first_pack(&home);
    let mut bytes = fs::read(&pack).unwrap();
    bytes.truncate(bytes.len() - 1);
    bytes.push(0);
    fs::write(&pack, bytes).unwrap();
    let found = (0..4).filter(|_| home.run(&["verify", "--read-data", "--sample", "25%"]).code == 4).count();
    assert!(found >= 1, "each pack has its turn");
    assert_eq!(home.run(&["verify", "--read-data", "--sample", "0%"]).code, 2);
}

#[test]
fn a_snapshot_of_a_newer_strongroom_is_named_and_hides_no_other() {
    let home = backed_up();
    let vault: serde_json::Value = serde_json::from_slice(&fs::read(home.vault().join("vault.json")).unwrap()).unwrap();
    let recipient: age::x25519::Recipient = vault["recipient"].as_str().unwrap().parse().unwrap();
    let plain = zstd::bulk::compress(br#"{"format":2,"everything":"else"}"#, 3).unwrap();
    let sealed = strongroom::format::seal::seal(&[&recipient], &plain);
    let key = strongroom::format::layout::manifest(strongroom::base::time::Instant::now(), sealed.digest);
    fs::write(home.vault().join(key.as_str()), &sealed.bytes).unwrap();
    let ran = home.run(&["--json", "snapshots"]);
    let listed: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, listed["snapshots"].as_array().unwrap().len()), (3, 1), "{}", ran.err);
    assert_eq!((listed["newer"][0].as_str(), listed["damaged"].as_array().unwrap().len()), (Some(key.as_str()), 0));
    assert!(ran.err.contains("not listed: snapshots/") && ran.err.contains("is of format 2"), "{}", ran.err);
    let ran = home.run(&["verify"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(
        ran.out.contains("nothing damaged") && ran.err.contains("not checked: snapshots/"),
        "{}{}",
        ran.out,
        ran.err
    );
    let restored = home.run(&["restore", "latest", "--to", "out"]);
    assert!(restored.code == 3 && restored.err.contains("latest may be newer than"), "{}", restored.err);
    assert_eq!(fs::read_to_string(home.path("out/readme.md")).unwrap(), "one\n");
    home.ok(&["backup", "app"]);
}

#[test]
fn a_listing_that_cannot_be_read_to_its_end_is_still_one_document() {
    let home = Home::new();
    for n in 0..6000u64 {
        // Names that do not compress: the listing fills several pieces of what is sealed.
        let name = strongroom::base::chunk::plain_digest(&n.to_le_bytes()).to_hex();
        home.write(&format!("app/{name}"), "");
    }
    home.ok(&["backup", "app"]);
    let pack = first_pack(&home);
    let mut bytes = fs::read(&pack).unwrap();
    let late = bytes.len() * 3 / 4;
    bytes[late] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let ran = home.run(&["--json", "show", "latest", "app"]);
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}"));
    let entries = document["entries"].as_array().unwrap().len();
    assert!(ran.code == 4 && entries > 100 && entries < 6001, "{}, {entries}", ran.code);
    assert_eq!(document["failed"]["code"], 4);
    assert!(ran.err.starts_with("error: "), "{}", ran.err);
    // Nothing read at all: the error is the document, as everywhere.
    let nothing = home.run(&["--json", "show", "latest", "app:nowhere"]);
    let document: serde_json::Value = serde_json::from_str(&nothing.out).unwrap();
    assert!(document["entries"].is_null() && document["error"].is_string(), "{document}");
}
