//! The commands. One file and one line here each.

mod changes;
mod damaged;
mod foreseen;
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
    Complete => complete,
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
