//! Looking through an application's folder for what should be captured, and writing a configuration that names it.
//!
//! Reads names and the first bytes of files; changes nothing. What it proposes is for a person to look through: it
//! says what it found and has no source for, rather than leaving it out in silence.

mod draft;
mod engines;
mod left_out;

pub use left_out::{LeftOut, What};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::base::control::Control;
use crate::engine::regular;
use crate::engine::sqlite::file::DatabaseFile;
use crate::engine::sqlite::held::begins_like_a_database;
use crate::ops::discover::engines::Engine;
use crate::ops::error::{OpError, Problem};

/// Folders that tools make and can make again.
const MADE: [&str; 12] = [
    "node_modules",
    "target",
    "vendor",
    "venv",
    "__pycache__",
    "dist",
    "build",
    "bower_components",
    "site-packages",
    "coverage",
    "tmp",
    "logs",
];
/// So deep it looks: what people keep lies near the top.
const DEPTH: usize = 8;
/// The smallest page a SQLite database has; every database is a multiple of it.
const PAGE: u64 = 512;
/// Endings of files that people write, take or receive.
const DOCUMENTS: [&str; 32] = [
    "pdf", "doc", "docx", "odt", "rtf", "xls", "xlsx", "ods", "csv", "ppt", "pptx", "odp", "epub", "eml", "msg", "png",
    "jpg", "jpeg", "gif", "webp", "tif", "tiff", "heic", "bmp", "mp3", "wav", "m4a", "mp4", "mov", "mkv", "zip", "7z",
];
/// Folders that hold such files whatever their endings.
const DOCUMENT_FOLDERS: [&str; 8] =
    ["documents", "uploads", "upload", "media", "attachments", "userfiles", "user-files", "user_files"];
/// Folders that are named for data where they lie near the top, and may be code's own where they lie deeper.
const DATA_FOLDERS: [&str; 4] = ["docs", "data", "storage", "files"];
/// Folders of source text.
const CODE: [&str; 8] = ["src", "lib", "test", "tests", "spec", "examples", "packages", "include"];
/// How near.
const NEAR: usize = 2;

/// What a folder holds, by paths relative to it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    databases: Vec<PathBuf>,
    environments: Vec<PathBuf>,
    servers: Vec<Server>,
    compose: Vec<Compose>,
    documents: Vec<PathBuf>,
    variables: Vec<Variable>,
}

/// A variable of an environment file that names a database of an engine.
#[derive(Debug, PartialEq, Eq)]
struct Variable {
    path: PathBuf,
    engine: Engine,
}

/// A variable of an environment file that holds the URL of a PostgreSQL database.
#[derive(Debug, PartialEq, Eq)]
struct Server {
    path: PathBuf,
    variable: String,
}

/// A compose file with the engines it runs.
#[derive(Debug, PartialEq, Eq)]
struct Compose {
    path: PathBuf,
    engines: Vec<Engine>,
}

/// A configuration to be looked through, and how many sources it names.
#[derive(Debug)]
pub struct Discovery {
    pub text: String,
    pub sources: Vec<String>,
    /// What was found and cannot be captured yet: said in the text as well.
    pub missing: Vec<String>,
    /// What no source holds, the largest first: said in the text as well.
    pub left_out: Vec<LeftOut>,
}

/// Looks through `folder` and writes the text of a configuration that will stand in it. `vault` is what to name as the
/// vault; without it the usual place is left to be the vault.
pub fn discover(folder: &Path, vault: Option<&str>, control: &Control) -> Result<Discovery, OpError> {
    let findings = survey(folder, control)?;
    let left_out = left_out::look(folder, vault, &findings, control)?;
    Ok(draft::write(folder, vault, &findings, left_out))
}

fn survey(folder: &Path, control: &Control) -> Result<Findings, OpError> {
    let mut findings = Findings::default();
    let mut folders: BTreeMap<PathBuf, Counts> = BTreeMap::new();
    let walk = WalkDir::new(folder).max_depth(DEPTH).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(|entry| entry.depth() == 0 || !is_passed_over(entry)) {
        if control.stopped() {
            return Err(Problem::Interrupted.into());
        }
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.depth() == 0 => {
                let source = error.into_io_error().unwrap_or_else(|| std::io::ErrorKind::Other.into());
                return Err(Problem::Unreadable { path: folder.display().to_string(), source }.into());
            }
            // What cannot be looked into is left out, and told as such.
            Err(_) => continue,
        };
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(folder).unwrap_or(entry.path());
            findings.file(&entry, (folder, path), &mut folders);
        }
    }
    findings.documents = document_folders(&folders);
    Ok(findings)
}

/// Hidden folders are tools' own, and so are those that tools make.
fn is_passed_over(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    entry.file_type().is_dir() && (name.starts_with('.') || MADE.contains(&&*name))
}

