//! What recovering one project costs where there are two hundred: pages of the snapshot, and searches without an index.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use strongroom::base::record::{Change, Each, Ended, Records, Rules, Table, Value};

use super::rules::{alter, number, run};
use super::*;

/// A file's bytes, and how many of them were read.
struct Read(Vec<u8>, Arc<AtomicU64>);

impl RandomRead for Read {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Explained> {
        self.1.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        buffer.copy_from_slice(&self.0[offset as usize..][..buffer.len()]);
        Ok(())
    }
}

/// A database, how many searches of each table no key or unique column helps, and under no name how many there were.
struct Counted<'c, D: ?Sized>(&'c mut D, &'c RefCell<BTreeMap<String, usize>>);

impl<D: Records + ?Sized> Records for Counted<'_, D> {
    fn label(&self) -> String {
        self.0.label()
    }

    fn tables(&self) -> Result<Vec<Table>, Explained> {
        self.0.tables()
    }

    fn find(
        &self,
        table: &Table,
        by: &[usize],
        keys: &[Key],
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        *self.1.borrow_mut().entry(String::new()).or_default() += 1;
        let helps = |columns: &Vec<usize>| columns.first().is_some_and(|first| by.contains(first));
        if !keys.is_empty() && !helps(&table.key) && !table.unique.iter().any(|one| helps(&one.columns)) {
            *self.1.borrow_mut().entry(table.name.clone()).or_default() += 1;
        }
        self.0.find(table, by, keys, wanted, each)
    }

    fn matching(
        &self,
        table: &Table,
        condition: Option<&str>,
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        self.0.matching(table, condition, wanted, each)
    }

    fn typed(&self, table: &Table, column: usize, text: &str) -> Result<Value, Explained> {
        self.0.typed(table, column, text)
    }
}

impl<D: Change + ?Sized> Change for Counted<'_, D> {
    fn begin(&mut self, rules: Rules<'_>) -> Result<(), Explained> {
        self.0.begin(rules)
    }

    fn defers(&self) -> bool {
        self.0.defers()
    }

    fn insert(&mut self, table: &Table, columns: &[usize], values: &[Value]) -> Result<(), Explained> {
        self.0.insert(table, columns, values)
    }

    fn update(&mut self, table: &Table, key: &[Value], columns: &[usize], values: &[Value]) -> Result<bool, Explained> {
        self.0.update(table, key, columns, values)
    }

    fn delete(&mut self, table: &Table, key: &[Value]) -> Result<bool, Explained> {
        self.0.delete(table, key)
    }

    fn converted(&self, table: &Table, column: usize, value: &Value) -> Result<Value, String> {
        self.0.converted(table, column, value)
    }

    fn next_number(&self, table: &Table, column: usize) -> Result<i64, Explained> {
        self.0.next_number(table, column)
    }

    fn commit(&mut self) -> Result<Ended, Explained> {
        self.0.commit()
    }

    fn roll_back(&mut self) {
        self.0.roll_back();
    }
}

/// Two hundred projects: each with documents, a line for each, and entries of a log that has no key.
fn town(documents: u32) -> Bench {
    let bench = Bench::new(
        "CREATE TABLE projects (id INTEGER PRIMARY KEY, name TEXT); \
         CREATE TABLE documents (id INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects(id) ON DELETE CASCADE, body BLOB); \
         CREATE TABLE lines (id INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents(id) ON DELETE CASCADE, body BLOB); \
         CREATE TABLE log (project INTEGER REFERENCES projects(id) ON DELETE CASCADE, what BLOB);",
    );
    let documents = format!(
        "INSERT INTO projects SELECT value, 'p' || value FROM generate_series; \
         INSERT INTO documents SELECT NULL, id, randomblob(300) FROM projects, numbers WHERE value <= {documents} ORDER BY id; \
         INSERT INTO lines SELECT NULL, id, randomblob(100) FROM documents ORDER BY id; \
         INSERT INTO log SELECT id, randomblob(100) FROM projects, numbers WHERE value <= {documents} ORDER BY id; DROP TABLE numbers; DROP TABLE generate_series"
    );
    let numbers = |name: &str, most: u32| {
        format!(
            "CREATE TABLE {name} AS WITH RECURSIVE n(value) AS (VALUES (1) UNION ALL SELECT value + 1 FROM n WHERE value < {most}) SELECT value FROM n;"
        )
    };
    alter(
        &bench,
        &format!("BEGIN; {}{}{documents}; COMMIT", numbers("generate_series", 200), numbers("numbers", 1000)),
    );
    bench.keep();
    bench
}

