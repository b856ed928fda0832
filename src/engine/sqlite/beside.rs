//! Two databases of which most pages are one and the same: which rows of a table can differ at all.
//!
//! What both have in the same place of the vault at the same place of the file holds the same bytes. From the pages that
//! do not, this finds the ranges of row numbers outside of which a table's rows are equal:
//!
//! - Each page that differs is looked into once, on both sides. A page of a table names a row that lies in it.
//! - The tables' trees are then gone down on both sides at once, from the root. Where a shared page covers none of those
//!   rows, nothing below it differs, and nothing of it is read. Where children have other numbers or other bounds, their
//!   rows may differ.
//! - A page may be shared and a row in it continue on one that is not. So every page that differs and is no page of a tree
//!   must be free, or continue a row of a page that differs itself.
//!
//! This holds for sound databases, as a capture's check finds them; the caller asks for no others. Whatever else does not
//! fit is a doubt, and a doubt is `None`: then all rows are compared. Memory is a few bits for each page of the databases
//! and some bytes for each one that differs.

mod walk;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use crate::base::random::RandomRead;
use crate::engine::sqlite::apply::{AutoVacuum, HEADER_LENGTH, Header, lock_page};
use crate::engine::sqlite::tree::{self, Chain, Kind, Node};

/// Trees are never deeper.
const DEEPEST: usize = 20;
/// Where more than one page in so many differs, there is nothing to gain. Tests look into what has no page in common.
const ONE_IN: u64 = if cfg!(test) { 1 } else { 3 };
/// More pages that differ are not looked into.
const MOST: u64 = 1 << 20;
/// More runs of bytes that differ are not worth having.
pub const MOST_RUNS: usize = 1 << 18;

/// Two contents, and where they do not lie in the same place.
pub struct Beside {
    pub before: Arc<dyn RandomRead>,
    pub after: Arc<dyn RandomRead>,
    /// Runs of bytes in which they may differ, in order; the end of the longer one is always meant.
    pub unlike: Vec<Range<u64>>,
}

/// Rows from one number to another, both included.
pub(super) type Rows = (i64, i64);

/// What is known of both.
pub(super) struct Survey {
    before: Side,
    after: Side,
    unlike: Bits,
    /// Of each page of a table that differs, the number of a row in it; in order.
    rows: Vec<i64>,
    /// Pages that differ and are leaves of a table, on either side.
    leaves: Bits,
    /// Does any page of an index differ, or of a table without row numbers?
    indexes: bool,
}

/// One of the databases.
struct Side {
    content: Arc<dyn RandomRead>,
    page_size: usize,
    /// Of each page, what holds something.
    usable: usize,
    pages: u32,
    free: Bits,
    moves: bool,
    locks: u32,
}

/// One bit for each page.
struct Bits(Vec<u64>);

impl Bits {
    fn of(pages: u32) -> Self {
        Self(vec![0; pages as usize / 64 + 1])
    }

