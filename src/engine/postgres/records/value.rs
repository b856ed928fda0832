//! A field as PostgreSQL writes it, as a value, and back.
//!
//! Owns which types are numbers and bytes; every other is text, exactly as the server writes it with what is pinned
//! while rows are read (`moment.rs`). Never rounds: what does not come back the same is kept as text.

use std::borrow::Cow;

use crate::base::record::Value;

/// What a column's fields are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Integer,
    /// 1 and 0, as SQL elsewhere has it.
    Boolean,
    /// Not-a-number and the infinities are text.
    Real,
    Bytes,
    /// Text of digits, which compares as a number.
    Numeric,
    Text,
}

impl Kind {
    /// Of a type as `format_type` writes it, of a domain's its base type.
    pub fn of(kind: &str) -> Self {
        match kind {
            "smallint" | "integer" | "bigint" | "oid" => Self::Integer,
            "boolean" => Self::Boolean,
            "real" | "double precision" => Self::Real,
            "bytea" => Self::Bytes,
            "numeric" => Self::Numeric,
            _ if kind.starts_with("numeric(") && kind.ends_with(')') => Self::Numeric,
            _ => Self::Text,
        }
    }

    /// A field's text, as a value. What the type would not write stays text.
    pub fn value(self, text: &[u8]) -> Value {
        let read = || std::str::from_utf8(text).ok();
        let value = match self {
            Self::Integer => read().and_then(|text| text.parse().ok()).map(Value::Integer),
            Self::Boolean => match text {
                b"t" => Some(Value::Integer(1)),
                b"f" => Some(Value::Integer(0)),
                _ => None,
            },
            // Rust reads `NaN` and `Infinity` too; SQLite makes nothing of the first.
            Self::Real => {
                read().and_then(|text| text.parse().ok()).filter(|number: &f64| number.is_finite()).map(Value::Real)
            }
            Self::Bytes => text.strip_prefix(b"\\x").and_then(|digits| hex::decode(digits).ok()).map(Value::Blob),
            Self::Numeric | Self::Text => None,
        };
        value.unwrap_or_else(|| Value::Text(text.to_vec()))
    }

    /// A value as the type's text; none for an empty one.
    pub fn text(self, value: &Value) -> Option<Cow<'_, [u8]>> {
        Some(match value {
            Value::Null => return None,
            Value::Integer(1) if self == Self::Boolean => Cow::Borrowed(b"t"),
            Value::Integer(0) if self == Self::Boolean => Cow::Borrowed(b"f"),
            Value::Integer(number) => Cow::Owned(number.to_string().into_bytes()),
            Value::Real(number) => Cow::Owned(format!("{number:?}").into_bytes()),
            Value::Text(bytes) => Cow::Borrowed(bytes),
            Value::Blob(bytes) => Cow::Owned(format!("\\x{}", hex::encode(bytes)).into_bytes()),
        })
    }
}

