//! Does a value say more of when a record was made than the day?
//!
//! Owns what counts as a day alone: a date, or a midnight, in whatever form an app writes it. Midnight in one zone is any
//! quarter of an hour in another, and is written in that one as often as not: none of them says more than a day.

use crate::base::record::Value;
use crate::record::identity::value::is_random;
use crate::record::plan::Glimpse;

const QUARTER: i128 = 15 * 60;
const DAY: f64 = 86_400.0;

/// A moment that names more than a day, or something random: no two records have the same by chance.
pub(super) fn is_exact(value: &Glimpse) -> bool {
    match value {
        Glimpse::Value(Value::Integer(number)) => is_exact_number(*number),
        Glimpse::Value(Value::Real(number)) => is_exact_real(*number),
        Glimpse::Value(Value::Text(text)) => is_random(value) || std::str::from_utf8(text).is_ok_and(is_exact_text),
        Glimpse::Value(Value::Blob(bytes)) => bytes.len() >= 16 && bytes.iter().any(|byte| *byte != 0),
        Glimpse::Value(Value::Null) => false,
        Glimpse::Long { .. } => true,
    }
}

/// Seconds of the Unix epoch, or thousandths, millionths and so on of them; or a date and a time written as one number.
fn is_exact_number(number: i64) -> bool {
    let written = number.unsigned_abs().to_string();
    if let Some(rest) = after_day(&written) {
        return says_more(rest);
    }
    let a_second: i128 = match written.len() {
        0..=8 => return false,
        9..=11 => 1,
        12..=14 => 1_000,
        15..=17 => 1_000_000,
        _ => 1_000_000_000,
    };
    i128::from(number) % (QUARTER * a_second) != 0
}

/// Days, of the Julian calendar or since some other one, or seconds.
fn is_exact_real(number: f64) -> bool {
    let seconds = if number.abs() < 1e8 { number.fract() * DAY } else { number };
    let past = seconds.rem_euclid(QUARTER as f64);
    // A Julian day has some forty millionths of a second.
    number.is_finite() && past.min(QUARTER as f64 - past) > 0.01
}

fn is_exact_text(text: &str) -> bool {
    let text = text.trim();
    if let Some(clock) = clock(text) {
        return clock;
    }
    if let Ok(number) = text.parse() {
        return is_exact_number(number);
    }
    let compact: String = text.chars().filter(|letter| !matches!(letter, 'T' | 't' | ' ')).collect();
    if let Some(rest) = after_day(&compact) {
        return says_more(rest);
    }
    // Too long for a date, and without what parts its words: something that was made to be like nothing else.
    text.len() >= 20
        && text.bytes().any(|letter| letter.is_ascii_hexdigit() && letter != b'0')
        && text.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"-_".contains(&letter))
}

/// Where a text has a time such as `7:05` or `07:05:09.5` in it: does the first one say more than a quarter of an hour?
fn clock(text: &str) -> Option<bool> {
    let mut rest = text;
    while let Some(at) = rest.find(':') {
        let is_hour = rest[..at].ends_with(|letter: char| letter.is_ascii_digit());
        rest = &rest[at + 1..];
        if is_hour && digits(rest) == 2 {
            let seconds = rest[2..].strip_prefix(':').unwrap_or_default();
            let part = seconds.get(2..).and_then(|part| part.strip_prefix(['.', ','])).unwrap_or_default();
            let (seconds, part) = (&seconds[..digits(seconds)], &part[..digits(part)]);
            return Some(says_more(&[&rest[..2], seconds, part].concat()));
        }
    }
    None
}

/// What follows the day in `20240120101112`: minutes and on, without the hour.
fn after_day(text: &str) -> Option<&str> {
    let text = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u32>().ok();
    let is_day = (1900..2200).contains(&part(0, 4)?)
        && (1..=12).contains(&part(4, 6)?)
        && (1..=31).contains(&part(6, 8)?)
        && part(8, 10)? < 24
        && part(10, 12)? < 60;
    (is_day && matches!(digits(text), 12 | 14..)).then(|| &text[10..])
}

/// Minutes and what follows them, without anything between: a quarter of an hour, and nothing more?
fn says_more(minutes: &str) -> bool {
    let (minutes, rest) = minutes.split_at(2);
    !minutes.parse::<u32>().is_ok_and(|minutes| minutes % 15 == 0)
        || rest.bytes().any(|digit| digit.is_ascii_digit() && digit != b'0')
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Glimpse {
        Glimpse::Value(Value::text(text))
    }

    #[test]
    fn a_day_alone_says_no_more_than_a_day_in_whatever_form_it_is_written() {
        for day in [
            "2024-01-20",
            "2024-01-20 00:00",
            "2024-01-20 00:00:00",
            "2024-01-20 00:00:00.000000+00:00",
            "2024-01-20T00:00Z",
            "2024-01-19T23:00:00.000Z",
            "2024-01-20 18:30:00+05:30",
            "1/20/2024 12:00:00 AM",
            "January 20, 2024",
            "Sat, 20 Jan 2024",
            "Saturday, the twentieth of January 2024",
            "20240120",
            "20240120000000",
            "20240120T000000Z",
            "20240120 000000.000",
            "1705708800",
            "1705708800000",
            "infinity",
            "2024-W03-6",
            "00000000-0000-0000-0000-000000000000",
            "12:3",
            "12:",
            ":00",
        ] {
            assert!(!is_exact(&text(day)), "{day}");
        }
        for day in [0, 19742, 20_240_120, 1_705_708_800, 1_705_708_800_000, 1_705_708_800_000_000, 20_240_120_000_000] {
            assert!(!is_exact(&Glimpse::Value(Value::Integer(day))), "{day}");
        }
        for day in [2_460_329.5, 45_311.0, 1_705_708_800.0, 2_460_329.5 + 1.0 / 24.0, f64::INFINITY, f64::NAN] {
            assert!(!is_exact(&Glimpse::Value(Value::Real(day))), "{day}");
        }
    }

    #[test]
    fn what_names_a_moment_or_is_like_nothing_else_is_exact() {
        for moment in [
            "2024-01-20 10:07",
            "2024-01-20 10:00:01",
            "2024-01-20 00:00:00.250",
            "2024-01-20T10:15:00.000001Z",
            "2024-01-20 00:03:00+05:30",
            "Sat, 20 Jan 2024 7:05:09 GMT",
            "20240120T101112Z",
            "20240120101112",
            "1705745472",
            "01HMKQ2Z7V3W5X8Y9A0BCDEFGH",
            "3c8a2f14-8f5d-4a3c-9e21-6a1f0b9c7d55",
        ] {
            assert!(is_exact(&text(moment)), "{moment}");
        }
        for moment in [1_705_745_472, 1_705_745_472_123, 1_705_708_800_001, 1_705_745_472_123_456, 20_240_120_101_112] {
            assert!(is_exact(&Glimpse::Value(Value::Integer(moment))), "{moment}");
        }
        for moment in [2_460_329.924_444, 45_311.507, 1_705_745_472.25] {
            assert!(is_exact(&Glimpse::Value(Value::Real(moment))), "{moment}");
        }
    }
}
