//! Storage that is away: what a person sees of waiting for it, and how long that goes on.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strongroom::base::control::Control;
use strongroom::base::error::one_line;
use strongroom::store::{Patience, StoreError, Watch};

use crate::exit::Failure;

pub const VARIABLE: &str = "STRONGROOM_STORAGE_WAIT";
const USUAL: Duration = Duration::from_secs(300);

/// Waiting shorter than this is not worth a line.
const SHORT: Duration = Duration::from_secs(5);

/// What became of the storage while the command ran.
#[derive(Default)]
pub struct Outages {
    told: AtomicBool,
    given_up: AtomicBool,
}

impl Outages {
    /// What to say at the end of a command that waited in vain.
    pub fn hint(&self) -> Option<&'static str> {
        let hint = "hint: run the command again when the storage is back: it goes on from what is done\n";
        self.given_up.load(Ordering::Relaxed).then_some(hint)
    }
}

struct Watcher {
    control: Arc<Control>,
    outages: Arc<Outages>,
    interactive: bool,
}

/// How long to wait, of a setting that may be empty.
pub fn patience(
    setting: Option<String>,
    control: &Arc<Control>,
    outages: &Arc<Outages>,
    interactive: bool,
) -> Result<Patience, Failure> {
    let most = match setting.filter(|text| !text.is_empty()) {
        Some(text) => length(&text).ok_or_else(|| {
            let message = format!("{VARIABLE} is {text:?}, which is no length of time");
            Failure::usage(message, "write 90s, 5m, 2h, or 0 to wait for nothing")
        })?,
        None => USUAL,
    };
    let watcher = Watcher { control: control.clone(), outages: outages.clone(), interactive };
    Ok(Patience::new(most, watcher))
}

/// `90`, `90s`, `5m`, `2h`.
fn length(text: &str) -> Option<Duration> {
    let (number, unit) = match text.char_indices().next_back()? {
        (at, 's') => (&text[..at], 1),
        (at, 'm') => (&text[..at], 60),
        (at, 'h') => (&text[..at], 3600),
        _ => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(unit).map(Duration::from_secs)
}

impl Watch for Watcher {
    fn stopped(&self) -> bool {
        self.control.stopped()
    }

    fn waiting(&self, away: Duration, left: Duration, error: &StoreError) {
        let waits = format!("{}; trying again for another {} s", one_line(error), left.as_secs());
        // A terminal shows it where the progress is.
        if !self.interactive && away >= SHORT && !self.outages.told.swap(true, Ordering::Relaxed) {
            say(&format!("waiting: {waits} ({VARIABLE})\n"));
        }
        self.control.wait_for(Some(waits));
    }

    fn back(&self, away: Duration) {
        self.control.wait_for(None);
        self.outages.given_up.store(false, Ordering::Relaxed);
        if self.outages.told.swap(false, Ordering::Relaxed) {
            say(&format!("the storage is back after {} s\n", away.as_secs()));
        }
    }

    fn given_up(&self, _: Duration) {
        self.control.wait_for(None);
        self.outages.given_up.store(true, Ordering::Relaxed);
    }
}

/// Trouble is told however quiet the command is.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_numbers_with_a_unit() {
        let seconds = |text| length(text).map(|length| length.as_secs());
        assert_eq!(["0", "90", "90s", "5m", "2h"].map(seconds), [0, 90, 90, 300, 7200].map(Some));
        assert_eq!(["", "m", "five", "-1", "5 m", "99999999999999999999h"].map(seconds), [None; 6]);
    }
}
