//! Lists of extents, checked as they are read: what no writer writes ends them with an error.
//!
//! Lists may be kept as content themselves, so a few kilobytes can stand for more extents than anybody has time for.
//! Whoever reads one through here reads no more than the entry's size, or the order of the listing, allows.

use crate::base::entry::{Content, Entry, Extent};
use crate::base::path;
use crate::format::error::FormatError;
use crate::format::listing;
use crate::vault::error::VaultError;
use crate::vault::read::{Library, Lines};

pub type Extents<'r> = Box<dyn Iterator<Item = Result<Extent, VaultError>> + Send + 'r>;

/// After so many lists that cannot be read, the rest is given up.
const FAILURES: usize = 10_000;

/// The extents of an entry's content. They come to its size, or the last item is an error.
pub fn of_file<'r>(entry: &Entry, library: &'r Library<'r>) -> Extents<'r> {
    let rule = Rule::Length { left: entry.size };
    Box::new(Checked { extents: raw(&entry.content, library), rule, failures: 0, ended: false })
}

/// The extents of a listing. The first paths they name ascend.
pub fn of_listing<'r>(listing: &Content, library: &'r Library<'r>) -> Extents<'r> {
    Box::new(Checked {
        extents: raw(listing, library),
        rule: Rule::Ascending { last: None, unnamed: 0 },
        failures: 0,
        ended: false,
    })
}

/// The extents of content, however deep its list is kept, and whatever they say.
pub(super) fn raw<'r>(content: &Content, library: &'r Library<'r>) -> Extents<'r> {
    let depth = content.depth;
    if depth == 0 {
        return Box::new(content.extents.clone().into_iter().map(Ok));
    }
    let list = Content { depth: depth - 1, extents: content.extents.clone() };
    Box::new(Lines::new(&list, library).map(|line| {
        let line = line?;
        listing::read_extent(&line).map_err(|source| VaultError::Listing { source })
    }))
}

/// Extents whose first path is too long to be noted. A listing with more of them is taken for one without end.
const MOST_UNNAMED: usize = 20_000;

enum Rule {
    Length { left: u64 },
    Ascending { last: Option<Vec<u8>>, unnamed: usize },
}

impl Rule {
    fn admits(&mut self, extent: &Extent) -> bool {
        match self {
            Self::Length { left } if extent.length == 0 || extent.length > *left => false,
            Self::Length { left } => {
                *left -= extent.length;
                true
            }
            Self::Ascending { last, unnamed } => {
                let first = extent.first.as_deref().and_then(path::decode);
                if first.is_none() && extent.first.is_some() {
                    return false;
                }
                let first = first.map(|first| if first == b"." { Vec::new() } else { first });
                let ascends = match (&first, &last) {
                    (Some(first), Some(last)) => path::compare(last, first).is_lt(),
                    (Some(_), None) => true,
                    (None, _) => {
                        *unnamed += 1;
                        *unnamed <= MOST_UNNAMED
                    }
                };
                *last = first.or(last.take());
                ascends && extent.chunk.is_some() && extent.length > 0
            }
        }
    }
}

struct Checked<'r> {
    extents: Extents<'r>,
    rule: Rule,
    failures: usize,
    ended: bool,
}

impl Checked<'_> {
    fn end(&mut self, why: &str) -> Option<Result<Extent, VaultError>> {
        self.ended = true;
        Some(Err(VaultError::Listing { source: FormatError::malformed("a list of extents", why) }))
    }
}

impl Iterator for Checked<'_> {
    type Item = Result<Extent, VaultError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.extents.next() {
            Some(Ok(extent)) if self.rule.admits(&extent) => Some(Ok(extent)),
            Some(Ok(_)) if matches!(self.rule, Rule::Length { .. }) => self.end("it is not as long as its file"),
            Some(Ok(_)) => self.end("it is not in order"),
            Some(Err(error)) => {
                self.failures += 1;
                self.ended = self.failures >= FAILURES || matches!(error, VaultError::Listing { .. });
                Some(Err(error))
            }
            // What could not be read explains what is missing.
            None if self.failures == 0 && matches!(self.rule, Rule::Length { left: 1.. }) => {
                self.end("it is not as long as its file")
            }
            None => None,
        }
    }
}
