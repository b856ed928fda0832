//! What pg_dump and pg_dumpall write: definitions as SQL, held until it is their turn.
//!
//! Owns running them and keeping what they say, compressed, in memory. Never writes to disk, never shows a password.

use std::io::{self, BufRead, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::base::control::Control;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::restore::definitions::shortened;
use crate::engine::postgres::restore::permitted;
use crate::engine::postgres::restore::statements::{Refused, Splitter, Why};

/// Definitions beyond this many compressed bytes are nothing anybody has.
const MOST: usize = 48 << 20;
/// How much of what a tool complains about is looked at.
const COMPLAINTS: u64 = 64 << 10;
/// How long to wait before looking whether to stop.
const GLANCE: Duration = Duration::from_millis(5);
/// What psql is told so that a dump cannot leave SQL; the word behind it is another each time.
const RESTRICT: &[u8] = b"\\restrict ";
const UNRESTRICT: &[u8] = b"\\unrestrict ";

/// A text held in memory, compressed.
pub struct Held {
    compressed: Vec<u8>,
    /// Stands for the word of this dump, so that the same definitions are the same text.
    word: Option<(Vec<u8>, Vec<u8>)>,
    foreign: Option<String>,
}

/// Runs a tool to its end, or until it is told to stop, and holds what it says. `name` is for people; `key` is known to the
/// vault only.
pub fn run(mut command: Command, name: &'static str, key: u64, stop: &Control) -> Result<Held, PostgresError> {
    let fail = |source| PostgresError::Run { tool: name, source };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(fail)?;
    let stderr = child.stderr.take().expect("BUG: it was asked for");
    let mut stdout = child.stdout.take().expect("BUG: it was asked for");
    std::thread::scope(|scope| {
        let complaints = scope.spawn(|| complaints_of(stderr));
        // A tool whose words nobody takes any more ends by itself.
        let held = scope.spawn(move || hold(&mut stdout, key));
        let ended = wait(&mut child, stop).map_err(fail)?;
        let complaints = complaints.join().unwrap_or_default();
        let held = held.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(fail)?;
        let Some(status) = ended else { return Err(PostgresError::Interrupted) };
        match held {
            // What ends too early is the fault of a tool that did.
            Err(why) if status.success() || why.why != Why::Unfinished => {
                Err(PostgresError::NoDefinitions { tool: name, why })
            }
            Ok(held) if status.success() => Ok(held),
            _ => Err(PostgresError::ToolFailed { tool: name, complaint: essence(&complaints) }),
        }
    })
}

/// How it ended; nothing when it was told to stop.
fn wait(child: &mut Child, stop: &Control) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if stop.stopped() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(GLANCE);
    }
}

/// All of it is read, so that the tool never waits; the beginning is kept.
fn complaints_of(mut stderr: impl Read) -> String {
    let mut kept = Vec::new();
    let _ = stderr.by_ref().take(COMPLAINTS).read_to_end(&mut kept);
    let _ = io::copy(&mut stderr, &mut io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}

/// The first thing it calls an error, on one line.
fn essence(complaints: &str) -> String {
    let error = complaints.lines().find_map(|line| Some(line.split_once(": error: ")?.1));
    error.or(complaints.lines().next()).unwrap_or("it says nothing").to_owned()
}

/// Holds what a tool says, once it is sure that it is definitions: a server may have made it say anything.
fn hold(from: &mut impl Read, key: u64) -> io::Result<Result<Held, Refused>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3)?;
    let (mut digest, mut splitter, mut foreign) =
        (Sha256::new_with_prefix(key.to_le_bytes()), Splitter::default(), None);
    let mut word: Option<Vec<u8>> = None;
    for line in Lines::new(from) {
        let line = line?;
        match line.strip_prefix(RESTRICT) {
            Some(found) if word.is_none() => word = Some(found.trim_ascii().to_vec()),
            _ if word.as_ref().is_some_and(|word| is_of(&line, word)) => {}
            _ => digest.update(&line),
        }
        for &byte in &line {
            match splitter.push(byte) {
                Ok(None) => {}
                Ok(Some(statement)) => {
                    let sql = String::from_utf8_lossy(&statement);
                    if foreign.is_none() && !permitted::is_definition(&sql) {
                        foreign = Some(shortened(&sql));
                    }
                }
                Err(refused) => return Ok(Err(refused)),
            }
        }
        encoder.write_all(&line)?;
        if encoder.get_ref().len() > MOST {
            return Err(io::Error::other("its definitions are longer than can be held in memory"));
        }
    }
    if let Err(refused) = splitter.finish() {
        return Ok(Err(refused));
    }
    let digest = digest.finalize();
    // Nobody who does not know the key can tell the word before, and so write it into a definition.
    let stand_in = hex::encode(Sha256::new_with_prefix(key.to_le_bytes()).chain_update(digest).finalize()).into_bytes();
    Ok(Ok(Held { compressed: encoder.finish()?, word: word.map(|word| (word, stand_in)), foreign }))
}

