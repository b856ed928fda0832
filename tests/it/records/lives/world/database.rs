//! A world as a database, and back.

use super::*;

impl Life {
    pub fn relations(&self) -> Vec<Relation> {
        let columns = |table: &str, column: &str| Columns { table: table.to_owned(), columns: vec![column.to_owned()] };
        let mut relations = Vec::new();
        for spec in &self.tables {
            for link in spec.links.iter().filter(|link| !link.declared) {
                relations.push(Relation {
                    source: "db".parse().unwrap(),
                    to_source: None,
                    from: columns(&spec.name, &spec.columns[link.column]),
                    to: columns(&self.tables[link.to].name, "id"),
                    when: Vec::new(),
                    on_delete: link.on_delete,
                });
            }
        }
        relations
    }

    pub fn sql(&self, world: &World) -> String {
        let mut sql = String::new();
        for spec in &self.tables {
            let column = |(at, name): (usize, &String)| {
                let kind = match &spec.fills[at] {
                    Fill::Key | Fill::Ref | Fill::Number => "INTEGER",
                    _ => "TEXT",
                };
                let key = if spec.key == 1 && at == 0 { " PRIMARY KEY" } else { "" };
                let required = spec.links.iter().any(|link| link.column == at && link.required);
                let unique = if matches!(spec.fills[at], Fill::Unique(_)) { " UNIQUE" } else { "" };
                format!("\"{name}\" {kind}{key}{unique}{}", if required && spec.key == 1 { " NOT NULL" } else { "" })
            };
            let mut parts: Vec<String> = spec.columns.iter().enumerate().map(column).collect();
            if spec.key == 2 {
                parts.push(format!("PRIMARY KEY(\"{}\", \"{}\")", spec.columns[0], spec.columns[1]));
            }
            for link in spec.links.iter().filter(|link| link.declared) {
                let on_delete = match link.on_delete {
                    OnDelete::Cascade => "CASCADE",
                    OnDelete::SetNull => "SET NULL",
                    _ => "RESTRICT",
                };
                let (own, to) = (&spec.columns[link.column], &self.tables[link.to].name);
                parts.push(format!("FOREIGN KEY(\"{own}\") REFERENCES {to}(id) ON DELETE {on_delete}"));
            }
            let _ = writeln!(sql, "CREATE TABLE {}({});", spec.name, parts.join(", "));
        }
        sql + &self.rows(world)
    }

    fn rows(&self, world: &World) -> String {
        let mut sql = String::new();
        for (spec, records) in self.tables.iter().zip(&world.tables) {
            for record in records.values() {
                let values: Vec<String> = record.row.iter().map(literal).collect();
                let _ = writeln!(sql, "INSERT INTO {} VALUES({});", spec.name, values.join(", "));
            }
        }
        sql
    }

    pub fn shown(&self, world: &World) -> String {
        let mut out = String::new();
        for (spec, records) in self.tables.iter().zip(&world.tables) {
            for record in records.values() {
                let values: Vec<String> = record.row.iter().map(literal).collect();
                let _ = writeln!(out, "  {} #{} {}", spec.name, record.birth, values.join(", "));
            }
        }
        out
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => format!("'{}'", String::from_utf8_lossy(text)),
        other => panic!("{other:?}"),
    }
}

/// Makes the live database what a world holds.
pub fn write(bench: &Bench, life: &Life, world: &World) {
    let connection = Connection::open(bench.live()).unwrap();
    let empty: String = life.tables.iter().map(|spec| format!("DELETE FROM {};", spec.name)).collect();
    let sql = format!("PRAGMA foreign_keys = OFF; BEGIN; {empty} {} COMMIT", life.rows(world));
    connection.execute_batch(&sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
}

/// Every row of the live database.
pub fn read(bench: &Bench, life: &Life) -> Vec<BTreeMap<Key, Vec<Value>>> {
    let connection = Connection::open(bench.live()).unwrap();
    let of = |spec: &Spec| {
        let mut statement = connection.prepare(&format!("SELECT * FROM {}", spec.name)).unwrap();
        let value = |cell: rusqlite::types::Value| match cell {
            rusqlite::types::Value::Null => Value::Null,
            rusqlite::types::Value::Integer(number) => Value::Integer(number),
            rusqlite::types::Value::Text(text) => Value::text(&text),
            other => panic!("{other:?}"),
        };
        let read = |row: &rusqlite::Row<'_>| {
            (0..spec.columns.len()).map(|at| Ok(value(row.get(at)?))).collect::<rusqlite::Result<Vec<Value>>>()
        };
        let rows = statement.query_map([], read).unwrap().map(Result::unwrap);
        rows.map(|row| (row[..spec.key].to_vec(), row)).collect()
    };
    life.tables.iter().map(of).collect()
}
