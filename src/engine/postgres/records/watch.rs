//! Which rows a transaction touches, whoever touches them: triggers of the app's, cascades, and what follows of those.
//!
//! Owns a trigger on every table, which notes what a row held before it changes; made in the transaction, and gone before
//! it ends. All tables are locked from the beginning: to make a trigger the server keeps other writers out anyway. A table
//! of somebody else's cannot be watched, nor one that lies elsewhere.
//!
//! A row's first note is what it held. Only of added rows that is not so simple: that a row was added is known when its
//! statement ends, and others may have changed it meanwhile. So its place is noted before, and taken once it was added.

use std::collections::BTreeMap;

use tokio_postgres::SimpleQueryRow;

use crate::base::error::Explained;
use crate::base::record::{EachTouched, Key, Row, Table, Touched, Value};
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::quoted;
use crate::engine::postgres::records::error::LiveError;
use crate::engine::postgres::records::live::{Live, row_of};
use crate::engine::postgres::records::rules::{Known, Transaction};
use crate::engine::postgres::records::schema::{self, Described};
use crate::engine::postgres::records::value::Kind;

/// Notes that are fetched together.
const AT_ONCE: usize = 20;

/// The tables in which rows lie, with those at the top of partitions; whether they are ours.
const LEAVES: &str = "SELECT n.nspname::text, c.relname::text, rn.nspname::text, rc.relname::text, \
        pg_has_role(c.relowner, 'USAGE') AND c.relkind = 'r' \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_class rc ON rc.oid = CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::oid ELSE c.oid END \
    JOIN pg_namespace rn ON rn.oid = rc.relnamespace \
    WHERE c.relkind IN ('r', 'f') AND c.relpersistence <> 't' \
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1, 2";

/// A table in which rows lie.
struct Leaf {
    /// As statements take it.
    name: String,
    /// What it is called in records, or the table whose partition it is.
    table: String,
    ours: bool,
}

/// The tables that are watched, each with a number.
pub type Watched = BTreeMap<String, usize>;

impl Live {
    fn leaves(&self, known: &Known) -> Result<Vec<Leaf>, PostgresError> {
        let leaf = |row: &tokio_postgres::Row| Leaf {
            name: format!("{}.{}", quoted(row.get(0)), quoted(row.get(1))),
            table: schema::name(&crate::engine::postgres::layout::Qualified { schema: row.get(2), name: row.get(3) }),
            ours: row.get(4),
        };
        let found = self.session.query(LEAVES, &[])?;
        Ok(found.iter().map(leaf).filter(|leaf| !leaf.ours || known.contains_key(&leaf.table)).collect())
    }

    pub(super) fn strangers(&self) -> Result<Vec<String>, LiveError> {
        let known = self.known()?;
        let leaves = self.leaves(&known)?.into_iter();
        let mut told: Vec<String> = leaves.filter(|leaf| !leaf.ours).map(|leaf| leaf.name.replace('"', "")).collect();
        let keyless = known.iter().filter(|(_, described)| described.shape.key.is_empty());
        told.extend(keyless.map(|(name, _)| format!("rows of {name} that are there twice or have an empty column")));
        Ok(told)
    }

    /// Watches every table of ours from now on.
    pub(super) fn watch(&self, known: &Known) -> Result<Watched, LiveError> {
        let mut leaves: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for leaf in self.leaves(known)?.into_iter().filter(|leaf| leaf.ours) {
            leaves.entry(leaf.table).or_default().push(leaf.name);
        }
        let mut watched = Watched::new();
        self.session.batch("CREATE TEMP SEQUENCE strongroom_touched")?;
        for (number, (table, leaves)) in leaves.into_iter().enumerate() {
            self.session.batch(&statements(number, &known[&table], &leaves))?;
            watched.insert(table, number);
        }
        Ok(watched)
    }

    /// Everything that triggers do is done by then. What is put off is done first.
    pub(super) fn all_fired(&self) -> Result<(), PostgresError> {
        self.session.batch("SET CONSTRAINTS ALL IMMEDIATE")
    }

