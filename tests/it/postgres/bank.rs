//! A bank whose books must always balance: captured again and again while money is moved.

use std::process::{Child, Stdio};

use super::{backup, sequences, source_of, text};
use crate::support::postgres::cluster;
use crate::support::vaults::Lab;

const ACCOUNTS: usize = 5000;
const EACH: i64 = 1000;

const FOUNDED: &str = "CREATE TABLE accounts (id int PRIMARY KEY, cents bigint NOT NULL, note text);
    CREATE TABLE transfers (id bigserial PRIMARY KEY, giver int REFERENCES accounts, taker int REFERENCES accounts, cents int);";

/// Moves money until it is killed.
fn teller(name: &str) -> Child {
    let procedure = format!(
        "CREATE PROCEDURE pg_temp.move() LANGUAGE plpgsql AS $$ DECLARE a int; b int; sum int; BEGIN LOOP
             a := 1 + floor(random() * {ACCOUNTS} / 2); b := {ACCOUNTS} / 2 + 1 + floor(random() * {ACCOUNTS} / 2);
             sum := floor(random() * 50);
             UPDATE accounts SET cents = cents - sum WHERE id = a;
             UPDATE accounts SET cents = cents + sum WHERE id = b;
             INSERT INTO transfers (giver, taker, cents) VALUES (a, b, sum);
             COMMIT;
         END LOOP; END $$"
    );
    let mut psql = cluster().command("psql", name);
    psql.args(["-Xq", "-c", &procedure, "-c", "CALL pg_temp.move()"]).stdout(Stdio::null()).stderr(Stdio::null());
    psql.spawn().unwrap()
}

/// The numbers of a row.
fn numbers(row: &str) -> Vec<i64> {
    row.split('\t').filter_map(|field| field.parse().ok()).collect()
}

#[test]
fn a_running_bank_balances_in_every_capture() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), cluster().database());
    cluster.sql(&name, FOUNDED);
    let fill =
        format!("INSERT INTO accounts SELECT n, {EACH}, 'x' || md5(n::text) FROM generate_series(1, {ACCOUNTS}) n");
    cluster.sql(&name, &fill);
    let mut tellers: Vec<Child> = (0..3).map(|_| teller(&name)).collect();
    while cluster.sql(&name, "SELECT count(*) >= 100 FROM transfers") == "f" {
        assert!(tellers.iter_mut().all(|teller| teller.try_wait().unwrap().is_none()), "a teller has stopped");
    }
    let mut before = 0;
    for at in 0..12 {
        let workers = 1 + at % 3;
        let manifest = backup(&lab, source_of(&cluster.url(&name), &format!("workers = {workers}"))).unwrap().manifest;
        let mut books = vec![EACH; ACCOUNTS + 1];
        let transfers = text(&lab, &manifest, "data/public/transfers.copy");
        for transfer in transfers.lines().map(numbers) {
            books[transfer[1] as usize] -= transfer[3];
            books[transfer[2] as usize] += transfer[3];
        }
        let accounts = text(&lab, &manifest, "data/public/accounts.copy");
        for account in accounts.lines().map(numbers) {
            assert_eq!(books[account[0] as usize], account[1], "account {} in capture {at}", account[0]);
        }
        assert_eq!(accounts.lines().count(), ACCOUNTS);
        let newest = numbers(transfers.lines().last().unwrap())[0];
        assert!(sequences(&lab, &manifest)[0].last_value >= newest, "a sequence behind its rows");
        assert!(newest > before, "nothing was moved meanwhile");
        before = newest;
    }
    for teller in &mut tellers {
        teller.kill().unwrap();
        teller.wait().unwrap();
    }
}
