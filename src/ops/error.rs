//! What can go wrong with a use case, beyond what the floors below say themselves.

use crate::base::error::{Class, Explain, Explained, one_line};
use crate::base::text;
use crate::engine::postgres::restore::error::LoadError;
use crate::engine::sqlite::apply::ApplyError;
use crate::engine::sqlite::ask::AskError;
use crate::ops::actions::ActionError;
use crate::ops::places::Unknown;
use crate::ops::restore::whose::Hosts;
use crate::ops::turns::TurnError;
use crate::record::error::RecordError;
use crate::source::SourceError;
use crate::source::files::target::TargetError;
use crate::store::StoreError;
use crate::vault::error::VaultError;
use crate::vault::select::SelectError;

/// An error of a floor below, or one of this floor's own.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Action(#[from] ActionError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Select(#[from] SelectError),
    #[error(transparent)]
    Turns(#[from] TurnError),
    #[error(transparent)]
    Problem(#[from] Problem),
}

impl OpError {
    fn explain(&self) -> &dyn Explain {
        match self {
            Self::Vault(error) => error,
            Self::Store(error) => error,
            Self::Source(error) => error,
            Self::Target(error) => error,
            Self::Apply(error) => error,
            Self::Action(error) => error,
            Self::Ask(error) => error,
            Self::Record(error) => error,
            Self::Load(error) => error,
            Self::Select(error) => error,
            Self::Turns(error) => error,
            Self::Problem(error) => error,
        }
    }

    pub fn into_explained(self) -> Explained {
        Box::new(self)
    }
}

impl Explain for OpError {
    fn class(&self) -> Class {
        self.explain().class()
    }

    fn hint(&self) -> Option<String> {
        self.explain().hint()
    }
}

/// What a person can do about a database of which only a part is captured.
const LEFT_OUT: &str = "restore it beside with --to URL, or give single records back with strongroom recover; with \
                        --accept-left-out it stays only in the database that is kept aside";

/// The first names of many.
fn some(names: &[String]) -> String {
    const NAMED: usize = 3;
    let more = names.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", names[..names.len().min(NAMED)].join(", "))
}

/// Errors of this floor's own.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("snapshot {snapshot} has no source {source_name}")]
    NoSource { snapshot: String, source_name: String, sources: Vec<String> },
    #[error("snapshot {snapshot} has several sources; name one")]
    WhichSource { snapshot: String, sources: Vec<String> },
    #[error("{path} is in no source of snapshot {snapshot}")]
    NowhereIn { snapshot: String, path: String },
    #[error("nothing stands where a source or path is to be named")]
    EmptyPart,
    #[error("{path} is not in {source_name} of snapshot {snapshot}")]
    NoPath { snapshot: String, source_name: String, path: String },
    #[error("{path} is not in any source of snapshot {snapshot}")]
    Nowhere { snapshot: String, path: String, sources: Vec<String> },
    #[error("{} is not a folder", .path.display())]
    NoFolder { path: std::path::PathBuf, source_name: String },
    #[error("{} leads to {}, which is not where {source_name} was captured", .path.display(), .to.display())]
    LedAstray { path: std::path::PathBuf, to: std::path::PathBuf, source_name: String },
    #[error("{path} is not a file")]
    NotAFile { path: String },
    #[error("{source_name} is of kind {kind}, which this version cannot {verb}")]
    Kind { source_name: String, kind: String, verb: &'static str },
    #[error("cannot write the content of {path}")]
    Output { path: String, source: std::io::Error },
    #[error("cannot look into {path}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{0}")]
    Content(Explained),
    #[error("snapshot {snapshot} holds no database that was captured as one")]
    NoDatabase { snapshot: String },
    #[error("snapshot {snapshot} holds several databases; name one")]
    WhichDatabase { snapshot: String, databases: Vec<String> },
    #[error("no database of snapshot {snapshot} has a table {table}")]
    NoHolder { snapshot: String, table: String, databases: Vec<String> },
    #[error("several databases have a table {table}; name one")]
    WhichHolder { table: String, databases: Vec<String> },
    #[error("databases of several apps have a table {table}; name one app")]
    WhichApp { table: String, apps: Vec<String> },
    #[error("{selector} may be of several apps")]
    AnyApp { selector: String, apps: Vec<String> },
    #[error("{part} is not a path inside a source")]
    BadPart { part: String },
    #[error("the rows that {path} holds are not in the snapshot")]
    NoRows { path: String },
    #[error("{one} and {other} are databases of different kinds")]
    OtherEngine { one: String, other: String },
    #[error("{path} is not a SQLite database")]
    NotADatabase { path: String },
    #[error("there is nothing to back up")]
    Nothing,
    #[error("nothing could be captured: {}", why.join("; "))]
    NothingCaptured { why: Vec<String>, hint: Option<String> },
    #[error("snapshot {snapshot}: {source_name} {why}")]
    NotCaptured { snapshot: String, source_name: String, why: String },
    #[error("{database} holds what {source_name} leaves out, and would lose it: {}", some(names))]
    LeftOut { source_name: String, database: String, names: Vec<String> },
    #[error("{database} holds what is in no snapshot: {}", some(names))]
    KeptAlone { database: String, names: Vec<String> },
    #[error("no safety snapshot could be made: {why}")]
    NoSafety { why: String, source: Option<Box<OpError>> },
    #[error("{source}; what was changed until then could not be taken back")]
    HalfDone { action: String, source: Box<OpError> },
    #[error("{name} failed: {failure}")]
    Hook { name: &'static str, failure: String },
    #[error("cannot give back {path}: {reason}")]
    Left { path: String, reason: String },
    #[error("{} changed since", text::counted(*count, "path"))]
    ChangedSince { count: u64, paths: Vec<String> },
    #[error("{path} would be removed, and another process has it open")]
    Removed { path: String },
    #[error("nobody knows whether something changed since, without a safety snapshot")]
    Unlooked,
    #[error("action {action} was taken back already by {by}")]
    TakenBack { action: String, by: String },
    #[error("action {action} was made without a safety snapshot and cannot be taken back")]
    NoWayBack { action: String },
    #[error("snapshot {snapshot}, which action {action} needs, is not in the vault")]
    SnapshotGone { action: String, snapshot: String },
    #[error(
        "snapshot {} of {} says that {} lives at {}, which neither the configuration nor an earlier backup of this host confirms",
        .0.snapshot, .0.host, .0.source_name, .0.shown()
    )]
    UnknownPlace(Box<Unknown>),
    #[error("{} {} live data of {source_name}", .to.display(), if .root == .to { "is" } else { "holds or is inside" })]
    LiveData { to: std::path::PathBuf, source_name: String, root: std::path::PathBuf, hint: String },
    #[error("{} is where another {source_name} lives than that of snapshot {snapshot}, which is of {}", .to.display(), text::printable(.root))]
    OtherPlace { to: std::path::PathBuf, source_name: String, snapshot: String, root: String, hint: String },
    #[error("{source_name} was captured in several places, and {selector} may mean any of them")]
    WhichPlace { source_name: String, selector: String, found: Vec<(String, String)> },
    #[error("{} was captured on {host} and on this host, and {} is of {host}", .0.source_name, .0.selector, host = text::printable(&.0.host))]
    WhichHost(Box<Hosts>),
    #[error("there is no source {source_name} that --place could be of")]
    NoSuchPlace { source_name: crate::base::name::Name, sources: Vec<String> },
    #[error("{} is in the folder of a vault, {}", .to.display(), .vault.display())]
    InVault { to: std::path::PathBuf, vault: std::path::PathBuf },
    #[error("{database} is the live database of {source_name}")]
    LiveServer { database: String, source_name: String, hint: String },
    #[error("action {action} was broken off before anything was changed: there is nothing of it to take back")]
    NothingBegun { action: String },
    #[error("{path} fits {count} files")]
    WhichFile { path: String, count: u64, files: Vec<String> },
    #[error("{} is not there", .path.display())]
    NoLive { path: std::path::PathBuf },
    #[error("{} is not there, and tables of a PostgreSQL database are not made in a file", .path.display())]
    NotMade { path: std::path::PathBuf },
    #[error("{url} is no database that can be reached: it {why}")]
    Server { url: String, why: String },
    #[error("the plan cannot be done: {what}")]
    Refused { what: String, hint: String },
    #[error("{source_name}, which a relation ties to it: {}", one_line(&**error))]
    Beside { source_name: String, error: Box<OpError> },
    #[error("rows of several databases are written, which takes a safety snapshot")]
    Spread,
    #[error("everything was taken back: {reason}")]
    TakenApart { reason: String },
    #[error("{reason}; and that cannot be taken back now: {}", one_line(&**error))]
    Apart { action: String, reason: String, error: Box<OpError> },
    #[error("another recovery is going on")]
    AnotherRecovery,
    #[error("{path} cannot be given back: {reason}")]
    Linked { path: String, reason: String },
    #[error("{part} is a part of a database: a server is given the whole")]
    PartOfDatabase { part: String },
    #[error("{source_name} cannot be reached: its URL {reason}")]
    Unreached { source_name: String, reason: String },
    #[error("nothing is kept aside that could be dropped")]
    NothingKept,
    #[error("interrupted")]
    Interrupted,
}

