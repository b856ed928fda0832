//! Where a database is and who asks: from a URL or from single settings, completed as libpq does from `PG*` variables and
//! the password file.
//!
//! Never opens a connection, and never shows a password: it goes to the server and into the environment of tools.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use zeroize::Zeroizing;

use crate::engine::postgres::{passfile, pinned};

/// Where Debian and others, and where PostgreSQL itself, puts a server's socket.
const SOCKETS: [&str; 2] = ["/var/run/postgresql", "/tmp"];
/// What stands in a URL as something else than itself.
const SPECIAL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
const PORT: u16 = 5432;
const PATIENCE: Duration = Duration::from_secs(15);

/// What can be told of a database in a configuration; what is absent comes from the environment.
#[derive(Clone, Debug, Default)]
pub struct Given {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub dbname: Option<String>,
}

/// Looks up a variable of the environment.
pub type Variable<'v> = &'v dyn Fn(&str) -> Option<String>;

/// How a connection is protected, as libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    Disable,
    Prefer,
    /// Encrypted; whoever it is with.
    Require,
    /// With a server whose certificate is good, under whatever name.
    VerifyAuthority,
    VerifyFull,
}

/// A database, and how to get there.
#[derive(Clone)]
pub struct Settings {
    /// A name, an address, or a folder with a socket in it.
    pub host: String,
    pub port: u16,
    pub user: String,
    pub dbname: String,
    pub(super) password: Option<Zeroizing<String>>,
    pub protection: Protection,
    pub root_certificate: Option<PathBuf>,
    pub patience: Duration,
    /// A session may be told what it is set to as it is opened. Some poolers know of no such thing.
    pub(super) takes_options: bool,
}

/// A setting that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSettings(String);

