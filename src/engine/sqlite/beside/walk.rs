//! The way down the trees of one table on both sides, to the rows that may differ.

use crate::engine::sqlite::beside::{DEEPEST, Rows, Survey};
use crate::engine::sqlite::tree::Node;

/// The rows that may differ, of the table that has its root there on both sides.
pub(super) fn rows(survey: &Survey, root: u32) -> Option<Vec<Rows>> {
    let mut walk = Walk { survey, ranges: Vec::new(), left: u64::from(survey.after.pages) + 8 };
    walk.down(root, Bounds { low: i64::MIN.into(), high: i64::MAX.into() }, 0)?;
    Some(joined(walk.ranges))
}

/// Row numbers from one to another, both included. Beyond the last number there may be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    low: i128,
    high: i128,
}

/// A page below another, and the rows it can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Child {
    page: u32,
    bounds: Bounds,
}

struct Walk<'s> {
    survey: &'s Survey,
    ranges: Vec<Bounds>,
    /// Pages that may still be looked at: there are no more.
    left: u64,
}

impl Walk<'_> {
    /// Goes down from a page that has the same number, and holds rows within the same bounds, on both sides.
    fn down(&mut self, page: u32, bounds: Bounds, depth: usize) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        let shared = !self.survey.unlike.has(page);
        if depth > DEEPEST {
            return None;
        }
        if shared && !self.is_touched(bounds) {
            return Some(());
        }
        if self.survey.leaves.has(page) {
            self.ranges.push(bounds);
            return Some(());
        }
        let (mut one, mut other) = (Vec::new(), Vec::new());
        let after = Node::of(page, self.survey.after.read(page, &mut one)?).filter(|node| node.kind.is_table())?;
        if shared {
            return match after.kind.is_leaf() {
                true => Some(()),
                false => children(&after, bounds)?.into_iter().try_for_each(|c| self.down(c.page, c.bounds, depth + 1)),
            };
        }
        let before = Node::of(page, self.survey.before.read(page, &mut other)?).filter(|node| node.kind.is_table())?;
        if before.kind.is_leaf() || after.kind.is_leaf() {
            self.ranges.push(bounds);
            return Some(());
        }
        let (before, after) = (children(&before, bounds)?, children(&after, bounds)?);
        self.both(&before, &after, depth)
    }

    fn is_touched(&self, bounds: Bounds) -> bool {
        let rows = &self.survey.rows;
        let next = rows.partition_point(|&row| i128::from(row) < bounds.low);
        rows.get(next).is_some_and(|&row| i128::from(row) <= bounds.high)
    }

    /// Goes on with the children that both have; the rows of others may differ.
    fn both(&mut self, mut before: &[Child], mut after: &[Child], depth: usize) -> Option<()> {
        loop {
            let (one, other) = match (before.first(), after.first()) {
                (Some(one), Some(other)) if one == other => {
                    self.down(one.page, one.bounds, depth + 1)?;
                    (before, after) = (&before[1..], &after[1..]);
                    continue;
                }
                (None, None) => return Some(()),
                pair => pair,
            };
            let first = |child: Option<&Child>| child.map_or(i128::MAX, |child| child.bounds.high);
            if first(one) <= first(other) {
                self.ranges.extend(one.map(|child| child.bounds));
                before = &before[1..];
            } else {
                self.ranges.extend(other.map(|child| child.bounds));
                after = &after[1..];
            }
        }
    }
}

fn children(node: &Node<'_>, bounds: Bounds) -> Option<Vec<Child>> {
    let mut low = bounds.low;
    let child = |at: usize| {
        let high = if at == node.cells { bounds.high } else { node.row(at)?.into() };
        let in_order = (high >= low || at == node.cells) && high <= bounds.high;
        let child = Child { page: node.child(at)?, bounds: Bounds { low, high } };
        low = high + 1;
        in_order.then_some(child)
    };
    (0..=node.cells).map(child).collect()
}

/// Ranges in order, those joined that touch each other.
fn joined(mut ranges: Vec<Bounds>) -> Vec<Rows> {
    ranges.retain(|range| range.low <= range.high);
    ranges.sort_unstable_by_key(|range| range.low);
    let mut joined: Vec<Bounds> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.low <= last.high + 1 => last.high = last.high.max(range.high),
            _ => joined.push(range),
        }
    }
    joined.into_iter().map(|range| (range.low as i64, range.high as i64)).collect()
}
