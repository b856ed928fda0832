//! A live thing that several sources name is given back once.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use strongroom::base::capture::{Capture, EntrySink};
use strongroom::base::control::Control;
use strongroom::engine::sqlite::apply::OnDamage;
use strongroom::format::manifest::Manifest;
use strongroom::ops::actions::Actions;
use strongroom::ops::backup::{self, Planned};
use strongroom::ops::error::OpError;
use strongroom::ops::hooks::Hooks;
use strongroom::ops::places::Places;
use strongroom::ops::restore::in_place::{self, Report, Request, Settings, Step};
use strongroom::ops::undo;
use strongroom::source::files::{FilesOptions, FilesSource};
use strongroom::source::sqlite::SqliteSource;
use strongroom::source::{Source, SourceError};

use crate::live::{number, sql};
use crate::support::vaults::{Lab, request};

/// A source before whose capture an app commits something.
#[derive(Debug)]
struct Later(Box<dyn Source>, PathBuf);

impl Source for Later {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn root(&self) -> String {
        self.0.root()
    }

    fn capture(&self, capture: Capture, sink: &mut dyn EntrySink) -> Result<(), SourceError> {
        sql(&self.1, "INSERT INTO t VALUES ('between')");
        self.0.capture(capture, sink)
    }

    fn estimate(&self, control: &Control) {
        self.0.estimate(control);
    }
}

fn files(path: PathBuf) -> Box<dyn Source> {
    Box::new(FilesSource::new(FilesOptions { path, ..FilesOptions::default() }).unwrap())
}

fn captured(lab: &Lab, first: Box<dyn Source>, second: Box<dyn Source>, database: &Path) -> Manifest {
    let second = Box::new(Later(second, database.to_owned()));
    let named = |name: &str, source| Planned { name: name.parse().unwrap(), source };
    let sources = vec![named("first", first), named("second", second)];
    let request = backup::Request { sources, ..request(Path::new("/"), false) };
    backup::backup(&lab.vault(&lab.store, &lab.folders), &request).unwrap().manifest
}

/// A snapshot of one folder.
pub fn captured_alone(lab: &Lab, folder: &Path) -> Manifest {
    let sources = vec![Planned { name: "app".parse().unwrap(), source: files(folder.to_owned()) }];
    let request = backup::Request { sources, ..request(Path::new("/"), false) };
    backup::backup(&lab.vault(&lab.store, &lab.folders), &request).unwrap().manifest
}

fn settings<'s>(lab: &Lab, actions: &'s Actions, told: &'s dyn Fn(Step)) -> Settings<'s> {
    Settings {
        safety: Some(request(&lab.path(""), false).label),
        wait: Duration::from_secs(5),
        on_damage: OnDamage::Refuse,
        accept_left_out: false,
        numeric_ids: false,
        trust_times: false,
        actions,
        hooks: Hooks::default(),
        told,
        control: Arc::default(),
    }
}

/// Gives everything back. An app commits something as soon as the database is as it was, each time it is.
pub fn give_back(lab: &Lab, manifest: &Manifest, database: Option<&Path>) -> (Report, usize) {
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    let (actions, times) = (Actions::new(lab.path("actions")), Cell::new(0));
    let told = |step: Step| {
        if matches!(step, Step::Reached("database given back")) {
            times.set(times.get() + 1);
            database.iter().for_each(|database| sql(database, "INSERT INTO t VALUES ('late')"));
        }
    };
    let settings = settings(lab, &actions, &told);
    let places = Places::of(unlocked.vault());
    let request = Request { parts: Vec::new(), configured: Vec::new(), places, settings };
    (in_place::restore(&unlocked, manifest, request).unwrap(), times.get())
}

pub fn take_back(lab: &Lab) -> Result<Report, OpError> {
    take_back_told(lab, &|_| ())
}

pub fn take_back_told(lab: &Lab, told: &dyn Fn(Step)) -> Result<Report, OpError> {
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    let actions = Actions::new(lab.path("actions"));
    let settings = settings(lab, &actions, told);
    let request = undo::Request { action: None, configured: Vec::new(), force: false, settings };
    undo::undo(&unlocked, request).map(|(_, report)| report)
}

