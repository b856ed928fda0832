//! A session with a server, for code that waits: async stays inside.
//!
//! Owns opening connections, that each is pinned before anything is asked of it, and giving them up when somebody asks to
//! stop. Knows no other SQL of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, CopyOutStream, Row, SimpleQueryMessage, SimpleQueryRow};

use crate::base::control::Control;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::pinned;
use crate::engine::postgres::settings::{Protection, Settings};
use crate::engine::postgres::tls;
use crate::engine::postgres::wire::{Either, Gathered};

/// How long to wait before looking whether to stop.
const GLANCE: Duration = Duration::from_millis(100);
/// How long to wait for the server to take note of it.
const FAREWELL: Duration = Duration::from_secs(2);
/// Rows that are handed on without looking whether to stop.
const ROWS_AT_ONCE: usize = 64;

/// Of rows that nobody wants so many bytes are taken, and for so long, before a connection is given up.
const LITTLE: usize = 512 << 10;
const SOON: Duration = Duration::from_millis(20);

/// Rows on their way.
pub struct Copying(Pin<Box<CopyOutStream>>);

/// One connection. Dropping it ends what the server does for it.
pub struct Session {
    client: Client,
    settings: Settings,
    control: Arc<Control>,
    runtime: Runtime,
    version: u32,
    is_standby: bool,
}

impl Settings {
    /// Opens a connection. Whatever it waits for later ends when `control` says so.
    pub fn connect(&self, control: &Arc<Control>) -> Result<Session, PostgresError> {
        let mut session = self.opened(&pinned::options(), control)?;
        session.batch(&pinned::statements())?;
        let sql =
            "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4, pg_catalog.pg_is_in_recovery()";
        let rows = session.query(sql, &[])?;
        (session.version, session.is_standby) = (rows[0].get::<_, i32>(0) as u32, rows[0].get(1));
        Ok(session)
    }

    /// The `search_path` that the server gives whoever opens a connection. This one is asked for nothing else: SHOW looks
    /// nothing up, whatever the path.
    fn usual_path(&self, control: &Arc<Control>) -> Result<String, PostgresError> {
        let session = self.opened(&pinned::options_but_path(), control)?;
        let mut path = String::new();
        let take = |row: &SimpleQueryRow| {
            path = row.try_get(0)?.unwrap_or_default().to_owned();
            Ok::<(), tokio_postgres::Error>(())
        };
        session.rows("SHOW search_path", take)?.map_err(|error| session.failed(&error))?;
        Ok(path)
    }

    /// A connection that nothing was asked of yet, with these options; without, where something in between takes none.
    fn opened(&self, options: &str, control: &Arc<Control>) -> Result<Session, PostgresError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PostgresError::Runtime)?;
        let with = Some(options).filter(|_| self.takes_options);
        let (mut client, mut settings) = (until_stopped(&runtime, control, self.open(with))??, self.clone());
        if client.is_none() {
            settings.takes_options = false;
            client = until_stopped(&runtime, control, settings.open(None))??;
        }
        let client = client.ok_or_else(|| self.unreachable("it takes no connection"))?;
        Ok(Session { client, settings, control: control.clone(), runtime, version: 0, is_standby: false })
    }

    /// Nothing where these options are not taken.
    async fn open(&self, options: Option<&str>) -> Result<Option<Client>, PostgresError> {
        let connector = tls::connector(self)?;
        let handshake = connector.handshake();
        let stream = self.dial().await?;
        let mut config = self.config();
        if let Some(options) = options {
            config.options(options);
        }
        let opened = timeout(self.patience, config.connect_raw(Gathered::new(stream), connector)).await;
        match opened.map_err(|_| self.unreachable("it does not answer"))? {
            Ok((client, connection)) => {
                // Its end is told by whatever is asked for next.
                tokio::spawn(async move { drop(connection.await) });
                Ok(Some(client))
            }
            Err(error) if options.is_some() && error.code().is_some_and(takes_none) => Ok(None),
            Err(error) => Err(PostgresError::of_connecting(self, &handshake, &error)),
        }
    }

    async fn dial(&self) -> Result<Either<UnixStream, TcpStream>, PostgresError> {
        let dialled = timeout(self.patience, async {
            if self.is_local() {
                UnixStream::connect(self.server()).await.map(Either::One)
            } else {
                let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
                stream.set_nodelay(true)?;
                keep_alive(&stream)?;
                Ok(Either::Other(stream))
            }
        });
        let failed = |error: std::io::Error| self.unreachable(&crate::base::error::reason(&error));
        dialled.await.map_err(|_| self.unreachable("it does not answer"))?.map_err(failed)
    }

    fn unreachable(&self, reason: &str) -> PostgresError {
        PostgresError::Unreachable { server: self.server(), reason: reason.to_owned() }
    }

    fn config(&self) -> Config {
        let mut config = Config::new();
        config.user(&self.user).dbname(&self.dbname).application_name("strongroom");
        if let Some(password) = &self.password {
            config.password(password.as_bytes());
        }
        config.ssl_mode(match self.protection {
            _ if self.is_local() => SslMode::Disable,
            Protection::Disable => SslMode::Disable,
            Protection::Prefer => SslMode::Prefer,
            _ => SslMode::Require,
        });
        config
    }
}

