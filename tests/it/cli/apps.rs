//! Several apps in one vault: a selector means those of one, and live data of one never becomes what another's was.

use rusqlite::Connection;

use super::*;
use crate::support::program::Ran;

/// Two apps in one vault, each with its configuration and with sources that are called the same; `app` says how each
/// configuration tells which app it is of.
fn two(app: impl Fn(&str) -> String) -> Home {
    let home = Home::new();
    for name in ["shop", "blog"] {
        home.write(&format!("{name}/docs/a"), format!("{name}\n"));
        let database = Connection::open(home.path(&format!("{name}/c.db"))).unwrap();
        let rows = format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, made_at TEXT);
            INSERT INTO t VALUES (1, '{name}', '2026-01-01'), (2, '{name}', '2026-01-01')"
        );
        database.execute_batch(&rows).unwrap();
        let sources = "[source.docs]\nkind = 'files'\npath = 'docs'\n[source.db]\nkind = 'sqlite'\npath = 'c.db'\n";
        home.write(&format!("{name}/strongroom.toml"), format!("vault = '../v'\n{}{sources}", app(name)));
    }
    home.shell("cd shop && strongroom init -q && strongroom backup -q && cd ../blog && strongroom backup -q");
    home
}

/// Runs a command in the folder of an app, and returns its code and what it said.
fn within(home: &Home, app: &str, command: &str) -> (i32, String) {
    let words: Vec<&str> = command.split(' ').collect();
    let ran = Ran::of(home.command(&words).current_dir(home.path(app)).output().unwrap());
    (ran.code, ran.out + &ran.err)
}

fn state(home: &Home, app: &str) -> (String, Vec<String>) {
    let database = Connection::open(home.path(&format!("{app}/c.db"))).unwrap();
    let mut rows = database.prepare("SELECT v FROM t ORDER BY id").unwrap();
    let rows = rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    (fs::read_to_string(home.path(&format!("{app}/docs/a"))).unwrap(), rows)
}

#[test]
fn live_data_of_an_app_never_becomes_that_of_another_app_of_the_vault() {
    for how in [|name: &str| format!("app = '{name}'\n"), |_: &str| String::new()] {
        let home = two(how);
        for app in ["shop", "blog"] {
            let own = (format!("{app}\n"), vec![app.to_owned(); 2]);
            for command in [
                "restore latest --in-place",
                "restore latest~1 --in-place",
                "restore latest docs --to docs",
                "restore latest db --to .",
                "restore @now --in-place",
                "recover latest t 1 --on-conflict overwrite",
                "recover latest~1 t 1 --on-conflict overwrite --trust-keys",
                "recover latest~1 --file docs:a",
            ] {
                let (code, said) = within(&home, app, command);
                let expected = if command.contains("~1") { [1, 2].contains(&code) } else { code == 0 };
                assert!(expected, "{app}, {command}: {code}: {said}");
                assert_eq!(state(&home, app), own, "{app}, {command}: {said}");
            }
        }
    }
}

#[test]
fn what_is_read_without_the_name_of_an_app_is_of_the_app_of_the_configuration() {
    let home = two(|name| format!("app = '{name}'\n"));
    let (code, said) = within(&home, "shop", "diff latest");
    assert!(code == 0 && said.contains("docs: no change") && said.contains("db: no change"), "{said}");
    let words = ["query", "latest", "SELECT v FROM t EXCEPT SELECT v FROM live.t", "--format", "csv"];
    let ran = Ran::of(home.command(&words).current_dir(home.path("shop")).output().unwrap());
    assert_eq!((ran.code, ran.out.lines().count()), (0, 1), "{}{}", ran.out, ran.err);
    assert_eq!(within(&home, "shop", "restore latest docs --to ../out").0, 0);
    assert_eq!(fs::read_to_string(home.path("out/a")).unwrap(), "shop\n");
    let (code, said) = within(&home, "shop", "find t 1");
    assert!(code == 0 && said.contains("in live data"), "{said}");
    // An app that is asked for goes before, and an id is what it is.
    let (code, said) = within(&home, "shop", "show latest --app blog --json");
    let id = serde_json::from_str::<serde_json::Value>(&said).unwrap()["id"].as_str().unwrap().to_owned();
    assert!(code == 0 && said.contains("\"app\": \"blog\""), "{said}");
    assert_eq!(within(&home, "shop", &format!("show {id}")).0, 0);
}

