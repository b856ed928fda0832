//! A bank whose total must always balance: captured again and again while another process moves money.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{ask, assert_sound, capture, open, restored};
use crate::support::vaults::Lab;

const ACCOUNTS: u32 = 2000;
const EACH: i64 = 1000;

/// Where the process that moves money finds the database.
const DATABASE: &str = "STRONGROOM_TEST_BANK";

fn found(path: &Path, journal: &str) {
    let connection = open(path);
    ask(&connection, &format!("PRAGMA journal_mode = {journal}"));
    let sql = "CREATE TABLE accounts (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL, note TEXT);
               CREATE TABLE transfers (id INTEGER PRIMARY KEY, giver INTEGER, taker INTEGER, cents INTEGER);
               CREATE INDEX transfers_giver ON transfers (giver);";
    connection.execute_batch(sql).unwrap();
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
                INSERT INTO accounts SELECT i, ?2, hex(randomblob(100)) FROM n";
    connection.execute(fill, (ACCOUNTS, EACH)).unwrap();
}

/// Moves money until it is killed. Not a test: run as a process of its own by the tests below.
#[test]
#[ignore = "the process that moves money, started by other tests"]
fn teller() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    let connection = open(Path::new(&path));
    ask(&connection, "PRAGMA synchronous = OFF");
    let mut state = 12345u32;
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    loop {
        let (giver, taker, cents) = (next(ACCOUNTS) + 1, next(ACCOUNTS) + 1, next(50));
        let moved = (|| {
            connection.execute_batch("BEGIN IMMEDIATE")?;
            connection.execute("UPDATE accounts SET cents = cents - ? WHERE id = ?", (cents, giver))?;
            connection.execute("UPDATE accounts SET cents = cents + ? WHERE id = ?", (cents, taker))?;
            connection
                .execute("INSERT INTO transfers (giver, taker, cents) VALUES (?, ?, ?)", (giver, taker, cents))?;
            if next(100) == 0 {
                connection.execute("DELETE FROM transfers WHERE id % 3 = 0", [])?;
            }
            connection.execute_batch("COMMIT")
        })();
        if let Err(error) = moved {
            panic!("the teller failed: {error}");
        }
    }
}

struct Teller(Child);

impl Teller {
    fn start(database: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "sqlite::bank::teller", "--ignored", "--nocapture"]);
        let child = command.env(DATABASE, database).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.unwrap())
    }

    fn is_at_work(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn capture_under_load(journal: &str, captures: usize) {
    let lab = Lab::in_memory();
    let live = lab.path("bank.db");
    found(&live, journal);
    let mut teller = Teller::start(&live);
    let (mut last, mut moved) = (Vec::new(), 0);
    for number in 0..captures {
        let manifest = capture(&lab, &live);
        assert!(manifest.complete(), "{journal} {number}: {:?}", manifest.sources[0].skipped);
        let copy = restored(&lab, &manifest, "copy.db");
        assert_sound(&copy);
        let total = ask(&open(&copy), "SELECT sum(cents), count(*) FROM accounts");
        assert_eq!(
            total,
            [format!("Integer({}) | Integer({ACCOUNTS})", EACH * i64::from(ACCOUNTS))],
            "{journal} {number}"
        );
        let transfers = ask(&open(&copy), "SELECT max(id) FROM transfers");
        moved += usize::from(transfers != last);
        last = transfers;
        // The facts and the pages are of one moment.
        let rows = manifest.sources[0].databases[0].rows["transfers"];
        assert_eq!(
            ask(&open(&copy), "SELECT count(*) FROM transfers"),
            [format!("Integer({rows})")],
            "{journal} {number}"
        );
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(lab.path(&format!("copy.db{end}")));
        }
    }
    assert!(teller.is_at_work(), "{journal}: the teller failed");
    assert!(moved > captures / 2, "{journal}: hardly anything happened during {captures} captures");
}

#[test]
fn a_hundred_captures_balance_while_money_moves_in_a_write_ahead_log() {
    capture_under_load("WAL", 100);
}

#[test]
fn a_hundred_captures_balance_while_money_moves_with_a_rollback_journal() {
    capture_under_load("DELETE", 100);
}
