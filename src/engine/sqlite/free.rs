//! Which pages of a database are free: what they hold was deleted.
//!
//! The list of free pages is a chain of trunk pages, each with the numbers of leaf pages that hold nothing. Trunks are
//! needed as far as their lists go; leaves are not needed at all.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::engine::sqlite::pages::Shape;

/// From which byte on each free page is blank.
#[derive(Default)]
pub struct Blanks {
    /// One bit a page.
    leaves: Vec<u64>,
    trunks: BTreeMap<u64, usize>,
}

impl Blanks {
    /// Where the blank part of a page begins: at its end for a page in use.
    pub fn of(&self, page: u64, page_size: usize) -> usize {
        let word = self.leaves.get((page / 64) as usize).copied().unwrap_or(0);
        if word >> (page % 64) & 1 == 1 {
            return 0;
        }
        self.trunks.get(&page).copied().unwrap_or(page_size)
    }

    fn add_leaf(&mut self, page: u64) {
        self.leaves[(page / 64) as usize] |= 1 << (page % 64);
    }
}

/// Walks the list of free pages of one database.
pub struct FreePages<'c> {
    connection: &'c Connection,
    shape: Shape,
}

impl<'c> FreePages<'c> {
    pub fn new(connection: &'c Connection, shape: Shape) -> Self {
        Self { connection, shape }
    }

    /// A list that makes no sense ends where it ceases to: pages are rather kept than lost.
    pub fn list(&self) -> rusqlite::Result<Blanks> {
        let mut blanks = Blanks { leaves: vec![0; (self.shape.pages / 64 + 1) as usize], trunks: BTreeMap::new() };
        let mut trunk = number(&self.page(1)?, 32);
        while (2..=self.shape.pages).contains(&trunk) && !blanks.trunks.contains_key(&trunk) {
            let page = self.page(trunk)?;
            let count = number(&page, 4) as usize;
            let end = 8 + 4 * count;
            if end > page.len() {
                break;
            }
            for at in (8..end).step_by(4) {
                let leaf = number(&page, at);
                if (2..=self.shape.pages).contains(&leaf) {
                    blanks.add_leaf(leaf);
                }
            }
            blanks.trunks.insert(trunk, end);
            trunk = number(&page, 0);
        }
        Ok(blanks)
    }

    fn page(&self, page: u64) -> rusqlite::Result<Vec<u8>> {
        let sql = "SELECT data FROM sqlite_dbpage WHERE pgno = ?";
        self.connection.query_row(sql, [page as i64], |row| row.get(0))
    }
}

fn number(page: &[u8], at: usize) -> u64 {
    page.get(at..at + 4).map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().expect("BUG: four bytes")).into())
}
