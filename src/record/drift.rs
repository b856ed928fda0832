//! How the tables of a snapshot fit those of live data, which has gone on since: columns and tables that went, came, got
//! other names or hold other kinds of values.
//!
//! Owns the rule that each of these is handled, or refused by name before anything is touched.

use crate::base::record::name::{self, Meant};
use crate::base::record::{Change, Row, Table, Value, exactly};
use crate::base::text::shell_word;
use crate::record::error::RecordError;
use crate::record::graph::Graph;
use crate::record::model::{Columns, Model, Relation, meant_table};

const LIVE: &str = "live data";

/// How one table of the snapshot fits.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The live table; `None` where there is none any more.
    pub live: Option<Table>,
    /// For each column of the snapshot's table, the live one.
    pub to: Vec<Option<usize>>,
    /// Columns, by their place in the snapshot's table, that hold another kind of values now.
    pub retyped: Vec<usize>,
    /// Live columns that get a value which was given, not kept.
    pub set: Vec<(usize, Value)>,
    /// What should be known.
    pub notes: Vec<String>,
    /// What keeps rows from being given back, and the way out.
    pub refusals: Vec<(String, String)>,
    /// What keeps rows from being added, and the way out: columns that came since, and must have a value.
    pub wanting: Vec<(String, String)>,
}

/// A value given with `--set TABLE.COLUMN=VALUE`, by the table's live name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub table: String,
    pub column: String,
    pub value: String,
}

impl std::str::FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write TABLE.COLUMN=VALUE".to_owned();
        let mut is_quoted = false;
        let is_end = |letter: char| {
            is_quoted ^= letter == '"';
            letter == '=' && !is_quoted
        };
        let (place, value) = text.find(is_end).map(|at| (&text[..at], &text[at + 1..])).ok_or_else(wrong)?;
        let mut parts = name::parts(place);
        let column = parts.pop().filter(|_| !parts.is_empty()).ok_or_else(wrong)?;
        Ok(Self { table: name::written(&parts), column, value: value.to_owned() })
    }
}

/// Fits every table of a snapshot to live data.
pub fn fit(graph: &Graph, live: &dyn Change, model: &Model, given: &[Given]) -> Result<Vec<Fit>, RecordError> {
    let tables = live.tables()?;
    let mut given = given.to_vec();
    for one in &mut given {
        let Some(at) = meant_table(&tables, &one.table, LIVE)? else {
            let why = format!("there is no table {}", one.table);
            return Err(RecordError::Set { given: format!("{}.{}", one.table, one.column), why });
        };
        one.table.clone_from(&tables[at].name);
    }
    let found = partners_of(graph, &tables, model)?;
    let all = graph.tables.iter().zip(found);
    all.map(|(kept, found)| one(kept, found.map(|at| tables[at].clone()), live, model, &given)).collect()
}

/// The live tables that stand for those of the snapshot.
fn partners_of(graph: &Graph, tables: &[Table], model: &Model) -> Result<Vec<Option<usize>>, RecordError> {
    let names: Vec<&str> = graph.tables.iter().map(|table| model.table_now(&table.name)).collect();
    let live: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let mut found = name::partners(&names, &live);
    for (at, kept) in graph.tables.iter().enumerate() {
        // A new name is what a person wrote.
        if found[at].is_none() && names[at] != kept.name {
            found[at] = meant_table(tables, names[at], LIVE)?;
        }
    }
    Ok(found)
}

fn one(
    kept: &Table,
    found: Option<Table>,
    live: &dyn Change,
    model: &Model,
    given: &[Given],
) -> Result<Fit, RecordError> {
    let name = model.table_now(&kept.name);
    let to = vec![None; kept.columns.len()];
    let mut fit = Fit {
        live: found,
        to,
        retyped: Vec::new(),
        set: Vec::new(),
        notes: Vec::new(),
        refusals: Vec::new(),
        wanting: Vec::new(),
    };
    let Some(table) = fit.live.clone() else { return Ok(fit) };
    if table.name != name && table.tells_case {
        fit.notes.push(format!("{name} is called {} now", table.name));
    }
    let from_number = kept.numbered && table.numbered;
    let columns: Vec<&str> = kept.columns.iter().map(|one| model.column_now(&kept.name, &one.name)).collect();
    let now = name::partners(&columns, &table.names(&Vec::from_iter(0..table.columns.len())));
    for (at, column) in kept.columns.iter().enumerate() {
        fit.to[at] = match at {
            0 if from_number => Some(0),
            0 if kept.numbered => None,
            _ => now[at],
        };
        match fit.to[at] {
            Some(now) if !table.columns[now].kind.eq_ignore_ascii_case(&column.kind) => {
                let (old, new) = (&column.kind, &table.columns[now].kind);
                fit.notes.push(format!("{name}.{} was {old} and is {new} now", table.columns[now].name));
                fit.retyped.push(at);
            }
            None if at > 0 || !kept.numbered => {
                fit.notes.push(format!("{name}.{} is gone: what it held does not come back", column.name));
            }
            _ => {}
        }
    }
    set(&mut fit, &table, live, given)?;
    missing(&mut fit, &table);
    let key: Vec<Option<usize>> = kept.key.iter().map(|&at| fit.to[at]).collect();
    let now: Vec<Option<usize>> = table.key.iter().copied().map(Some).collect();
    if key != now {
        let what = format!("{name} has another key now: {}", table.key_names().join(", "));
        fit.refusals.push((what, "take its rows out with --export".to_owned()));
    }
    Ok(fit)
}

