//! Bytes that change while size and times stay: a disk does so, and so does whoever writes through an old mapping.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, SystemTime};

use super::{app_in, snapshots};
use crate::support::program::Home;

/// Somebody who has mapped a file. The system notes the time of the first writing through it, and not of those after.
struct Mapped {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Mapped {
    fn new(path: &Path) -> Self {
        let program = "import mmap, sys; f = open(sys.argv[1], 'r+b'); m = mmap.mmap(f.fileno(), 0)\n\
                       for line in sys.stdin: m[0:1] = line[0].encode(); print('written', flush=True)";
        let mut child = Command::new("python3");
        let child = child.args(["-c", program]).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, stdout }
    }

    /// Writes the first byte of the file.
    fn write(&mut self, letter: char) {
        writeln!(self.stdin, "{letter}").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "written\n");
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An app whose file `docs/a.txt` holds something else than when it was captured, and does not look so.
fn rotten() -> (Home, Mapped) {
    let home = app_in(Home::in_memory());
    let file = home.path("app/docs/a.txt");
    let mut mapped = Mapped::new(&file);
    mapped.write('a');
    // What was written just now is not taken for unchanged.
    let age = || SystemTime::now().duration_since(fs::metadata(&file).unwrap().modified().unwrap());
    while age().is_ok_and(|age| age < Duration::from_millis(1100)) {
        std::thread::sleep(Duration::from_millis(50));
    }
    home.ok(&["backup", "app"]);
    home.ok(&["backup", "app"]);
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    mapped.write('X');
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before);
    assert_eq!(fs::read_to_string(&file).unwrap(), "Xlpha\n");
    (home, mapped)
}

#[test]
fn a_restore_in_place_gives_back_a_file_whose_bytes_changed_without_a_trace() {
    let (home, _mapped) = rotten();
    let file = home.path("app/docs/a.txt");
    assert!(home.ok(&["diff", "latest", "live"]).out.contains("app: no change"));
    assert!(home.ok(&["diff", "latest", "live", "--rescan"]).out.contains("M app/docs/a.txt"));
    home.ok(&["restore", "latest", "app:docs", "--in-place", "--trust-times"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "Xlpha\n");
    home.ok(&["restore", "latest", "app:docs", "--in-place"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "alpha\n");
    // The safety snapshot has what was really there.
    let safety = snapshots(&home).last().unwrap()["id"].as_str().unwrap().to_owned();
    home.ok(&["restore", &safety, "app:docs/a.txt", "--to", "kept"]);
    assert_eq!(fs::read_to_string(home.path("kept/docs/a.txt")).unwrap(), "Xlpha\n");
    home.ok(&["undo"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "Xlpha\n");
}

#[test]
fn shares_of_a_rescan_come_to_every_file_in_turn() {
    let (home, _mapped) = rotten();
    let captured = || home.ok(&["show", "latest", "app:docs/a.txt", "--cat"]).out;
    home.ok(&["backup", "app"]);
    assert_eq!(captured(), "alpha\n");
    for _ in 0..4 {
        home.ok(&["backup", "app", "--rescan=25%"]);
    }
    assert_eq!(captured(), "Xlpha\n");
}

#[test]
fn every_file_is_read_again_within_the_time_that_is_configured() {
    let (home, _mapped) = rotten();
    home.write("strongroom.toml", "rescan_within = \"1s\"\n[source.app]\nkind = \"files\"\npath = \"app\"\n");
    let captured = || home.ok(&["show", "latest", "app:docs/a.txt", "--cat"]).out;
    home.ok(&["backup", "--app", "app"]);
    assert_eq!(captured(), "alpha\n", "the turns begin with the first backup");
    std::thread::sleep(Duration::from_millis(2100));
    home.ok(&["backup", "--app", "app"]);
    assert_eq!(captured(), "Xlpha\n");
    home.write("strongroom.toml", "rescan_within = \"soon\"\n");
    assert!(home.fails(2, &["backup"]).contains("\"soon\" is no length of time"));
}
