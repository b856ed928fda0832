//! Random schemas with random rows: a random row is deleted with all that hangs on it, recovered, taken back, recovered.

use std::fmt::Write;

use super::*;
use crate::records::random::Dice;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Number,
    /// Given by the server, and by nobody else.
    Identity,
    Text,
    Pair,
    /// Rows that only what they hold tells apart.
    None,
}

struct Link {
    to: usize,
    required: bool,
    on_delete: &'static str,
    deferrable: bool,
    /// Where it is declared, of the places of the table.
    on: &'static [usize],
}

/// Where rows lie, and so where references are declared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    Here,
    /// Some of them in a table that inherits from this one, with references of its own.
    Heir,
    /// In partitions, one of which has two of its own.
    Parts,
}

struct Table {
    keys: Keys,
    links: Vec<Link>,
    rows: u64,
    unique: bool,
    lie: Lie,
}

/// A table and the places its rows lie in, the ends of their names.
const HERE: [&str; 1] = [""];
const HEIR: [&str; 2] = ["", "_h"];
const PARTS: [&str; 5] = ["", "_1", "_2", "_2_1", "_2_2"];

impl Table {
    fn places(&self) -> &'static [&'static str] {
        match self.lie {
            Lie::Here => &HERE,
            Lie::Heir => &HEIR,
            Lie::Parts => &PARTS,
        }
    }

    /// Does a row lie in the heir?
    fn is_heirs(&self, row: u64) -> bool {
        self.lie == Lie::Heir && row % 3 == 2
    }
}

/// When the server looks at references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    End,
    Once,
    Either,
}

fn schema(dice: &mut Dice, when: When) -> Vec<Table> {
    let number = 2 + dice.roll(5) as usize;
    let keys: Vec<Keys> = (0..number)
        .map(|at| match dice.roll(if at == 0 { 8 } else { 10 }) {
            0..3 => Keys::Number,
            3 | 4 => Keys::Identity,
            5 => Keys::Text,
            6 | 7 => Keys::Pair,
            _ => Keys::None,
        })
        .collect();
    let mut tables = Vec::new();
    for own in &keys {
        let lie = match dice.roll(10) {
            // Numbers that the server gives in partitions are newer than the oldest server.
            0..3 if *own != Keys::Identity => Lie::Parts,
            3 | 4 if *own == Keys::Number => Lie::Heir,
            _ => Lie::Here,
        };
        let mut links = Vec::new();
        for _ in 0..dice.roll(3) {
            let to = dice.roll(number as u64) as usize;
            if keys[to] == Keys::None {
                continue;
            }
            // A row without a key cannot be told from others where it has empty columns.
            let required = *own == Keys::None || dice.is(40);
            let on_delete = match dice.roll(10) {
                0..5 => "CASCADE",
                5 | 6 if !required => "SET NULL",
                7 if !required => "SET DEFAULT",
                8 => "RESTRICT",
                _ => "NO ACTION",
            };
            let deferrable = match when {
                When::End => true,
                When::Once => false,
                When::Either => dice.is(50),
            };
            let on: &[&[usize]] = match lie {
                Lie::Here => &[&[0]],
                Lie::Heir => &[&[0, 1], &[0, 1], &[0], &[1]],
                Lie::Parts => &[&[0], &[1, 3, 4], &[1, 2], &[1, 3], &[2], &[4]],
            };
            let on = on[dice.roll(on.len() as u64) as usize];
            links.push(Link { to, required, on_delete, deferrable, on });
        }
        let unique = dice.is(25) && lie == Lie::Here;
        tables.push(Table { keys: *own, links, rows: 1 + dice.roll(9), unique, lie });
    }
    tables
}

/// The values of a row's key, as SQL writes them.
fn key(table: &Table, row: u64) -> Vec<String> {
    match table.keys {
        Keys::Number | Keys::Identity => vec![(row * 3).to_string()],
        Keys::Text => vec![format!("'k{row}'")],
        Keys::Pair => vec![(row / 3).to_string(), format!("'p{}'", row % 3)],
        Keys::None => Vec::new(),
    }
}