/// What one recovery of project 100 and its undoing cost: bytes of the snapshot, searches without an index, and how often
/// live data was asked until all was written.
fn cost(bench: &Bench) -> (u64, BTreeMap<String, usize>, usize) {
    let whole = bench.dump();
    run(bench, "DELETE FROM projects WHERE id = 100");
    let read = Arc::<AtomicU64>::default();
    let bytes = Read(std::fs::read(bench.folder.path().join("kept.db")).unwrap(), Arc::clone(&read));
    let mut kept = Session::open(Arc::new(bytes), "kept", Arc::<Control>::default()).unwrap();
    let (of_kept, of_live) =
        (RefCell::<BTreeMap<String, usize>>::default(), RefCell::<BTreeMap<String, usize>>::default());
    let searches = || of_live.borrow().get("").copied().unwrap_or_default();
    let mut live = bench.open();
    let (kept, mut live) = (Counted(&mut kept, &of_kept), Counted(&mut live, &of_live));
    let graph = Graph::read(&kept, &bench.model).unwrap();
    let fits = drift::fit(&graph, &live, &bench.model, &[]).unwrap();
    let at = graph.named("projects", "it").unwrap();
    let seeds = Seeds::Keys { columns: vec![0], keys: vec![number(100)] };
    let title = Title { snapshot: SnapshotId::from_bytes([0; 16]), database: "db".to_owned(), asked: "it".to_owned() };
    let (options, model) = (&bench.options, &bench.model);
    let ground = Ground { graph: &graph, snapshot: &kept, live: &live, fits: &fits, model, options };
    let closure = ground.closure(10_000, at, &seeds).unwrap();
    let plan = prepare::plan(&ground, &closure, title).unwrap();
    let rows: Vec<(String, Key)> =
        plan.steps.iter().map(|step| (plan.tables[step.table].name.clone(), step.key.clone())).collect();
    let (mut images, planning) = (Vec::new(), searches());
    inverse::keep(&live, &rows, &mut images).unwrap();
    let keeping = searches() - planning;
    let tools =
        Tools { graph: &graph, fits: &fits, model: &bench.model, snapshot: &kept, live: &mut live, fired: None };
    let trace = apply::apply(&plan, tools, &mut |_, _| Ok(())).unwrap();
    let asked = searches() - keeping;
    assert_eq!(bench.dump(), whole);
    inverse::restore(&mut std::io::Cursor::new(&images), &mut live, &trace, false, &mut |_, _| Ok(())).unwrap();
    assert_ne!(bench.dump(), whole);
    let mut scans = of_live.take();
    of_kept.take().into_iter().for_each(|(table, times)| *scans.entry(table).or_default() += times);
    scans.remove("");
    (read.load(Ordering::Relaxed), scans, asked)
}

#[test]
fn one_project_of_two_hundred_reads_few_pages_where_there_are_indexes() {
    let bench = town(50);
    alter(
        &bench,
        "CREATE INDEX a ON documents(project); CREATE INDEX b ON lines(document); CREATE INDEX c ON log(project)",
    );
    bench.keep();
    let size = std::fs::metadata(bench.live()).unwrap().len();
    let (read, ..) = cost(&bench);
    assert!(read * 10 < size, "{read} of {size} bytes were read");
}

#[test]
fn a_missing_index_costs_as_many_searches_for_many_rows_as_for_few() {
    let ((_, mut few, asked_for_few), (_, mut many, asked_for_many)) = (cost(&town(3)), cost(&town(150)));
    assert!(
        asked_for_many < asked_for_few + 60,
        "441 rows more are looked up together: {asked_for_few}, {asked_for_many}"
    );
    // Rows without a key are compared with all that live data has: a hundred of them with one search.
    let log = (few.remove("log").unwrap(), many.remove("log").unwrap());
    assert!(log.1 <= log.0 + 1, "{log:?}");
    assert_eq!(few, many);
    // Once on the way down; once when all is written, to see what had outlived it; and once when it is taken back, to see
    // that nothing newer refers to it.
    assert!(many["documents"] <= 3 && many["lines"] <= 3, "{many:?}");
}
