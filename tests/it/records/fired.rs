//! Triggers of any kind, thrown by dice: whatever they do while a record comes back, an undo takes it back.

use std::fmt::Write;

use strongroom::base::record::Value;

use super::*;
use crate::records::random::Dice;

/// Tables that refer to each other, with what only one row can hold, and triggers on them.
fn schema(dice: &mut Dice) -> String {
    let mut sql = String::new();
    let keys = ["k INTEGER PRIMARY KEY", "k TEXT PRIMARY KEY NOT NULL", "k INTEGER PRIMARY KEY", "k INTEGER"];
    for (at, key) in keys.iter().enumerate() {
        let unique = ["u INTEGER UNIQUE", "u INTEGER UNIQUE NOT NULL DEFAULT (abs(random()))", "u INTEGER"];
        let parent = if at > 0 && dice.is(60) {
            let kind = keys[at - 1].split(' ').nth(1).expect("a type");
            format!(", p {kind} REFERENCES t{} ON DELETE CASCADE", at - 1)
        } else {
            ", p INTEGER".to_owned()
        };
        let end = if at == 2 { " WITHOUT ROWID" } else { "" };
        let unique = unique[dice.roll(3) as usize];
        let _ = writeln!(sql, "CREATE TABLE t{at}({key}, {unique}, v TEXT{parent}){end};");
        for row in 1..=5 {
            let parent = if at > 0 { "1" } else { "NULL" };
            let _ = writeln!(sql, "INSERT INTO t{at} VALUES({row}, {}, 'v{row}', {parent});", row * 10);
        }
    }
    for number in 0..2 + dice.roll(6) {
        let (when, what) = (
            ["BEFORE", "AFTER", "AFTER"][dice.roll(3) as usize],
            ["INSERT", "INSERT", "UPDATE", "DELETE"][dice.roll(4) as usize],
        );
        let table = if number == 0 { 0 } else { dice.roll(4) };
        let what = if number == 0 { "INSERT" } else { what };
        let bodies: String = (0..=dice.roll(3)).map(|_| body(dice)).collect();
        let _ = writeln!(sql, "CREATE TRIGGER w{number} {when} {what} ON t{table} BEGIN {bodies} END;");
    }
    sql
}

/// One thing that a trigger does.
fn body(dice: &mut Dice) -> String {
    let (table, row, other) = (dice.roll(4), 1 + dice.roll(6), 1 + dice.roll(6));
    let otherwise = ["", "", " OR REPLACE", " OR IGNORE"][dice.roll(4) as usize];
    match dice.roll(8) {
        0 | 1 => format!("INSERT{otherwise} INTO t{table} VALUES({}, {}, 'new', NULL);", row + 3, other * 10),
        2 => format!("INSERT{otherwise} INTO t{table}(u, v) VALUES({}, 'unnumbered');", other * 10 + 1),
        3 => format!("UPDATE{otherwise} t{table} SET u = {} WHERE k = {row};", other * 10),
        4 => format!("UPDATE{otherwise} t{table} SET u = 60 - u WHERE u < 60;"),
        5 => format!("UPDATE{otherwise} t{table} SET k = {} WHERE k = {row};", other + 2),
        6 => format!("UPDATE t{table} SET v = v || '!' WHERE k <> {row};"),
        _ => format!("DELETE FROM t{table} WHERE k = {row} OR u = {};", other * 10),
    }
}

/// One case. Says whether triggers did more than the plan.
fn case(seed: u64) -> bool {
    let mut dice = Dice(seed);
    let sql = schema(&mut dice);
    let mut bench = Bench::new(&sql);
    bench.options.triggers = true;
    let gone = 1 + dice.roll(5) as i64;
    let connection = rusqlite::Connection::open(bench.live()).unwrap();
    // What an app of its own does: triggers may keep it from doing so.
    if connection.execute(&format!("DELETE FROM t0 WHERE k = {gone}"), []).is_err() {
        return false;
    }
    drop(connection);
    let before = bench.dump();
    let told = |what: &str| format!("seed {seed}: {what}\n{sql}");
    let done = match bench.recover("t0", &[vec![Value::Integer(gone)]]) {
        Ok(done) => done,
        // A trigger keeps the row from coming back, or breaks a rule.
        Err(_) => {
            assert_eq!(bench.dump(), before, "{}", told("nothing is written"));
            return false;
        }
    };
    let after = bench.dump();
    let must = |result: Result<Done, RecordError>, what: &str| {
        result.unwrap_or_else(|error| panic!("{}", told(&format!("{what}: {error}"))))
    };
    let undone = must(bench.turn(&done), "undo");
    assert_eq!(bench.dump(), before, "{}", told("taken back"));
    let again = must(bench.turn(&undone), "undo of the undo");
    assert_eq!(bench.dump(), after, "{}", told("the undo taken back"));
    must(bench.turn(&again), "third undo");
    assert_eq!(bench.dump(), before, "{}", told("taken back again"));
    done.trace.written.len() as u64 > done.plan.writes()
}

#[test]
fn whatever_triggers_do_is_taken_back() {
    let start = std::env::var("STRONGROOM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = start.map_or(0..250, |seed: u64| seed..seed + 1);
    let fired = seeds.filter(|seed| case(*seed)).count();
    assert!(fired > 60 || start.is_some(), "triggers did something in {fired} cases only");
}
