//! The first hundred bytes of a database: what they say, and which of them are not content.
//!
//! Knows SQLite's file format as far as a restore has to; never touches a file.

/// How every database begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// How long the header is.
pub const LENGTH: usize = 100;
/// Where SQLite keeps its locks: the page that holds this byte is never part of a database.
const LOCK_BYTE: u64 = 1 << 30;

/// The places of the header's numbers.
const VERSIONS: usize = 18;
const RESERVED: usize = 20;
const COUNTER: usize = 24;
const PAGES: usize = 28;
const FIRST_FREE: usize = 32;
const FREE: usize = 36;
const COOKIE: usize = 40;
const FORMAT: usize = 44;
const LARGEST_ROOT: usize = 52;
const ENCODING: usize = 56;
const INCREMENTAL: usize = 64;
const VALID_FOR: usize = 92;

/// How long the pages of a database are that begins so.
pub fn page_size(first: &[u8]) -> Option<u32> {
    Header::of(first).map(Header::page_size)
}

/// Does a file that begins like this hold a database?
pub fn is_database(first: &[u8]) -> bool {
    Header::of(first).is_some()
}

/// A header, wherever its page is kept.
#[derive(Clone, Copy)]
pub(in crate::engine::sqlite) struct Header<'b>(&'b [u8]);

/// How a database moves its free pages to the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::sqlite) enum AutoVacuum {
    No,
    Full,
    Incremental,
}

impl<'b> Header<'b> {
    /// `None` when this is no database's first page.
    pub fn of(bytes: &'b [u8]) -> Option<Self> {
        let header = Self(bytes.get(..LENGTH)?);
        let valid = bytes.starts_with(MAGIC) && (512..=65536).contains(&header.page_size());
        (valid && header.page_size().is_power_of_two()).then_some(header)
    }

    pub fn page_size(self) -> u32 {
        match u16::from_be_bytes([self.0[16], self.0[17]]) {
            1 => 65536,
            size => size.into(),
        }
    }

    fn number(self, at: usize) -> u32 {
        u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    pub fn is_wal(self) -> bool {
        self.0[VERSIONS + 1] == 2
    }

    pub fn reserved(self) -> u8 {
        self.0[RESERVED]
    }

    /// How many pages there are; `None` where only the file's length says it.
    pub fn pages(self) -> Option<u32> {
        let pages = self.number(PAGES);
        (pages > 0 && self.number(COUNTER) == self.number(VALID_FOR)).then_some(pages)
    }

    pub fn free_pages(self) -> u32 {
        self.number(FREE)
    }

    /// The first page of the list of free ones; 0 for none.
    pub fn first_free(self) -> u32 {
        self.number(FIRST_FREE)
    }

    /// How records are written.
    pub fn format(self) -> u32 {
        self.number(FORMAT)
    }

    pub fn cookie(self) -> u32 {
        self.number(COOKIE)
    }

    /// 0 in a database that never had a table.
    pub fn encoding(self) -> u32 {
        self.number(ENCODING)
    }

    pub fn auto_vacuum(self) -> AutoVacuum {
        match (self.number(LARGEST_ROOT), self.number(INCREMENTAL)) {
            (0, _) => AutoVacuum::No,
            (_, 0) => AutoVacuum::Full,
            _ => AutoVacuum::Incremental,
        }
    }
}

/// The page that holds SQLite's locks, if the database reaches that far.
pub(in crate::engine::sqlite) fn lock_page(page_size: u32) -> u32 {
    (LOCK_BYTE / u64::from(page_size)) as u32 + 1
}

/// Are two first pages the same but for what SQLite counts and how the database is journalled?
pub(super) fn same_content(one: &[u8], other: &[u8]) -> bool {
    let counted = [VERSIONS..RESERVED, COUNTER..PAGES + 4, COOKIE..COOKIE + 4, VALID_FOR..LENGTH];
    let mut at = 0;
    for range in counted {
        if one[at..range.start] != other[at..range.start] {
            return false;
        }
        at = range.end;
    }
    one[at..] == other[at..]
}

/// The snapshot's first page as it goes into a live database of `pages` pages: journalled as that is, and with the
/// counters of that, which SQLite itself then moves on.
pub(super) fn blend(wanted: &[u8], live: &[u8], pages: u32, cookie: u32) -> Vec<u8> {
    let mut page = wanted.to_vec();
    for range in [VERSIONS..RESERVED, COUNTER..COUNTER + 4, VALID_FOR + 4..LENGTH] {
        page[range.clone()].copy_from_slice(&live[range]);
    }
    page.copy_within(COUNTER..COUNTER + 4, VALID_FOR);
    page[PAGES..PAGES + 4].copy_from_slice(&pages.to_be_bytes());
    page[COOKIE..COOKIE + 4].copy_from_slice(&cookie.to_be_bytes());
    page
}

/// The first page for a file of its own that is journalled by a rollback journal.
pub(super) fn unlogged(first: &mut [u8]) {
    first[VERSIONS..RESERVED].copy_from_slice(&[1, 1]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Vec<u8> {
        let mut page = vec![7; 512];
        page[..16].copy_from_slice(MAGIC);
        page[16..18].copy_from_slice(&512u16.to_be_bytes());
        page
    }

    #[test]
    fn only_a_page_of_a_possible_size_after_the_magic_is_a_header() {
        assert_eq!(Header::of(&page()).unwrap().page_size(), 512);
        assert!(Header::of(&page()[..99]).is_none() && Header::of(&[0; 512]).is_none());
        for (bytes, size) in [([0, 1], Some(65536)), ([0x80, 0], Some(32768)), ([2, 1], None), ([1, 0], None)] {
            let mut page = page();
            page[16..18].copy_from_slice(&bytes);
            assert_eq!(Header::of(&page).map(Header::page_size), size);
        }
    }

    #[test]
    fn counters_are_not_content_and_everything_else_is() {
        let one = page();
        for at in 0..one.len() {
            let mut other = one.clone();
            other[at] ^= 1;
            let counted = [18..20, 24..32, 40..44, 92..100].iter().any(|range| range.contains(&at));
            assert_eq!(same_content(&one, &other), counted, "byte {at}");
        }
    }

    #[test]
    fn a_blended_page_has_the_live_counters_and_the_wanted_content() {
        let (mut wanted, mut live) = (page(), page());
        wanted[18..100].fill(1);
        wanted[100..].fill(2);
        live[18..].fill(9);
        let blended = blend(&wanted, &live, 5, 6);
        assert_eq!((&blended[18..20], &blended[24..28], &blended[92..100]), (&[9; 2][..], &[9; 4][..], &[9; 8][..]));
        let header = Header::of(&blended).unwrap();
        assert_eq!((header.pages(), header.cookie(), header.reserved()), (Some(5), 6, 1));
        assert_eq!(blended[100..], wanted[100..]);
    }
}
