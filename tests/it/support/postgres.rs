//! A real PostgreSQL for one test process: its own cluster, on a private port, gone when the process is, however that ends.
//!
//! The cluster is copied from one that is made once and kept with what is built; a test has a fresh database for itself.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The superuser's. Asked for over TCP, not at the socket.
pub const PASSWORD: &str = "p@ss:w\\rd 1";
const SUPERUSER: &str = "postgres";
const MISSING: &str = "PostgreSQL is missing: run scripts/services.sh";

/// A running server. The pipe its watchdog reads closes when this process is gone.
pub struct Cluster {
    tools: PathBuf,
    folder: PathBuf,
    port: u16,
    _watchdog: Child,
}

/// The cluster of this process.
#[allow(dead_code, reason = "for whichever tests need one")]
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(&[]))
}

#[allow(dead_code, reason = "not every test needs all of it")]
impl Cluster {
    /// Another cluster, with these settings (`name=value`).
    pub fn start(settings: &[&str]) -> Self {
        Self::start_with(settings, &[])
    }

    /// The same, with variables of its environment.
    pub fn start_with(settings: &[&str], variables: &[(&str, &str)]) -> Self {
        let tools = tools();
        let folder = tempfile::Builder::new().prefix("strongroom-pg-").tempdir().unwrap().keep();
        let data = folder.join("data");
        let copied =
            Command::new("cp").args(["-a", "--reflink=auto"]).arg(template(&tools)).arg(&data).status().unwrap();
        assert!(copied.success());
        if let Some((user, group)) = unprivileged() {
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        Self::serve(tools, folder, settings, variables)
    }

    /// Another server that follows this one.
    pub fn standby(&self) -> Self {
        let folder = tempfile::Builder::new().prefix("strongroom-pg-").tempdir().unwrap().keep();
        if let Some((user, group)) = unprivileged() {
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        let mut copy = as_unprivileged(&self.tools.join("pg_basebackup"));
        copy.env("PGHOST", &self.folder).env("PGPORT", self.port.to_string()).env("PGUSER", SUPERUSER);
        said(copy.arg("-D").arg(folder.join("data")).args(["-R", "-X", "stream", "-c", "fast"]).current_dir("/"));
        Self::serve(self.tools.clone(), folder, &[], &[])
    }

    /// Runs a server on the cluster that lies in the folder.
    fn serve(tools: PathBuf, folder: PathBuf, settings: &[&str], variables: &[(&str, &str)]) -> Self {
        let data = folder.join("data");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut server = as_unprivileged(&tools.join("postgres"));
        server.arg("-D").arg(&data).args(["-p", &port.to_string()]).arg("-k").arg(&folder);
        for setting in FAST.iter().chain(settings) {
            server.args(["-c", setting]);
        }
        // The pipe stays open for as long as this process lives, and closes however it dies.
        let script = r#"folder=$1; shift; cd /; "$@" </dev/null >"$folder/server.log" 2>&1 & server=$!
            read -r _; kill -QUIT "$server"; wait "$server"; rm -rf "$folder""#;
        let watchdog = Command::new("sh")
            .args(["-c", script, "watchdog"])
            .arg(&folder)
            .arg(server.get_program())
            .args(server.get_args())
            .env("LC_ALL", "C.UTF-8")
            .envs(variables.iter().copied())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let cluster = Self { tools, folder, port, _watchdog: watchdog };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !cluster.command("pg_isready", "postgres").output().unwrap().status.success() {
            let log = || fs::read_to_string(cluster.folder.join("server.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PostgreSQL does not answer: {}", log());
            thread::sleep(Duration::from_millis(30));
        }
        cluster
    }

    /// An empty database of its own for whoever asks.
    pub fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// At the socket, where no password is asked for.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@/{database}?host={}&port={}", self.folder.display(), self.port)
    }

    /// Over TCP, where one is.
    pub fn url_with_password(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:p%40ss%3Aw%5Crd%201@127.0.0.1:{}/{database}", self.port)
    }

    /// Over TCP, for who has the password already.
    pub fn url_over_tcp(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{database}", self.port)
    }

    /// A tool of PostgreSQL's that knows where the database is.
    pub fn command(&self, tool: &str, database: &str) -> Command {
        let mut command = Command::new(self.tools.join(tool));
        command.env("PGHOST", &self.folder).env("PGPORT", self.port.to_string());
        command.env("PGUSER", SUPERUSER).env("PGDATABASE", database).stdin(Stdio::null());
        command
    }

    /// What psql answers, without any dress: a line for each row, `|` between columns.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = self.command("psql", database);
        said(psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql]))
    }

    /// Runs a file of SQL, as psql does in its folder.
    pub fn load(&self, database: &str, file: &Path) -> String {
        let mut psql = self.command("psql", database);
        psql.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-f"]).arg(file.file_name().unwrap());
        said(psql.current_dir(file.parent().unwrap()))
    }

    /// The whole database as pg_dump writes it, without what differs from run to run.
    pub fn dump(&self, database: &str, options: &[&str]) -> String {
        let text = said(self.command("pg_dump", database).args(options));
        let noise = |line: &&str| !line.starts_with("\\restrict ") && !line.starts_with("\\unrestrict ");
        text.lines().filter(noise).map(|line| format!("{line}\n")).collect()
    }
}

