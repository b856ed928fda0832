//! The definitions of a captured database: which tools are run for them, and what becomes of a refusal.

use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::base::control::Control;
use crate::engine::postgres::catalog;
use crate::engine::postgres::definitions::{self, Held};
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::quoted;
use crate::engine::postgres::moment::Moment;
use crate::source::SourceError;
use crate::source::postgres::PostgresSource;

/// The tools, found and told what to write, before anything is read.
pub(super) struct Tools {
    pre_data: Command,
    post_data: Command,
    globals: Option<Command>,
    key: u64,
    /// What the sessions of pg_dump are called.
    pub name: String,
}

/// What those who run them and those who watch them share.
#[derive(Debug, Default)]
pub(super) struct Running {
    pub stop: Control,
    /// So many of pg_dump are at it.
    pub dumps: AtomicI64,
}

/// What they wrote.
pub(super) struct Definitions {
    pub pre_data: Held,
    pub post_data: Held,
    /// Or why there are none.
    pub globals: Option<Result<Held, PostgresError>>,
}

impl Tools {
    pub fn find(source: &PostgresSource, moment: &mut Moment, encoding: &str, key: u64) -> Result<Self, SourceError> {
        let leader: i32 = moment.session.query("SELECT pg_backend_pid()", &[])?[0].get(0);
        let called = format!("pg_dump of strongroom {leader}");
        let mut chosen = Vec::new();
        if !source.selection.has_every_schema() {
            let schemas = catalog::schemas(&mut moment.session)?;
            let (inside, outside): (Vec<_>, Vec<_>) =
                schemas.iter().partition(|schema| source.selection.has_schema(schema));
            // What lies in no schema belongs to all, and is left out only where some are asked for by name.
            chosen = match source.selection.schemas {
                Some(_) => inside.iter().map(|schema| format!("--schema={}", quoted(schema))).collect(),
                None => outside.iter().map(|schema| format!("--exclude-schema={}", quoted(schema))).collect(),
            };
        }
        let settings = moment.session.settings();
        let section = |name: &str| -> Result<Command, PostgresError> {
            let mut command = settings.tool("pg_dump", moment.version)?;
            command
                .arg(format!("--section={name}"))
                .arg(format!("--snapshot={}", moment.id))
                .arg(format!("--encoding={encoding}"))
                .arg("--no-password")
                .args(&chosen)
                .env("PGAPPNAME", &called);
            Ok(command)
        };
        let globals = || -> Result<Command, PostgresError> {
            let mut command = settings.tool("pg_dumpall", moment.version)?;
            command.args(["--globals-only", "--no-role-passwords", "--no-password"]);
            Ok(command)
        };
        let (pre_data, post_data) = (section("pre-data")?, section("post-data")?);
        let globals = source.globals.then(globals).transpose()?;
        Ok(Self { pre_data, post_data, globals, key, name: called })
    }

    /// Runs them, beside each other.
    pub fn run(self, running: &Running) -> Result<Definitions, PostgresError> {
        let Self { pre_data, post_data, globals, key, .. } = self;
        let dump = |command| {
            running.dumps.fetch_add(1, Ordering::SeqCst);
            let held = definitions::run(command, "pg_dump", key, &running.stop);
            running.dumps.fetch_sub(1, Ordering::SeqCst);
            held
        };
        std::thread::scope(|scope| {
            let post_data = scope.spawn(|| dump(post_data));
            let globals =
                scope.spawn(|| globals.map(|globals| definitions::run(globals, "pg_dumpall", key, &running.stop)));
            let pre_data = dump(pre_data);
            let post_data = post_data.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let globals = globals.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok(Definitions { pre_data: pre_data?, post_data: post_data?, globals })
        })
    }
}
