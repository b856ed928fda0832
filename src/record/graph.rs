//! Which rows belong to which: the references that a schema declares, and those that the configuration adds.

use std::collections::BTreeSet;

use crate::base::record::{Each, OnDelete, PART, Records, Row, Table, Value, exactly, lies_in, pick};
use crate::base::text::nearest;
use crate::record::error::RecordError;
use crate::record::model::{Columns, Model, Relation, meant_table, placeholders};

/// The tables of a database and how they hang together. Tables are named by their place in it.
#[derive(Clone, Debug)]
pub struct Graph {
    pub tables: Vec<Table>,
    pub links: Vec<Link>,
    /// For each table, the columns that tell its rows apart or tie them to others.
    pub ties: Vec<Vec<usize>>,
}

/// Rows of the table `child` refer to rows of the table `parent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub child: usize,
    pub columns: Vec<usize>,
    pub parent: usize,
    pub to: Vec<usize>,
    pub on_delete: OnDelete,
    /// The schema says so: the store looks after it.
    pub is_declared: bool,
    /// Only rows with these values refer to that table.
    pub when: Vec<(usize, Value)>,
    /// Only rows in these parts refer; where there are none, all do.
    pub parts: BTreeSet<String>,
    /// Only rows in these parts of the other table are referred to; where there are none, all may be.
    pub to_parts: BTreeSet<String>,
}

impl Graph {
    pub fn read(records: &dyn Records, model: &Model) -> Result<Self, RecordError> {
        let mut graph = Self { tables: records.tables()?, links: Vec::new(), ties: Vec::new() };
        let model = &model.settled(&graph.tables, &records.label())?;
        graph.links = graph.declared();
        for relation in &model.relations {
            let links = graph.configured(relation, records)?;
            graph.links.extend(links);
        }
        graph.ties = (0..graph.tables.len()).map(|table| graph.ties_of(table, model)).collect();
        Ok(graph)
    }

    /// The table that a person means by this name.
    pub fn named(&self, name: &str, place: &str) -> Result<usize, RecordError> {
        meant_table(&self.tables, name, place)?.ok_or_else(|| RecordError::NoTable {
            name: name.to_owned(),
            place: place.to_owned(),
            nearest: nearest(name, self.tables.iter().map(|table| table.name.as_str())).map(str::to_owned),
        })
    }

    fn declared(&self) -> Vec<Link> {
        let of = |(child, table): (usize, &Table)| {
            let links = table.references.iter().filter_map(move |reference| {
                let (parent, _) = exactly(&self.tables, &reference.to)?;
                let to = reference.to_columns.iter().map(|name| self.tables[parent].column(name));
                Some(Link {
                    child,
                    columns: reference.columns.clone(),
                    parent,
                    to: to.collect::<Option<_>>()?,
                    on_delete: reference.on_delete,
                    is_declared: true,
                    when: Vec::new(),
                    parts: reference.parts.clone(),
                    to_parts: reference.to_parts.clone(),
                })
            });
            links.collect::<Vec<_>>()
        };
        self.tables.iter().enumerate().flat_map(of).collect()
    }

    /// A relation of the configuration, of a table and of those that inherit from it: a table has their rows too for whoever
    /// asks the store. None where this snapshot is older than its tables.
    fn configured(&self, relation: &Relation, records: &dyn Records) -> Result<Vec<Link>, RecordError> {
        let end = |some: &Columns| meant_table(&self.tables, &some.table, &records.label());
        let (Some(child), Some(parent)) = (end(&relation.from)?, end(&relation.to)?) else { return Ok(Vec::new()) };
        self.with_heirs(child).into_iter().map(|child| self.link(relation, (child, parent), records)).collect()
    }

    fn with_heirs(&self, table: usize) -> Vec<usize> {
        let mut found = vec![table];
        let mut at = 0;
        while let Some(&parent) = found.get(at) {
            let name = &self.tables[parent].name;
            let heirs = (0..self.tables.len()).filter(|heir| self.tables[*heir].inherits.contains(name));
            let fresh: Vec<usize> = heirs.filter(|heir| !found.contains(heir)).collect();
            found.extend(fresh);
            at += 1;
        }
        found
    }

    fn link(
        &self,
        relation: &Relation,
        (child, parent): (usize, usize),
        records: &dyn Records,
    ) -> Result<Link, RecordError> {
        let columns = |at: usize, some: &Columns| {
            some.columns.iter().map(|name| self.column(at, name)).collect::<Result<Vec<_>, _>>()
        };
        let (columns, to) = (columns(child, &relation.from)?, columns(parent, &relation.to)?);
        let mut when = Vec::new();
        for (name, value) in &relation.when {
            let at = self.column(child, name)?;
            when.push((at, records.typed(&self.tables[child], at, value)?));
        }
        let (parts, to_parts) = Default::default();
        let on_delete = relation.on_delete;
        Ok(Link { child, columns, parent, to, on_delete, is_declared: false, when, parts, to_parts })
    }

    /// All columns of a table, and its ties behind them.
    pub fn with_ties(&self, table: usize) -> Vec<usize> {
        (0..self.tables[table].columns.len()).chain(self.ties[table].iter().copied()).collect()
    }

