//! What every kind of source promises, asked of each in `SOURCES`. A new kind needs one entry in `fixture` below.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use strongroom::base::chunk::plain_digest;
use strongroom::base::control::Control;
use strongroom::base::error::{Class, Explain};
use strongroom::format::layout;
use strongroom::format::manifest::Manifest;
use strongroom::ops::backup::{self, Planned};
use strongroom::ops::error::OpError;
use strongroom::ops::show::{self, Part};
use strongroom::source::{SOURCES, Source, configure};
use toml::{Table, Value};

use crate::support::postgres::cluster;
use crate::support::program::{Home, by_standard_tools};
use crate::support::vaults::{Lab, Tree, assert_same, request, restore, snapshots};

/// What the contract has to know of a kind.
struct Fixture {
    /// Makes something to capture in a folder that is there and empty.
    plant: fn(&Path),
    /// Its table in the configuration, relative to that folder, but for `kind`.
    table: fn(&Path) -> String,
    /// What it calls the thing it captures.
    root: fn(&Path) -> String,
    /// It knows what has not changed without reading it.
    recognises: bool,
    /// Keys without which it makes no sense.
    required: &'static [&'static str],
    /// Every key with a value of a type it does not take.
    wrong: &'static [(&'static str, &'static str)],
    /// A slip of the finger, and the key that was meant.
    slip: (&'static str, &'static str),
    /// The paths of a capture, in order.
    paths: &'static [&'static str],
    /// Takes away what the source names; the words that name it in the error.
    vanish: fn(&Path) -> String,
    /// What was restored into the second folder is what was planted in the first.
    same: fn(&Path, &Path),
}

/// The name of the database that stands for a folder.
fn database_of(folder: &Path) -> String {
    format!("planted_{}", &plain_digest(folder.as_os_str().as_bytes()).to_hex()[..12])
}

/// The fixture of each kind.
fn fixture(kind: &str) -> Option<Fixture> {
    match kind {
        "files" => Some(Fixture {
            plant: |folder| {
                fs::create_dir_all(folder.join("docs/a")).unwrap();
                fs::write(folder.join("docs/a/z"), "z").unwrap();
                fs::write(folder.join("docs/a-b"), vec![7; 3 << 20]).unwrap();
                symlink("a-b", folder.join("docs/link")).unwrap();
            },
            table: |_| "path = \"docs\"".to_owned(),
            root: |folder| folder.join("docs").display().to_string(),
            recognises: true,
            required: &["path"],
            wrong: &[
                ("path", "7"),
                ("exclude", "\"*.tmp\""),
                ("ignore_files", "[1]"),
                ("one_file_system", "\"yes\""),
                ("cachedirs", "1"),
                ("plain", "1"),
            ],
            slip: ("exlcude", "exclude"),
            paths: &[".", "a", "a/z", "a-b", "link"],
            vanish: |folder| {
                fs::remove_dir_all(folder.join("docs")).unwrap();
                folder.join("docs").display().to_string()
            },
            same: |planted, restored| {
                assert_same(&Tree::read(restored), &Tree::read(&planted.join("docs")), "restored");
            },
        }),
        "postgres" => Some(Fixture {
            plant: |folder| {
                cluster().sql("postgres", &format!("CREATE DATABASE {}", database_of(folder)));
                let sql = "CREATE TABLE b (id serial PRIMARY KEY, t text); INSERT INTO b (t) VALUES ('x'), (NULL); \
                           CREATE TABLE a (); SELECT lo_from_bytea(77, 'large')";
                cluster().sql(&database_of(folder), sql);
            },
            table: |folder| format!("url = {:?}", cluster().url(&database_of(folder))),
            root: database_of,
            recognises: false,
            required: &[],
            wrong: &[
                ("url", "7"),
                ("host", "7"),
                ("port", "\"x\""),
                ("user", "7"),
                ("dbname", "7"),
                ("schemas", "\"app\""),
                ("exclude_schemas", "7"),
                ("tables", "[1]"),
                ("exclude_tables", "true"),
                ("workers", "0"),
                ("globals", "1"),
            ],
            slip: ("exclude_table", "exclude_tables"),
            paths: &[
                ".",
                "data",
                "data/public",
                "data/public/a.copy",
                "data/public/a.segments",
                "data/public/b.copy",
                "data/public/b.segments",
                "database.sql",
                "globals.sql",
                "large-objects",
                "large-objects/77",
                "load.sql",
                "post-data.sql",
                "pre-data.sql",
                "sequences.jsonl",
                "tables.jsonl",
            ],
            vanish: |folder| {
                let name = database_of(folder);
                cluster().sql("postgres", &format!("DROP DATABASE {name}"));
                name
            },
            same: |planted, restored| {
                let loaded = cluster().database();
                cluster().load(&loaded, &restored.join("load.sql"));
                assert_eq!(cluster().dump(&loaded, &[]), cluster().dump(&database_of(planted), &[]));
            },
        }),
        "sqlite" => Some(Fixture {
            plant: |folder| {
                fs::create_dir_all(folder.join("data/a")).unwrap();
                for name in ["data/a/z.db", "data/b.db"] {
                    let database = rusqlite::Connection::open(folder.join(name)).unwrap();
                    database
                        .execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1), (randomblob(90000))")
                        .unwrap();
                }
            },
            table: |_| "path = \"data/**/*.db\"".to_owned(),
            root: |folder| folder.join("data").display().to_string(),
            recognises: true,
            required: &["path"],
            wrong: &[("path", "7"), ("exclude", "\"*.tmp\""), ("free_pages", "true")],
            slip: ("free_page", "free_pages"),
            paths: &[".", "a", "a/z.db", "b.db"],
            vanish: |folder| {
                fs::remove_dir_all(folder.join("data")).unwrap();
                folder.join("data").display().to_string()
            },
            same: |planted, restored| {
                assert_same(&Tree::read(restored), &Tree::read(&planted.join("data")), "restored");
            },
        }),
        _ => None,
    }
}

