//! Points in time as people write them: RFC 3339, local date and time, `yesterday`, `3 days ago`.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, Timestamp, Zoned};

use crate::base::error::{Class, Explain};
use crate::base::time::Instant;

/// Text that names no point in time.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a point in time")]
pub struct BadPoint {
    text: String,
}

impl Explain for BadPoint {
    fn class(&self) -> Class {
        Class::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(
            "write 2026-11-21T02:00:00Z, \"2026-11-21 02:00\", 2026-11-21, 02:00, today, yesterday or \"3 days ago\""
                .into(),
        )
    }
}

/// The last instant that `text` means, seen from `now`: a bare date means the end of that day, a minute its last second.
pub fn parse(text: &str, now: &Zoned) -> Result<Instant, BadPoint> {
    let bad = || BadPoint { text: text.to_owned() };
    let words = text.trim().to_ascii_lowercase();
    if let Ok(timestamp) = text.trim().to_ascii_uppercase().parse::<Timestamp>() {
        return Ok(Instant::from_timestamp(timestamp));
    }
    let point = relative(&words, now).or_else(|| local(&words, now)).ok_or_else(bad)?;
    Ok(Instant::from_timestamp(point.timestamp()))
}

/// `now`, `today`, `yesterday`, `yesterday 14:00`, `3 days ago`.
fn relative(words: &str, now: &Zoned) -> Option<Zoned> {
    if words == "now" {
        return Some(now.clone());
    }
    for (word, days) in [("today", 0), ("yesterday", 1)] {
        let Some(rest) = words.strip_prefix(word) else { continue };
        let date = now.date().checked_sub(Span::new().days(days)).ok()?;
        let clock = if rest.is_empty() { END_OF_DAY } else { clock(rest.trim_start_matches([' ', 't']))? };
        return date.to_datetime(clock).to_zoned(now.time_zone().clone()).ok();
    }
    let mut parts = words.strip_suffix(" ago")?.split_whitespace();
    let number = match parts.next()? {
        "a" | "an" | "one" => 1,
        digits => digits.parse::<i32>().ok().filter(|n| *n >= 0)?,
    };
    let unit = parts.next()?;
    if parts.next().is_some() {
        return None;
    }
    now.checked_sub(span(unit, i64::from(number))?).ok()
}

fn span(unit: &str, n: i64) -> Option<Span> {
    let span = Span::new();
    match unit.strip_suffix('s').unwrap_or(unit) {
        "second" | "sec" => span.try_seconds(n).ok(),
        "minute" | "min" => span.try_minutes(n).ok(),
        "hour" => span.try_hours(n).ok(),
        "day" => span.try_days(n).ok(),
        "week" => span.try_weeks(n).ok(),
        "month" => span.try_months(n).ok(),
        "year" => span.try_years(n).ok(),
        _ => None,
    }
}

const END_OF_DAY: Time = Time::constant(23, 59, 59, 999_999_999);

/// A local date, date and time, or time of today.
fn local(words: &str, now: &Zoned) -> Option<Zoned> {
    let zone = now.time_zone().clone();
    if let Some(time) = clock(words) {
        return now.date().to_datetime(time).to_zoned(zone).ok();
    }
    let (date, time) = words.split_once([' ', 't']).map_or((words, None), |(d, t)| (d, Some(t)));
    let date = (date.len() == 10).then(|| Date::strptime("%Y-%m-%d", date).ok()).flatten()?;
    let time = match time {
        None => END_OF_DAY,
        Some(text) => clock(text.trim())?,
    };
    DateTime::from_parts(date, time).to_zoned(zone).ok()
}

/// `02:00`, `02:00:04` or with a fraction; what is left out is taken as late as possible.
fn clock(text: &str) -> Option<Time> {
    let parts: Vec<&str> = text.splitn(3, ':').collect();
    let number = |s: &str| {
        s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse::<i8>().ok()).flatten().filter(|_| s.len() <= 2)
    };
    let (hour, minute) = (number(parts.first()?)?, number(parts.get(1)?)?);
    let (second, nanosecond) = match parts.get(2) {
        None => (59, 999_999_999),
        Some(text) => {
            let (whole, fraction) = text.split_once('.').map_or((*text, None), |(w, f)| (w, Some(f)));
            (number(whole)?, fraction.map_or(Some(999_999_999), nanoseconds)?)
        }
    };
    Time::new(hour, minute, second, nanosecond).ok()
}

fn nanoseconds(fraction: &str) -> Option<i32> {
    let digits = (1..=9).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| format!("{fraction:0<9}").parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> Zoned {
        "2026-11-21T10:30:00+01:00[Europe/Zurich]".parse().unwrap()
    }

    #[test]
    fn points_mean_the_last_instant_they_can() {
        for (text, expected) in [
            ("2026-11-20T02:00:00Z", "2026-11-20T02:00:00Z"),
            ("2026-11-20T02:00:00+01:00", "2026-11-20T01:00:00Z"),
            ("2026-11-20 02:00", "2026-11-20T01:00:59.999999999Z"),
            ("2026-11-20T02:00", "2026-11-20T01:00:59.999999999Z"),
            ("2026-11-20 02:00:04", "2026-11-20T01:00:04.999999999Z"),
            ("2026-11-20 02:00:04.5", "2026-11-20T01:00:04.5Z"),
            ("2026-11-20", "2026-11-20T22:59:59.999999999Z"),
            ("2026-07-01", "2026-07-01T21:59:59.999999999Z"),
            ("02:00", "2026-11-21T01:00:59.999999999Z"),
            ("yesterday", "2026-11-20T22:59:59.999999999Z"),
            ("yesterday 14:00", "2026-11-20T13:00:59.999999999Z"),
            ("today", "2026-11-21T22:59:59.999999999Z"),
            ("3 days ago", "2026-11-18T09:30:00Z"),
            ("a week ago", "2026-11-14T09:30:00Z"),
            ("2 hours ago", "2026-11-21T07:30:00Z"),
            ("now", "2026-11-21T09:30:00Z"),
        ] {
            assert_eq!(parse(text, &now()).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_names_no_time_is_refused() {
        for bad in [
            "",
            "soon",
            "3 days",
            "-3 days ago",
            "25:00",
            "2026-13-01",
            "2026-1-1",
            "ago",
            "1 2 days ago",
            "99999999999 days ago",
        ] {
            assert!(parse(bad, &now()).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_point_or_an_error(text in "\\PC*") {
            let _ = parse(&text, &now());
        }
    }
}
