//! The configuration that is written of what was found. Only kinds this version has become sources; the rest is said.

use std::path::{Path, PathBuf};

use crate::base::name::Name;
use crate::ops::discover::engines::Engine;
use crate::ops::discover::{Compose, Discovery, Findings, LeftOut, Server, Variable, What};
use crate::source::SOURCES;

struct Draft {
    text: String,
    sources: Vec<String>,
    missing: Vec<String>,
}

pub(super) fn write(folder: &Path, vault: Option<&str>, findings: &Findings, left_out: Vec<LeftOut>) -> Discovery {
    let whole = std::path::absolute(folder).unwrap_or(folder.to_owned());
    let app = Name::lossy(&whole.file_name().map_or("app".into(), |name| name.to_string_lossy()));
    let mut text = String::from(
        "# Written by strongroom init --discover. Look through it: what is not named here is not captured.\n\
         # Relative paths are relative to this file.\n",
    );
    match vault {
        Some(vault) => text.push_str(&format!("vault = {}\n", quoted(vault))),
        None => {
            text.push_str("# vault = \"…\"    a folder or s3://bucket/prefix; without it, the user's data folder\n")
        }
    }
    text.push_str(&format!("app = {}\n", quoted(app.as_str())));
    let mut files: Vec<String> =
        findings.servers.iter().filter_map(|server| server.path.to_str()).map(quoted).collect();
    files.dedup();
    if !files.is_empty() {
        text.push_str("# Where variables are looked up that the environment does not have.\n");
        text.push_str(&format!("env_file = [{}]\n", files.join(", ")));
    }
    let mut draft = Draft { text, sources: Vec::new(), missing: Vec::new() };
    for path in &findings.databases {
        draft.source("sqlite", &stem(path), path, &[]);
    }
    for server in &findings.servers {
        draft.server(server);
    }
    for path in &findings.documents {
        // Databases in the same folder are captured as such, not as files.
        let inside = findings.databases.iter().filter_map(|database| database.strip_prefix(path).ok());
        let has_sqlite = SOURCES.iter().any(|kind| kind.name == "sqlite");
        let exclude: Vec<String> = inside.filter(|_| has_sqlite).flat_map(with_logs).collect();
        let name = path.file_name().map_or("documents".into(), |name| name.to_string_lossy());
        draft.source("files", &name, path, &exclude);
    }
    for path in &findings.environments {
        draft.source("files", &name_of_environment(path), path, &[]);
    }
    for Variable { path, engine } in &findings.variables {
        // A database of PostgreSQL whose URL is known is a source.
        if findings.servers.is_empty() || engine.kind != "postgres" {
            draft.engine(&format!("{} names", path.display()), engine);
        }
    }
    for Compose { path, engines } in &findings.compose {
        draft.source("files", &stem(path), path, &[]);
        engines.iter().for_each(|engine| draft.engine(&format!("{} runs", path.display()), engine));
    }
    if draft.sources.is_empty() {
        draft.text.push_str("\n# Nothing was found that looks like data. Describe it:\n");
        draft.text.push_str("# [source.data]\n# kind = \"files\"\n# path = \"data\"\n");
    }
    draft.left_out(&left_out, findings);
    let Draft { text, sources, missing } = draft;
    Discovery { text, sources, missing, left_out }
}

impl Draft {
    /// A source of this kind; as comments where this version has no such kind, or the path cannot be written.
    fn source(&mut self, kind: &str, name: &str, path: &Path, exclude: &[String]) {
        let shown = path.to_string_lossy();
        let shown = if shown.is_empty() { ".".into() } else { shown };
        let known = SOURCES.iter().any(|known| known.name == kind);
        let plain = path.to_str().is_some_and(|path| !path.contains("${"));
        let name = free_name(&self.sources, name);
        let mut lines = format!("[source.{}]\nkind = {}\npath = {}\n", key(&name), quoted(kind), quoted(&shown));
        if !exclude.is_empty() {
            let globs: Vec<String> = exclude.iter().map(|glob| quoted(glob)).collect();
            lines.push_str(&format!("exclude = [{}]\n", globs.join(", ")));
        }
        self.text.push('\n');
        if known && plain {
            self.text.push_str(&lines);
            self.sources.push(name);
            return;
        }
        let why = if known {
            format!("{} cannot be named in a configuration", shown.escape_debug())
        } else {
            format!("{shown} is of the kind {kind}, which this version cannot capture")
        };
        self.text.push_str(&format!("# {why}.\n"));
        lines.lines().filter(|_| plain).for_each(|line| self.text.push_str(&format!("# {line}\n")));
        self.missing.push(why);
    }