/// One kind with something planted for it, and a vault to put it into.
struct Case {
    kind: &'static str,
    fixture: Fixture,
    lab: Lab,
}

impl Case {
    fn table(&self) -> Table {
        let mut table: Table = (self.fixture.table)(&self.lab.path("planted")).parse().unwrap();
        table.insert("kind".to_owned(), Value::String(self.kind.to_owned()));
        table
    }

    fn source(&self) -> Box<dyn Source> {
        configure(&self.table(), &self.lab.path("planted")).unwrap()
    }

    fn backup(&self, control: &Arc<Control>) -> Result<Manifest, OpError> {
        let sources = vec![Planned { name: "it".parse().unwrap(), source: self.source() }];
        let vault = self.lab.vault(&self.lab.store, &self.lab.folders);
        let any = request(&self.lab.path("planted"), false);
        let request = backup::Request { sources, control: control.clone(), ..any };
        Ok(backup::backup(&vault, &request)?.manifest)
    }

    fn captured(&self) -> Manifest {
        self.backup(&Arc::default()).unwrap_or_else(|error| panic!("{}: {error}", self.kind))
    }
}

/// Runs a check for every kind there is.
fn each(check: impl Fn(&Case)) {
    for registered in SOURCES {
        let kind = registered.name;
        let missing = || panic!("the kind {kind} has no fixture: add one to `fixture` in tests/it/source_contract.rs");
        let fixture = fixture(kind).unwrap_or_else(missing);
        let lab = Lab::in_memory();
        fs::create_dir(lab.path("planted")).unwrap();
        (fixture.plant)(&lab.path("planted"));
        // Long enough for its times to be trusted.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        check(&Case { kind, fixture, lab });
    }
}

#[test]
fn a_kind_is_registered_under_its_own_name_and_says_what_it_captures() {
    each(|case| {
        let source = case.source();
        assert_eq!(source.kind(), case.kind);
        let root = (case.fixture.root)(&case.lab.path("planted"));
        assert!(source.root().contains(&root), "{}", source.root());
    });
}

#[test]
fn a_table_with_a_mistake_is_refused_by_the_name_of_the_key() {
    each(|case| {
        let refuse = |table: &Table| {
            let error = configure(table, Path::new("/")).map(|_| ()).unwrap_err();
            assert_eq!(error.class(), Class::Usage, "{}: {error}", case.kind);
            error
        };
        let mut slipped = case.table();
        slipped.insert(case.fixture.slip.0.to_owned(), Value::Boolean(true));
        let error = refuse(&slipped);
        assert_eq!(error.to_string(), format!("unknown key {:?}", case.fixture.slip.0));
        assert_eq!(error.hint().unwrap(), format!("did you mean {:?}?", case.fixture.slip.1));
        for key in case.fixture.required {
            let mut table = case.table();
            table.remove(*key).unwrap_or_else(|| panic!("{}: {key} is not in the fixture's table", case.kind));
            assert_eq!(refuse(&table).to_string(), format!("{key:?} is missing"));
        }
        assert!(!case.fixture.wrong.is_empty());
        for (key, value) in case.fixture.wrong {
            let mut table = case.table();
            let wrong: Table = format!("value = {value}").parse().unwrap();
            table.insert((*key).to_owned(), wrong["value"].clone());
            let error = refuse(&table);
            assert_eq!(error.key(), *key, "{}: {error}", case.kind);
            assert!(error.to_string().starts_with(&format!("{key:?}")), "{}: {error}", case.kind);
        }
    });
}

