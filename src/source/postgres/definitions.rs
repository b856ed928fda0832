//! The definitions of a captured database: which tools are run for them, and what becomes of a refusal.

use std::process::Command;

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
}

/// What they wrote.
pub(super) struct Definitions {
    pub pre_data: Held,
    pub post_data: Held,
    /// Or why there are none.
    pub globals: Option<Result<Held, PostgresError>>,
}

impl Tools {
    pub fn find(source: &PostgresSource, moment: &mut Moment, encoding: &str) -> Result<Self, SourceError> {
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
        let section = |name: &str| -> Result<Command, PostgresError> {
            let mut command = source.connection.tool("pg_dump", moment.version)?;
            command
                .arg(format!("--section={name}"))
                .arg(format!("--snapshot={}", moment.id))
                .arg(format!("--encoding={encoding}"))
                .args(["--lock-wait-timeout=1s", "--no-password"])
                .args(&chosen);
            Ok(command)
        };
        let globals = || -> Result<Command, PostgresError> {
            let mut command = source.connection.tool("pg_dumpall", moment.version)?;
            command.args(["--globals-only", "--no-role-passwords", "--no-password"]);
            Ok(command)
        };
        let (pre_data, post_data) = (section("pre-data")?, section("post-data")?);
        Ok(Self { pre_data, post_data, globals: source.globals.then(globals).transpose()? })
    }

    /// Runs them, beside each other.
    pub fn run(self) -> Result<Definitions, PostgresError> {
        let Self { pre_data, post_data, globals } = self;
        std::thread::scope(|scope| {
            let post_data = scope.spawn(|| definitions::run(post_data, "pg_dump"));
            let globals = scope.spawn(|| globals.map(|globals| definitions::run(globals, "pg_dumpall")));
            let pre_data = definitions::run(pre_data, "pg_dump")?;
            let post_data = post_data.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            let globals = globals.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok(Definitions { pre_data, post_data, globals })
        })
    }
}
