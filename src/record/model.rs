//! What the configuration says of records: which tables are entities, and what the schema does not say of references.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::base::name::Name;
use crate::base::record::name::{self, Meant};
use crate::base::record::{OnDelete, Table, exactly};
use crate::base::text::nearest;
use crate::record::error::RecordError;
use crate::record::several::called;

/// Everything that is said of the records of all sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub entities: BTreeMap<String, Entity>,
    pub relations: Vec<Relation>,
    pub renames: Vec<Rename>,
}

/// What people call one thing, and what of it lies outside its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    pub source: Name,
    pub table: String,
    /// What a key on the command line means; the table's own where nothing is said.
    pub key: Vec<String>,
    pub files: Vec<Linked>,
    /// Columns that never change: where they differ under one key, it is another record.
    pub immutable: Vec<String>,
}

/// Files that belong to a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    pub source: Name,
    /// With columns in braces: `{id}/**`.
    pub path: String,
}

/// A reference that the schema does not declare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    pub source: Name,
    /// The source of what is referred to, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_source: Option<Name>,
    pub from: Columns,
    pub to: Columns,
    /// It holds only for rows with these values: the type of a polymorphic reference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<(String, String)>,
    pub on_delete: OnDelete,
}

/// Columns of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    pub table: String,
    pub columns: Vec<String>,
}

/// A table or a column that has another name now than in older snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    pub source: Name,
    pub table: String,
    /// `None` for the table itself.
    pub column: Option<String>,
    pub now: String,
}

impl Relation {
    pub fn to_source(&self) -> &Name {
        self.to_source.as_ref().unwrap_or(&self.source)
    }
}

impl Model {
    /// What is said of some sources, as of one: tables of all but the first are called `SOURCE.TABLE`.
    pub fn of(&self, first: &Name, others: &[Name]) -> Model {
        let is_of = |source: &Name| source == first || others.contains(source);
        let name = |source: &Name, table: &str| match source == first {
            true => table.to_owned(),
            false => called(source, table),
        };
        let entity = |(word, one): (&String, &Entity)| {
            (word.clone(), Entity { table: name(&one.source, &one.table), ..one.clone() })
        };
        let relation = |one: &Relation| {
            let end = |source: &Name, some: &Columns| Columns { table: name(source, &some.table), ..some.clone() };
            let (from, to) = (end(&one.source, &one.from), end(one.to_source(), &one.to));
            Relation { source: first.clone(), to_source: None, from, to, ..one.clone() }
        };
        let rename = |one: &Rename| {
            let now = if one.column.is_none() { name(&one.source, &one.now) } else { one.now.clone() };
            Rename { table: name(&one.source, &one.table), now, ..one.clone() }
        };
        let relations = self.relations.iter().filter(|one| is_of(&one.source) && is_of(one.to_source()));
        Model {
            entities: self.entities.iter().filter(|(_, one)| is_of(&one.source)).map(entity).collect(),
            relations: relations.map(relation).collect(),
            renames: self.renames.iter().filter(|one| is_of(&one.source)).map(rename).collect(),
        }
    }

    /// The sources that relations tie to one, however many of those that are there lie between; and those that are not.
    pub fn tied(&self, first: &Name, is_there: &dyn Fn(&Name) -> bool) -> (Vec<Name>, Vec<Name>) {
        let (mut tied, mut absent) = (BTreeSet::from([first]), BTreeSet::new());
        let mut waiting = vec![first];
        while let Some(name) = waiting.pop() {
            for one in &self.relations {
                let (from, to) = (&one.source, one.to_source());
                let other = if from == name { to } else { from };
                if to != name && from != name {
                    continue;
                }
                if !is_there(other) {
                    absent.insert(other);
                } else if tied.insert(other) {
                    waiting.push(other);
                }
            }
        }
        tied.remove(first);
        absent.remove(first);
        (tied.into_iter().cloned().collect(), absent.into_iter().cloned().collect())
    }

