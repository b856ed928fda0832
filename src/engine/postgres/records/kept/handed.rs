//! Conditions of SQLite's, in the words of a server.
//!
//! Owns which of them are handed on: those for which no row is left out that SQLite would take. Never asks what a column
//! cannot be compared with, for the server would refuse all of it.

use crate::base::record::{Column, Letters, Value};
use crate::engine::postgres::layout::literal;
use crate::engine::postgres::records::kept::order::Order;
use crate::engine::postgres::records::kept::shown::as_kept;
use crate::engine::postgres::records::value::{Kind, uuid};
use crate::engine::sqlite::vtab::{Comparison, Condition};

/// A condition longer than this is left to SQLite.
const LONGEST: usize = 1 << 20;
/// What no row fulfils.
const NEVER: &str = "false";

/// How values of a column are compared, here and there alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alike {
    Numbers,
    Texts,
    Uuids,
}

/// A value in the server's words.
enum Given {
    Literal(String),
    /// No column of this type holds it.
    Nowhere,
    Unknown,
}

impl Alike {
    pub fn of(column: &Column) -> Option<Self> {
        match (Order::of(&column.kind)?, &*column.kind) {
            // There a number below zero would mean one of the largest.
            (_, "oid") => None,
            (_, "uuid") => Some(Self::Uuids),
            (Order::Numbers, _) => Some(Self::Numbers),
            (Order::Bytes, _) if column.letters == Letters::AsWritten && !column.is_loose => Some(Self::Texts),
            _ => None,
        }
    }

    fn type_name(self) -> &'static str {
        match self {
            Self::Numbers => "bigint",
            Self::Texts => "text",
            Self::Uuids => "uuid",
        }
    }

    fn given(self, value: &Value, is_unicode: bool) -> Given {
        let kind = if self == Self::Numbers { Kind::Integer } else { Kind::Text };
        let Some(text) = as_kept(kind, value) else { return Given::Unknown };
        let is_uuid = || uuid(value) == *value && text.len() == 36;
        match std::str::from_utf8(&text) {
            _ if self == Self::Uuids && !is_uuid() => Given::Nowhere,
            _ if text.contains(&0) => Given::Nowhere,
            Ok(text) if is_unicode || text.is_ascii() => Given::Literal(literal(text)),
            _ => Given::Unknown,
        }
    }

    /// The condition on a column, which is named once to be equal to something and once to be more or less. Nothing
    /// where it is left to SQLite.
    pub fn sql(self, [name, sorted]: [&str; 2], condition: &Condition, is_unicode: bool) -> Option<String> {
        let (kind, mut given) = (self.type_name(), Vec::new());
        for value in &condition.values {
            match self.given(value, is_unicode) {
                Given::Literal(literal) => given.push(literal),
                Given::Nowhere if condition.comparison == Comparison::Equal => {}
                Given::Nowhere | Given::Unknown => return None,
            }
        }
        let sign = match condition.comparison {
            Comparison::Equal => "=",
            Comparison::Below => "<",
            Comparison::AtMost => "<=",
            Comparison::Above => ">",
            Comparison::AtLeast => ">=",
        };
        let sql = match (&given[..], condition.comparison) {
            ([], _) => NEVER.to_owned(),
            ([one], Comparison::Equal) => format!("{name} = {one}::{kind}"),
            ([one], _) => format!("{sorted} {sign} {one}::{kind}"),
            (several, _) => format!("{name} = ANY (ARRAY[{}]::{kind}[])", several.join(", ")),
        };
        (sql.len() <= LONGEST).then_some(sql)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(kind: &str, comparison: Comparison, values: &[Value]) -> Option<String> {
        let column = Column { name: "c".into(), kind: kind.into(), ..Column::default() };
        let condition = Condition { column: 0, comparison, values: values.to_vec() };
        Alike::of(&column)?.sql(["c", "c COLLATE \"C\""], &condition, true)
    }

    #[test]
    fn what_a_server_would_refuse_or_take_for_something_else_is_not_handed_on() {
        let equal = |kind: &str, values: &[Value]| sql(kind, Comparison::Equal, values);
        assert_eq!(equal("integer", &[Value::Integer(5_000_000_000)]).unwrap(), "c = '5000000000'::bigint");
        assert_eq!(equal("integer", &[Value::Real(2.5)]), None);
        assert_eq!(equal("bigint", &[Value::text("x"), Value::Integer(1)]), None);
        assert_eq!(equal("smallint", &[1, -2].map(Value::Integer)).unwrap(), "c = ANY (ARRAY['1', '-2']::bigint[])");
        assert_eq!(equal("text", &[Value::text("it's")]).unwrap(), "c = 'it''s'::text");
        assert_eq!(equal("text", &[Value::text("a\0b")]).unwrap(), NEVER);
        assert_eq!(equal("text", &[Value::Text(vec![0xff])]), None);
        assert_eq!(equal("text", &[Value::text(&"x".repeat(LONGEST))]), None);
        let known = Value::text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
        assert_eq!(
            equal("uuid", &[known, Value::text("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"), Value::text("x")]).unwrap(),
            "c = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid"
        );
        assert_eq!(equal("uuid", &[Value::text("x")]).unwrap(), NEVER);
        assert_eq!(sql("uuid", Comparison::Above, &[Value::text("x")]), None);
        assert_eq!(sql("text", Comparison::AtMost, &[Value::text("x")]).unwrap(), "c COLLATE \"C\" <= 'x'::text");
        for kind in ["oid", "numeric", "date", "boolean", "character(3)", "app.mood"] {
            assert_eq!(equal(kind, &[Value::Integer(1)]), None, "{kind}");
        }
    }

    #[test]
    fn a_server_that_may_lack_a_letter_is_asked_without_it() {
        let condition = Condition { column: 0, comparison: Comparison::Equal, values: vec![Value::text("é")] };
        assert_eq!(Alike::Texts.sql(["c", "c"], &condition, false), None);
        assert!(Alike::Texts.sql(["c", "c"], &condition, true).is_some());
    }
}
