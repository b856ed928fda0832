use std::collections::BTreeSet;

use clap::CommandFactory;
use strongroom::base::text::shell_word;
use strongroom::format::manifest::Manifest;

use crate::arguments::{Arguments, Global};
use crate::context::Context;
use crate::exit::{Ending, Failure};

/// Print what a shell may offer for the last of these words
///
/// The scripts of strongroom completions ask for it. Nothing is asked of a person, and what cannot be looked up is not
/// offered.
#[derive(clap::Args)]
#[command(hide = true, after_help = "Example:\n  strongroom complete -- restore latest ''")]
pub struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// So many snapshots are offered by their ids.
const IDS: usize = 50;

/// What stands in one place of a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Sources,
    Snapshots,
    SnapshotsOrLive,
    Tags,
    Apps,
    Hosts,
    Entities,
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let line = Line::of(&args.words);
    let Some(what) = line.what() else { return Ok(Ending::Done) };
    let context = context.with(line.global);
    let found = candidates(what, &context);
    // What would need quotes is left to the person.
    let fits = |word: &&String| word.starts_with(&line.current) && shell_word(word) == **word;
    found.iter().filter(fits).for_each(|word| context.print(word));
    Ok(Ending::Done)
}

/// A command line that is being typed.
struct Line {
    global: Global,
    command: String,
    /// Words of the command that are no options, before the current one.
    before: usize,
    /// The option that the current word is the value of.
    option: Option<String>,
    current: String,
}

impl Line {
    fn of(words: &[String]) -> Self {
        let mut whole = Arguments::command();
        whole.build();
        let (current, words) = words.split_last().map_or((String::new(), words), |(last, rest)| (last.clone(), rest));
        let (global, command) = (Global::default(), String::new());
        let mut line = Self { global, command, before: 0, option: None, current };
        for word in words {
            if let Some(option) = line.option.take() {
                line.take_global(&option, word);
            } else if let Some(long) = word.strip_prefix("--") {
                let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
                match value {
                    Some(value) => line.take_global(name, value),
                    None => line.option = takes_value(&whole, &line.command, name).then(|| name.to_owned()),
                }
            } else if word.starts_with('-') && word.len() > 1 {
            } else if line.command.is_empty() {
                line.command = word.clone();
            } else {
                line.before += 1;
            }
        }
        line
    }

    fn take_global(&mut self, name: &str, value: &str) {
        match name {
            "vault" => self.global.vault = Some(value.to_owned()),
            "config" => self.global.config = Some(value.into()),
            "identity" => self.global.identity = Some(value.into()),
            _ => {}
        }
    }

    fn what(&self) -> Option<What> {
        if let Some(option) = &self.option {
            return match option.as_str() {
                "source" => Some(What::Sources),
                "tag" => Some(What::Tags),
                "app" => Some(What::Apps),
                "host" => Some(What::Hosts),
                "missing" => Some(What::Entities),
                _ => None,
            };
        }
        match (self.command.as_str(), self.before) {
            _ if self.current.starts_with('-') => None,
            ("backup", _) | ("show", 1) => Some(What::Sources),
            ("restore", position) if position > 0 => Some(What::Sources),
            ("show" | "restore" | "query" | "recover" | "verify" | "diff", 0) => Some(What::Snapshots),
            ("diff", 1) => Some(What::SnapshotsOrLive),
            ("recover", 1) | ("find", 0) => Some(What::Entities),
            _ => None,
        }
    }
}

fn takes_value(whole: &clap::Command, command: &str, name: &str) -> bool {
    let command = whole.find_subcommand(command).unwrap_or(whole);
    let known = command.get_arguments().chain(whole.get_arguments()).find(|arg| arg.get_long() == Some(name));
    known.is_some_and(|arg| arg.get_action().takes_values())
}

/// Words for one place, those that are most likely first.
fn candidates(what: What, context: &Context) -> Vec<String> {
    let config = context.config().ok().flatten();
    let configured = |names: Vec<String>| if names.is_empty() { None } else { Some(names) };
    match what {
        What::Sources => {
            let own = config.map(|config| config.sources.iter().map(|planned| planned.name.to_string()).collect());
            own.and_then(configured).unwrap_or_else(|| {
                distinct(context, |manifest| manifest.sources.iter().map(|source| source.name.to_string()).collect())
            })
        }
        What::Entities => {
            let own = config.map(|config| config.model.entities.keys().cloned().collect());
            own.and_then(configured).unwrap_or_else(|| distinct(context, tables))
        }
        What::Tags => distinct(context, |manifest| manifest.tags.clone()),
        What::Apps => distinct(context, |manifest| vec![manifest.app.to_string()]),
        What::Hosts => distinct(context, |manifest| vec![manifest.host.clone()]),
        What::Snapshots => snapshots(context),
        What::SnapshotsOrLive => std::iter::once("live".to_owned()).chain(snapshots(context)).collect(),
    }
}

fn snapshots(context: &Context) -> Vec<String> {
    let all = manifests(context);
    let mut words = vec!["latest".to_owned(), "latest~1".to_owned()];
    words.extend(all.iter().rev().take(IDS).map(|manifest| manifest.id.short()));
    let tags = all.iter().flat_map(|manifest| &manifest.tags).map(|tag| format!("tag:{tag}"));
    let labels = all.iter().flat_map(|manifest| &manifest.labels).map(|(key, value)| format!("label:{key}={value}"));
    words.extend(tags.chain(labels).collect::<BTreeSet<_>>());
    words
}

fn tables(manifest: &Manifest) -> Vec<String> {
    let databases = manifest.sources.iter().flat_map(|source| &source.databases);
    let names = databases.flat_map(|database| database.rows.keys());
    names.map(|name| name.strip_prefix("public.").unwrap_or(name).to_owned()).collect()
}

fn distinct(context: &Context, of: impl Fn(&Manifest) -> Vec<String>) -> Vec<String> {
    manifests(context).iter().flat_map(of).collect::<BTreeSet<_>>().into_iter().collect()
}

/// All that can be read without asking anybody, oldest first.
fn manifests(context: &Context) -> Vec<Manifest> {
    let snapshots = context.unlocked_unasked().ok().and_then(|vault| vault.snapshots().ok()).unwrap_or_default();
    snapshots.readable.into_iter().map(|snapshot| snapshot.manifest).collect()
}