/// Nothing here has to outlive the machine.
const FAST: [&str; 9] = [
    "listen_addresses=127.0.0.1",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "shared_buffers=32MB",
    "max_connections=80",
    "max_wal_size=256MB",
    "autovacuum=off",
    "wal_level=logical",
];

fn said(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap().trim_end_matches('\n').to_owned()
}

/// Where the newest PostgreSQL lies.
fn tools() -> PathBuf {
    let on_path = std::env::var_os("PATH").into_iter();
    let on_path: Vec<PathBuf> = on_path.flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>()).collect();
    let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut packaged: Vec<PathBuf> = packaged.map(|version| version.join("bin")).collect();
    packaged.sort();
    let mut folders = packaged.into_iter().rev().chain(on_path);
    let has_all = |folder: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|tool| folder.join(tool).exists());
    folders.find(has_all).expect(MISSING)
}

/// The server refuses to run as root: then it runs as the user its package made.
fn unprivileged() -> Option<(u32, u32)> {
    let user = || uzers::get_user_by_name(SUPERUSER).expect(MISSING);
    rustix::process::geteuid().is_root().then(user).map(|user| (user.uid(), user.primary_group_id()))
}

fn as_unprivileged(program: &Path) -> Command {
    let Some((user, group)) = unprivileged() else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]).arg(program);
    command
}

/// A cluster that was never started, made by the first process that needs one.
fn template(tools: &Path) -> PathBuf {
    let built = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(&built).unwrap();
    let version = said(Command::new(tools.join("postgres")).arg("--version"));
    let version: String = version.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let template = built.join(format!("cluster-{version}"));
    let lock = File::create(built.join("cluster.lock")).unwrap();
    lock.lock().unwrap();
    if template.exists() {
        return template;
    }
    // The build's folder may lie where another user cannot go.
    let folder = tempfile::tempdir().unwrap();
    let (data, password) = (folder.path().join("data"), folder.path().join("password"));
    fs::write(&password, PASSWORD).unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
    if let Some((user, group)) = unprivileged() {
        chown(folder.path(), Some(user), Some(group)).unwrap();
    }
    let mut initdb = as_unprivileged(&tools.join("initdb"));
    initdb.args(["-U", SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--wal-segsize=4"]);
    initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256"]).arg("--pwfile").arg(&password);
    said(initdb.arg("-D").arg(&data).current_dir("/"));
    let half = template.with_extension("half");
    let _ = fs::remove_dir_all(&half);
    let copied = Command::new("cp").arg("-a").arg(&data).arg(&half).status().unwrap();
    assert!(copied.success());
    fs::rename(&half, &template).unwrap();
    template
}

mod tests {
    #[test]
    fn a_cluster_answers_at_its_socket_and_over_tcp() {
        let cluster = super::cluster();
        let database = cluster.database();
        assert_eq!(cluster.sql(&database, "SELECT current_database(), 1"), format!("{database}|1"));
        let mut psql = cluster.command("psql", "postgres");
        let url = cluster.url_with_password(&database);
        assert_eq!(super::said(psql.args(["-XqAt", "-c", "SELECT 2", &url])), "2");
    }
}
