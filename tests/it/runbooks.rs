//! The runbook of a deleted project, command by command, on the example system of fixtures/contextsafe.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use rusqlite::Connection;

use crate::support::postgres::cluster;
use crate::support::program::{Home, blocks, page, shell};

const PAGE: &str = "runbooks/recover-a-deleted-project.md";

fn sql(home: &Home, text: &str) {
    Connection::open(home.path("data/contextsafe.db")).unwrap().execute_batch(text).unwrap();
}

fn number(home: &Home, text: &str) -> i64 {
    Connection::open(home.path("data/contextsafe.db")).unwrap().query_row(text, [], |row| row.get(0)).unwrap()
}

fn fixture(name: &str) -> String {
    format!("{}/fixtures/contextsafe/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The system with project 42 in the older of two snapshots, and deleted since.
fn contextsafe() -> Home {
    let home = Home::new();
    shell(&home.path(""), &format!("'{}' .", fixture("make.sh")));
    home.ok(&["backup"]);
    lose(&home);
    home.ok(&["backup", "--tag", "nightly"]);
    home
}

fn lose(home: &Home) {
    sql(home, &fs::read_to_string(fixture("lose.sql")).unwrap());
    fs::remove_dir_all(home.path("data/documents/42")).unwrap();
}

/// How much of project 42 there is, and of what refers to it: rows of it, its invoice, its files.
fn there(home: &Home) -> (i64, i64, usize) {
    let rows = "SELECT (SELECT count(*) FROM projects WHERE id = 42)
        + (SELECT count(*) FROM memberships WHERE project_id = 42)
        + (SELECT count(*) FROM documents WHERE project_id = 42)
        + (SELECT count(*) FROM document_tags WHERE document_id > 103)
        + (SELECT count(*) FROM document_links WHERE to_id > 103)
        + (SELECT count(*) FROM comments WHERE id > 2)";
    let invoices = "SELECT count(*) FROM invoices WHERE project_id = 42";
    let files = ["letter.txt", "contract.txt", "drafts/contract-2.txt", "questions.txt"];
    let files = files.iter().filter(|name| {
        let kept = fs::read(fixture(&format!("documents/42/{name}"))).unwrap();
        fs::read(home.path("data/documents/42").join(name)).is_ok_and(|live| live == kept)
    });
    assert_eq!(number(home, "SELECT count(*) FROM pragma_foreign_key_check"), 0, "a row refers to nothing");
    assert_eq!(number(home, "SELECT count(*) FROM projects WHERE id <> 42"), 2);
    (number(home, rows), number(home, invoices), files.count())
}

const GONE: (i64, i64, usize) = (0, 0, 0);
const BACK: (i64, i64, usize) = (21, 1, 4);

/// A line without what is another one each time: ids, times, durations, places.
fn masked(line: &str) -> String {
    let word = |word: &str| {
        let only =
            |allowed: &str| word.contains(allowed) && word.chars().all(|c| c.is_ascii_digit() || allowed.contains(c));
        match word {
            _ if word.len() == 8 && word.chars().all(|c| c.is_ascii_hexdigit()) => "ID".to_owned(),
            _ if only("-") || only(":") || only(".") => "TIME".to_owned(),
            _ if word.starts_with('/') => "PLACE".to_owned(),
            _ => word.to_owned(),
        }
    };
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// What the page shows as printed.
fn examples(page: &str) -> Vec<String> {
    let fenced = page.split("```").skip(1).step_by(2).filter(|block| block.starts_with('\n'));
    fenced.flat_map(str::lines).filter(|line| !line.is_empty()).map(masked).collect()
}

#[test]
fn the_commands_of_the_runbook_bring_a_deleted_project_back_and_take_it_back_again() {
    let home = contextsafe();
    let (page, mut said) = (page(PAGE), String::new());
    let blocks = blocks(&page);
    let [find, look, plan, recover, check, undo, eyes, missing, file, overwrite, export, reused] = &blocks[..] else {
        panic!("the page has {} blocks: {blocks:#?}", blocks.len());
    };
    let mut run = |block: &String| {
        let out = home.shell(block);
        said += &out;
        out
    };
    assert!(run(find).contains("gone from live data"));
    assert_eq!(run(look).matches("Acme merger").count(), 2);
    run(plan);
    assert_eq!(there(&home), GONE);
    run(recover);
    assert_eq!(there(&home), BACK);
    let checked = run(check);
    assert!(checked.contains("Letter of intent") && checked.contains("in live data"), "{checked}");
    assert!(checked.contains("nothing to do"), "{checked}");
    run(undo);
    assert_eq!(there(&home), GONE);
    assert!(run(eyes).contains("21 rows added"));
    assert_eq!(there(&home), GONE, "its last command takes it back");
    run(missing);
    assert_eq!(there(&home), BACK);
    home.write("data/documents/42/contract.txt", "rubbish");
    run(file);
    assert_eq!(there(&home), BACK);
    home.write("data/documents/42/contract.txt", "rubbish");
    assert!(run(overwrite).contains("files that are replaced"));
    assert!(run(export).contains("only because others need them"));
    assert!(fs::read_to_string(home.path("for-the-lawyers/projects.csv")).unwrap().contains("42,Acme merger,3,"));
    assert!(home.path("for-the-lawyers/files/documents/42/letter.txt").exists());
    assert!(fs::read_to_string(home.path("as-sql/records.sql")).unwrap().contains("INSERT INTO \"documents\""));
    lose(&home);
    sql(&home, "INSERT INTO projects VALUES (42, 'Playground', 2, '2026-02-01 10:00:00')");
    let refused = home.run(&["recover", "latest~1", "project", "42"]);
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(refused.out.contains("cannot be done: projects 42 is another record now: its key was used again"));
    let renamed = run(reused);
    assert!(renamed.contains("becomes 43"), "{renamed}");
    let printed: BTreeSet<String> = said.lines().map(masked).collect();
    let untrue: Vec<String> = examples(&page).into_iter().filter(|line| !printed.contains(line)).collect();
    assert!(untrue.is_empty(), "the page shows what is not printed: {untrue:#?}");
}

#[test]
fn what_the_configuration_says_of_comments_is_needed_to_give_them_back() {
    let home = contextsafe();
    let config = fs::read_to_string(home.path("strongroom.toml")).unwrap();
    let without = config.split("[[relation]]").next().unwrap().to_owned();
    home.write("strongroom.toml", without);
    home.ok(&["recover", "latest~1", "project", "42"]);
    assert_eq!(number(&home, "SELECT count(*) FROM comments WHERE id > 2"), 0);
    home.write("strongroom.toml", config);
    home.ok(&["recover", "latest~1", "project", "42"]);
    assert_eq!(there(&home), BACK);
}

#[test]
fn the_example_system_is_laid_out_once_and_refers_to_nothing_that_is_not_there() {
    let home = Home::new();
    let line = format!("'{}' .", fixture("make.sh"));
    shell(&home.path(""), &line);
    assert_eq!(number(&home, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_eq!(there(&home), BACK);
    let again = Command::new(fixture("make.sh")).arg(home.path("")).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
}

const ROWS: &str = "runbooks/recover-rows-postgres.md";

/// A line of what a server's page shows, without what is another one each time.
fn masked_server(line: &str) -> String {
    let word = |word: &str| if word.starts_with("postgres://") { "URL".to_owned() } else { word.to_owned() };
    masked(line).split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_commands_of_the_runbook_of_rows_bring_them_back_into_a_server_that_is_in_use() {
    let (cluster, mut home) = (cluster(), Home::new());
    let name = cluster.database();
    cluster.sql(&name, include_str!("../../fixtures/postgres/shop.sql"));
    let url = cluster.url(&name);
    home.write(
        "strongroom.toml",
        format!(
            "app = 'shop'\n[source.db]\nkind = 'postgres'\nurl = '{url}'\n\
             [entity.project]\nsource = 'db'\ntable = 'projects'\n"
        ),
    );
    for (name, value) in cluster.command("psql", &name).get_envs() {
        home.set(&name.to_string_lossy(), value.unwrap().to_string_lossy());
    }
    home.ok(&["backup"]);
    cluster.sql(&name, "DELETE FROM projects WHERE id = 7; UPDATE images SET path = 'broken' WHERE id IN (20, 30)");
    let sum = || {
        cluster.sql(
            &name,
            "SELECT (SELECT count(*) FROM projects), (SELECT count(*) FROM images), \
             (SELECT count(*) FROM images WHERE path = 'broken'), (SELECT count(project_id) FROM invoices)",
        )
    };
    let (gone, back) = ("8|40|2|8", "9|45|2|9");
    assert_eq!(sum(), gone);
    let page = page(ROWS);
    let blocks = blocks(&page);
    let [find, plan, recover, check, undo, missing, seed, reviewed] = &blocks[..] else {
        panic!("the page has {} blocks: {blocks:#?}", blocks.len());
    };
    let mut said = String::new();
    let mut run = |block: &String, then: &str| {
        said += &home.shell(block);
        assert_eq!(sum(), then, "after {block}");
    };
    run(find, gone);
    run(plan, gone);
    run(recover, back);
    run(check, back);
    run(undo, gone);
    run(missing, back);
    run(seed, "9|45|0|9");
    run(reviewed, "9|45|0|9");
    let said: BTreeSet<String> = said.lines().map(masked_server).collect();
    let shown = examples(&page).into_iter().map(|line| masked_server(&line));
    for line in shown {
        assert!(said.contains(&line), "the page shows {line:?}; what is printed:\n{said:#?}");
    }
}
