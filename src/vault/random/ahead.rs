//! Fetching ahead of somebody who reads on: noticing it, and the threads that do it.
//!
//! Random reads fetch nothing ahead: it takes a quarter of a megabyte read in a row, small gaps allowed, before anything
//! is. A scan of a table skips pages of others, and several scans may take turns.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::id::PlainDigest;
use crate::vault::random::frames::Frames;

/// So much has to be read in a row.
const RUN: u64 = 256 << 10;
/// What is skipped and still counts as in a row.
const GAP: u64 = 1 << 20;
/// No more is fetched ahead of a reader. A fraction of what is kept, so that nothing is forgotten before it is read.
const WINDOW: u64 = 8 << 20;
/// No more chunks either: scattered content is not worth it.
pub const MOST_CHUNKS: usize = 40;
/// Content fetched by one thread at a time.
pub const JOB: u64 = 1 << 20;
/// Scans that take turns and are noticed all the same.
const STREAMS: usize = 4;

/// The places where somebody reads on.
#[derive(Default)]
pub struct Streams(Mutex<[Stream; STREAMS]>);

#[derive(Clone, Copy, Default)]
struct Stream {
    /// Behind what was read last.
    next: u64,
    /// Read in a row until there.
    run: u64,
    /// Asked for until there.
    asked: u64,
    /// When it was read last, counted in reads.
    used: u64,
}

impl Streams {
    /// Notes a read; says what is worth fetching now.
    pub fn read(&self, offset: u64, length: u64) -> Option<Range<u64>> {
        let mut streams = self.lock();
        let now = streams.iter().map(|stream| stream.used).max().unwrap_or(0) + 1;
        let end = offset.saturating_add(length);
        let Some(stream) = streams.iter_mut().find(|stream| stream.used > 0 && stream.is_near(offset)) else {
            let oldest = streams.iter_mut().min_by_key(|stream| stream.used).expect("BUG: there are some");
            *oldest = Stream { next: end, run: length, asked: 0, used: now };
            return None;
        };
        stream.used = now;
        if end <= stream.next {
            return None;
        }
        (stream.run, stream.next) = (stream.run.saturating_add(length), end);
        let window = stream.run.min(WINDOW);
        // Half a window is left before more is asked for.
        let wanted = stream.run >= RUN && stream.asked < end.saturating_add(window / 2);
        wanted.then(|| stream.asked.max(end)..end.saturating_add(window))
    }

    /// Notes until where the reader at `offset` has been served.
    pub fn asked(&self, offset: u64, until: u64) {
        if let Some(stream) = self.lock().iter_mut().find(|stream| stream.used > 0 && stream.is_near(offset)) {
            stream.asked = stream.asked.max(until);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, [Stream; STREAMS]> {
        self.0.lock().expect("BUG: nothing panics while holding it")
    }
}

impl Stream {
    fn is_near(&self, offset: u64) -> bool {
        (self.next.saturating_sub(GAP)..=self.next.saturating_add(GAP)).contains(&offset)
    }
}

/// Threads that fetch what is about to be read.
pub struct Ahead {
    frames: Arc<Frames>,
    /// Begun when there is something to do.
    working: Mutex<Option<Working>>,
}

struct Working {
    jobs: Sender<Vec<PlainDigest>>,
    threads: Vec<JoinHandle<()>>,
}

impl Ahead {
    pub fn new(frames: Arc<Frames>) -> Self {
        Self { frames, working: Mutex::default() }
    }

    /// Has these fetched, unless so much is asked for already that it would come too late.
    pub fn fetch(&self, chunks: Vec<PlainDigest>) {
        let mut working = self.working.lock().expect("BUG: nothing panics while holding it");
        let working = working.get_or_insert_with(|| Working::begin(&self.frames));
        let _ = working.jobs.try_send(chunks);
    }
}

impl Working {
    fn begin(frames: &Arc<Frames>) -> Self {
        let workers = std::thread::available_parallelism().map_or(2, |n| n.get()).clamp(2, 4);
        let (jobs, receive) = bounded::<Vec<PlainDigest>>(2 * (WINDOW / JOB) as usize);
        let begin = |_| {
            let (frames, receive) = (frames.clone(), receive.clone());
            // Where no thread can be had, everything is fetched when it is read.
            std::thread::Builder::new().name("ahead".to_owned()).spawn(move || work(&frames, &receive)).ok()
        };
        Self { jobs, threads: (0..workers).filter_map(begin).collect() }
    }
}

fn work(frames: &Frames, jobs: &Receiver<Vec<PlainDigest>>) {
    for chunks in jobs {
        frames.prepare(&chunks);
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let Ok(Some(Working { jobs, threads })) = self.working.get_mut().map(Option::take) else { return };
        drop(jobs);
        for thread in threads {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_here_and_there_fetches_nothing_ahead() {
        let streams = Streams::default();
        for n in 0..500u64 {
            assert_eq!(streams.read(n * 7_919_000_003 % 10_000_000_000, 4096), None, "{n}");
        }
    }

    #[test]
    fn scans_that_take_turns_are_both_served_ahead_and_nothing_is_asked_for_twice() {
        let streams = Streams::default();
        let mut asked = [Vec::new(), Vec::new()];
        for page in 0..4000u64 {
            for (scan, start) in [0, 5_000_000_000].into_iter().enumerate() {
                let offset = start + page * 4096;
                if let Some(range) = streams.read(offset, 4096) {
                    assert!(range.start >= offset && range.end - range.start <= WINDOW, "{range:?}");
                    streams.asked(offset, range.end);
                    asked[scan].push(range);
                }
            }
        }
        for ranges in asked {
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start), "{ranges:?}");
            assert!(ranges.len() > 3 && ranges[0].end - ranges[0].start < WINDOW, "{ranges:?}");
        }
    }
}
