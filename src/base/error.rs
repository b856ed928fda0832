//! What an error means to the person who meets it: a class, which decides the exit code, and a hint.
//!
//! Every floor has its own error enum; each implements [`Explain`]. A message is one lower-case line
//! that names the object; its cause is in `source()`; the way out is in [`Explain::hint`].

use std::error::Error;

/// How an operation ended badly. The numbers are a promise: see docs/scripting.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing more precise is known.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// Done, but something had to be left out.
    Incomplete,
    /// The vault holds something other than what was put there.
    Damaged,
    /// There is no vault at the place named.
    NoVault,
    /// Somebody else holds what is needed.
    Busy,
    /// No identity at hand opens the vault.
    NoIdentity,
    /// The person asked to stop.
    Interrupted,
}

impl Class {
    /// The exit code of a process that ends with this class.
    pub fn exit_code(self) -> u8 {
        match self {
            Class::Failed => 1,
            Class::Usage => 2,
            Class::Incomplete => 3,
            Class::Damaged => 4,
            Class::NoVault => 10,
            Class::Busy => 11,
            Class::NoIdentity => 12,
            Class::Interrupted => 130,
        }
    }
}

/// An error that can say what it means and what to try.
pub trait Explain: Error + Send + Sync + 'static {
    /// What the error means; decides the exit code.
    fn class(&self) -> Class {
        Class::Failed
    }

    /// The way out, where there is one.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// An error of another floor, carried through a seam that knows neither side.
pub type Explained = Box<dyn Explain>;

/// An error with its cause, on one line.
pub fn one_line(error: &dyn Error) -> String {
    let text = error.to_string();
    match error.source() {
        Some(cause) => {
            let cause = cause.downcast_ref().map_or_else(|| cause.to_string(), reason);
            if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
        }
        None => text,
    }
}

/// The operating system's reason in lower case, without the number Rust appends.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => text.to_owned(),
    }
}
