//! Single values: what can be told of one, and of two beside each other.

use crate::base::record::{Value, plain};
use crate::record::plan::Glimpse;

pub(super) fn is_null(value: &Glimpse) -> bool {
    *value == Glimpse::Value(Value::Null)
}

/// Is the value what a schema writes like this?
pub(super) fn is_written(value: &Glimpse, text: &str) -> bool {
    let held = match value {
        Glimpse::Value(Value::Text(bytes)) => format!("'{}'", String::from_utf8_lossy(bytes)),
        Glimpse::Value(value) => value.to_string(),
        Glimpse::Long { .. } => return false,
    };
    held.eq_ignore_ascii_case(text)
}

/// The same as references compare it: letters of another case and numbers kept as text are no difference.
pub(super) fn alike(one: &Glimpse, other: &Glimpse) -> bool {
    let plain = |value: &Glimpse| match value {
        Glimpse::Value(value) => Some(plain(std::slice::from_ref(value))),
        Glimpse::Long { .. } => None,
    };
    one == other || (plain(one).is_some() && plain(one) == plain(other)) || lowered(one) == lowered(other)
}

pub(super) fn lowered(value: &Glimpse) -> Glimpse {
    match value {
        Glimpse::Value(value) => Glimpse::Value(value.clone().lowered()),
        long => long.clone(),
    }
}

/// A UUID, or bytes of that length; not the one that stands for none.
pub(super) fn is_random(value: &Glimpse) -> bool {
    match value {
        Glimpse::Value(Value::Text(text)) => {
            let dashes = [8, 13, 18, 23].iter().all(|at| text.get(*at) == Some(&b'-'));
            let rest = text.iter().filter(|letter| letter.is_ascii_hexdigit()).count();
            let is_nil = text.iter().all(|letter| b"0-".contains(letter));
            text.len() == 36 && dashes && rest == 32 && !is_nil
        }
        Glimpse::Value(Value::Blob(bytes)) => bytes.len() == 16 && bytes.iter().any(|byte| *byte != 0),
        _ => false,
    }
}

/// Does a text name a key?
pub(super) fn is_made_of(text: &str, key: &Value) -> bool {
    match key {
        Value::Integer(number) => {
            let number = number.to_string();
            text.split(|letter: char| !letter.is_ascii_digit()).any(|run| run.trim_start_matches('0') == number)
        }
        Value::Text(key) => key.len() > 2 && text.contains(&*String::from_utf8_lossy(key)),
        _ => false,
    }
}

/// The same written in another way, as it is where a column has become of another type: a number with more digits behind its
/// point, a time with its zone.
pub(super) fn means_the_same(one: &Glimpse, other: &Glimpse) -> bool {
    let text = |value: &Glimpse| match value {
        Glimpse::Value(Value::Text(text)) => Some(String::from_utf8_lossy(text).trim().to_owned()),
        Glimpse::Value(Value::Null) | Glimpse::Long { .. } => None,
        Glimpse::Value(value) => Some(value.to_string()),
    };
    let plain = |value: &Glimpse| text(value).map(|text| as_number(&text).unwrap_or_else(|| without_zone(&text)));
    plain(one).is_some_and(|one| plain(other).is_some_and(|other| one == other))
}

fn as_number(text: &str) -> Option<String> {
    text.parse::<f64>().ok()?;
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let rest = rest.trim_end_matches('0');
    Some(if rest.is_empty() { whole.to_owned() } else { format!("{whole}.{rest}") })
}

fn without_zone(text: &str) -> String {
    let ends = ["+00:00", "+00", "Z"];
    let text = ends.iter().find_map(|end| text.strip_suffix(end)).unwrap_or(text);
    text.replacen('T', " ", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_means_the_same_in_a_column_of_another_type() {
        let text = |text: &str| Glimpse::Value(Value::text(text));
        for (one, other) in [("1.5", "1.5000"), ("17", "17.0"), ("2024-01-20T10:00:00Z", "2024-01-20 10:00:00+00")] {
            assert!(means_the_same(&text(one), &text(other)), "{one} {other}");
        }
        assert!(means_the_same(&Glimpse::Value(Value::Integer(17)), &text("17")));
        for (one, other) in [("1.5", "1.05"), ("100", "1"), ("2024-01-20", "2024-01-21"), ("a", "b")] {
            assert!(!means_the_same(&text(one), &text(other)), "{one} {other}");
        }
    }
}
