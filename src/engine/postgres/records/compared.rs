//! Rows by what their columns hold, in SQL.
//!
//! Owns which values a column can hold at all: a server refuses a whole statement for one that is no number.

use crate::base::record::{Column, Key, Letters, Table, Value};
use crate::engine::postgres::layout::quoted;
use crate::engine::postgres::records::value::{self, Kind};

/// Types without a notion of two values being equal, or with one of their size only: their text is compared.
const BY_TEXT: [&str; 8] = ["json", "xml", "point", "polygon", "box", "circle", "path", "line"];

/// The condition that columns hold one of some keys, an open end at a time.
pub struct Condition<'t> {
    table: &'t Table,
    by: &'t [usize],
    sql: String,
    count: usize,
}

impl<'t> Condition<'t> {
    /// `of` is put before every column.
    pub fn new(table: &'t Table, by: &'t [usize], of: &str) -> Self {
        let names: Vec<String> = by.iter().map(|&at| side(of, &table.columns[at])).collect();
        let sql = match &names[..] {
            [only] => format!("{only} IN ("),
            _ => format!("({}) IN (", names.join(", ")),
        };
        Self { table, by, sql, count: 0 }
    }

    /// Adds a key, unless no row can have it.
    pub fn add(&mut self, key: &Key) {
        let column = |at: &usize| &self.table.columns[*at];
        let literals = self.by.iter().zip(key).map(|(at, value)| literal(column(at), value));
        let Some(literals) = literals.collect::<Option<Vec<_>>>() else { return };
        if self.count > 0 {
            self.sql.push_str(", ");
        }
        match &literals[..] {
            [only] => self.sql.push_str(only),
            _ => self.sql.push_str(&format!("({})", literals.join(", "))),
        }
        self.count += 1;
    }

    pub fn length(&self) -> usize {
        self.sql.len()
    }

    /// `None` where there is nothing to look for.
    pub fn sql(self) -> Option<String> {
        (self.count > 0).then(|| format!("{})", self.sql))
    }
}

/// The condition that a row is the one of a key. It means the same under any path.
pub fn is_key(table: &Table, key: &[Value]) -> String {
    let is = |(&at, value): (&usize, &Value)| {
        let column = &table.columns[at];
        match literal(column, value) {
            Some(literal) => format!("{} OPERATOR(pg_catalog.=) {literal}", side("", column)),
            None if value.is_null() => format!("{} IS NULL", name(column)),
            None => "false".to_owned(),
        }
    };
    table.key.iter().zip(key).map(is).collect::<Vec<_>>().join(" AND ")
}

/// A column of `of` as it is compared. For a type of somebody's own an operator may be found by way of a cast, which is a
/// function of his: the text that the type itself writes is compared.
fn side(of: &str, column: &Column) -> String {
    if !is_own(column) {
        return format!("{of}{}", name(column));
    }
    let name = format!("{of}{}", quoted(&column.name));
    let written = format!("CASE WHEN {name} IS DISTINCT FROM NULL THEN pg_catalog.concat({name}) END");
    if column.letters == Letters::WithoutCase { format!("pg_catalog.lower({written})") } else { written }
}

/// Is its type somebody's own? Those of the server have no schema in their names.
pub fn is_own(column: &Column) -> bool {
    column.kind.contains('.')
}

/// The condition that two columns hold the same, each of the table it is put behind.
pub fn same((of, one): (&str, &Column), (with, other): (&str, &Column)) -> String {
    match is_own(one) || is_own(other) {
        true => format!("{} = {}", side(of, one), side(with, other)),
        false => format!("{of}{} = {with}{}", quoted(&one.name), quoted(&other.name)),
    }
}

/// A column as it is sorted by.
pub fn name(column: &Column) -> String {
    let kind = column.kind.split('[').next().unwrap_or_default();
    let text = if BY_TEXT.contains(&kind) { "::pg_catalog.text" } else { "" };
    format!("{}{text}", quoted(&column.name))
}