#[test]
fn what_is_there_is_captured_in_the_order_of_paths_and_comes_back() {
    each(|case| {
        let manifest = case.captured();
        let record = &manifest.sources[0];
        assert_eq!((record.kind.as_str(), &record.skipped[..]), (case.kind, &[][..]));
        let unlocked = case.lab.unlock(&case.lab.store, &case.lab.folders).unwrap();
        let mut paths = Vec::new();
        let collect = |entry: strongroom::base::entry::Entry| {
            paths.push(entry.path.to_string());
            Ok(())
        };
        show::list(&unlocked, &manifest, &Part::whole(), collect).unwrap();
        assert_eq!(paths, case.fixture.paths, "{}", case.kind);
        assert_eq!(record.entries, paths.len() as u64);
        let to = case.lab.path("restored");
        let report = restore(&unlocked, &manifest, &to).unwrap();
        assert_eq!(report.issues, [], "{}", case.kind);
        (case.fixture.same)(&case.lab.path("planted"), &to);
    });
}

#[test]
fn every_kind_comes_back_with_standard_tools_alone() {
    for registered in SOURCES {
        let kind = registered.name;
        let (fixture, home) = (fixture(kind).unwrap(), Home::new());
        (fixture.plant)(&home.path(""));
        home.write("strongroom.toml", format!("[source.it]\nkind = '{kind}'\n{}\n", (fixture.table)(&home.path(""))));
        home.ok(&["init", "--quiet"]);
        home.ok(&["backup", "--quiet"]);
        let ran = by_standard_tools(&home, &[]);
        assert_eq!(ran.code, 0, "{kind} has no recipe in docs/recover-with-standard-tools.sh: {}", ran.err);
        (fixture.same)(&home.path(""), &home.path("out"));
    }
}

#[test]
fn a_second_capture_of_what_has_not_changed_adds_nothing_and_repeats_everything() {
    each(|case| {
        let (first, second) = (case.captured(), case.captured());
        let (first, second) = (&first.sources[0], &second.sources[0]);
        assert!(first.bytes_read > 0, "{}", case.kind);
        assert_eq!(second.bytes_new, 0, "{}", case.kind);
        assert!(second.bytes_read == 0 || !case.fixture.recognises, "{}: read again", case.kind);
        assert_eq!(second.listing, first.listing, "{}: another listing", case.kind);
        assert_eq!((second.entries, second.files, second.bytes), (first.entries, first.files, first.bytes));
    });
}

#[test]
fn a_source_that_has_vanished_is_a_clear_error_and_makes_no_snapshot() {
    each(|case| {
        case.captured();
        let named = (case.fixture.vanish)(&case.lab.path("planted"));
        let error = case.backup(&Arc::default()).unwrap_err();
        let words = error.to_string();
        assert!(words.contains(&named) && !words.contains('\n'), "{}: {words}", case.kind);
        assert!(words.starts_with(char::is_lowercase) && error.hint().is_some(), "{}: {words}", case.kind);
        assert_eq!(error.class(), Class::Failed, "{}", case.kind);
        let unlocked = case.lab.unlock(&case.lab.store, &case.lab.folders).unwrap();
        assert_eq!(snapshots(&unlocked).len(), 1);
    });
}

#[test]
fn an_estimate_never_fails() {
    each(|case| {
        let (there, gone) = (Control::default(), Control::default());
        case.source().estimate(&there);
        (case.fixture.vanish)(&case.lab.path("planted"));
        case.source().estimate(&gone);
        assert_eq!((gone.items_expected.get(), gone.bytes_expected.get()), (0, 0), "{}", case.kind);
        let stopped = Control::default();
        stopped.stop();
        case.source().estimate(&stopped);
    });
}

#[test]
fn an_interrupt_ends_a_capture_without_a_snapshot_and_the_next_one_is_whole() {
    each(|case| {
        let control = Arc::<Control>::default();
        control.stop();
        let error = case.backup(&control).unwrap_err();
        assert_eq!(error.class(), Class::Interrupted, "{}: {error}", case.kind);
        assert_eq!(case.lab.store.list(layout::SNAPSHOTS).unwrap(), []);
        let manifest = case.captured();
        assert_eq!(manifest.sources[0].entries, case.fixture.paths.len() as u64);
    });
}
