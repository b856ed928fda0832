//! Connections that read rows of one moment, each lent to whoever goes through some.
//!
//! Owns how many there are: as many as go through rows at once. Memory is bounded by what the server sends at once, and by
//! the longest row.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::control::Control;
use crate::engine::postgres::catalog::{self, Lockable, Relation};
use crate::engine::postgres::connect::{Copying, Session};
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::Qualified;
use crate::engine::postgres::moment::Moment;
use crate::engine::postgres::settings::Settings;
use crate::engine::postgres::turn::Patience;

/// For so long the moment is begun anew when somebody has or wants a table to himself.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many connections are opened before anything is read.
const MOST_AT_ONCE: usize = 8;
/// A buffer that was longer for a row is given back.
const ROOM: usize = 1 << 20;

/// One moment of a database, to be read.
pub struct Readers {
    moment: Moment,
    /// Every table there is, locked or not.
    pub relations: Vec<Relation>,
    /// What the server has its texts in.
    pub encoding: String,
    locked: Vec<String>,
    control: Arc<Control>,
    idle: Mutex<Vec<Session>>,
}

impl Readers {
    /// Begins the moment. Only the tables that `wanted` says yes to may be read, by so many at once, or more.
    pub fn begin(
        settings: &Settings,
        wanted: &dyn Fn(&Qualified) -> bool,
        at_once: usize,
        control: &Arc<Control>,
    ) -> Result<Self, PostgresError> {
        let patience = Patience::of(PATIENCE);
        loop {
            let readers = Self::of(settings, wanted, &patience, control)?;
            match readers.join_some(at_once) {
                Err(error) if error.is_locked() && !patience.is_over() => {}
                done => return done.map(|()| readers),
            }
        }
    }

    fn of(
        settings: &Settings,
        wanted: &dyn Fn(&Qualified) -> bool,
        patience: &Patience,
        control: &Arc<Control>,
    ) -> Result<Self, PostgresError> {
        let locked = |table: &Lockable| wanted(table.known_as());
        let mut moment = Moment::begin(settings, &locked, patience, control)?;
        let relations = catalog::relations(&mut moment.session, Some(&moment.locked))?;
        let encoding = moment.session.query("SELECT current_setting('server_encoding')", &[])?[0].get(0);
        let locked = relations.iter().filter(|relation| wanted(relation.known_as()));
        let locked = locked.map(|relation| format!("ONLY {}", relation.name.quoted())).collect();
        Ok(Self { moment, relations, encoding, locked, control: control.clone(), idle: Mutex::default() })
    }

    /// Connections that are there before anything is read: as many as are wanted, or as the server has to spare.
    fn join_some(&self, at_once: usize) -> Result<(), PostgresError> {
        for number in 0..at_once.clamp(1, MOST_AT_ONCE) {
            match self.join() {
                Ok(session) => self.idle().push(session),
                Err(error) if error.is_crowded() && number > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// For questions to the catalog.
    pub fn session(&self) -> &Session {
        &self.moment.session
    }

    fn join(&self) -> Result<Session, PostgresError> {
        self.moment.join(&self.locked, &self.control)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows that a query answers with.
    pub fn read(self: &Arc<Self>, select: &str) -> Result<Reader, PostgresError> {
        let idle = self.idle().pop();
        let session = idle.map_or_else(|| self.join(), Ok)?;
        let encoding = if self.encoding == "SQL_ASCII" { "SQL_ASCII" } else { "UTF8" };
        let copying = session.begin_copy(&format!("COPY ({select}) TO STDOUT (FORMAT text, ENCODING '{encoding}')"))?;
        let (bytes, ends) = (Vec::new(), Vec::new());
        Ok(Reader { readers: self.clone(), lent: Some((session, copying)), bytes, row: 0..0, next: 0, ends })
    }
}

/// Rows as they come, one at a time.
pub struct Reader {
    readers: Arc<Readers>,
    lent: Option<(Session, Copying)>,
    bytes: Vec<u8>,
    /// The row it stands at, without its newline.
    row: Range<usize>,
    /// Where the one after it begins.
    next: usize,
    /// Where its fields end.
    ends: Vec<usize>,
}

impl Reader {
    /// Goes to the next row, if there is one.
    pub fn next(&mut self) -> Result<bool, PostgresError> {
        let mut looked = self.next;
        loop {
            if let Some(length) = memchr::memchr(b'\n', &self.bytes[looked..]) {
                self.row = self.next..looked + length;
                self.next = self.row.end + 1;
                let start = self.row.start;
                self.ends.clear();
                self.ends.extend(memchr::memchr_iter(b'\t', &self.bytes[self.row.clone()]).map(|at| start + at));
                self.ends.push(self.row.end);
                return Ok(true);
            }
            self.bytes.drain(..self.next);
            (self.next, looked) = (0, self.bytes.len());
            if looked < ROOM {
                self.bytes.shrink_to(ROOM);
            }
            if !self.receive()? {
                return Ok(false);
            }
        }
    }

    /// Takes in more bytes; false at the end.
    fn receive(&mut self) -> Result<bool, PostgresError> {
        let Some((session, mut copying)) = self.lent.take() else { return Ok(false) };
        match session.more(&mut copying)? {
            Some(more) => {
                self.bytes.extend_from_slice(&more);
                self.lent = Some((session, copying));
                Ok(true)
            }
            None => {
                self.readers.idle().push(session);
                Ok(false)
            }
        }
    }

    /// A field of the row as COPY writes it.
    pub fn field(&self, field: usize) -> &[u8] {
        let start = field.checked_sub(1).map_or(self.row.start, |before| self.ends[before] + 1);
        &self.bytes[start..self.ends[field]]
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some((session, copying)) = self.lent.take()
            && session.leave(copying)
        {
            self.readers.idle().push(session);
        }
    }
}