/// A value as SQL takes it where the type is known from what stands around it.
pub fn literal(kind: Kind, value: &Value) -> String {
    let Some(text) = kind.text(value) else { return "NULL".to_owned() };
    match std::str::from_utf8(&text) {
        Ok(text) => crate::engine::postgres::layout::literal(text),
        // A server that does not know what its texts are written in takes any byte.
        Err(_) => {
            let byte = |byte: &u8| match byte {
                b' '..=b'~' if !b"'\\".contains(byte) => char::from(*byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            };
            format!("E'{}'", text.iter().map(byte).collect::<String>())
        }
    }
}

/// The same as people write it: numbers and truth without quotes.
pub fn plain_literal(kind: Kind, value: &Value) -> String {
    match (kind, value) {
        (Kind::Integer, Value::Integer(number)) => number.to_string(),
        (Kind::Boolean, Value::Integer(number @ (0 | 1))) => (*number == 1).to_string(),
        (Kind::Real, Value::Real(number)) => format!("{number:?}"),
        (Kind::Numeric, Value::Text(digits)) if digits.iter().all(|byte| b"-.0123456789".contains(byte)) => {
            String::from_utf8_lossy(digits).into_owned()
        }
        (Kind::Bytes, Value::Blob(bytes)) => format!("'\\x{}'", hex::encode(bytes)),
        _ => literal(kind, value),
    }
}

/// The same where nothing else tells its type: `kind` as `format_type` writes it.
pub fn typed_literal(kind: &str, value: &Value) -> String {
    format!("{}::{}", literal(Kind::of(kind), value), without_length(kind))
}

/// The text of an expression of a type. One of somebody's own may have a cast to text, which is a function of his: what the type
/// itself writes is asked for then.
pub fn text_of(kind: &str, expression: &str) -> String {
    match kind.contains('.') {
        true => format!("pg_catalog.concat({expression})"),
        false => format!("({expression})::pg_catalog.text"),
    }
}

/// A type without its length or scale: a cast to one cuts values off, or rounds them.
fn without_length(kind: &str) -> String {
    let (mut name, mut depth, mut quoted) = (String::new(), 0, false);
    for letter in kind.chars() {
        quoted ^= letter == '"';
        match letter {
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ if depth == 0 => name.push(letter),
            _ => {}
        }
    }
    // Without a length these two mean one of 1.
    for (short, whole) in [("character", "pg_catalog.bpchar"), ("bit", "pg_catalog.\"bit\"")] {
        if let Some(rest) = name.strip_prefix(short).filter(|rest| rest.is_empty() || rest.starts_with('[')) {
            return format!("{whole}{rest}");
        }
    }
    name
}

/// A uuid as the server writes it: it reads capital letters, braces, and hyphens elsewhere or nowhere.
pub fn uuid(value: &Value) -> Value {
    let Value::Text(bytes) = value else { return value.clone() };
    let inner = bytes.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")).unwrap_or(bytes);
    let digits: Vec<u8> = inner.iter().filter(|byte| **byte != b'-').map(u8::to_ascii_lowercase).collect();
    if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return value.clone();
    }
    Value::Text([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join(&b'-'))
}

/// A field of a row that COPY wrote, as text; none for an empty one.
pub fn unescaped(field: &[u8]) -> Option<Cow<'_, [u8]>> {
    if field == b"\\N" {
        return None;
    }
    let Some(first) = memchr::memchr(b'\\', field) else { return Some(Cow::Borrowed(field)) };
    let mut text = Vec::with_capacity(field.len());
    text.extend_from_slice(&field[..first]);
    let mut rest = &field[first..];
    while let [b'\\', letter, behind @ ..] = rest {
        text.push(match letter {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            other => *other,
        });
        let next = memchr::memchr(b'\\', behind).unwrap_or(behind.len());
        text.extend_from_slice(&behind[..next]);
        rest = &behind[next..];
    }
    text.extend_from_slice(rest);
    Some(Cow::Owned(text))
}

