//! Which snapshot and which database is meant, when not every snapshot has everything.

use rusqlite::Connection;

use super::*;

const CONFIG: &str = "app = 'shop'
    [source.db]\nkind = 'sqlite'\npath = 'app/shop.db'
    [source.crm]\nkind = 'sqlite'\npath = 'app/crm.db'
    [source.documents]\nkind = 'files'\npath = 'app/documents'
    [entity.client]\nsource = 'crm'\ntable = 'customers'";

fn run(home: &Home, database: &str, sql: &str) {
    Connection::open(home.path(database)).unwrap().execute_batch(sql).unwrap();
}

/// Two databases and a folder; a snapshot of all of them, and then one of the folder alone.
fn shop() -> (Home, String) {
    let home = Home::new();
    home.write("strongroom.toml", CONFIG);
    home.write("app/documents/a.txt", "alpha\n");
    run(
        &home,
        "app/shop.db",
        "CREATE TABLE projects (id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE notes (id INTEGER PRIMARY KEY);
        INSERT INTO projects VALUES (7, 'seven'), (8, 'eight'); INSERT INTO notes VALUES (1)",
    );
    run(
        &home,
        "app/crm.db",
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE notes (id INTEGER PRIMARY KEY);
        INSERT INTO customers VALUES (1, 'Ada'); INSERT INTO notes VALUES (1)",
    );
    let whole = home.json(&["backup"])["id"].as_str().unwrap().to_owned();
    home.write("app/documents/b.txt", "beta\n");
    home.ok(&["backup", "documents"]);
    (home, whole)
}

#[test]
fn latest_with_a_source_a_path_or_an_entity_is_the_newest_snapshot_that_has_it_and_is_named() {
    let (home, whole) = shop();
    let short = &whole[..8];
    let note = format!("note: latest is {short} of ");
    for arguments in [
        &["show", "latest", "db"][..],
        &["restore", "latest", "db", "--to", "out"],
        &["restore", "latest", "crm", "--in-place"],
        &["recover", "latest", "client", "1"],
        &["recover", "latest", "--table", "projects", "--where", "id = 7"],
        &["query", "latest", "SELECT name FROM projects"],
    ] {
        let ran = home.ok(arguments);
        assert!(ran.err.contains(&note) && ran.err.contains("newer snapshot"), "{arguments:?}: {}", ran.err);
    }
    assert_eq!(home.json(&["show", "latest", "db"])["snapshot"], whole.as_str());
    // What the newest has is taken from there, and nothing is said.
    let listing = home.ok(&["show", "latest", "documents:b.txt"]);
    assert!(listing.out.contains("b.txt") && listing.err.is_empty(), "{}", listing.err);
    fs::remove_file(home.path("app/documents/a.txt")).unwrap();
    home.ok(&["backup", "documents"]);
    let older = home.ok(&["restore", "latest", "documents:a.txt", "--to", "gone"]);
    assert!(older.err.contains("note: latest is "), "{}", older.err);
    assert_eq!(fs::read_to_string(home.path("gone/a.txt")).unwrap(), "alpha\n");
    home.ok(&["recover", "latest", "--file", "a.txt"]);
    // `latest~1` counts those that have it.
    run(&home, "app/shop.db", "DELETE FROM projects");
    home.ok(&["backup"]);
    let before = home.json(&["query", "latest~1", "SELECT name FROM projects WHERE id = 7"]);
    assert_eq!((&before["snapshot"], &before["rows"][0][0]), (&whole.as_str().into(), &"seven".into()));
    // A source of that name is not looked for as a path of another.
    let documents = home.json(&["backup", "documents"])["id"].as_str().unwrap().to_owned();
    assert!(home.fails(1, &["show", &documents, "db"]).contains("has no source db"));
}

