//! How a run ends: exit codes, and errors as a line, its cause and the way out.

use std::io::Write;
use std::process::ExitCode;

use strongroom::base::error::{Class, Explain};
use strongroom::base::text::{is_obeyed, printable};

use crate::closed;
use crate::context::{Context, to_stderr};
use crate::output::{Failed, Output};
use crate::terminal::Lines;

/// A run that ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Done,
    /// Something had to be left out.
    Incomplete,
    /// Damage was found.
    Damaged,
}

impl Ending {
    pub fn code(self) -> ExitCode {
        match self {
            Self::Done => ExitCode::SUCCESS,
            Self::Incomplete => Class::Incomplete.exit_code().into(),
            Self::Damaged => Class::Damaged.exit_code().into(),
        }
    }
}

/// An error as the person meets it.
pub struct Failure {
    message: String,
    cause: Option<String>,
    hint: Option<String>,
    class: Class,
    /// The document on standard output tells of it already.
    told: bool,
}

impl Failure {
    /// A mistake on the command line that clap cannot know of.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), cause: None, hint: Some(hint.into()), class: Class::Usage, told: false }
    }

    pub fn no_identity(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), cause: None, hint: Some(hint.into()), class: Class::NoIdentity, told: false }
    }

    pub fn other(message: impl Into<String>, hint: Option<String>) -> Self {
        Self { message: message.into(), cause: None, hint, class: Class::Failed, told: false }
    }

    pub fn is_no_vault(&self) -> bool {
        self.class == Class::NoVault
    }

    /// What `--json` prints of it.
    pub fn document(&self) -> serde_json::Value {
        let code = self.class.exit_code();
        serde_json::json!({ "error": self.message, "cause": self.cause, "hint": self.hint, "code": code })
    }

    /// The same with another way out.
    pub fn hinting(self, hint: String) -> Self {
        Self { hint: Some(hint), ..self }
    }

    /// The same, once a document has told of it.
    pub fn told(self) -> Self {
        Self { told: true, ..self }
    }

    fn new(
        message: String,
        cause: Option<&(dyn std::error::Error + 'static)>,
        hint: Option<String>,
        class: Class,
    ) -> Self {
        let mut causes: Vec<String> = Vec::new();
        let mut next = cause;
        while let Some(cause) = next {
            let text = match cause.downcast_ref::<std::io::Error>() {
                Some(error) => strongroom::base::error::reason(error),
                None => cause.to_string(),
            };
            // An error that passes on what another says has it in its message already, as a full disk is.
            let is_full = message.starts_with("no space left") && text.starts_with("no space left");
            if !message.contains(&text) && !is_full && !causes.iter().any(|cause| cause.contains(&text)) {
                causes.push(text);
            }
            next = cause.source();
        }
        let cause = (!causes.is_empty()).then(|| causes.join(": "));
        Self { message, cause, hint, class, told: false }
    }
}

impl<E: Explain> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.to_string(), error.source(), error.hint(), error.class())
    }
}

/// The code of a program whose reader went away, as shells know it: 128 and the number of SIGPIPE.
const READER_GONE: u8 = 141;

/// How the run ends. What is done and could not be told is no success; trouble outweighs that.
pub fn code(ran: Result<Ending, Failure>, context: &Context) -> ExitCode {
    let own = match ran {
        Ok(ending) => {
            context.say_last_words();
            if ending == Ending::Done && context.alarmed() { Ending::Incomplete.code() } else { ending.code() }
        }
        Err(failure) => {
            let code = self::failure(&failure, context);
            context.say_of_caches();
            code
        }
    };
    // What is still on its way counts too.
    context.output.write(&[]);
    match context.output.failed() {
        None => own,
        Some(failed) => unwritten(&failed, own),
    }
}

/// The code of a run whose output failed. A reader that went away is no news to anybody.
fn unwritten(failed: &Failed, own: ExitCode) -> ExitCode {
    let code = match failed {
        Failed::Closed => READER_GONE,
        Failed::Broken(reason) => {
            to_stderr(&format!("error: could not write to standard output: {reason}"));
            Class::Failed.exit_code()
        }
    };
    if own == ExitCode::SUCCESS { code.into() } else { own }
}

/// Tells what went wrong; with `--json` on standard output as well.
fn failure(failure: &Failure, context: &Context) -> ExitCode {
    let code = failure.class.exit_code();
    let mut lines = Lines::new();
    match &failure.cause {
        Some(cause) => lines.push(&format!("error: {}: {cause}", failure.message)),
        None => lines.push(&format!("error: {}", failure.message)),
    }
    if let Some(hint) = &failure.hint {
        lines.push_command(&format!("hint: {hint}"));
    }
    to_stderr(&lines);
    if context.json() && !failure.told {
        context.print_json(&failure.document());
    }
    code.into()
}

/// What clap found wrong, or the help it was asked for.
pub fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        let plain = error.render().to_string();
        // Arguments come out of foreign folders, too.
        let _ = if plain.lines().any(|line| line.chars().any(is_obeyed)) {
            plain.lines().try_for_each(|line| writeln!(std::io::stderr(), "{}", printable(line)))
        } else {
            error.print()
        };
        return Class::Usage.exit_code().into();
    }
    let output = Output::default();
    let open = if closed::is_stdout() { Err(std::io::Error::other("it is closed")) } else { Ok(()) };
    let _ = output.note(open.and_then(|()| error.print()).and_then(|()| std::io::stdout().flush()));
    output.failed().map_or(ExitCode::SUCCESS, |failed| unwritten(&failed, ExitCode::SUCCESS))
}