const LATE: &str = "SELECT count(*) FROM t WHERE x = 'late'";

/// What it is called, the database, and the two sources that name it.
type Way = (&'static str, PathBuf, Box<dyn Source>, Box<dyn Source>);

/// The ways in which two sources can name one database: by its folder, by a link to that, by two names of the file.
fn ways(lab: &Lab) -> Vec<Way> {
    let fresh = |name: &str| {
        let folder = lab.path(name);
        fs::create_dir(&folder).unwrap();
        sql(&folder.join("s.db"), "CREATE TABLE t (x); INSERT INTO t VALUES ('first')");
        fs::write(folder.join("readme"), "here\n").unwrap();
        folder
    };
    let (folder, reverse, linked, twice) = (fresh("folder"), fresh("reverse"), fresh("linked"), fresh("twice"));
    symlink(&linked, lab.path("link")).unwrap();
    fs::hard_link(twice.join("s.db"), lab.path("other.db")).unwrap();
    let database = |path: PathBuf| Box::new(SqliteSource::of(path)) as Box<dyn Source>;
    vec![
        ("a folder and the database in it", folder.join("s.db"), files(folder.clone()), database(folder.join("s.db"))),
        ("the database and its folder", reverse.join("s.db"), database(reverse.join("s.db")), files(reverse)),
        ("a folder by two paths", linked.join("s.db"), files(linked), files(lab.path("link"))),
        ("two names of one file", twice.join("s.db"), database(twice.join("s.db")), database(lab.path("other.db"))),
    ]
}

#[test]
fn what_an_app_commits_once_its_database_is_given_back_stays_though_two_sources_name_it() {
    for mode in ["WAL", "DELETE"] {
        let lab = Lab::in_folder();
        for (way, database, first, second) in ways(&lab) {
            if mode == "WAL" && way == "two names of one file" {
                // SQLite has no log for a file of two names.
                continue;
            }
            // Somebody who has it open keeps the log from coming and going.
            let app = Connection::open(&database).unwrap();
            app.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |_| Ok(())).unwrap();
            let manifest = captured(&lab, first, second, &database);
            sql(&database, "DELETE FROM t");
            let (_, times) = give_back(&lab, &manifest, Some(&database));
            assert_eq!((number(&database, LATE), times), (1, 1), "{mode}: {way}");
        }
    }
}

#[test]
fn a_restore_of_a_database_that_two_sources_name_can_be_taken_back_right_after() {
    let lab = Lab::in_folder();
    for (way, database, first, second) in ways(&lab) {
        let manifest = captured(&lab, first, second, &database);
        sql(&database, "DELETE FROM t; INSERT INTO t VALUES ('newer')");
        give_back(&lab, &manifest, None);
        assert!(number(&database, "SELECT count(*) FROM t WHERE x = 'first'") >= 1, "{way}");
        take_back(&lab).unwrap_or_else(|error| panic!("{way}: {error}"));
        assert_eq!(number(&database, "SELECT count(*) = 1 AND max(x) = 'newer' FROM t"), 1, "{way}");
    }
}

#[test]
fn a_folder_that_two_sources_hold_comes_back_once_and_without_complaint() {
    let lab = Lab::in_folder();
    let folder = lab.path("app");
    fs::create_dir_all(folder.join("data")).unwrap();
    sql(&lab.path("unused.db"), "CREATE TABLE t (x)");
    fs::write(folder.join("data/f"), "x\n").unwrap();
    let manifest = captured(&lab, files(folder.clone()), files(folder.join("data")), &lab.path("unused.db"));
    fs::remove_dir_all(folder.join("data")).unwrap();
    let (report, _) = give_back(&lab, &manifest, None);
    assert_eq!((report.given.files.issues, report.given.files.files), (Vec::new(), 1));
    take_back(&lab).unwrap();
    assert!(folder.exists() && !folder.join("data").exists());
}
