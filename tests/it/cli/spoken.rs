//! What snapshots and databases say reaches nobody's terminal but as text.

use rusqlite::Connection;
use strongroom::base::capture::Skip;
use strongroom::base::database::{Database, Revision};
use strongroom::base::id::SnapshotId;
use strongroom::base::text::is_obeyed;
use strongroom::base::time::Instant;
use strongroom::format::identity::OwnerKeys;
use strongroom::format::manifest::{Alarm, Lost, Manifest};
use strongroom::format::{layout, seal};
use strongroom::store::{Options, Store};

use super::*;
use crate::support::forge::Forge;
use crate::support::program::Ran;

/// Clears the screen, forges a line, moves the cursor, turns the direction of writing, rings.
const EVIL: &str =
    "e\u{1b}[2Jv\nerror: forged\r\u{9b}1mi\u{202e}\u{2066}\u{61c}\u{2028}\u{85}\u{7f}\u{7}\u{1b}]0;l\u{7}";

/// A vault of the program's, in the hands of somebody who has its keys.
fn forge(home: &Home) -> Forge {
    let store = Store::open(home.vault().to_str().unwrap(), &Options::default()).unwrap();
    let secret = fs::read_to_string(home.identity()).unwrap();
    let secret = secret.lines().find(|line| line.starts_with("AGE-SECRET")).unwrap();
    let identity: age::x25519::Identity = secret.parse().unwrap();
    let key = &store.list(layout::KEYS).unwrap()[0].key;
    let text = seal::open(&store.get(key).unwrap(), &[&identity]).unwrap();
    let keys = OwnerKeys::from_text(std::str::from_utf8(&text).unwrap()).unwrap().0;
    let newest = store.list(layout::SNAPSHOTS).unwrap().into_iter().map(|object| object.key).max().unwrap();
    let honest = Manifest::read(&seal::open(&store.get(&newest).unwrap(), &[&keys.vault]).unwrap()).unwrap();
    Forge { store, keys, honest }
}

fn evil() -> String {
    EVIL.to_owned()
}

/// Says something hostile wherever a manifest says anything, and stays one that can be restored.
fn poison(manifest: &mut Manifest) {
    manifest.user = evil();
    manifest.tags = vec![evil()];
    manifest.labels = [(evil(), evil())].into();
    manifest.tool = evil();
    manifest.reason = evil();
    for source in &mut manifest.sources {
        source.skipped = vec![Skip::new(evil(), evil())];
        source.skipped_count = 30;
        for database in &mut source.databases {
            database.revision = Some(Revision { tool: evil(), id: evil() });
            database.damage = Some(evil());
            database.facts.insert(evil(), evil());
            database.rows.insert(evil(), 7);
        }
    }
    let source = manifest.sources[0].name.clone();
    let path = Some(strongroom::base::path::EntryPath::root());
    let (table, why, kept, snapshot) = (Some(evil()), Some(evil()), Some(evil()), None);
    manifest.alarms = vec![Alarm { source, what: Lost::Rows, path, table, before: 100, after: 1, why, kept, snapshot }];
}

/// The same for what commands look at before they do anything.
fn poison_wholly(manifest: &mut Manifest) {
    poison(manifest);
    (manifest.host, manifest.previous) = (evil(), Some(evil()));
    manifest.keys = vec![evil()];
    for source in &mut manifest.sources {
        (source.kind, source.root) = (evil(), evil());
        let path = strongroom::base::path::EntryPath::from_bytes(EVIL.as_bytes()).unwrap();
        let database = Database { path, engine: evil(), ..source.databases.first().cloned().unwrap_or_else(none) };
        source.databases.push(database);
    }
}

fn none() -> Database {
    Database {
        path: strongroom::base::path::EntryPath::root(),
        engine: evil(),
        rows: Default::default(),
        bytes: Default::default(),
        revision: None,
        damage: Some(evil()),
        facts: Default::default(),
    }
}

fn check(arguments: &[&str], ran: &Ran) {
    for text in [&ran.out, &ran.err] {
        let obeyed = text.chars().find(|letter| *letter != '\n' && is_obeyed(*letter));
        assert!(obeyed.is_none(), "{arguments:?} says {obeyed:?}: {text:?}");
        // A statement has lines of its own, and is what was asked for.
        let is_statement = arguments.contains(&".schema");
        let is_forged = text.lines().any(|line| line.starts_with("error: forged"));
        assert!(is_statement || !is_forged, "{arguments:?}: {text}");
    }
}