#[test]
fn the_safety_snapshot_of_a_recovery_stands_for_no_whole() {
    let (home, whole) = shop();
    run(&home, "app/shop.db", "DELETE FROM projects WHERE id = 7");
    let done = home.json(&["recover", &whole, "--source", "db", "--table", "projects", "--where", "id = 7"]);
    let safety = done["report"]["safety"].as_str().unwrap();
    for selector in ["latest", "@now"] {
        assert_ne!(home.json(&["show", selector])["id"], safety, "{selector}");
        assert_eq!(home.json(&["show", selector, "db"])["snapshot"], whole.as_str(), "{selector}");
    }
    assert_eq!(home.json(&["show", safety])["id"], safety);
}

#[test]
fn a_record_is_found_whichever_snapshot_is_the_newest_and_the_way_back_can_be_run_as_printed() {
    let (home, whole) = shop();
    run(&home, "app/shop.db", "DELETE FROM projects WHERE id = 7");
    let found = home.ok(&["find", "projects", "7"]).out;
    let hint = format!("strongroom recover {} projects 7", &whole[..8]);
    assert!(found.contains(&format!("give it back: {hint}\n")), "{found}");
    home.shell(&hint);
    // The newest is the safety snapshot now.
    run(&home, "app/shop.db", "DELETE FROM projects WHERE id = 7");
    assert_eq!(home.json(&["find", "projects", "7"])["last"], whole.as_str());
    for named in ["db", "db:"] {
        assert_eq!(home.json(&["find", "projects", "7", "--source", named])["last"], whole.as_str(), "{named}");
    }
    // Of two tables of one name the database has to be named, and the hint names it.
    let said = home.fails(2, &["find", "notes", "1"]);
    assert!(said.contains("several databases have a table notes") && said.contains("crm, db"), "{said}");
    run(&home, "app/crm.db", "DELETE FROM notes");
    let found = home.ok(&["find", "notes", "1", "--source", "crm"]).out;
    let hint = format!("strongroom recover {} notes 1 --source crm", &whole[..8]);
    assert!(found.contains(&hint), "{found}");
    home.shell(&hint);
    let said = home.fails(2, &["find", "projekts", "7"]);
    assert!(said.contains("any snapshot") && said.contains("did you mean projects?"), "{said}");
}

#[test]
fn a_database_needs_no_naming_where_only_one_has_such_a_table() {
    let (home, whole) = shop();
    home.ok(&["recover", &whole, "projects", "7"]);
    assert_eq!(home.json(&["query", &whole, "SELECT name FROM projects WHERE id = 7"])["database"], "db");
    assert_eq!(home.json(&["query", &whole, "SELECT name FROM Customers"])["database"], "crm");
    assert_eq!(home.json(&["query", &whole, ".schema customers"])["database"], "crm");
    assert!(home.fails(2, &["recover", &whole, "notes", "1"]).contains("several databases have a table notes"));
    assert!(home.fails(2, &["query", &whole, "SELECT * FROM notes"]).contains("several databases"));
    assert!(home.fails(2, &["recover", &whole, "nothing", "1"]).contains("no database of snapshot"));
}

#[test]
fn a_snapshot_of_a_single_file_hides_no_database() {
    let (home, whole) = shop();
    home.write("note.txt", "only a note\n");
    home.ok(&["backup", "note.txt"]);
    assert_eq!(home.json(&["find", "projects", "7", "--app", "shop"])["last"], whole.as_str());
    assert_eq!(home.json(&["find", "projects", "7"])["last"], whole.as_str());
    assert_eq!(home.json(&["query", "latest", ".schema projects"])["snapshot"], whole.as_str());
}

