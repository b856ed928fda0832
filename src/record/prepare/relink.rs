//! Rows that outlived what they referred to, and refer to nothing since: they refer to it again when it comes back.

use std::collections::BTreeMap;

use crate::base::record::{Key, OnDelete, Row, Table, Value};
use crate::record::closure::Why;
use crate::record::compare::{self, Seen, glimpse, title};
use crate::record::error::RecordError;
use crate::record::graph::Link;
use crate::record::identity::Kin;
use crate::record::plan::{Act, Glimpse, Step, shown};
use crate::record::prepare::{BATCH, Draft, Work};

/// The links by which a row referred to what comes back, and its ties.
type Links<'c> = Vec<(usize, &'c Row)>;

/// A row, its live key, and the links by which it referred to what comes back.
struct Outlived<'c> {
    key: Key,
    now: Key,
    links: Links<'c>,
}

impl<'w> Work<'w> {
    /// One step for each row that can refer again, and for each that cannot. Rows that belong to what comes back and are
    /// there are steps already: what is done with them becomes this, where they were to be left.
    pub(super) fn relinks(&mut self) -> Result<Vec<Step>, RecordError> {
        let mut rows: BTreeMap<usize, BTreeMap<&Key, Links<'w>>> = BTreeMap::new();
        for (at, key, ties) in &self.closure.relinks {
            let child = self.ground.graph.links[*at].child;
            if self.drafts[child].get(key).is_none_or(Draft::stays_changed) {
                rows.entry(child).or_default().entry(key).or_default().push((*at, ties));
            }
        }
        let mut steps = Vec::new();
        for (table, rows) in rows {
            let (kept_table, fit) = (&self.ground.graph.tables[table], &self.ground.fits[table]);
            let (Some(live), true) = (&fit.live, fit.refusals.is_empty()) else { continue };
            let outlived = |(key, links): (&Key, _)| {
                let now = fit.key(kept_table, key, self.ground.live).ok()?;
                Some(Outlived { key: key.clone(), now, links })
            };
            let rows: Vec<Outlived<'_>> = rows.into_iter().filter_map(outlived).collect();
            for some in rows.chunks(BATCH) {
                let keys: Vec<Key> = some.iter().map(|row| row.now.clone()).collect();
                let seen = compare::see(self.ground.live, live, &keys)?;
                let kept: Vec<Key> = some.iter().map(|row| row.key.clone()).collect();
                let kept = self.kept_rows(table, kept_table, fit, &kept)?;
                let of: BTreeMap<&Key, &Outlived<'_>> = some.iter().map(|row| (&row.key, row)).collect();
                let kins = self.kins(table, &kept, |key| seen.get(&of.get(key)?.now))?;
                for (kept, kin) in kept.iter().zip(kins) {
                    let Some((row, seen)) = of.get(&kept.key).and_then(|row| Some((row, seen.get(&row.now)?))) else {
                        continue;
                    };
                    match kin {
                        Some(Kin::Same) => {
                            steps.extend(self.relink(table, live, row, seen));
                            self.doubt_below(table, row, seen);
                        }
                        Some(Kin::Unsure) => {
                            self.doubt_relink(table, live, row, seen);
                            self.doubt_below(table, row, seen);
                        }
                        // One that is gone, or was before another got its key, was deleted on its own: it does not belong to
                        // what comes back.
                        Some(Kin::Another) | None => {}
                    }
                }
            }
        }
        Ok(steps.into_iter().filter_map(|step| self.own(step)).collect())
    }

    /// Takes a step for a row that has one already into that one.
    fn own(&mut self, step: Step) -> Option<Step> {
        let Some(draft) = self.drafts[step.table].get_mut(&step.key) else { return Some(step) };
        if let Act::Relink { columns } = &step.act {
            let (fit, kept) = (&self.ground.fits[step.table], &self.ground.graph.tables[step.table]);
            let now: Vec<usize> =
                columns.iter().filter_map(|name| kept.column(name).and_then(|at| fit.to[at])).collect();
            let live = fit.live.as_ref().expect("BUG: its rows were looked at");
            draft.differs.retain(|one| live.column(&one.column).is_none_or(|at| !now.contains(&at)));
            draft.act = step.act;
        }
        None
    }

