//! What is known of a table's columns before two of its rows are compared.

use std::collections::BTreeSet;

use crate::base::record::{Letters, OnDelete, Table, Value};
use crate::record::drift::Fit;
use crate::record::graph::{Graph, Link};
use crate::record::identity::Pair;
use crate::record::identity::value::{is_null, is_written, lowered, means_the_same};
use crate::record::model::Model;
use crate::record::plan::Glimpse;

/// Columns that tell, by their names, when or as what a record came to be.
const BIRTH: [&str; 13] = [
    "created_at",
    "createdat",
    "created",
    "created_on",
    "created_date",
    "inserted_at",
    "date_created",
    "date_joined",
    "joined_at",
    "creation_date",
    "registered_at",
    "uuid",
    "guid",
];

/// Columns that change whenever a row does: that they differ says nothing.
const RESTLESS: [&str; 14] = [
    "updated_at",
    "updatedat",
    "updated",
    "updated_on",
    "modified",
    "modified_at",
    "modified_on",
    "last_modified",
    "last_seen",
    "last_seen_at",
    "last_login",
    "last_login_at",
    "version",
    "lock_version",
];

/// What is known of a table's columns, by their places in the live table.
#[derive(Debug)]
pub struct Traits {
    pub live: Table,
    /// For each live column, the one of the snapshot.
    pub kept: Vec<Option<usize>>,
    pub immutable: Vec<usize>,
    pub births: Vec<usize>,
    pub restless: Vec<usize>,
    /// Columns that were of another type.
    pub retyped: Vec<usize>,
    /// Columns of which no two rows hold the same: numbers are given out like keys, and names with them.
    pub counted: Vec<usize>,
    /// The links of the table, with their live columns.
    pub links: Vec<(usize, Link, Vec<usize>)>,
    /// Its key is nothing but references: it says what the row is.
    pub is_between: bool,
}

impl Traits {
    pub fn of(table: usize, graph: &Graph, fit: &Fit, model: &Model) -> Option<Self> {
        let live = fit.live.clone()?;
        let name = &graph.tables[table].name;
        let kept = (0..live.columns.len()).map(|now| fit.to.iter().position(|to| *to == Some(now)));
        let kept: Vec<Option<usize>> = kept.collect();
        let was = |now: usize| kept[now].map(|at| &graph.tables[table].columns[at].kind);
        let is_other = |now: &usize| was(*now).is_some_and(|was| *was != live.columns[*now].kind);
        let retyped = (0..live.columns.len()).filter(is_other).collect();
        let told = model.entity_of(name).map(|(_, entity)| &entity.immutable[..]).unwrap_or_default();
        let told = told.iter().filter_map(|column| match graph.tables[table].column(column) {
            Some(at) => fit.to[at],
            None => live.column(model.column_now(name, column)),
        });
        let told = told.collect();
        let named = |names: &[&str]| names.iter().filter_map(|name| live.column(name)).collect::<Vec<_>>();
        let (births, restless) = (named(&BIRTH), named(&RESTLESS));
        let counted = live.unique.iter().filter(|one| one.columns.len() == 1).map(|one| one.columns[0]).collect();
        let of = |(at, link): (usize, &Link)| {
            let columns: Option<Vec<usize>> = link.columns.iter().map(|at| fit.to[*at]).collect();
            Some((at, link.clone(), columns?))
        };
        let links = graph.links.iter().enumerate().filter(|(_, link)| link.child == table);
        let links: Vec<_> = links.filter_map(of).collect();
        let tied: BTreeSet<usize> = links.iter().flat_map(|(.., columns)| columns).copied().collect();
        let is_between = live.key.len() > 1 && live.key.iter().all(|at| tied.contains(at));
        Some(Self { live, kept, immutable: told, births, restless, retyped, counted, links, is_between })
    }

    /// The links whose columns are of the key.
    pub fn touches_key(&self) -> Vec<usize> {
        let touches = |(at, _, columns): &(usize, Link, Vec<usize>)| {
            columns.iter().any(|column| self.live.key.contains(column)).then_some(*at)
        };
        self.links.iter().filter_map(touches).collect()
    }

    pub fn is_default(&self, column: usize, value: &Glimpse) -> bool {
        let default = self.live.columns[column].default.as_deref();
        let Glimpse::Value(value) = value else { return false };
        // A server adds the type: `'2020-01-01 10:07:00+00'::timestamp with time zone`.
        let untyped = |default: &'_ str| default.split_once("'::").map_or(default.len(), |(value, _)| value.len());
        default.is_some_and(|default| default[..untyped(default)].trim_matches(['\'', '(', ')']) == plain_text(value))
    }

    /// Links by which the row referred to something, and by which the live row holds what the store puts there when that goes.
    pub fn emptied<'t>(&'t self, pair: &'t Pair<'_>) -> impl Iterator<Item = (usize, &'t Vec<usize>)> {
        let refers = |at: usize| pair.targets.iter().any(|(link, _)| *link == at);
        let let_go = self.links.iter().filter(move |(at, link, _)| link.on_delete.survives() && refers(*at));
        let_go.filter_map(move |(at, link, columns)| {
            let is_null = columns.iter().any(|at| is_null(&pair.live[*at]));
            let is_default = |at: &usize| {
                let default = self.live.columns[*at].default.as_deref().unwrap_or("NULL");
                is_written(&pair.live[*at], default)
            };
            let is_emptied = is_null || (link.on_delete == OnDelete::SetDefault && columns.iter().all(is_default));
            is_emptied.then_some((*at, columns))
        })
    }

    pub fn is_same(&self, column: usize, kept: &Glimpse, live: &Glimpse) -> bool {
        kept == live
            || (self.live.columns[column].letters == Letters::WithoutCase && lowered(kept) == lowered(live))
            || (self.retyped.contains(&column) && means_the_same(kept, live))
    }
}

pub fn plain_text(value: &Value) -> String {
    match value {
        Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
        other => other.to_string(),
    }
}
