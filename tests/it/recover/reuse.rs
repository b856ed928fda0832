//! Keys that another record has now, as the program tells of them: exit codes, lines of the plan, files.

use super::*;

const NEWCOMER: &str = "INSERT INTO projects VALUES(7, 'another', 1, '2026-05-01')";

fn number(home: &Home, sql: &str) -> i64 {
    Connection::open(home.path("app/shop.db")).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

/// The plan in words of a run that ends with this code, whether it is only shown or done, and when it is done again.
fn ends_alike(home: &Home, code: i32, arguments: &[&str]) -> String {
    let dry = home.run(&[arguments, &["--dry-run"]].concat());
    assert_eq!(dry.code, code, "{}{}", dry.out, dry.err);
    let ran = home.run(arguments);
    assert_eq!(ran.code, code, "{}{}", ran.out, ran.err);
    let again = home.run(arguments);
    assert_eq!(again.code, code, "{}{}", again.out, again.err);
    assert!(code == 0 || !again.out.contains("all of it is there"), "{}", again.out);
    ran.out
}

#[test]
fn a_document_that_is_another_record_now_is_named_and_the_recovery_is_incomplete_however_often_it_is_run() {
    let home = shop();
    lose(&home, 7);
    run(&home.path("app/shop.db"), "INSERT INTO documents VALUES(75, 3, 'minutes of a meeting', NULL)");
    let said = ends_alike(&home, 3, &["recover", "latest", "project", "7"]);
    assert!(said.contains("their keys") && said.contains("documents 75"), "{said}");
    assert_eq!(number(&home, "SELECT project_id FROM documents WHERE id = 75"), 3);
    assert_eq!(number(&home, "SELECT count(*) FROM documents WHERE project_id = 7"), 5);
    assert_eq!(number(&home, "SELECT count(*) FROM document_tags WHERE document = 75"), 0);
}

#[test]
fn a_project_whose_owner_is_another_user_now_does_not_come_back_below_that_one() {
    let home = shop();
    lose(&home, 7);
    let sql = "DELETE FROM projects WHERE owner = 2; DELETE FROM users WHERE id = 2; INSERT INTO users VALUES(2, 'somebody.else@example.org')";
    run(&home.path("app/shop.db"), sql);
    let said = ends_alike(&home, 3, &["recover", "latest", "project", "7"]);
    assert!(said.contains("users 2"), "{said}");
    assert_eq!(number(&home, "SELECT count(*) FROM projects WHERE owner = 2"), 0);
    assert!(!home.path("app/documents/7").exists(), "nor do its files");
    ends_alike(&home, 0, &["recover", "latest", "project", "7", "--remap-keys"]);
    let owner = "SELECT count(*) FROM projects JOIN users ON users.id = owner WHERE email = 'u2@example.org'";
    assert_eq!(number(&home, owner), 1);
    assert!(home.path("app/documents/7/deep/70.txt").exists());
}

#[test]
fn what_was_asked_for_and_is_another_record_now_ends_with_one_whatever_is_said_of_conflicts() {
    let home = shop();
    lose(&home, 7);
    run(&home.path("app/shop.db"), NEWCOMER);
    home.write("app/documents/7/deep/70.txt", "of the new one");
    let harmed = state(&home);
    for on_conflict in ["skip", "overwrite", "fill-null", "abort"] {
        let asked = ["recover", "latest", "project", "7", "--on-conflict", on_conflict];
        assert!(home.fails(1, &asked).contains("projects 7 is another record now"));
        let shown = home.run(&asked).out;
        assert!(shown.contains("name  is 'another', was 'project 7'"), "both are shown: {shown}");
        assert_eq!(state(&home), harmed);
    }
    // Nobody named it: it is what could not be given back.
    let missing = ends_alike(&home, 3, &["recover", "latest", "--missing", "project"]);
    assert!(missing.contains("projects 7") && missing.contains("other records' now"), "{missing}");
    assert_eq!(state(&home), harmed);
    // Others come back; the one that cannot is named.
    run(&home.path("app/shop.db"), "DELETE FROM projects WHERE id = 8");
    let said = ends_alike(&home, 3, &["recover", "latest", "--missing", "project"]);
    assert!(said.contains("projects 7"), "{said}");
    assert_eq!(number(&home, "SELECT count(*) FROM projects WHERE id = 8"), 1);
}

#[test]
fn files_of_a_record_with_a_new_key_go_to_its_place_and_never_among_those_of_another() {
    let home = shop();
    lose(&home, 7);
    run(&home.path("app/shop.db"), NEWCOMER);
    home.write("app/documents/7/deep/70.txt", "of the new one");
    let harmed = state(&home);
    ends_alike(&home, 0, &["recover", "latest", "project", "7", "--remap-keys"]);
    assert_eq!(fs::read_to_string(home.path("app/documents/7/deep/70.txt")).unwrap(), "of the new one");
    assert_eq!(files(&home.path("app/documents/7")).len(), 3, "a folder in a folder, and its one file");
    let back = fs::read_to_string(home.path("app/documents/10/deep/70.txt")).unwrap();
    assert_eq!(back, "document 70\n".repeat(20));
    home.ok(&["undo"]);
    assert_eq!(state(&home), harmed);
}

#[test]
fn a_file_whose_place_under_a_new_key_nobody_can_tell_is_named_and_the_recovery_incomplete() {
    let home = shop();
    home.write("strongroom.toml", CONFIG.replace("'{id}/**'", "'{id}*/**'"));
    lose(&home, 7);
    run(&home.path("app/shop.db"), NEWCOMER);
    let said = ends_alike(&home, 3, &["recover", "latest", "project", "7", "--remap-keys"]);
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("7/deep/70.txt its record has a new key, and its place below that is not known"), "{said}");
}

#[test]
fn rows_without_a_whole_key_are_told_and_the_recovery_is_incomplete() {
    let home = Home::new();
    home.write("strongroom.toml", "[source.db]\nkind = 'sqlite'\npath = 'app.db'");
    let file = home.path("app.db");
    run(
        &file,
        "CREATE TABLE p(id INTEGER PRIMARY KEY, name TEXT);
         CREATE TABLE c(p INT REFERENCES p(id) ON DELETE CASCADE, n INT, t TEXT, PRIMARY KEY(p, n));
         CREATE TABLE k(id TEXT PRIMARY KEY, t TEXT);
         INSERT INTO p VALUES(1, 'a'), (17, 'b'); INSERT INTO c VALUES(17, NULL, 'x'), (17, NULL, 'y'), (17, 1, 'z'), (1, 5, 'q');
         INSERT INTO k VALUES(NULL, 'x'), (NULL, 'y'), ('k', 'z')",
    );
    home.ok(&["backup", "--quiet"]);
    run(&file, "DELETE FROM c WHERE p = 17; DELETE FROM p WHERE id = 17; DELETE FROM k WHERE t <> 'x'");
    let said = ends_alike(&home, 3, &["recover", "latest", "p", "17"]);
    assert!(said.contains("2 rows of c left out: without a whole key"), "{said}");
    let said = ends_alike(&home, 3, &["recover", "latest", "--missing", "k"]);
    assert!(said.contains("2 rows of k left out: without a whole key"), "{said}");
    let count = |sql: &str| Connection::open(&file).unwrap().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM c WHERE p = 17 AND n = 1") + count("SELECT count(*) FROM k"), 3);
}
