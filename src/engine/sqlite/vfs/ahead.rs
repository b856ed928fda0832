//! A live database's file, read in larger pieces by whoever reads all of it: SQLite asks for one page at a time, and
//! asking costs as much as the page.
//!
//! Owns what was read ahead: where somebody reads on, and only there. It stays true for as long as this connection is
//! in a transaction, since nobody else writes then what this connection reads from the file: another one writes pages
//! that have to be read from the log. What the connection writes itself forgets it.
//!
//! What every `SAFETY` below relies on: SQLite says which file it has open; it calls that file's methods from the thread
//! that uses the connection, and never two at once; it does not close the file before the connection, which outlives
//! an [`Ahead`]; the methods of a file are a constant of SQLite's. No panic leaves a call.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr;

use rusqlite::Connection;
use rusqlite::ffi::{
    self, SQLITE_FCNTL_FILE_POINTER, SQLITE_IOERR, SQLITE_IOERR_READ, SQLITE_OK, sqlite3_file, sqlite3_int64,
    sqlite3_io_methods,
};

use super::calls::guarded;

/// So much is read at once.
const PIECE: u64 = 256 << 10;
/// Of which so much lies where the reader comes from: nobody reads quite straight on.
const BACK: u64 = 32 << 10;
/// What is skipped and still counts as reading on.
const GAP: u64 = 64 << 10;
/// Places where somebody may read on in turns: a table, what is too long for its pages, an index.
const STREAMS: usize = 4;

/// Reads ahead until it is dropped. The connection must be in a transaction that has read something, and must be in it
/// until then.
pub struct Ahead<'c> {
    file: *mut sqlite3_file,
    reader: *mut Reader,
    connection: PhantomData<&'c Connection>,
}

/// What SQLite sees as the methods of the file.
#[repr(C)]
struct Reader {
    methods: sqlite3_io_methods,
    /// Those that the file has of its own.
    own: *const sqlite3_io_methods,
    streams: Streams,
}

impl<'c> Ahead<'c> {
    /// `None` where SQLite does not say which file it is: then it reads as ever.
    pub fn of(connection: &'c Connection) -> Option<Self> {
        let mut file: *mut sqlite3_file = ptr::null_mut();
        // SAFETY: the connection is open, and writes a pointer to where it is told.
        let code = unsafe {
            let place = (&raw mut file).cast::<c_void>();
            ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), SQLITE_FCNTL_FILE_POINTER, place)
        };
        if code != SQLITE_OK || file.is_null() {
            return None;
        }
        // SAFETY: not null, so it is the open file; its methods are null or a constant.
        let own = unsafe { (*file).pMethods };
        // SAFETY: as above.
        let mut methods = unsafe { *own.as_ref()? };
        methods.xRead = Some(read);
        methods.xWrite = Some(write);
        methods.xTruncate = Some(truncate);
        let reader = Box::into_raw(Box::new(Reader { methods, own, streams: Streams::default() }));
        // SAFETY: both are alive, and SQLite makes no call now: this thread has the connection.
        unsafe { (*file).pMethods = &raw const (*reader).methods };
        Some(Self { file, reader, connection: PhantomData })
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        // SAFETY: the file is open as long as the connection, and SQLite makes no call now; the reader is the one that
        // was made for it, and nothing points to it any more.
        unsafe {
            (*self.file).pMethods = (*self.reader).own;
            drop(Box::from_raw(self.reader));
        }
    }
}

/// The reader behind a file's methods.
///
/// # Safety
/// `file` has the methods of a reader, and no other reference to that reader is alive.
unsafe fn reader<'f>(file: *mut sqlite3_file) -> &'f mut Reader {
    // SAFETY: the methods are the first thing in a reader, and the pointer to them was made of one to all of it.
    unsafe { &mut *(*file).pMethods.cast_mut().cast::<Reader>() }
}

