//! Databases as a whole: made, dropped, renamed, swapped.
//!
//! Owns the marks of what is half made: a name, a comment that begins with a remark, and a lock within the database for as
//! long as somebody is at it. What lacks one of them is somebody's own, and is never dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::base::control::Control;
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::{literal, quoted};
use crate::engine::postgres::restore::dump::Dump;
use crate::engine::postgres::restore::error::LoadError;
use crate::engine::postgres::settings::Settings;

/// What servers are administered through, tried in this order.
const ADMINISTRATIVE: [&str; 2] = ["postgres", "template1"];
/// A name is not longer, in bytes.
const LONGEST: usize = 63;
/// Between the name of a database that is being made and its number.
const SCRATCH: &str = "_strongroom_";
/// So often those who use a database are sent away while it is renamed.
const AGAIN: Duration = Duration::from_millis(50);
/// The comment of a database that is being made. Behind it, on lines of its own, stands the comment that it is to have.
const REMARK: &str = "half restored by strongroom, whose next restore drops it";
/// What a database is limited to while it lets nobody in and has no comment yet: no number that anybody chooses.
const UNMARKED: i32 = 471_108;
/// Says whether somebody is still at it, in that database: such locks are a database's own.
const LOCK: &str = "hashtextextended('half restored by strongroom', 0)";

/// A connection to no database in particular.
pub struct Server {
    session: Session,
    control: Arc<Control>,
}

impl Server {
    /// The server that a database is on, without touching that one.
    pub fn of(settings: &Settings, control: &Arc<Control>) -> Result<Self, LoadError> {
        let mut refused = None;
        for name in ADMINISTRATIVE.into_iter().filter(|name| *name != settings.dbname) {
            match settings.with_database(name).connect(control) {
                Ok(session) => {
                    session.batch(
                        "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0",
                    )?;
                    return Ok(Self { session, control: control.clone() });
                }
                Err(PostgresError::Interrupted) => return Err(PostgresError::Interrupted.into()),
                Err(error) => _ = refused.get_or_insert(error),
            }
        }
        Err(refused.expect("BUG: one of them was tried").into())
    }

    /// What tells this running server from any other, by whatever way and as whomever it is reached: no two have begun to run
    /// in the same microsecond.
    pub fn identity(&mut self) -> Result<String, LoadError> {
        let began = "SELECT extract(epoch FROM pg_postmaster_start_time())::text";
        Ok(self.session.query(began, &[])?[0].get(0))
    }

    pub fn version(&self) -> u32 {
        self.session.server_version()
    }

    pub fn has(&mut self, name: &str) -> Result<bool, LoadError> {
        Ok(!self.session.query("SELECT 1 FROM pg_database WHERE datname = $1", &[&name])?.is_empty())
    }

    /// May this user make databases?
    pub fn may_create(&mut self) -> Result<bool, LoadError> {
        let sql = "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user";
        Ok(self.session.query(sql, &[])?.first().is_some_and(|row| row.get(0)))
    }

    /// Fails unless this user may make a database that is going to be called this.
    pub fn may_make(&mut self, base: &str) -> Result<(), LoadError> {
        if ADMINISTRATIVE.contains(&base) || base == "template0" {
            return Err(LoadError::Administrative { name: base.to_owned() });
        }
        if !self.may_create()? {
            let settings = self.session.settings();
            return Err(LoadError::MayNotCreate { user: settings.user.clone(), server: settings.server() });
        }
        Ok(())
    }

    /// Makes an empty database of a name that says what it is, as the captured one was, or as `like` is. Nobody drops it
    /// while this session lasts.
    pub fn scratch(&mut self, base: &str, id: &str, dump: &dyn Dump, like: Option<&str>) -> Result<String, LoadError> {
        self.may_make(base)?;
        let name = named(base, &format!("{SCRATCH}{id}"));
        self.session.query("SELECT pg_advisory_lock(hashtextextended($1, 0))", &[&name])?;
        let options = self.dress(dump, like)?;
        let options = format!("{options} ALLOW_CONNECTIONS false CONNECTION LIMIT {UNMARKED}");
        self.session.batch(&format!("CREATE DATABASE {} TEMPLATE template0 {options}", quoted(&name)))?;
        // What was made and not marked yet has never let anybody in.
        let (name_quoted, remark) = (quoted(&name), literal(REMARK));
        self.session.batch(&format!(
            "BEGIN; COMMENT ON DATABASE {name_quoted} IS {remark}; \
             ALTER DATABASE {name_quoted} ALLOW_CONNECTIONS true CONNECTION LIMIT -1; COMMIT"
        ))?;
        Ok(name)
    }

