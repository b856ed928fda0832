//! The same random databases, torn into two files: what the schema said between them the configuration says.

use std::path::Path;

use strongroom::base::name::Name;
use strongroom::base::record::OnDelete;
use strongroom::record::model::{Columns, Relation};
use strongroom::record::several::{Several, called};

use super::*;

/// The two parts of one state of a database.
struct Parts {
    folder: tempfile::TempDir,
    /// For each table, whether it lies in the second one.
    apart: Vec<bool>,
}

impl Parts {
    fn file(&self, is_second: bool) -> PathBuf {
        self.folder.path().join(if is_second { "second.db" } else { "first.db" })
    }

    /// Tears a database apart.
    fn of(whole: &Path, tables: &[Table], apart: &[bool]) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let parts = Self { folder, apart: apart.to_vec() };
        for is_second in [false, true] {
            let file = parts.file(is_second);
            std::fs::copy(whole, &file).unwrap();
            let connection = Connection::open(&file).unwrap();
            let mut sql = "PRAGMA foreign_keys = OFF;".to_owned();
            for (at, table) in tables.iter().enumerate() {
                if apart[at] != is_second {
                    sql += &format!("DROP TABLE t{at};");
                    continue;
                }
                for (link, one) in table.links.iter().enumerate().filter(|(_, one)| apart[one.to] != is_second) {
                    let (own, theirs) = ends(tables, link, one);
                    sql += &format!(
                        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, ', {}', '')
                         WHERE name = 't{at}';",
                        constraint(&own, one, &theirs.join(", "))
                    );
                }
            }
            connection.execute_batch(&sql).unwrap();
            drop(connection);
            let check = Connection::open(&file).unwrap();
            assert_eq!(check.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
        }
        parts
    }

    fn dump(&self) -> Vec<String> {
        [false, true].into_iter().flat_map(|is_second| dump(&self.file(is_second))).collect()
    }

    fn name(&self, first: bool, table: usize) -> String {
        match self.apart[table] == first {
            true => format!("t{table}"),
            false => called(&source(!first), &format!("t{table}")),
        }
    }

    fn kept(&self, first: bool) -> Several<dyn Records> {
        let open = |is_second| {
            let bytes = std::fs::read(self.file(is_second)).unwrap();
            Box::new(Session::open(Arc::new(Bytes(bytes)), "kept", Arc::<Control>::default()).unwrap())
        };
        let mut several = Several::<dyn Records>::new(open(first), Arc::default());
        several.add(source(!first), open(!first));
        several
    }

    fn live(&self, first: bool) -> Several<dyn Change> {
        let open = |is_second| Box::new(Live::open(&self.file(is_second), Duration::from_secs(5)).unwrap());
        let mut several = Several::<dyn Change>::new(open(first), Arc::default());
        several.add(source(!first), open(!first));
        several
    }
}

fn source(is_second: bool) -> Name {
    if is_second { "second" } else { "first" }.parse().unwrap()
}

/// The columns of a reference, and those that it leads to.
fn ends(tables: &[Table], link: usize, one: &Link) -> (Vec<String>, Vec<String>) {
    let width = key(&tables[one.to], 0).len();
    let theirs = if width == 2 { vec!["a".to_owned(), "b".to_owned()] } else { vec!["a".to_owned()] };
    ((0..width).map(|part| format!("r{link}_{part}")).collect(), theirs)
}

/// What the schema does not say any more.
fn relations(tables: &[Table], apart: &[bool]) -> Vec<Relation> {
    let mut relations = Vec::new();
    for (at, table) in tables.iter().enumerate() {
        for (link, one) in table.links.iter().enumerate().filter(|(_, one)| apart[one.to] != apart[at]) {
            let (own, theirs) = ends(tables, link, one);
            let end = |table: usize, columns| Columns { table: format!("t{table}"), columns };
            relations.push(Relation {
                source: source(apart[at]),
                to_source: Some(source(apart[one.to])),
                from: end(at, own),
                to: end(one.to, theirs),
                when: Vec::new(),
                on_delete: match one.on_delete {
                    "CASCADE" => OnDelete::Cascade,
                    "SET NULL" => OnDelete::SetNull,
                    "SET DEFAULT" => OnDelete::SetDefault,
                    _ => OnDelete::Restrict,
                },
            });
        }
    }
    relations
}

/// One case. Returns whether anything could be deleted that lay in both.
fn torn(seed: u64) -> bool {
    let mut dice = Dice(seed);
    let tables = schema(&mut dice);
    let sql = sql(&tables, &mut dice);
    let bench = Bench::new(&sql);
    let apart: Vec<bool> = tables.iter().map(|_| dice.is(50)).collect();
    let kept = Parts::of(&bench.live(), &tables, &apart);
    let table = dice.roll(tables.len() as u64) as usize;
    let (key, is_row) = one_row(&bench, &tables, table, &mut dice);
    if !delete(&bench, table, &is_row) {
        return false;
    }
    let live = Parts::of(&bench.live(), &tables, &apart);
    let (whole, harmed) = (kept.dump(), live.dump());
    let first = apart[table];
    let model = Model { relations: relations(&tables, &apart), ..Model::default() };
    let (model, options) = (model.of(&source(first), &[source(!first)]), Options::default());
    let told = |what: &str| format!("seed {seed}, apart {apart:?}: {what}\n{sql}");
    let by_key =
        |graph: &Graph, at: usize| Seeds::Keys { columns: graph.tables[at].key.clone(), keys: vec![key.clone()] };
    let recover = |what: &str| {
        let done =
            planned((&kept.kept(first), &live.live(first)), (&model, &options), &live.name(first, table), &by_key)
                .and_then(|plan| applied((&kept.kept(first), &mut live.live(first)), (&model, &options), plan));
        done.unwrap_or_else(|error| panic!("{}", told(&format!("{what}: {error}"))))
    };
    let done = recover("recovery");
    assert_eq!(live.dump(), whole, "{}", told(&format!("recovered t{table} {key:?}: {:#?}", done.plan)));
    let undone =
        inverse::restore(&mut Cursor::new(&done.images), &mut live.live(first), &done.trace, false, &mut |_, _| Ok(()));
    undone.unwrap_or_else(|error| panic!("{}", told(&format!("undo: {error}"))));
    assert_eq!(live.dump(), harmed, "{}", told("taken back"));
    recover("second recovery");
    assert_eq!(live.dump(), whole, "{}", told("recovered again"));
    assert_eq!(recover("third recovery").plan.writes(), 0, "{}", told("there was nothing left to do"));
    let tables = done.trace.written.iter().map(|written| written.table.contains('.'));
    tables.collect::<BTreeSet<_>>().len() == 2
}

#[test]
fn whatever_is_deleted_of_two_databases_comes_back_row_for_row_and_goes_again() {
    let start = std::env::var("STRONGROOM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = start.map_or(0..500, |seed: u64| seed..seed + 1);
    let both = seeds.clone().filter(|seed| torn(*seed)).count() as u64;
    assert!(start.is_some() || both * 8 > seeds.end - seeds.start, "only {both} cases lay in both");
}
