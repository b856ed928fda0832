//! The tools that PostgreSQL brings: finding those that fit a server.
//!
//! A tool older than the server does not know all there is in it, and says so itself only later.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::settings::Settings;

/// Where packages put tools of several versions side by side: what stands before and behind the version.
const PLACES: [(&str, &str); 4] = [
    ("/usr/lib/postgresql/", "/bin"),
    ("/usr/pgsql-", "/bin"),
    ("/opt/homebrew/opt/postgresql@", "/bin"),
    ("/usr/local/opt/postgresql@", "/bin"),
];
/// Versions looked for there.
const NEWEST: u32 = 40;

impl Settings {
    /// A tool that fits a server of this version, told where the database is. The password is in its environment only.
    pub fn tool(&self, tool: &'static str, server: u32) -> Result<Command, PostgresError> {
        let mut command = Command::new(find(tool, server / 10_000, std::env::var_os("PATH"))?);
        self.tell(&mut command);
        command.env("LC_ALL", "C");
        Ok(command)
    }
}

/// Of the server's version if there is one, else the nearest newer one.
fn find(tool: &'static str, wanted: u32, path: Option<OsString>) -> Result<PathBuf, PostgresError> {
    for (before, behind) in PLACES {
        let exact = PathBuf::from(format!("{before}{wanted}{behind}")).join(tool);
        if exact.is_file() {
            return Ok(exact);
        }
    }
    let on_path =
        path.iter().flat_map(std::env::split_paths).map(|folder| folder.join(tool)).find(|file| file.is_file());
    let found = on_path.and_then(|file| Some((version(&file)?, file)));
    if let Some((version, file)) = &found
        && *version >= wanted
    {
        return Ok(file.clone());
    }
    let newer = (wanted + 1..NEWEST).flat_map(|version| {
        PLACES.iter().map(move |(before, behind)| PathBuf::from(format!("{before}{version}{behind}")).join(tool))
    });
    let oldest = |(found, _)| PostgresError::OldTool { tool, found, wanted };
    newer
        .into_iter()
        .find(|file| file.is_file())
        .ok_or_else(|| found.map_or(PostgresError::NoTool { tool, wanted }, oldest))
}

/// `pg_dump (PostgreSQL) 15.18 (Debian …)`: 15.
fn version(tool: &Path) -> Option<u32> {
    let said = Command::new(tool).arg("--version").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let number = said.split(") ").nth(1)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn folder_with(version: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pg_dumpling");
        std::fs::write(&file, format!("#!/bin/sh\necho 'pg_dumpling (PostgreSQL) {version}'\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

    #[test]
    fn a_tool_must_be_there_and_must_not_be_older_than_the_server() {
        let find = |folder: &tempfile::TempDir, wanted| find("pg_dumpling", wanted, Some(folder.path().into()));
        let fifteen = folder_with("15.18 (Debian 15.18-0+deb12u1)");
        assert!(find(&fifteen, 15).is_ok() && find(&fifteen, 12).is_ok());
        let old = find(&fifteen, 16).unwrap_err();
        assert_eq!(old.to_string(), "pg_dumpling is of version 15, the server of version 16");
        let none = find(&tempfile::tempdir().unwrap(), 15).unwrap_err();
        assert_eq!(none.to_string(), "pg_dumpling is not installed");
        assert!(find(&folder_with("18beta1"), 17).is_ok());
    }
}