impl Explain for Problem {
    fn class(&self) -> Class {
        match self {
            Self::WhichSource { .. } | Self::Nothing | Self::NotAFile { .. } | Self::Unreadable { .. } => Class::Usage,
            Self::WhichDatabase { .. } | Self::NotADatabase { .. } | Self::NoDatabase { .. } => Class::Usage,
            Self::OtherEngine { .. } | Self::NoHolder { .. } | Self::WhichHolder { .. } => Class::Usage,
            Self::BadPart { .. } | Self::EmptyPart | Self::AnyApp { .. } | Self::WhichApp { .. } => Class::Usage,
            Self::UnknownPlace(_) | Self::LiveData { .. } | Self::LiveServer { .. } => Class::Usage,
            Self::OtherPlace { .. } | Self::WhichPlace { .. } | Self::WhichHost(_) | Self::NoSuchPlace { .. } => {
                Class::Usage
            }
            Self::InVault { .. } | Self::NotMade { .. } => Class::Usage,
            Self::Interrupted => Class::Interrupted,
            Self::AnotherRecovery | Self::Removed { .. } => Class::Busy,
            Self::Beside { error, .. } => error.class(),
            Self::Spread => Class::Usage,
            Self::NoSafety { source: Some(source), .. } | Self::HalfDone { source, .. } => source.class(),
            Self::Content(error) => error.class(),
            Self::Unlooked | Self::WhichFile { .. } => Class::Usage,
            Self::PartOfDatabase { .. } | Self::Unreached { .. } => Class::Usage,
            _ => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoSource { sources, .. } | Self::WhichSource { sources, .. } => {
                Some(format!("it has {}", quoted(sources)))
            }
            Self::NoPath { snapshot, source_name, .. } => {
                Some(format!("list what it holds with strongroom show {snapshot} {}", text::shell_word(source_name)))
            }
            Self::Nowhere { snapshot, sources, .. } => {
                let sources: Vec<String> = sources.iter().map(|source| text::shell_word(source)).collect();
                let list: Vec<String> =
                    sources.iter().map(|source| format!("strongroom show {snapshot} {source}")).collect();
                Some(match list.is_empty() {
                    true => format!("see what it holds with strongroom show {snapshot}"),
                    false => format!("list what it holds with {}", list.join("; ")),
                })
            }
            Self::NoFolder { .. } => {
                Some("nothing was changed; move it away, or name the other sources to restore only those".into())
            }
            Self::LedAstray { source_name, .. } => Some(format!(
                "nothing was changed; move the link away, say where {source_name} lives in strongroom.toml, \
                 or restore with --to"
            )),
            Self::NoDatabase { snapshot } => {
                Some(format!("name a file with --source SOURCE:PATH; see strongroom show {snapshot}"))
            }
            Self::NoHolder { snapshot, databases, .. } => Some(format!(
                "list the tables with strongroom query {snapshot} --source {} .tables",
                databases.first().map_or("SOURCE".to_owned(), |label| text::shell_word(label))
            )),
            Self::WhichApp { apps, .. } | Self::AnyApp { apps, .. } => {
                Some(format!("pass --app with one of {}", listed(apps)))
            }
            Self::EmptyPart => Some("name one, or leave it out: everything is meant then".into()),
            Self::NowhereIn { snapshot, .. } => Some(format!("list what it holds with strongroom show {snapshot}")),
            Self::BadPart { .. } => Some("paths are relative to the source and never hold ..".into()),
            Self::WhichDatabase { databases, .. } | Self::WhichHolder { databases, .. } => {
                Some(format!("pass --source with one of {}", listed(databases)))
            }
            Self::Output { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
                Some("what is written down never replaces a file: name a folder that is empty or not there yet".into())
            }
            Self::Kind { .. } => Some("use a newer strongroom".into()),
            Self::LeftOut { .. } => Some(LEFT_OUT.into()),
            Self::KeptAlone { database, .. } => {
                let name = database.replace('"', "\"\"");
                Some(format!("undo brings it back; whoever does not need it drops it: DROP DATABASE \"{name}\""))
            }
            Self::NoSafety { .. } => Some("nothing was changed; --no-safety goes on without a way back".into()),
            Self::Content(error) => error.hint(),
            Self::Hook { .. } => Some("nothing was changed; see [hooks] in strongroom.toml, or pass --no-hooks".into()),
            Self::HalfDone { action, .. } => Some(format!("take it back with strongroom undo {action}")),
            Self::ChangedSince { paths, .. } => {
                Some(format!("{}: look at them, then --force takes the action back all the same", paths.join(", ")))
            }
            Self::LiveData { hint, .. } | Self::LiveServer { hint, .. } | Self::OtherPlace { hint, .. } => {
                Some(hint.clone())
            }
            Self::WhichPlace { found, .. } => {
                let one = |(snapshot, root): &(String, String)| format!("{snapshot} is of {}", text::printable(root));
                let all: Vec<String> = found.iter().map(one).collect();
                Some(format!("name the snapshot by its id: {}", all.join(", ")))
            }
            Self::WhichHost(hosts) => Some(format!(
                "add --host {} for the newest of this host, {}; or name {} by its id",
                text::shell_word(&hosts.own_host),
                hosts.own,
                hosts.snapshot
            )),
            Self::NoSuchPlace { sources, .. } => Some(format!("there is {}", quoted(sources))),
            Self::InVault { .. } => Some("name another folder: nothing but strongroom backup writes there".into()),
            Self::NothingBegun { .. } => Some("it is passed over from now on; see strongroom undo --list".into()),
            Self::UnknownPlace(unknown) => Some(format!(
                "if it lives there, pass --place {}; or say in strongroom.toml where it lives on this host",
                unknown.argument()
            )),
            Self::WhichFile { files, .. } => Some(format!("name one: {}", quoted(files))),
            Self::NoLive { .. } => {
                Some("give the whole database back with strongroom restore, or name another with --into".into())
            }
            Self::NotMade { .. } => Some(
                "make it with its tables first, name a server with --into, or write the rows down with --export".into(),
            ),
            Self::Server { .. } => Some("name another with --into, or put the source into the configuration".into()),
            Self::Refused { hint, .. } => Some(hint.clone()),
            Self::Beside { .. } => Some("nothing was written; recover --alone leaves other sources out".into()),
            Self::Spread => Some("without --no-safety; or give back rows of one source with --alone".into()),
            Self::TakenApart { .. } => {
                Some("every database is as it was; mend what stands in the way and run this again".into())
            }
            Self::Apart { action, .. } => Some(format!(
                "the next command tries it again; strongroom undo {action} --force takes it back whatever is newer"
            )),
            Self::AnotherRecovery => Some("nothing was written; run this again when it is done".into()),
            Self::Linked { .. } => Some("nothing was written".into()),
            Self::PartOfDatabase { .. } => {
                Some("name the source alone; --table chooses tables, --to DIR gives back files".into())
            }
            Self::Removed { .. } => Some("nothing was changed; stop the app, then run strongroom undo again".into()),
            Self::Unlooked => Some("add --force, or leave out --no-safety".into()),
            Self::TakenBack { by, .. } => Some(format!("make it as the action left it with strongroom undo {by}")),
            Self::NothingCaptured { hint, .. } => hint.clone(),
            Self::NotCaptured { source_name, .. } => Some(format!(
                "list those that have it with strongroom snapshots --source {}",
                text::shell_word(source_name)
            )),
            Self::Nothing => Some("name a path: strongroom backup PATH, or describe sources in strongroom.toml".into()),
            _ => None,
        }
    }
}

/// Names as a shell takes them.
fn quoted(names: &[String]) -> String {
    names.iter().map(|name| text::shell_word(name)).collect::<Vec<_>>().join(", ")
}

/// The first few of many names.
fn listed(names: &[String]) -> String {
    const NAMED: usize = 12;
    let more = names.len().saturating_sub(NAMED);
    let names = quoted(&names[..names.len() - more]);
    if more == 0 { names } else { format!("{names} and {more} more") }
}
