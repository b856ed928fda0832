//! Folders with one last name are different sources, and nothing of a vault or of live data is written to by mistake.

use std::fs;
use std::process::Command;

use rusqlite::Connection;

use crate::support::disk::not_tested;
use crate::support::program::{Home, Ran};

/// Runs the program where the host is called so; `None` where this machine does not allow that.
fn on_host(home: &Home, host: &str, arguments: &[&str]) -> Option<Ran> {
    let inner = home.command(arguments);
    let name = format!("echo {host} > /proc/sys/kernel/hostname && exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--uts", "--", "sh", "-c", &name, "sh"]);
    command.arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(inner.get_current_dir().unwrap());
    let ran = Ran::of(command.output().unwrap());
    let refused = ran.err.contains("unshare:") || ran.err.contains("/proc/sys/kernel/hostname");
    (!refused).then_some(ran)
}

/// Two folders called `app`, captured one after the other, and what was made of them since.
fn two() -> Home {
    let home = Home::new();
    home.write("one/app/notes.txt", "one-v1\n");
    home.write("two/app/notes.txt", "two-v1\n");
    home.ok(&["backup", "one/app"]);
    home.ok(&["backup", "two/app"]);
    home.write("one/app/notes.txt", "one-broken\n");
    home.write("two/app/notes.txt", "two-new-work\n");
    home
}

fn notes(home: &Home, which: &str) -> String {
    fs::read_to_string(home.path(which).join("app/notes.txt")).unwrap()
}

fn hinted(said: &str) -> String {
    let hint = said.lines().last().unwrap();
    format!("strongroom {}", hint.split_once("strongroom ").unwrap_or_else(|| panic!("{said}")).1)
}

#[test]
fn a_restore_into_one_of_two_folders_of_one_name_never_writes_into_the_other() {
    for parts in [&[][..], &["app:notes.txt"]] {
        let home = two();
        let said = home.fails(2, &[&["restore", "latest"], parts, &["--to", "one/app"]].concat());
        assert!(said.contains("is where another app lives") && said.contains("two/app"), "{said}");
        assert_eq!(
            (notes(&home, "one"), notes(&home, "two")),
            ("one-broken\n".to_owned(), "two-new-work\n".to_owned())
        );
        // The hint runs as it is printed, and gives back what was meant.
        home.shell(&hinted(&said));
        assert_eq!((notes(&home, "one"), notes(&home, "two")), ("one-v1\n".to_owned(), "two-new-work\n".to_owned()));
        // Into its own folder it goes as ever.
        let ran = home.ok(&[&["restore", "latest"], parts, &["--to", "two/app"]].concat());
        assert!(ran.out.contains("two/app"), "{}", ran.out);
        assert_eq!(notes(&home, "two"), "two-v1\n");
    }
}

#[test]
fn a_folder_that_is_gone_is_not_filled_with_what_another_of_its_name_held() {
    let home = two();
    fs::remove_dir_all(home.path("one/app")).unwrap();
    let said = home.fails(2, &["restore", "latest", "--to", "one/app"]);
    assert!(!home.path("one/app").exists(), "{said}");
    home.shell(&hinted(&said));
    assert_eq!(notes(&home, "one"), "one-v1\n");
    // Whoever names a snapshot means that one.
    fs::remove_dir_all(home.path("one/app")).unwrap();
    let latest = home.json(&["show", "latest"])["id"].as_str().unwrap().to_owned();
    home.ok(&["restore", &latest, "--to", "one/app"]);
    assert_eq!(notes(&home, "one"), "two-v1\n");
}

