//! Reads a large or sparse file piece by piece.
//!
//! Owns cutting and holes. The reader cuts; other threads hash, or the consumer does, so that one huge file keeps
//! more than one core busy. Pieces arrive in order; each holds a lease until it is consumed.

use std::sync::Arc;

use crossbeam_channel::{Sender, unbounded};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::base::chunk::MAX_CHUNK;
use crate::engine::sqlite::held::PlainFile;
use crate::source::files::budget::Lease;
use crate::source::files::metadata::Facts;
use crate::source::files::read::{ATTEMPTS, Captured, Hashing, Outcome, Reader, Request};

/// What follows on the way to a file's end.
pub(super) enum Part {
    Data {
        hashing: Arc<Hashing>,
        length: u64,
        lease: Lease,
    },
    Hole(u64),
    /// The file has changed: forget what came so far, it is read again.
    Again,
    End(Box<Captured>),
    Failed(Errno),
}

/// Why reading ended early.
enum Stop {
    Error(Errno),
    /// Nobody wants the file any more.
    Over,
}

impl From<Errno> for Stop {
    fn from(error: Errno) -> Self {
        Stop::Error(error)
    }
}

/// Promises the content, then sends it.
pub(super) fn read(
    reader: &Reader,
    request: &Request,
    file: &PlainFile,
    facts: Facts,
    attempt: usize,
    reply: &Sender<Outcome>,
) {
    let Some(_slot) = reader.budget.enter_stream(request.ticket) else { return };
    let (parts, receiver) = unbounded();
    if reply.send(Outcome::Stream(receiver)).is_err() {
        return;
    }
    let mut stream =
        Stream { reader, request, file, parts: &parts, buffer: reader.reading.take(), filled: 0, lease: None };
    let read = stream.attempts(facts, attempt);
    reader.reading.put(stream.buffer);
    let last = match read {
        Ok(captured) => Part::End(Box::new(captured)),
        Err(Stop::Error(error)) => Part::Failed(error),
        Err(Stop::Over) => return,
    };
    let _ = parts.send(last);
}

struct Stream<'a> {
    reader: &'a Reader,
    request: &'a Request,
    file: &'a PlainFile,
    parts: &'a Sender<Part>,
    buffer: Vec<u8>,
    /// So much of the buffer is read, and not yet cut. Covered by the lease.
    filled: usize,
    lease: Option<Lease>,
}

impl Stream<'_> {
    fn attempts(&mut self, mut facts: Facts, first: usize) -> Result<Captured, Stop> {
        for attempt in first..=ATTEMPTS {
            let size = self.all(&facts)?;
            let after = Facts::of_open(self.file)?;
            let steady = after.same_content(&facts);
            if steady || attempt == ATTEMPTS {
                return Ok(self.reader.captured(self.request, self.file, &after, size, steady));
            }
            self.send(Part::Again)?;
            facts = after;
        }
        unreachable!("BUG: the last attempt returns")
    }

    /// Sends the content up to the size the file had at first. Returns how much there was.
    fn all(&mut self, facts: &Facts) -> Result<u64, Stop> {
        let mut at = 0;
        while at < facts.size {
            let data = if facts.is_sparse() { self.data_from(at, facts.size)? } else { at..facts.size };
            if data.start > at {
                self.send(Part::Hole(data.start - at))?;
            }
            let end = self.run(data.start, data.end)?;
            if end < data.end {
                return Ok(end);
            }
            at = end;
        }
        Ok(at)
    }

    /// The next run of stored bytes; empty at the end when only a hole is left.
    fn data_from(&self, at: u64, size: u64) -> Result<std::ops::Range<u64>, Errno> {
        let start = match seek(self.file, SeekFrom::Data(at)) {
            Ok(start) => start.min(size),
            Err(Errno::NXIO) => return Ok(size..size),
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::NOTSUP) => return Ok(at..size),
            Err(error) => return Err(error),
        };
        match seek(self.file, SeekFrom::Hole(start)) {
            Ok(end) => Ok(start..end.min(size)),
            // Cut off since: the read will tell.
            Err(Errno::NXIO) => Ok(start..size),
            Err(error) => Err(error),
        }
    }

    /// Sends a run of stored bytes. Returns where it ended: earlier when the file has become shorter.
    fn run(&mut self, mut at: u64, end: u64) -> Result<u64, Stop> {
        while at < end {
            let read = self.fill(at, end)?;
            at += read;
            let last = at == end || read == 0;
            self.cut(last)?;
            if read == 0 {
                break;
            }
        }
        Ok(at)
    }

    /// Reads until the buffer is full or the run ends. Returns how much was read.
    fn fill(&mut self, at: u64, end: u64) -> Result<u64, Stop> {
        let room = MAX_CHUNK - self.filled;
        let want = room.min(usize::try_from(end - at).unwrap_or(room));
        let lease = self.reader.budget.lease(self.request.ticket, want).ok_or(Stop::Over)?;
        match &mut self.lease {
            Some(held) => held.join(lease),
            None => self.lease = Some(lease),
        }
        let wanted = self.filled + want;
        let mut read = 0;
        while read < want {
            match rustix::io::pread(self.file, &mut self.buffer[self.filled..wanted], at + read as u64) {
                Ok(0) => break,
                Ok(more) => {
                    read += more;
                    self.filled += more;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(read as u64)
    }

    /// Cuts as much of the buffer as can be decided on.
    fn cut(&mut self, last: bool) -> Result<(), Stop> {
        // A boundary is likely within this much. Below it, more is read first: what was looked through in vain
        // is looked through again.
        const LIKELY: usize = MAX_CHUNK / 2;
        let mut done = 0;
        loop {
            let rest = &self.buffer[done..self.filled];
            if rest.is_empty() || (!last && rest.len() < LIKELY) {
                break;
            }
            let full = rest.len() >= MAX_CHUNK || last;
            let length = match self.reader.cutter.cut(rest, last) {
                Some(length) => length.clamp(1, rest.len()),
                None if full => rest.len(),
                None => break,
            };
            let bytes = self.reader.buffers.copy(&rest[..length]);
            done += length;
            self.data(bytes)?;
        }
        let filled = self.filled - done;
        if filled > 0 {
            self.buffer.copy_within(done..self.filled, 0);
        }
        self.filled = filled;
        Ok(())
    }

    fn data(&mut self, bytes: Vec<u8>) -> Result<(), Stop> {
        let length = bytes.len();
        let lease = self.lease.as_mut().map(|held| held.split(length)).ok_or(Stop::Over)?;
        let hashing = Hashing::new(bytes, &self.reader.buffers);
        // Without hashing threads the consumer hashes.
        let _ = self.reader.hashings.send(hashing.clone());
        self.send(Part::Data { hashing, length: length as u64, lease })
    }

    fn send(&self, part: Part) -> Result<(), Stop> {
        self.parts.send(part).map_err(|_| Stop::Over)
    }
}