    /// Keeps a database that was just made: nobody drops it while what is returned lasts.
    pub fn keep(&mut self, name: &str) -> Result<Keeper, LoadError> {
        let session = self.session.settings().with_database(name).connect(&self.control)?;
        session.batch("SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'")?;
        session.batch(&format!("SELECT pg_advisory_lock({LOCK})"))?;
        Ok(Keeper(session))
    }

    /// Encoding and locale as captured; owner and place as those of the database it is to replace, if it is there.
    fn dress(&mut self, dump: &dyn Dump, like: Option<&str>) -> Result<String, LoadError> {
        let mut options = String::new();
        for (fact, word) in [("encoding", "ENCODING"), ("collate", "LC_COLLATE"), ("ctype", "LC_CTYPE")] {
            if let Some(value) = dump.fact(fact) {
                options += &format!("{word} {} ", literal(value));
            }
        }
        if let Some(locale) = dump.fact("icu locale") {
            match dump.fact("locale provider") {
                Some("i") => options += &format!("LOCALE_PROVIDER icu ICU_LOCALE {} ", literal(locale)),
                Some("b") => options += &format!("LOCALE_PROVIDER builtin BUILTIN_LOCALE {} ", literal(locale)),
                _ => {}
            }
        }
        // Where it would lie anyway is not said: that takes no right, and saying it does.
        let there = "SELECT pg_get_userbyid(d.datdba)::text, t.spcname::text FROM pg_database d \
                     LEFT JOIN pg_database e ON e.datname = 'template0' \
                     LEFT JOIN pg_tablespace t ON t.oid = d.dattablespace AND t.oid IS DISTINCT FROM e.dattablespace \
                     WHERE d.datname = $1";
        let row =
            like.map(|name| self.session.query(there, &[&name])).transpose()?.and_then(|rows| rows.into_iter().next());
        let owner = match &row {
            Some(row) => Some(row.get::<_, String>(0)),
            None => dump.fact("owner").map(str::to_owned),
        };
        let may_own = "SELECT 1 FROM pg_roles WHERE rolname = $1 AND pg_has_role(current_user, oid, 'MEMBER')";
        if let Some(owner) = owner
            && !self.session.query(may_own, &[&owner])?.is_empty()
        {
            options += &format!("OWNER {} ", quoted(&owner));
        }
        if let Some(place) = row.and_then(|row| row.get::<_, Option<String>>(1)) {
            options += &format!("TABLESPACE {} ", quoted(&place));
        }
        Ok(options)
    }

    /// Drops it, whoever uses it.
    pub fn drop(&mut self, name: &str) -> Result<(), LoadError> {
        let force = if self.version() >= 130_000 { " WITH (FORCE)" } else { "" };
        Ok(self.session.batch(&format!("DROP DATABASE IF EXISTS {}{force}", quoted(name)))?)
    }

    /// Drops what restores left half made that are not at it any more. Returns the names.
    pub fn sweep(&mut self) -> Result<Vec<String>, LoadError> {
        let sql = "SELECT datname::text, NOT datallowconn AND datconnlimit = $1 FROM pg_database \
                   WHERE datname ~ '_strongroom_[0-9a-f]{8}$' AND (datallowconn OR datconnlimit = $1) \
                   AND pg_has_role(current_user, datdba, 'MEMBER') ORDER BY 1";
        let mut dropped = Vec::new();
        for row in self.session.query(sql, &[&UNMARKED])? {
            let (name, is_unmarked): (String, bool) = (row.get(0), row.get(1));
            let free = self.session.query("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", &[&name])?;
            if !free[0].get::<_, bool>(0) {
                continue;
            }
            let done = if is_unmarked || self.is_left(&name)? { self.drop(&name).map(|()| true) } else { Ok(false) };
            self.session.query("SELECT pg_advisory_unlock(hashtextextended($1, 0))", &[&name])?;
            if done? {
                dropped.push(name);
            }
        }
        Ok(dropped)
    }

    /// Does a database say of itself that it is half made, and is nobody at it? Asked in that database.
    fn is_left(&self, name: &str) -> Result<bool, LoadError> {
        // One that lets nobody in is not known to be ours.
        let session = match self.session.settings().with_database(name).connect(&self.control) {
            Ok(session) => session,
            Err(PostgresError::Interrupted) => return Err(PostgresError::Interrupted.into()),
            Err(_) => return Ok(false),
        };
        let sql = format!(
            "SELECT left(shobj_description(oid, 'pg_database'), length($1)) IS NOT DISTINCT FROM $1 \
             AND pg_try_advisory_lock({LOCK}) FROM pg_database WHERE datname = current_database()"
        );
        Ok(session.query(&sql, &[&REMARK])?.first().is_some_and(|row| row.get(0)))
    }

