//! Standard output: what could not be written to it decides how the run ends.
//!
//! Owns the rule that an answer nobody got is no success. A reader that went away ends the output quietly, and not the
//! work; what else goes wrong is an error.

use std::cell::Cell;
use std::io::{self, ErrorKind, Write};

use strongroom::base::error::reason;

use crate::closed;

/// How standard output failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The reader went away: it has what it wanted, or is not interested.
    Closed,
    /// Why it could not be written to.
    Broken(String),
}

/// Standard output of this run.
#[derive(Default)]
pub struct Output {
    failed: Cell<Option<Failed>>,
}

impl Output {
    /// How it failed, if it did.
    pub fn failed(&self) -> Option<Failed> {
        let failed = self.failed.take();
        self.failed.set(failed.clone());
        failed
    }

    /// Writes all of it, at once. Once something could not be written, nothing more is.
    pub fn write(&self, bytes: &[u8]) {
        let mut writer = self.writer();
        // What goes wrong is noted.
        let _ = writer.write_all(bytes).and_then(|()| writer.flush());
    }

    /// For what is written as it comes.
    pub fn writer(&self) -> Writer<'_> {
        Writer(self)
    }

    /// Notes what came of writing.
    pub fn note<T>(&self, written: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &written
            && error.kind() != ErrorKind::Interrupted
            && self.failed().is_none()
        {
            let failed = match error.kind() {
                ErrorKind::BrokenPipe => Failed::Closed,
                _ => Failed::Broken(reason(error)),
            };
            self.failed.set(Some(failed));
        }
        written
    }
}

/// Writes to standard output and notes what goes wrong, also where whoever writes does not look.
pub struct Writer<'o>(&'o Output);

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.failed().is_some() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        // What is written then goes where nobody reads it.
        if closed::is_stdout() && !bytes.is_empty() {
            return self.0.note(Err(io::Error::other("it is closed")));
        }
        self.0.note(io::stdout().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.0.failed().is_some() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        self.0.note(io::stdout().lock().flush())
    }
}