unsafe extern "C" fn read(file: *mut sqlite3_file, to: *mut c_void, length: c_int, offset: sqlite3_int64) -> c_int {
    guarded(SQLITE_IOERR_READ, || {
        // SAFETY: called by SQLite on the file that was given these methods.
        let Reader { own, streams, .. } = unsafe { reader(file) };
        // SAFETY: a constant of SQLite's.
        let own = unsafe { &**own };
        let (Some(own_read), Some(own_size)) = (own.xRead, own.xFileSize) else { return SQLITE_IOERR_READ };
        // SAFETY: what SQLite asked of us is asked of its own method, with the same promises.
        let plain = || unsafe { own_read(file, to, length, offset) };
        let (Ok(length), Ok(start)) = (u64::try_from(length), u64::try_from(offset)) else { return plain() };
        let size = || {
            let mut size = 0;
            // SAFETY: the file is open, and the place is valid.
            let code = unsafe { own_size(file, &raw mut size) };
            if code == SQLITE_OK { u64::try_from(size).unwrap_or(0) } else { 0 }
        };
        let piece = |bytes: &mut [u8], at: u64| {
            let (Ok(length), Ok(at)) = (c_int::try_from(bytes.len()), sqlite3_int64::try_from(at)) else {
                return false;
            };
            // SAFETY: the file is open, and the buffer is as long as said.
            unsafe { own_read(file, bytes.as_mut_ptr().cast(), length, at) == SQLITE_OK }
        };
        match streams.read(start..start.saturating_add(length), size, piece) {
            Some(bytes) => {
                // SAFETY: SQLite's buffer is `length` bytes that nobody else uses during the call, and as many were found.
                unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast::<u8>(), bytes.len()) };
                SQLITE_OK
            }
            None => plain(),
        }
    })
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    length: c_int,
    offset: sqlite3_int64,
) -> c_int {
    guarded(SQLITE_IOERR, || {
        // SAFETY: called by SQLite on the file that was given these methods.
        let Reader { own, streams, .. } = unsafe { reader(file) };
        *streams = Streams::default();
        // SAFETY: a constant of SQLite's; what it asked of us is asked of its own method, with the same promises.
        unsafe { (**own).xWrite.map_or(SQLITE_IOERR, |own| own(file, from, length, offset)) }
    })
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    guarded(SQLITE_IOERR, || {
        // SAFETY: called by SQLite on the file that was given these methods.
        let Reader { own, streams, .. } = unsafe { reader(file) };
        *streams = Streams::default();
        // SAFETY: a constant of SQLite's; what it asked of us is asked of its own method, with the same promises.
        unsafe { (**own).xTruncate.map_or(SQLITE_IOERR, |own| own(file, size)) }
    })
}

/// The places where somebody reads on.
#[derive(Default)]
struct Streams {
    streams: [Stream; STREAMS],
    /// Counts reads.
    now: u64,
}

#[derive(Default)]
struct Stream {
    /// What was read last, be it ahead; nothing where it was not kept.
    bytes: Vec<u8>,
    range: Range<u64>,
    /// When it was read last; 0 for never.
    used: u64,
}

impl Streams {
    /// The bytes in question, where they were read ahead, or are now since somebody reads on.
    fn read(
        &mut self,
        wanted: Range<u64>,
        size: impl FnOnce() -> u64,
        piece: impl FnOnce(&mut [u8], u64) -> bool,
    ) -> Option<&[u8]> {
        self.now += 1;
        let now = self.now;
        if let Some(at) = self.streams.iter().position(|stream| stream.part(&wanted).is_some()) {
            let stream = &mut self.streams[at];
            stream.used = now;
            return stream.part(&wanted);
        }
        let next = self.streams.iter().enumerate().find_map(|(at, stream)| Some((at, stream.next(&wanted)?)));
        let Some((at, next)) = next else {
            let oldest = self.streams.iter_mut().min_by_key(|stream| stream.used)?;
            oldest.bytes.clear();
            (oldest.range, oldest.used) = (wanted, now);
            return None;
        };
        let (stream, next) = (&mut self.streams[at], next.start..next.end.min(size()));
        stream.bytes.resize(next.end.saturating_sub(next.start) as usize, 0);
        if next.end < wanted.end || !piece(&mut stream.bytes, next.start) {
            stream.bytes.clear();
            (stream.range, stream.used) = (wanted, now);
            return None;
        }
        (stream.range, stream.used) = (next, now);
        stream.part(&wanted)
    }
}

impl Stream {
    fn part(&self, wanted: &Range<u64>) -> Option<&[u8]> {
        let start = usize::try_from(wanted.start.checked_sub(self.range.start)?).ok()?;
        let end = usize::try_from(wanted.end.checked_sub(self.range.start)?).ok()?;
        self.bytes.get(start..end).filter(|part| !part.is_empty())
    }

    /// The piece to be read by somebody who reads on here, up or down: SQLite's check goes down.
    fn next(&self, wanted: &Range<u64>) -> Option<Range<u64>> {
        if self.used == 0 {
            return None;
        }
        let is_up = (self.range.end..=self.range.end.saturating_add(GAP)).contains(&wanted.start);
        let is_down = (self.range.start.saturating_sub(GAP)..=self.range.start).contains(&wanted.end);
        match (is_up, is_down) {
            (true, _) => {
                let start = wanted.start.saturating_sub(BACK);
                Some(start..start.saturating_add(PIECE))
            }
            (_, true) => {
                let end = wanted.end.saturating_add(BACK);
                Some(end.saturating_sub(PIECE)..end)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 7 * 31 + at) as u8).collect()
    }

