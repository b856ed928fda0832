//! The engine of records against PostgreSQL: what is deleted comes back, and nothing else changes. Two databases of one
//! server stand for what was and what is.

use std::cell::RefCell;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use strongroom::base::id::SnapshotId;
use strongroom::base::record::{Change, Key, Records, Row, Value};
use strongroom::engine::postgres::connect::Session;
use strongroom::engine::postgres::records::Live;
use strongroom::engine::postgres::settings::Settings;
use strongroom::record::apply::{self, Tools};
use strongroom::record::closure::Seeds;
use strongroom::record::drift;
use strongroom::record::error::RecordError;
use strongroom::record::graph::Graph;
use strongroom::record::inverse;
use strongroom::record::model::Model;
use strongroom::record::plan::{Options, Plan};
use strongroom::record::prepare::{self, Ground, Title};
use strongroom::record::trace::Trace;

use crate::support::postgres::{Cluster, cluster};

mod bound;
mod elsewhere;
mod fired;
mod grown;
mod hard;
mod program;
mod random;
mod rules;
mod spelled;
mod written;

/// Owns its tables, and may do nothing else.
pub const KEEPER: &str = "keeper";
const WAIT: Duration = Duration::from_secs(5);

/// A database as it was, and the live one.
pub struct Bench {
    kept: String,
    live: String,
    /// Who recovers.
    pub user: &'static str,
    pub model: Model,
    pub options: Options,
}

/// What was done, and how it is taken back.
pub struct Done {
    pub plan: Plan,
    pub trace: Trace,
    pub images: Vec<u8>,
}

fn settings(cluster: &Cluster, user: &str, database: &str) -> Settings {
    let url = cluster.url(database).replacen("postgres://postgres@", &format!("postgres://{user}@"), 1);
    Settings::of_url(&url, &|_| None).unwrap()
}

/// As an app has one: ours look nothing up in a schema of its own.
pub fn session(user: &str, database: &str) -> Session {
    let session = settings(cluster(), user, database).connect(&Arc::default()).unwrap();
    session.batch("SET search_path = \"$user\", public").unwrap();
    session
}

/// Lets there be a role that owns what it makes.
fn keeper() {
    let sql = format!(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{KEEPER}') THEN \
         CREATE ROLE {KEEPER} LOGIN; END IF; END $$"
    );
    cluster().sql("postgres", &sql);
}

impl Bench {
    /// Two databases with nothing in them, of whoever recovers.
    pub fn empty(user: &'static str) -> Self {
        keeper();
        let (kept, live) = (cluster().database(), cluster().database());
        for database in [&kept, &live] {
            let own = format!("ALTER SCHEMA public OWNER TO {user}; ALTER DATABASE {database} OWNER TO {user}");
            cluster().sql(database, &own);
        }
        Self { kept, live, user, model: Model::default(), options: Options::default() }
    }

