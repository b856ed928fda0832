//! What can go wrong with a server and its tools, in words for people.

use std::io;

use tokio_postgres::error::SqlState;

use crate::base::error::{Class, Explain};
use crate::engine::postgres::restore::statements::Refused;
use crate::engine::postgres::settings::Settings;
use crate::engine::postgres::tls::Handshake;

/// What the server says, or the driver of it, without its codes.
type Cause = tokio_postgres::Error;

#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error("cannot reach the server at {server}: {reason}")]
    Unreachable { server: String, reason: String },
    #[error("the server at {server} does not let {user} in: {reason}")]
    Refused { server: String, user: String, reason: String },
    #[error("the server at {server} has no database {dbname}")]
    NoDatabase { server: String, dbname: String },
    #[error("the server at {server} has no connection to spare")]
    Crowded { server: String },
    #[error("no encrypted connection to {server}: {reason}")]
    Tls { server: String, reason: String, cause: TlsCause },
    #[error("the connection to {server} was lost: {reason}")]
    Lost { server: String, reason: String },
    #[error("the server at {server} says: {reason}")]
    Denied { server: String, reason: String },
    #[error("row level security would hide rows: {reason}")]
    Hidden { reason: String },
    #[error("a table is locked by another session: {reason}")]
    Locked { reason: String },
    #[error("a standby could not keep the moment: {reason}")]
    Conflict { reason: String },
    #[error("a table is gone: {reason}")]
    Undefined { reason: String },
    #[error("the server at {server} says: {reason}")]
    Server { server: String, reason: String },
    #[error("the server at {server} says: {reason}")]
    Constraint { server: String, reason: String, reference: bool },
    #[error("the server at {server} is PostgreSQL {version}: the oldest that can be captured is {oldest}")]
    ServerTooOld { server: String, version: String, oldest: u32 },
    #[error("tables come and go faster than they can be locked")]
    Restless,
    #[error("{tool} is not installed")]
    NoTool { tool: &'static str, wanted: u32 },
    #[error("{tool} is of version {found}, the server of version {wanted}")]
    OldTool { tool: &'static str, found: u32, wanted: u32 },
    #[error("cannot run {tool}")]
    Run { tool: &'static str, source: io::Error },
    #[error("{tool} failed: {complaint}")]
    ToolFailed { tool: &'static str, complaint: String },
    #[error("what {tool} writes is no definitions but speaks to psql: {why}")]
    NoDefinitions { tool: &'static str, why: Refused },
    #[error("the server at {server} says: {reason}")]
    NoObject { server: String, reason: String },
    #[error("two sessions waited for each other: {reason}")]
    Deadlock { reason: String },
    #[error("the server at {server} says: {reason}")]
    InUse { server: String, reason: String },
    #[error("{reason}")]
    HeldUp { reason: String },
    #[error("interrupted")]
    Interrupted,
    #[error("cannot start what connections need")]
    Runtime(#[source] io::Error),
}

/// Why there is no encrypted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsCause {
    /// The server has none to offer.
    NotOffered,
    /// Nobody who is trusted signed the certificate.
    Untrusted,
    /// The certificate is another host's.
    OtherName,
    /// It is not valid now.
    Expired,
    /// What is trusted cannot be read, or the host has no name that a certificate could have.
    Settings,
    /// They did not come to terms.
    Other,
}

impl TlsCause {
    /// What the handshake failed of, if it is what failed.
    fn of(error: &Cause) -> Option<Self> {
        use rustls::CertificateError as Certificate;
        let mut next: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
        while let Some(cause) = next {
            let inner = cause.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
            let found = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()).or_else(|| cause.downcast_ref());
            if let Some(found) = found {
                return Some(match found {
                    rustls::Error::InvalidCertificate(certificate) => match certificate {
                        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => Self::OtherName,
                        Certificate::Expired
                        | Certificate::ExpiredContext { .. }
                        | Certificate::NotValidYet
                        | Certificate::NotValidYetContext { .. } => Self::Expired,
                        _ => Self::Untrusted,
                    },
                    _ => Self::Other,
                });
            }
            next = cause.source();
        }
        None
    }

    fn hint(self) -> &'static str {
        match self {
            Self::NotOffered => {
                "the server offers no encryption: turn it on there (ssl = on), or connect without, on a network that \
                 you trust: sslmode=disable"
            }
            Self::Untrusted => {
                "name the authority to trust with sslrootcert=FILE; sslmode=require encrypts without checking who \
                 answers"
            }
            Self::OtherName => {
                "connect by the name that stands in the certificate; sslmode=verify-ca checks who signed it and not \
                 whose it is"
            }
            Self::Expired => "renew the certificate of the server, and check the clocks of both hosts",
            Self::Settings => "check sslrootcert and the name of the host",
            Self::Other => "check the TLS versions that the server allows (ssl_min_protocol_version)",
        }
    }
}

impl PostgresError {
    /// Sorts what came of a connection by what a person can do about it: by the code of it, never by its words, which are
    /// in the server's language.
    pub(super) fn of(server: &str, is_standby: bool, error: &Cause) -> Self {
        let (server, reason) = (server.to_owned(), words(error));
        let Some(code) = error.code() else { return Self::Lost { server, reason } };
        match code.code() {
            "42501" if routine(error) == Some(HIDES_ROWS) => Self::Hidden { reason },
            "42501" => Self::Denied { server, reason },
            "55P03" => Self::Locked { reason },
            "40P01" => Self::Deadlock { reason },
            "53300" => Self::Crowded { server },
            // Nothing is written there: it can only be what the primary has done.
            "40001" if is_standby => Self::Conflict { reason },
            "42P01" | "3F000" => Self::Undefined { reason },
            "42704" => Self::NoObject { server, reason },
            "55006" => Self::InUse { server, reason },
            "57P01" | "57P02" | "57P03" | "57P05" | "08006" | "08003" => Self::Lost { server, reason },
            code if code.starts_with("23") => Self::Constraint { server, reason, reference: code == "23503" },
            _ => Self::Server { server, reason },
        }
    }

    /// Sorts what came of the try to connect.
    pub(super) fn of_connecting(settings: &Settings, handshake: &Handshake, error: &Cause) -> Self {
        let (server, user, dbname) = (settings.server(), settings.user.clone(), settings.dbname.clone());
        let reason = words(error);
        if let (None, Some(cause)) = (error.code(), TlsCause::of(error)) {
            return Self::Tls { server, reason, cause };
        }
        match error.code() {
            Some(code) if *code == SqlState::INVALID_CATALOG_NAME => Self::NoDatabase { server, dbname },
            Some(code) if code.code().starts_with("28") => Self::Refused { server, user, reason },
            Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => Self::Crowded { server },
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => Self::Denied { server, reason },
            Some(_) => Self::Unreachable { server, reason },
            None if handshake.has_failed() => Self::Tls { server, reason, cause: TlsCause::Other },
            None if is_of_network(error) => Self::Unreachable { server, reason },
            None if settings.must_be_encrypted() && handshake.has_not_begun() => {
                Self::Tls { server, reason, cause: TlsCause::NotOffered }
            }
            // The driver has nothing else to complain of itself: it has no password to send when it is asked for one.
            None if settings.password.is_none() => Self::Refused { server, user, reason },
            None => Self::Unreachable { server, reason },
        }
    }

    /// Was what was asked for not there any more?
    pub fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined { .. })
    }

    /// Did somebody else hold, or wait for, a lock that was needed?
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::Deadlock { .. })
    }

    /// Did two wait for each other?
    pub fn is_deadlock(&self) -> bool {
        matches!(self, Self::Deadlock { .. })
    }

    /// Does somebody use a database that was to be renamed or dropped?
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::InUse { .. })
    }

    /// Is a row missing that another refers to?
    pub fn is_reference(&self) -> bool {
        matches!(self, Self::Constraint { reference: true, .. })
    }

    /// Are there only too many connections?
    pub fn is_crowded(&self) -> bool {
        matches!(self, Self::Crowded { .. })
    }
}