    /// The same, with what these tables have written as they write it: only so it is told by its name what is said of them.
    /// Whatever they do not have stays as it was written.
    pub fn settled(&self, tables: &[Table], place: &str) -> Result<Model, RecordError> {
        let mut model = self.clone();
        for entity in model.entities.values_mut() {
            settle(&mut entity.table, entity.key.iter_mut().chain(&mut entity.immutable), tables, place)?;
        }
        for Relation { from, to, when, .. } in &mut model.relations {
            let when = when.iter_mut().map(|(column, _)| column);
            settle(&mut from.table, from.columns.iter_mut().chain(when), tables, place)?;
            settle(&mut to.table, &mut to.columns, tables, place)?;
        }
        for rename in &mut model.renames {
            settle(&mut rename.table, &mut rename.column, tables, place)?;
        }
        Ok(model)
    }

    /// The entity whose table this is.
    pub fn entity_of(&self, table: &str) -> Option<(&String, &Entity)> {
        self.entities.iter().find(|(_, entity)| entity.table == table)
    }

    /// What a table is called now.
    pub fn table_now<'m>(&'m self, table: &'m str) -> &'m str {
        let renamed = |rename: &&Rename| rename.column.is_none() && rename.table == table;
        self.renames.iter().find(renamed).map_or(table, |rename| &rename.now)
    }

    /// What a column is called now, by the names that table and column had in the snapshot.
    pub fn column_now<'m>(&'m self, table: &str, column: &'m str) -> &'m str {
        let renamed = |rename: &&Rename| rename.table == table && rename.column.as_deref() == Some(column);
        self.renames.iter().find(renamed).map_or(column, |rename| &rename.now)
    }

    /// What is said of tables and columns that the database does not have, in words. A snapshot may be older than they are.
    pub fn strangers(&self, tables: &[Table]) -> Vec<String> {
        let mut told = Vec::new();
        let mut look = |what: &str, name: &str, columns: &[&str]| {
            let Some((_, table)) = exactly(tables, name) else {
                let known = tables.iter().map(|table| table.name.as_str());
                return told.push(stranger(what, &format!("table {name}"), nearest(name, known)));
            };
            for column in columns.iter().filter(|column| table.column(column).is_none()) {
                let known = table.columns.iter().map(|one| one.name.as_str());
                told.push(stranger(what, &format!("column {name}.{column}"), nearest(column, known)));
            }
        };
        for (name, entity) in &self.entities {
            let in_files = entity.files.iter().flat_map(|linked| placeholders(&linked.path));
            let columns: Vec<&str> =
                entity.key.iter().chain(&entity.immutable).map(String::as_str).chain(in_files).collect();
            look(&format!("entity.{name}"), &entity.table, &columns);
        }
        for one in &self.relations {
            for end in [&one.from, &one.to] {
                let columns: Vec<&str> = end.columns.iter().map(String::as_str).collect();
                look("a relation", &end.table, &columns);
            }
        }
        told
    }
}

/// The table that a person means by a name, by its place; none where there is no such table.
pub fn meant_table(tables: &[Table], name: &str, place: &str) -> Result<Option<usize>, RecordError> {
    match name::meant_of_parts(name, tables.iter().map(|table| table.name.as_str())) {
        Meant::Nothing => Ok(None),
        Meant::One(at) => Ok(Some(at)),
        Meant::Several(places) => {
            let fitting = places.into_iter().map(|at| tables[at].name.clone()).collect();
            Err(RecordError::Several { what: "tables", name: name.to_owned(), place: place.to_owned(), fitting })
        }
    }
}

fn settle<'c>(
    name: &mut String,
    columns: impl IntoIterator<Item = &'c mut String>,
    tables: &[Table],
    place: &str,
) -> Result<(), RecordError> {
    let Some(at) = meant_table(tables, name, place)? else { return Ok(()) };
    let table = &tables[at];
    name.clone_from(&table.name);
    for column in columns {
        match table.columns_meant(column) {
            Meant::One(at) => column.clone_from(&table.columns[at].name),
            Meant::Nothing => {}
            Meant::Several(_) => return Err(RecordError::no_column(table, column)),
        }
    }
    Ok(())
}

fn stranger(what: &str, name: &str, nearest: Option<&str>) -> String {
    let meant = nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
    format!("the configuration: {what} names {name}, which the snapshot does not have{meant}")
}

/// The columns in braces of a pattern.
pub fn placeholders(pattern: &str) -> impl Iterator<Item = &str> {
    pattern.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}
