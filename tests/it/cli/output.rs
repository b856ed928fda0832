//! Standard output that cannot be written to: every command says so and ends with another code than 0.

use super::*;

/// Stands for a vault that is not there yet.
const FRESH: &str = "fresh";

/// One run of every command that has something to print. The program's own list says that none is missing here.
const RUNS: &[&[&str]] = &[
    &["init", "--vault", FRESH],
    &["backup"],
    &["snapshots"],
    &["show", "latest"],
    &["show", "latest", "app"],
    &["show", "latest", "app:readme.md", "--cat"],
    &["show", "latest", "app:big", "--cat"],
    &["diff", "latest~1", "latest"],
    &["diff", "latest", "live"],
    &["diff", "latest~1", "latest", "--table", "t"],
    &["query", "latest", "SELECT * FROM t"],
    &["query", "latest", "SELECT * FROM t", "--format", "csv"],
    &["query", "latest", ".tables"],
    &["query", "latest", ".schema"],
    &["verify"],
    &["verify", "--stored"],
    &["restore", "latest", "--to", "out"],
    &["restore", "latest", "--in-place"],
    &["recover", "latest", "t", "1"],
    &["recover", "latest", "t", "1", "--dry-run"],
    &["recover", "latest", "--file", "app:readme.md", "--dry-run"],
    &["find", "t", "1"],
    &["undo", "--list"],
    &["undo", "--yes"],
    &["completions", "bash"],
    &["man"],
    &["man", "backup"],
    &["help"],
    &["help", "backup"],
];

fn populated() -> Home {
    let home = small();
    home.write("strongroom.toml", "vault = \"kept\"\napp = \"shop\"\n[source.app]\nkind = \"files\"\npath = \"app\"\n");
    let noise: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    home.write("app/big", &noise);
    let database = rusqlite::Connection::open(home.path("app/s.db")).unwrap();
    database.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 'one')").unwrap();
    home.ok(&["init"]);
    home.ok(&["backup"]);
    database.execute_batch("INSERT INTO t VALUES (2, 'two')").unwrap();
    home.write("app/readme.md", "two\n");
    home.ok(&["backup"]);
    home.write("app/readme.md", "three\n");
    home.ok(&["restore", "latest", "app:readme.md", "--in-place"]);
    home
}

/// What the program says its commands are.
fn commands(home: &Home) -> Vec<String> {
    let help = home.ok(&["--help"]).out;
    let listed = help.split("\nCommands:\n").nth(1).expect("the commands are listed").split("\n\n").next().unwrap();
    listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).map(str::to_owned).collect()
}

/// Every way of printing: words, a document, help.
fn runs(home: &Home) -> Vec<Vec<String>> {
    let commands: Vec<String> = commands(home).into_iter().filter(|command| !command.is_empty()).collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in &commands {
        assert!(RUNS.iter().any(|run| run[0] == command), "{command} has no run here");
    }
    let owned = |run: &[&str]| run.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let mut runs: Vec<Vec<String>> = RUNS.iter().map(|run| owned(run)).collect();
    runs.extend(RUNS.iter().map(|run| [owned(&["--json"]), owned(run)].concat()));
    let helped = commands.iter().filter(|command| *command != "help");
    runs.extend(helped.map(|command| vec![command.clone(), "--help".to_owned()]));
    runs.extend([owned(&["--help"]), owned(&["--version"]), owned(&["--json", "show", "latest~99"])]);
    runs
}

fn run_into(home: &Home, run: &[String], out: Stdio) -> (i32, String) {
    let fresh = fs::read_dir(home.path("")).unwrap().count().to_string();
    let words: Vec<&str> = run.iter().map(|word| if word == FRESH { &fresh } else { word.as_str() }).collect();
    let output = home.command(&words).stdout(out).stderr(Stdio::piped()).output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_full_standard_output_is_an_error_in_every_command() {
    let home = populated();
    let mut wrong = Vec::new();
    for run in runs(&home) {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let (code, said) = run_into(&home, &run, full.into());
        let told = said.contains("error: could not write to standard output: no space left on device");
        // A run that fails anyway keeps its own code and its own error.
        let own = run.contains(&"latest~99".to_owned()) && said.contains("error: ");
        if code == 0 || !(told || own) {
            wrong.push(format!("{run:?}: {code} {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_closed_standard_output_is_an_error_in_every_command() {
    let home = populated();
    let mut wrong = Vec::new();
    for run in runs(&home) {
        let (code, said) = run_closed(&home, &run);
        let told = said.contains("error: could not write to standard output: it is closed");
        let own = run.contains(&"latest~99".to_owned()) && said.contains("error: ");
        if code == 0 || !(told || own) {
            wrong.push(format!("{run:?}: {code} {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What prints nothing needs none.
    let quiet = ["--quiet".to_owned(), "backup".to_owned()];
    assert_eq!(run_closed(&home, &quiet).0, 0);
}

/// Runs with standard output closed, as `>&-` of a shell does it.
fn run_closed(home: &Home, run: &[String]) -> (i32, String) {
    let fresh = fs::read_dir(home.path("")).unwrap().count().to_string();
    let words: Vec<&str> = run.iter().map(|word| if word == FRESH { &fresh } else { word.as_str() }).collect();
    let program = home.command(&words);
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" \"$@\" >&-"]).arg(program.get_program()).args(program.get_args());
    shell.current_dir(home.path("")).env_clear().stdin(Stdio::null());
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = shell.output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_reader_that_goes_away_ends_every_command_quietly_and_not_as_a_success() {
    let home = populated();
    let mut wrong = Vec::new();
    for run in runs(&home) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (code, said) = run_into(&home, &run, writer.into());
        // The second time, everything was taken back.
        let own = run.contains(&"latest~99".to_owned()) || said.contains("there is nothing to take back");
        if code != if own { 1 } else { 141 } || (said.contains("error") && !own) {
            wrong.push(format!("{run:?}: {code} {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_reader_that_goes_away_does_not_stop_what_was_to_be_done() {
    let home = populated();
    let before = home.json(&["snapshots"])["snapshots"].as_array().unwrap().len();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(run_into(&home, &["backup".to_owned()], writer.into()).0, 141);
    assert_eq!(home.json(&["snapshots"])["snapshots"].as_array().unwrap().len(), before + 1);
}

#[test]
fn trouble_outweighs_an_output_that_cannot_be_written() {
    let home = populated();
    let pack = walkdir::WalkDir::new(home.path("kept/packs")).into_iter().map(Result::unwrap);
    let pack = pack.filter(|entry| entry.file_type().is_file()).last().unwrap().into_path();
    fs::remove_file(pack).unwrap();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let (code, said) = run_into(&home, &["verify".to_owned()], full.into());
    assert!(code == 4 && said.contains("could not write to standard output"), "{code} {said}");
}