impl Settings {
    /// Of a URL: `postgres://user@host:port/dbname?sslmode=…`.
    pub fn of_url(text: &str, variable: Variable<'_>) -> Result<Self, BadSettings> {
        let bad = |what: &str| BadSettings(what.to_owned());
        // Some name their driver too: postgresql+asyncpg.
        let is_known = |scheme: &str| matches!(scheme.split('+').next(), Some("postgres" | "postgresql"));
        let split = text.split_once("://").filter(|(scheme, _)| is_known(scheme));
        let (_, rest) = split.ok_or_else(|| bad("does not begin with postgres://"))?;
        let decoded = |text: &str| -> Result<Option<String>, BadSettings> {
            let text = percent_decode_str(text).decode_utf8().map_err(|_| bad("is not UTF-8 when decoded"))?;
            Ok((!text.is_empty()).then(|| text.into_owned()))
        };
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (who_and_where, dbname) = rest.split_once('/').unwrap_or((rest, ""));
        let (who, place) = who_and_where.rsplit_once('@').unwrap_or(("", who_and_where));
        let (user, password) = who.split_once(':').unwrap_or((who, ""));
        // An address of version 6 stands in brackets, for its colons.
        let colon = place.rfind(':').filter(|at| !place[*at..].contains(']'));
        let (host, port) = colon.map_or((place, ""), |at| (&place[..at], &place[at + 1..]));
        let number = |text: &str| text.parse().map_err(|_| bad("port is no number of a port"));
        let mut given = Given {
            host: decoded(host.trim_start_matches('[').trim_end_matches(']'))?,
            port: if port.is_empty() { None } else { Some(number(port)?) },
            user: decoded(user)?,
            dbname: decoded(dbname)?,
        };
        let mut password = decoded(password)?;
        let mut more = BTreeMap::new();
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (key, value) = parameter.split_once('=').ok_or_else(|| bad("has a parameter without a value"))?;
            let (key, value) = (decoded(key)?.unwrap_or_default(), decoded(value)?.unwrap_or_default());
            match key.as_str() {
                "host" => given.host = Some(value),
                "port" => given.port = Some(number(&value)?),
                "user" => given.user = Some(value),
                "dbname" => given.dbname = Some(value),
                "password" => password = Some(value),
                "sslmode" | "sslrootcert" | "connect_timeout" | "passfile" => {
                    more.insert(key, value);
                }
                other if other.starts_with("ssl") => {
                    return Err(BadSettings(format!("has the parameter {other:?}, which is not known")));
                }
                // What is meant for one driver or another, or says how a client calls itself.
                _ => {}
            }
        }
        Self::complete(given, password, &more, variable)
    }

    /// Does a text that may be a URL tell a password? However it is written: what is not right as a URL may tell one too.
    pub fn tells_password(text: &str) -> bool {
        let Some((_, rest)) = text.split_once("://") else { return false };
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let who = rest.rsplit_once('@').map_or("", |(who, _)| who);
        let named = |parameter: &str| {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            percent_decode_str(key).decode_utf8_lossy() == "password" && !value.is_empty()
        };
        who.split_once(':').is_some_and(|(_, password)| !password.is_empty()) || parameters.split('&').any(named)
    }

    /// Of single settings.
    pub fn of(given: Given, variable: Variable<'_>) -> Result<Self, BadSettings> {
        Self::complete(given, None, &BTreeMap::new(), variable)
    }

    fn complete(
        given: Given,
        password: Option<String>,
        more: &BTreeMap<String, String>,
        variable: Variable<'_>,
    ) -> Result<Self, BadSettings> {
        let word = |key: &str, name: &str| more.get(key).cloned().or_else(|| variable(name).filter(|v| !v.is_empty()));
        let host = given.host.or_else(|| word("host", "PGHOST")).unwrap_or_else(default_host);
        if host.contains(',') {
            return Err(BadSettings("names several hosts: one is captured".to_owned()));
        }
        let port = match (given.port, variable("PGPORT")) {
            (Some(port), _) => port,
            (None, Some(text)) if !text.is_empty() => {
                text.parse().map_err(|_| BadSettings("PGPORT is no number of a port".to_owned()))?
            }
            _ => PORT,
        };
        let user = given.user.or_else(|| word("user", "PGUSER")).or_else(current_user);
        let user = user.ok_or_else(|| BadSettings("names no user, and this one has no name".to_owned()))?;
        let dbname = given.dbname.or_else(|| word("dbname", "PGDATABASE")).unwrap_or_else(|| user.clone());
        let root_certificate = word("sslrootcert", "PGSSLROOTCERT").map(PathBuf::from);
        let seconds = word("connect_timeout", "PGCONNECT_TIMEOUT").and_then(|text| text.parse().ok());
        let mut settings = Self {
            host,
            port,
            user,
            dbname,
            password: None,
            protection: protection(word("sslmode", "PGSSLMODE").as_deref(), root_certificate.is_some())?,
            root_certificate,
            patience: seconds.filter(|seconds| *seconds > 0).map_or(PATIENCE, Duration::from_secs),
            takes_options: true,
        };
        let file = word("passfile", "PGPASSFILE").map(PathBuf::from);
        let file = file.or_else(|| Some(Path::new(&variable("HOME")?).join(".pgpass")));
        let kept = || passfile::password(&file?, &settings);
        settings.password = password.or_else(|| variable("PGPASSWORD")).or_else(kept).map(Zeroizing::new);
        Ok(settings)
    }

    /// For people: everything but the password.
    pub fn shown(&self) -> String {
        if self.is_local() {
            return format!("postgres://{}@/{}?host={}&port={}", self.user, self.dbname, self.host, self.port);
        }
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("postgres://{}@{host}:{}/{}", self.user, self.port, self.dbname)
    }

    /// The same, with how the connection is protected: read as a URL, it leads there again.
    pub fn address(&self) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, SPECIAL).to_string();
        let (user, dbname) = (encoded(&self.user).replace('/', "%2F"), encoded(&self.dbname).replace('/', "%2F"));
        let mut address = match self.is_local() {
            true => format!("postgres://{user}@/{dbname}?host={}&port={}&", encoded(&self.host), self.port),
            false if self.host.contains(':') => format!("postgres://{user}@[{}]:{}/{dbname}?", self.host, self.port),
            false => format!("postgres://{user}@{}:{}/{dbname}?", encoded(&self.host), self.port),
        };
        address += &format!("sslmode={}", self.protection.word());
        if let Some(file) = self.root_certificate.as_ref().and_then(|file| file.to_str()) {
            address += &format!("&sslrootcert={}", encoded(file));
        }
        address
    }

    /// Do both name one database of one server, as far as names tell?
    pub fn names_same(&self, other: &Self) -> bool {
        let host = |settings: &Self| match &*settings.host {
            "localhost" | "127.0.0.1" | "::1" => "localhost".to_owned(),
            _ if settings.is_local() => "localhost".to_owned(),
            host => host.to_lowercase(),
        };
        (host(self), self.port, &self.dbname) == (host(other), other.port, &other.dbname)
    }

    /// The server, for people.
    pub fn server(&self) -> String {
        if self.is_local() {
            format!("{}/.s.PGSQL.{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Is the host a folder with a socket in it?
    pub fn is_local(&self) -> bool {
        self.host.starts_with('/')
    }

    /// Is a connection that is not encrypted no connection?
    pub(super) fn must_be_encrypted(&self) -> bool {
        !self.is_local() && !matches!(self.protection, Protection::Disable | Protection::Prefer)
    }

    /// Another database of the same server.
    pub fn with_database(&self, dbname: &str) -> Self {
        Self { dbname: dbname.to_owned(), ..self.clone() }
    }

    /// Tells a tool by its environment, which only its user can look into.
    pub(super) fn tell(&self, command: &mut Command) {
        for inherited in ["PGSERVICE", "PGHOSTADDR", "PGOPTIONS", "PGCLIENTENCODING", "PGPASSWORD", "PGSSLROOTCERT"] {
            command.env_remove(inherited);
        }
        command.env("PGHOST", &self.host).env("PGPORT", self.port.to_string());
        command.env("PGUSER", &self.user).env("PGDATABASE", &self.dbname);
        command
            .env("PGCONNECT_TIMEOUT", self.patience.as_secs().max(2).to_string())
            .env("PGSSLMODE", self.protection.word());
        if self.takes_options {
            command.env("PGOPTIONS", pinned::options());
        }
        if let Some(file) = &self.root_certificate {
            command.env("PGSSLROOTCERT", file);
        }
        if let Some(password) = &self.password {
            command.env("PGPASSWORD", password.as_str());
        }
    }
}

impl Protection {
    fn word(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyAuthority => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

fn protection(word: Option<&str>, has_root: bool) -> Result<Protection, BadSettings> {
    Ok(match word {
        None | Some("prefer" | "allow") => Protection::Prefer,
        Some("disable") => Protection::Disable,
        // As libpq: whoever names an authority wants it asked.
        Some("require") if has_root => Protection::VerifyAuthority,
        Some("require") => Protection::Require,
        Some("verify-ca") => Protection::VerifyAuthority,
        Some("verify-full") => Protection::VerifyFull,
        Some(other) => return Err(BadSettings(format!("has the sslmode {other:?}, which is not known"))),
    })
}

fn default_host() -> String {
    let has_socket = |folder: &&&str| Path::new(folder).is_dir();
    SOCKETS.iter().find(has_socket).map_or("localhost", |folder| *folder).to_owned()
}

fn current_user() -> Option<String> {
    uzers::get_current_username().and_then(|name| name.into_string().ok())
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_url(url: &str) -> Result<Settings, BadSettings> {
        Settings::of_url(url, &|_| None)
    }

    #[test]
    fn a_url_says_everything_and_the_environment_the_rest() {
        let settings = of_url("postgresql://me:p%40ss@db.example:5433/app?sslmode=verify-full").unwrap();
        assert_eq!((settings.host.as_str(), settings.port, settings.user.as_str()), ("db.example", 5433, "me"));
        assert_eq!(settings.password.as_ref().unwrap().as_str(), "p@ss");
        assert_eq!((settings.dbname.as_str(), settings.protection), ("app", Protection::VerifyFull));
        assert_eq!(settings.shown(), "postgres://me@db.example:5433/app");
        assert!(!format!("{settings:?}").contains("p@ss"));
        let again = of_url(&settings.address()).unwrap();
        assert_eq!((again.shown(), again.protection), (settings.shown(), settings.protection));
        assert!(again.password.is_none());
        let local = of_url("postgres://%2Frun%2Fpg/app?user=me").unwrap();
        assert_eq!((local.host.as_str(), local.is_local(), local.user.as_str()), ("/run/pg", true, "me"));
        assert_eq!(of_url(&local.address()).unwrap().shown(), local.shown());
        let same = of_url("postgres:///app?host=/run/pg&user=me").unwrap();
        assert_eq!((same.shown(), same.server()), (local.shown(), "/run/pg/.s.PGSQL.5432".to_owned()));
        let driver = of_url("postgresql+asyncpg://me@h/app?schema=public").unwrap();
        assert_eq!(driver.shown(), "postgres://me@h:5432/app");
        let nowhere = of_url("postgres://me@/app?host=/run/pg").unwrap();
        assert_eq!(nowhere.shown(), local.shown());
        let six = of_url("postgresql://me@[::1]:7/app").unwrap();
        assert_eq!((six.host.as_str(), six.port, six.dbname.as_str()), ("::1", 7, "app"));
        let variables = |name: &str| {
            let known =
                [("PGHOST", "::1"), ("PGPORT", "7"), ("PGUSER", "u"), ("PGPASSWORD", "x"), ("PGSSLMODE", "disable")];
            known.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let settings = Settings::of(Given::default(), &variables).unwrap();
        assert_eq!(settings.shown(), "postgres://u@[::1]:7/u");
        assert_eq!((settings.protection, settings.password.unwrap().as_str()), (Protection::Disable, "x"));
    }

    #[test]
    fn a_url_that_tells_a_password_is_known_by_it() {
        for url in [
            "postgres://me:x@h/db",
            "postgres:///db?password=x",
            "postgres://h/db?a=b&p%61ssword=x",
            "postgres://a:b/c@h",
        ] {
            assert!(Settings::tells_password(url), "{url}");
        }
        for url in ["postgres://me@h:5432/db", "postgres://h:5432/db?sslmode=require", "/a:b@c", "postgres://me:@h/db"]
        {
            assert!(!Settings::tells_password(url), "{url}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (url, why) in [
            ("mysql://h/db", "does not begin with postgres://"),
            ("postgres://h:x/db", "no number of a port"),
            ("postgres", "does not begin with postgres://"),
            ("postgres://h/db?sslmode=perhaps", "sslmode \"perhaps\""),
            ("postgres://h/db?sslcert=x", "parameter \"sslcert\""),
            ("postgres://h/db?host=a,b", "several hosts"),
        ] {
            assert!(of_url(url).unwrap_err().to_string().contains(why), "{url}");
        }
    }
}
