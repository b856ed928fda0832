//! Who may open a vault, and what is said to who may not.

use super::*;
use crate::support::disk::Disk;

#[test]
fn a_host_without_the_identity_still_backs_up_and_deduplicates_but_reads_nothing() {
    let home = backed_up();
    fs::rename(home.identity(), home.path("away.txt")).unwrap();
    home.write("app/new.txt", "new\n");
    let report = home.json(&["backup", "app", "--rescan"]);
    assert_eq!(report["bytes_new"].as_u64(), Some(4), "only the new file is new");
    for command in [&["snapshots"][..], &["restore", "latest", "--to", "out"], &["verify"]] {
        let said = home.fails(12, command);
        assert!(said.contains("no identity opens vault") && said.contains("sealed to: owner"), "{said}");
    }
    let away = home.path("away.txt");
    let list = home.json(&["--identity", away.to_str().unwrap(), "snapshots"]);
    assert_eq!(list["snapshots"].as_array().unwrap().len(), 2);
}

#[test]
fn an_init_on_a_full_disk_leaves_no_identity_that_holds_nothing() {
    let mut home = small();
    let Some(disk) = Disk::mount(home.path("full"), "64k") else { return };
    home.set("HOME", disk.0.to_str().unwrap());
    fs::create_dir_all(disk.0.join(".config/strongroom")).unwrap();
    fs::write(disk.0.join("filler"), vec![1; 1 << 20]).unwrap_err();
    let ran = home.run(&["--vault", "kept", "init"]);
    assert!(ran.code == 1 && ran.err.contains("no space left"), "{} {}", ran.code, ran.err);
    assert!(fs::read_dir(disk.0.join(".config/strongroom")).unwrap().next().is_none());
    fs::remove_file(disk.0.join("filler")).unwrap();
    home.ok(&["--vault", "kept", "init"]);
}