/// The function of a server that complains of rows that would be hidden: its name is no word for people, and in no language.
const HIDES_ROWS: &str = "check_enable_rls";

fn routine(error: &Cause) -> Option<&str> {
    error.as_db_error()?.routine()
}

/// Was it the network that failed?
fn is_of_network(error: &Cause) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<io::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The server's own words, or the innermost cause: one line.
fn words(error: &Cause) -> String {
    if let Some(said) = error.as_db_error() {
        let mut words = said.message().replace('\n', " ");
        if let Some(detail) = said.detail() {
            words += &format!(" ({})", detail.replace('\n', " "));
        }
        return words;
    }
    let mut innermost: &dyn std::error::Error = error;
    let mut words = innermost.to_string();
    while let Some(cause) = innermost.source() {
        innermost = cause;
        words = match cause.downcast_ref() {
            Some(cause) => crate::base::error::reason(cause),
            None => cause.to_string(),
        };
    }
    words.replace('\n', " ")
}

impl Explain for PostgresError {
    fn class(&self) -> Class {
        match self {
            Self::Locked { .. }
            | Self::Deadlock { .. }
            | Self::HeldUp { .. }
            | Self::InUse { .. }
            | Self::Crowded { .. }
            | Self::Restless => Class::Busy,
            Self::Interrupted => Class::Interrupted,
            _ => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreachable { .. } => {
                "is it running, and are host and port right? psql with the same URL should get there"
            }
            Self::Refused { .. } => {
                "give the password in PGPASSWORD or ~/.pgpass (mode 0600), and look into pg_hba.conf"
            }
            Self::NoDatabase { .. } => "psql -l lists those there are",
            Self::Crowded { .. } => "try again later, or set workers = 1",
            Self::Tls { cause, .. } => cause.hint(),
            Self::Lost { .. } => "nothing was committed: run it again",
            Self::Denied { .. } => "GRANT pg_read_all_data TO the user, or exclude the schema",
            Self::Hidden { .. } => "take a user with BYPASSRLS, or the owner of the table, or exclude the table",
            Self::HeldUp { .. } => {
                "let it finish and try again, or wait longer for it: wait_for_locks = 3600 (seconds) in the source"
            }
            Self::Deadlock { .. } => "try again",
            Self::Locked { .. } => "something changes the schema: let it finish, and try again",
            Self::Conflict { .. } => "set hot_standby_feedback = on at the standby, or capture the primary",
            Self::Undefined { .. } | Self::Restless => "something changes the schema: let it finish, and try again",
            Self::NoTool { wanted, .. } | Self::OldTool { wanted, .. } => {
                return Some(format!(
                    "install the client tools of version {wanted}: apt-get install postgresql-client-{wanted}"
                ));
            }
            Self::ToolFailed { .. } => "run it yourself to see more: pg_dump -s, as the same user",
            Self::NoDefinitions { .. } => {
                "somebody may have changed functions of the server itself: look at the definitions with pg_dump -s"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
