use std::io::Write;

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

/// What every page says behind its options, as docs/scripting.md has it.
const SECTIONS: [(&str, &[(&str, &str)]); 3] = [
    (
        "EXIT STATUS",
        &[
            ("0", "done"),
            ("1", "failed"),
            ("2", "usage: the command line, the configuration or a setting is wrong"),
            ("3", "incomplete: done, but something was left out, is not as it was, or has to be known"),
            ("4", "damage was found"),
            ("10", "no vault there"),
            ("11", "busy: something else holds a lock that is needed"),
            ("12", "no identity opens the vault, or this host has no writer file"),
            ("130", "interrupted"),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("STRONGROOM_VAULT", "the vault, as --vault"),
            ("STRONGROOM_CONFIG", "the configuration, as --config"),
            ("STRONGROOM_IDENTITY", "the identity file, as --identity"),
            ("STRONGROOM_PASSPHRASE_FILE", "a file, mode 0600, whose first line is the passphrase"),
            ("AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION", "for s3://"),
            ("AWS_ENDPOINT_URL, AWS_CA_BUNDLE", "another server than AWS, and its certificate authority"),
            ("PGPASSWORD", "the password for postgres://"),
            ("NO_COLOR", "no colours"),
        ],
    ),
    (
        "FILES",
        &[
            ("strongroom.toml", "the configuration, in the working folder"),
            (
                "~/.config/strongroom/identity.txt",
                "the identity: without it, or another that the vault is sealed to, nothing can be read",
            ),
            ("~/.local/share/strongroom/vault", "the vault, where none is named"),
            ("~/.local/share/strongroom/actions", "what was done to live data, for undo"),
            ("~/.cache/strongroom", "what makes the next backup fast; can be removed"),
        ],
    ),
];

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let mut whole = Arguments::command();
    whole.build();
    let command = match &args.command {
        None => whole,
        Some(name) => whole
            .find_subcommand(name)
            .filter(|command| !command.is_hide_set())
            .cloned()
            .ok_or_else(|| Failure::usage(format!("there is no command {name}"), "see strongroom --help"))?,
    };
    let mut text = Vec::new();
    let failed = |error: std::io::Error| Failure::other(format!("cannot make the manual page: {error}"), None);
    page(command, &mut text).map_err(failed)?;
    deliver(context, "page", &text);
    Ok(Ending::Done)
}

fn page(command: clap::Command, out: &mut Vec<u8>) -> std::io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has_commands = command.has_subcommands();
    let man = clap_mangen::Man::new(command).title(name);
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if has_commands {
        man.render_subcommands_section(out)?;
    }
    for (title, items) in SECTIONS {
        writeln!(out, ".SH {}", if title.contains(' ') { format!("\"{title}\"") } else { title.to_owned() })?;
        for (item, words) in items {
            writeln!(out, ".TP\n\\fB{}\\fR\n{}", plain(item), plain(words))?;
        }
    }
    writeln!(out, ".SH EXAMPLES\n.nf")?;
    for line in examples.lines().filter(|line| !line.starts_with("Example")) {
        writeln!(out, "{}", plain(line))?;
    }
    writeln!(out, ".fi")
}

/// Text that means nothing to roff.
fn plain(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
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
