//! Random schemas with random rows: a random row is deleted with all that hangs on it, recovered, taken back, recovered.

mod across;
mod reused;

use std::collections::BTreeSet;
use std::fmt::Write;

use rusqlite::types::Value as Cell;
use strongroom::base::record::Value;
use strongroom::record::plan::Act;

use super::*;

/// A small generator: the cases are the same for the same seed, on every machine.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % sides
    }

    pub fn is(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Number,
    Text,
    Pair,
    WithoutRowid,
    None,
}

struct Link {
    to: usize,
    required: bool,
    on_delete: &'static str,
}

struct Table {
    keys: Keys,
    links: Vec<Link>,
    rows: u64,
    unique: bool,
    indexed: bool,
}

fn schema(dice: &mut Dice) -> Vec<Table> {
    let number = 2 + dice.roll(5) as usize;
    let keys: Vec<Keys> = (0..number)
        .map(|at| match dice.roll(if at == 0 { 8 } else { 10 }) {
            0..4 => Keys::Number,
            4 | 5 => Keys::Text,
            6 => Keys::Pair,
            7 => Keys::WithoutRowid,
            _ => Keys::None,
        })
        .collect();
    let mut tables = Vec::new();
    for own in &keys {
        let mut links = Vec::new();
        for _ in 0..dice.roll(3) {
            let to = dice.roll(number as u64) as usize;
            if keys[to] == Keys::None {
                continue;
            }
            let required = dice.is(40);
            let on_delete = match dice.roll(10) {
                0..5 => "CASCADE",
                5 | 6 if !required => "SET NULL",
                7 if !required => "SET DEFAULT",
                8 => "RESTRICT",
                _ => "NO ACTION",
            };
            links.push(Link { to, required, on_delete });
        }
        let (rows, unique, indexed) = (1 + dice.roll(9), dice.is(25), dice.is(50));
        tables.push(Table { keys: *own, links, rows, unique, indexed });
    }
    tables
}

/// The values of a row's key, as SQL writes them.
fn key(table: &Table, row: u64) -> Vec<String> {
    match table.keys {
        Keys::Number => vec![(row * 3).to_string()],
        Keys::Text | Keys::WithoutRowid => vec![format!("'k{row}'")],
        Keys::Pair => vec![(row / 3).to_string(), format!("'p{}'", row % 3)],
        Keys::None => Vec::new(),
    }
}

fn sql(tables: &[Table], dice: &mut Dice) -> String {
    let mut sql = String::new();
    for (at, table) in tables.iter().enumerate() {
        let (mut columns, mut end) = match table.keys {
            Keys::Number => (vec!["a INTEGER PRIMARY KEY".to_owned()], ""),
            Keys::Text => (vec!["a TEXT PRIMARY KEY".to_owned()], ""),
            Keys::WithoutRowid => (vec!["a TEXT PRIMARY KEY".to_owned()], " WITHOUT ROWID"),
            Keys::Pair => (vec!["a INTEGER".to_owned(), "b TEXT".to_owned()], ""),
            Keys::None => (Vec::new(), ""),
        };
        columns.push("v TEXT".to_owned());
        columns.push("n REAL DEFAULT 1.5".to_owned());
        columns.push("g INTEGER GENERATED ALWAYS AS (length(v)) VIRTUAL".to_owned());
        if table.unique {
            columns.push("u TEXT UNIQUE".to_owned());
        }
        let mut constraints = Vec::new();
        for (link, one) in table.links.iter().enumerate() {
            let own: Vec<String> = (0..key(&tables[one.to], 0).len()).map(|part| format!("r{link}_{part}")).collect();
            let required = if one.required { " NOT NULL" } else { "" };
            columns.extend(own.iter().map(|name| format!("{name}{required}")));
            let theirs = if own.len() == 2 { "a, b" } else { "a" };
            constraints.push(constraint(&own, one, theirs));
        }
        if table.keys == Keys::Pair {
            constraints.insert(0, "PRIMARY KEY(b, a)".to_owned());
            end = if dice.is(50) { " WITHOUT ROWID" } else { "" };
        }
        columns.extend(constraints);
        let _ = writeln!(sql, "CREATE TABLE t{at}({}){end};", columns.join(", "));
        if table.indexed && !table.links.is_empty() {
            let _ = writeln!(sql, "CREATE INDEX i{at} ON t{at}(r0_0);");
        }
        if dice.is(20) {
            let _ =
                writeln!(sql, "CREATE TRIGGER w{at} AFTER INSERT ON t{at} BEGIN UPDATE t{at} SET v = 'spoiled'; END;");
        }
    }
    for (at, table) in tables.iter().enumerate() {
        for row in 0..table.rows {
            let _ = writeln!(sql, "{}", insert(tables, at, table, row, dice));
        }
    }
    // What triggers have done meanwhile is as good as anything, but tells nothing apart.
    for (at, _) in tables.iter().enumerate() {
        let _ = writeln!(sql, "UPDATE t{at} SET v = v || hex(n) WHERE n > 2;");
    }
    sql
}

