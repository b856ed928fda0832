//! All pages of a view, in order, in batches.
//!
//! Owns reading through `sqlite_dbpage`, on a thread of its own. Never interprets a page, except to blank those that
//! hold nothing any more.

use std::ops::ControlFlow;

use crossbeam_channel::{Receiver, Sender, bounded};
use rusqlite::Connection;

use crate::base::chunk::{Buffers, Lent};
use crate::engine::sqlite::error::SqliteError;
use crate::engine::sqlite::free::{Blanks, FreePages};
use crate::engine::sqlite::live::Reader;

/// Pages are handed over so many bytes at a time.
const BATCH: usize = 1 << 20;

/// What a database's free pages come back as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Free {
    /// As they are, with what was once in them.
    #[default]
    Keep,
    /// Empty: what was deleted is not captured.
    Zero,
}

/// The shape of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub page_size: usize,
    pub pages: u64,
}

impl Shape {
    pub fn length(&self) -> u64 {
        self.page_size as u64 * self.pages
    }
}

impl Reader {
    pub fn shape(&self) -> Result<Shape, SqliteError> {
        let (size, pages) = (self.number("PRAGMA page_size")?, self.number("PRAGMA page_count")?);
        Ok(Shape { page_size: size as usize, pages: pages as u64 })
    }

    /// Reads every page and hands them to `batches`, in buffers of `buffers`. Ends early, and well, when nobody takes
    /// them any more.
    pub fn read_pages(&self, free: Free, buffers: &Buffers, batches: &Sender<Pages>) -> Result<(), SqliteError> {
        let shape = self.shape()?;
        let blanks = match free {
            Free::Keep => Blanks::default(),
            Free::Zero => self.free_pages(shape)?,
        };
        let mut batch = Batch { bytes: empty(buffers), buffers, batches, full: BATCH.max(shape.page_size) };
        let mut expected = 1;
        let walked = each_page(&self.connection, |number, page| {
            if number != expected || page.len() != shape.page_size {
                let reason = format!("page {expected} is missing");
                return Err(SqliteError::Unsound { file: self.path().to_owned(), reason });
            }
            expected += 1;
            Ok(batch.push(page, blanks.of(number, shape.page_size)))
        });
        match walked {
            Ok(()) => {
                // Short of its end, nobody wanted the rest.
                let _ = batch.send();
                Ok(())
            }
            Err(Failure::Sqlite(error)) => Err(SqliteError::of(self.path(), error)),
            Err(Failure::Own(error)) => Err(error),
        }
    }

    fn free_pages(&self, shape: Shape) -> Result<Blanks, SqliteError> {
        FreePages::new(&self.connection, shape).list().map_err(|error| SqliteError::of(self.path(), error))
    }
}

enum Failure {
    Sqlite(rusqlite::Error),
    Own(SqliteError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

fn each_page(
    connection: &Connection,
    mut take: impl FnMut(u64, &[u8]) -> Result<ControlFlow<()>, SqliteError>,
) -> Result<(), Failure> {
    let mut statement = connection.prepare("SELECT pgno, data FROM sqlite_dbpage ORDER BY pgno")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let data = row.get_ref(1)?;
        let page = data
            .as_blob()
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, data.data_type(), Box::new(error)))?;
        if take(number as u64, page).map_err(Failure::Own)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Pages on their way, or why there are no more.
pub type Pages = Result<Lent, SqliteError>;

struct Batch<'a> {
    bytes: Vec<u8>,
    buffers: &'a Buffers,
    batches: &'a Sender<Pages>,
    full: usize,
}

impl Batch<'_> {
    fn push(&mut self, page: &[u8], blank_from: usize) -> ControlFlow<()> {
        let kept = blank_from.min(page.len());
        self.bytes.extend_from_slice(&page[..kept]);
        self.bytes.resize(self.bytes.len() + page.len() - kept, 0);
        if self.bytes.len() + page.len() > self.full { self.send() } else { ControlFlow::Continue(()) }
    }

    fn send(&mut self) -> ControlFlow<()> {
        if self.bytes.is_empty() {
            return ControlFlow::Continue(());
        }
        let bytes = std::mem::replace(&mut self.bytes, empty(self.buffers));
        match self.batches.send(Ok(Lent::new(bytes, self.buffers))) {
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

/// A few batches ahead of who takes them, and the buffers they come in.
pub fn channel() -> (Sender<Pages>, Receiver<Pages>, Buffers) {
    let (sender, receiver) = bounded(2);
    (sender, receiver, Buffers::new(4, BATCH))
}