#[test]
fn a_person_who_stops_at_the_question_for_a_passphrase_is_not_told_that_none_fits() {
    let mut home = small();
    home.write("secret", "correct horse\n");
    fs::set_permissions(home.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    home.set("STRONGROOM_PASSPHRASE_FILE", home.path("secret").to_str().unwrap());
    home.ok(&["init", "--passphrase"]);
    home.unset("STRONGROOM_PASSPHRASE_FILE");
    let ran = home.stopped_at_terminal(&["snapshots"]);
    assert!(ran.code == 130 && !ran.out.contains("no identity opens"), "{} {}{}", ran.code, ran.out, ran.err);
}

#[test]
fn an_identity_that_others_can_read_is_refused() {
    let home = backed_up();
    fs::set_permissions(home.identity(), fs::Permissions::from_mode(0o644)).unwrap();
    let said = home.fails(1, &["snapshots"]);
    assert!(said.contains("can be read by others") && said.contains("hint: chmod 600"), "{said}");
}

#[test]
fn a_wrong_or_missing_identity_is_named() {
    let home = backed_up();
    home.ok(&["--vault", "other", "--identity", "other.txt", "init"]);
    let said = home.fails(12, &["--identity", "other.txt", "snapshots"]);
    assert!(said.contains("no identity opens"), "{said}");
    assert!(home.fails(12, &["--identity", "nowhere.txt", "snapshots"]).contains("nowhere.txt"));
    home.write("junk.txt", "not an identity\n");
    fs::set_permissions(home.path("junk.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(home.fails(12, &["--identity", "junk.txt", "snapshots"]).contains("holds no age or ssh identity"));
}

#[test]
fn a_place_without_a_vault_and_one_that_is_occupied_are_told_apart() {
    let home = backed_up();
    home.write("full/something", "x");
    assert!(home.fails(10, &["--vault", "nowhere", "snapshots"]).contains("hint: "));
    assert!(home.fails(10, &["--vault", "full", "snapshots"]).contains("no vault"));
    assert!(home.fails(10, &["--vault", "nowhere", "backup", "app"]).contains("hint: "));
    assert!(home.fails(2, &["--vault", "full", "init"]).contains("is not empty"));
    assert!(home.fails(2, &["init"]).contains("already holds a vault"));
    home.fails(2, &["--vault", "gs://bucket", "snapshots"]);
}

#[test]
fn a_vault_of_a_newer_format_and_an_altered_one_are_refused() {
    let home = backed_up();
    let file = home.vault().join("vault.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"format\": 1", "\"format\": 7")).unwrap();
    let said = home.fails(1, &["snapshots"]);
    assert!(said.contains("format 7") && said.contains("newer strongroom"), "{said}");
    fs::write(&file, text.replace("\"created\": \"20", "\"created\": \"21")).unwrap();
    home.fails(4, &["snapshots"]);
}

#[test]
fn a_vault_opens_with_an_ssh_key_a_recipient_or_a_passphrase() {
    let mut home = small();
    for kind in ["ed25519", "rsa"] {
        let file = home.path(&format!("id_{kind}"));
        let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", kind, "-f"]).arg(&file).status();
        assert!(made.expect("ssh-keygen is missing").success());
        let vault = format!("vault_{kind}");
        home.ok(&["--vault", &vault, "init", "--recipient", &format!("ops={}.pub", file.display())]);
        home.ok(&["--vault", &vault, "backup", "app"]);
        home.ok(&[
            "--vault",
            &vault,
            "--identity",
            file.to_str().unwrap(),
            "restore",
            "latest",
            "--to",
            &format!("out_{kind}"),
        ]);
        assert!(home.fails(12, &["--vault", &vault, "snapshots"]).contains("sealed to: ops"));
    }
    home.write("pass", "correct horse battery staple\n");
    fs::set_permissions(home.path("pass"), fs::Permissions::from_mode(0o600)).unwrap();
    home.set("STRONGROOM_PASSPHRASE_FILE", home.path("pass").to_str().unwrap().to_owned());
    home.ok(&["--vault", "vault_pass", "init", "--passphrase"]);
    home.ok(&["--vault", "vault_pass", "backup", "app"]);
    home.ok(&["--vault", "vault_pass", "restore", "latest", "--to", "out_pass"]);
    assert_eq!(fs::read_to_string(home.path("out_pass/readme.md")).unwrap(), "one\n");
    home.write("pass", "wrong\n");
    assert!(home.fails(12, &["--vault", "vault_pass", "snapshots"]).contains("passphrase (passphrase)"));
}

#[test]
fn another_vault_in_the_place_of_a_known_one_is_refused_until_it_is_accepted() {
    let home = backed_up();
    home.ok(&["--vault", "kept", "init"]);
    home.ok(&["--vault", "kept", "backup", "app"]);
    // Somebody who knows the public key puts a vault there that the same identity opens.
    home.ok(&["--vault", "theirs", "init"]);
    fs::rename(home.path("kept"), home.path("away")).unwrap();
    fs::rename(home.path("theirs"), home.path("kept")).unwrap();
    let absolute = home.path("kept");
    for command in [&["snapshots"][..], &["backup", "app"], &["verify"], &["restore", "latest", "--to", "out"]] {
        for place in ["kept", "./kept", absolute.to_str().unwrap()] {
            let said = home.fails(1, &[&["--vault", place], command].concat());
            assert!(said.contains(&format!("{place} holds another vault than it did")), "{said}");
            assert!(said.contains("hint: if that is meant, add the line "), "{said}");
        }
    }
    let said = home.fails(1, &["--vault", "kept", "snapshots"]);
    let hint = said.split_once("add the line ").unwrap().1.split_once("; if not").unwrap().0;
    let (line, file) = hint.split_once(" to ").unwrap();
    let known = fs::read_to_string(file).unwrap();
    fs::write(file, format!("{known}{line}\n")).unwrap();
    home.ok(&["--vault", "kept", "backup", "app"]);
    // Both are known now: disks that take turns in one place.
    fs::rename(home.path("kept"), home.path("theirs")).unwrap();
    fs::rename(home.path("away"), home.path("kept")).unwrap();
    home.ok(&["--vault", "kept", "snapshots"]);
    // A vault that is made anew on this host is known by that.
    fs::remove_dir_all(home.path("kept")).unwrap();
    home.ok(&["--vault", "kept", "init"]);
    home.ok(&["--vault", "kept", "snapshots"]);
}