    fn has(&self, page: u32) -> bool {
        self.0.get(page as usize / 64).is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    /// Adds a page; says whether it is new.
    fn add(&mut self, page: u32) -> bool {
        let there = self.has(page);
        self.0[page as usize / 64] |= 1 << (page % 64);
        !there
    }

    fn pages(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.0.len() as u32 * 64).filter(|&page| self.has(page))
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

impl Beside {
    /// Looks at what differs. `roots` are those of all trees, of each side.
    pub(super) fn survey(&self, roots: [&HashSet<u32>; 2]) -> Option<Survey> {
        let (before, after) = (Side::of(&self.before)?, Side::of(&self.after)?);
        if !before.is_made_like(&after)? {
            return None;
        }
        let most = before.pages.max(after.pages);
        let mut unlike = Bits::of(most);
        let (one, other) = (self.before.length(), self.after.length());
        let end = one.min(other)..one.max(other);
        let page = |at: u64| (at / before.page_size as u64 + 1).min(most.into()) as u32;
        for run in self.unlike.iter().chain([&end]).filter(|run| !run.is_empty()) {
            (page(run.start)..=page(run.end - 1)).for_each(|page| _ = unlike.add(page));
        }
        let count = unlike.count();
        if count > MOST || count * ONE_IN > u64::from(most) {
            return None;
        }
        let leaves = Bits::of(most);
        let mut survey = Survey { before, after, unlike, rows: Vec::new(), leaves, indexes: false };
        let found = [survey.look(&survey.before, roots[0])?, survey.look(&survey.after, roots[1])?];
        for side in found {
            survey.indexes |= side.indexes;
            side.leaves.iter().for_each(|&leaf| _ = survey.leaves.add(leaf));
            survey.rows.extend(side.rows);
        }
        survey.rows.sort_unstable();
        survey.rows.dedup();
        Some(survey)
    }
}

impl Side {
    fn of(content: &Arc<dyn RandomRead>) -> Option<Self> {
        let mut first = [0; HEADER_LENGTH];
        if content.length() < HEADER_LENGTH as u64 {
            return None;
        }
        content.read_at(0, &mut first).ok()?;
        let header = Header::of(&first)?;
        let (page_size, pages) = (header.page_size(), header.pages()?);
        let whole = u64::from(page_size) * u64::from(pages) == content.length() && pages < tree::MOST_PAGES;
        let usable = (page_size as usize).checked_sub(header.reserved().into()).filter(|&usable| usable >= 480)?;
        let mut side = Self {
            content: content.clone(),
            page_size: page_size as usize,
            usable,
            pages,
            free: Bits::of(pages),
            moves: header.auto_vacuum() != AutoVacuum::No,
            locks: lock_page(page_size),
        };
        if !whole {
            return None;
        }
        side.find_free(header.first_free())?;
        Some(side)
    }

    /// Do the bytes of a page mean the same in both?
    fn is_made_like(&self, other: &Self) -> Option<bool> {
        let facts = |side: &Self| {
            let mut first = [0; HEADER_LENGTH];
            side.content.read_at(0, &mut first).ok()?;
            let header = Header::of(&first)?;
            Some((header.page_size(), header.reserved(), header.encoding(), header.format(), header.auto_vacuum()))
        };
        Some(facts(self)? == facts(other)?)
    }

    fn read<'b>(&self, page: u32, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        if page == 0 || page > self.pages || page == self.locks {
            return None;
        }
        buffer.resize(self.page_size, 0);
        self.content.read_at(u64::from(page - 1) * self.page_size as u64, buffer).ok()?;
        Some(&buffer[..self.usable])
    }

    /// Walks the list of free pages.
    fn find_free(&mut self, first: u32) -> Option<()> {
        let (mut trunk, mut buffer) = (first, Vec::new());
        while trunk != 0 {
            let page = self.read(trunk, &mut buffer)?;
            let (next, count) = (tree::number(page, 0)?, tree::number(page, 4)? as usize);
            let leaves = page[8..].chunks_exact(4).take(count);
            if leaves.len() < count {
                return None;
            }
            let leaves: Vec<u32> = leaves.filter_map(|leaf| tree::number(leaf, 0)).collect();
            let fits = |page: u32| (2..=self.pages).contains(&page);
            if !fits(trunk) || !leaves.iter().all(|&leaf| fits(leaf)) {
                return None;
            }
            // A page that is named twice is part of a ring, or of no sound database.
            if !self.free.add(trunk) || !leaves.iter().all(|&leaf| self.free.add(leaf)) {
                return None;
            }
            trunk = next;
        }
        Some(())
    }

    /// Does the page say of others what they are for, as databases have it whose pages are moved about?
    fn is_map(&self, page: u32) -> bool {
        let each = self.usable as u32 / 5 + 1;
        let map = page.checked_sub(2).map(|page| page / each * each + 2);
        self.moves && map.is_some_and(|map| page == if map == self.locks { map + 1 } else { map })
    }
}

