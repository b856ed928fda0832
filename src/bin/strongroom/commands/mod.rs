//! The commands. One file and one line here each.

mod live;
mod places;
mod server;

use crate::context::Context;
use crate::exit::{Ending, Failure};

/// Declares each command's module, its place in the parser and its dispatch.
macro_rules! commands {
    ($($name:ident => $module:ident),+ $(,)?) => {
        $(mod $module;)+

        #[derive(clap::Subcommand)]
        pub enum Command {
            $($name(Box<$module::Args>),)+
        }

        impl Command {
            pub fn run(self, context: &Context) -> Result<Ending, Failure> {
                match self {
                    $(Self::$name(args) => $module::run(*args, context),)+
                }
            }
        }
    };
}

commands! {
    Init => init,
    Backup => backup,
    Snapshots => snapshots,
    Show => show,
    Diff => diff,
    Query => query,
    Verify => verify,
    Restore => restore,
    Recover => recover,
    Find => find,
    Undo => undo,
    Completions => completions,
    Man => man,
}

/// Which snapshots are looked at.
#[derive(clap::Args, Default)]
pub struct FilterArgs {
    /// Only snapshots of this app
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Only snapshots made on this host
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Only snapshots that hold this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

impl FilterArgs {
    fn filter(&self) -> strongroom::vault::select::Filter {
        let FilterArgs { app, host, source } = self;
        strongroom::vault::select::Filter { app: app.clone(), host: host.clone(), source: source.clone() }
    }
}

/// Parses a snapshot selector for clap.
fn selector(text: &str) -> Result<strongroom::base::selector::Selector, String> {
    use strongroom::base::error::Explain;
    text.parse().map_err(|error: strongroom::base::selector::BadSelector| match error.hint() {
        Some(hint) => format!("{error}\nhint: {hint}"),
        None => error.to_string(),
    })
}

/// `SOURCE`, `SOURCE:PATH`, `:PATH`; or just a path where the snapshot has one source that is not called so.
fn part(
    text: &std::ffi::OsStr,
    manifest: &strongroom::format::manifest::Manifest,
) -> Result<strongroom::ops::show::Part, Failure> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = text.as_bytes();
    let path = |bytes: &[u8]| inner(std::ffi::OsStr::from_bytes(bytes));
    let is_source = |name: &str| manifest.sources.iter().any(|source| source.name.as_str() == name);
    let (name, rest) = match bytes.iter().position(|&b| b == b':') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &b""[..]),
    };
    let name = String::from_utf8_lossy(name).into_owned();
    if !name.is_empty() && !is_source(&name) && manifest.sources.len() == 1 {
        return Ok(strongroom::ops::show::Part { source: None, path: path(bytes)? });
    }
    Ok(strongroom::ops::show::Part { source: (!name.is_empty()).then_some(name), path: path(rest)? })
}

/// A path inside a source.
fn inner(text: &std::ffi::OsStr) -> Result<strongroom::base::path::EntryPath, Failure> {
    strongroom::base::path::EntryPath::from_typed(text).map_err(|_| {
        let shown = strongroom::base::path::encode(text.as_encoded_bytes());
        Failure::usage(
            format!("{shown} is not a path inside a source"),
            "paths are relative to the source and never hold ..",
        )
    })
}