#[test]
fn nothing_that_a_snapshot_or_a_database_says_is_obeyed_by_a_terminal() {
    let home = Home::new();
    let quoted = format!("\"{}\"", EVIL.replace('"', "\"\""));
    home.write(&format!("app/{}", EVIL.replace('/', "")), "content\n");
    std::os::unix::fs::symlink(EVIL, home.path("app/link")).unwrap();
    let live = Connection::open(home.path("app/shop.db")).unwrap();
    let rows = (0..40).map(|n| format!("('{n}{EVIL}', '{EVIL}', '{EVIL}')")).collect::<Vec<_>>().join(", ");
    live.execute_batch(&format!(
        "CREATE TABLE {quoted} ({quoted} TEXT PRIMARY KEY, name TEXT, title TEXT); INSERT INTO {quoted} VALUES {rows};
         CREATE VIEW v AS SELECT * FROM {quoted}"
    ))
    .unwrap();
    home.ok(&["backup", "app"]);
    live.execute_batch(&format!(
        "DELETE FROM {quoted} WHERE {quoted} NOT LIKE '0%'; UPDATE {quoted} SET name = 'x{EVIL}'"
    ))
    .unwrap();
    check(&["backup"], &home.run(&["backup", "app"]));
    let forge = forge(&home);
    let mut ids = Vec::new();
    for (number, change) in [poison, poison_wholly].into_iter().enumerate() {
        let id = SnapshotId::from_bytes([0xa0 + number as u8; 16]);
        forge.manifest(forge.honest.sources[0].listing.clone(), |manifest| {
            (manifest.id, manifest.time) = (id, Instant::now());
            change(manifest);
        });
        ids.push(id.to_hex());
    }
    let key = format!("1{EVIL}");
    let select = format!("SELECT * FROM {quoted}");
    let (tag, label, revision) = (format!("tag:{EVIL}"), format!("label:{EVIL}={EVIL}"), format!("revision:{EVIL}"));
    let mut commands: Vec<Vec<&str>> = vec![
        vec!["snapshots"],
        vec!["verify"],
        vec!["verify", "--read-data"],
        vec!["show", "a"],
        vec!["show", &tag],
        vec!["show", &label],
        vec!["show", &revision],
        vec!["find", EVIL, &key],
        vec!["find", "--table", EVIL, "--where", "1"],
        vec!["find", "nothing", "1"],
        vec!["undo", "--list"],
        vec!["undo", EVIL],
        vec!["backup", EVIL],
    ];
    for id in ids.iter().map(String::as_str).chain(["latest~1", "latest"]) {
        for rest in [
            &["show", id][..],
            &["show", id, "app"],
            &["show", id, EVIL],
            &["show", id, "app:nothing"],
            &["diff", id, "live"],
            &["diff", id, "latest~3"],
            &["diff", id, "live", "--table", EVIL],
            &["query", id, ".tables"],
            &["query", id, ".schema"],
            &["query", id, "--source", "app:shop.db", ".schema"],
            &["query", id, "--source", "app:shop.db", &select],
            &["query", id, "--source", "app:shop.db", "--format", "markdown", &select],
            &["query", id, "--source", "app:shop.db", "SELECT nothing FROM v"],
            &["query", id, "--source", "app:shop.db", "SELECT live.v.nothing FROM live.v"],
            &["verify", id, "--deep"],
            &["recover", id, EVIL, &key, "--source", "app:shop.db", "--dry-run"],
            &["recover", id, "--missing", EVIL, "--source", "app:shop.db"],
            &["recover", id, EVIL, &key, "--source", "app:shop.db", "--on-conflict", "overwrite"],
            &["recover", id, EVIL, "nobody", "--source", "app:shop.db"],
            &["recover", id, "nothing", "1"],
            &["recover", id, "--file", EVIL],
            &["recover", id, EVIL, &key, "--source", "app:shop.db", "--export", "sql", "out"],
            &["restore", id, "--to", "out"],
            &["restore", id, "app", "--in-place"],
            &["undo"],
        ] {
            commands.push(rest.to_vec());
        }
    }
    for command in &commands {
        let ran = home.run(command);
        check(command, &ran);
        let ran = home.run(&[&["--json", "--verbose"], &command[..]].concat());
        check(command, &ran);
        if !ran.out.is_empty() && !command.contains(&"--format") {
            let document = serde_json::from_str::<serde_json::Value>(&ran.out);
            assert!(document.is_ok(), "{command:?}: {}", ran.out);
        }
    }
    // A document says what it was told, in JSON's own escapes.
    let shown = home.json(&["show", &ids[0]]);
    assert_eq!((&shown["user"], &shown["tags"][0]), (&EVIL.into(), &EVIL.into()));
}

#[test]
fn a_source_whose_name_turns_the_direction_of_writing_is_none() {
    let home = backed_up();
    let forge = forge(&home);
    let json = serde_json::to_string(&forge.honest).unwrap().replace(r#""name":"app""#, "\"name\":\"a\u{202e}pp\"");
    let plain = zstd::bulk::compress(json.as_bytes(), 3).unwrap();
    let sealed = seal::seal(&[&forge.keys.vault.to_public()], &plain);
    forge.store.put_new(&layout::manifest(forge.honest.time, sealed.digest), sealed.bytes.into()).unwrap();
    let ran = home.run(&["snapshots"]);
    check(&["snapshots"], &ran);
    assert!(ran.code == 4 && ran.err.contains("damaged: snapshots/"), "{}", ran.err);
}
