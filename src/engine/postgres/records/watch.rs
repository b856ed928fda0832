//! Which rows a transaction touches, whoever touches them: triggers of the app's, cascades, and what follows of those.
//!
//! Owns a trigger on every table, which notes what a row held before it changes; made in the transaction, and gone before
//! it ends. All tables are locked from the beginning: to make a trigger the server keeps other writers out anyway. A table
//! of somebody else's cannot be watched, nor one that lies elsewhere.
//!
//! The first note of what a row held is what it held, if it was there. Whether it was is not told by the order of notes:
//! that a row was added is known when its statement ends, and others may have changed it meanwhile. So it is counted how
//! often it came and went.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use tokio_postgres::SimpleQueryRow;

use crate::base::error::Explained;
use crate::base::record::{EachTouched, Key, Records, Row, Table, Touched, Value};
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
        self.session.batch("CREATE TEMP SEQUENCE IF NOT EXISTS strongroom_touched")?;
        for (number, (table, leaves)) in leaves.into_iter().enumerate() {
            self.session.batch(&statements(number, &known[&table], &leaves))?;
            watched.insert(table, number);
        }
        Ok(watched)
    }

    /// Everything that triggers do is done by then. What is put off is done first.
    pub(super) fn all_fired(&self) -> Result<(), PostgresError> {
        self.as_app("SET CONSTRAINTS ALL IMMEDIATE").map(|_| ())
    }

    /// The rows of a table that were touched, and what each held when it first was.
    pub(super) fn each_touched(&self, table: &Table, each: &mut EachTouched<'_>) -> Result<(), Explained> {
        let watched = self.transaction.as_ref().and_then(|transaction| transaction.watched.get(&table.name));
        let Some(number) = watched else { return Ok(()) };
        let explain = self.explained(Some(&table.name));
        self.all_fired().map_err(&explain)?;
        let kinds: Vec<Kind> = table.columns.iter().map(|column| Kind::of(&column.kind)).collect();
        let kinds: Vec<Kind> = [Kind::Text].into_iter().chain(kinds).collect();
        let columns: Vec<String> = (0..table.columns.len()).map(|at| format!("c{at}")).collect();
        let key: Vec<String> =
            table.key.iter().map(|at| format!("{} COLLATE \"C\"", written(&format!("c{at}")))).collect();
        let declare = format!(
            "DECLARE strongroom_touched NO SCROLL CURSOR FOR SELECT how, {} FROM pg_temp.strongroom_{number} ORDER BY {}, n",
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
            done.map_err(|error| explain(self.session.failed(&error)))?;
            let is_end = notes.len() < AT_ONCE;
            for mut note in notes {
                let row = note.split_off(1);
                let key = table.key_of(&row);
                if group.as_ref().is_none_or(|group| group.key != key)
                    && let Some(group) = group.replace(Group::new(key))
                {
                    self.hand_over(table, group, each)?;
                }
                group.as_mut().expect("BUG: it was just made").take(&note[0], row);
            }
            if is_end {
                break;
            }
        }
        if let Some(group) = group {
            self.hand_over(table, group, each)?;
        }
        self.session.batch("CLOSE strongroom_touched").map_err(&explain)
    }
}