/// Is it what poolers say that know of no options?
fn takes_none(code: &SqlState) -> bool {
    [SqlState::PROTOCOL_VIOLATION, SqlState::FEATURE_NOT_SUPPORTED].contains(code)
}

/// A peer that is gone without a word is noticed after some minutes.
fn keep_alive(stream: &TcpStream) -> std::io::Result<()> {
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, Duration::from_secs(60))?;
    rustix::net::sockopt::set_tcp_keepintvl(stream, Duration::from_secs(20))?;
    rustix::net::sockopt::set_tcp_keepcnt(stream, 5)?;
    Ok(())
}

/// Waits for something, and looks now and then whether to stop.
fn until_stopped<T>(runtime: &Runtime, control: &Control, work: impl Future<Output = T>) -> Result<T, PostgresError> {
    runtime.block_on(async {
        let mut work = std::pin::pin!(work);
        loop {
            if control.stopped() {
                return Err(PostgresError::Interrupted);
            }
            if let Ok(done) = timeout(GLANCE, &mut work).await {
                return Ok(done);
            }
        }
    })
}

impl Session {
    /// `150018` for 15.18.
    pub fn server_version(&self) -> u32 {
        self.version
    }

    /// From now on, whatever it waits for ends when this says so.
    pub fn heed(&mut self, control: Arc<Control>) {
        self.control = control;
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The `search_path` that apps have here.
    pub(super) fn usual_path(&self) -> Result<String, PostgresError> {
        self.settings.usual_path(&self.control)
    }

    /// What the server said, sorted by what a person can do about it.
    pub(super) fn failed(&self, error: &tokio_postgres::Error) -> PostgresError {
        PostgresError::of(&self.settings.server(), self.is_standby, error)
    }

    /// The rows that a query answers with.
    pub fn query(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, PostgresError> {
        self.wait(self.client.query(sql, values))
    }

    /// Runs one statement, and says how many rows it was about.
    pub fn execute(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, PostgresError> {
        self.wait(self.client.execute(sql, values))
    }

    /// Runs statements, one after another.
    pub fn batch(&self, sql: &str) -> Result<(), PostgresError> {
        self.wait(self.client.batch_execute(sql))
    }

    /// Runs a statement that names its values itself, between others that are about no rows; says how many it was about.
    pub fn run(&self, sql: &str) -> Result<u64, PostgresError> {
        let messages = self.wait(self.client.simple_query(sql))?;
        let count = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::CommandComplete(count) => Some(*count),
            _ => None,
        };
        Ok(messages.iter().filter_map(count).sum())
    }

    /// Is it one statement, and does it mean something? Nothing of it is done.
    pub fn check(&self, sql: &str) -> Result<(), PostgresError> {
        self.wait(self.client.prepare(sql)).map(|_| ())
    }

    /// The rows that one statement answers with, as text: each goes to `take` as it comes. An error of `take` ends it.
    /// Nothing else may be asked of this session meanwhile.
    pub fn rows<E>(
        &self,
        sql: &str,
        mut take: impl FnMut(&SimpleQueryRow) -> Result<(), E>,
    ) -> Result<Result<(), E>, PostgresError> {
        let stream = self.wait(self.client.simple_query_raw(sql))?;
        let mut stream = std::pin::pin!(stream.ready_chunks(ROWS_AT_ONCE));
        // Whoever takes a row may wait for something else himself.
        while let Some(some) = self.wait(async { Ok(stream.next().await) })? {
            for message in some {
                let message = message.map_err(|error| self.failed(&error))?;
                let SimpleQueryMessage::Row(row) = message else { continue };
                if let Err(error) = take(&row) {
                    return Ok(Err(error));
                }
            }
        }
        Ok(Ok(()))
    }

    /// Copies out: `take` gets the bytes as they come, rows or parts of them, and says whether it wants more.
    pub fn copy_out(&mut self, sql: &str, mut take: impl FnMut(Bytes) -> bool) -> Result<(), PostgresError> {
        self.wait(async {
            let mut stream = std::pin::pin!(self.client.copy_out(sql).await?);
            while let Some(bytes) = stream.next().await {
                if !take(bytes?) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Begins to copy out: [`Session::more`] has the bytes. Nothing else may be asked of this session meanwhile.
    pub fn begin_copy(&self, sql: &str) -> Result<Copying, PostgresError> {
        Ok(Copying(Box::pin(self.wait(self.client.copy_out(sql))?)))
    }

    /// The next bytes of a copy, rows or parts of them; nothing at its end.
    pub fn more(&self, copying: &mut Copying) -> Result<Option<Bytes>, PostgresError> {
        self.wait(async { copying.0.next().await.transpose() })
    }

    /// Leaves a copy that nobody wants the rest of. Says whether the session can be asked for something else: what is on
    /// its way already is taken, and of a long one the server is told to stop.
    pub fn leave(&self, mut copying: Copying) -> bool {
        let rest = async {
            let mut left = LITTLE;
            while let Some(bytes) = copying.0.next().await {
                left = left.checked_sub(bytes.ok()?.len())?;
            }
            Some(())
        };
        let ended = self.runtime.block_on(async { timeout(SOON, rest).await });
        let is_over = matches!(ended, Ok(Some(())));
        if !is_over {
            self.cancel();
        }
        is_over
    }

    /// Copies in what `give` gives, until it gives no more. Says how many rows that was. An error of `give` takes
    /// everything back, and comes back itself.
    pub fn copy_in<E>(
        &mut self,
        sql: &str,
        mut give: impl FnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<Result<u64, E>, PostgresError> {
        self.wait(async {
            let mut sink = std::pin::pin!(self.client.copy_in(sql).await?);
            loop {
                match give() {
                    Ok(Some(bytes)) => sink.send(bytes).await?,
                    Ok(None) => return sink.finish().await.map(Ok),
                    // A sink that is dropped unfinished is no copy.
                    Err(error) => return Ok(Err(error)),
                }
            }
        })
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, PostgresError> {
        match until_stopped(&self.runtime, &self.control, work) {
            Ok(done) => done.map_err(|error| self.failed(&error)),
            Err(stopped) => {
                self.cancel();
                Err(stopped)
            }
        }
    }

    /// Tells the server that nobody waits for its answer any more. Whether it hears that matters to the server only.
    fn cancel(&self) {
        let token = self.client.cancel_token();
        let cancel = async {
            let connector = tls::connector(&self.settings).ok()?;
            let stream = self.settings.dial().await.ok()?;
            token.cancel_query_raw(Gathered::new(stream), connector).await.ok()
        };
        self.runtime.block_on(async { drop(timeout(FAREWELL, cancel).await) });
    }
}
