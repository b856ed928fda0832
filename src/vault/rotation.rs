//! How far this host has come with reading files again that look unchanged: a share of them each time, all in turn.
//!
//! Owns the small file that says so, and which files' turn it is. Losing it costs no data: the turns begin anew.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::chunk::sealed_digest;
use crate::base::name::Name;
use crate::base::time::Instant;
use crate::vault::Vault;
use crate::vault::error::VaultError;
use crate::vault::host;

/// Where the turns of one source stand.
#[derive(Debug)]
pub struct Rotation {
    file: PathBuf,
    /// So often all files have been read, with what has been read since as a part of one turn.
    turns: f64,
    /// When that was, in seconds since 1970.
    at: Option<i64>,
}

impl Vault {
    /// Where the turns of a source stand on this host.
    pub fn rotation(&self, app: &Name, source: &Name, memory: &str) -> Result<Rotation, VaultError> {
        let stem = sealed_digest(format!("{app}\n{source}\n{memory}").as_bytes()).to_hex();
        let file = self.host.cache("rescan")?.join(&stem[..32]);
        let (turns, at) = fs::read_to_string(&file).ok().and_then(|text| read(&text)).unwrap_or_default();
        Ok(Rotation { file, turns, at })
    }
}

impl Rotation {
    /// The next share of the files.
    pub fn share(&mut self, share: f64) -> Range<f64> {
        self.go_on(share, self.at)
    }

    /// The files whose turn has come since the last time, so that each has one within this time.
    pub fn within(&mut self, within: Duration, now: Instant) -> Range<f64> {
        let now = now.unix().0;
        let since = now.saturating_sub(self.at.unwrap_or(now)).max(0);
        self.go_on(since as f64 / within.as_secs_f64().max(1.0), Some(now))
    }

    fn go_on(&mut self, share: f64, at: Option<i64>) -> Range<f64> {
        let from = self.turns;
        (self.turns, self.at) = (from + share.min(1.0), at);
        from..self.turns
    }

    /// What was read is in a snapshot: next time it goes on from here.
    pub fn keep(&self) -> Result<(), VaultError> {
        let at = self.at.map(|at| at.to_string()).unwrap_or_default();
        host::replace(&self.file, written(&format!("{} {at}", self.turns)).as_bytes())
    }
}

/// A line with the digest of it, since nobody would notice a digit that has changed.
fn written(line: &str) -> String {
    format!("{line}\n{}\n", sealed_digest(line.as_bytes()))
}

fn read(text: &str) -> Option<(f64, Option<i64>)> {
    let line = text.lines().next().filter(|line| written(line) == text)?;
    let (turns, at) = line.split_once(' ')?;
    Some((turns.parse().ok()?, at.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_was_changed_by_anybody_else_is_none() {
        let text = written("12.25 1700000000");
        assert_eq!(read(&text), Some((12.25, Some(1_700_000_000))));
        assert_eq!(read(&written("0.5 ")), Some((0.5, None)));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert_eq!(std::str::from_utf8(&bytes).ok().and_then(read), None, "{at}");
            assert_eq!(read(&text[..at]), None, "{at}");
        }
    }

    #[test]
    fn turns_by_time_go_on_from_the_last_one_and_never_back() {
        let mut rotation = Rotation { file: PathBuf::new(), turns: 0.0, at: None };
        let at = |seconds: i64| Instant::from_unix(seconds, 0);
        let day = Duration::from_secs(86_400);
        assert_eq!(rotation.within(day, at(1_000_000)), 0.0..0.0);
        assert_eq!(rotation.within(day, at(1_000_000 + 43_200)), 0.0..0.5);
        assert_eq!(rotation.within(day, at(0)), 0.5..0.5);
        assert_eq!(rotation.within(day, at(10_000_000)), 0.5..1.5);
        assert_eq!(rotation.share(0.25), 1.5..1.75);
    }
}
