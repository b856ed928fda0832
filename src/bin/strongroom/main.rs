//! The command line: parse, run, exit. Uses the library's public surface only.

#![deny(unsafe_code)]

mod answer;
mod arguments;
mod asking;
mod choosing;
mod closed;
mod commands;
mod context;
mod exit;
mod memory;
mod mistyped;
mod outage;
mod output;
mod progress;
mod render;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    memory::bound();
    let arguments = match arguments::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return exit::usage(&mistyped::explained(error)),
    };
    let context = context::Context::new(arguments.global);
    let ran = arguments.command.run(&context);
    exit::code(ran, &context)
}