#[test]
fn a_source_of_several_places_is_changed_in_place_only_where_it_is_said_which_is_meant() {
    let home = two();
    for command in [
        &["restore", "latest", "app", "--in-place"][..],
        &["restore", "latest", "--in-place"],
        &["restore", "latest", "--in-place", "--dry-run"],
        &["recover", "latest", "--file", "notes.txt"],
    ] {
        let said = home.fails(2, command);
        assert!(said.contains("app was captured in several places"), "{command:?}: {said}");
        assert!(said.contains("one/app") && said.contains("two/app"), "{command:?}: {said}");
    }
    assert_eq!((notes(&home, "one"), notes(&home, "two")), ("one-broken\n".to_owned(), "two-new-work\n".to_owned()));
    let all = home.json(&["snapshots"])["snapshots"].as_array().unwrap().clone();
    let of = |root: &str| {
        let is_it = |one: &&serde_json::Value| one["sources"][0]["root"].as_str().unwrap().ends_with(root);
        all.iter().find(is_it).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let ran = home.ok(&["restore", &of("one/app"), "app", "--in-place"]);
    let place = home.path("one/app").display().to_string();
    assert!(
        ran.out.lines().any(|line| line.contains("in place") && line.ends_with(&format!("app at {place}"))),
        "{}",
        ran.out
    );
    assert_eq!((notes(&home, "one"), notes(&home, "two")), ("one-v1\n".to_owned(), "two-new-work\n".to_owned()));
    // A configuration says which one is meant, and so does a person.
    home.write("strongroom.toml", "[source.app]\nkind = \"files\"\npath = \"two/app\"\n");
    home.ok(&["restore", "latest", "app", "--in-place"]);
    assert_eq!(notes(&home, "two"), "two-v1\n");
    home.write("strongroom.toml", "[source.app]\nkind = \"files\"\npath = \"one/app\"\n");
    assert!(home.fails(2, &["restore", "latest", "app", "--in-place"]).contains("several places"));
    home.ok(&["restore", "latest", "app", "--in-place", "--place", "app=one/app"]);
    assert_eq!(notes(&home, "one"), "two-v1\n");
}

#[test]
fn a_place_of_a_source_that_is_not_there_is_a_mistake_and_one_that_is_there_is_used() {
    let home = Home::new();
    home.write("app/a.txt", "captured\n");
    Connection::open(home.path("app/s.db"))
        .unwrap()
        .execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (1, 'captured')")
        .unwrap();
    home.ok(&["backup", "app"]);
    home.write("app/a.txt", "newer\n");
    for command in [
        &["restore", "latest", "--in-place"][..],
        &["restore", "latest", "--to", "out"],
        &["recover", "latest", "t", "1"],
        &["recover", "latest", "--file", "a.txt"],
        &["diff", "latest", "live"],
        &["find", "t", "1"],
        &["query", "latest", "SELECT x FROM live.t"],
    ] {
        let said = home.fails(2, &[command, &["--place", "ap=copy"]].concat());
        assert!(said.contains("there is no source ap ") && said.contains("app"), "{command:?}: {said}");
    }
    assert_eq!(fs::read_to_string(home.path("app/a.txt")).unwrap(), "newer\n");
    // What a person says goes before what the configuration says.
    home.write("strongroom.toml", "[source.app]\nkind = \"files\"\npath = \"app\"\n");
    home.write("copy/a.txt", "captured\n");
    home.ok(&["restore", "latest", "app:s.db", "--in-place", "--place", "app=copy"]);
    Connection::open(home.path("copy/s.db")).unwrap().execute_batch("DELETE FROM t").unwrap();
    home.ok(&["recover", "latest", "t", "1", "--place", "app=copy"]);
    let rows: i64 = Connection::open(home.path("copy/s.db"))
        .unwrap()
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 1);
    fs::remove_file(home.path("copy/a.txt")).unwrap();
    let changes = home.json(&["diff", "latest", "live", "--place", "app=copy"])["changes"].clone();
    let change = changes.as_array().unwrap().iter().find(|change| change["path"] == "a.txt").unwrap();
    assert_eq!(change["change"], "removed");
}

