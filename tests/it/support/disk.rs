//! Small file systems to fill up. Where this process may not mount one, the test runs again as root of a user
//! namespace; where that is not allowed either, it says that it tested nothing.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Set in a process that has a namespace of its own.
const INSIDE: &str = "STRONGROOM_TEST_NAMESPACE";

/// A file system in memory, gone when dropped.
pub struct Disk(pub PathBuf);

impl Disk {
    /// `None` when the calling test was run elsewhere, or cannot be run: it has nothing left to do.
    pub fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let options = format!("size={size}");
        if ran(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at)) {
            return Some(Self(at));
        }
        assert!(std::env::var_os(INSIDE).is_none(), "a namespace of one's own, and no mounting in it");
        // A test's thread has its name.
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        let namespace = || {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "--mount", "--"]);
            command
        };
        if !ran(namespace().arg("true")) {
            not_tested(&format!("{test}: it may not mount a small file system"));
            return None;
        }
        let mut again = namespace();
        again.arg(std::env::current_exe().unwrap()).args(["--exact", &test, "--nocapture"]).env(INSIDE, "1");
        let output = again.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{test} in a namespace of its own: {said}");
        None
    }

    pub fn remount(&self, options: &str) {
        // The options there are name owners that a namespace does not know: they are not said again.
        let mut command = Command::new("mount");
        command.args(["--options-mode", "ignore", "-t", "tmpfs", "-o", &format!("remount,{options}"), "tmpfs"]);
        assert!(ran(command.arg(&self.0)));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn ran(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Says that something was not tested, and tells scripts/check.sh, which says it again at its end.
pub fn not_tested(what: &str) {
    eprintln!("NOT TESTED: {what}");
    if let Some(file) = std::env::var_os("STRONGROOM_NOT_TESTED") {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(file, "{what}").unwrap();
    }
}
