//! Definitions in, through psql: it alone knows all that pg_dump writes.
//!
//! Owns feeding it and noticing its end. The password is in its environment only.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use bytes::Bytes;

use crate::base::control::Control;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::restore::error::LoadError;
use crate::engine::postgres::settings::Settings;

const TOOL: &str = "psql";
/// How much of what it complains about is kept.
const COMPLAINTS: u64 = 16 << 10;
const GLANCE: Duration = Duration::from_millis(20);

/// Runs statements that come block by block; the first that fails ends it.
pub fn feed(
    settings: &Settings,
    version: u32,
    control: &Control,
    give: &mut dyn FnMut() -> Result<Option<Bytes>, LoadError>,
) -> Result<(), LoadError> {
    let mut command = settings.tool(TOOL, version)?;
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
    // What servers and databases are set to must not end a long statement.
    command.env("PGOPTIONS", "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 -c client_min_messages=warning -c default_transaction_read_only=off");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let run = |source| PostgresError::Run { tool: TOOL, source };
    let mut child = command.spawn().map_err(run)?;
    let stdin = child.stdin.take().expect("BUG: it was asked for");
    let mut stderr = child.stderr.take().expect("BUG: it was asked for");
    let (given, complaint) = std::thread::scope(|scope| {
        let complaints = scope.spawn(move || {
            let mut kept = Vec::new();
            let _ = stderr.by_ref().take(COMPLAINTS).read_to_end(&mut kept);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            String::from_utf8_lossy(&kept).into_owned()
        });
        let given = pour(stdin, control, give).and_then(|()| wait(&mut child, control));
        if given.is_err() {
            let _ = child.kill();
        }
        (given, complaints.join().unwrap_or_default())
    });
    let status = child.wait().map_err(run)?;
    given?;
    if status.success() {
        return Ok(());
    }
    Err(PostgresError::ToolFailed { tool: TOOL, complaint: shortened(&complaint) }.into())
}

/// Writes until there is no more; that psql has gone is told by how it ends.
fn pour(
    mut stdin: ChildStdin,
    control: &Control,
    give: &mut dyn FnMut() -> Result<Option<Bytes>, LoadError>,
) -> Result<(), LoadError> {
    while let Some(block) = give()? {
        if control.stopped() {
            return Err(PostgresError::Interrupted.into());
        }
        if stdin.write_all(&block).is_err() {
            break;
        }
    }
    Ok(())
}

fn wait(child: &mut Child, control: &Control) -> Result<(), LoadError> {
    while child.try_wait().map_err(|source| PostgresError::Run { tool: TOOL, source })?.is_none() {
        if control.stopped() {
            return Err(PostgresError::Interrupted.into());
        }
        std::thread::sleep(GLANCE);
    }
    Ok(())
}

/// `psql:<stdin>:12: ERROR:  …` and what belongs to it, on one line.
fn shortened(complaint: &str) -> String {
    let lines = complaint.lines().filter(|line| !line.trim().is_empty()).take(3);
    let cut = |line: &str| line.split_once("ERROR:").map_or(line, |(_, rest)| rest).trim().to_owned();
    lines.map(cut).collect::<Vec<_>>().join("; ")
}
