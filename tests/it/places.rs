//! Where live data is: what a snapshot says of it is not believed by itself.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::Connection;

use crate::support::forge::Forge;
use crate::support::program::Home;

fn sql(file: &Path, text: &str) {
    Connection::open(file).unwrap().execute_batch(text).unwrap();
}

/// A home whose one source was captured, and which is then another host: it remembers nothing.
fn elsewhere() -> Home {
    let home = Home::new();
    home.write("app/a.txt", "captured\n");
    sql(&home.path("app/shop.db"), "CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (1, 'captured')");
    home.ok(&["backup", "app"]);
    fs::remove_dir_all(home.path("../home/.config/strongroom/places")).unwrap();
    home.write("app/a.txt", "live\n");
    sql(&home.path("app/shop.db"), "UPDATE t SET x = 'live'");
    home
}

fn value(home: &Home) -> String {
    Connection::open(home.path("app/shop.db")).unwrap().query_row("SELECT x FROM t", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_place_that_only_a_snapshot_names_is_neither_written_nor_read() {
    let home = elsewhere();
    for command in [
        &["restore", "latest", "--in-place"][..],
        &["recover", "latest", "t", "1", "--on-conflict", "overwrite"],
        &["recover", "latest", "--file", "a.txt"],
        &["diff", "latest", "live"],
        &["query", "latest", "SELECT x FROM live.t"],
    ] {
        let said = home.fails(2, command);
        assert!(said.contains("--place") && said.contains("app"), "{command:?}: {said}");
        let host = rustix::system::uname().nodename().to_str().unwrap().to_owned();
        assert!(said.contains(&format!(" of {host} says that app lives at ")), "{command:?}: {said}");
    }
    assert_eq!(fs::read_to_string(home.path("app/a.txt")).unwrap(), "live\n");
    assert_eq!(value(&home), "live");
}

#[test]
fn the_hint_of_a_place_that_is_not_known_runs_as_it_is_printed() {
    let home = elsewhere();
    let said = home.fails(2, &["restore", "latest", "--in-place"]);
    let place = said.split("--place ").nth(1).unwrap().split(';').next().unwrap();
    home.shell(&format!("strongroom restore latest --in-place --place {place}"));
    assert_eq!(value(&home), "captured");
    // That was a capture, too: of the safety snapshot.
    home.ok(&["restore", "latest", "--in-place"]);
}

#[test]
fn a_place_that_a_person_names_is_used_instead_of_the_snapshots() {
    let home = elsewhere();
    home.write("other/a.txt", "of the other\n");
    home.ok(&["restore", "latest", "--in-place", "--place", "app=other"]);
    assert_eq!(fs::read_to_string(home.path("other/a.txt")).unwrap(), "captured\n");
    assert_eq!(value(&home), "live");
    assert!(home.fails(2, &["restore", "latest", "--in-place", "--place", "app"]).contains("SOURCE=PATH"));
}

#[test]
fn a_forged_root_decides_nothing_on_the_host_that_made_the_snapshots() {
    let home = elsewhere();
    home.ok(&["backup", "app"]);
    let forge = Forge::of_home(&home);
    let listing = forge.honest.sources[0].listing.clone();
    let victim = home.path("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("a.txt"), "untouched").unwrap();
    let root = victim.to_str().unwrap().to_owned();
    forge.manifest(listing, |manifest| manifest.sources[0].root = root);
    let said = home.fails(2, &["restore", "latest", "--in-place"]);
    assert!(said.contains("victim"), "{said}");
    assert_eq!(fs::read_to_string(victim.join("a.txt")).unwrap(), "untouched");
}

#[test]
fn no_password_goes_to_a_server_that_only_a_snapshot_names() {
    let mut home = elsewhere();
    let forge = Forge::of_home(&home);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    std::thread::spawn(move || listener.incoming().for_each(|_| _ = counted.fetch_add(1, Ordering::SeqCst)));
    let root = format!("postgres://app@127.0.0.1:{port}/app?sslmode=disable");
    forge.manifest(forge.honest.sources[0].listing.clone(), |manifest| {
        let source = &mut manifest.sources[0];
        source.kind = "postgres".to_owned();
        source.root = root;
        source.databases.iter_mut().for_each(|database| database.engine = "postgres".to_owned());
    });
    home.set("PGPASSWORD", "secret");
    for command in [
        &["restore", "latest", "--in-place"][..],
        &["diff", "latest", "live"],
        &["recover", "latest", "t", "1"],
        &["query", "latest", "SELECT * FROM live.t"],
        &["find", "t", "1"],
    ] {
        let ran = home.run(command);
        assert!(ran.code != 0, "{command:?}: {}{}", ran.out, ran.err);
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[test]
fn without_a_terminal_nobody_is_asked_and_standard_input_is_no_answer() {
    let home = elsewhere();
    let mut child = home.command(&["restore", "latest", "--in-place"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"y\ny\ny\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert_eq!(value(&home), "live");
}

#[test]
fn a_restore_into_the_folder_that_was_captured_is_one_in_place_with_a_way_back() {
    let home = Home::new();
    home.write("app/a.txt", "captured\n");
    home.ok(&["backup", "app"]);
    home.write("app/a.txt", "newer\n");
    let ran = home.ok(&["restore", "latest", "--to", "app"]);
    assert!(ran.out.contains("safety snapshot") && ran.err.contains("restoring in place"), "{}{}", ran.out, ran.err);
    assert_eq!(fs::read_to_string(home.path("app/a.txt")).unwrap(), "captured\n");
    home.ok(&["undo"]);
    assert_eq!(fs::read_to_string(home.path("app/a.txt")).unwrap(), "newer\n");
    // By another name, and through a link.
    std::os::unix::fs::symlink(home.path("app"), home.path("link")).unwrap();
    for to in ["./app/", "link", "app/../app"] {
        home.write("app/a.txt", "newer\n");
        assert!(home.ok(&["restore", "latest", "--to", to]).out.contains("safety snapshot"), "{to}");
    }
}

#[test]
fn the_hint_of_a_folder_that_holds_live_data_ends_with_a_command_that_runs() {
    let home = elsewhere();
    home.ok(&["backup", "app"]);
    let said = home.fails(2, &["restore", "latest", "--to", "."]);
    let (_, command) = said.split_once("change it with a way back: ").unwrap_or_else(|| panic!("{said}"));
    home.shell(command.trim());
}

#[test]
fn a_folder_that_holds_live_data_or_lies_in_it_is_not_restored_into() {
    let home = Home::new();
    home.write("all/app/docs/a.txt", "captured\n");
    home.write("all/app/b.txt", "captured\n");
    home.write("all/other.txt", "other\n");
    home.ok(&["backup", "all/app"]);
    home.write("all/app/docs/a.txt", "newer\n");
    for to in ["all", "all/app/docs", "."] {
        let said = home.fails(2, &["restore", "latest", "--to", to]);
        assert!(said.contains("live data of app") && said.contains("--in-place"), "{to}: {said}");
    }
    home.ok(&["backup", "all/other.txt", "--app", "second"]);
    home.write("all/other.txt", "newer\n");
    // One file goes by its name: that is where it lives.
    let ran = home.ok(&["restore", "latest", "--app", "second", "--to", "all"]);
    assert!(ran.out.contains("safety snapshot"), "{}", ran.out);
    assert_eq!(fs::read_to_string(home.path("all/app/docs/a.txt")).unwrap(), "newer\n");
    assert_eq!(fs::read_to_string(home.path("all/other.txt")).unwrap(), "other\n");
    // A folder for it may be anywhere, and a restore into it may be run again.
    for _ in 0..2 {
        home.ok(&["restore", "latest", "--app", "app", "--to", "all/app/back"]);
    }
    assert_eq!(fs::read_to_string(home.path("all/app/back/docs/a.txt")).unwrap(), "captured\n");
}

#[test]
fn a_source_of_the_configuration_is_live_data_wherever_the_snapshot_is_from() {
    let home = Home::new();
    home.write("old/a.txt", "captured\n");
    home.ok(&["backup", "old", "--app", "shop"]);
    home.write("new/a.txt", "newer\n");
    home.write("strongroom.toml", "app = \"shop\"\n[source.docs]\nkind = \"files\"\npath = \"new\"\n");
    assert!(home.fails(2, &["restore", "latest", "--to", "new"]).contains("live data of docs"));
    assert_eq!(fs::read_to_string(home.path("new/a.txt")).unwrap(), "newer\n");
}

#[test]
fn an_empty_folder_is_filled_on_a_host_that_has_never_captured_it() {
    let home = elsewhere();
    fs::remove_dir_all(home.path("app")).unwrap();
    fs::create_dir(home.path("app")).unwrap();
    home.ok(&["restore", "latest", "--to", "app"]);
    assert_eq!(fs::read_to_string(home.path("app/a.txt")).unwrap(), "captured\n");
    assert_eq!(value(&home), "captured");
    // What is there by now is live data, whoever put it there.
    home.write("app/a.txt", "newer\n");
    let ran = home.run(&["restore", "latest", "--to", "app"]);
    assert!(ran.code == 2 && ran.err.contains("--place"), "{} {}", ran.code, ran.err);
    assert_eq!(fs::read_to_string(home.path("app/a.txt")).unwrap(), "newer\n");
}