    /// The rows of a table that were touched, and what each held when it first was.
    pub(super) fn each_touched(&self, table: &Table, each: &mut EachTouched<'_>) -> Result<(), Explained> {
        let watched = self.transaction.as_ref().and_then(|transaction| transaction.watched.get(&table.name));
        let Some(number) = watched else { return Ok(()) };
        let explain = self.explained(Some(&table.name));
        self.all_fired().map_err(&explain)?;
        let kinds: Vec<Kind> = table.columns.iter().map(|column| Kind::of(&column.kind)).collect();
        let kinds: Vec<Kind> = [Kind::Integer, Kind::Text].into_iter().chain(kinds).collect();
        let columns: Vec<String> = (0..table.columns.len()).map(|at| format!("c{at}")).collect();
        let key: Vec<String> = table.key.iter().map(|at| format!("c{at}::text COLLATE \"C\"")).collect();
        let declare = format!(
            "DECLARE strongroom_touched NO SCROLL CURSOR FOR SELECT n, how, {} FROM pg_temp.strongroom_{number} ORDER BY {}, n",
            columns.join(", "),
            key.join(", "),
        );
        self.session.batch(&declare).map_err(&explain)?;
        let mut group: Option<Group> = None;
        loop {
            let mut notes: Vec<Row> = Vec::new();
            let take = |row: &SimpleQueryRow| {
                notes.push(row_of(row, &kinds)?);
                Ok::<(), tokio_postgres::Error>(())
            };
            let fetch = format!("FETCH {AT_ONCE} FROM strongroom_touched");
            let done = self.session.rows(&fetch, take).map_err(&explain)?;
            done.map_err(|error| explain(PostgresError::of(&self.session.settings().server(), &error)))?;
            let is_end = notes.len() < AT_ONCE;
            for mut note in notes {
                let row = note.split_off(2);
                let (key, note) = (table.key_of(&row), Note::of(&note));
                if group.as_ref().is_none_or(|group| group.key != key)
                    && let Some(group) = group.replace(Group::new(key))
                {
                    group.hand_over(each)?;
                }
                group.as_mut().expect("BUG: it was just made").take(note, row);
            }
            if is_end {
                break;
            }
        }
        if let Some(group) = group {
            group.hand_over(each)?;
        }
        self.session.batch("CLOSE strongroom_touched").map_err(&explain)
    }
}

impl Transaction {
    /// Takes the triggers away with their functions; the notes go with the transaction.
    pub fn unwatch(&self) -> Option<String> {
        let names: Vec<String> = self.watched.values().map(|number| format!("pg_temp.strongroom_{number}()")).collect();
        (!names.is_empty())
            .then(|| format!("DROP FUNCTION {} CASCADE; DROP SEQUENCE pg_temp.strongroom_touched", names.join(", ")))
    }
}

/// What a note says of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// It held this.
    Was,
    /// It is about to be added.
    Coming,
    /// It was added.
    Added,
}

struct Note {
    number: i64,
    how: How,
}

impl Note {
    fn of(note: &[Value]) -> Self {
        let number = if let Value::Integer(number) = note[0] { number } else { i64::MAX };
        let how = match &note[1] {
            Value::Text(word) if word == b"w" => How::Was,
            Value::Text(word) if word == b"c" => How::Coming,
            _ => How::Added,
        };
        Self { number, how }
    }
}

/// The notes on one row, in their order.
struct Group {
    key: Key,
    was: Option<(i64, Row)>,
    coming: Vec<i64>,
    added: Option<i64>,
}

impl Group {
    fn new(key: Key) -> Self {
        Self { key, was: None, coming: Vec::new(), added: None }
    }

    fn take(&mut self, note: Note, row: Row) {
        match note.how {
            How::Was if self.was.is_none() => self.was = Some((note.number, row)),
            How::Was => {}
            How::Coming => self.coming.push(note.number),
            How::Added => {
                let place = self.coming.pop().unwrap_or(note.number);
                self.added = Some(self.added.map_or(place, |first| first.min(place)));
            }
        }
    }

    /// What was said of it first. A row that was to be added, and was not, was not touched.
    fn hand_over(self, each: &mut EachTouched<'_>) -> Result<(), Explained> {
        let row = match (self.was, self.added) {
            (None, None) => return Ok(()),
            (Some((was, row)), added) if added.is_none_or(|added| was < added) => Some(row),
            _ => None,
        };
        each(Touched { key: self.key, row })
    }
}