    /// Reads from a file of this content: what was found, unless it is left to the question itself.
    fn read<'s>(streams: &'s mut Streams, file: &[u8], wanted: Range<u64>, pieces: &Cell<u32>) -> Option<&'s [u8]> {
        let piece = |bytes: &mut [u8], at: u64| {
            pieces.set(pieces.get() + 1);
            bytes.copy_from_slice(&file[at as usize..at as usize + bytes.len()]);
            true
        };
        streams.read(wanted, || file.len() as u64, piece)
    }

    proptest! {
        #[test]
        fn what_was_read_ahead_is_what_the_file_holds(
            length in 0usize..1_500_000,
            runs in proptest::collection::vec((0u64..1_600_000, 1u64..65_536, 1u64..40, any::<bool>()), 1..30),
        ) {
            let (file, mut streams) = (content(length), Streams::default());
            for (start, step, times, down) in runs {
                let at = |time: u64| if down { start.saturating_sub(time * step) } else { start + time * step };
                for wanted in (0..times).map(|time| at(time)..at(time) + step) {
                    if let Some(found) = read(&mut streams, &file, wanted.clone(), &Cell::default()) {
                        prop_assert_eq!(found, &file[wanted.start as usize..wanted.end as usize]);
                    }
                }
            }
        }
    }

    #[test]
    fn whoever_reads_on_asks_for_large_pieces_and_whoever_jumps_about_for_none() {
        let (file, mut streams, pieces) = (content(4 << 20), Streams::default(), Cell::new(0));
        let mut served = |pages: &mut dyn Iterator<Item = u64>| {
            let mut one = |page: &u64| read(&mut streams, &file, page * 4096..page * 4096 + 4096, &pieces).is_some();
            let served = pages.filter(|page| one(page)).count();
            (served, pieces.replace(0))
        };
        assert_eq!(served(&mut (0..1024)), (1023, 19));
        assert_eq!(served(&mut (0..1024).rev().skip(100)), (923, 17));
        // Two places in turns, neither quite in order.
        let jumpy = (0..300).map(|at| 500 - (at ^ 1)).flat_map(|page| [page, page + 510]);
        let (found, asked) = served(&mut jumpy.into_iter());
        assert!(found > 590 && asked < 16, "{found} {asked}");
        let (found, asked) = served(&mut (0..200).map(|at| at * 613 % 1000));
        assert!(found < 50 && asked < 20, "{found} {asked}");
    }

    #[test]
    fn a_piece_that_cannot_be_read_is_left_to_the_question_itself() {
        let mut streams = Streams::default();
        assert!(streams.read(0..4096, || 1 << 20, |_, _| true).is_none());
        assert!(streams.read(4096..8192, || 1 << 20, |_, _| false).is_none());
        assert!(streams.read(8192..12288, || 8192, |_, _| true).is_none(), "beyond the end");
    }

    #[test]
    fn what_the_connection_writes_is_read_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        for mode in ["wal", "delete"] {
            let connection = Connection::open(&file).unwrap();
            let set = format!(
                "PRAGMA journal_mode = {mode}; PRAGMA cache_size = 10; DROP TABLE IF EXISTS t; \
                 CREATE TABLE t(id INTEGER PRIMARY KEY, x); \
                 WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2000) \
                 INSERT INTO t SELECT n, hex(randomblob(500)) FROM n"
            );
            connection.execute_batch(&set).unwrap();
            let all = "SELECT count(*), sum(length(x)), sum(id), sum(x = 'new') FROM t";
            let ask = || {
                let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
                connection.query_row(all, [], row).unwrap()
            };
            connection.execute_batch("BEGIN IMMEDIATE; SELECT count(*) FROM t").unwrap();
            let ahead = Ahead::of(&connection).unwrap();
            assert_eq!(ask(), (2000, 2_000_000, 2_001_000, 0));
            connection.execute_batch("UPDATE t SET x = 'new' WHERE id % 2 = 0").unwrap();
            assert_eq!(ask(), (2000, 1_003_000, 2_001_000, 1000), "{mode}");
            drop(ahead);
            connection.execute_batch("COMMIT").unwrap();
            assert_eq!(ask(), (2000, 1_003_000, 2_001_000, 1000), "{mode}");
            let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
            assert_eq!(sound, "ok");
        }
    }
}