    /// A database that a variable names. What it says may be a secret, and stays where it is.
    fn server(&mut self, Server { path, variable }: &Server) {
        let name = variable.to_lowercase();
        let name = ["_url", "_uri", "_dsn"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        let name = free_name(&self.sources, name);
        let file = path.to_string_lossy();
        self.text.push_str(&format!("\n# {variable} is set in {}.\n", file.escape_debug()));
        self.text.push_str(&format!("[source.{}]\nkind = \"postgres\"\nurl = \"${{{variable}}}\"\n", key(&name)));
        self.sources.push(name);
    }

    /// Says that there is an engine whose data is not captured by capturing files.
    fn engine(&mut self, who: &str, engine: &Engine) {
        let (who, named) = (who.escape_debug(), engine.named.escape_debug());
        let why = if engine.is_known() {
            format!("{who} {named}: describe it as a source of the kind {}", engine.kind)
        } else {
            format!("{who} {named}, which this version cannot capture: dump it into a folder that is captured")
        };
        self.text.push_str(&format!("# {why}.\n"));
        self.missing.push(why);
    }

    /// Says what no source holds, each with the lines that would make it one.
    fn left_out(&mut self, left_out: &[LeftOut], findings: &Findings) {
        if left_out.is_empty() {
            return;
        }
        self.text.push_str(
            "\n# NOT captured, the largest first. To capture one of them, remove the # before the lines of its source.\n",
        );
        let mut names = self.sources.clone();
        for left in left_out {
            self.text.push_str(&format!("#\n# {}\n", left.words()));
            let shown = if left.path.as_os_str().is_empty() { Some(".") } else { left.path.to_str() };
            let Some(path) = shown.filter(|path| !path.contains("${")) else { continue };
            let file_name = left.path.file_name().map_or("files".into(), |name| name.to_string_lossy());
            let name = free_name(&names, &file_name);
            let mut lines = format!("[source.{}]\nkind = \"files\"\npath = {}\n", key(&name), quoted(path));
            if left.what == What::FilesIn {
                let globs: Vec<String> = others(&left.path, findings).iter().map(|glob| quoted(glob)).collect();
                lines.push_str(&format!("exclude = [{}]\n", globs.join(", ")));
            }
            lines.lines().for_each(|line| self.text.push_str(&format!("# {line}\n")));
            names.push(name);
        }
    }
}

/// Exclude rules for all that lies in a folder beside the files that no source holds.
fn others(folder: &Path, findings: &Findings) -> Vec<String> {
    let compose = findings.compose.iter().map(|compose| &compose.path);
    let own = |path: &&PathBuf| path.parent() == Some(folder);
    let name = |path: &'_ PathBuf| path.file_name().map(PathBuf::from);
    let databases = findings.databases.iter().filter(own).filter_map(name);
    let files = findings.environments.iter().chain(compose).filter(own).filter_map(name);
    let databases = databases.flat_map(|name| with_logs(&name)).collect::<Vec<_>>();
    std::iter::once("/*/".to_owned()).chain(databases).chain(files.filter_map(|name| glob(&name))).collect()
}

/// A name that none of these is.
fn free_name(taken: &[String], name: &str) -> String {
    let name = Name::lossy(name).to_string();
    let numbered = (2..).map(|n| format!("{name}_{n}"));
    let is_free = |name: &String| !taken.contains(name);
    std::iter::once(name.clone()).chain(numbered).find(is_free).expect("BUG: numbers do not end")
}

/// The file's name without its ending.
fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// `.env.production` as `env_production`.
fn name_of_environment(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.trim_start_matches('.').replace('.', "_")
}

/// Exclude rules for a database and the files beside it, and for nothing else that is called alike.
fn with_logs(database: &Path) -> Vec<String> {
    let rule = glob(database).into_iter();
    rule.flat_map(|rule| ["", "-wal", "-shm", "-journal"].map(|end| format!("{rule}{end}"))).collect()
}

/// An exclude rule for one file.
fn glob(path: &Path) -> Option<String> {
    let mut glob = String::from("/");
    for letter in path.to_str()?.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '{' | '}' | '\\' | '!') {
            glob.push('\\');
        }
        glob.push(letter);
    }
    Some(glob)
}

/// A value of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A key of TOML.
fn key(name: &str) -> String {
    let bare = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if bare { name.to_owned() } else { quoted(name) }
}