#[test]
fn an_app_of_the_configuration_that_no_snapshot_has_is_not_another_one() {
    let home = two(|name| format!("app = '{name}'\n"));
    let text = fs::read_to_string(home.path("shop/strongroom.toml")).unwrap().replace("'shop'", "'store'");
    home.write("shop/strongroom.toml", text);
    for command in ["show latest", "restore latest --in-place", "find t 1"] {
        let (code, said) = within(&home, "shop", command);
        assert!(code == 2 && said.contains("no snapshot has the app store") && said.contains("shop"), "{said}");
    }
}

#[test]
fn without_a_configuration_live_data_is_changed_only_where_the_app_is_certain() {
    let home = Home::new();
    home.write("one/a", "1\n");
    home.write("two/b", "1\n");
    home.ok(&["backup", "one"]);
    home.ok(&["backup", "two"]);
    home.write("one/a", "broken\n");
    home.write("two/b", "new work\n");
    let said = home.fails(2, &["restore", "latest", "--in-place"]);
    assert!(said.contains("latest may be of several apps") && said.contains("--app with one of one, two"), "{said}");
    let ran = home.ok(&["restore", "latest", "--to", "out"]);
    assert!(ran.err.contains("note: latest is of the app two; with --app it is of one"), "{}", ran.err);
    assert_eq!(fs::read_to_string(home.path("two/b")).unwrap(), "new work\n");
    home.ok(&["restore", "latest", "--in-place", "--app", "one"]);
    assert_eq!(fs::read_to_string(home.path("one/a")).unwrap(), "1\n");
    // What is named beside the selector says which app is meant, where only one has it.
    home.write("one/a", "broken\n");
    home.ok(&["restore", "latest", "one", "--in-place"]);
    assert_eq!(fs::read_to_string(home.path("one/a")).unwrap(), "1\n");
}

#[test]
fn a_path_without_a_source_is_that_of_the_only_source_that_has_it() {
    let home = Home::new();
    for (path, text) in [("a/n", "old\n"), ("b/m", "1\n"), ("a/both", "a\n"), ("b/both", "b\n")] {
        home.write(path, text);
    }
    home.ok(&["backup", "a", "--app", "it"]);
    home.write("a/n", "new\n");
    home.ok(&["backup", "a", "b", "--app", "it"]);
    home.write("a/n", "broken\n");
    for part in [":n", "n"] {
        assert_eq!(home.ok(&["show", "latest", part, "--cat"]).out, "new\n");
        home.write("a/n", "broken\n");
        let ran = home.ok(&["restore", "latest", part, "--in-place"]);
        assert!(ran.err.is_empty(), "{}", ran.err);
        assert_eq!(fs::read_to_string(home.path("a/n")).unwrap(), "new\n");
    }
    home.write("a/n", "broken\n");
    for part in ["", ":", "/", ".", ":both", "both"] {
        let said = home.fails(2, &["restore", "latest", part, "--in-place"]);
        assert!(part.is_empty() || said.contains("it has a, b"), "{part:?}: {said}");
    }
    let said = home.fails(1, &["restore", "latest", ":nowhere", "--in-place"]);
    assert!(said.contains("nowhere is in no source of snapshot"), "{said}");
    assert_eq!(fs::read_to_string(home.path("a/n")).unwrap(), "broken\n");
}

#[test]
fn a_note_that_older_data_is_taken_is_given_quiet_or_not() {
    let home = Home::new();
    home.write("a/n", "old\n");
    home.write("b/m", "1\n");
    home.ok(&["backup", "a", "b", "--app", "it"]);
    home.ok(&["backup", "b", "--app", "it"]);
    let ran = home.ok(&["--quiet", "restore", "latest", "a", "--in-place"]);
    assert!(ran.err.contains("1 newer snapshot does not have what was asked for"), "{}", ran.err);
}

#[test]
fn options_of_paths_are_refused_for_sources_of_the_configuration_and_nothing_is_captured() {
    let home = Home::new();
    home.write("a/key", "secret\n");
    home.write("a/n", "1\n");
    home.write("strongroom.toml", "app = 's'\n[source.d]\nkind = 'files'\npath = 'a'\n");
    for words in [&["d"][..], &[], &["d", "a"]] {
        let options = [&["--exclude", "key"][..], &["--ignore-file", ".ignored"], &["--one-file-system"], &["--plain"]];
        for option in options.into_iter().chain([&["--cachedirs"][..], &["--allow-empty"]]) {
            let said = home.fails(2, &[&["backup"], words, option].concat());
            assert!(said.contains(option[0]) && said.contains("[source.d]"), "{said}");
        }
    }
    assert!(!home.vault().exists(), "a backup that is refused makes no vault");
    home.ok(&["backup", "./a", "--exclude", "key"]);
}

