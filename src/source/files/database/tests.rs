use std::fs::File;
use std::time::SystemTime;

use rusqlite::Connection;

use super::*;
use crate::base::capture::{Access, Known, Piece, Rows, Skip};
use crate::base::chunk::Lent;
use crate::base::entry::Entry;

/// Takes pages; somebody writes to the database itself when the first of them have come.
struct Disturbed<'d> {
    database: &'d Path,
    times: u32,
    bytes: Vec<u8>,
}

impl EntrySink for Disturbed<'_> {
    fn content(
        &mut self,
        _: &mut dyn Iterator<Item = Result<Piece, Explained>>,
        _: Access,
    ) -> Result<Content, Explained> {
        unreachable!("it is a database")
    }

    fn pages(
        &mut self,
        _: &EntryPath,
        _: usize,
        batches: &mut dyn Iterator<Item = Result<Lent, Explained>>,
    ) -> Result<Content, Explained> {
        self.times += 1;
        self.bytes.clear();
        for batch in batches {
            self.bytes.extend_from_slice(batch?.bytes());
            if self.times == 1 {
                // Closed last, it carries the log over into the file.
                Connection::open(self.database).unwrap().execute_batch("UPDATE t SET a = a || '!'").unwrap();
            }
        }
        Ok(Content::default())
    }

    fn rows(
        &mut self,
        _: &EntryPath,
        _: &EntryPath,
        _: &mut dyn Iterator<Item = Result<Rows, Explained>>,
    ) -> Result<(Content, Content), Explained> {
        unreachable!("it is a database")
    }

    fn database(&mut self, _: Database) {}

    fn entry(&mut self, _: &Entry, _: Option<Fingerprint>) -> Result<(), Explained> {
        Ok(())
    }

    fn repeat(&mut self, _: &Known) -> Result<(), Explained> {
        Ok(())
    }

    fn skip(&mut self, _: Skip) {}
}

#[test]
fn a_database_at_rest_that_somebody_writes_to_meanwhile_is_captured_once_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let sql = "PRAGMA journal_mode = WAL; CREATE TABLE t (a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 \
               FROM n WHERE i < 500) INSERT INTO t SELECT hex(randomblob(2000)) FROM n";
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let old = SystemTime::now() - Duration::from_secs(3600);
    File::open(&path).unwrap().set_modified(old).unwrap();
    let mut sink = Disturbed { database: &path, times: 0, bytes: Vec::new() };
    let how = (Free::Keep, true);
    let captured = capture(&DatabaseFile::at(&path).unwrap(), &EntryPath::root(), how, &mut sink, &Control::default());
    let Ok(captured) = captured else { panic!("it was not captured") };
    assert!(captured.known.is_sound() && sink.times == 2, "{}", sink.times);
    assert!(sink.bytes == std::fs::read(&path).unwrap());
}