/// The tables, and what fills them.
fn sql(tables: &[Table], dice: &mut Dice) -> (String, String) {
    let mut sql = String::from(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN NEW.v := 'spoiled'; RETURN NEW; END $$;\n",
    );
    let mut later = String::new();
    for (at, table) in tables.iter().enumerate() {
        let mut columns = match table.keys {
            Keys::Number => vec!["a integer PRIMARY KEY".to_owned()],
            Keys::Identity => vec!["a bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY".to_owned()],
            Keys::Text => vec!["a varchar(20) PRIMARY KEY".to_owned()],
            Keys::Pair => vec!["a smallint".to_owned(), "b text".to_owned(), "PRIMARY KEY (b, a)".to_owned()],
            Keys::None => vec!["o integer NOT NULL".to_owned()],
        };
        let required = if table.keys == Keys::None { " NOT NULL" } else { "" };
        columns.push(format!("v text{required}, n double precision{required} DEFAULT 1.5, m numeric(8,2){required}"));
        columns.push(format!("t timestamptz{required}, j jsonb{required}, l integer[]{required}, f boolean{required}"));
        columns.push(format!("x bytea{required}, d date{required}"));
        columns.push("g integer GENERATED ALWAYS AS (length(v)) STORED".to_owned());
        if table.unique && table.keys != Keys::None {
            columns.push("u text UNIQUE".to_owned());
        }
        for (link, one) in table.links.iter().enumerate() {
            let own: Vec<String> = (0..key(&tables[one.to], 0).len()).map(|part| format!("r{link}_{part}")).collect();
            let required = if one.required { " NOT NULL" } else { "" };
            let kinds: &[&str] = match tables[one.to].keys {
                Keys::Number => &["integer"],
                Keys::Identity => &["bigint"],
                Keys::Text => &["varchar(20)"],
                _ => &["smallint", "text"],
            };
            columns.extend(own.iter().zip(kinds).map(|(name, kind)| format!("{name} {kind}{required}")));
            let theirs = if own.len() == 2 { "a, b" } else { "a" };
            let put_off = if one.deferrable { " DEFERRABLE INITIALLY IMMEDIATE" } else { "" };
            let (to, own, on_delete) = (one.to, own.join(", "), one.on_delete);
            for place in one.on {
                let on = table.places()[*place];
                let _ = writeln!(
                    later,
                    "ALTER TABLE t{at}{on} ADD CONSTRAINT f{at}_{link}_{place} FOREIGN KEY ({own}) \
                     REFERENCES t{to} ({theirs}) ON DELETE {on_delete}{put_off};"
                );
            }
        }
        let by = match table.keys {
            Keys::Pair => "b, a",
            Keys::None => "o",
            _ => "a",
        };
        let columns = columns.join(", ");
        let _ = match table.lie {
            Lie::Here => writeln!(sql, "CREATE TABLE t{at} ({columns});"),
            Lie::Heir => writeln!(
                sql,
                "CREATE TABLE t{at} ({columns}); CREATE TABLE t{at}_h (PRIMARY KEY (a)) INHERITS (t{at});"
            ),
            Lie::Parts => writeln!(
                sql,
                "CREATE TABLE t{at} ({columns}) PARTITION BY HASH ({by});
                 CREATE TABLE t{at}_1 PARTITION OF t{at} FOR VALUES WITH (MODULUS 2, REMAINDER 0);
                 CREATE TABLE t{at}_2 PARTITION OF t{at} FOR VALUES WITH (MODULUS 2, REMAINDER 1) PARTITION BY HASH ({by});
                 CREATE TABLE t{at}_2_1 PARTITION OF t{at}_2 FOR VALUES WITH (MODULUS 4, REMAINDER 1);
                 CREATE TABLE t{at}_2_2 PARTITION OF t{at}_2 FOR VALUES WITH (MODULUS 4, REMAINDER 3);"
            ),
        };
        if dice.is(20) {
            let _ = writeln!(
                later,
                "CREATE TRIGGER w{at} BEFORE INSERT OR UPDATE ON t{at} FOR EACH ROW EXECUTE FUNCTION spoil();"
            );
        }
    }
    let mut rows = "BEGIN; SET LOCAL session_replication_role = replica;\n".to_owned();
    for (at, table) in tables.iter().enumerate() {
        for row in 0..table.rows {
            let _ = writeln!(rows, "{}", insert(tables, at, table, row, dice));
        }
    }
    (sql + &later, rows + "COMMIT;")
}

