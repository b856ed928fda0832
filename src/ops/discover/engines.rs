//! Database engines that an application uses, told by the images it runs and the variables it is given.
//!
//! No parser of YAML: a word is enough to tell a person, and one told too many does no harm.

use std::fs;
use std::path::Path;

use crate::source::SOURCES;

/// Engines by a word in the name of their image, with the kind of source that captures them, or would.
const ENGINES: [(&str, &str); 22] = [
    ("postgres", "postgres"),
    ("postgis", "postgres"),
    ("pgvector", "postgres"),
    ("timescale", "postgres"),
    ("mongo", "mongodb"),
    ("qdrant", "qdrant"),
    ("mysql", "mysql"),
    ("mariadb", "mysql"),
    ("percona", "mysql"),
    ("redis", "redis"),
    ("valkey", "redis"),
    ("keydb", "redis"),
    ("mssql", "mssql"),
    ("elasticsearch", "elasticsearch"),
    ("opensearch", "elasticsearch"),
    ("couchdb", "couchdb"),
    ("cassandra", "cassandra"),
    ("clickhouse", "clickhouse"),
    ("influxdb", "influxdb"),
    ("neo4j", "neo4j"),
    ("minio", "s3"),
    ("weaviate", "weaviate"),
];
/// How a variable's name ends that says where a database is.
const PLACES: [&str; 6] = ["_URL", "_URI", "_DSN", "_HOST", "_SERVER", "_CONNECTION_STRING"];
/// How the file of a SQLite database is called mostly.
const DATABASES: [&str; 4] = [".db", ".db3", ".sqlite", ".sqlite3"];
/// Variables whose value is the name of an engine.
const CHOICES: [&str; 7] =
    ["DB_CONNECTION", "DB_ENGINE", "DB_CLIENT", "DB_DIALECT", "DB_TYPE", "DATABASE_ENGINE", "DATABASE_CLIENT"];

/// An engine that a file of the application names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Engine {
    pub kind: &'static str,
    /// The image, or the variable. Never a variable's value, which may hold a password.
    pub named: String,
}

impl Engine {
    /// Can this version capture it?
    pub fn is_known(&self) -> bool {
        SOURCES.iter().any(|known| known.name == self.kind)
    }
}

fn kind_of(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    ENGINES.iter().find(|(word, _)| text.contains(word)).map(|(_, kind)| *kind)
}

/// The engines among the images that a compose file runs, however its YAML is written.
pub(super) fn of_images(compose: &str) -> Vec<Engine> {
    let mut engines = Vec::new();
    for line in compose.lines().filter(|line| !line.trim_start().starts_with('#')) {
        for (at, key) in line.match_indices("image") {
            let is_word = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.');
            let rest = line[at + key.len()..].trim_start_matches(['"', '\'']).trim_start();
            let Some(value) = rest.strip_prefix(':') else { continue };
            if !line[..at].ends_with(is_word)
                && let Some(image) = scalar(value.trim_start())
                && let Some(kind) = kind_of(image.split_once('/').map_or(image, |(_, path)| path))
            {
                engines.push(Engine { kind, named: image.to_owned() });
            }
        }
    }
    engines
}

/// A value of YAML that stands on one line.
fn scalar(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|letter| matches!(letter, '"' | '\''));
    let value = match quote {
        Some(quote) => text[1..].split(quote).next(),
        None => {
            text.split([' ', '\t', ',', '}', ']']).next().filter(|value| !value.contains("${")).or(Some(text.trim()))
        }
    };
    value.filter(|value| !value.is_empty())
}

/// The engine that a variable says the application uses, unless it is nothing but a value.
pub(super) fn of_variable(name: &str, value: &str) -> Option<Engine> {
    let upper = name.to_uppercase();
    let kind = if CHOICES.contains(&&*upper) {
        if value.starts_with("pgsql") { Some("postgres") } else { kind_of(value) }
    } else if let Some((scheme, _)) = value.split_once("://") {
        // `bolt` is what Neo4j calls its own protocol, `sqlserver` what drivers call that of SQL Server.
        match scheme {
            "bolt" | "bolt+s" => Some("neo4j"),
            "sqlserver" => Some("mssql"),
            "http" | "https" => kind_of(&upper).filter(|_| is_place(&upper)),
            _ => kind_of(scheme),
        }
    } else {
        kind_of(&upper).filter(|_| is_place(&upper) && !value.is_empty())
    }?;
    Some(Engine { kind, named: name.to_owned() })
}

/// The SQLite database that a variable's value says is elsewhere than in `folder`, and that is there.
pub(super) fn sqlite_elsewhere(folder: &Path, name: &str, value: &str) -> Option<Engine> {
    let (scheme, path) = value.split_once(':').unwrap_or_default();
    let path = match scheme.to_ascii_lowercase() {
        scheme if scheme.starts_with("sqlite") || scheme == "file" => path.split('?').next().unwrap_or(path),
        _ if DATABASES.iter().any(|end| value.ends_with(end)) => value,
        _ => return None,
    };
    // `sqlite:////srv/app.db`, as some write it, is the same file as `/srv/app.db`.
    let path = fs::canonicalize(format!("/{}", path.strip_prefix('/')?.trim_start_matches('/'))).ok()?;
    let is_elsewhere = path.is_file() && !fs::canonicalize(folder).is_ok_and(|folder| path.starts_with(folder));
    is_elsewhere.then(|| Engine { kind: "sqlite", named: name.to_owned() })
}

fn is_place(upper: &str) -> bool {
    PLACES.iter().any(|end| upper.ends_with(end))
}
