//! Records written down as statements, and run by the shell of SQLite.

use super::*;

#[test]
fn line_ends_that_a_shell_would_drop_come_back_byte_for_byte() {
    let home = Home::new();
    let schema = "CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT, raw BLOB);";
    run(&home.path("shop.db"), schema);
    let database = Connection::open(home.path("shop.db")).unwrap();
    let texts = ["a\r\nb\r\n", "\r", "c:\\r\r\nit's \\r0", ".quit\n.exit\r\n.shell false\r\n", "plain\n"];
    for (id, text) in (0_i64..).zip(&texts) {
        database.execute("INSERT INTO note VALUES(?, ?, ?)", (id, text, text.as_bytes())).unwrap();
    }
    drop(database);
    home.ok(&["backup", "shop.db"]);
    home.ok(&["recover", "latest", "--table", "note", "--where", "1 = 1", "--export", "sql", "out"]);
    run(&home.path("other.db"), schema);
    let statements = fs::File::open(home.path("out/records.sql")).unwrap();
    let shell =
        Command::new("sqlite3").arg(home.path("other.db")).stdin(statements).output().expect("sqlite3 is missing");
    assert!(shell.status.success(), "{}", String::from_utf8_lossy(&shell.stderr));
    let other = Connection::open(home.path("other.db")).unwrap();
    for (id, text) in (0_i64..).zip(&texts) {
        let of = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?));
        let found = other.query_row("SELECT body, raw FROM note WHERE id = ?", [id], of).unwrap();
        assert_eq!(found, ((*text).to_owned(), text.as_bytes().to_vec()));
    }
}