impl Findings {
    fn file(&mut self, entry: &DirEntry, (top, path): (&Path, &Path), folders: &mut BTreeMap<PathBuf, Counts>) {
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if is_environment(&name) {
            self.environments.push(path.to_owned());
            self.environment(top, path, &regular::text(entry.path(), 1 << 20).unwrap_or_default());
        } else if is_compose(&name) {
            let text = regular::text(entry.path(), 1 << 20).unwrap_or_default();
            self.compose.push(Compose { path: path.to_owned(), engines: engines::of_images(&text) });
        } else if is_database(entry) {
            self.databases.push(path.to_owned());
        } else if !["-wal", "-shm", "-journal"].iter().any(|end| name.ends_with(end)) {
            let counts = folders.entry(path.parent().unwrap_or(Path::new("")).to_owned()).or_default();
            let ending = Path::new(&name).extension().and_then(|end| end.to_str()).unwrap_or_default();
            counts.documents += u64::from(DOCUMENTS.contains(&ending));
            counts.files += 1;
        }
    }
}

impl Findings {
    /// The databases that an environment file names. The same name in another file is the same database, elsewhere.
    fn environment(&mut self, top: &Path, path: &Path, text: &str) {
        for (name, value) in variables(text) {
            let is_known = self.servers.iter().any(|known| known.variable == name)
                || self.variables.iter().any(|known| known.engine.named == name);
            if is_known {
                continue;
            }
            if is_postgres(value) {
                self.servers.push(Server { path: path.to_owned(), variable: name.to_owned() });
            } else if let Some(engine) =
                engines::of_variable(name, value).or_else(|| engines::sqlite_elsewhere(top, name, value))
            {
                self.variables.push(Variable { path: path.to_owned(), engine });
            }
        }
    }
}

/// `.env`, `.env.production`, `app.env`; not the examples that stand beside them.
fn is_environment(name: &str) -> bool {
    let example = ["example", "sample", "template", "dist"].iter().any(|end| name.ends_with(end));
    !example && (name == ".env" || name.starts_with(".env.") || name.ends_with(".env"))
}

fn is_compose(name: &str) -> bool {
    let stem = name.strip_suffix(".yml").or_else(|| name.strip_suffix(".yaml"));
    stem.is_some_and(|stem| {
        ["docker-compose", "compose"].iter().any(|own| stem == *own || stem.starts_with(&format!("{own}.")))
    })
}

fn is_database(entry: &DirEntry) -> bool {
    let whole_pages = entry.metadata().is_ok_and(|metadata| metadata.len() >= PAGE && metadata.len() % PAGE == 0);
    whole_pages && DatabaseFile::at(entry.path()).is_ok_and(|file| begins_like_a_database(&file))
}

/// The variables of an environment file with their values, which may hold passwords.
fn variables(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let (name, value) = line.trim().trim_start_matches("export ").split_once('=')?;
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_name.then(|| (name, value.trim().trim_matches(['"', '\''])))
    })
}

/// Is this the URL of a PostgreSQL database?
fn is_postgres(value: &str) -> bool {
    let scheme = value.split_once("://").and_then(|(scheme, _)| scheme.split('+').next());
    scheme.is_some_and(|scheme| ["postgres", "postgresql"].contains(&scheme))
}

/// Files of one folder, or of all below it.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    documents: u64,
    files: u64,
}

/// The topmost folders that hold mostly documents. The folder that is looked through is one only for documents of its
/// own: otherwise there is nothing that would not be in it.
fn document_folders(own: &BTreeMap<PathBuf, Counts>) -> Vec<PathBuf> {
    let mut below: BTreeMap<&Path, Counts> = BTreeMap::new();
    for (folder, counts) in own {
        for above in folder.ancestors() {
            let sum = below.entry(above).or_default();
            sum.documents += counts.documents;
            sum.files += counts.files;
        }
    }
    let mut tops: Vec<&Path> = Vec::new();
    for (folder, counts) in &below {
        let has_own = own.get(*folder).is_some_and(|own| own.documents > 0);
        let mostly = counts.documents * 2 > counts.files && (has_own || !folder.as_os_str().is_empty());
        if (mostly || is_named_for_documents(folder)) && !tops.iter().any(|above| folder.starts_with(above)) {
            tops.push(folder);
        }
    }
    tops.into_iter().map(|top| narrowed(top, own, &below).unwrap_or(top).to_owned()).collect()
}

fn is_named_for_documents(folder: &Path) -> bool {
    let Some(name) = folder.file_name().map(|name| name.to_string_lossy().to_lowercase()) else { return false };
    let is_near = folder.components().count() <= NEAR && !is_below_code(folder);
    DOCUMENT_FOLDERS.contains(&&*name) || (is_near && DATA_FOLDERS.contains(&&*name))
}

/// Does it lie in a folder of source text?
fn is_below_code(folder: &Path) -> bool {
    let above = folder.parent().into_iter().flat_map(Path::components);
    above.map(|part| part.as_os_str().to_string_lossy().to_lowercase()).any(|part| CODE.contains(&&*part))
}

/// The folder named for documents that all lie in, if there is one. Any other is no place to go down to: that there is
/// nothing beside it today says nothing of tomorrow.
fn narrowed<'f>(
    folder: &'f Path,
    own: &BTreeMap<PathBuf, Counts>,
    below: &BTreeMap<&'f Path, Counts>,
) -> Option<&'f Path> {
    if is_named_for_documents(folder) {
        return Some(folder);
    }
    let mut children = below.keys().filter(|child| child.parent() == Some(folder));
    match (children.next(), children.next()) {
        (Some(only), None) if !own.contains_key(folder) => narrowed(only, own, below),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
