//! What is said to a person who got something wrong: what it was, and a way out that can be pasted.

use rusqlite::Connection;

use super::*;

/// An app of one database with rows in a table `customer`.
fn with_database() -> Home {
    let home = Home::new();
    home.write("strongroom.toml", "app = 'shop'\n[source.db]\nkind = 'sqlite'\npath = 'shop.db'\n");
    let database = Connection::open(home.path("shop.db")).unwrap();
    let rows = "WITH n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 40) SELECT i, 'name ' || i, 'mail ' || i, 'city' FROM n";
    let sql = format!(
        "CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT, mail TEXT, city TEXT); INSERT INTO customer {rows};"
    );
    database.execute_batch(&sql).unwrap();
    drop(database);
    home.ok(&["backup"]);
    home
}

fn hint_of(said: &str) -> String {
    let hint = said.lines().find_map(|line| line.strip_prefix("hint: ")).unwrap_or_else(|| panic!("no hint: {said}"));
    hint.to_owned()
}

/// Runs the command that a hint ends with.
fn paste(home: &Home, said: &str) {
    let hint = hint_of(said);
    let command = hint.get(hint.find("strongroom ").unwrap_or_else(|| panic!("no command: {hint}"))..).unwrap();
    home.shell(command);
}

#[test]
fn what_is_said_where_a_file_or_a_record_is_not_found_can_be_pasted() {
    let home = backed_up();
    let said = home.fails(1, &["recover", "latest", "--file", "nope.txt"]);
    assert!(said.contains("nope.txt is not in any source"), "{said}");
    paste(&home, &said);
    paste(&home, &home.fails(1, &["recover", "latest", "--file", "app:nope.txt"]));
    let home = with_database();
    paste(&home, &home.fails(1, &["recover", "latest", "customer", "9999"]));
    // In a snapshot without files there is nothing to list but its sources.
    paste(&home, &home.fails(1, &["recover", "latest", "--file", "nope.txt"]));
}

#[test]
fn what_is_no_identity_is_called_so_and_never_to_be_kept_from_others() {
    let mut home = backed_up();
    home.write("passwd", "root:x:0:0\nnobody:x:1:1\n");
    home.write("ops.pub", "age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqsmcn5yr\n");
    for (file, expected) in [("passwd", "AGE-SECRET-KEY-1"), ("ops.pub", "public key"), ("app", "is a folder")] {
        for command in [&["snapshots"][..], &["--vault", "new", "init"]] {
            let ran = home.run(&[&["--identity", file], command].concat());
            assert!(!ran.err.contains("chmod") && matches!(ran.code, 2 | 12), "{file}: {} {}", ran.code, ran.err);
        }
        let said = home.fails(12, &["--identity", file, "snapshots"]);
        assert!(hint_of(&said).contains(expected), "{said}");
    }
    home.set("STRONGROOM_PASSPHRASE_FILE", "passwd");
    let said = home.fails(12, &["--vault", "locked", "init", "--passphrase"]);
    assert!(said.contains("passwd is no passphrase file") && !said.contains("chmod"), "{said}");
}

#[test]
fn the_passphrase_of_an_ssh_key_is_asked_for_once_and_a_key_that_stays_locked_is_named() {
    let home = small();
    for (name, passphrase) in [("locked", "correct horse"), ("other", "")] {
        let mut program = Command::new("ssh-keygen");
        program.args(["-q", "-N", passphrase, "-t", "ed25519", "-f"]).arg(home.path(name));
        assert!(program.status().expect("ssh-keygen is missing").success());
    }
    home.ok(&["init", "--recipient", "a=other.pub", "--recipient", "z=locked.pub"]);
    home.ok(&["backup", "app"]);
    let ran = home.at_terminal(&["--identity", "locked", "snapshots"], "correct horse\n");
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(ran.out.matches("assphrase").count(), 1, "{}", ran.out);
    let wrong = home.at_terminal(&["--identity", "locked", "snapshots"], "battery staple\n");
    assert!(wrong.code == 12 && wrong.out.contains("wrong passphrase for locked"), "{} {}", wrong.code, wrong.out);
    assert_eq!(wrong.out.matches("Enter").count() + wrong.out.matches("Type").count(), 1, "{}", wrong.out);
    let said = home.fails(12, &["--identity", "locked", "snapshots"]);
    assert!(said.contains("locked is locked by a passphrase, and there is no terminal to ask"), "{said}");
}