#[test]
fn a_reason_is_never_that_of_snapshots_which_latest_passes_over() {
    let home = Home::new();
    home.write("app/a", "1\n");
    for reason in ["safety", " safety", ""] {
        let ran = home.run(&["backup", "app", "--reason", reason]);
        assert_eq!(ran.code, 2, "{reason:?}: {}{}", ran.out, ran.err);
    }
    home.ok(&["backup", "app", "--reason", "for the safety of it"]);
    assert_eq!(home.json(&["show", "latest"])["reason"], "for the safety of it");
}

#[test]
fn a_mistyped_argument_steers_no_terminal() {
    let home = Home::new();
    for word in ["--\u{9b}2J\u{202e}x", "--\u{1b}[2J"] {
        let ran = home.run(&["backup", word]);
        assert_eq!(ran.code, 2, "{}", ran.err);
        assert!(!ran.err.contains(|letter: char| letter.is_control() && letter != '\n' || letter == '\u{202e}'));
    }
}

#[test]
fn a_text_that_is_no_utf_8_is_written_into_csv_in_its_own_bytes() {
    let home = Home::new();
    home.write("app/.keep", "");
    let database = Connection::open(home.path("app/a.db")).unwrap();
    let rows = "CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, CAST(x'ff2c41' AS TEXT))";
    database.execute_batch(rows).unwrap();
    home.ok(&["backup", "app"]);
    let expected = b"id,v\r\n1,\"\xff,A\"\r\n";
    assert_eq!(home.ok(&["query", "latest", "SELECT * FROM t", "--format", "csv"]).bytes, expected);
    home.ok(&["recover", "latest", "--table", "t", "--where", "1", "--export", "csv", "out"]);
    let lines: Vec<u8> = expected.iter().copied().filter(|byte| *byte != b'\r').collect();
    assert_eq!(fs::read(home.path("out/t.csv")).unwrap(), lines);
}

#[test]
fn a_backup_of_nothing_leaves_nothing_behind_and_the_first_one_names_the_identity_quiet_or_not() {
    let home = Home::new();
    home.fails(2, &["backup"]);
    home.fails(2, &["backup", "nowhere"]);
    home.write("app/a", "1\n");
    home.fails(2, &["backup", "app", "--rescan", "5%"]);
    assert!(!home.vault().exists() && !home.identity().exists());
    let ran = home.ok(&["--quiet", "backup", "app"]);
    assert!(ran.err.contains("identity.txt"), "{}", ran.err);
    assert!(home.ok(&["--quiet", "backup", "app"]).err.is_empty());
}

#[test]
fn addresses_that_nothing_can_be_restored_to_are_no_folders() {
    let home = Home::new();
    home.write("app/a", "1\n");
    home.ok(&["backup", "app"]);
    for url in ["postgress://u:pass@h/db", "mysql://h/db", "s3://bucket/out", "file:///out"] {
        let said = home.fails(2, &["restore", "latest", "--to", url]);
        assert!(said.contains("nothing can be restored to ") && !said.contains("pass@"), "{said}");
    }
    assert_eq!(fs::read_dir(home.path("")).unwrap().count(), 1, "no folder of such a name");
}

#[test]
fn a_secret_key_in_the_place_of_a_public_one_is_refused_and_not_shown() {
    let home = Home::new();
    home.ok(&["--vault", "v", "init"]);
    let identity = home.identity();
    let secret = fs::read_to_string(&identity).unwrap();
    let secret = secret.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    home.write("phrase", "correct horse battery staple\n");
    home.write("ssh", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n");
    for recipient in [identity.to_str().unwrap(), secret, "phrase", "ssh"] {
        let said = home.fails(2, &["--vault", "w", "init", "--recipient", recipient]);
        let shows = ["horse", "b3Blb", &secret[16..24]].iter().any(|part| said.contains(part));
        assert!(!shows && said.contains("recipient_1") && said.contains("hint: "), "{said}");
    }
}
