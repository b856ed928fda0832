//! What the person wants run around a restore in place: stopping and starting the app.
//!
//! Owns how hooks are run and what their end means: a `before_restore` that fails keeps everything as it is; an
//! `after_restore` always runs once there was a `before_restore`, whatever happened in between, and its failure is told.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use serde::Serialize;

use crate::base::error::reason;
use crate::ops::actions::Touched;
use crate::ops::error::{OpError, Problem};
use crate::ops::restore::in_place::{Settings, Step};
use crate::ops::turns::Turn;

/// Lines of shell, run in the configuration's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    pub folder: PathBuf,
    pub before_restore: Option<String>,
    pub after_restore: Option<String>,
}

/// A hook that was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ran {
    pub name: &'static str,
    pub command: String,
    pub milliseconds: u64,
    /// How it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What a hook is told in its environment.
pub struct Facts {
    pub snapshot: String,
    pub sources: String,
    /// The turn that the hook runs within.
    pub turn: String,
}

impl Facts {
    pub fn of(snapshot: String, parts: &[Touched], turn: &Turn) -> Self {
        let mut sources: Vec<&str> = parts.iter().map(|part| part.source.as_str()).collect();
        sources.dedup();
        Self { snapshot, sources: sources.join(" "), turn: turn.id().to_owned() }
    }
}

/// Does the work between the hooks. Returns which were run.
pub(in crate::ops) fn around<R>(
    settings: &Settings<'_>,
    facts: &Facts,
    work: impl FnOnce() -> Result<R, OpError>,
) -> Result<(R, Vec<Ran>), OpError> {
    let hooks = &settings.hooks;
    let mut ran = Vec::new();
    let mut one = |name: &'static str, command: &Option<String>| {
        let Some(command) = command else { return None };
        let done = run(name, command, hooks, facts);
        (settings.told)(Step::Hook(done.clone()));
        ran.push(done.clone());
        done.failure
    };
    let result = match one("before_restore", &hooks.before_restore) {
        Some(failure) => Err(Problem::Hook { name: "before_restore", failure }.into()),
        None => work(),
    };
    one("after_restore", &hooks.after_restore);
    Ok((result?, ran))
}

fn run(name: &'static str, command: &str, hooks: &Hooks, facts: &Facts) -> Ran {
    let started = Instant::now();
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(&hooks.folder).stdin(Stdio::null());
    shell.env("STRONGROOM_HOOK", name).env("STRONGROOM_SNAPSHOT", &facts.snapshot);
    shell.env("STRONGROOM_SOURCES", &facts.sources).env("STRONGROOM_TURN", &facts.turn);
    // What a hook prints is no result of ours.
    let failure = match std::io::stderr().as_fd().try_clone_to_owned() {
        Ok(stderr) => failure(shell.stdout(Stdio::from(stderr)).status()),
        Err(error) => Some(reason(&error)),
    };
    Ran { name, command: command.to_owned(), milliseconds: started.elapsed().as_millis() as u64, failure }
}

fn failure(ended: std::io::Result<ExitStatus>) -> Option<String> {
    match ended {
        Ok(status) if status.success() => None,
        Ok(status) => Some(match status.code() {
            Some(code) => format!("it ended with {code}"),
            None => "it was killed".to_owned(),
        }),
        Err(error) => Some(reason(&error)),
    }
}