/// The objects of `snapshots/`, oldest first.
fn manifests(home: &Home) -> Vec<std::path::PathBuf> {
    let folder = home.vault().join("snapshots");
    let mut all: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

#[test]
fn latest_is_not_silently_an_older_one_when_the_newest_cannot_be_read_or_is_gone() {
    let (home, whole) = shop();
    home.ok(&["backup"]);
    let newest = manifests(&home).pop().unwrap();
    let bytes = fs::read(&newest).unwrap();
    let name = newest.file_name().unwrap().to_string_lossy().into_owned();
    let reads = |selector: &'static str| {
        vec![
            vec!["show", selector],
            vec!["show", selector, "db"],
            vec!["diff", selector, "live", "--summary"],
            vec!["query", selector, "SELECT name FROM projects"],
            vec!["restore", selector, "documents", "--to", "out"],
            vec!["recover", selector, "client", "1"],
        ]
    };
    // These make snapshots, which are newer then.
    let writes =
        [vec!["restore", "latest", "documents", "--in-place"], vec!["recover", "latest", "--file", "documents:a.txt"]];
    let commands = [reads("latest"), reads("@now"), vec![vec!["find", "client", "1"]], writes.to_vec()].concat();
    for harm in ["damaged", "gone"] {
        match harm {
            "gone" => fs::remove_file(&newest).unwrap(),
            _ => {
                let mut bytes = bytes.clone();
                bytes[200] ^= 1;
                fs::remove_file(&newest).unwrap();
                fs::write(&newest, &bytes).unwrap();
            }
        }
        for command in &commands {
            for quiet in [&[][..], &["--quiet"]] {
                let arguments = [quiet, command].concat();
                let ran = home.run(&arguments);
                assert_eq!(ran.code, 3, "{harm} {arguments:?}: {}{}", ran.out, ran.err);
                assert!(ran.err.contains("warning: ") && ran.err.contains(&name), "{harm} {arguments:?}: {}", ran.err);
            }
        }
        // Safety snapshots that were made meanwhile are newer.
        manifests(&home).iter().filter(|path| **path > newest).for_each(|path| fs::remove_file(path).unwrap());
        // An id names the same snapshot always.
        assert!(home.ok(&["show", &whole]).err.is_empty());
    }
}

#[test]
fn latest_is_the_newest_that_has_the_database_where_the_newest_could_not_capture_it() {
    /// What keeps the newest snapshot from having the database.
    type Loss = fn(&Home);
    let a_folder: Loss = |home| {
        fs::remove_file(home.path("app/crm.db")).unwrap();
        fs::create_dir(home.path("app/crm.db")).unwrap();
    };
    let nothing: Loss = |home| fs::remove_file(home.path("app/crm.db")).unwrap();
    let a_text: Loss = |home| home.write("app/crm.db", "text\n");
    for (number, lose) in [a_folder, nothing, a_text].into_iter().enumerate() {
        let (home, _) = shop();
        let whole = home.json(&["backup"])["id"].as_str().unwrap()[..8].to_owned();
        fs::copy(home.path("app/crm.db"), home.path("kept.db")).unwrap();
        lose(&home);
        let ran = home.run(&["backup"]);
        assert_eq!(ran.code, 3, "{number}: {}{}", ran.out, ran.err);
        let note = format!("note: latest is {whole} of ");
        let took = |arguments: &[&str]| {
            let ran = home.ok(arguments);
            assert!(ran.err.contains(&note), "{number}: {arguments:?}: {}{}", ran.out, ran.err);
            ran
        };
        took(&["query", "latest", "SELECT name FROM customers"]);
        took(&["query", "latest", "SELECT name FROM customers", "--source", "crm"]);
        took(&["query", "latest", ".tables", "--source", "crm"]);
        took(&["show", "latest", "crm"]);
        took(&["restore", "latest", "crm", "--to", "out"]);
        assert!(home.path("out/crm.db").exists(), "{number}");
        // Live data is a file that is no database, or is not there.
        let found = home.run(&["--json", "find", "client", "1"]);
        assert_eq!(found.code, if number == 2 { 3 } else { 0 }, "{number}: {}", found.err);
        let found: serde_json::Value = serde_json::from_str(&found.out).unwrap();
        assert_eq!(found["database"], "crm", "{number}: {found:#}");
        assert!(found["last"].as_str().unwrap().starts_with(&whole), "{number}: {found:#}");
        let changes = found["changes"].as_array().unwrap();
        assert_eq!(changes.len(), 1, "{number}: what could not be captured is not gone: {found:#}");
        let place = home.path("app/crm.db");
        if place.is_dir() {
            fs::remove_dir(&place).unwrap()
        } else {
            _ = fs::remove_file(&place)
        }
        fs::copy(home.path("kept.db"), &place).unwrap();
        run(&home, "app/crm.db", "DELETE FROM customers");
        took(&["recover", "latest", "client", "1"]);
    }
}

