//! A vault that is not what this host knows: gone, set back, robbed of snapshots or keys, or with a snapshot from the future.

use strongroom::base::time::Instant;

use super::*;
use crate::support::forge::Forge;

/// The objects of a folder of the vault, sorted.
fn objects(home: &Home, folder: &str) -> Vec<std::path::PathBuf> {
    let mut all: Vec<_> = fs::read_dir(home.vault().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn name(path: &std::path::Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_backup_makes_no_new_vault_where_this_host_met_one_that_is_gone() {
    let home = backed_up();
    let id = fs::read_to_string(home.vault().join("vault.json")).unwrap();
    let id = serde_json::from_str::<serde_json::Value>(&id).unwrap()["vault"].as_str().unwrap().to_owned();
    let aside = home.path("aside");
    let lose: [fn(&std::path::Path); 2] = [|_| {}, |place| fs::create_dir(place).unwrap()];
    for lose in lose {
        fs::rename(home.vault(), &aside).unwrap();
        lose(&home.vault());
        for command in [&["backup", "app"][..], &["--quiet", "backup", "app"], &["snapshots"], &["verify", "--stored"]]
        {
            let said = home.fails(10, command);
            assert!(said.contains(&format!("where this host met vault {id}")), "{command:?}: {said}");
            assert!(said.contains("strongroom init"), "{command:?}: {said}");
        }
        assert!(!home.vault().join("vault.json").exists());
        let _ = fs::remove_dir_all(home.vault());
        fs::rename(&aside, home.vault()).unwrap();
        home.ok(&["backup", "app"]);
    }
    // A link to a disk that is not mounted leads nowhere, and is the same place.
    fs::rename(home.vault(), &aside).unwrap();
    std::os::unix::fs::symlink(&aside, home.vault()).unwrap();
    home.ok(&["backup", "app"]);
    fs::rename(&aside, home.path("unmounted")).unwrap();
    assert!(home.fails(10, &["backup", "app"]).contains(&id));
    fs::remove_file(home.vault()).unwrap();
    // A person may say that it is gone for good.
    let ran = home.ok(&["init"]);
    assert!(ran.err.contains(&format!("warning: vault {id} was at ")), "{}", ran.err);
    home.ok(&["backup", "app"]);
}

#[test]
fn a_snapshot_that_is_gone_is_told_by_every_command_until_it_is_accepted() {
    let home = backed_up();
    home.ok(&["backup", "app", "--tag", "x"]);
    let newest = objects(&home, "snapshots").pop().unwrap();
    fs::remove_file(&newest).unwrap();
    let gone = name(&newest);
    let tells = |command: &[&str], code: i32, what: &str| {
        let ran = home.run(command);
        assert_eq!(ran.code, code, "{command:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(what), "{command:?}: {}", ran.err);
    };
    tells(&["snapshots"], 3, &gone);
    assert!(home.run(&["--json", "snapshots"]).out.contains(&format!("\"snapshots/{gone}\"")));
    tells(&["show", "latest"], 3, &gone);
    tells(&["verify"], 4, &gone);
    tells(&["verify", "--stored"], 4, &gone);
    tells(&["show", "tag:x"], 4, "no snapshot fits tag:x among those that can be read: 1 gone");
    // The next backup makes the newest, and forgets nothing.
    for _ in 0..2 {
        tells(&["--quiet", "backup", "app"], 3, &gone);
        tells(&["verify"], 4, &gone);
        tells(&["snapshots"], 3, &gone);
        tells(&["show", "latest"], 3, "1 older snapshot is gone from the vault");
        tells(&["show", "tag:x"], 4, "1 gone");
    }
    let ran = home.ok(&["snapshots", "--accept-gone"]);
    assert!(ran.err.contains(&gone), "{}", ran.err);
    for command in [&["snapshots"][..], &["show", "latest"], &["verify"], &["verify", "--stored"], &["backup", "app"]] {
        assert!(home.ok(command).err.is_empty(), "{command:?}");
    }
    home.fails(1, &["show", "tag:x"]);
}

#[test]
fn a_vault_that_was_set_back_to_an_older_copy_is_told() {
    let home = backed_up();
    let copy = home.path("copy");
    let copied = Command::new("cp").arg("-a").arg(home.vault()).arg(&copy).status().unwrap();
    assert!(copied.success());
    home.ok(&["backup", "app"]);
    let lost = name(&objects(&home, "snapshots").pop().unwrap());
    fs::remove_dir_all(home.vault()).unwrap();
    fs::rename(&copy, home.vault()).unwrap();
    for (command, code) in [(&["verify"][..], 4), (&["-q", "backup", "app"], 3), (&["verify"], 4), (&["snapshots"], 3)]
    {
        let ran = home.run(command);
        assert!(ran.code == code && ran.err.contains(&lost), "{command:?}: {} {}{}", ran.code, ran.out, ran.err);
    }
}

#[test]
fn where_all_manifests_are_damaged_nobody_is_told_that_there_is_no_snapshot_yet() {
    let home = backed_up();
    home.ok(&["backup", "app"]);
    for object in objects(&home, "snapshots") {
        let mut bytes = fs::read(&object).unwrap();
        bytes[200] ^= 1;
        fs::remove_file(&object).unwrap();
        fs::write(&object, bytes).unwrap();
    }
    for command in [
        &["restore", "latest", "--to", "out"][..],
        &["show", "latest"],
        &["show", "tag:x"],
        &["find", "t", "1"],
        &["query", "latest", ".tables"],
        &["diff", "latest"],
        &["recover", "latest", "t", "1"],
    ] {
        let ran = home.run(command);
        assert_eq!(ran.code, 4, "{command:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains("among those that can be read: 2 damaged"), "{command:?}: {}", ran.err);
        assert!(!ran.err.contains("strongroom backup"), "{command:?}: {}", ran.err);
    }
}

#[test]
fn a_vault_whose_keys_are_gone_is_damaged_and_a_backup_into_it_says_so() {
    let home = backed_up();
    fs::rename(home.vault().join("keys"), home.path("keys")).unwrap();
    for command in [&["verify", "--stored"][..], &["verify"], &["restore", "latest", "--to", "out"]] {
        let ran = home.run(command);
        assert!(ran.code == 4 && ran.err.contains("keys/ is empty"), "{command:?}: {} {}", ran.code, ran.err);
    }
    let ran = home.run(&["--quiet", "backup", "app"]);
    assert!(ran.code == 3 && ran.err.contains("keys/ is empty"), "{} {}", ran.code, ran.err);
    // One of them is missed as well.
    fs::create_dir(home.vault().join("keys")).unwrap();
    let key = fs::read_dir(home.path("keys")).unwrap().next().unwrap().unwrap().path();
    let other = name(&key).replace("owner-", "other-");
    fs::copy(&key, home.vault().join("keys").join(other)).unwrap();
    for (command, code) in [(&["verify", "--stored"][..], 4), (&["verify"], 4), (&["--quiet", "backup", "app"], 3)] {
        let ran = home.run(command);
        assert!(ran.code == code && ran.err.contains(&name(&key)), "{command:?}: {} {}", ran.code, ran.err);
    }
}

#[test]
fn a_snapshot_from_the_future_is_the_newest_only_until_the_next_one() {
    let home = backed_up();
    let forge = Forge::of_home(&home);
    let listing = forge.honest.sources[0].listing.clone();
    let ahead = Instant::from_unix(Instant::now().unix().0 + 9 * 365 * 24 * 3600, 0);
    let newest = objects(&home, "snapshots").pop().unwrap();
    let previous = format!("snapshots/{}", name(&newest));
    let forged = forge.manifest(listing, |manifest| {
        (manifest.time, manifest.previous) = (ahead, Some(previous));
    });
    let short = forged.id.short();
    // Nothing was made after it: it is the newest, and that is told.
    let ran = home.run(&["show", "latest"]);
    assert!(ran.code == 3 && ran.err.contains(&format!("snapshot {short} says ")), "{} {}", ran.code, ran.err);
    assert!(ran.err.contains("by this host's clock"), "{}", ran.err);
    let made = home.json(&["backup", "app"])["id"].as_str().unwrap().to_owned();
    assert_eq!(home.json(&["show", "latest"])["id"], made.as_str());
    assert_eq!(home.run(&["--json", "show", "latest~1"]).code, 3);
    let again = home.json(&["backup", "app"])["id"].as_str().unwrap().to_owned();
    assert_eq!(home.json(&["show", "latest"])["id"], again.as_str());
    assert_eq!(home.json(&["show", "latest~1"])["id"], made.as_str());
    assert!(home.ok(&["snapshots"]).err.contains(&format!("snapshot {short} says ")));
    assert!(home.ok(&["restore", "latest", "--to", "out"]).err.is_empty());
}

#[test]
fn a_snapshot_by_a_clock_that_is_behind_stays_the_newest_until_the_next_one() {
    let home = backed_up();
    let before = home.json(&["show", "latest"])["id"].as_str().unwrap().to_owned();
    let forge = Forge::of_home(&home);
    let listing = || forge.honest.sources[0].listing.clone();
    let yesterday = Instant::from_unix(Instant::now().unix().0 - 24 * 3600, 0);
    let newest = objects(&home, "snapshots").pop().unwrap();
    let previous = || Some(format!("snapshots/{}", name(&newest)));
    let behind = forge.manifest(listing(), |manifest| (manifest.time, manifest.previous) = (yesterday, previous()));
    let warning = format!("snapshot {} says ", behind.id.short());
    let ran = home.run(&["--json", "show", "latest"]);
    assert!(ran.code == 3 && ran.out.contains(&behind.id.to_hex()), "{} {}{}", ran.code, ran.out, ran.err);
    assert!(ran.err.contains(&warning) && ran.err.contains("was made after one of"), "{}", ran.err);
    assert_eq!(home.json(&["show", "latest~1"])["id"], before.as_str());
    assert!(home.ok(&["snapshots"]).err.contains(&warning));
    // It was not there at the time that it says.
    assert_eq!(home.run(&["show", "@12 hours ago"]).code, 1);
    // Where it is damaged nothing proves that it is older than the other.
    let file = objects(&home, "snapshots").into_iter().find(|object| *object != newest).unwrap();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, b"damaged").unwrap();
    let ran = home.run(&["--json", "show", "latest"]);
    assert!(ran.code == 3 && ran.out.contains(&before), "{} {}{}", ran.code, ran.out, ran.err);
    assert!(ran.err.contains("warning: latest may be newer than "), "{}", ran.err);
    fs::write(&file, whole).unwrap();
    // Also where what it was made after cannot be read any more; and one that is made later by a right clock is newer.
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, b"damaged").unwrap();
    let ran = home.run(&["--json", "show", "latest"]);
    assert!(ran.out.contains(&behind.id.to_hex()), "{} {}", ran.out, ran.err);
    fs::write(&newest, bytes).unwrap();
    let made = home.json(&["backup", "app"])["id"].as_str().unwrap().to_owned();
    assert_eq!(home.json(&["show", "latest"])["id"], made.as_str());
    // What another names is older than that one, and no longer in doubt.
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, b"damaged").unwrap();
    assert_eq!(home.json(&["show", "latest"])["id"], made.as_str());
    fs::write(&newest, bytes).unwrap();
    // What names one from the future that is not there is no newer than it says.
    let far = newest.file_name().unwrap().to_string_lossy().replacen("20", "30", 1);
    forge.manifest(listing(), |manifest| {
        (manifest.time, manifest.previous) = (yesterday, Some(format!("snapshots/{far}")));
    });
    let ran = home.run(&["--json", "show", "latest"]);
    assert!(ran.out.contains(&made), "{} {}", ran.out, ran.err);
}

#[test]
fn a_ledger_with_one_flipped_bit_is_told_and_costs_one_line_until_a_person_has_seen_it() {
    let home = backed_up();
    home.ok(&["backup", "app"]);
    let folder = fs::read_dir(home.identity().with_file_name("committed")).unwrap().next().unwrap().unwrap().path();
    let ledger = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&ledger).unwrap();
    bytes[3] ^= 0x80;
    fs::write(&ledger, bytes).unwrap();
    let told = "what this host noted of the vault is not all there";
    for command in [&["snapshots"][..], &["show", "latest"], &["--quiet", "backup", "app"], &["verify"]] {
        let ran = home.run(command);
        assert!(ran.code == 3 && ran.err.contains(told), "{command:?}: {} {}", ran.code, ran.err);
    }
    // What else it says counts: the snapshot that goes is missed.
    let newest = objects(&home, "snapshots").pop().unwrap();
    fs::remove_file(&newest).unwrap();
    let ran = home.run(&["snapshots"]);
    assert!(ran.code == 3 && ran.err.contains(&format!("gone: snapshots/{}", name(&newest))), "{}", ran.err);
    home.run(&["snapshots", "--accept-gone"]);
    let ran = home.ok(&["snapshots"]);
    assert!(!ran.err.contains(told), "{}", ran.err);
    // One that cannot be read is not taken for that of a host that knows nothing.
    fs::remove_file(&ledger).unwrap();
    fs::create_dir(&ledger).unwrap();
    let ran = home.run(&["snapshots"]);
    assert!(ran.code == 3 && ran.err.contains("could not be read"), "{} {}", ran.code, ran.err);
}

#[test]
fn what_was_stored_again_after_damage_is_no_damage_any_more_and_still_told() {
    let home = backed_up();
    fs::remove_dir_all(home.vault().join("packs")).unwrap();
    assert_eq!(home.run(&["verify"]).code, 4);
    home.ok(&["backup", "app"]);
    for command in [&["verify"][..], &["verify", "--read-data"]] {
        let ran = home.ok(command);
        assert!(ran.err.contains("not needed: packs/") && ran.err.contains("no snapshot needs it"), "{}", ran.err);
    }
    let report = home.json(&["verify"]);
    assert!(report["sound"] == true && report["report"]["spare"][0]["object"].is_string(), "{report:#}");
}

#[test]
fn what_is_lost_once_more_after_it_was_given_back_is_an_alarm_once_more() {
    let home = Home::new();
    for number in 0..20 {
        home.write(&format!("app/{number}"), "content\n");
    }
    home.ok(&["backup", "app"]);
    let lose = || (10..20).for_each(|number| fs::remove_file(home.path(&format!("app/{number}"))).unwrap());
    for _ in 0..2 {
        lose();
        home.ok(&["restore", "latest", "--in-place"]);
    }
    lose();
    // What the safety snapshots held is no measure.
    let ran = home.run(&["backup", "app"]);
    assert!(ran.code == 3 && ran.err.contains("alarm: app"), "{} {}{}", ran.code, ran.out, ran.err);
    // What a backup found is one.
    home.ok(&["backup", "app"]);
}