impl Live {
    fn hand_over(&self, table: &Table, group: Group, each: &mut EachTouched<'_>) -> Result<(), Explained> {
        let was_there = match group.was_there() {
            Some(was_there) => was_there,
            // It went as often as it came: it is there if it was.
            None => {
                let mut is_there = false;
                let mut take = |_| {
                    is_there = true;
                    Ok::<(), Explained>(())
                };
                self.find(table, &table.key, std::slice::from_ref(&group.key), &[], &mut take)?;
                is_there
            }
        };
        group.touched(was_there).map_or(Ok(()), each)
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

/// The notes on one row, in their order.
struct Group {
    key: Key,
    /// What it held when it first was about to change.
    was: Option<Row>,
    came: u64,
    went: u64,
}

impl Group {
    fn new(key: Key) -> Self {
        Self { key, was: None, came: 0, went: 0 }
    }

    fn take(&mut self, how: &Value, row: Row) {
        match how {
            Value::Text(word) if word == b"w" => _ = self.was.get_or_insert(row),
            Value::Text(word) if word == b"d" => self.went += 1,
            _ => self.came += 1,
        }
    }

    /// Was it there in the beginning? Nothing where only its end tells.
    fn was_there(&self) -> Option<bool> {
        match self.came.cmp(&self.went) {
            Ordering::Greater => Some(false),
            Ordering::Less => Some(true),
            Ordering::Equal => (self.came == 0).then_some(true),
        }
    }

    fn touched(self, was_there: bool) -> Option<Touched> {
        match (was_there, self.was) {
            (true, Some(row)) => Some(Touched { key: self.key, row: Some(row) }),
            // Nothing was noted of a row that goes without a word: there is none.
            (true, None) => None,
            (false, _) => Some(Touched { key: self.key, row: None }),
        }
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
    let written = |which: &str, at: &usize| written(&format!("{which}.{}", all[*at]));
    let moved = |at: &usize| format!("{} IS DISTINCT FROM {}", written("OLD", at), written("NEW", at));
    let moved = record.key.iter().map(moved).collect::<Vec<_>>().join(" OR ");
    let (was, came, went) = (note("w", "OLD"), note("a", "NEW"), note("d", "OLD"));
    let name = record.name.replace(['%', '\''], "");
    let function = format!(
        "CREATE FUNCTION pg_temp.strongroom_{number}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
         SET search_path = '' AS $strongroom$ BEGIN \
         IF TG_OP = 'TRUNCATE' THEN RAISE EXCEPTION 'a trigger empties {name}, which could not be taken back'; END IF; \
         IF TG_WHEN = 'BEFORE' THEN {was} IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END IF; \
         IF TG_OP = 'INSERT' THEN {came} ELSIF TG_OP = 'DELETE' THEN {went} ELSIF {moved} THEN {went} {came} END IF; \
         RETURN NULL; END $strongroom$;"
    );
    let triggers: String = leaves.iter().map(|leaf| triggers(number, leaf)).collect();
    let from = table.name.quoted();
    format!(
        "CREATE TEMP TABLE strongroom_{number} ON COMMIT DROP AS \
         SELECT 0::bigint AS n, ''::text AS how, {named} FROM {from} WITH NO DATA; {function} {triggers}"
    )
}

/// A value as its type writes it, in brackets. A cast of its own to text, if it is somebody's type, would be his function.
fn written(value: &str) -> String {
    format!("ROW({value})::pg_catalog.text")
}

fn triggers(number: usize, leaf: &str) -> String {
    let function = format!("EXECUTE FUNCTION pg_temp.strongroom_{number}();");
    [
        ("\"~~~strongroom_before\"", "BEFORE UPDATE OR DELETE", "EACH ROW"),
        ("\"~~~strongroom_after\"", "AFTER INSERT OR UPDATE OR DELETE", "EACH ROW"),
        ("\"~~~strongroom_emptied\"", "BEFORE TRUNCATE", "EACH STATEMENT"),
    ]
    .map(|(name, when, each)| format!("CREATE TRIGGER {name} {when} ON {leaf} FOR {each} {function}"))
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(notes: &[(&str, i64)], is_there: bool) -> Option<Option<i64>> {
        let mut group = Group::new(vec![Value::Integer(1)]);
        for (how, held) in notes {
            group.take(&Value::text(how), vec![Value::Integer(*held)]);
        }
        let was_there = group.was_there().unwrap_or(is_there);
        let held = |row: Row| if let Value::Integer(held) = row[0] { held } else { -1 };
        group.touched(was_there).map(|touched| touched.row.map(held))
    }

    #[test]
    fn what_a_row_held_in_the_beginning_is_told_whatever_the_order_of_notes() {
        assert_eq!(told(&[("w", 5), ("w", 6)], true), Some(Some(5)), "changed twice");
        assert_eq!(told(&[("a", 1), ("w", 1)], true), Some(None), "added, and changed");
        assert_eq!(told(&[("w", 1), ("w", 2), ("a", 1)], true), Some(None), "changed before its statement ended");
        assert_eq!(told(&[("w", 5), ("d", 5), ("a", 6)], true), Some(Some(5)), "removed, and added again");
        assert_eq!(told(&[("w", 1), ("a", 1), ("d", 1)], false), Some(None), "added, and removed again");
        assert_eq!(told(&[("w", 5), ("d", 5)], false), Some(Some(5)), "removed");
    }
}