#[test]
fn a_snapshot_without_a_source_that_another_one_has_is_told_where_all_of_it_is_given_back() {
    let home = Home::new();
    home.write("f/1", "1\n");
    home.write("g/1", "1\n");
    let source = |name: &str| format!("[source.{name}]\nkind = 'files'\npath = '{name}'\n");
    home.write("strongroom.toml", "app = 't'\n".to_owned() + &source("f") + &source("g"));
    let whole = home.json(&["backup"])["id"].as_str().unwrap().to_owned();
    let part = home.json(&["backup", "g"])["id"].as_str().unwrap().to_owned();
    let line = format!("latest is {}, which was made without f: the newest with it is {} of ", &part[..8], &whole[..8]);
    for command in [
        &["restore", "latest", "--to", "out"][..],
        &["restore", "latest", "--in-place"],
        &["restore", "latest", "--in-place", "--dry-run"],
    ] {
        let ran = home.run(&[command, &["--quiet"]].concat());
        assert!(ran.code == 3 && ran.err.contains(&line), "{command:?}: {} {}", ran.code, ran.err);
    }
    let ran = home.run(&["diff", "latest", "live"]);
    assert!(ran.code == 0 && ran.err.contains(&line), "{} {}", ran.code, ran.err);
    // Whoever says what is meant is told nothing.
    for command in [&["restore", "latest", "g", "--to", "own"][..], &["restore", &part, "--to", "this"]] {
        assert_eq!(home.ok(command).err, "", "{command:?}");
    }
}

#[test]
fn a_file_with_a_percent_sign_in_its_name_is_meant_by_its_name() {
    let home = Home::new();
    home.write("app/My%20File.txt", "of a browser\n");
    home.write("app/My File.txt", "of a person\n");
    home.write("app/50%.txt", "half\n");
    home.ok(&["backup", "app"]);
    let held = |path: &str| home.ok(&["show", "latest", path, "--cat"]).out;
    for (path, content) in [
        ("app:My%20File.txt", "of a browser\n"),
        ("app:My%2520File.txt", "of a browser\n"),
        ("app:My File.txt", "of a person\n"),
        ("app:50%.txt", "half\n"),
        ("app:50%25.txt", "half\n"),
    ] {
        assert_eq!(held(path), content, "{path}");
    }
    fs::remove_file(home.path("app/My%20File.txt")).unwrap();
    home.ok(&["recover", "latest", "--file", "My%20File.txt"]);
    assert_eq!(fs::read_to_string(home.path("app/My%20File.txt")).unwrap(), "of a browser\n");
}

#[test]
fn a_folder_that_is_where_some_of_it_lives_and_not_the_rest_is_not_restored_into() {
    let home = Home::new();
    home.write("docs/letter", "monday\n");
    fs::create_dir(home.path("data")).unwrap();
    let open = || rusqlite::Connection::open(home.path("data/c.db")).unwrap();
    open().execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES(1)").unwrap();
    home.write(
        "strongroom.toml",
        "[source.docs]\nkind = 'files'\npath = 'docs'\n[source.db]\nkind = 'sqlite'\npath = 'data/*.db'\n",
    );
    home.ok(&["backup"]);
    home.write("docs/letter", "a week of work\n");
    for more in [&[][..], &["--dry-run"]] {
        let said = home.fails(2, &[&["restore", "latest", "--to", "."], more].concat());
        assert!(said.contains("docs") && said.contains("--in-place"), "{said}");
    }
    assert_eq!(fs::read_to_string(home.path("docs/letter")).unwrap(), "a week of work\n");
}
