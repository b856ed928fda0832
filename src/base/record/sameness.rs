//! When a store takes two values for the same, though it keeps them in different ways.
//!
//! Owns the form in which values of a column are compared: values are the same to a reference if their forms are equal.
//! What only the store itself can tell is marked (`Column::is_loose`), never guessed.

use crate::base::record::{Column, Row, Table, Value, plain};

/// Which differences between texts do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Letters {
    #[default]
    AsWritten,
    /// Small and capital letters are the same.
    WithoutCase,
    /// Spaces at the end are ignored.
    WithoutEnd,
}

/// How numbers and text that reads as one compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numbers {
    #[default]
    AsWritten,
    /// A number is the text that the store writes of it.
    Text,
    /// A number of the machine's: whole ones of 64 bits, others rounded.
    Machine,
    /// Digits, however many.
    Decimal,
}

impl Letters {
    fn form(self, mut text: Vec<u8>) -> Vec<u8> {
        match self {
            Self::AsWritten => {}
            Self::WithoutCase => text.make_ascii_lowercase(),
            // Only spaces: a tab at the end counts.
            Self::WithoutEnd => text.truncate(text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1)),
        }
        text
    }
}

impl Column {
    /// A value as this column compares it with what refers to it.
    pub fn form(&self, value: &Value) -> Value {
        let number = match (self.numbers, value) {
            (Numbers::Machine, Value::Text(text)) => machine(text),
            (Numbers::Machine | Numbers::AsWritten, Value::Real(0.0)) => Some(Value::Integer(0)),
            // Larger ones are written otherwise.
            (Numbers::Text, Value::Real(number)) if number.abs() < 1e15 => Some(Value::text(&format!("{number:?}"))),
            (Numbers::Decimal, Value::Text(text)) => std::str::from_utf8(text).ok().and_then(decimal),
            (Numbers::Decimal, Value::Real(number)) => decimal(&format!("{number:?}")),
            _ => None,
        };
        let [form] = &plain(&[number.unwrap_or_else(|| value.clone())])[..] else { unreachable!("BUG: one for one") };
        match form {
            Value::Text(text) => Value::Text(self.letters.form(text.clone())),
            other => other.clone(),
        }
    }
}

impl Table {
    /// Values of some columns as these compare them.
    pub fn forms(&self, columns: &[usize], values: &[Value]) -> Row {
        columns.iter().zip(values).map(|(at, value)| self.columns[*at].form(value)).collect()
    }

    /// May values of these columns be the same in ways that only the store knows?
    pub fn is_loose(&self, columns: &[usize]) -> bool {
        columns.iter().any(|at| self.columns[*at].is_loose)
    }

    /// The same table, with these columns compared as those that they refer to are. Where the store itself looks after the
    /// reference, text is read as a number too if that is what it refers to.
    pub fn referring(&self, columns: &[usize], to: &Table, to_columns: &[usize], is_declared: bool) -> Self {
        let mut table = self.clone();
        for (at, to_at) in columns.iter().zip(to_columns) {
            let (own, theirs) = (&mut table.columns[*at], &to.columns[*to_at]);
            if theirs.letters != Letters::AsWritten {
                own.letters = theirs.letters;
            }
            if is_declared && theirs.numbers != Numbers::AsWritten {
                own.numbers = theirs.numbers;
            }
        }
        table
    }
}

/// A text as a number of the machine's, if all of it but for blanks around is one.
fn machine(text: &[u8]) -> Option<Value> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_blank(byte))?;
    let end = text.iter().rposition(|byte| !is_blank(byte))? + 1;
    let text = std::str::from_utf8(&text[start..end]).ok()?;
    let (_, whole, part, exponent) = digits(text)?;
    if part.is_none()
        && exponent.is_none()
        && !whole.is_empty()
        && let Ok(number) = text.parse()
    {
        return Some(Value::Integer(number));
    }
    let number: f64 = text.parse().ok()?;
    Some(if number == 0.0 { Value::Integer(0) } else { Value::Real(number) })
}

