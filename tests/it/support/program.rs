//! The real program in a home of its own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A home folder, and a folder to work in.
pub struct Home {
    temp: TempDir,
    variables: Vec<(String, String)>,
}

/// How one run ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub bytes: Vec<u8>,
    pub err: String,
}

impl Home {
    pub fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap())
    }

    /// In memory, where no page of a file is ever written back: what writes through a mapping is noted once.
    pub fn in_memory() -> Self {
        Self::of(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    fn of(temp: TempDir) -> Self {
        fs::create_dir(temp.path().join("home")).unwrap();
        fs::create_dir(temp.path().join("work")).unwrap();
        Self { temp, variables: Vec::new() }
    }

    /// Sets a variable for every later run.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.push((name.to_owned(), value.into()));
    }

    /// Sets a variable no longer.
    pub fn unset(&mut self, name: &str) {
        self.variables.retain(|(known, _)| known != name);
    }

    /// A path in the folder that commands run in.
    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join("work").join(name)
    }

    pub fn identity(&self) -> PathBuf {
        self.temp.path().join("home/.config/strongroom/identity.txt")
    }

    pub fn vault(&self) -> PathBuf {
        self.temp.path().join("home/.local/share/strongroom/vault")
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command.args(arguments).current_dir(self.path("")).stdin(Stdio::null());
        command.env_clear().env("HOME", self.temp.path().join("home")).env("PATH", std::env::var("PATH").unwrap());
        command.env("TZ", "UTC").envs(self.variables.iter().cloned());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// Runs what must succeed.
    pub fn ok(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}{}", ran.out, ran.err);
        ran
    }

    /// Runs what must succeed and reads the one document it prints.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let ran = self.ok(&[&["--json"], arguments].concat());
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", ran.out))
    }

    /// Starts at a terminal.
    fn terminal(&self, arguments: &[&str]) -> std::process::Child {
        let program = self.command(arguments);
        let words = std::iter::once(program.get_program()).chain(program.get_args());
        let words: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
        let mut terminal = Command::new("script");
        terminal.args(["-qefc", &words.join(" "), "/dev/null"]).current_dir(self.path("")).env_clear();
        terminal.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "dumb");
        terminal.env("SHELL", "/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        terminal.spawn().expect("script is missing: it is part of util-linux")
    }

    /// Runs at a terminal, where somebody presses Control and C until it ends.
    pub fn stopped_at_terminal(&self, arguments: &[&str]) -> Ran {
        let mut running = self.terminal(arguments);
        let mut keyboard = running.stdin.take().unwrap();
        while running.try_wait().unwrap().is_none() {
            let _ = keyboard.write_all(b"\x03").and_then(|()| keyboard.flush());
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        Ran::of(running.wait_with_output().unwrap())
    }

    /// Runs at a terminal, where somebody types this. What is printed comes with what was typed.
    pub fn at_terminal(&self, arguments: &[&str], typed: &str) -> Ran {
        let mut running = self.terminal(arguments);
        running.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        Ran::of(running.wait_with_output().unwrap())
    }

    /// Runs lines of shell that must succeed, as a person would who has the program. Returns what they print.
    pub fn shell(&self, lines: &str) -> String {
        let program = self.command(&[]);
        let folder = Path::new(program.get_program()).parent().unwrap();
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", lines]).current_dir(self.path("")).stdin(Stdio::null()).env_clear();
        shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()));
        let ran = Ran::of(shell.output().unwrap());
        assert_eq!(ran.code, 0, "{lines}: {}{}", ran.out, ran.err);
        ran.out
    }

    /// Runs what must fail with this code, one `error:` line and at most one `hint:` line. Returns both.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}{}", ran.out, ran.err);
        let mut lines = ran.err.lines();
        let first = lines.next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or_else(|| panic!("{arguments:?}: {}", ran.err));
        assert!(!message.starts_with(char::is_uppercase), "{message}");
        let rest: Vec<&str> = lines.collect();
        assert!(rest.len() <= 1 && rest.iter().all(|line| line.starts_with("hint: ")), "{arguments:?}: {}", ran.err);
        ran.err
    }
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ran = Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
            bytes: output.stdout,
        };
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
        for text in [&ran.out, &ran.err] {
            let secret =
                text.split("AGE-SECRET-KEY-1").skip(1).any(|rest| rest.starts_with(|c: char| c.is_alphanumeric()));
            assert!(!secret, "a secret was printed");
        }
        ran
    }
}

/// The commands of a page of docs/ that are marked to be run: one text for each block.
pub fn blocks(page: &str) -> Vec<String> {
    let blocks = page.split("<!-- test -->\n```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(str::to_owned).collect()
}

/// A page of docs/.
pub fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// What rsync would have to do to make `there` what `here` is: nothing, if it is printed empty.
pub fn differences(here: &Path, there: &Path) -> String {
    let mut command = Command::new("rsync");
    command.args(["-aHAXn", "--checksum", "--itemize-changes", "--delete"]);
    command.arg(format!("{}/", here.display())).arg(format!("{}/", there.display()));
    let output = command.output().expect("rsync is missing: run scripts/services.sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Restores the newest snapshot of a home's vault, or one that is named, into its folder `out` with standard tools alone.
pub fn by_standard_tools(home: &Home, snapshot: &[&str]) -> Ran {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recover-with-standard-tools.sh");
    let mut tools = Command::new("bash");
    tools.arg(script).arg(home.vault()).arg(home.identity()).arg("out").args(snapshot).current_dir(home.path(""));
    Ran::of(tools.stdin(Stdio::null()).output().unwrap())
}

/// Runs a line of shell in a folder; it must succeed.
pub fn shell(folder: &Path, line: &str) -> String {
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", line]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