    /// Renames in one transaction: all or none of them. Who uses one of them is sent away, and waits at the door.
    pub fn rename(&mut self, names: &[(&str, &str)], wait: Duration) -> Result<(), LoadError> {
        let all: Vec<&str> = names.iter().map(|(from, _)| *from).collect();
        let deadline = Instant::now() + wait.max(Duration::from_secs(10));
        loop {
            let error = match self.try_rename(names, &all) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let _ = self.session.batch("ROLLBACK");
            if !error.is_in_use() {
                return Err(error.into());
            }
            if Instant::now() > deadline {
                return Err(LoadError::InUse { name: all[0].to_owned(), reason: error.to_string() });
            }
        }
    }

    /// A rename locks the database, so that nobody new comes in, and then waits some seconds for those who are in it.
    fn try_rename(&mut self, names: &[(&str, &str)], all: &[&str]) -> Result<(), PostgresError> {
        let other = self.session.settings().connect(&self.control)?;
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| send_away(other, all, &done));
            let renamed = self.renames(names);
            done.store(true, Ordering::SeqCst);
            renamed
        })
    }

    fn renames(&mut self, names: &[(&str, &str)]) -> Result<(), PostgresError> {
        self.session.batch("BEGIN")?;
        for (from, to) in names {
            self.session.batch(&format!("ALTER DATABASE {} RENAME TO {}", quoted(from), quoted(to)))?;
            self.mark(to)?;
        }
        self.session.batch("COMMIT")
    }

    /// What has a name of something half made says so in its comment; what has another says it no more.
    fn mark(&self, name: &str) -> Result<(), PostgresError> {
        let sql = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1";
        let comment: Option<String> = self.session.query(sql, &[&name])?.first().and_then(|row| row.get(0));
        let own = comment.as_deref().and_then(|comment| comment.strip_prefix(REMARK));
        let marked = match (is_scratch(name), own) {
            (true, None) => marked(comment.as_deref()),
            (false, Some(own)) => own.strip_prefix('\n').map_or_else(|| "NULL".to_owned(), literal),
            _ => return Ok(()),
        };
        self.session.batch(&format!("COMMENT ON DATABASE {} IS {marked}", quoted(name)))
    }

    /// Is there nothing of anybody's in it?
    pub fn is_empty(settings: &Settings, control: &Arc<Control>) -> Result<bool, LoadError> {
        let sql = "SELECT NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema') \
            AND NOT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
                WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema') \
            AND NOT EXISTS (SELECT FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
                WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema') \
            AND NOT EXISTS (SELECT FROM pg_largeobject_metadata) \
            AND NOT EXISTS (SELECT FROM pg_namespace WHERE nspname !~ '^pg_' \
                AND nspname NOT IN ('information_schema', 'public'))";
        Ok(settings.connect(control)?.query(sql, &[])?[0].get(0))
    }
}

/// Keeps others from taking a database for a leftover: a session in it that holds its lock.
pub struct Keeper(Session);

impl Keeper {
    /// Ends it.
    pub fn let_go(self) {
        drop(self.0);
    }
}

/// Puts what says that a database is half made before a comment that it was given, or keeps it.
pub(super) fn finish(session: &mut Session, name: &str) -> Result<(), PostgresError> {
    let sql = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1";
    let comment: Option<String> = session.query(sql, &[&name])?.first().and_then(|row| row.get(0));
    if !is_scratch(name) || comment.as_deref().is_some_and(|comment| comment.starts_with(REMARK)) {
        return Ok(());
    }
    session.batch(&format!("COMMENT ON DATABASE {} IS {}", quoted(name), marked(comment.as_deref())))
}

/// As SQL has it.
fn marked(comment: Option<&str>) -> String {
    literal(&comment.map_or_else(|| REMARK.to_owned(), |comment| format!("{REMARK}\n{comment}")))
}

/// Is it a name of something half made?
fn is_scratch(name: &str) -> bool {
    let id = name.rsplit_once(SCRATCH).map(|(_, id)| id);
    id.is_some_and(|id| id.len() == 8 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
}

/// Ends the sessions of others in these databases, until it is told to stop.
fn send_away(session: Session, names: &[&str], done: &AtomicBool) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = ANY ($1) AND pid <> pg_backend_pid() AND backend_type <> 'logical replication launcher'";
    while !done.load(Ordering::SeqCst) {
        // Those it may not end show in that the rename does not succeed.
        let _ = session.query(sql, &[&names]);
        std::thread::sleep(AGAIN);
    }
}

/// A name with something behind it, cut so that it fits.
pub fn named(base: &str, behind: &str) -> String {
    let mut cut = base.len().min(LONGEST - behind.len());
    while !base.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{behind}", &base[..cut])
}