fn set(fit: &mut Fit, table: &Table, live: &dyn Change, given: &[Given]) -> Result<(), RecordError> {
    for one in given.iter().filter(|one| one.table == table.name) {
        let wrong =
            |why: &str| RecordError::Set { given: format!("{}.{}", one.table, one.column), why: why.to_owned() };
        let at = match table.columns_meant(&one.column) {
            Meant::One(at) => at,
            Meant::Nothing => return Err(wrong("there is no such column")),
            Meant::Several(_) => return Err(RecordError::no_column(table, &one.column)),
        };
        if table.key.contains(&at) {
            return Err(wrong("a key is not set; --remap-keys gives new ones"));
        }
        fit.set.push((at, live.typed(table, at, &one.value)?));
    }
    Ok(())
}

/// Columns that came since, and want a value.
fn missing(fit: &mut Fit, table: &Table) {
    for (at, column) in table.columns.iter().enumerate() {
        let has = fit.to.contains(&Some(at)) || fit.set.iter().any(|(set, _)| *set == at);
        if has || (table.numbered && at == 0) {
            continue;
        }
        let place = format!("{}.{}", table.name, name::part(&column.name));
        match &column.default {
            Some(default) => fit.notes.push(format!("{place} is new: it becomes {default}")),
            None if column.required => {
                let way_out = format!("give it one with --set {}", shell_word(&format!("{place}=VALUE")));
                fit.wanting.push((format!("{place} is new and must have a value"), way_out));
            }
            None if table.key.contains(&at) => {}
            None => fit.notes.push(format!("{place} is new: it stays empty")),
        }
    }
}

/// What only the configuration knows of references, by the names that live data has.
pub fn relations_now(model: &Model, graph: &Graph, fits: &[Fit]) -> Vec<Relation> {
    let now = |some: &Columns| {
        let Some((at, kept)) = exactly(&graph.tables, &some.table) else {
            let column = |column: &String| model.column_now(&some.table, column).to_owned();
            let table = model.table_now(&some.table).to_owned();
            return Some(Columns { table, columns: some.columns.iter().map(column).collect() });
        };
        // What is gone by now is tied to nothing.
        let live = fits[at].live.as_ref()?;
        let column = |name: &String| Some(live.columns[fits[at].to[kept.column(name)?]?].name.clone());
        let columns = some.columns.iter().map(column).collect::<Option<_>>()?;
        Some(Columns { table: live.name.clone(), columns })
    };
    let relation = |one: &Relation| {
        let (names, values): (Vec<_>, Vec<_>) = one.when.iter().cloned().unzip();
        let of_kind = now(&Columns { table: one.from.table.clone(), columns: names })?;
        let when = of_kind.columns.into_iter().zip(values).collect();
        Some(Relation { from: now(&one.from)?, to: now(&one.to)?, when, ..one.clone() })
    };
    model.relations.iter().filter_map(relation).collect()
}

impl Fit {
    /// A row of the snapshot as the live table takes it: columns, and a value for each. Or why it does not. A row that
    /// is added gets the values that were given, one that is compared does not.
    pub fn row(&self, kept: &Table, row: Row, live: &dyn Change, added: bool) -> Result<(Vec<usize>, Row), String> {
        let table = self.live.as_ref().expect("BUG: rows of tables that are gone are left out");
        let (mut columns, mut values) = (Vec::new(), Row::new());
        for (at, value) in row.into_iter().enumerate() {
            let given = |now: &usize| added && self.set.iter().any(|(set, _)| set == now);
            let Some(now) = self.to[at].filter(|now| !given(now)) else { continue };
            let value = match self.retyped.contains(&at).then(|| live.converted(table, now, &value)) {
                None => value,
                Some(Ok(value)) => value,
                // It gets the value that was given, and has none to be compared.
                Some(Err(_)) if self.set.iter().any(|(set, _)| *set == now) => continue,
                Some(Err(why)) => return Err(format!("{}: {why}", kept.columns[at].name)),
            };
            columns.push(now);
            values.push(value);
        }
        for (at, value) in self.set.iter().filter(|_| added) {
            columns.push(*at);
            values.push(value.clone());
        }
        Ok((columns, values))
    }

    /// The live column that gets the very value of a snapshot's, if one does.
    pub fn unchanged(&self, at: usize, added: bool) -> Option<usize> {
        let given = |now: &usize| added && self.set.iter().any(|(set, _)| set == now);
        self.to[at].filter(|now| !self.retyped.contains(&at) && !given(now))
    }

    /// The key of a row of the snapshot as the live table has it.
    pub fn key(&self, kept: &Table, key: &[Value], live: &dyn Change) -> Result<Row, String> {
        self.values(&kept.key, key, live)
    }

    /// The values of some columns of the snapshot's table as the live one has them.
    pub fn values(&self, columns: &[usize], values: &[Value], live: &dyn Change) -> Result<Row, String> {
        let table = self.live.as_ref().expect("BUG: rows of tables that are gone are left out");
        let one = |(at, value): (&usize, &Value)| match self.to[*at] {
            Some(now) if self.retyped.contains(at) => live.converted(table, now, value),
            _ => Ok(value.clone()),
        };
        columns.iter().zip(values).map(one).collect()
    }
}
