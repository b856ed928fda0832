//! The order in which a server has the values of a key, by their texts in a file of rows.
//!
//! Owns of which types it is known here, and whether well enough to look a value up by it or only to go through files
//! that are sorted by it. Never guesses: of any other type there is no order.

use std::cmp::Ordering;

use crate::engine::sqlite::decimal::decimal;

/// How the values of a column of a key are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Numbers,
    Bytes,
    /// Digits, however many.
    Decimals,
    Reals,
    /// Days, and times of day.
    Moments,
    /// Texts filled up with blanks that do not count.
    Padded,
}

impl Order {
    /// Of a type as `format_type` writes it, where it is known well enough to leave out what cannot be meant; what is
    /// looked for there is the same to SQLite.
    pub fn of(kind: &str) -> Option<Self> {
        match kind {
            "smallint" | "integer" | "bigint" | "oid" => Some(Self::Numbers),
            // A UUID is written with small letters and lines at the same places.
            "text" | "character varying" | "uuid" => Some(Self::Bytes),
            _ if kind.starts_with("character varying(") && kind.ends_with(')') => Some(Self::Bytes),
            _ => None,
        }
    }

    /// Of a type where it is known well enough to go through two files side by side.
    pub fn of_sorted(kind: &str) -> Option<Self> {
        let base = kind.split('(').next().unwrap_or(kind);
        match base {
            _ if kind.ends_with(']') => None,
            "numeric" => Some(Self::Decimals),
            "real" | "double precision" => Some(Self::Reals),
            "date" | "timestamp" | "timestamp without time zone" | "timestamp with time zone" => Some(Self::Moments),
            "character" => Some(Self::Padded),
            // Each is written so that its bytes are in its order.
            "boolean" | "bytea" | "name" | "time" | "time without time zone" => Some(Self::Bytes),
            _ => Self::of(kind),
        }
    }

    /// A field's text as it is ordered.
    pub fn mark(self, text: &[u8]) -> Option<Mark> {
        let bytes = || Mark::Bytes(text.to_vec());
        let read = || std::str::from_utf8(text).ok();
        Some(match self {
            Self::Numbers => Mark::Number(read()?.parse().ok()?),
            Self::Bytes => bytes(),
            Self::Decimals => Mark::Decimal(Decimal(read()?.to_owned())),
            Self::Reals => read()?.parse().map_or_else(|_| bytes(), |number| Mark::Number(real(number))),
            Self::Moments => read().and_then(moment).unwrap_or_else(bytes),
            Self::Padded => Mark::Bytes(unpadded(text).to_vec()),
        })
    }
}

/// A value of a key where it is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    Number(i64),
    Decimal(Decimal),
    Bytes(Vec<u8>),
}

/// Digits that are equal to others of the same number.
#[derive(Clone, Debug)]
pub struct Decimal(String);

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        decimal(&self.0, &other.0)
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

/// A number of the machine's, as a whole one in the same order: what is no number comes last, as the server has it.
fn real(number: f64) -> i64 {
    if number.is_nan() {
        return i64::MAX;
    }
    // Nothing is the same with either sign.
    let bits = (number + 0.0).to_bits() as i64;
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

fn unpadded(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' '] = text {
        text = rest;
    }
    text
}

/// A day, or a day and a time in UTC, as bytes in the order of time.
fn moment(text: &str) -> Option<Mark> {
    let mark = |day: i64, microseconds: u64| {
        let day = (day as u64) ^ (1 << 63);
        Mark::Bytes([day.to_be_bytes(), microseconds.to_be_bytes()].concat())
    };
    match text {
        "infinity" => return Some(mark(i64::MAX, 0)),
        "-infinity" => return Some(mark(i64::MIN, 0)),
        _ => {}
    }
    let (text, before_christ) = text.strip_suffix(" BC").map_or((text, false), |text| (text, true));
    let (day, time) = text.split_once(' ').unwrap_or((text, ""));
    let mut parts = day.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let year = if before_christ { 1 - year } else { year };
    let time = time.strip_suffix("+00").unwrap_or(time);
    let (whole, part) = time.split_once('.').unwrap_or((time, ""));
    let mut seconds = 0;
    for number in whole.split(':').filter(|number| !number.is_empty()) {
        seconds = seconds * 60 + number.parse::<u64>().ok()?;
    }
    let part = format!("{part:0<6}").parse::<u64>().ok()?;
    Some(mark((year * 16 + month) * 32 + day, seconds * 1_000_000 + part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_type_that_is_gone_through_sorted_are_in_the_order_of_the_server() {
        // Each line as `ORDER BY` has it.
        let ascending: [(&str, &[&str]); 9] = [
            ("numeric(10,2)", &["-Infinity", "-10.5", "-2", "0", "1.50", "10", "Infinity", "NaN"]),
            ("double precision", &["-Infinity", "-1e+300", "-2.5", "-1e-300", "0", "1e-300", "3", "Infinity", "NaN"]),
            (
                "date",
                &["-infinity", "4713-01-01 BC", "0044-03-15 BC", "0001-01-01", "2024-02-29", "10000-01-01", "infinity"],
            ),
            (
                "timestamp(3) without time zone",
                &["0044-03-15 12:00:00 BC", "2024-01-01 00:00:00", "2024-01-01 00:00:00.5", "2024-01-01 00:00:01"],
            ),
            (
                "timestamp with time zone",
                &["2024-01-01 00:00:00.25+00", "2024-01-01 00:00:00.3+00", "2024-01-02 00:00:00+00"],
            ),
            ("character(4)", &["a   ", "a\u{1}  ", "ab  "]),
            ("boolean", &["f", "t"]),
            ("bytea", &["\\x", "\\x00", "\\x00ff", "\\x01"]),
            ("time without time zone", &["00:00:00", "00:00:00.5", "00:00:01", "24:00:00"]),
        ];
        for (kind, texts) in ascending {
            let order = Order::of_sorted(kind).expect("a known type");
            let marks: Vec<Mark> = texts.iter().map(|text| order.mark(text.as_bytes()).expect("a value")).collect();
            assert!(marks.is_sorted_by(|one, other| one < other), "{kind}: {marks:?}");
        }
        assert_eq!(Order::Decimals.mark(b"1.0"), Order::Decimals.mark(b"1.00"));
        assert_eq!(Order::Reals.mark(b"-0"), Order::Reals.mark(b"0"));
        for unknown in ["jsonb", "app.mood", "numeric[]", "timestamp without time zone[]", "citext"] {
            assert_eq!(Order::of_sorted(unknown), None, "{unknown}");
        }
        assert_eq!(Order::of("numeric"), None, "what is looked for is compared as it is written");
    }
}
