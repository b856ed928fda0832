//! The engine of records against databases that it has never seen: what is deleted comes back, and nothing else changes.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use strongroom::base::control::Control;
use strongroom::base::error::Explained;
use strongroom::base::id::SnapshotId;
use strongroom::base::random::RandomRead;
use strongroom::base::record::{Change, Key, Records, Row};
use strongroom::engine::sqlite::ask::Session;
use strongroom::engine::sqlite::records::Live;
use strongroom::record::apply::{self, Tools};
use strongroom::record::closure::{Seeds, Walk};
use strongroom::record::drift;
use strongroom::record::error::RecordError;
use strongroom::record::graph::Graph;
use strongroom::record::inverse;
use strongroom::record::model::Model;
use strongroom::record::plan::{Options, Plan, Step};
use strongroom::record::prepare::{self, Ground, Title};
use strongroom::record::trace::Trace;

mod conflicts;
mod economy;
mod fired;
mod lives;
mod moved_on;
pub mod random;
mod reuse;
mod rules;
mod spelled;
mod strangers;

/// A database before it was harmed, and the live one.
pub struct Bench {
    folder: tempfile::TempDir,
    pub model: Model,
    pub options: Options,
    /// The live database checks references when a transaction ends, not with each row.
    pub deferring: bool,
}

/// A file's bytes.
struct Bytes(Vec<u8>);

impl RandomRead for Bytes {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Explained> {
        buffer.copy_from_slice(&self.0[offset as usize..][..buffer.len()]);
        Ok(())
    }
}

/// What was done, and how it is taken back.
pub struct Done {
    pub plan: Plan,
    pub trace: Trace,
    images: Vec<u8>,
}

impl Bench {
    /// A live database made by SQL, and a snapshot of it.
    pub fn new(sql: &str) -> Self {
        // Nothing here needs a disk.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let (options, model) = (Options::default(), Model::default());
        let bench = Self { folder, model, options, deferring: true };
        let connection = Connection::open(bench.live()).unwrap();
        connection.execute_batch("PRAGMA foreign_keys = OFF; BEGIN").unwrap();
        connection.execute_batch(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
        connection.execute_batch("COMMIT").unwrap();
        drop(connection);
        bench.keep();
        bench
    }

    /// Takes the snapshot anew.
    pub fn keep(&self) {
        std::fs::copy(self.live(), self.folder.path().join("kept.db")).unwrap();
    }

    pub fn live(&self) -> PathBuf {
        self.folder.path().join("live.db")
    }

    /// Every row of every table, and that each refers to something.
    pub fn dump(&self) -> Vec<String> {
        dump(&self.live())
    }

    fn session(&self) -> Session {
        let bytes = std::fs::read(self.folder.path().join("kept.db")).unwrap();
        Session::open(Arc::new(Bytes(bytes)), "kept", Arc::<Control>::default()).unwrap()
    }

    fn open(&self) -> Live {
        let mut live = Live::open(&self.live(), Duration::from_secs(5)).unwrap();
        live.deferring = self.deferring;
        live
    }

    /// What would be done to give back the rows of a table that `seeds` chooses.
    pub fn plan(&self, table: &str, seeds: &dyn Fn(&Graph, usize) -> Seeds) -> Result<Plan, RecordError> {
        planned((&self.session(), &self.open()), (&self.model, &self.options), table, seeds)
    }

    pub fn apply(&self, plan: Plan) -> Result<Done, RecordError> {
        applied((&self.session(), &mut self.open()), (&self.model, &self.options), plan)
    }

    /// Gives rows of a table back by their keys.
    pub fn recover(&self, table: &str, keys: &[Key]) -> Result<Done, RecordError> {
        let by_key =
            |graph: &Graph, at: usize| Seeds::Keys { columns: graph.tables[at].key.clone(), keys: keys.to_vec() };
        self.apply(self.plan(table, &by_key)?)
    }

    /// As an undo does it, which can be taken back itself.
    pub fn turn(&self, done: &Done) -> Result<Done, RecordError> {
        let (mut live, mut images) = (self.open(), Vec::new());
        let rows: Vec<(String, Key)> =
            done.trace.written.iter().map(|written| (written.table.clone(), written.key.clone())).collect();
        inverse::keep(&live, &rows, &mut images)?;
        let trace =
            inverse::restore(&mut Cursor::new(&done.images), &mut live, &done.trace, false, &mut |_, _| Ok(()))?;
        Ok(Done { plan: done.plan.clone(), trace, images })
    }

    pub fn undo(&self, done: &Done) -> Result<(), RecordError> {
        let mut images = Cursor::new(&done.images);
        inverse::restore(&mut images, &mut self.open(), &done.trace, false, &mut |_, _| Ok(())).map(|_| ())
    }
}

/// Every row of every table, and that each refers to something.
fn dump(file: &Path) -> Vec<String> {
    let connection = Connection::open(file).unwrap();
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let mut statement = connection.prepare(names).unwrap();
    let names: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut lines = Vec::new();
    for name in names {
        let mut statement = connection.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
        let width = statement.column_count();
        let read = |row: &rusqlite::Row<'_>| {
            let cells = (0..width).map(|at| Ok(format!("{:?}", row.get_ref(at)?)));
            cells.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = statement.query_map([], read).unwrap();
        let mut rows: Vec<String> = rows.map(|row| format!("{name} {:?}", row.unwrap())).collect();
        rows.sort();
        lines.extend(rows);
    }
    let mut check = connection.prepare("PRAGMA foreign_key_check").unwrap();
    assert!(check.query([]).unwrap().next().unwrap().is_none(), "a row refers to nothing: {lines:#?}");
    lines
}

/// What would be done to give back rows, in whatever stores.
fn planned(
    (kept, live): (&dyn Records, &dyn Change),
    (model, options): (&Model, &Options),
    table: &str,
    seeds: &dyn Fn(&Graph, usize) -> Seeds,
) -> Result<Plan, RecordError> {
    let graph = Graph::read(kept, model)?;
    let fits = drift::fit(&graph, live, model, &options.set)?;
    let at = graph.named(table, "the snapshot")?;
    let ground = Ground { graph: &graph, snapshot: kept, live, fits: &fits, model, options };
    let closure = ground.closure(100_000, at, &seeds(&graph, at))?;
    let (database, asked) = ("db".to_owned(), "it".to_owned());
    prepare::plan(&ground, &closure, Title { snapshot: SnapshotId::from_bytes([0; 16]), database, asked })
}

fn applied(
    (kept, live): (&dyn Records, &mut dyn Change),
    (model, options): (&Model, &Options),
    plan: Plan,
) -> Result<Done, RecordError> {
    let graph = Graph::read(kept, model)?;
    let fits = drift::fit(&graph, live, model, &options.set)?;
    let steps = plan.steps.iter().filter(|step| step.act.writes());
    let row = |step: &Step| (plan.tables[step.table].live.clone().unwrap(), step.live_key().clone());
    let rows: Vec<(String, Key)> = steps.map(row).collect();
    let mut images = Vec::new();
    inverse::keep(live, &rows, &mut images)?;
    let mut fired: Vec<u8> = Vec::new();
    let out = options.triggers.then_some(&mut fired as &mut dyn std::io::Write);
    let tools = Tools { graph: &graph, fits: &fits, model, snapshot: kept, live, fired: out };
    let trace = apply::apply(&plan, tools, &mut |_, _| Ok(()))?;
    images.extend(fired);
    Ok(Done { plan, trace, images })
}