fn insert(tables: &[Table], at: usize, table: &Table, row: u64, dice: &mut Dice) -> String {
    let (mut names, mut values): (Vec<String>, Vec<String>) = match table.keys {
        Keys::None => (vec!["o".into()], vec![dice.roll(1000).to_string()]),
        Keys::Pair => (vec!["a".into(), "b".into()], key(table, row)),
        _ => (vec!["a".into()], key(table, row)),
    };
    let filled = table.keys == Keys::None;
    let mut give = |name: &str, choices: [&str; 4], dice: &mut Dice| {
        let chosen = dice.roll(if filled { 3 } else { 4 }) as usize;
        names.push(name.to_owned());
        values.push(choices[chosen].to_owned());
    };
    give("v", ["'it''s'", "E'a\\\\b\\n'", "''", "NULL"], dice);
    give("n", ["'0.1'", "'NaN'", "'-1e300'", "NULL"], dice);
    give("m", ["'1.50'", "'0'", "'-123456.78'", "NULL"], dice);
    give("t", ["'2024-01-20 10:00:00+02'", "'infinity'", "'0044-03-15 12:00:00 BC'", "NULL"], dice);
    give("j", ["'{\"a\": [1, null]}'", "'null'", "'\"\"'", "NULL"], dice);
    give("l", ["'{1,2}'", "'{}'", "'{NULL}'", "NULL"], dice);
    give("f", ["true", "false", "true", "NULL"], dice);
    give("x", ["'\\x00ff'", "''", "'\\x27'", "NULL"], dice);
    give("d", ["'2024-02-29'", "'-infinity'", "'0001-01-01'", "NULL"], dice);
    if table.unique && !filled {
        names.push("u".to_owned());
        values.push(if dice.is(70) { format!("'u{row}'") } else { "NULL".to_owned() });
    }
    for (link, one) in table.links.iter().enumerate() {
        let parent = &tables[one.to];
        // Nobody can refer to the rows of an heir.
        let target = Some(dice.roll(parent.rows)).filter(|row| !parent.is_heirs(*row)).unwrap_or(0);
        let target = key(parent, target);
        let empty = !one.required && dice.is(30);
        for (part, value) in target.into_iter().enumerate() {
            names.push(format!("r{link}_{part}"));
            values.push(if empty { "NULL".to_owned() } else { value });
        }
    }
    let (names, values) = (names.join(", "), values.join(", "));
    let place = if table.is_heirs(row) { "_h" } else { "" };
    format!("INSERT INTO t{at}{place} ({names}) OVERRIDING SYSTEM VALUE VALUES ({values});")
}

/// Deletes a row as an app would: what keeps it from going is deleted first. `false` where the schema does not let it.
fn delete(session: &Session, tables: &[Table], table: usize, is_row: &str) -> bool {
    let mut statements = vec![format!("DELETE FROM t{table} WHERE {is_row}")];
    session.batch("BEGIN").unwrap();
    // What outlives the row is changed by the server itself, and what a trigger makes of that is nothing that was deleted.
    let triggers = |word: &str| {
        let each = (0..tables.len()).map(|at| format!("ALTER TABLE t{at} {word} TRIGGER USER"));
        session.batch(&each.collect::<Vec<_>>().join("; ")).unwrap();
    };
    triggers("DISABLE");
    for _ in 0..40 {
        let sql = format!("{}; SET CONSTRAINTS ALL IMMEDIATE", statements.join("; "));
        session.batch("SAVEPOINT s; SET CONSTRAINTS ALL DEFERRED").unwrap();
        let said = match session.batch(&sql) {
            Ok(()) => {
                triggers("ENABLE");
                session.batch("COMMIT").unwrap();
                return true;
            }
            Err(error) => error.to_string(),
        };
        session.batch("ROLLBACK TO s").unwrap();
        let Some(more) = in_the_way(session, tables, &said) else { break };
        statements.insert(0, more);
    }
    session.batch("ROLLBACK").unwrap();
    false
}