#[test]
fn a_live_source_that_is_gone_or_no_database_is_not_compared_and_can_be_given_back() {
    let home = with_database();
    fs::rename(home.path("shop.db"), home.path("away.db")).unwrap();
    for extra in [&[][..], &["--table", "customer"], &["--source", "db"]] {
        let ran = home.run(&[&["diff", "latest", "live"], extra].concat());
        assert!(ran.code == 3 && ran.err.contains("not compared: db: "), "{extra:?}: {} {}", ran.code, ran.err);
    }
    assert_eq!(home.run(&["--json", "diff", "latest"]).code, 3);
    home.write("shop.db", "no database, but a text of some length\n");
    let ran = home.run(&["diff", "latest"]);
    assert!(ran.code == 3 && ran.err.contains("not compared: db"), "{} {}", ran.code, ran.err);
    fs::remove_file(home.path("shop.db")).unwrap();
    paste(&home, &home.run(&["diff", "latest"]).err);
    assert_eq!(home.ok(&["diff", "latest"]).err, "");
}

#[test]
fn an_option_a_number_or_a_path_that_is_mistyped_is_met_with_what_was_meant() {
    let home = backed_up();
    let said = |arguments: &[&str]| {
        let ran = home.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}{}", ran.out, ran.err);
        ran.err
    };
    assert!(said(&["backup", "--tga", "x", "app"]).contains("'--tag'"));
    assert!(said(&["snapshots", "--jsno"]).contains("'--json'"));
    let wait = said(&["backup", "--wait", "x", "app"]);
    assert!(wait.contains("it is not a whole number") && !wait.contains("digit"), "{wait}");
    assert!(said(&["backup", "--tag", "", "app"]).contains("a tag has a letter at least"));
    assert!(said(&["backup", "ap"]).contains("hint: did you mean app?"));
    assert!(said(&["backup", "app/dosc"]).contains("hint: did you mean app/docs?"));
    assert!(said(&["backup", "nothing/like/it"]).contains("hint: check the path"));
}

#[test]
fn a_file_that_says_it_is_empty_is_read_all_the_same_and_a_device_is_no_source() {
    let home = Home::new();
    let version = fs::read("/proc/version").unwrap();
    let report = home.json(&["backup", "/proc/version"]);
    assert_eq!(report["bytes"].as_u64(), Some(version.len() as u64), "{report}");
    home.ok(&["restore", "latest", "--to", "out"]);
    assert_eq!(fs::read(home.path("out/version")).unwrap(), version);
    let ran = home.run(&["backup", "/dev/zero"]);
    assert!(ran.code == 1 && ran.err.contains("it is a device"), "{} {}{}", ran.code, ran.out, ran.err);
}

#[test]
fn an_undo_says_of_rows_that_it_removed_that_it_removed_them() {
    let home = with_database();
    let database = Connection::open(home.path("shop.db")).unwrap();
    database
        .execute_batch("DELETE FROM customer WHERE id > 4; UPDATE customer SET name = 'new' WHERE id = 4;")
        .unwrap();
    drop(database);
    home.ok(&["recover", "latest", "customer", "4", "5", "6", "7", "--on-conflict", "overwrite", "--trust-keys"]);
    let ran = home.ok(&["undo"]);
    assert!(ran.out.contains("1 as they were, 3 removed"), "{}", ran.out);
}

#[test]
fn what_is_damaged_is_named_once() {
    let home = backed_up();
    home.write("app/more.txt", "more\n");
    home.ok(&["backup", "app"]);
    let mut manifests: Vec<_> =
        fs::read_dir(home.vault().join("snapshots")).unwrap().map(|e| e.unwrap().path()).collect();
    manifests.sort();
    let mut bytes = fs::read(&manifests[0]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&manifests[0], bytes).unwrap();
    let ran = home.run(&["snapshots"]);
    let name = manifests[0].file_name().unwrap().to_str().unwrap();
    let line = ran.err.lines().find(|line| line.starts_with("damaged: ")).unwrap_or_else(|| panic!("{}", ran.err));
    assert_eq!(line.matches(name).count(), 1, "{line}");
}

#[test]
fn what_would_be_written_over_a_file_says_where_else_to_write() {
    let home = with_database();
    let plan = ["recover", "latest", "customer", "1", "--plan-out", "plan.json"];
    home.run(&plan);
    assert!(hint_of(&home.fails(1, &plan)).contains("name another"));
    let export = ["recover", "latest", "customer", "1", "--export", "sql", "out"];
    home.ok(&export);
    assert!(hint_of(&home.fails(1, &export)).contains("name a folder that is empty"));
}

#[test]
fn an_entity_whose_table_is_mistyped_is_not_said_to_be_mistyped_itself() {
    let home = with_database();
    let config = fs::read_to_string(home.path("strongroom.toml")).unwrap();
    home.write("strongroom.toml", format!("{config}[entity.buyer]\nsource = 'db'\ntable = 'custmer'\n"));
    let said = home.fails(2, &["find", "buyer", "1"]);
    assert!(said.contains("table custmer") && hint_of(&said) == "did you mean customer?", "{said}");
}