impl Held {
    /// A statement that no restore would run, if there is one.
    pub fn foreign(&self) -> Option<&str> {
        self.foreign.as_deref()
    }

    /// The text, some of it at a time.
    pub fn blocks(&self) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>> + '_> {
        let lines = Lines::new(zstd::stream::read::Decoder::new(&self.compressed[..])?);
        Ok(lines.map(|line| {
            let line = line?;
            match &self.word {
                Some((word, stand_in)) if is_of(&line, word) => Ok(replaced(&line, word, stand_in)),
                _ => Ok(line),
            }
        }))
    }
}

fn is_of(line: &[u8], word: &[u8]) -> bool {
    let rest = line.strip_prefix(RESTRICT).or_else(|| line.strip_prefix(UNRESTRICT));
    rest.is_some_and(|rest| rest.trim_ascii() == word)
}

fn replaced(line: &[u8], word: &[u8], stand_in: &[u8]) -> Vec<u8> {
    let at = line.len() - line.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count() - word.len();
    [&line[..at], stand_in, &line[at + word.len()..]].concat()
}

/// Lines with their ends; one that is very long comes in parts.
struct Lines<R>(io::BufReader<R>);

impl<R: Read> Lines<R> {
    fn new(from: R) -> Self {
        Self(io::BufReader::with_capacity(64 << 10, from))
    }
}

impl<R: Read> Iterator for Lines<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        const LONGEST: u64 = 1 << 20;
        let mut line = Vec::new();
        match self.0.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(Ok(line)),
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(held: &Held) -> String {
        let text: Vec<Vec<u8>> = held.blocks().unwrap().collect::<Result<_, _>>().unwrap();
        String::from_utf8(text.concat()).unwrap()
    }

    fn held(sql: &str, key: u64) -> Held {
        hold(&mut sql.as_bytes(), key).unwrap().unwrap()
    }

    #[test]
    fn the_word_that_is_another_each_time_is_the_same_for_the_same_definitions_of_the_same_vault() {
        let dump = |word: &str, table: &str, key| {
            text(&held(&format!("--\n\\restrict {word}\n\nCREATE TABLE {table} ();\n\\unrestrict {word}\n"), key))
        };
        assert_eq!(dump("abc", "t", 7), dump("xyz", "t", 7));
        assert_ne!(dump("abc", "t", 7)[..80], dump("abc", "u", 7)[..80]);
        assert_ne!(dump("abc", "t", 7)[..80], dump("abc", "t", 8)[..80]);
        let held = dump("abc", "t", 7);
        let words: Vec<&str> =
            held.lines().filter_map(|line| line.split_once("restrict ")).map(|(_, word)| word).collect();
        assert!(words.len() == 2 && words[0] == words[1] && words[0].len() == 64, "{held}");
    }

    #[test]
    fn what_is_a_command_to_psql_is_not_held_and_what_no_restore_runs_is_told() {
        for sql in ["\\! true\n", "CREATE TABLE t ();\n\\unrestrict abc\n\\! true\n", "SELECT 1"] {
            assert!(hold(&mut sql.as_bytes(), 7).unwrap().is_err(), "{sql}");
        }
        assert_eq!(held("CREATE TABLE t ();\nCREATE WONDER w;\n", 7).foreign(), Some("CREATE WONDER w"));
        assert_eq!(held("CREATE TABLE t ();\n", 7).foreign(), None);
    }

    #[test]
    fn a_text_without_a_last_newline_or_with_a_long_line_is_kept_as_it_is() {
        for sql in [String::new(), "-- a\n-- b".into(), format!("--{}", "x".repeat(3 << 20))] {
            assert!(text(&held(&sql, 7)) == sql);
        }
    }
}