/// A number without what does not change it: zeros in front and behind, an exponent, the sign of nothing.
fn decimal(text: &str) -> Option<Value> {
    let (negative, whole, part, exponent) = digits(text)?;
    let exponent: i32 = exponent.map_or(Some(0), |exponent| exponent.parse().ok())?;
    // Only numbers of the machine's are written with one.
    let exponent = Some(exponent).filter(|exponent| exponent.abs() < 1000)?;
    let part = part.unwrap_or_default();
    let all = format!("{whole}{part}");
    let point = whole.len() as i32 + exponent;
    let (whole, part) = match usize::try_from(point) {
        Ok(point) if point <= all.len() => (all[..point].to_owned(), all[point..].to_owned()),
        Ok(point) => (format!("{all:0<point$}"), String::new()),
        Err(_) => (String::new(), format!("{}{all}", "0".repeat(point.unsigned_abs() as usize))),
    };
    let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if negative && !(whole == "0" && part.is_empty()) { "-" } else { "" };
    let dot = if part.is_empty() { "" } else { "." };
    Some(Value::text(&format!("{sign}{whole}{dot}{part}")))
}

/// The parts of a number: whether it is below zero, digits before the point, behind it, and the exponent.
fn digits(text: &str) -> Option<(bool, &str, Option<&str>, Option<&str>)> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) =
        unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let (whole, part) = mantissa.split_once('.').map_or((mantissa, None), |(whole, part)| (whole, Some(part)));
    let all = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_exponent = |text: &str| {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        !digits.is_empty() && all(digits)
    };
    let is_number = all(whole) && part.is_none_or(all) && exponent.is_none_or(is_exponent);
    let has_digits = !whole.is_empty() || part.is_some_and(|part| !part.is_empty());
    (is_number && has_digits).then_some((text.starts_with('-'), whole, part, exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(column: &Column, values: &[Value]) -> bool {
        values.windows(2).all(|two| column.form(&two[0]) == column.form(&two[1]))
    }

    #[test]
    fn numbers_are_the_same_however_they_are_written_where_the_column_reads_them() {
        let machine = Column { numbers: Numbers::Machine, ..Column::default() };
        let texts = ["17", "017", " 17", "17.0\n", "1.7e1", "+17", "170E-1", "17."].map(Value::text);
        let all: Vec<Value> = texts.into_iter().chain([Value::Integer(17), Value::Real(17.0)]).collect();
        assert!(same(&machine, &all));
        assert!(same(&machine, &[Value::Real(1.5), Value::text("1.50"), Value::text("+1.5")]));
        assert!(same(&machine, &[Value::Real(-0.0), Value::Integer(0), Value::text("-0")]));
        for other in ["17x", "1 7", "0x11", "", "1e", "\u{a0}17", "17\0"].map(Value::text) {
            assert_ne!(machine.form(&other), machine.form(&Value::Integer(17)), "{other}");
        }
        let (large, next) = (9_007_199_254_740_993, 9_007_199_254_740_992_f64);
        assert!(same(&machine, &[Value::Integer(large), Value::text("9007199254740993")]));
        assert_ne!(machine.form(&Value::Integer(large)), machine.form(&Value::Real(next)));
        let decimal = Column { numbers: Numbers::Decimal, ..Column::default() };
        assert!(same(&decimal, &[Value::text("2.00"), Value::text("2"), Value::Integer(2), Value::Real(2.0)]));
        assert!(same(&decimal, &[Value::text("0.50"), Value::text(".5"), Value::Real(0.5)]));
        assert!(same(&decimal, &[Value::Real(1.5e30), Value::text("1500000000000000000000000000000.0")]));
        assert!(same(&decimal, &[Value::Real(2.5e-7), Value::text("0.00000025")]));
        let long = ["0.10000000000000000001", "0.1"].map(Value::text);
        assert!(!same(&decimal, &long), "digits are not rounded");
        assert_eq!(decimal.form(&Value::text("NaN")), Value::text("NaN"));
        // Elsewhere text is text.
        assert!(!same(&Column::default(), &["17", "017"].map(Value::text)));
    }

    #[test]
    fn letters_are_compared_as_the_column_compares_them() {
        let column = |letters| Column { letters, ..Column::default() };
        assert!(same(&column(Letters::WithoutCase), &["Ab", "aB"].map(Value::text)));
        assert!(same(&column(Letters::WithoutEnd), &["ab", "ab  ", "ab "].map(Value::text)));
        assert!(!same(&column(Letters::WithoutEnd), &["ab", "ab\t"].map(Value::text)));
        assert!(!same(&column(Letters::AsWritten), &["ab", "AB"].map(Value::text)));
    }
}
