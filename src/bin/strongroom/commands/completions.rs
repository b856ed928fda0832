use clap::CommandFactory;

use crate::arguments::Arguments;
use crate::context::Context;
use crate::exit::{Ending, Failure};

/// Print a completion script for a shell
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  strongroom completions bash > ~/.local/share/bash-completion/completions/strongroom"
)]
pub struct Args {
    shell: clap_complete::Shell,
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "strongroom", &mut script);
    super::man::deliver(context, "script", &script);
    Ok(Ending::Done)
}
