//! A database of more than 10 GiB, nearly all of it free pages that take no space on disk. Run by hand:
//! `cargo nextest run --run-ignored only -E 'test(more_than_ten_gib)'`.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use strongroom::base::path::EntryPath;
use strongroom::ops::show::{self, Part};

use super::reading::answer;
use super::{ask, capture, open};
use crate::support::vaults::Lab;

const PAGE: u64 = 65536;
/// 12 GiB.
const PAGES: u32 = 196_608;

/// Makes a database long by free pages, which its list of free pages names, highest first.
fn lengthen(path: &Path) {
    let used = u32::try_from(fs::metadata(path).unwrap().len() / PAGE).unwrap();
    let locks = (1 << 30) / PAGE as u32 + 1;
    let free: Vec<u32> = (used + 1..=PAGES).rev().filter(|&number| number != locks).collect();
    let mut file = File::options().write(true).open(path).unwrap();
    file.set_len(u64::from(PAGES) * PAGE).unwrap();
    let mut put = |at: u64, numbers: &[u32]| {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<_>>()).unwrap();
    };
    // One page names many others, and the next page that does.
    let lists: Vec<&[u32]> = free.chunks(PAGE as usize / 4 - 7).collect();
    for (at, list) in lists.iter().enumerate() {
        let next = lists.get(at + 1).map_or(0, |list| list[0]);
        let page = [&[next, list.len() as u32 - 1][..], &list[1..]].concat();
        put(u64::from(list[0] - 1) * PAGE, &page);
    }
    put(28, &[PAGES, lists[0][0], free.len() as u32]);
}

/// Takes only what the file holds, in order.
struct Same(File, Vec<u8>);

impl Write for Same {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.resize(bytes.len(), 0);
        self.0.read_exact(&mut self.1)?;
        assert!(self.1 == bytes, "other bytes before {}", self.0.stream_position()?);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
#[ignore = "a measurement"]
fn a_database_of_more_than_ten_gib_is_captured_asked_and_comes_back() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    let connection = open(&live);
    connection.execute_batch("PRAGMA page_size = 65536; CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)").unwrap();
    drop(connection);
    lengthen(&live);
    let connection = open(&live);
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
                INSERT INTO t (body) SELECT hex(randomblob(250)) FROM n";
    connection.execute(rows, []).unwrap();
    assert_eq!(ask(&connection, "PRAGMA integrity_check"), ["Text([111, 107])"]);
    assert_eq!(ask(&connection, "PRAGMA page_count"), [format!("Integer({PAGES})")]);
    let first = capture(&lab, &live);
    assert_eq!(first.bytes, u64::from(PAGES) * PAGE);
    assert!(first.complete() && first.bytes_new < 64 << 20, "{}", first.bytes_new);

    connection.execute("UPDATE t SET body = 'changed' WHERE id IN (7, 19999)", []).unwrap();
    let second = capture(&lab, &live);
    // Two rows on two pages, and the first page, which counts changes.
    assert!(second.bytes_new <= 3 * PAGE, "{}", second.bytes_new);
    let sql = "SELECT id, body FROM t WHERE id IN (1, 7, 12345, 19999, 20000)";
    assert_eq!(answer(&lab, &second, sql), ask(&connection, sql));
    assert_eq!(answer(&lab, &second, "SELECT count(*) FROM t"), ["Integer(20000)"]);
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    let whole = Part { source: None, path: EntryPath::root() };
    let mut same = Same(File::open(&live).unwrap(), Vec::new());
    show::cat(&unlocked, &second, &whole, &mut same).unwrap();
    assert_eq!(same.0.stream_position().unwrap(), second.bytes);
}
