//! A page of a b-tree, as far as a comparison looks into it: its children, the numbers of its rows, and where the rest of
//! a row is that did not fit.
//!
//! Never trusts a page: what does not fit is `None`, and whoever asked compares everything instead.

/// What a page of a b-tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    IndexInterior,
    TableInterior,
    IndexLeaf,
    TableLeaf,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            2 => Some(Self::IndexInterior),
            5 => Some(Self::TableInterior),
            10 => Some(Self::IndexLeaf),
            13 => Some(Self::TableLeaf),
            _ => None,
        }
    }

    pub fn is_leaf(self) -> bool {
        matches!(self, Self::IndexLeaf | Self::TableLeaf)
    }

    pub fn is_table(self) -> bool {
        matches!(self, Self::TableInterior | Self::TableLeaf)
    }
}

/// Pages that hold the rest of a row: the first of them, and how many there are.
pub(super) type Chain = (u32, u64);

/// A page of a b-tree, without the space reserved at its end.
pub(super) struct Node<'p> {
    page: &'p [u8],
    head: usize,
    pub kind: Kind,
    pub cells: usize,
}

/// The first page begins with the database's header.
fn head(number: u32) -> usize {
    if number == 1 { super::apply::HEADER_LENGTH } else { 0 }
}

/// Does the page begin as one of a b-tree does? A page with the rest of a row does not, in a database of fewer pages than
/// [`MOST_PAGES`]: it begins with the number of the next one.
pub(super) fn is_node(number: u32, page: &[u8]) -> bool {
    page.get(head(number)).is_some_and(|&byte| Kind::of(byte).is_some())
}

/// Below this, the first byte of a page's number is 0 or 1.
pub(super) const MOST_PAGES: u32 = 0x0200_0000;

impl<'p> Node<'p> {
    pub fn of(number: u32, page: &'p [u8]) -> Option<Self> {
        let head = head(number);
        let kind = Kind::of(*page.get(head)?)?;
        let node = Self { page, head, kind, cells: short(page, head + 3)? };
        (node.content() <= page.len()).then_some(node)
    }

    /// Where the places of the cells begin.
    fn places(&self) -> usize {
        self.head + if self.kind.is_leaf() { 8 } else { 12 }
    }

    /// No cell lies before this.
    fn content(&self) -> usize {
        self.places() + 2 * self.cells
    }

    fn cell(&self, at: usize) -> Option<&'p [u8]> {
        let place =
            short(self.page, self.places() + 2 * at).filter(|&place| at < self.cells && place >= self.content())?;
        self.page.get(place..)
    }

    /// The number of a row, in a table's page: of the row itself in a leaf, of the last one below the child otherwise.
    pub fn row(&self, at: usize) -> Option<i64> {
        let cell = self.cell(at)?;
        let before = match self.kind {
            Kind::TableInterior => 4,
            Kind::TableLeaf => varint(cell)?.1,
            _ => return None,
        };
        varint(cell.get(before..)?).map(|(number, _)| number as i64)
    }

    /// A child of an interior page; there is one more than there are cells.
    pub fn child(&self, at: usize) -> Option<u32> {
        match self.kind.is_leaf() {
            true => None,
            false if at == self.cells => number(self.page, self.head + 8),
            false => number(self.cell(at)?, 0),
        }
    }

    /// Where the rest of a cell is, if not all of it is here.
    pub fn rest(&self, at: usize) -> Option<Option<Chain>> {
        let cell = self.cell(at)?;
        let before = match self.kind {
            Kind::TableInterior => return Some(None),
            Kind::IndexInterior => 4,
            _ => 0,
        };
        let (length, mut head) = varint(cell.get(before..)?)?;
        head += before;
        if self.kind == Kind::TableLeaf {
            head += varint(cell.get(head..)?)?.1;
        }
        let usable = self.page.len() as u64;
        let least = (usable - 12) * 32 / 255 - 23;
        let most = if self.kind == Kind::TableLeaf { usable - 35 } else { (usable - 12) * 64 / 255 - 23 };
        if length <= most {
            return Some(None);
        }
        let fitting = least + (length - least) % (usable - 4);
        let here = if fitting <= most { fitting } else { least };
        let first = number(cell, head + usize::try_from(here).ok()?)?;
        Some(Some((first, (length - here).div_ceil(usable - 4))))
    }
}

fn short(page: &[u8], at: usize) -> Option<usize> {
    page.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]).into())
}

pub(super) fn number(page: &[u8], at: usize) -> Option<u32> {
    page.get(at..at.checked_add(4)?).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// A number of one to nine bytes, and how many they are.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for at in 0..8 {
        let byte = *bytes.get(at)?;
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((value, at + 1));
        }
    }
    Some((value << 8 | u64::from(*bytes.get(8)?), 9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_read_and_cut_ones_are_none() {
        assert_eq!(varint(&[0x7f]), Some((127, 1)));
        assert_eq!(varint(&[0x81, 0x00]), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9]), Some((u64::MAX, 9)));
        for length in 0..9 {
            assert_eq!(varint(&vec![0xff; length]), None);
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        proptest::proptest!(|(mut page in proptest::collection::vec(proptest::num::u8::ANY, 512..600), kind in 0..4_usize,
                              cells in 0..40_u8, first: bool)| {
            let number = if first { 1 } else { 2 };
            page[head(number)] = [2, 5, 10, 13][kind];
            page[head(number) + 3] = 0;
            page[head(number) + 4] = cells;
            if let Some(node) = Node::of(number, &page) {
                for at in 0..=node.cells {
                    let _ = (node.row(at), node.child(at), node.rest(at));
                }
            }
        });
    }
}
