//! Instants in UTC to the nanosecond, and how they are written.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A point in time, UTC, to the nanosecond. Written `2026-11-21T02:00:04.123456789Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Instant(Timestamp);

/// Text that is not an instant.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a time")]
pub struct BadInstant(String);

impl Instant {
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_unix(since.as_secs() as i64, since.subsec_nanos() as i32)
    }

    /// Seconds and nanoseconds since 1970; what no calendar can hold is moved to its nearest end.
    pub fn from_unix(seconds: i64, nanoseconds: i32) -> Self {
        Self(Timestamp::new(seconds, nanoseconds).unwrap_or(if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX }))
    }

    pub fn from_timestamp(timestamp: Timestamp) -> Self {
        Self(timestamp)
    }

    pub fn timestamp(self) -> Timestamp {
        self.0
    }

    /// Whole seconds since 1970, rounded down, and the nanoseconds after them.
    pub fn unix(self) -> (i64, u32) {
        let nanoseconds = self.0.as_nanosecond();
        (nanoseconds.div_euclid(1_000_000_000) as i64, nanoseconds.rem_euclid(1_000_000_000) as u32)
    }

    /// The form used in object names: sorts as text the way it sorts as time.
    pub fn compact(self) -> String {
        self.0.strftime("%Y%m%dT%H%M%S.%9fZ").to_string()
    }

    pub fn from_compact(text: &str) -> Result<Self, BadInstant> {
        let bad = || BadInstant(text.to_owned());
        let (seconds, nanoseconds) = text.strip_suffix('Z').and_then(|t| t.split_once('.')).ok_or_else(bad)?;
        let valid = nanoseconds.len() == 9 && nanoseconds.bytes().all(|b| b.is_ascii_digit());
        let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", seconds).map_err(|_| bad())?;
        let start = civil.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| bad())?.timestamp();
        let nanoseconds: i32 = nanoseconds.parse().ok().filter(|_| valid).ok_or_else(bad)?;
        Ok(Self::from_unix(start.as_second(), nanoseconds))
    }
}

impl FromStr for Instant {
    type Err = BadInstant;

    fn from_str(text: &str) -> Result<Self, BadInstant> {
        text.parse().map(Self).map_err(|_| BadInstant(text.to_owned()))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_instant_survives_both_its_forms(seconds in -60_000_000_000i64..200_000_000_000, nanoseconds in 0i32..1_000_000_000) {
            let instant = Instant::from_unix(seconds, nanoseconds);
            prop_assert_eq!(instant.to_string().parse::<Instant>().unwrap(), instant);
            prop_assert_eq!(instant.unix(), (seconds, nanoseconds as u32));
            if seconds >= 0 {
                prop_assert_eq!(Instant::from_compact(&instant.compact()).unwrap(), instant);
            }
        }

        #[test]
        fn any_text_is_an_instant_or_an_error(text in "\\PC*") {
            let _ = Instant::from_compact(&text);
        }
    }
}
