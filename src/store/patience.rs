//! Waiting for storage that is away: for how long, who is told, and who may end it.
//!
//! Owns one outage for all who use a store, which counts from when the storage went away and not from when each of them
//! noticed, and telling storage that is away from an object that is not there. Never decides what an error means.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::store::cause::Cause;
use crate::store::error::StoreError;
use crate::store::{Medium, Store};

/// The first pause; each is twice as long as the one before it.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);
/// Storage that was waited for in vain is not asked again for so long: whoever still wants something of it is refused.
const REST: Duration = Duration::from_secs(20);
/// A server that has never answered and whose name nobody knows may not be there at all: a name mistyped, say.
const STRANGE: Duration = Duration::from_secs(20);

/// The world that waiting happens in.
pub trait Watch: Send + Sync {
    /// Has somebody asked to stop?
    fn stopped(&self) -> bool;

    /// The storage has been away for so long, for this reason, and is waited for so much longer. Called before each pause.
    fn waiting(&self, away: Duration, left: Duration, error: &StoreError);

    /// It answers again, after so long. Called only after [`Watch::waiting`].
    fn back(&self, away: Duration);

    /// It did not for as long as it is waited for: operations fail from here on.
    fn given_up(&self, away: Duration);

    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Waits, though no longer than until somebody asks to stop.
    fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        while !self.stopped() && Instant::now() < end {
            thread::sleep(Duration::from_millis(50).min(end.saturating_duration_since(Instant::now())));
        }
    }
}

/// How long storage may be away before that is a failure.
pub struct Patience {
    most: Duration,
    watch: Box<dyn Watch>,
    outage: Mutex<Option<Outage>>,
    has_answered: AtomicBool,
}

struct Outage {
    since: Instant,
    /// Waited for in vain, the last time at.
    given_up: Option<Instant>,
}

/// What to do about storage that is away.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Again,
    GiveUp,
    Interrupted,
}

impl Patience {
    pub fn new(most: Duration, watch: impl Watch + 'static) -> Self {
        Self { most, watch: Box::new(watch), outage: Mutex::default(), has_answered: AtomicBool::new(false) }
    }

    pub(super) fn stopped(&self) -> bool {
        self.watch.stopped()
    }

    /// Is the storage known to be away, and not worth asking just now?
    fn is_resting(&self) -> bool {
        let given_up = self.outage().as_ref().and_then(|outage| outage.given_up);
        given_up.is_some_and(|at| self.watch.now().saturating_duration_since(at) < REST)
    }

    /// An operation begun at `begun` found the storage away, after so many tries: waits before the next, or says why not.
    fn wait(&self, begun: Instant, tries: u32, error: &StoreError) -> Verdict {
        if self.watch.stopped() {
            return Verdict::Interrupted;
        }
        let now = self.watch.now();
        let is_strange = error.is_nowhere() && !self.has_answered.load(Ordering::Relaxed);
        let most = if is_strange { self.most.min(STRANGE) } else { self.most };
        let (away, over) = {
            let mut outage = self.outage();
            let outage = outage.get_or_insert(Outage { since: begun, given_up: None });
            let away = now.saturating_duration_since(outage.since);
            let over = away >= most || outage.given_up.is_some();
            outage.given_up = over.then_some(now);
            (away, over)
        };
        if over {
            self.watch.given_up(away);
            return Verdict::GiveUp;
        }
        self.watch.waiting(away, most.saturating_sub(away), error);
        let pause = FIRST.saturating_mul(1 << tries.min(8)).min(LONGEST);
        self.watch.pause(pause.min(most.saturating_sub(away)));
        if self.watch.stopped() { Verdict::Interrupted } else { Verdict::Again }
    }

    /// The storage answered.
    fn answered(&self) {
        self.has_answered.store(true, Ordering::Relaxed);
        let ended = self.outage().take();
        if let Some(outage) = ended {
            self.watch.back(self.watch.now().saturating_duration_since(outage.since));
        }
    }

    fn now(&self) -> Instant {
        self.watch.now()
    }

    fn outage(&self) -> MutexGuard<'_, Option<Outage>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// The same place, waited for when it is away.
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience: Some(Arc::new(patience)), ..self }
    }

    /// Tries until it succeeds, or fails for another reason than that the storage is away. `run` is told whether an
    /// earlier try may have had its effect.
    pub(super) fn patiently<T>(&self, run: impl Fn(bool) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let Some(patience) = &self.patience else { return run(false) };
        if patience.is_resting() {
            return Err(self.away(Cause::new("it did not answer for too long")));
        }
        let begun = patience.now();
        for tries in 0.. {
            let error = match run(tries > 0) {
                Err(error) if error.is_away() => error,
                Err(StoreError::Interrupted { location }) => return Err(StoreError::Interrupted { location }),
                done => {
                    patience.answered();
                    return done;
                }
            };
            match patience.wait(begun, tries, &error) {
                Verdict::Again => {}
                Verdict::GiveUp => return Err(error),
                Verdict::Interrupted => return Err(StoreError::Interrupted { location: self.location().to_owned() }),
            }
        }
        unreachable!("BUG: tries do not end")
    }

    fn away(&self, source: Cause) -> StoreError {
        StoreError::Unreachable { location: self.location().to_owned(), source }
    }

    /// Fails when the folder is not what was opened any more: unmounted, or moved away.
    pub(super) fn still_there(&self) -> Result<(), StoreError> {
        match &self.place.medium {
            Medium::Folder { marker: Some(marker), .. } if !marker.exists() => {
                Err(self.away(Cause::new("the vault that was there is gone: unmounted or moved away")))
            }
            _ => Ok(()),
        }
    }

    /// An object that is gone with all of the storage is not missing.
    pub(super) fn or_away<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        match result {
            Err(StoreError::NotFound { .. }) => self.still_there().and(result),
            _ => result,
        }
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Patience({:?})", self.most)
    }
}