/// What the pages that differ hold, on one side.
#[derive(Default)]
struct Found {
    rows: Vec<i64>,
    leaves: Vec<u32>,
    indexes: bool,
    /// Pages of no tree.
    loose: HashSet<u32>,
}

impl Survey {
    /// The pages that differ and hold something.
    fn differing<'s>(&'s self, side: &'s Side) -> impl Iterator<Item = u32> + 's {
        let meant = |&page: &u32| page > 0 && page <= side.pages && page != side.locks;
        self.unlike.pages().filter(meant).filter(|&page| !side.free.has(page) && !side.is_map(page))
    }

    fn look(&self, side: &Side, roots: &HashSet<u32>) -> Option<Found> {
        let (mut found, mut buffer) = (Found::default(), Vec::new());
        for number in self.differing(side) {
            let page = side.read(number, &mut buffer)?;
            if !tree::is_node(number, page) {
                found.loose.insert(number);
                continue;
            }
            let node = Node::of(number, page)?;
            if node.kind == Kind::TableLeaf {
                found.leaves.push(number);
            }
            match node.kind.is_table() {
                false => found.indexes = true,
                true if node.cells > 0 => found.rows.push(node.row(0)?),
                // Roots are looked at anyway.
                true if roots.contains(&number) => {}
                true => return None,
            }
        }
        if !found.loose.is_empty() {
            self.tie(side, &mut found.loose)?;
        }
        found.loose.is_empty().then_some(found)
    }

    /// Finds what the loose pages continue, among the pages that differ.
    fn tie(&self, side: &Side, loose: &mut HashSet<u32>) -> Option<()> {
        let (mut buffer, mut other) = (Vec::new(), Vec::new());
        for number in self.differing(side) {
            if loose.contains(&number) {
                continue;
            }
            let page = side.read(number, &mut buffer)?;
            // It may have been loose, and is tied by now.
            let Some(node) = tree::is_node(number, page).then(|| Node::of(number, page)).flatten() else { continue };
            for at in 0..node.cells {
                if loose.is_empty() {
                    return Some(());
                }
                let rest: Option<Chain> = node.rest(at)?;
                if let Some((mut next, count)) = rest {
                    if count > side.pages.into() {
                        return None;
                    }
                    for _ in 0..count {
                        loose.remove(&next);
                        next = tree::number(side.read(next, &mut other)?, 0)?;
                    }
                }
            }
        }
        Some(())
    }

    /// The rows that may differ, of the table that has its root there on both sides: in order, apart from each other.
    pub fn rows(&self, root: u32) -> Option<Vec<Rows>> {
        walk::rows(self, root)
    }

    /// Are all pages of the index with this root, or of the table without row numbers, the same?
    pub fn is_same_index(&self, root: u32) -> Option<bool> {
        if self.unlike.has(root) || !self.indexes {
            return Some(!self.unlike.has(root));
        }
        let (mut page, mut levels, mut buffer) = (root, 0, Vec::new());
        loop {
            let node = Node::of(page, self.after.read(page, &mut buffer)?)?;
            match node.kind {
                Kind::IndexLeaf => break,
                Kind::IndexInterior if levels < DEEPEST => (page, levels) = (node.child(0)?, levels + 1),
                _ => return None,
            }
        }
        self.is_shared_below(root, levels, &mut (u64::from(self.after.pages) + 8))
    }

    /// Leaves need not be read.
    fn is_shared_below(&self, page: u32, levels: usize, left: &mut u64) -> Option<bool> {
        *left = left.checked_sub(1)?;
        if self.unlike.has(page) {
            return Some(false);
        }
        if levels == 0 {
            return Some(true);
        }
        let mut buffer = Vec::new();
        let node =
            Node::of(page, self.after.read(page, &mut buffer)?).filter(|node| node.kind == Kind::IndexInterior)?;
        for at in 0..=node.cells {
            if !self.is_shared_below(node.child(at)?, levels - 1, left)? {
                return Some(false);
            }
        }
        Some(true)
    }
}

#[cfg(test)]
mod tests;