    fn relink(&self, table: usize, live: &Table, row: &Outlived<'_>, seen: &Seen) -> Option<Step> {
        let (graph, fit) = (self.ground.graph, &self.ground.fits[table]);
        let kept = &graph.tables[table];
        let (mut columns, mut why, mut belongs) = (Vec::new(), None, None);
        for (at, ties) in &row.links {
            let link = &graph.links[*at];
            let Some(values) = graph.target(link, ties) else { continue };
            if self.absent(*at, &values).is_some() {
                continue;
            }
            let to: Option<Vec<usize>> = link.columns.iter().map(|at| fit.to[*at]).collect();
            let Some(to) = to else { continue };
            belongs = belongs.or(Some(graph.tables[link.parent].name.clone()));
            let holds: Vec<&Glimpse> = to.iter().map(|at| &seen.columns[*at]).collect();
            let moved = self.target_now(ties, link);
            let is = |values: &Row| holds.iter().zip(values).all(|(held, value)| **held == glimpse(value));
            if is(moved.as_ref().unwrap_or(&values)) {
                continue;
            }
            match is_let_go(link, live, &to, seen) || (is(&values) && !link.is_declared) {
                true => columns.extend(link.columns.iter().map(|at| kept.columns[*at].name.clone())),
                false => {
                    why = Some(format!("it refers to something else by {} now", kept.names(&link.columns).join(", ")))
                }
            }
        }
        columns.dedup();
        let act = match (columns.is_empty(), why) {
            (false, _) => Act::Relink { columns },
            (true, Some(why)) => Act::Leave { why },
            (true, None) => return None,
        };
        let title = title(live, |at| seen.columns[at].clone());
        let into = (row.now != row.key).then(|| row.now.clone());
        let why = Why::Belongs(belongs.unwrap_or_default());
        Some(Step { title, into, seen: Some(seen.digest()), ..Step::new(table, row.key.clone(), why, act) })
    }
}

impl Work<'_> {
    /// A store that empties references has emptied this one, and somebody gave it since to the record that has the old key of
    /// what comes back: or nothing emptied it.
    fn doubt_below(&mut self, table: usize, row: &Outlived<'_>, seen: &Seen) {
        let (graph, fit) = (self.ground.graph, &self.ground.fits[table]);
        for (at, ties) in &row.links {
            let link = &graph.links[*at];
            let (Some(was), true) = (graph.target(link, ties), link.is_declared) else { continue };
            let Some(now) = self.target_now(ties, link) else { continue };
            let to: Option<Vec<usize>> = link.columns.iter().map(|at| fit.to[*at]).collect();
            let holds = |values: &Row, to: &[usize]| {
                to.iter().zip(values).all(|(at, value)| seen.columns[*at] == glimpse(value))
            };
            if to.is_some_and(|to| holds(&was, &to) && !holds(&now, &to)) {
                let (kept, parent) = (&graph.tables[table], &graph.tables[link.parent].name);
                let (name, by) = (&kept.name, kept.names(&link.columns).join(", "));
                let to = format!("{parent} {}, which is another record now", shown(&was));
                self.doubts.push(format!("{name} {} refers by {by} to {to}", shown(&row.key)));
            }
        }
    }

    /// A row that would refer again, if it were certain that it is the one.
    fn doubt_relink(&mut self, table: usize, live: &Table, row: &Outlived<'_>, seen: &Seen) {
        let Some(Step { act: Act::Relink { columns }, .. }) = self.relink(table, live, row, seen) else { return };
        let (name, columns) = (&self.ground.graph.tables[table].name, columns.join(", "));
        let what = format!("{name} {} may be another record now: its {columns} stays as it is", shown(&row.key));
        self.doubts.push(what);
    }
}

/// Does a live row hold what it would if the store had let go of what it referred to?
fn is_let_go(link: &Link, live: &Table, to: &[usize], seen: &Seen) -> bool {
    let empty = |at: &usize| seen.columns[*at] == Glimpse::Value(Value::Null);
    if link.on_delete != OnDelete::SetDefault {
        return to.iter().any(empty);
    }
    to.iter().all(|at| {
        let default = live.columns[*at].default.as_deref().unwrap_or("NULL");
        let held = match &seen.columns[*at] {
            Glimpse::Value(Value::Text(bytes)) => format!("'{}'", String::from_utf8_lossy(bytes)),
            Glimpse::Value(value) => value.to_string(),
            Glimpse::Long { .. } => return false,
        };
        held.eq_ignore_ascii_case(default)
    })
}
