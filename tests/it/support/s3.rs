//! Real S3 servers for one test process: moto, which the contract holds for, and rclone, which overwrites in silence.
//!
//! Each is started on a private port on first use and ends with the test process, however that ends: a shell reads a
//! pipe from it and ends the server when the pipe closes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use strongroom::store::Options;
use tempfile::TempDir;

/// A running server. Statics are never dropped: the pipe held here closes when the process is gone.
pub struct Server {
    port: u16,
    /// Where a bucket is a folder; elsewhere an unsigned request makes one.
    buckets: Option<PathBuf>,
    _watched: Child,
    _folder: TempDir,
}

/// moto: answers as AWS does, keeps everything in memory, checks no signatures.
pub fn moto() -> &'static Server {
    static MOTO: OnceLock<Server> = OnceLock::new();
    MOTO.get_or_init(|| {
        Server::start("moto_server", |port, _| vec!["-H".into(), "127.0.0.1".into(), "-p".into(), port.to_string()])
    })
}

/// rclone serving a folder: ignores If-None-Match, and answers some ranges with the whole object.
pub fn rclone() -> &'static Server {
    static RCLONE: OnceLock<Server> = OnceLock::new();
    RCLONE.get_or_init(|| {
        Server::start("rclone", |port, folder| {
            let addr = format!("127.0.0.1:{port}");
            let cache = folder.join("cache");
            let data = folder.join("data");
            std::fs::create_dir(&data).unwrap();
            let (cache, data) = (cache.to_str().unwrap(), data.to_str().unwrap());
            let words = format!(
                "serve s3 --addr {addr} --auth-key test,testtest --vfs-cache-mode full --cache-dir {cache} \
                 --config /dev/null {data}"
            );
            words.split(' ').map(str::to_owned).collect()
        })
    })
}

impl Server {
    fn start(program: &str, arguments: impl FnOnce(u16, &Path) -> Vec<String>) -> Self {
        let path = services().join(program);
        assert!(path.exists(), "{program} is missing: run scripts/services.sh");
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        // The pipe stays open for as long as this process lives, and closes however it dies.
        let script = r#""$@" </dev/null >server.log 2>&1 & server=$!; read -r _; kill "$server"; wait "$server""#;
        let watched = Command::new("sh")
            .args(["-c", script, "watchdog"])
            .arg(path)
            .args(arguments(port, folder.path()))
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let buckets = Some(folder.path().join("data")).filter(|data| data.exists());
        let server = Self { port, buckets, _watched: watched, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(60);
        while server.request("GET", "/").is_err() {
            let log = || std::fs::read_to_string(server._folder.path().join("server.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "{program} does not answer: {}", log());
            thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// A bucket of its own for whoever asks.
    pub fn bucket(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let bucket = format!("bucket-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        match &self.buckets {
            Some(folder) => std::fs::create_dir(folder.join(&bucket)).unwrap(),
            None => {
                let answer = self.request("PUT", &format!("/{bucket}")).unwrap();
                assert!(answer.contains(" 200 "), "making {bucket}: {answer}");
            }
        }
        bucket
    }

    /// What a store needs to reach it.
    pub fn options(&self) -> Options {
        options(self.port)
    }

    /// A way to it that forwards the first request, and then hangs up instead of handing the answer back.
    pub fn options_losing_the_first_answer(&self) -> Options {
        let (listener, port) = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), self.port);
        let between = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for (n, client) in listener.incoming().enumerate() {
                let (mut client, mut server) =
                    (client.unwrap(), TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap());
                let (mut asks, mut answers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || std::io::copy(&mut asks, &mut server));
                thread::spawn(move || {
                    if n > 0 {
                        return std::io::copy(&mut answers, &mut client);
                    }
                    let lost = answers.read(&mut [0; 64]);
                    client.shutdown(std::net::Shutdown::Both)?;
                    lost.map(|read| read as u64)
                });
            }
        });
        options(between)
    }

    /// A way to it that can be closed and opened again.
    pub fn gate(&self) -> Gate {
        let (listener, port) = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), self.port);
        let gate =
            Gate { port: listener.local_addr().unwrap().port(), closed: Arc::default(), refused: Arc::default() };
        let (closed, refused) = (gate.closed.clone(), gate.refused.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                if closed.load(Ordering::SeqCst) {
                    refused.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let (mut client, mut server) =
                    (client.unwrap(), TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap());
                let (mut asks, mut answers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || std::io::copy(&mut asks, &mut server));
                let (closed, refused) = (closed.clone(), refused.clone());
                thread::spawn(move || {
                    let mut part = [0; 4096];
                    while let Ok(read @ 1..) = answers.read(&mut part) {
                        if closed.load(Ordering::SeqCst) {
                            refused.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                        client.write_all(&part[..read])?;
                    }
                    client.shutdown(std::net::Shutdown::Both)
                });
            }
        });
        gate
    }

    /// The same, as environment variables for a process.
    #[allow(dead_code, reason = "for the tests of the command line")]
    pub fn variables(&self) -> BTreeMap<String, String> {
        self.options().aws
    }

    /// The answer's first line.
    fn request(&self, method: &str, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")?;
        let mut answer = [0; 512];
        let read = stream.read(&mut answer)?;
        let text = String::from_utf8_lossy(&answer[..read]);
        match text.lines().next() {
            Some(line) => Ok(line.to_owned()),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// A way to a server. While it is closed, connections and answers break off.
pub struct Gate {
    port: u16,
    closed: Arc<AtomicBool>,
    refused: Arc<AtomicU32>,
}

impl Gate {
    pub fn options(&self) -> Options {
        options(self.port)
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
    }

    /// How often somebody ran into it closed.
    pub fn refused(&self) -> u32 {
        self.refused.load(Ordering::SeqCst)
    }
}

/// What a store needs to reach a server on this port.
pub fn options(port: u16) -> Options {
    let settings = [
        ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "testtest".to_owned()),
    ];
    Options { aws: settings.map(|(name, value)| (name.to_owned(), value)).into() }
}

/// Where scripts/services.sh puts the servers' commands.
fn services() -> PathBuf {
    let output = Command::new("scripts/services.sh")
        .arg("--path")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("scripts/services.sh runs");
    String::from_utf8(output.stdout).unwrap().trim_end().into()
}
