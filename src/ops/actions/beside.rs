//! What lies beside an action: the rows it wrote, which may be many, and what triggers did.
//!
//! Owns that an action and what lies beside it are believed together only: without one of them an undo would leave rows as
//! they are, or make them what they never were.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Actions, read};
use crate::record::trace::Trace;
use crate::vault::host;

impl Actions {
    /// Writes down what the rows hold that an action is about to commit, before the action says that it is ready. What
    /// lies beside the action is named in it by its digest, since without it an undo would leave rows as they are.
    pub fn keep_trace(&self, id: &str, trace: &Trace) -> Result<Beside, ActionError> {
        let (file, fired) = (self.trace_file(id), self.fired_file(id));
        self.write(&file, &serde_json::to_vec(trace).expect("BUG: plain fields"))?;
        Ok(Beside { trace: digest(&file)?, fired: if fired.exists() { Some(digest(&fired)?) } else { None } })
    }

    /// The rows that an action wrote. Actions of earlier versions hold them themselves.
    pub fn trace(&self, action: &Action) -> Result<Trace, ActionError> {
        let (file, recovered) = (self.trace_file(&action.id), action.recovered.as_ref());
        let beside = recovered.and_then(|recovered| recovered.beside.as_ref());
        if let Some(beside) = beside {
            is_as_written(&file, &beside.trace)?;
        }
        if beside.is_some() || file.exists() {
            return read(&file);
        }
        let written = recovered.map(|recovered| recovered.written.clone()).unwrap_or_default();
        Ok(Trace { written, ..Trace::default() })
    }

    /// A private file beside the action, for what rows held that triggers touched. What was written is on disk once it
    /// is flushed.
    pub fn fired(&self, action: &Action) -> Result<Fired, ActionError> {
        let file = self.fired_file(&action.id);
        host::make_private_folder(&self.folder).map_err(|error| ActionError::Io {
            file: file.clone(),
            source: std::io::Error::other(error.to_string()),
        })?;
        let made = host::create_private(&file).map_err(|source| ActionError::Io { file, source })?;
        Ok(Fired(BufWriter::new(made)))
    }

    /// The same, to be read; nothing where no trigger fired.
    pub fn read_fired(&self, action: &Action) -> Result<Option<File>, ActionError> {
        let file = self.fired_file(&action.id);
        if let Some(Beside { fired, .. }) = action.recovered.as_ref().and_then(|recovered| recovered.beside.as_ref()) {
            let Some(fired) = fired else { return Ok(None) };
            is_as_written(&file, fired)?;
        }
        match File::open(&file) {
            Ok(open) => Ok(Some(open)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ActionError::Io { file, source }),
        }
    }

    /// Removes it, of an action that changed nothing.
    pub fn forget_fired(&self, action: &Action) {
        // What stays is litter in a private folder, not harm.
        let _ = fs::remove_file(self.fired_file(&action.id));
    }

    fn fired_file(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.fired"))
    }

    fn trace_file(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.trace"))
    }
}

/// Takes what triggers did.
pub struct Fired(BufWriter<File>);

impl Write for Fired {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()?;
        self.0.get_ref().sync_all()
    }
}

/// What lies beside an action, by the digests of the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    trace: String,
    /// Nothing where no trigger could fire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fired: Option<String>,
}

fn is_as_written(file: &Path, expected: &str) -> Result<(), ActionError> {
    let (file, fate) = match digest(file) {
        Ok(digest) if digest == expected => return Ok(()),
        Ok(_) => (file.to_owned(), "damaged"),
        Err(ActionError::Io { file, source }) if source.kind() == std::io::ErrorKind::NotFound => (file, "gone"),
        Err(error) => return Err(error),
    };
    Err(ActionError::Beside { file, fate })
}

/// The digest of a file, which may be long.
fn digest(file: &Path) -> Result<String, ActionError> {
    let mut hasher = blake3::Hasher::new();
    let mut feed = || -> std::io::Result<()> {
        let mut open = BufReader::new(File::open(file)?);
        loop {
            let part = open.fill_buf()?;
            if part.is_empty() {
                return Ok(());
            }
            hasher.update(part);
            let length = part.len();
            open.consume(length);
        }
    };
    feed().map_err(|source| ActionError::Io { file: file.to_owned(), source })?;
    Ok(hasher.finalize().to_hex().to_string())
}
