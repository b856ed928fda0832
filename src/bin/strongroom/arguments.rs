//! What can be typed: the global options and the list of commands.

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::commands::Command;

/// Undo for your whole application: an encrypted, deduplicating, verifiable vault.
#[derive(Parser)]
#[command(name = "strongroom", version, about, long_about = None, max_term_width = 80)]
#[command(after_help = "Examples:\n  \
    strongroom backup ~/app                    back up; makes a vault if need be\n  \
    strongroom snapshots                       list what there is\n  \
    strongroom restore latest --to /srv/out    give everything back\n  \
    strongroom verify --read-data              prove that it can be given back")]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// They stand apart from what a command has of its own.
const GLOBAL: &str = "Global options";

#[derive(Args, Clone, Default)]
pub struct Global {
    /// The vault: a folder, file:///folder or s3://bucket/prefix
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "URL", env = "STRONGROOM_VAULT", hide_env_values = true)]
    pub vault: Option<String>,
    /// The configuration; strongroom.toml in this folder if there is one
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE", env = "STRONGROOM_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// An age identity file or an ssh private key that opens the vault
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE", env = "STRONGROOM_IDENTITY", hide_env_values = true)]
    pub identity: Option<PathBuf>,
    /// Print the result as one JSON document
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
    /// Print nothing but errors and what must be known
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    pub quiet: bool,
    /// Show more detail
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    pub verbose: bool,
}