#[test]
fn nothing_is_restored_into_the_folder_of_a_vault() {
    let home = Home::new();
    home.write("app/a.txt", "captured\n");
    home.write("app/kept/vault.json", "of the app\n");
    home.ok(&["init", "--vault", "kept"]);
    home.ok(&["backup", "app", "--vault", "kept"]);
    home.ok(&["init", "--vault", "other"]);
    for to in ["kept", "kept/packs", "kept/new", "other/snapshots"] {
        let said = home.fails(2, &["restore", "latest", "--vault", "kept", "--to", to]);
        assert!(said.contains("is in the folder of a vault"), "{to}: {said}");
    }
    // Around it, too, where the snapshot has something of that name.
    let said = home.fails(2, &["restore", "latest", "--vault", "kept", "--to", "."]);
    assert!(said.contains("is in the folder of a vault") || said.contains("live data"), "{said}");
    let said = home.fails(2, &["restore", "latest", "--vault", "kept", "--in-place", "--place", "app=kept"]);
    assert!(said.contains("is in the folder of a vault"), "{said}");
    assert!(!home.path("kept/a.txt").exists() && !home.path("kept/new").exists());
    assert_eq!(home.json(&["verify", "--vault", "kept"])["sound"], true);
}

/// Two sources side by side, and a snapshot of both.
fn shop() -> Home {
    let home = Home::new();
    home.write("shop/docs/a.txt", "a\n");
    home.write("shop/docs/sub/b.txt", "b\n");
    home.write("shop/env/.env", "KEY=1\n");
    home.write(
        "strongroom.toml",
        "[source.docs]\nkind = \"files\"\npath = \"shop/docs\"\n[source.env]\nkind = \"files\"\npath = \"shop/env\"\n",
    );
    home.ok(&["backup"]);
    home
}

#[test]
fn nothing_new_is_written_into_the_live_data_of_another_source() {
    let home = shop();
    for to in ["shop/docs", "shop/docs/sub", "shop/docs/new"] {
        let said = home.fails(2, &["restore", "latest", "env", "--to", to]);
        assert!(said.contains("live data of docs"), "{to}: {said}");
    }
    assert!(!home.path("shop/docs/.env").exists() && !home.path("shop/docs/new").exists());
    // A folder of its own that is gone is no place for another one.
    fs::remove_dir_all(home.path("shop/docs/sub")).unwrap();
    home.fails(2, &["restore", "latest", "docs", "--to", "shop/docs/sub"]);
    home.ok(&["restore", "latest", "env", "--to", "shop/back"]);
}

#[test]
fn the_hint_of_a_folder_with_live_data_asks_for_no_more_than_the_command_did() {
    let home = shop();
    home.write("shop/docs/a.txt", "newer\n");
    home.write("shop/docs/sub/b.txt", "newer\n");
    let said = home.fails(2, &["restore", "latest", "docs:a.txt", "--to", "shop"]);
    let command = hinted(&said);
    assert!(command.contains(" docs:a.txt --in-place"), "{said}");
    home.shell(&command);
    assert_eq!(fs::read_to_string(home.path("shop/docs/a.txt")).unwrap(), "a\n");
    assert_eq!(fs::read_to_string(home.path("shop/docs/sub/b.txt")).unwrap(), "newer\n");
    let said = home.fails(2, &["restore", "latest", "env", "--to", "shop/docs"]);
    assert!(hinted(&said).ends_with(" env --in-place"), "{said}");
}

#[test]
fn a_restore_beside_says_how_many_files_it_replaced() {
    let home = shop();
    home.ok(&["restore", "latest", "docs", "--to", "out"]);
    let ran = home.ok(&["restore", "latest", "docs", "--to", "out"]);
    assert!(ran.err.is_empty(), "{}", ran.err);
    home.write("out/a.txt", "of another\n");
    home.write("out/mine.txt", "of another\n");
    for quiet in [false, true] {
        home.write("out/sub/b.txt", "of another\n");
        let ran = home.ok(if quiet {
            &["restore", "latest", "docs", "--to", "out", "-q"][..]
        } else {
            &["restore", "latest", "docs", "--to", "out"]
        });
        let replaced = if quiet { "1 file" } else { "2 files" };
        assert_eq!(
            ran.err,
            format!("warning: {replaced} that stood there and held something else: replaced, without a way back\n")
        );
    }
    home.write("out/a.txt", "of another\n");
    assert_eq!(home.json(&["restore", "latest", "docs", "--to", "out"])["report"]["replaced"], 1);
    assert_eq!(fs::read_to_string(home.path("out/mine.txt")).unwrap(), "of another\n");
}