/// A table for notes of one table, the function that makes them, and the triggers that call it.
fn statements(number: usize, table: &Described, leaves: &[String]) -> String {
    let record = table.table();
    let all: Vec<String> = record.columns.iter().map(|column| quoted(&column.name)).collect();
    let of = |which: &str| all.iter().map(|name| format!("{which}.{name}")).collect::<Vec<_>>().join(", ");
    let named = all.iter().enumerate().map(|(at, name)| format!("{name} AS c{at}")).collect::<Vec<_>>().join(", ");
    let note = |how: &str, which: &str| {
        let next = "pg_catalog.nextval('pg_temp.strongroom_touched')";
        format!("INSERT INTO pg_temp.strongroom_{number} VALUES ({next}, '{how}', {});", of(which))
    };
    // Types that cannot be compared are, as text.
    let moved = |at: &usize| format!("OLD.{name}::text IS DISTINCT FROM NEW.{name}::text", name = all[*at]);
    let moved = record.key.iter().map(moved).collect::<Vec<_>>().join(" OR ");
    let (was, coming, added) = (note("w", "OLD"), note("c", "NEW"), note("a", "NEW"));
    let name = record.name.replace(['%', '\''], "");
    let function = format!(
        "CREATE FUNCTION pg_temp.strongroom_{number}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
         SET search_path = '' AS $strongroom$ BEGIN \
         IF TG_OP = 'TRUNCATE' THEN RAISE EXCEPTION 'a trigger empties {name}, which could not be taken back'; END IF; \
         IF TG_WHEN = 'AFTER' THEN IF TG_OP = 'INSERT' THEN {added} ELSIF {moved} THEN {added} END IF; RETURN NULL; \
         END IF; \
         IF TG_OP = 'INSERT' THEN {coming} RETURN NEW; END IF; \
         {was} \
         IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; \
         IF {moved} THEN {coming} END IF; \
         RETURN NEW; END $strongroom$;"
    );
    let triggers: String = leaves.iter().map(|leaf| triggers(number, leaf)).collect();
    let from = table.name.quoted();
    format!(
        "CREATE TEMP TABLE strongroom_{number} ON COMMIT DROP AS \
         SELECT 0::bigint AS n, ''::text AS how, {named} FROM {from} WITH NO DATA; {function} {triggers}"
    )
}

/// The last to fire before a row changes, so that it is what it is going to be.
fn triggers(number: usize, leaf: &str) -> String {
    let function = format!("EXECUTE FUNCTION pg_temp.strongroom_{number}();");
    [
        ("\"~~~strongroom_before\"", "BEFORE INSERT OR UPDATE OR DELETE", "EACH ROW"),
        ("\"~~~strongroom_after\"", "AFTER INSERT OR UPDATE", "EACH ROW"),
        ("\"~~~strongroom_emptied\"", "BEFORE TRUNCATE", "EACH STATEMENT"),
    ]
    .map(|(name, when, each)| format!("CREATE TRIGGER {name} {when} ON {leaf} FOR {each} {function}"))
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(notes: &[(How, i64)]) -> Option<Option<i64>> {
        let mut group = Group::new(vec![Value::Integer(1)]);
        for (number, (how, held)) in notes.iter().enumerate() {
            group.take(Note { number: number as i64, how: *how }, vec![Value::Integer(*held)]);
        }
        let mut told = None;
        let mut take = |touched: Touched| {
            told = Some(touched.row.map(|row| if let Value::Integer(held) = row[0] { held } else { -1 }));
            Ok(())
        };
        group.hand_over(&mut take).unwrap();
        told
    }

    #[test]
    fn the_first_that_happened_to_a_row_says_what_it_held() {
        use How::{Added, Coming, Was};
        assert_eq!(told(&[(Was, 5), (Was, 6)]), Some(Some(5)));
        assert_eq!(told(&[(Coming, 1), (Added, 1), (Was, 1)]), Some(None));
        assert_eq!(told(&[(Coming, 1), (Was, 1), (Added, 1)]), Some(None), "changed before its statement ended");
        assert_eq!(told(&[(Was, 5), (Coming, 6), (Added, 6)]), Some(Some(5)), "removed, and added again");
        assert_eq!(told(&[(Coming, 6), (Was, 5)]), Some(Some(5)), "it was there: the other was changed instead");
        assert_eq!(told(&[(Coming, 6)]), None, "it was there, and nothing was done");
        assert_eq!(told(&[(Coming, 6), (Was, 5), (Coming, 7), (Added, 7)]), Some(Some(5)));
    }
}
