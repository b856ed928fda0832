//! Other processes: apps that have the database open, and restores that are killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use super::*;

const STEPS: [&str; 13] = [
    "opened",
    "begun",
    "looked",
    "page written:1",
    "page written:20",
    "flushed",
    "page one",
    "checked",
    "cut",
    "committed",
    "checkpointed",
    "staged",
    "without log",
];

/// This test binary again, in a role.
fn child(role: &str, scene: &Scene) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["engine::sqlite::apply::tests::processes::another_process", "--exact", "--nocapture"]);
    command.env("STRONGROOM_TEST_ROLE", role).env("STRONGROOM_TEST_FOLDER", scene.folder.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Not a test of its own: what the processes of other tests do.
#[test]
fn another_process() {
    let Ok(role) = std::env::var("STRONGROOM_TEST_ROLE") else { return };
    let folder = PathBuf::from(std::env::var("STRONGROOM_TEST_FOLDER").unwrap());
    let (live, snapshot) = (folder.join("live.db"), folder.join("snapshot.db"));
    match role.as_str() {
        "restore" => {
            give_back(&live, &snapshot, OnDamage::Refuse, WAIT).unwrap();
        }
        "restore what differs" => {
            known::give_back(&live, &snapshot).unwrap().expect("few pages differ");
        }
        "reader" => read(&live),
        "writer" => write(&live),
        _ => panic!("{role}"),
    }
}

fn say(number: i64) {
    // The harness writes to standard output too, on lines of its own.
    writeln!(std::io::stdout(), "\nsaid {number}").unwrap();
}

fn told() -> String {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    line.trim().to_owned()
}

const SUM: &str = "SELECT sum(balance) FROM account";

/// Sees the same sum as long as its transaction lasts, and then another.
fn read(live: &Path) {
    let connection = Connection::open(live).unwrap();
    let sum = || connection.query_row(SUM, [], |row| row.get::<_, i64>(0)).unwrap();
    connection.execute_batch("BEGIN").unwrap();
    say(sum());
    while told() == "again" {
        say(sum());
    }
    connection.execute_batch("COMMIT").unwrap();
    say(sum());
}

/// Moves money from one account to another until it is told to stop, never changing the sum.
fn write(live: &Path) {
    let connection = Connection::open(live).unwrap();
    connection.busy_timeout(Duration::from_secs(20)).unwrap();
    let (stop, stopped) = mpsc::channel();
    std::thread::spawn(move || {
        told();
        stop.send(()).unwrap();
    });
    say(0);
    let mut moves = 0i64;
    while stopped.try_recv().is_err() {
        let (from, to) = (moves % 100 + 1, (moves * 7) % 100 + 1);
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        connection.execute("UPDATE account SET balance = balance - 1 WHERE id = ?1", [from]).unwrap();
        connection.execute("UPDATE account SET balance = balance + 1 WHERE id = ?1", [to]).unwrap();
        connection.execute("INSERT INTO note(account, text) VALUES(?1, 'moved')", [from]).unwrap();
        connection.execute_batch("COMMIT").unwrap();
        moves += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    say(moves);
}

struct Talk {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Talk {
    fn with(role: &str, scene: &Scene) -> Self {
        let mut child = child(role, scene).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn heard(&mut self) -> i64 {
        let line =
            self.lines.by_ref().map(Result::unwrap).find_map(|line| line.strip_prefix("said ").map(str::to_owned));
        line.expect("the other process ended").parse().unwrap()
    }

    fn tell(&mut self, word: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{word}").unwrap();
    }

    fn ends(mut self) {
        drop(self.child.stdin.take());
        for line in self.lines.by_ref() {
            line.unwrap();
        }
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn with_a_log_a_reader_keeps_its_view_and_a_writer_goes_on() {
    let scene = Scene::new("wal", BANK, SPENT);
    let before = number(&scene.live(), SUM);
    let mut reader = Talk::with("reader", &scene);
    assert_eq!(reader.heard(), before);
    let mut writer = Talk::with("writer", &scene);
    writer.heard();
    for _ in 0..5 {
        let applied = scene.apply().unwrap();
        assert!(applied.written > 1 && applied.checked == Checked::Sound);
        assert_eq!(number(&scene.live(), SUM), 100_000);
        reader.tell("again");
        assert_eq!(reader.heard(), before, "its view is that of its transaction");
        std::thread::sleep(Duration::from_millis(30));
    }
    reader.tell("end");
    assert_eq!(reader.heard(), 100_000);
    reader.ends();
    let notes = number(&scene.live(), "SELECT count(*) FROM note");
    std::thread::sleep(Duration::from_millis(100));
    assert!(number(&scene.live(), "SELECT count(*) FROM note") > notes, "the writer goes on");
    writer.tell("stop");
    assert!(writer.heard() > 0);
    writer.ends();
    assert_eq!(number(&scene.live(), SUM), 100_000);
    assert_eq!(text(&scene.live(), "PRAGMA integrity_check"), "ok");
}

#[test]
fn with_a_rollback_journal_a_reader_is_waited_for_and_then_told() {
    let scene = Scene::new("delete", BANK, SPENT);
    let before = number(&scene.live(), SUM);
    let mut reader = Talk::with("reader", &scene);
    assert_eq!(reader.heard(), before);
    let started = std::time::Instant::now();
    let wait = Duration::from_millis(400);
    let error = give_back(&scene.live(), &scene.snapshot(), OnDamage::Refuse, wait).unwrap_err();
    assert!(matches!(error, ApplyError::Busy { .. }) && error.class() == Class::Busy, "{error:?}");
    assert!(started.elapsed() >= wait);
    reader.tell("again");
    assert_eq!(reader.heard(), before);
    assert_eq!(number(&scene.live(), SUM), before);
    std::thread::scope(|scope| {
        let restore = scope.spawn(|| scene.apply());
        std::thread::sleep(Duration::from_millis(200));
        reader.tell("end");
        restore.join().unwrap().unwrap();
    });
    reader.ends();
    scene.assert_given_back();
}

#[test]
fn with_a_rollback_journal_a_writer_goes_on() {
    let scene = Scene::new("delete", BANK, SPENT);
    let mut writer = Talk::with("writer", &scene);
    writer.heard();
    for _ in 0..3 {
        scene.apply().unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }
    writer.tell("stop");
    assert!(writer.heard() > 0);
    writer.ends();
    assert_eq!(number(&scene.live(), SUM), 100_000);
    assert_eq!(text(&scene.live(), "PRAGMA integrity_check"), "ok");
}

/// The digest of all rows, and a check that the database is sound.
fn state(live: &Path) -> (i64, i64, String) {
    assert_eq!(text(live, "PRAGMA integrity_check"), "ok");
    let all = "SELECT group_concat(id || text, '') FROM (SELECT * FROM note ORDER BY id)";
    let digest = crate::base::chunk::plain_digest(text(live, all).as_bytes());
    (number(live, SUM), number(live, "SELECT count(*) FROM note"), digest.to_hex())
}

#[test]
fn killed_at_any_step_the_database_is_the_old_one_or_the_new_one() {
    let grew = format!("{SPENT} CREATE TABLE more AS SELECT hex(randomblob(3000)) x FROM note LIMIT 400;");
    let other = format!("{SPENT} PRAGMA journal_mode = DELETE; PRAGMA page_size = 8192; VACUUM;");
    let few = "UPDATE account SET balance = 1 WHERE id % 3 = 0; DELETE FROM note WHERE id > 2500;
        CREATE TABLE more AS SELECT hex(randomblob(3000)) x FROM note LIMIT 40;";
    let cases = [
        ("restore", "wal", grew.clone()),
        ("restore", "delete", grew),
        ("restore", "wal", format!("{other} PRAGMA journal_mode = WAL")),
        ("restore", "delete", other),
        ("restore what differs", "wal", few.to_owned()),
        ("restore what differs", "delete", few.to_owned()),
    ];
    let mut died = std::collections::BTreeSet::new();
    for (role, mode, after) in cases {
        for step in STEPS {
            let scene = Scene::new(mode, BANK, &after);
            let (old, new) = (state(&scene.live()), state(&scene.snapshot()));
            let ended = child(role, &scene).env("STRONGROOM_TEST_DIE_AT", step).output().unwrap();
            let now = state(&scene.live());
            if !ended.status.success() {
                died.insert(step);
                let late = ["committed", "checkpointed"].contains(&step);
                assert_eq!(now, if late { new.clone() } else { old }, "{role} {mode} {step}");
            }
            scene.apply().unwrap();
            assert_eq!(state(&scene.live()), new, "{role} {mode} {step}");
        }
    }
    let never: Vec<_> = STEPS.iter().filter(|step| !died.contains(*step)).collect();
    assert_eq!(never, [&"flushed"], "only larger changes get there");
}

#[test]
fn killed_at_any_moment_the_database_is_the_old_one_or_the_new_one() {
    let mut ends = [0; 2];
    for round in 0..24u64 {
        let mode = if round % 2 == 0 { "wal" } else { "delete" };
        let grew = format!("{SPENT} CREATE TABLE more AS SELECT hex(randomblob(3000)) x FROM note LIMIT 400;");
        let scene = Scene::new(mode, BANK, &grew);
        let (old, new) = (state(&scene.live()), state(&scene.snapshot()));
        let mut restore = child("restore", &scene).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(2000 + round * 1500));
        restore.kill().unwrap();
        restore.wait().unwrap();
        let now = state(&scene.live());
        assert!(now == old || now == new, "round {round}");
        ends[usize::from(now == new)] += 1;
    }
    assert_eq!(ends[0] + ends[1], 24, "{ends:?}");
}

#[test]
fn a_change_of_more_than_is_held_in_memory_is_written_ahead_and_still_all_or_nothing() {
    let large =
        format!("{BANK} CREATE TABLE large AS SELECT randomblob(20000000) b UNION ALL SELECT randomblob(20000000)");
    for mode in ["wal", "delete"] {
        let scene = Scene::new(mode, &large, &format!("{SPENT} UPDATE large SET b = randomblob(20000000)"));
        let (old, new) = (state(&scene.live()), state(&scene.snapshot()));
        for step in ["flushed", "checked", "cut"] {
            let ended = child("restore", &scene).env("STRONGROOM_TEST_DIE_AT", step).output().unwrap();
            if ended.status.success() {
                // With a log nothing has to be written ahead.
                assert_eq!((mode, step), ("wal", "flushed"));
                sql(&scene.live(), SPENT);
                continue;
            }
            assert!(!scene.holds(), "{mode} {step}");
            if mode == "delete" {
                assert_eq!(state(&scene.live()), old, "{mode} {step}");
            }
        }
        // A reader that goes on reading keeps it from being written ahead, which is told in time.
        let mut reader = Talk::with("reader", &scene);
        reader.heard();
        let result = give_back(&scene.live(), &scene.snapshot(), OnDamage::Refuse, Duration::from_millis(300));
        assert_eq!(result.is_err(), mode == "delete", "{result:?}");
        reader.tell("end");
        reader.heard();
        reader.ends();
        scene.apply().unwrap();
        assert_eq!(state(&scene.live()), new);
        scene.assert_given_back();
    }
}