#[test]
fn a_restore_without_a_target_names_both_ways() {
    let home = shop();
    let said = home.fails(2, &["restore", "latest"]);
    assert!(said.contains("--to DIR") && said.contains("--in-place"), "{said}");
}

#[test]
fn live_data_of_this_host_does_not_become_what_another_host_captured_unless_that_is_said() {
    let home = Home::new();
    home.write("app/notes.txt", "mine\n");
    home.ok(&["backup", "app"]);
    home.write("app/notes.txt", "of the other\n");
    let Some(other) = on_host(&home, "other", &["backup", "app"]) else {
        return not_tested("hosts that share a vault: this machine lets nobody have a host name of their own");
    };
    assert_eq!(other.code, 0, "{}", other.err);
    home.write("app/notes.txt", "newer\n");
    for command in [
        &["restore", "latest", "--in-place"][..],
        &["restore", "latest", "app:notes.txt", "--in-place", "--dry-run"],
        &["restore", "latest", "--to", "app"],
        &["recover", "latest", "--file", "notes.txt"],
    ] {
        let said = home.fails(2, command);
        assert!(
            said.contains("app was captured on other and on this host, and latest is of other"),
            "{command:?}: {said}"
        );
        assert_eq!(fs::read_to_string(home.path("app/notes.txt")).unwrap(), "newer\n");
    }
    let said = home.fails(2, &["restore", "latest", "--in-place"]);
    let option = said.split_once("add ").unwrap().1.split(" for ").next().unwrap();
    home.shell(&format!("strongroom restore latest --in-place {option}"));
    assert_eq!(fs::read_to_string(home.path("app/notes.txt")).unwrap(), "mine\n");
    home.ok(&["restore", "latest", "--in-place", "--host", "other"]);
    assert_eq!(fs::read_to_string(home.path("app/notes.txt")).unwrap(), "of the other\n");
    // A host that has none of its own takes what there is.
    let ran = on_host(&home, "third", &["restore", "latest", "--in-place", "--dry-run"]).unwrap();
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn what_another_host_captured_is_not_compared_with_what_is_here_nor_found_in_its_place() {
    let home = Home::new();
    let rows = |sql: &str| Connection::open(home.path("app/a.db")).unwrap().execute_batch(sql).unwrap();
    home.write("app/f", "mine\n");
    rows("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'mine'), (2, 'mine')");
    home.ok(&["backup", "app"]);
    let own = home.json(&["show", "latest"])["id"].as_str().unwrap().to_owned();
    rows("UPDATE t SET v = 'of the other'");
    home.write("app/f", "of the other\n");
    let Some(other) = on_host(&home, "other", &["backup", "app"]) else {
        return not_tested("hosts that share a vault: this machine lets nobody have a host name of their own");
    };
    assert_eq!(other.code, 0, "{}", other.err);
    rows("UPDATE t SET v = 'mine'; DELETE FROM t WHERE id = 1");
    for command in [
        &["diff", "latest", "live"][..],
        &["query", "latest", "SELECT * FROM t EXCEPT SELECT * FROM live.t"],
        &["recover", "latest", "t", "1", "--into", "app/a.db", "--dry-run"],
    ] {
        let said = home.fails(2, command);
        assert!(said.contains("app was captured on other and on this host"), "{command:?}: {said}");
    }
    let (host, found) = (home.json(&["show", &own])["host"].as_str().unwrap().to_owned(), home.ok(&["find", "t", "1"]));
    assert!(found.err.contains("with --host those of other"), "{}", found.err);
    assert!(found.out.contains(&format!("strongroom recover {}", &own[..8])), "{}", found.out);
    assert_eq!(home.json(&["find", "t", "1"])["other_hosts"], serde_json::json!(["other"]));
    assert!(home.ok(&["find", "t", "1", "--host", "other"]).err.is_empty());
    // What only reads the vault says whose it is.
    for command in [&["show", "latest"][..], &["restore", "latest", "--to", "out"]] {
        let ran = home.ok(command);
        assert!(ran.err.contains(&format!("latest is of the host other; with --host {host} it is {}", &own[..8])));
    }
}
