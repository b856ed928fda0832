//! What clap says of a mistyped command line, where it can be said better.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};
use strongroom::base::text::nearest;

use crate::arguments::Arguments;

/// The error with the option that may have been meant, and with numbers called numbers.
pub fn explained(mut error: clap::Error) -> clap::Error {
    match error.kind() {
        ErrorKind::UnknownArgument if error.get(ContextKind::SuggestedArg).is_none() => {
            if let Some(meant) = typed(&error, ContextKind::InvalidArg).and_then(|typed| meant(&typed)) {
                error.insert(ContextKind::SuggestedArg, ContextValue::String(meant));
                // It was no value.
                error.remove(ContextKind::Suggested);
            }
            error
        }
        ErrorKind::ValueValidation if is_no_number(&error) => {
            let value = typed(&error, ContextKind::InvalidValue).unwrap_or_default();
            let option = typed(&error, ContextKind::InvalidArg).unwrap_or_default();
            let message = format!("invalid value '{value}' for '{option}': it is not a whole number\n");
            clap::Error::raw(ErrorKind::ValueValidation, message)
        }
        _ => error,
    }
}

fn typed(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// The option of the command that is nearest to what was typed.
fn meant(typed: &str) -> Option<String> {
    let typed = typed.strip_prefix("--")?.split('=').next()?;
    let mut whole = Arguments::command();
    whole.build();
    let words: Vec<String> = std::env::args_os().skip(1).filter_map(|word| word.into_string().ok()).collect();
    let command = words.iter().fold(&whole, |command: &Command, word| command.find_subcommand(word).unwrap_or(command));
    let options = command.get_arguments().filter(|option| !option.is_hide_set()).filter_map(|option| option.get_long());
    nearest(typed, options).map(|option| format!("--{option}"))
}

fn is_no_number(error: &clap::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::num::ParseIntError>())
}
