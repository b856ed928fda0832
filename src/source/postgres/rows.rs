//! The rows of all tables, read by several connections and handed over in order.
//!
//! Owns which parts are read ahead. Memory is bounded by these, whatever the number and size of tables.

use std::collections::VecDeque;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender};

use crate::base::capture::Rows;
use crate::base::chunk::Chunk;
use crate::base::control::Control;
use crate::base::error::Explained;
use crate::base::path;
use crate::engine::postgres::catalog::Relation;
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::copy_out::{Batches, Outcome, Part};
use crate::engine::postgres::segments::{Batch, Pieces, Segment, Segmenter};
use crate::engine::postgres::split;
use crate::source::SourceError;

/// How long to wait before looking whether to stop.
const GLANCE: Duration = Duration::from_millis(100);

/// All parts of all tables, in order.
pub(super) struct Parts<'a> {
    relations: &'a [Relation],
    /// Looks up where to split tables.
    session: &'a mut Session,
    encoding: &'static str,
    jobs: Sender<Part>,
    /// So many are asked for at once.
    ahead: usize,
    /// The first table whose parts are not known yet.
    next: usize,
    /// Parts not asked for yet: their table, what to select, and whether that is a range.
    known: VecDeque<(usize, String, bool)>,
    asked: VecDeque<(usize, Batches)>,
}

impl<'a> Parts<'a> {
    pub fn new(
        relations: &'a [Relation],
        session: &'a mut Session,
        encoding: &'static str,
        jobs: Sender<Part>,
        ahead: usize,
    ) -> Self {
        let (known, asked) = (VecDeque::new(), VecDeque::new());
        Self { relations, session, encoding, jobs, ahead, next: 0, known, asked }
    }

    /// For other questions, before a part is handed over.
    pub fn session(&mut self) -> &mut Session {
        self.session
    }

    /// Asks for as many parts as may be read ahead.
    pub fn ask(&mut self) -> Result<(), SourceError> {
        while self.asked.len() < self.ahead && self.find()? {
            let Some((table, select, ranged)) = self.known.pop_front() else { break };
            let (part, batches) = Part::new(select, ranged, self.encoding);
            self.asked.push_back((table, batches));
            // Whoever would have read it left a reason before it.
            let _ = self.jobs.send(part);
        }
        Ok(())
    }

    /// The next part of this table, if there is one.
    fn of(&mut self, table: usize) -> Result<Option<Batches>, SourceError> {
        self.ask()?;
        Ok(self.asked.pop_front_if(|(of, _)| *of == table).map(|(_, batches)| batches))
    }

    /// Looks for parts that are not asked for yet.
    fn find(&mut self) -> Result<bool, SourceError> {
        if self.known.is_empty() && self.next < self.relations.len() {
            let relation = &self.relations[self.next];
            let ranges = split::parts(self.session, relation)?;
            if ranges.is_empty() {
                self.known.push_back((self.next, relation.select(None), false));
            }
            let select = |range: String| (self.next, relation.select(Some(&range)), true);
            self.known.extend(ranges.into_iter().map(select));
            self.next += 1;
        }
        Ok(!self.known.is_empty())
    }
}

/// The rows of one table, as a sink takes them.
pub(super) struct RowsOf<'p, 'a> {
    parts: &'p mut Parts<'a>,
    table: usize,
    batches: Option<Batches>,
    segmenter: Segmenter,
    cut: Cut,
    control: &'p Control,
    ended: bool,
}

/// What has come of a table: rows, their bytes, and those of the notes on them.
pub(super) struct Counted {
    pub rows: u64,
    pub bytes: u64,
    pub notes: u64,
}

impl<'p, 'a> RowsOf<'p, 'a> {
    pub fn new(parts: &'p mut Parts<'a>, table: usize, salt: u64, control: &'p Control) -> Self {
        let segmenter = Segmenter::new(parts.relations[table].shape(salt));
        Self { parts, table, batches: None, segmenter, cut: Cut::default(), control, ended: false }
    }

    pub fn counted(&self) -> Counted {
        Counted { rows: self.segmenter.total_rows, bytes: self.segmenter.total_bytes, notes: self.cut.notes }
    }

    /// Takes in more rows; false when there are no more.
    fn advance(&mut self) -> Result<bool, SourceError> {
        loop {
            let Some(batches) = &self.batches else {
                self.batches = self.parts.of(self.table)?;
                if self.batches.is_none() {
                    return Ok(false);
                }
                continue;
            };
            match receive(batches, self.control)? {
                Some(batch) => {
                    self.control.bytes.add(batch.bytes.bytes().len() as u64);
                    self.segmenter.push(&batch, &mut self.cut);
                    return Ok(true);
                }
                None => self.batches = None,
            }
        }
    }
}

impl Iterator for RowsOf<'_, '_> {
    type Item = Result<Rows, Explained>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.cut.queue.is_empty() && !self.ended {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => {
                    self.ended = true;
                    self.segmenter.finish(&mut self.cut);
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(Box::new(error)));
                }
            }
        }
        self.cut.queue.pop_front().map(Ok)
    }
}

/// What was cut and not handed over yet.
#[derive(Default)]
struct Cut {
    queue: VecDeque<Rows>,
    notes: u64,
}

impl Pieces for Cut {
    fn piece(&mut self, chunk: Chunk, first: Option<String>) {
        self.queue.push_back(Rows::Chunk(chunk, first));
    }

    fn segment(&mut self, segment: &Segment) {
        let mut line = serde_json::to_vec(segment).expect("BUG: a segment has plain fields");
        line.push(b'\n');
        self.notes += line.len() as u64;
        let first = segment.first.as_ref().map(|fields| path::encode(fields.join("\t").as_bytes()));
        self.queue.push_back(Rows::Note(line, first));
    }
}

/// Waits for a batch, and looks now and then whether to stop. None: the part is at its end.
fn receive(batches: &Batches, control: &Control) -> Result<Option<Batch>, SourceError> {
    loop {
        if control.stopped() {
            return Err(SourceError::Interrupted);
        }
        match batches.recv_timeout(GLANCE) {
            Ok(Outcome::Rows(batch)) => return Ok(Some(batch)),
            Ok(Outcome::End) => return Ok(None),
            Ok(Outcome::Failed(error)) => return Err(error.into()),
            Err(RecvTimeoutError::Timeout) => {}
            // A reader died: its panic is about to end the capture.
            Err(RecvTimeoutError::Disconnected) => return Err(SourceError::Interrupted),
        }
    }
}