    /// The same, filled by SQL.
    pub fn new(user: &'static str, sql: &str) -> Self {
        let bench = Self::empty(user);
        for database in [&bench.kept, &bench.live] {
            session(user, database).batch(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
        }
        bench
    }

    pub fn kept_name(&self) -> &str {
        &self.kept
    }

    pub fn live_name(&self) -> &str {
        &self.live
    }

    /// Runs statements on live data, as the app does.
    pub fn run(&self, sql: &str) {
        session(self.user, &self.live).batch(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    /// One value of live data.
    pub fn ask(&self, sql: &str) -> String {
        let rows = session("postgres", &self.live).query(&format!("SELECT ({sql})::text"), &[]).unwrap();
        rows[0].get::<_, Option<String>>(0).unwrap_or_else(|| "NULL".to_owned())
    }

    pub fn open(&self) -> Live {
        Live::open(&settings(cluster(), self.user, &self.live), WAIT, &Arc::default()).unwrap()
    }

    pub fn before(&self) -> Live {
        Live::open(&settings(cluster(), self.user, &self.kept), WAIT, &Arc::default()).unwrap()
    }

    /// Every row of every table, and that each refers to something.
    pub fn dump(&self) -> Vec<String> {
        dump(&session("postgres", &self.live))
    }

    pub fn plan_with(
        &self,
        (kept, live): (&dyn Records, &dyn Change),
        table: &str,
        seeds: &dyn Fn(&Graph, usize) -> Seeds,
    ) -> Result<Plan, RecordError> {
        let graph = Graph::read(kept, &self.model)?;
        let fits = drift::fit(&graph, live, &self.model, &self.options.set)?;
        let at = graph.named(table, "the snapshot")?;
        let (model, options) = (&self.model, &self.options);
        let ground = Ground { graph: &graph, snapshot: kept, live, fits: &fits, model, options };
        let closure = ground.closure(100_000, at, &seeds(&graph, at))?;
        let (database, asked) = ("db".to_owned(), "it".to_owned());
        prepare::plan(&ground, &closure, Title { snapshot: SnapshotId::from_bytes([0; 16]), database, asked })
    }

    pub fn apply_with(&self, (kept, live): (&dyn Records, &mut dyn Change), plan: Plan) -> Result<Done, RecordError> {
        let graph = Graph::read(kept, &self.model)?;
        let fits = drift::fit(&graph, live, &self.model, &self.options.set)?;
        let writes = plan.steps.iter().filter(|step| step.act.writes());
        let name = |table: usize| plan.tables[table].live.clone().unwrap();
        let rows: Vec<(String, Key)> = writes.map(|step| (name(step.table), step.live_key().clone())).collect();
        let mut images = Vec::new();
        inverse::keep(live, &rows, &mut images)?;
        let mut fired: Vec<u8> = Vec::new();
        let out = self.options.triggers.then_some(&mut fired as &mut dyn std::io::Write);
        let tools = Tools { graph: &graph, fits: &fits, model: &self.model, snapshot: kept, live, fired: out };
        let trace = apply::apply(&plan, tools, &mut |_, _| Ok(()))?;
        images.extend(fired);
        Ok(Done { plan, trace, images })
    }

    /// Gives rows of a table back by their keys.
    pub fn recover_with(
        &self,
        (kept, live): (&dyn Records, &mut dyn Change),
        table: &str,
        keys: &[Key],
    ) -> Result<Done, RecordError> {
        let by_key =
            |graph: &Graph, at: usize| Seeds::Keys { columns: graph.tables[at].key.clone(), keys: keys.to_vec() };
        let plan = self.plan_with((kept, live), table, &by_key)?;
        self.apply_with((kept, live), plan)
    }

    pub fn recover(&self, table: &str, keys: &[Key]) -> Result<Done, RecordError> {
        self.recover_with((&self.before(), &mut self.open()), table, keys)
    }

    /// Gives the rows of a table back that a condition holds for.
    pub fn recover_where(&self, table: &str, condition: &str) -> Result<Done, RecordError> {
        let (kept, mut live) = (self.before(), self.open());
        let plan = self.plan_with((&kept, &live), table, &|_, _| Seeds::Where(condition.to_owned()))?;
        if let Some(refusal) = plan.refusals.first() {
            panic!("{refusal:?}");
        }
        self.apply_with((&kept, &mut live), plan)
    }

    pub fn undo_with(&self, live: &mut dyn Change, done: &Done) -> Result<Done, RecordError> {
        let mut images = Vec::new();
        let rows: Vec<(String, Key)> =
            done.trace.written.iter().map(|written| (written.table.clone(), written.key.clone())).collect();
        inverse::keep(live, &rows, &mut images)?;
        let mut old = Cursor::new(&done.images);
        let trace = inverse::restore(&mut old, live, &done.trace, false, &mut |_, _| Ok(()))?;
        Ok(Done { plan: done.plan.clone(), trace, images })
    }

    pub fn undo(&self, done: &Done) -> Result<Done, RecordError> {
        self.undo_with(&mut self.open(), done)
    }
}

/// Every row of every table, and that each refers to something.
pub fn dump(session: &Session) -> Vec<String> {
    let tables = "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                  WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1";
    let tables: Vec<String> = session.query(tables, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    if tables.is_empty() {
        return Vec::new();
    }
    let one = |name: &String| format!("SELECT '{name} ' || one_row::text FROM {name} one_row");
    let sql = tables.iter().map(one).collect::<Vec<_>>().join(" UNION ALL ");
    let mut lines: Vec<String> = session.query(&sql, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    lines.sort();
    let references = "SELECT format('SELECT count(*) FROM %s%s c WHERE %s AND NOT EXISTS (SELECT FROM %s%s p WHERE %s)', \
            CASE own.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END, f.conrelid::regclass, \
            (SELECT string_agg(format('c.%I IS NOT NULL', a.attname), ' AND ') FROM unnest(f.conkey) k \
                JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k), \
            CASE other.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END, f.confrelid::regclass, \
            (SELECT string_agg(format('p.%I = c.%I', b.attname, a.attname), ' AND ') \
                FROM unnest(f.conkey, f.confkey) k (own, theirs) \
                JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.own \
                JOIN pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = k.theirs)) \
        FROM pg_constraint f JOIN pg_class own ON own.oid = f.conrelid JOIN pg_class other ON other.oid = f.confrelid \
        WHERE f.contype = 'f' AND f.conparentid = 0";
    let checks: Vec<String> = session.query(references, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    if !checks.is_empty() {
        let sql = format!("SELECT coalesce(sum(wrong.count), 0)::bigint FROM ({}) wrong", checks.join(" UNION ALL "));
        let wrong: i64 = session.query(&sql, &[]).unwrap()[0].get(0);
        assert_eq!(wrong, 0, "a row refers to nothing: {lines:#?}");
    }
    let off = "SELECT count(*) FROM pg_trigger WHERE tgenabled <> 'O' AND NOT tgisinternal";
    let off: i64 = session.query(off, &[]).unwrap()[0].get(0);
    assert_eq!(off, 0, "a trigger is off");
    lines
}

/// A key that is a number.
pub fn number(number: i64) -> Key {
    vec![Value::Integer(number)]
}

/// What a store's errors say.
pub fn said<T>(result: Result<T, RecordError>) -> String {
    match result {
        Ok(_) => panic!("it was done"),
        Err(error) => error.to_string(),
    }
}

/// Both sides, open for one case after another.
pub struct Sides {
    pub kept: Live,
    pub live: RefCell<Live>,
}