/// What has to be deleted first, as the server's complaint tells.
fn in_the_way(session: &Session, tables: &[Table], said: &str) -> Option<String> {
    let (before, name) = said.split_once("foreign key constraint \"")?;
    let (name, after) = name.split_once('"')?;
    // What is declared once, the server keeps once more for each partition, under other names.
    let on =
        after.strip_prefix(" on table \"").or_else(|| Some(before.split_once("on table \"")?.1))?.split_once('"')?.0;
    let declared = "WITH RECURSIVE up AS (
            SELECT conname, conparentid FROM pg_constraint WHERE conname = $1::text AND conrelid = to_regclass($2::text)
            UNION ALL SELECT f.conname, f.conparentid FROM up JOIN pg_constraint f ON f.oid = up.conparentid)
        SELECT conname::text FROM up WHERE conparentid = 0";
    let declared: String = session.query(declared, &[&name, &on]).unwrap().first()?.get(0);
    let numbers: Vec<usize> = declared.strip_prefix('f')?.split('_').map_while(|one| one.parse().ok()).collect();
    let [at, link, on] = numbers[..] else { return None };
    let on = format!("{}t{at}{}", if tables[at].lie == Lie::Parts { "" } else { "ONLY " }, tables[at].places()[on]);
    let (names, values) = said.split_once("(Key (")?.1.split_once(")=(")?;
    let values = values.split(") is").next()?.split(", ");
    let to = tables[at].links[link].to;
    let place = |name: &str| if tables[to].keys == Keys::Pair && name == "b" { 1 } else { 0 };
    let same = names.split(", ").zip(values).map(|(name, value)| {
        // A complaint may be of the row that refers, or of the one referred to.
        let own = if name.starts_with('r') { name.to_owned() } else { format!("r{link}_{}", place(name)) };
        format!("{own} = '{value}'")
    });
    Some(format!("DELETE FROM {on} WHERE {}", same.collect::<Vec<_>>().join(" AND ")))
}

/// One row of a table: its key, and the condition that it is the one.
fn one_row(sides: &Sides, tables: &[Table], table: usize, dice: &mut Dice) -> (Key, String) {
    let shapes = sides.kept.tables().unwrap();
    let shape = shapes.iter().find(|shape| shape.name == format!("t{table}")).unwrap();
    let mut keys = Vec::new();
    let mut take = |key: Row| {
        keys.push(key);
        Ok(())
    };
    sides.kept.matching(shape, None, &shape.key, &mut take).unwrap();
    if tables[table].keys == Keys::None {
        // Only one row is to go: numbers that were thrown twice do not name one.
        let numbers: Vec<Value> = keys.iter().map(|key| key[0].clone()).collect();
        keys.retain(|key| numbers.iter().filter(|number| **number == key[0]).count() == 1);
    }
    let key = keys.swap_remove(dice.roll(keys.len() as u64) as usize);
    let is_row = match tables[table].keys {
        Keys::None => format!("o = {}", key[0]),
        _ => {
            let names = shape.names(&shape.key).into_iter().zip(&key);
            names.map(|(name, value)| format!("{name} = '{value}'")).collect::<Vec<_>>().join(" AND ")
        }
    };
    (key, is_row)
}

struct Stage {
    bench: Bench,
    sessions: [Session; 2],
    when: When,
}

impl Stage {
    fn new(user: &'static str, when: When) -> Self {
        let bench = Bench::empty(user);
        let sessions = [session("postgres", &bench.kept), session("postgres", &bench.live)];
        Self { bench, sessions, when }
    }