fn constraint(own: &[String], link: &Link, theirs: &str) -> String {
    format!("FOREIGN KEY({}) REFERENCES t{}({theirs}) ON DELETE {}", own.join(", "), link.to, link.on_delete)
}

fn insert(tables: &[Table], at: usize, table: &Table, row: u64, dice: &mut Dice) -> String {
    let mut names: Vec<String> = match key(table, row).len() {
        0 => Vec::new(),
        1 => vec!["a".into()],
        _ => vec!["a".into(), "b".into()],
    };
    let mut values = key(table, row);
    names.extend(["v".to_owned(), "n".to_owned()]);
    values.push(match dice.roll(4) {
        0 => "NULL".to_owned(),
        1 => "x'00ff'".to_owned(),
        2 => format!("'it''s {}'", dice.roll(3)),
        _ => dice.roll(5).to_string(),
    });
    values.push(["1", "2.5", "'word'", "NULL"][dice.roll(4) as usize].to_owned());
    if table.unique {
        names.push("u".to_owned());
        values.push(if dice.is(70) { format!("'u{row}'") } else { "NULL".to_owned() });
    }
    for (link, one) in table.links.iter().enumerate() {
        let parent = &tables[one.to];
        let target = key(parent, dice.roll(parent.rows));
        let empty = !one.required && dice.is(30);
        for (part, value) in target.into_iter().enumerate() {
            names.push(format!("r{link}_{part}"));
            values.push(if empty { "NULL".to_owned() } else { value });
        }
    }
    format!("INSERT INTO t{at}({}) VALUES({});", names.join(", "), values.join(", "))
}

/// Deletes a row as an app would: what keeps it from going is deleted first. `false` where the schema does not let it.
fn delete(bench: &Bench, table: usize, is_row: &str) -> bool {
    let mut connection = Connection::open(bench.live()).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    let transaction = connection.transaction().unwrap();
    transaction.execute_batch("PRAGMA defer_foreign_keys = ON").unwrap();
    if transaction.execute(&format!("DELETE FROM t{table} WHERE {is_row}"), []).is_err() {
        return false;
    }
    loop {
        let wrong: Option<(String, Option<i64>)> = {
            let mut check = transaction.prepare("PRAGMA foreign_key_check").unwrap();
            let mut rows = check.query([]).unwrap();
            rows.next().unwrap().map(|row| (row.get(0).unwrap(), row.get(1).unwrap()))
        };
        let Some((name, Some(number))) = wrong else {
            // Rows without a number cannot be told by this check: such a case is left alone.
            return wrong.is_none() && transaction.commit().is_ok();
        };
        if transaction.execute(&format!("DELETE FROM {name} WHERE rowid = {number}"), []).is_err() {
            return false;
        }
    }
}

/// One row of a table: its key, and the condition that it is the one.
fn one_row(bench: &Bench, tables: &[Table], table: usize, dice: &mut Dice) -> (Key, String) {
    let row = dice.roll(tables[table].rows);
    let connection = Connection::open(bench.live()).unwrap();
    let names = match tables[table].keys {
        Keys::None => "rowid",
        Keys::Pair => "b, a",
        _ => "a",
    };
    let sql = format!("SELECT {names} FROM t{table} ORDER BY {names} LIMIT 1 OFFSET {row}");
    let cells: Vec<Cell> =
        connection.query_row(&sql, [], |row| (0..names.split(", ").count()).map(|at| row.get(at)).collect()).unwrap();
    let literal = |cell: &Cell| match cell {
        Cell::Integer(number) => number.to_string(),
        Cell::Text(text) => format!("'{text}'"),
        other => panic!("{other:?}"),
    };
    let value = |cell: &Cell| match cell {
        Cell::Integer(number) => Value::Integer(*number),
        Cell::Text(text) => Value::text(text),
        other => panic!("{other:?}"),
    };
    let is_row: Vec<String> =
        names.split(", ").zip(&cells).map(|(name, cell)| format!("{name} = {}", literal(cell))).collect();
    (cells.iter().map(value).collect(), is_row.join(" AND "))
}

