//! Tables that a live database lacks, made of the definitions that were captured of them.
//!
//! Owns which statements belong to a table: it, its sequences, defaults, keys, indexes and references. Left out are triggers,
//! rules, policies, owners, grants and comments. Partitioned tables and heirs are not made: they are several.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::error::Explained;
use crate::base::random::RandomRead;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::{Qualified, literal, quoted};
use crate::engine::postgres::records::error::LiveError;
use crate::engine::postgres::records::live::Live;
use crate::engine::postgres::records::schema::PUBLIC;
use crate::engine::postgres::restore::error::LoadError;
use crate::engine::postgres::restore::statements::{Splitter, Words};

/// Definitions are read in blocks of this length.
const BLOCK: u64 = 256 << 10;
/// Of a statement that fails so much is shown.
const SHOWN: usize = 100;

/// The statements that make these tables, as far as they can be made, in the order of `definitions`.
pub fn making(
    definitions: &[&dyn RandomRead],
    wanted: &BTreeSet<Qualified>,
) -> Result<BTreeMap<Qualified, Vec<String>>, Explained> {
    let mut found = Found { wanted, tables: BTreeMap::new(), sequences: BTreeMap::new() };
    let refused = |why| Box::new(LoadError::NoDefinitions { path: "definitions".to_owned(), why }) as Explained;
    for content in definitions {
        let (mut splitter, mut at) = (Splitter::default(), 0);
        while at < content.length() {
            let mut block = vec![0; (content.length() - at).min(BLOCK) as usize];
            content.read_at(at, &mut block)?;
            at += block.len() as u64;
            for byte in block {
                let Some(statement) = splitter.push(byte).map_err(refused)? else { continue };
                // One that is passed over could be what keeps the table's rows apart.
                let sql = String::from_utf8(statement).map_err(|_| Box::new(LoadError::NotText) as Explained)?;
                found.take(sql);
            }
        }
        splitter.finish().map_err(refused)?;
    }
    Ok(found.tables)
}

struct Found<'w> {
    wanted: &'w BTreeSet<Qualified>,
    tables: BTreeMap<Qualified, Vec<String>>,
    /// Those that nobody has said yet whose they are.
    sequences: BTreeMap<Qualified, String>,
}

impl Found<'_> {
    fn take(&mut self, sql: String) {
        let mut words = Words(&sql);
        if words.word("CREATE") {
            self.create(words, &sql);
        } else if words.words(&["ALTER", "SEQUENCE"]) {
            self.owned(words, &sql);
        } else if words.words(&["ALTER", "TABLE"]) {
            words.word("ONLY");
            let table = words.name().and_then(qualified);
            let belongs = words.words(&["ALTER", "COLUMN"]) || words.words(&["ADD", "CONSTRAINT"]);
            let statements = table.filter(|_| belongs).and_then(|table| self.tables.get_mut(&table));
            statements.into_iter().for_each(|statements| statements.push(sql.clone()));
        }
    }

    fn create(&mut self, mut words: Words<'_>, sql: &str) {
        if words.word("SEQUENCE") {
            let name = words.name().and_then(qualified);
            self.sequences.extend(name.map(|name| (name, sql.to_owned())));
            return;
        }
        words.word("UNLOGGED");
        if words.word("TABLE") {
            let Some(name) = words.name().and_then(qualified).filter(|name| self.wanted.contains(name)) else { return };
            // What comes behind the columns otherwise makes it one of several.
            if words.brackets() && (words.0.trim() == ";" || words.word("WITH")) {
                let schema = (name.schema != PUBLIC).then(|| schema(&name.schema));
                self.tables.insert(name, schema.into_iter().chain([sql.to_owned()]).collect());
            }
            return;
        }
        words.word("UNIQUE");
        if words.word("INDEX") && words.name().is_some() && words.word("ON") {
            words.word("ONLY");
            let table = words.name().and_then(qualified);
            let statements = table.and_then(|table| self.tables.get_mut(&table));
            statements.into_iter().for_each(|statements| statements.push(sql.to_owned()));
        }
    }

    /// A sequence comes with the table whose column it is of.
    fn owned(&mut self, mut words: Words<'_>, sql: &str) {
        let Some(sequence) = words.name().and_then(qualified) else { return };
        if !words.words(&["OWNED", "BY"]) {
            return;
        }
        let column = words.name().map(parts).unwrap_or_default();
        let [schema, name, _] = &column[..] else { return };
        let table = Qualified { schema: schema.clone(), name: name.clone() };
        let Some(statements) = self.tables.get_mut(&table) else { return };
        statements.extend(self.sequences.remove(&sequence));
        statements.push(sql.to_owned());
    }
}

/// Makes a schema where there is none: only whoever may do that can say so where there is one.
fn schema(name: &str) -> String {
    let (is_there, name) = (literal(&quoted(name)), quoted(name));
    let make =
        format!("BEGIN IF pg_catalog.to_regnamespace({is_there}) IS NULL THEN CREATE SCHEMA {name}; END IF; END");
    format!("DO {};", literal(&make))
}

/// A name as SQL has it, with its schema.
fn qualified(text: &str) -> Option<Qualified> {
    let mut parts = parts(text).into_iter();
    let name = Qualified { schema: parts.next()?, name: parts.next()? };
    parts.next().is_none().then_some(name)
}

