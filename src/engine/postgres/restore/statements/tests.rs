use super::*;

fn try_split(sql: &str) -> Result<Vec<String>, Why> {
    let (mut splitter, mut found) = (Splitter::default(), Vec::new());
    for byte in sql.bytes() {
        found.extend(splitter.push(byte).map_err(|refused| refused.why)?);
    }
    splitter.finish().map_err(|refused| refused.why)?;
    Ok(found.into_iter().map(|found| String::from_utf8(found).unwrap()).collect())
}

fn split(sql: &str) -> Vec<String> {
    try_split(sql).unwrap()
}

#[test]
fn a_statement_ends_at_a_semicolon_that_is_nothing_else() {
    let statements = [
        "CREATE INDEX a ON t USING btree (b);",
        "COMMENT ON INDEX a IS 'it''s; \\';",
        "COMMENT ON INDEX a IS E'\\'; --\\n''\\';';",
        "SELECT 'name;' FROM x;",
        "CREATE RULE r AS ON INSERT TO t DO ALSO ( DELETE FROM a; DELETE FROM b );",
        "COMMENT ON TABLE \"a;\"\"'\" IS $tag$ ; $ $$ $tag; $tag$;",
        "COMMENT ON TABLE a IS $a$a$b; $a$;",
        "SELECT a$1, $1, $2 + 1, a$b$c;",
        "SELECT B'101', x'ff', 1e5, 'a' || 'b';",
    ];
    let text = statements.map(|statement| format!("--\n-- Name: x; Type: y\n--\n\n{statement}\n\n")).concat();
    assert_eq!(split(&text), statements);
}

#[test]
fn the_body_of_a_function_belongs_to_its_statement() {
    let statements = [
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql\n    BEGIN ATOMIC\n SELECT 1;\n SELECT CASE WHEN true THEN 1 ELSE 2 END;\nEND;",
        "CREATE OR REPLACE PROCEDURE p() LANGUAGE sql BEGIN ATOMIC INSERT INTO t DEFAULT VALUES; END;",
        "CREATE FUNCTION g() RETURNS int LANGUAGE sql RETURN 1;",
        "CREATE TABLE t (\"begin\" int, atomic int DEFAULT CASE WHEN true THEN 1 END);",
    ];
    assert_eq!(split(&statements.join("\n")), statements);
    let other = "CREATE TABLE begin atomic; SELECT 1;";
    assert_eq!(split(other).len(), 2);
}

#[test]
fn comments_are_no_part_of_statements_however_they_end() {
    assert_eq!(split("SELECT 1 -- not; this\n + 2 /* ; /* ; */ ' */;/**/ /* x */"), ["SELECT 1 \n + 2  ;"]);
    assert_eq!(split("-- a\rSELECT 1;"), ["SELECT 1;"]);
    assert_eq!(split("/* a */SELECT 3 /* b */* 2;"), ["SELECT 3  * 2;"]);
    assert_eq!(try_split("/* /* */ SELECT 1;"), Err(Why::Unfinished));
}

#[test]
fn a_comment_that_looks_like_definitions_stays_a_text() {
    let sql = "COMMENT ON INDEX a IS 'x\n--\n-- Name: b; Type: INDEX\n--\nCREATE INDEX b ON c (d);\n\\! true\n';";
    assert_eq!(split(sql), [sql]);
}

#[test]
fn of_commands_to_psql_only_those_that_forbid_the_others_are_passed_over() {
    let (begin, end) = ("--\n\\restrict aB1\n\nSELECT 1;\n", "\\unrestrict aB1\n\n-- the end\n");
    assert_eq!(split(&format!("{begin}{end}")), ["SELECT 1;"]);
    for (sql, why) in [
        ("\\! true\n".to_owned(), Why::Command),
        ("SELECT 1 \\g\n;".to_owned(), Why::Command),
        ("SELECT 1\\; SELECT 2;".to_owned(), Why::Command),
        ("-- a\r\\! true".to_owned(), Why::Command),
        ("SELECT 1;\n\\restrict a\nSELECT 2;\n\\unrestrict a\n".to_owned(), Why::Command),
        (format!("{begin}\\unrestrict aB2\n"), Why::Command),
        (format!("{begin}\\restrict aB1\n"), Why::Command),
        (format!("{begin}{end}\\restrict aB1\n"), Why::Command),
        (format!("{begin}{end}SELECT 2;"), Why::Behind),
        (begin.to_owned(), Why::Unfinished),
        ("\\restrict a;b\n".to_owned(), Why::Command),
        ("\\unrestrict a\n".to_owned(), Why::Command),
    ] {
        assert_eq!(try_split(&sql), Err(why), "{sql}");
    }
}

#[test]
fn what_is_read_in_two_ways_is_refused() {
    for (sql, why) in [
        ("SELECT U&'\\'; SELECT 2; --';", Why::Adjacent),
        ("SELECT E'a'\n'b\\'; SELECT 2; --';", Why::Adjacent),
        ("SELECT E'a' -- c\n'b\\'; SELECT 2; --';", Why::Adjacent),
        ("SELECT 1e'\\'';", Why::Adjacent),
        ("SELECT n'a';", Why::Adjacent),
        ("SELECT $e'\\'';", Why::Dollar),
        ("SELECT $1$ ; $1$;", Why::Dollar),
        ("SELECT 1$a$;$a$;", Why::Dollar),
        ("SELECT $1a;", Why::Dollar),
        ("SELECT '\0';", Why::Zero),
        ("SELECT 'a;", Why::Unfinished),
        ("SELECT 1", Why::Unfinished),
    ] {
        assert_eq!(try_split(sql), Err(why), "{sql}");
    }
}

#[test]
fn backslashes_mean_something_in_every_text_where_it_is_said_so() {
    let text = "SET standard_conforming_strings = off;\nSELECT 'a\\'; b', b'\\';\nSET standard_conforming_strings = on;\nSELECT '\\';";
    let found = split(text);
    assert_eq!(found[1..], ["SELECT 'a\\'; b', b'\\';", "SET standard_conforming_strings = on;", "SELECT '\\';"]);
}