/// A value as a column is compared with it; `None` where the column cannot hold it.
fn literal(column: &Column, value: &Value) -> Option<String> {
    let kind = Kind::of(&column.kind);
    let number = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    // Without quotes a number is as long as it has to be, and not too long for the column.
    let whole = |number: i64| if number < 0 { format!("({number})") } else { number.to_string() };
    match (kind, value) {
        (_, Value::Null) => None,
        (Kind::Integer, Value::Integer(number)) => Some(whole(*number)),
        (Kind::Integer, Value::Real(real)) if real.fract() == 0.0 && real.abs() < 9e15 => Some(whole(*real as i64)),
        (Kind::Integer, Value::Text(text)) => number(text).map(whole),
        (Kind::Integer, _) => None,
        (Kind::Boolean, Value::Integer(0 | 1)) => Some(value::literal(kind, value)),
        (Kind::Boolean, _) => None,
        (Kind::Real | Kind::Numeric, Value::Text(text)) => {
            let is_number = std::str::from_utf8(text).is_ok_and(|text| text.parse::<f64>().is_ok());
            is_number.then(|| value::literal(kind, value))
        }
        (Kind::Real | Kind::Numeric, Value::Blob(_)) => None,
        (Kind::Bytes, Value::Blob(_)) => Some(value::literal(kind, value)),
        (Kind::Bytes, _) => None,
        (Kind::Text, Value::Blob(_)) => None,
        (Kind::Text, Value::Text(text)) if column.kind == "uuid" => {
            let digits = text.iter().filter(|byte| byte.is_ascii_hexdigit()).count();
            (digits == 32 && text.len() <= 38).then(|| value::literal(kind, value))
        }
        (Kind::Text, _) if column.kind == "uuid" => None,
        (Kind::Text, _) if is_own(column) && column.letters == Letters::WithoutCase => {
            Some(format!("pg_catalog.lower({})", value::literal(kind, value)))
        }
        (Kind::Text | Kind::Real | Kind::Numeric, _) => Some(value::literal(kind, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let column = |(name, kind): (&str, &str)| Column { name: name.into(), kind: kind.into(), ..Column::default() };
        let columns =
            [("id", "integer"), ("name", "text"), ("it", "json"), ("u", "uuid"), ("m", "app.mood")].map(column);
        Table { name: "t".into(), columns: columns.into(), key: vec![0, 1], ..Table::default() }
    }

    fn among(by: &[usize], keys: &[Key]) -> Option<String> {
        let table = table();
        let mut condition = Condition::new(&table, by, "");
        keys.iter().for_each(|key| condition.add(key));
        condition.sql()
    }

    #[test]
    fn what_a_column_cannot_hold_is_not_asked_for() {
        let keys =
            [vec![Value::Integer(5_000_000_000)], vec![Value::text("x")], vec![Value::text("-7")], vec![Value::Null]];
        assert_eq!(among(&[0], &keys).unwrap(), "\"id\" IN (5000000000, (-7))");
        assert_eq!(among(&[0], &keys[1..2]), None);
        assert_eq!(among(&[3], &[vec![Value::text("x")]]), None);
    }

    #[test]
    fn a_type_of_somebodys_own_is_compared_by_what_it_writes() {
        let written = "CASE WHEN \"m\" IS DISTINCT FROM NULL THEN pg_catalog.concat(\"m\") END";
        assert_eq!(among(&[4], &[vec![Value::text("sad")]]).unwrap(), format!("{written} IN ('sad')"));
        let table = Table { key: vec![4], ..table() };
        assert_eq!(is_key(&table, &[Value::text("sad")]), format!("{written} OPERATOR(pg_catalog.=) 'sad'"));
        let (id, m) = (&table.columns[0], &table.columns[4]);
        assert_eq!(same(("p.", id), ("c.", id)), "p.\"id\" = c.\"id\"");
        assert_eq!(same(("p.", m), ("c.", m)), format!("{} = {}", side("p.", m), side("c.", m)));
        let email = Column { kind: "public.citext".into(), letters: Letters::WithoutCase, ..m.clone() };
        assert_eq!(side("", &email), format!("pg_catalog.lower({written})"));
        assert_eq!(literal(&email, &Value::text("Ann")).unwrap(), "pg_catalog.lower('Ann')");
    }

    #[test]
    fn several_columns_are_compared_as_one_and_what_cannot_be_compared_by_its_text() {
        let keys = [vec![Value::Integer(1), Value::text("it's")]];
        assert_eq!(among(&[0, 1], &keys).unwrap(), "(\"id\", \"name\") IN ((1, 'it''s'))");
        assert_eq!(among(&[2], &[vec![Value::text("{}")]]).unwrap(), "\"it\"::pg_catalog.text IN ('{}')");
        assert_eq!(
            is_key(&table(), &keys[0]),
            "\"id\" OPERATOR(pg_catalog.=) 1 AND \"name\" OPERATOR(pg_catalog.=) 'it''s'"
        );
    }
}
