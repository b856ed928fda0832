//! When the server takes two values for the same, as far as that is known without asking it.
//!
//! Owns of which types equal values are written in one way only, or in ways that can be told here. Of any other it is not
//! guessed: their columns are loose.

use crate::base::record::{Letters, Numbers, Table};
use crate::engine::postgres::records::value::Kind;

/// Types whose values are equal if, and only if, they are written alike.
const EXACT: [&str; 40] = [
    "smallint",
    "integer",
    "bigint",
    "oid",
    "boolean",
    "text",
    "character varying",
    "character",
    "name",
    "\"char\"",
    "bytea",
    "uuid",
    "date",
    "timestamp without time zone",
    "timestamp with time zone",
    "time without time zone",
    "time with time zone",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "money",
    "bit",
    "bit varying",
    "xid",
    "xid8",
    "tid",
    "pg_lsn",
    "regclass",
    "regtype",
    "int4range",
    "int8range",
    "daterange",
    "tsrange",
    "tstzrange",
    "int4multirange",
    "int8multirange",
    "datemultirange",
    "tsmultirange",
    "tstzmultirange",
];

/// Which differences between texts do not count.
pub fn letters(kind: &str, ignores_case: bool) -> Letters {
    match plain(kind).as_str() {
        "character" => Letters::WithoutEnd,
        _ if ignores_case => Letters::WithoutCase,
        _ => Letters::AsWritten,
    }
}

pub fn numbers(kind: &str) -> Numbers {
    match Kind::of(kind) {
        Kind::Integer | Kind::Real | Kind::Numeric => Numbers::Decimal,
        Kind::Boolean | Kind::Bytes | Kind::Text => Numbers::AsWritten,
    }
}

/// May equal values of a type be written in ways that are not known here? A list is written as its values are.
pub fn is_loose(kind: &str) -> bool {
    let is_list = kind.ends_with("[]");
    let plain = plain(kind.trim_end_matches("[]"));
    let is_number = !is_list && matches!(plain.as_str(), "numeric" | "real" | "double precision");
    !is_number && !EXACT.contains(&plain.as_str())
}

/// May a value of one table be the same as one of another, that it refers to, in ways that are not known here? Values of
/// one type are compared as they are known to be; between two types the server may cast.
pub fn between((child, columns): (&Table, &[usize]), (parent, to): (&Table, &[usize])) -> bool {
    let mut pairs = columns.iter().zip(to).map(|(at, to)| (&child.columns[*at], &parent.columns[*to]));
    // Text of which letters do not count is compared without them.
    let is_known = |letters| letters == Letters::WithoutCase;
    pairs.any(|(one, other)| {
        let is_loose = (one.is_loose && !is_known(one.letters)) || (other.is_loose && !is_known(other.letters));
        is_loose || family(&one.kind) != family(&other.kind)
    })
}

/// Types between which equal values are known here.
fn family(kind: &str) -> String {
    match (Kind::of(kind), plain(kind)) {
        (Kind::Integer | Kind::Numeric, _) => "numbers".to_owned(),
        (_, plain) if ["text", "character varying", "name"].contains(&plain.as_str()) => "texts".to_owned(),
        (_, plain) => plain,
    }
}

/// A type without its length or scale.
fn plain(kind: &str) -> String {
    if kind.contains('.') {
        return kind.to_owned();
    }
    match (kind.find('('), kind.find(')')) {
        (Some(start), Some(end)) => format!("{}{}", &kind[..start], &kind[end + 1..]),
        _ => kind.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_type_that_is_not_known_to_be_written_in_one_way_nothing_is_guessed() {
        for kind in ["integer", "text", "character varying(10)", "uuid", "numeric(10,2)", "text[]", "double precision"]
        {
            assert!(!is_loose(kind), "{kind}");
        }
        for kind in ["timestamp(3) without time zone", "character(3)", "integer[]", "bit varying(3)", "daterange"] {
            assert!(!is_loose(kind), "{kind}");
        }
        for kind in
            ["interval", "interval(3)", "jsonb", "numeric[]", "numeric(3,1)[]", "numrange", "public.pair", "real[]"]
        {
            assert!(is_loose(kind), "{kind}");
        }
        assert_eq!(letters("character(3)", false), Letters::WithoutEnd);
        assert_eq!(letters("character varying(3)", false), Letters::AsWritten);
        assert_eq!(letters("public.citext", true), Letters::WithoutCase);
        assert_eq!(family("bigint"), family("numeric(10,2)"));
        assert_ne!(family("real"), family("numeric"));
        assert_ne!(family("date"), family("timestamp without time zone"));
    }
}
