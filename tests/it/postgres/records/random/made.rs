//! Random schemas: keys, references that are declared here and there, partitions and heirs, and rows for them.

use std::fmt::Write;

use crate::records::random::Dice;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    Number,
    /// Given by the server, and by nobody else.
    Identity,
    Text,
    Pair,
    /// Rows that only what they hold tells apart.
    None,
}

pub struct Link {
    pub to: usize,
    pub required: bool,
    pub on_delete: &'static str,
    pub deferrable: bool,
    /// Where it is declared, of the places of the table.
    pub on: &'static [usize],
}

/// Where rows lie, and so where references are declared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    Here,
    /// Some of them in a table that inherits from this one, with references of its own.
    Heir,
    /// In partitions, one of which has two of its own.
    Parts,
}

pub struct Table {
    pub keys: Keys,
    pub links: Vec<Link>,
    pub rows: u64,
    pub unique: bool,
    pub lie: Lie,
}

/// A table and the places its rows lie in, the ends of their names.
const HERE: [&str; 1] = [""];
const HEIR: [&str; 2] = ["", "_h"];
const PARTS: [&str; 5] = ["", "_1", "_2", "_2_1", "_2_2"];

impl Table {
    pub fn places(&self) -> &'static [&'static str] {
        match self.lie {
            Lie::Here => &HERE,
            Lie::Heir => &HEIR,
            Lie::Parts => &PARTS,
        }
    }

    /// Does a row lie in the heir?
    pub fn is_heirs(&self, row: u64) -> bool {
        self.lie == Lie::Heir && row % 3 == 2
    }
}

/// When the server looks at references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    End,
    Once,
    Either,
}

pub fn schema(dice: &mut Dice, when: When) -> Vec<Table> {
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
pub fn key(table: &Table, row: u64) -> Vec<String> {
    match table.keys {
        Keys::Number | Keys::Identity => vec![(row * 3).to_string()],
        Keys::Text => vec![format!("'k{row}'")],
        Keys::Pair => vec![(row / 3).to_string(), format!("'p{}'", row % 3)],
        Keys::None => Vec::new(),
    }
}

/// The tables, and what fills them.
pub fn sql(tables: &[Table], dice: &mut Dice) -> (String, String) {
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

pub fn insert(tables: &[Table], at: usize, table: &Table, row: u64, dice: &mut Dice) -> String {
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