/// A text as COPY writes it.
pub fn escaped(text: Option<&[u8]>) -> Vec<u8> {
    let Some(text) = text else { return b"\\N".to_vec() };
    let mut field = Vec::with_capacity(text.len());
    for &byte in text {
        let letter = match byte {
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x0b => b'v',
            b'\\' => b'\\',
            _ => {
                field.push(byte);
                continue;
            }
        };
        field.extend_from_slice(&[b'\\', letter]);
    }
    field
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A type, and a value that a column of it may hold.
    fn held() -> impl Strategy<Value = (&'static str, Value)> {
        let number = any::<u64>().prop_map(f64::from_bits).prop_filter("a number", |number| number.is_finite());
        prop_oneof![
            any::<i64>().prop_map(|number| ("bigint", Value::Integer(number))),
            any::<bool>().prop_map(|is| ("boolean", Value::Integer(is.into()))),
            number.prop_map(|number| ("double precision", Value::Real(number))),
            any::<f32>().prop_filter("a number", |number| number.is_finite()).prop_map(|number| {
                // As the server writes the shorter of the two kinds: the fewest digits that tell it from others.
                ("real", Value::Real(format!("{number:?}").parse().unwrap()))
            }),
            Just(("real", Value::text("-Infinity"))),
            Just(("double precision", Value::text("NaN"))),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| ("bytea", Value::Blob(bytes))),
            "-?[0-9]{1,40}(\\.[0-9]{1,40})?".prop_map(|digits| ("numeric(50,2)", Value::text(&digits))),
            proptest::collection::vec(1u8.., 0..40).prop_map(|bytes| ("text", Value::Text(bytes))),
            "[^\0]*".prop_map(|text| ("app.mood[]", Value::text(&text))),
            Just(("integer", Value::Null)),
        ]
    }

    proptest! {
        #[test]
        fn a_value_is_the_same_after_a_field_of_a_row((kind, value) in held()) {
            let kind = Kind::of(kind);
            let field = escaped(kind.text(&value).as_deref());
            prop_assert!(!field.contains(&b'\t') && !field.contains(&b'\n'));
            let read = unescaped(&field).map_or(Value::Null, |text| kind.value(&text));
            prop_assert_eq!(read, value);
        }
    }

    #[test]
    fn a_field_is_read_as_its_type_has_it() {
        let value = |kind: &str, field: &[u8]| Kind::of(kind).value(&unescaped(field).unwrap());
        assert_eq!(value("oid", b"4294967295"), Value::Integer(u32::MAX.into()));
        assert_eq!(value("boolean", b"t"), Value::Integer(1));
        assert_eq!(value("real", b"0.14285715"), Value::Real(0.14285715));
        assert_eq!(value("double precision", b"1e+300"), Value::Real(1e300));
        assert_eq!(value("double precision", b"Infinity"), Value::text("Infinity"));
        assert_eq!(value("bytea", b"\\\\x00ff"), Value::Blob(vec![0, 255]));
        assert_eq!(value("numeric", b"1.50"), Value::text("1.50"));
        assert_eq!(value("text", b"a\\tb\\\\N"), Value::text("a\tb\\N"));
        assert_eq!(value("timestamp with time zone", b"2020-01-01 00:00:00+00"), Value::text("2020-01-01 00:00:00+00"));
        assert!(unescaped(b"\\N").is_none());
    }

    #[test]
    fn a_uuid_is_the_same_however_it_is_written() {
        let written = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        for text in [written, "A0EEBC999C0B4EF8BB6D6BB9BD380A11", "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}"] {
            assert_eq!(uuid(&Value::text(text)), Value::text(written));
        }
        for other in [Value::text("a0eebc99"), Value::text("x0eebc999c0b4ef8bb6d6bb9bd380a11"), Value::Integer(7)] {
            assert_eq!(uuid(&other), other);
        }
    }

    #[test]
    fn a_literal_is_what_the_server_reads_as_the_same_value() {
        assert_eq!(literal(Kind::Integer, &Value::Integer(-5)), "'-5'");
        assert_eq!(literal(Kind::Boolean, &Value::Integer(0)), "'f'");
        assert_eq!(literal(Kind::Bytes, &Value::Blob(vec![0, 255])), "E'\\\\x00ff'");
        assert_eq!(literal(Kind::Text, &Value::text("it's")), "'it''s'");
        assert_eq!(literal(Kind::Text, &Value::Text(vec![b'a', 0xff, b'\''])), "E'a\\xff\\x27'");
        assert_eq!(literal(Kind::Text, &Value::Null), "NULL");
        assert_eq!(text_of("app.mood", "a"), "pg_catalog.concat(a)");
        assert_eq!(text_of("numeric(10,2)", "a"), "(a)::pg_catalog.text");
        let typed = |kind| typed_literal(kind, &Value::text("x"));
        assert_eq!(typed("character varying(10)[]"), "'x'::character varying[]");
        assert_eq!(typed("character(3)"), "'x'::pg_catalog.bpchar");
        assert_eq!(typed("bit(3)"), "'x'::pg_catalog.\"bit\"");
        assert_eq!(typed("bit varying(3)"), "'x'::bit varying");
        assert_eq!(typed("timestamp(3) without time zone"), "'x'::timestamp without time zone");
        assert_eq!(typed("app.\"odd(name)\""), "'x'::app.\"odd(name)\"");
    }
}
