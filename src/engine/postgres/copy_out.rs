//! Rows out: parts of tables, copied by several connections, each of them in batches that wait for whoever takes them.
//!
//! Owns finding where rows end. Never changes a byte.

use std::ops::ControlFlow;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::chunk::{Buffers, Lent};
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::segments::Batch;

/// A batch is about so long, and never longer.
const BATCH: usize = 256 << 10;
/// So many batches of a part wait to be taken: a whole part, as tables are split.
const AHEAD: usize = 36;

/// A run of rows to be copied.
pub struct Part {
    /// What is copied: a query.
    pub select: String,
    /// It asks for a range of an index.
    pub ranged: bool,
    /// `SQL_ASCII`, where the server does not know what its texts are written in.
    pub encoding: &'static str,
    batches: Sender<Outcome>,
}

/// What comes of a part. One that ends without saying so was not read to its end.
pub enum Outcome {
    Rows(Batch),
    End,
    Failed(PostgresError),
}

/// Whoever drops it before its end wants no more.
pub type Batches = Receiver<Outcome>;

impl Part {
    pub fn new(select: String, ranged: bool, encoding: &'static str) -> (Self, Batches) {
        let (batches, taken) = bounded(AHEAD);
        (Self { select, ranged, encoding, batches }, taken)
    }
}

/// Buffers for the batches of so many parts at once.
pub fn buffers(parts: usize) -> Buffers {
    Buffers::new((AHEAD + 2) * parts, BATCH)
}

/// Copies one part after another, until there are no more or one cannot be had.
pub fn work(session: &mut Session, parts: &Receiver<Part>, buffers: &Buffers) {
    let mut ranged = false;
    for part in parts {
        let prepared = if part.ranged == ranged { Ok(()) } else { prefer_index(session, part.ranged) };
        ranged = part.ranged;
        match prepared.and_then(|()| copy(session, &part, buffers)) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return,
            Err(error) => {
                // Nobody may be there any more to be told.
                let _ = part.batches.send(Outcome::Failed(error));
                return;
            }
        }
    }
}

/// A range is looked up, whatever the statistics say: each reading the whole table would be the worst.
fn prefer_index(session: &mut Session, ranged: bool) -> Result<(), PostgresError> {
    let off = if ranged { "off" } else { "on" };
    session.batch(&format!("SET LOCAL enable_seqscan = {off}"))
}

/// Copies one part; breaks when nobody wants its rest, nor then any other.
fn copy(session: &mut Session, part: &Part, buffers: &Buffers) -> Result<ControlFlow<()>, PostgresError> {
    let sql = format!("COPY ({}) TO STDOUT (FORMAT text, ENCODING '{}')", part.select, part.encoding);
    let mut gathered = Gathered { bytes: empty(buffers), ends: Vec::new(), buffers, batches: &part.batches };
    let mut wanted = ControlFlow::Continue(());
    session.copy_out(&sql, |bytes| {
        wanted = gathered.push(&bytes);
        wanted.is_continue()
    })?;
    if wanted.is_continue() && gathered.send().is_continue() && part.batches.send(Outcome::End).is_ok() {
        return Ok(ControlFlow::Continue(()));
    }
    Ok(ControlFlow::Break(()))
}

struct Gathered<'a> {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    buffers: &'a Buffers,
    batches: &'a Sender<Outcome>,
}

impl Gathered<'_> {
    /// Takes what the server sends: rows, or parts of one. Within a row, a newline is written in another way.
    fn push(&mut self, mut bytes: &[u8]) -> ControlFlow<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BATCH - self.bytes.len()));
            let start = self.bytes.len();
            self.ends.extend(memchr::memchr_iter(b'\n', now).map(|at| (start + at + 1) as u32));
            self.bytes.extend_from_slice(now);
            if self.bytes.len() == BATCH {
                self.send()?;
            }
            bytes = later;
        }
        ControlFlow::Continue(())
    }

    fn send(&mut self) -> ControlFlow<()> {
        let bytes = std::mem::replace(&mut self.bytes, empty(self.buffers));
        let batch = Batch { bytes: Lent::new(bytes, self.buffers), ends: std::mem::take(&mut self.ends) };
        match self.batches.send(Outcome::Rows(batch)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

fn empty(buffers: &Buffers) -> Vec<u8> {
    let mut buffer = buffers.take();
    buffer.clear();
    buffer
}