/// One case. Returns whether anything could be deleted.
fn case(seed: u64, deferring: bool) -> bool {
    let mut dice = Dice(seed);
    let tables = schema(&mut dice);
    let sql = sql(&tables, &mut dice);
    let mut bench = Bench::new(&sql);
    bench.deferring = deferring;
    let told = |what: &str| format!("seed {seed}, deferring {deferring}: {what}\n{sql}");
    let whole = bench.dump();
    let table = dice.roll(tables.len() as u64) as usize;
    let (key, is_row) = one_row(&bench, &tables, table, &mut dice);
    if !delete(&bench, table, &is_row) {
        return false;
    }
    let harmed = bench.dump();
    let name = format!("t{table}");
    let recover = |what: &str| {
        bench
            .recover(&name, std::slice::from_ref(&key))
            .unwrap_or_else(|error| panic!("{}", told(&format!("{what}: {error}"))))
    };
    let done = match bench.recover(&name, std::slice::from_ref(&key)) {
        // A circle of required references cannot be written row by row where the store checks each at once.
        Err(RecordError::Circle { .. }) => {
            assert!(!deferring, "{}", told("a circle"));
            assert_eq!(bench.dump(), harmed, "{}", told("nothing is written of a circle"));
            return true;
        }
        done => done.unwrap_or_else(|error| panic!("{}", told(&format!("recovery: {error}")))),
    };
    assert_eq!(bench.dump(), whole, "{}", told(&format!("recovered {name} {key:?}: {:#?}", done.plan)));
    bench.undo(&done).unwrap_or_else(|error| panic!("{}", told(&format!("undo: {error}"))));
    assert_eq!(bench.dump(), harmed, "{}", told("taken back"));
    recover("second recovery");
    assert_eq!(bench.dump(), whole, "{}", told("recovered again"));
    assert_eq!(recover("third recovery").plan.writes(), 0, "{}", told("there was nothing left to do"));
    assert_eq!(bench.dump(), whole);
    true
}

/// Two rows go, one after the other, each with what hangs on it. What is recovered of the first refers to nothing that is
/// not there, and leads back; with the second recovered too, everything is as it was.
fn two(seed: u64) -> bool {
    let mut dice = Dice(seed);
    let tables = schema(&mut dice);
    let sql = sql(&tables, &mut dice);
    let bench = Bench::new(&sql);
    let whole = bench.dump();
    let mut gone = Vec::new();
    for _ in 0..2 {
        let table = dice.roll(tables.len() as u64) as usize;
        let (key, is_row) = one_row(&bench, &tables, table, &mut dice);
        gone.push((format!("t{table}"), key, table, is_row));
    }
    if gone.iter().any(|(.., table, is_row)| !delete(&bench, *table, is_row)) {
        return false;
    }
    let names: Vec<(&String, &Key)> = gone.iter().map(|(name, key, ..)| (name, key)).collect();
    let told = |what: &str| format!("seed {seed}: {what} of {names:?}\n{sql}");
    let recover = |at: usize, what: &str| {
        let done = bench.recover(names[at].0, std::slice::from_ref(names[at].1));
        done.unwrap_or_else(|error| panic!("{}", told(&format!("{what}: {error}"))))
    };
    let harmed = bench.dump();
    let done = recover(0, "the first recovery");
    // Whatever came back was in the snapshot, but for references that were left empty, or are empty still.
    let empty = |step: &&Step| !step.emptied.is_empty() || matches!(step.act, Act::Relink { .. });
    let emptied = done.plan.steps.iter().filter(empty).count();
    let known: BTreeSet<&String> = whole.iter().chain(&harmed).collect();
    let now = bench.dump();
    let strange = now.iter().filter(|row| !known.contains(row)).count();
    assert!(strange <= emptied, "{}", told(&format!("rows nobody knows: {:#?}", done.plan)));
    bench.undo(&done).unwrap_or_else(|error| panic!("{}", told(&format!("undo: {error}"))));
    assert_eq!(bench.dump(), harmed, "{}", told("taken back"));
    recover(0, "the first recovery again");
    assert_eq!(bench.dump(), now, "{}", told("recovered again"));
    assert_eq!(recover(0, "a second run").plan.writes(), 0, "{}", told("there was nothing left to do"));
    let done = recover(1, "the second recovery");
    assert_eq!(bench.dump(), whole, "{}", told(&format!("both recovered: {:#?}", done.plan)));
    true
}

/// A key as SQL writes it.
pub fn literal(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => format!("'{}'", String::from_utf8_lossy(text)),
        other => panic!("{other:?}"),
    }
}

/// Rows of one table refer to each other in a circle, three of them got new keys, and what they hold hardly tells them apart: a
/// second run does not know one of them again, and gives it another number (decision 0033, its limit; of the seeds below 2,000).
const CIRCLES: [u64; 3] = [566, 1109, 1325];

#[test]
fn whatever_two_deletions_took_comes_back_with_both_of_them_recovered() {
    let start = std::env::var("STRONGROOM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = start.map_or(0..500, |seed: u64| seed..seed + 1);
    let deleted = seeds.clone().filter(|seed| two(*seed)).count() as u64;
    assert!(deleted * 3 > seeds.end - seeds.start, "only {deleted} cases had something to delete");
}

fn cases(deferring: bool) {
    let start = std::env::var("STRONGROOM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = start.map_or(0..500, |seed: u64| seed..seed + 1);
    let deleted = seeds.clone().filter(|seed| case(*seed, deferring)).count() as u64;
    assert!(deleted * 2 > seeds.end - seeds.start, "only {deleted} cases had something to delete");
}

#[test]
fn whatever_is_deleted_comes_back_row_for_row_and_goes_again_where_references_are_checked_at_the_end() {
    cases(true);
}

#[test]
fn whatever_is_deleted_comes_back_row_for_row_and_goes_again_where_references_are_checked_at_once() {
    cases(false);
}
