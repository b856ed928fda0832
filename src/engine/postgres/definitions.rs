//! What pg_dump and pg_dumpall write: definitions as SQL, held until it is their turn.
//!
//! Owns running them and keeping what they say, compressed, in memory. Never writes to disk, never shows a password.

use std::io::{self, BufRead, Read, Write};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::engine::postgres::error::PostgresError;

/// Definitions beyond this many compressed bytes are nothing anybody has.
const MOST: usize = 48 << 20;
/// How much of what a tool complains about is looked at.
const COMPLAINTS: u64 = 64 << 10;
/// What psql is told so that a dump cannot leave SQL; the word behind it is another each time.
const RESTRICT: &[u8] = b"\\restrict ";
const UNRESTRICT: &[u8] = b"\\unrestrict ";

/// A text held in memory, compressed.
pub struct Held {
    compressed: Vec<u8>,
    /// Stands for the word of this dump, so that the same definitions are the same text.
    word: Option<(Vec<u8>, Vec<u8>)>,
}

/// Runs a tool to its end and holds what it says. `name` is for people.
pub fn run(mut command: Command, name: &'static str) -> Result<Held, PostgresError> {
    let fail = |source| PostgresError::Run { tool: name, source };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(fail)?;
    let stderr = child.stderr.take().expect("BUG: it was asked for");
    let mut stdout = child.stdout.take().expect("BUG: it was asked for");
    let (held, complaints) = std::thread::scope(|scope| {
        let complaints = scope.spawn(|| complaints_of(stderr));
        let held = hold(&mut stdout);
        // A tool whose words nobody takes any more ends by itself.
        drop(stdout);
        (held, complaints.join().unwrap_or_default())
    });
    let status = child.wait().map_err(fail)?;
    if !status.success() {
        return Err(sorted(name, &complaints));
    }
    held.map_err(fail)
}

/// All of it is read, so that the tool never waits; the beginning is kept.
fn complaints_of(mut stderr: impl Read) -> String {
    let mut kept = Vec::new();
    let _ = stderr.by_ref().take(COMPLAINTS).read_to_end(&mut kept);
    let _ = io::copy(&mut stderr, &mut io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}

/// What a tool complains about, by what a person can do about it.
fn sorted(tool: &'static str, complaints: &str) -> PostgresError {
    let complaint = essence(complaints);
    if complaint.contains("lock timeout") {
        return PostgresError::Locked { reason: complaint };
    }
    PostgresError::ToolFailed { tool, complaint }
}

/// The first thing it calls an error, on one line.
fn essence(complaints: &str) -> String {
    let error = complaints.lines().find_map(|line| Some(line.split_once(": error: ")?.1));
    error.or(complaints.lines().next()).unwrap_or("it says nothing").to_owned()
}

fn hold(from: &mut impl Read) -> io::Result<Held> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3)?;
    let mut digest = Sha256::new();
    let mut word = None;
    for line in Lines::new(from) {
        let line = line?;
        match line.strip_prefix(RESTRICT) {
            Some(found) if word.is_none() => word = Some(found.trim_ascii().to_vec()),
            _ if line.starts_with(UNRESTRICT) => {}
            _ => digest.update(&line),
        }
        encoder.write_all(&line)?;
        if encoder.get_ref().len() > MOST {
            return Err(io::Error::other("its definitions are longer than can be held in memory"));
        }
    }
    // Nobody who writes a definition can know the digest of all of them: it would have to hold itself.
    let stand_in = hex::encode(digest.finalize()).into_bytes();
    Ok(Held { compressed: encoder.finish()?, word: word.map(|word| (word, stand_in)) })
}

impl Held {
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

    #[test]
    fn the_word_that_is_another_each_time_is_the_same_for_the_same_definitions() {
        let dump = |word: &str, table: &str| {
            let sql = format!("--\n\\restrict {word}\n\nCREATE TABLE {table} ();\n\\unrestrict {word}\n");
            text(&hold(&mut sql.as_bytes()).unwrap())
        };
        assert_eq!(dump("abc", "t"), dump("xyz", "t"));
        assert_ne!(dump("abc", "t")[..80], dump("abc", "u")[..80]);
        let held = dump("abc", "t");
        let words: Vec<&str> =
            held.lines().filter_map(|line| line.split_once("restrict ")).map(|(_, word)| word).collect();
        assert!(words.len() == 2 && words[0] == words[1] && words[0].len() == 64, "{held}");
    }

    #[test]
    fn a_text_without_a_last_newline_or_with_a_long_line_is_kept_as_it_is() {
        for sql in [String::new(), "a\nb".into(), "x".repeat(3 << 20)] {
            assert!(text(&hold(&mut sql.as_bytes()).unwrap()) == sql);
        }
    }
}