/// The parts of a name as they are without quotes.
fn parts(text: &str) -> Vec<String> {
    let (mut found, mut is_quoted, mut letters) = (vec![String::new()], false, text.chars().peekable());
    while let Some(letter) = letters.next() {
        let last = found.last_mut().expect("BUG: there is one from the beginning");
        match letter {
            '"' if is_quoted && letters.next_if_eq(&'"').is_some() => last.push('"'),
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => found.push(String::new()),
            other => last.push(other),
        }
    }
    found
}

/// References are made when the rows are there.
fn is_reference(sql: &str) -> bool {
    let mut words = Words(sql);
    let is_about_table = words.words(&["ALTER", "TABLE"]);
    words.word("ONLY");
    is_about_table
        && words.name().is_some()
        && words.words(&["ADD", "CONSTRAINT"])
        && words.name().is_some()
        && words.words(&["FOREIGN", "KEY"])
}

impl Live {
    /// Makes tables in the transaction; what they refer to is looked at before it ends.
    pub(super) fn make_tables(&mut self, statements: &[String]) -> Result<(), LiveError> {
        let (later, now): (Vec<String>, Vec<String>) = statements.iter().cloned().partition(|sql| is_reference(sql));
        let failed = |error| self.failed(None, error);
        // They name everything in full.
        now.iter().try_for_each(|sql| self.run_definition(sql))?;
        self.read().map_err(failed)?;
        let transaction = self.transaction.as_mut().expect("BUG: tables are made in a transaction");
        transaction.ties = later;
        Ok(())
    }

    pub(super) fn run_definition(&self, sql: &str) -> Result<(), LiveError> {
        // One statement, whatever the snapshot says: a server refuses a second behind it.
        self.session.execute(sql, &[]).map(|_| ()).map_err(|error| match error {
            PostgresError::Interrupted
            | PostgresError::Lost { .. }
            | PostgresError::Locked { .. }
            | PostgresError::Deadlock { .. } => self.failed(None, error),
            error => {
                let statement: String = sql.split_whitespace().collect::<Vec<_>>().join(" ");
                let statement = statement.chars().take(SHOWN).collect();
                LiveError::Unmade { database: self.database(), statement, reason: error.to_string() }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Held(String);

    impl RandomRead for Held {
        fn length(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), Explained> {
            buffer.copy_from_slice(&self.0.as_bytes()[at as usize..][..buffer.len()]);
            Ok(())
        }
    }

    fn named(schema: &str, name: &str) -> Qualified {
        Qualified { schema: schema.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn a_definition_that_is_not_text_is_not_passed_over() {
        struct Bytes;
        const INDEX: &[u8] = b"CREATE INDEX i ON public.t USING btree (a) WHERE (a = '\xe9'::text);\n";
        impl RandomRead for Bytes {
            fn length(&self) -> u64 {
                INDEX.len() as u64
            }
            fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), Explained> {
                buffer.copy_from_slice(&INDEX[at as usize..][..buffer.len()]);
                Ok(())
            }
        }
        let error = making(&[&Bytes], &BTreeSet::new()).expect_err("it was taken");
        assert_eq!(error.to_string(), "a definition is not text");
    }

    #[test]
    fn a_table_is_made_of_what_belongs_to_it_and_nothing_else() {
        let own = [
            "CREATE TABLE app.\"T \"\"x\" (\n    id integer NOT NULL,\n    note text DEFAULT ';'::text\n);",
            "CREATE SEQUENCE app.s START WITH 1;",
            "ALTER SEQUENCE app.s OWNED BY app.\"T \"\"x\".id;",
            "ALTER TABLE ONLY app.\"T \"\"x\" ALTER COLUMN id SET DEFAULT nextval('app.s'::regclass);",
            "ALTER TABLE ONLY app.\"T \"\"x\"\n    ADD CONSTRAINT p PRIMARY KEY (id);",
            "CREATE UNIQUE INDEX i ON app.\"T \"\"x\" USING btree (note);",
            "ALTER TABLE ONLY app.\"T \"\"x\"\n    ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES app.u(id);",
        ];
        let other = "SET default_tablespace = '';\nCREATE TYPE app.mood AS ENUM ('ok');\nCREATE TABLE app.u (id integer);\n\
            ALTER TABLE app.\"T \"\"x\" OWNER TO me;\nCREATE SEQUENCE app.other;\nALTER SEQUENCE app.other OWNED BY app.u.id;\n\
            CREATE TABLE app.parted (id integer)\nPARTITION BY RANGE (id);\nCREATE TABLE app.heir (more integer)\nINHERITS (app.u);\n\
            ALTER TABLE ONLY app.parted ATTACH PARTITION app.p1 DEFAULT;\nGRANT ALL ON TABLE app.\"T \"\"x\" TO you;\n\
            CREATE TRIGGER t BEFORE INSERT ON app.\"T \"\"x\" FOR EACH ROW EXECUTE FUNCTION f();\nCREATE INDEX j ON app.u USING btree (id);\n";
        let text = format!("{}\n{other}{}\n", own[..2].join("\n"), own[2..].join("\n"));
        let wanted = BTreeSet::from([named("app", "T \"x"), named("app", "parted"), named("app", "heir")]);
        let found = making(&[&Held(text)], &wanted).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        let statements = &found[&named("app", "T \"x")];
        assert!(statements[0].starts_with("DO ") && statements[0].contains("CREATE SCHEMA \"app\""));
        assert_eq!(statements[1..], own);
        let references: Vec<bool> = statements.iter().map(|sql| is_reference(sql)).collect();
        assert_eq!(references, [false, false, false, false, false, false, false, true]);
    }
}
