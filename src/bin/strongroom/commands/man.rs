use clap::CommandFactory;

use crate::arguments::Arguments;
use crate::context::Context;
use crate::exit::{Ending, Failure};

/// Print the manual page, of one command or of all
#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom man backup | man -l -")]
pub struct Args {
    /// A command; without one, the page that lists them
    command: Option<String>,
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let whole = Arguments::command();
    let command = match &args.command {
        None => whole,
        Some(name) => whole
            .find_subcommand(name)
            .cloned()
            .ok_or_else(|| Failure::usage(format!("there is no command {name}"), "see strongroom --help"))?,
    };
    let mut page = Vec::new();
    let failed = |error: std::io::Error| Failure::other(format!("cannot make the manual page: {error}"), None);
    clap_mangen::Man::new(command).render(&mut page).map_err(failed)?;
    deliver(context, "page", &page);
    Ok(Ending::Done)
}

/// Prints a text, or with `--json` a document that holds it.
pub fn deliver(context: &Context, name: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    if context.json() {
        context.print_json(&serde_json::json!({ name: text }));
    } else {
        // It was asked for, however quiet everything else is to be.
        context.write(text.as_bytes());
    }
}