    pub fn column(&self, table: usize, name: &str) -> Result<usize, RecordError> {
        let table = &self.tables[table];
        table.column(name).ok_or_else(|| RecordError::no_column(table, name))
    }

    fn ties_of(&self, at: usize, model: &Model) -> Vec<usize> {
        let table = &self.tables[at];
        let mut ties: BTreeSet<usize> = table.key.iter().copied().collect();
        for link in &self.links {
            if link.child == at {
                ties.extend(link.columns.iter().chain(link.when.iter().map(|(column, _)| column)));
                ties.extend((!link.parts.is_empty()).then_some(PART));
            }
            if link.parent == at {
                ties.extend(&link.to);
                ties.extend((!link.to_parts.is_empty()).then_some(PART));
            }
        }
        for linked in model.entity_of(&table.name).iter().flat_map(|(_, entity)| &entity.files) {
            ties.extend(placeholders(&linked.path).filter_map(|name| table.column(name)));
        }
        ties.into_iter().collect()
    }

    /// The values of some columns of a row of which only the ties were read.
    pub fn tied(&self, table: usize, ties: &[Value], columns: &[usize]) -> Row {
        let at = |column: &usize| self.ties[table].binary_search(column).expect("BUG: only ties are asked for");
        pick(ties, &columns.iter().map(at).collect::<Vec<_>>())
    }

    /// What a link refers to by these values, so that what a store takes for the same is the same.
    pub fn meant(&self, table: usize, columns: &[usize], values: &[Value]) -> Row {
        self.tables[table].forms(columns, values)
    }

    /// Do the rows of a table do nothing but tie others together? Its key is made of references, and nothing refers to it.
    pub fn is_between(&self, table: usize) -> bool {
        let key = &self.tables[table].key;
        let of_all = self.links.iter().filter(|link| link.child == table && link.parts.is_empty());
        let ends: Vec<&Link> = of_all.filter(|link| link.columns.iter().all(|at| key.contains(at))).collect();
        let is_end = |at: &usize| ends.iter().any(|link| link.columns.contains(at));
        ends.len() > 1 && key.iter().all(is_end) && !self.links.iter().any(|link| link.parent == table)
    }

    /// What the row refers to by this link; `None` if to nothing.
    pub fn target(&self, link: &Link, ties: &[Value]) -> Option<Row> {
        let values = self.tied(link.child, ties, &link.columns);
        (self.holds(link, ties) && !values.iter().any(Value::is_null)).then_some(values)
    }

    /// Does the link hold for a row of this kind, where it lies?
    fn holds(&self, link: &Link, ties: &[Value]) -> bool {
        link.when.iter().all(|(column, value)| self.tied(link.child, ties, &[*column])[0] == *value)
            && self.lies_in(link.child, ties, &link.parts)
    }

    /// Does a row lie where the link leads to?
    pub fn is_reached(&self, link: &Link, ties: &[Value]) -> bool {
        self.lies_in(link.parent, ties, &link.to_parts)
    }

    fn lies_in(&self, table: usize, ties: &[Value], parts: &BTreeSet<String>) -> bool {
        parts.is_empty() || lies_in(parts, &self.tied(table, ties, &[PART])[0])
    }

    /// The rows that refer by a link to some of these of its other table: the ties of each. One search for all, since there
    /// may be no index that helps.
    pub fn referring<'r>(
        &self,
        records: &dyn Records,
        link: &Link,
        rows: impl Iterator<Item = &'r Row>,
        each: &mut Each<'_>,
    ) -> Result<(), RecordError> {
        let (child, parent) = (&self.tables[link.child], &self.tables[link.parent]);
        let reached = rows.filter(|ties| self.is_reached(link, ties));
        let values = reached.map(|ties| self.tied(link.parent, ties, &link.to));
        let values: BTreeSet<Row> = values.filter(|values| !values.iter().any(Value::is_null)).collect();
        if values.is_empty() {
            return Ok(());
        }
        let shape = child.referring(&link.columns, parent, &link.to, link.is_declared);
        let mut take = |ties: Row| if self.holds(link, &ties) { each(ties) } else { Ok(()) };
        Ok(records.find(&shape, &link.columns, &Vec::from_iter(values), &self.ties[link.child], &mut take)?)
    }
}

impl Link {
    /// Can the row be without what it refers to?
    pub fn may_be_empty(&self, graph: &Graph) -> bool {
        let table = &graph.tables[self.child];
        self.columns.iter().any(|at| !table.columns[*at].required && !table.key.contains(at))
    }

    /// Does the row stay when what it refers to goes, and refer to nothing?
    pub fn is_let_go(&self, graph: &Graph) -> bool {
        self.on_delete.survives() && self.may_be_empty(graph)
    }

    /// The columns that are emptied so that the row refers to nothing.
    pub fn emptied(&self, graph: &Graph) -> Vec<usize> {
        let table = &graph.tables[self.child];
        let may = |at: &&usize| !table.columns[**at].required && !table.key.contains(at);
        self.columns.iter().filter(may).copied().collect()
    }
}
