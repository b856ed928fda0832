//! Values in columns that are of another type than they were.
//!
//! Owns when a value is still the same: the server casts it, and what comes of that must mean what it meant.

use crate::base::record::{Table, Value};
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::records::live::Live;
use crate::engine::postgres::records::value::{Kind, literal, text_of, typed_literal};

impl Live {
    pub(super) fn convert(&self, table: &Table, column: usize, value: &Value) -> Result<Value, String> {
        let kind = &table.columns[column].kind;
        if let Some(same) = without_asking(kind, value) {
            return Ok(same);
        }
        let refused = |why: &str| format!("{value} is no {kind}: {why}");
        let own = own_kind(value);
        let given = literal(Kind::of(own), value);
        let there = typed_literal(kind, &Value::Text(Kind::of(kind).text(value).unwrap_or_default().into_owned()));
        // What the column would cut off or round is not the same.
        let kept = if has_own_name(kind) { there.clone() } else { format!("({there})::{kind}") };
        let same = same(kind, own, &given, &kept);
        let made = self.tried(&format!("CASE WHEN {same} THEN {} END", text_of(kind, &there)));
        let why = |error: PostgresError| match error {
            PostgresError::Server { reason, .. } => reason,
            other => other.to_string(),
        };
        match made.map_err(|error| refused(&why(error)))? {
            Some(text) if Kind::of(kind) == Kind::Boolean => Ok(Kind::Boolean.value(&text.as_bytes()[..1])),
            Some(text) => Ok(Kind::of(kind).value(text.as_bytes())),
            None => Err(refused("it would not be the same")),
        }
    }
}

/// Is it a type of somebody's own? Between those, a cast may be a function of his.
fn has_own_name(kind: &str) -> bool {
    kind.contains('.')
}

/// What a value is as it stands there.
fn own_kind(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "bigint",
        Value::Real(_) => "double precision",
        Value::Blob(_) => "bytea",
        Value::Null | Value::Text(_) => "text",
    }
}

/// The condition that what was given means the same there. Times may be written with a zone or without, numbers with
/// more digits behind the point.
fn same(kind: &str, own: &str, given: &str, there: &str) -> String {
    let as_both = |middle: &str| format!("({given})::{middle} = ({there})::{middle}");
    let base = kind.split(['(', '[']).next().unwrap_or(kind).trim();
    match base {
        "smallint" | "integer" | "bigint" | "oid" | "numeric" => as_both("numeric"),
        "real" | "double precision" => as_both("double precision"),
        "date" => as_both("timestamp with time zone"),
        _ if base.starts_with("timestamp") => as_both("timestamp with time zone"),
        "jsonb" | "json" => as_both("jsonb"),
        "uuid" => format!("lower({given}) = ({there})::text"),
        _ => format!("{} = {}", text_of(own, &format!("{given}::{own}")), text_of(kind, there)),
    }
}

/// What needs no server: the value as it is.
fn without_asking(kind: &str, value: &Value) -> Option<Value> {
    let fits = match (kind, value) {
        (_, Value::Null) => true,
        ("text" | "character varying", Value::Text(_)) => true,
        ("bigint", Value::Integer(_)) => true,
        ("integer", Value::Integer(number)) => i32::try_from(*number).is_ok(),
        ("smallint", Value::Integer(number)) => i16::try_from(*number).is_ok(),
        ("bytea", Value::Blob(_)) => true,
        ("double precision", Value::Real(_)) => true,
        (kind, Value::Text(text)) => {
            let length = kind.strip_prefix("character varying(").and_then(|rest| rest.strip_suffix(')'));
            let length = length.and_then(|length| length.parse::<usize>().ok());
            length.zip(std::str::from_utf8(text).ok()).is_some_and(|(length, text)| text.chars().count() <= length)
        }
        _ => false,
    };
    fits.then(|| value.clone())
}
