//! What scripts/bench_sqlite.sh needs beside the tools it measures: a database of a given size, changes to it, a writer
//! that tells how long each commit took, a connection that stays open, SQLite's own ways to copy, and the pages by which
//! two databases differ.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, params};

const USAGE: &str = "usage: bench_sqlite make FILE MB | change FILE SEED ROWS | write FILE STOP | hold FILE STOP | \
                     backup FILE COPY | vacuum FILE COPY | differ OLD NEW";

const SCHEMA: &str = "
    CREATE TABLE projects (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE documents (id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE,
                            title TEXT NOT NULL, body TEXT NOT NULL);
    CREATE INDEX documents_project ON documents (project_id);
    CREATE TABLE notes (id INTEGER PRIMARY KEY, document_id INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
                        text TEXT NOT NULL);
    CREATE INDEX notes_document ON notes (document_id);
    CREATE TABLE alembic_version (version_num TEXT PRIMARY KEY);
    INSERT INTO alembic_version VALUES ('8f3c2a91');";

/// Numbers that are the same every time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as i64 % limit
    }

    fn text(&mut self, words: &[String], count: i64) -> String {
        (0..count).map(|_| words[self.below(words.len() as i64) as usize].as_str()).collect::<Vec<_>>().join(" ")
    }
}

fn open(file: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(Duration::from_secs(60))?;
    Ok(connection)
}

/// Projects with documents and notes, of about so many megabytes, with a write-ahead log.
fn make(file: &str, megabytes: i64) -> rusqlite::Result<()> {
    let mut connection = open(file)?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -100000")?;
    connection.execute_batch(SCHEMA)?;
    let mut random = Random(7);
    let word = |random: &mut Random| {
        let length = 2 + random.below(9);
        (0..length).map(|_| (b'a' + random.below(26) as u8) as char).collect::<String>()
    };
    let words: Vec<String> = (0..20_000).map(|_| word(&mut random)).collect();
    let transaction = connection.transaction()?;
    for id in 1..=200 {
        transaction.execute("INSERT INTO projects VALUES (?, ?)", params![id, random.text(&words, 3)])?;
    }
    // A document with its note takes about 4.4 kB.
    let documents = megabytes * 1_000_000 / 4400;
    let mut insert = transaction.prepare("INSERT INTO documents VALUES (?, ?, ?, ?)")?;
    let mut note = transaction.prepare("INSERT INTO notes VALUES (?, ?, ?)")?;
    for id in 1..=documents {
        let (title, length) = (random.text(&words, 6), 100 + random.below(800));
        insert.execute(params![id, 1 + random.below(200), title, random.text(&words, length)])?;
        note.execute(params![id, 1 + random.below(id), random.text(&words, 20)])?;
    }
    drop((insert, note));
    transaction.commit()?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Updates random rows.
fn change(file: &str, seed: u64, rows: u64) -> rusqlite::Result<()> {
    let mut connection = open(file)?;
    let last: i64 = connection.query_row("SELECT max(id) FROM documents", [], |row| row.get(0))?;
    let mut random = Random(seed + 1000);
    let transaction = connection.transaction()?;
    for number in 0..rows {
        let title = format!("changed {number} by {seed}");
        transaction.execute("UPDATE documents SET title = ? WHERE id = ?", params![title, 1 + random.below(last)])?;
    }
    transaction.commit()?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Commits about every millisecond until the file `stop` is there, and writes for each commit when it began, in seconds
/// since 1970, and how many milliseconds it took.
///
/// Each commit changes a row: SQLite writes nothing for an update that leaves the bytes as they are.
fn write(file: &str, stop: &str) -> Result<(), Box<dyn Error>> {
    let connection = open(file)?;
    connection.execute_batch("PRAGMA synchronous = NORMAL")?;
    let last: i64 = connection.query_row("SELECT max(id) FROM notes", [], |row| row.get(0))?;
    let (mut random, mut out) = (Random(99), BufWriter::new(io::stdout().lock()));
    let mut update = connection.prepare("UPDATE notes SET text = ? || substr(text, 17) WHERE id = ?")?;
    for number in 0_u64.. {
        if Path::new(stop).exists() {
            break;
        }
        let text = format!("{number:016}");
        let (at, begun) = (SystemTime::now().duration_since(UNIX_EPOCH)?, Instant::now());
        update.execute(params![text, 1 + random.below(last)])?;
        writeln!(out, "{:.6} {:.4}", at.as_secs_f64(), begun.elapsed().as_secs_f64() * 1000.0)?;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(out.flush()?)
}

/// An app that is connected, and does nothing, until the file `stop` is there.
fn hold(file: &str, stop: &str) -> rusqlite::Result<()> {
    let connection = open(file)?;
    while !Path::new(stop).exists() {
        connection.query_row("SELECT name FROM projects WHERE id = 1", [], |_| Ok(()))?;
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// What `.backup` of the sqlite3 tool does.
fn backup(file: &str, copy: &str) -> rusqlite::Result<()> {
    let (from, mut to) = (open(file)?, Connection::open(copy)?);
    // All pages in one step, as the tool does: no other writer can make it begin again.
    rusqlite::backup::Backup::new(&from, &mut to)?.run_to_completion(i32::MAX, Duration::ZERO, None)
}

fn vacuum(file: &str, copy: &str) -> rusqlite::Result<()> {
    open(file)?.execute("VACUUM INTO ?", [copy]).map(|_| ())
}

/// Writes the pages of 4 KiB that the second file has otherwise than the first.
fn differ(old: &str, new: &str) -> io::Result<()> {
    let reader = |path: &str| File::open(Path::new(path)).map(|file| BufReader::with_capacity(1 << 20, file));
    let (mut old, mut new, mut out) = (reader(old)?, reader(new)?, io::stdout().lock());
    let (mut before, mut after) = ([0; 4096], [0; 4096]);
    while new.read_exact(&mut after).is_ok() {
        if old.read_exact(&mut before).is_err() || before != after {
            out.write_all(&after)?;
        }
    }
    out.flush()
}

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| fail(USAGE));
    let done: Result<(), String> = match words[..] {
        ["make", file, megabytes] => make(file, number(megabytes) as i64).map_err(|error| error.to_string()),
        ["change", file, seed, rows] => change(file, number(seed), number(rows)).map_err(|error| error.to_string()),
        ["write", file, stop] => write(file, stop).map_err(|error| error.to_string()),
        ["hold", file, stop] => hold(file, stop).map_err(|error| error.to_string()),
        ["backup", file, copy] => backup(file, copy).map_err(|error| error.to_string()),
        ["vacuum", file, copy] => vacuum(file, copy).map_err(|error| error.to_string()),
        ["differ", old, new] => differ(old, new).map_err(|error| error.to_string()),
        _ => fail(USAGE),
    };
    done.unwrap_or_else(|error| fail(&error));
}

fn fail(why: &str) -> ! {
    eprintln!("{why}");
    std::process::exit(2)
}