    /// One case. Returns whether anything could be deleted.
    fn case(&self, seed: u64) -> bool {
        let (bench, live, user) = (&self.bench, &self.sessions[1], self.bench.user);
        let mut dice = Dice(seed);
        let tables = schema(&mut dice, self.when);
        let (schema, rows) = sql(&tables, &mut dice);
        let told = |what: &str| format!("seed {seed}, {:?}, {user}: {what}\n{schema}{rows}", self.when);
        for session in &self.sessions {
            let fresh = format!("DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION {user}");
            session.batch(&format!("SET client_min_messages = error; {fresh}; SET ROLE {user}")).unwrap();
            session.batch(&schema).unwrap_or_else(|error| panic!("{}", told(&error.to_string())));
            session.batch("RESET ROLE").unwrap();
            session.batch(&rows).unwrap_or_else(|error| panic!("{}", told(&error.to_string())));
        }
        let sides = Sides { kept: bench.before(), live: RefCell::new(bench.open()) };
        let whole = dump(live);
        let table = dice.roll(tables.len() as u64) as usize;
        let (key, is_row) = one_row(&sides, &tables, table, &mut dice);
        if !delete(live, &tables, table, &is_row) {
            return false;
        }
        let harmed = dump(live);
        let name = format!("t{table}");
        let recover =
            || bench.recover_with((&sides.kept, &mut *sides.live.borrow_mut()), &name, std::slice::from_ref(&key));
        let must = |result: Result<Done, RecordError>, what: &str| {
            result.unwrap_or_else(|error| panic!("{}", told(&format!("{what}: {error}"))))
        };
        let done = match recover() {
            // A circle of required references cannot be written row by row by whoever has to mind the server's checks.
            Err(RecordError::Circle { .. }) => {
                assert!(self.when != When::End && user == KEEPER, "{}", told("a circle"));
                assert_eq!(dump(live), harmed, "{}", told("nothing is written of a circle"));
                return true;
            }
            done => must(done, "recovery"),
        };
        assert_eq!(dump(live), whole, "{}", told(&format!("recovered {name} {key:?}: {:#?}", done.plan)));
        let undone = must(bench.undo_with(&mut *sides.live.borrow_mut(), &done), "undo");
        assert_eq!(dump(live), harmed, "{}", told("taken back"));
        must(bench.undo_with(&mut *sides.live.borrow_mut(), &undone), "undo of the undo");
        assert_eq!(dump(live), whole, "{}", told("the undo taken back"));
        must(bench.undo_with(&mut *sides.live.borrow_mut(), &done), "second undo");
        assert_eq!(dump(live), harmed, "{}", told("taken back again"));
        must(recover(), "second recovery");
        assert_eq!(dump(live), whole, "{}", told("recovered again"));
        assert_eq!(must(recover(), "third recovery").plan.writes(), 0, "{}", told("there was nothing left to do"));
        assert_eq!(dump(live), whole);
        true
    }
}

fn cases(user: &'static str, when: When, seeds: std::ops::Range<u64>) {
    let start = std::env::var("STRONGROOM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = start.map_or(seeds, |seed: u64| seed..seed + 1);
    let stage = Stage::new(user, when);
    let deleted = seeds.clone().filter(|seed| stage.case(*seed)).count() as u64;
    assert!(deleted * 2 > seeds.end - seeds.start || start.is_some(), "only {deleted} cases had something to delete");
}

#[test]
fn whatever_is_deleted_comes_back_row_for_row_and_goes_again_where_references_are_checked_at_the_end() {
    cases(KEEPER, When::End, 0..25);
}

#[test]
fn whatever_is_deleted_comes_back_row_for_row_and_goes_again_where_references_are_checked_at_once() {
    cases(KEEPER, When::Once, 0..25);
}

#[test]
fn whatever_is_deleted_comes_back_row_for_row_and_goes_again_where_some_references_can_be_put_off() {
    cases(KEEPER, When::Either, 0..25);
}

#[test]
fn whatever_is_deleted_comes_back_row_for_row_and_goes_again_for_a_superuser() {
    cases("postgres", When::Either, 0..25);
}

#[test]
#[ignore = "takes minutes"]
fn a_thousand_random_cases() {
    for when in [When::End, When::Once, When::Either] {
        cases(KEEPER, when, 1000..1200);
    }
    cases("postgres", When::Either, 1000..1200);
    cases("postgres", When::Once, 1000..1200);
}
