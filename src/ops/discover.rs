//! Looking through an application's folder for what should be captured, and writing a configuration that names it.
//!
//! Reads names and the first bytes of files; changes nothing. What it proposes is for a person to look through: it
//! says what it found and has no source for, rather than leaving it out in silence.

mod draft;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::base::control::Control;
use crate::engine::regular;
use crate::engine::sqlite::file::DatabaseFile;
use crate::engine::sqlite::held::begins_like_a_database;
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
const DOCUMENT_FOLDERS: [&str; 7] =
    ["documents", "uploads", "upload", "media", "attachments", "userfiles", "user-files"];

/// What a folder holds, by paths relative to it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    databases: Vec<PathBuf>,
    environments: Vec<PathBuf>,
    servers: Vec<Server>,
    compose: Vec<Compose>,
    documents: Vec<PathBuf>,
}

/// A variable of an environment file that holds the URL of a PostgreSQL database.
#[derive(Debug, PartialEq, Eq)]
struct Server {
    path: PathBuf,
    variable: String,
}

/// A compose file with the images it runs.
#[derive(Debug, PartialEq, Eq)]
struct Compose {
    path: PathBuf,
    images: Vec<String>,
}

/// A configuration to be looked through, and how many sources it names.
#[derive(Debug)]
pub struct Discovery {
    pub text: String,
    pub sources: Vec<String>,
    /// What was found and cannot be captured yet: said in the text as well.
    pub missing: Vec<String>,
}

/// Looks through `folder` and writes the text of a configuration that will stand in it. `vault` is what to name as the
/// vault; without it the usual place is left to be the vault.
pub fn discover(folder: &Path, vault: Option<&str>, control: &Control) -> Result<Discovery, OpError> {
    let findings = survey(folder, control)?;
    Ok(draft::write(folder, vault, &findings))
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
            // What cannot be looked into is told by the backup.
            Err(_) => continue,
        };
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(folder).unwrap_or(entry.path());
            findings.file(&entry, path, &mut folders);
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
    fn file(&mut self, entry: &DirEntry, path: &Path, folders: &mut BTreeMap<PathBuf, Counts>) {
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if is_environment(&name) {
            self.environments.push(path.to_owned());
            for variable in servers(entry.path()) {
                // The same name in another file is the same database, elsewhere.
                if !self.servers.iter().any(|known| known.variable == variable) {
                    self.servers.push(Server { path: path.to_owned(), variable });
                }
            }
        } else if is_compose(&name) {
            self.compose.push(Compose { path: path.to_owned(), images: images(entry.path()) });
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

/// The variables of an environment file that are URLs of PostgreSQL. Their values, which may hold passwords, stay there.
fn servers(file: &Path) -> Vec<String> {
    let text = regular::text(file, 1 << 20).unwrap_or_default();
    let lines = text.lines();
    let variable = |line: &str| {
        let (name, value) = line.trim().trim_start_matches("export ").split_once('=')?;
        let scheme = value.trim().trim_matches(['"', '\'']).split_once("://")?.0;
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let is_postgres = ["postgres", "postgresql"].contains(&scheme.split('+').next()?);
        (is_name && is_postgres).then(|| name.to_owned())
    };
    lines.filter_map(variable).collect()
}

/// The images that a compose file runs, as they stand in it. No parser: a line is enough to tell a person.
fn images(file: &Path) -> Vec<String> {
    let text = regular::text(file, 1 << 20).unwrap_or_default();
    let lines = text.lines();
    let values = lines.filter_map(|line| line.trim_start().strip_prefix("image:"));
    values.map(|value| value.trim().trim_matches(['"', '\'']).to_owned()).filter(|image| !image.is_empty()).collect()
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
    folder.file_name().is_some_and(|name| DOCUMENT_FOLDERS.contains(&&*name.to_string_lossy().to_lowercase()))
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
