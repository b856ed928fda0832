//! Is a page of a live database what a snapshot holds at its place? Told by the digests of this host's last capture,
//! without reading the vault.
//!
//! Owns going along a snapshot's list of extents and the remembered pages side by side. A page of the snapshot that lies
//! where the page remembered for that place lies has that one's digest. Of any other page nothing is known.

use crate::base::entry::{Content, Entry, Extent};
use crate::base::id::PlainDigest;
use crate::base::name::Name;
use crate::format::page::{PageDigest, PageKey};
use crate::vault::Vault;
use crate::vault::error::VaultError;
use crate::vault::extents::{self, Extents};
use crate::vault::page_memory::{PageMemory, PageRun};
use crate::vault::read::Library;
use crate::vault::recall::Place;

/// What is known of a page.
pub enum Known {
    Zeros,
    Page(PageDigest),
}

/// Tells of the pages of a snapshot, from the first on.
pub struct PageMatch<'l> {
    key: PageKey,
    page_size: u64,
    /// None at the end of the database's pages: others follow.
    memory: Option<PageMemory>,
    run: Option<PageRun>,
    /// Pages of the run that are behind.
    passed: usize,
    spans: Spans<'l>,
}

/// Where a page lies; nowhere if it is zeros.
type Spot = Option<(PlainDigest, u64)>;

impl Vault {
    /// Matches pages with those of `entry`, which is a source's database. `memories` are the names that captures of the
    /// source may be remembered under. `None` where this host remembers nothing of it.
    pub fn page_match<'l>(
        &self,
        (app, source): (&Name, &Name),
        memories: &[String],
        entry: &Entry,
        library: &'l Library<'l>,
    ) -> Result<Option<PageMatch<'l>>, VaultError> {
        for memory in memories {
            let place = Place::new(self.host.folder("recall"), app, source, memory);
            // What it vouches for need not be in the vault any more: only which bytes have which digest is of interest.
            let Some(mut memory) = place.pages() else { continue };
            if let Some(page_size) = memory.page_size(&entry.path) {
                return Ok(Some(PageMatch {
                    key: PageKey::new(&self.keys.chunking),
                    page_size: page_size.into(),
                    memory: Some(memory),
                    run: None,
                    passed: 0,
                    spans: Spans::of(entry, library),
                }));
            }
        }
        Ok(None)
    }
}

impl PageMatch<'_> {
    pub fn page_size(&self) -> u32 {
        self.page_size as u32
    }

    /// What pages are known again by.
    pub fn key(&self) -> PageKey {
        self.key.clone()
    }

    /// The digest of the snapshot's next page, if it is known.
    pub fn next_page(&mut self) -> Option<Known> {
        let (wanted, (spot, digest)) = (self.wanted(), self.remembered()?);
        (wanted? == spot).then(|| digest.map_or(Known::Zeros, Known::Page))
    }

    /// Where the snapshot has its next page; `None` beyond its end, and where it lies in pieces.
    fn wanted(&mut self) -> Option<Spot> {
        let mut left = self.page_size;
        let mut spot = None;
        while left > 0 {
            let now = self.spans.ready().ok()??.min(left);
            if now == self.page_size {
                spot = self.spans.spot();
            }
            self.spans.pass(now);
            left -= now;
        }
        spot
    }

    /// Where the remembered page lies, with its digest unless it is zeros.
    fn remembered(&mut self) -> Option<(Spot, Option<PageDigest>)> {
        while self.run.as_ref().is_none_or(|run| self.passed >= run.count as usize) {
            self.run = self.memory.as_mut()?.run();
            self.passed = 0;
            if self.run.is_none() {
                self.memory = None;
            }
        }
        let (run, at) = (self.run.as_ref()?, self.passed);
        self.passed += 1;
        match &run.spot {
            None => Some((None, None)),
            Some(spot) => {
                let offset = spot.offset + at as u64 * self.page_size;
                Some((Some((spot.chunk, offset)), Some(*run.digests.get(at)?)))
            }
        }
    }
}

/// The pages of `wanted` that do not lie where those of `other` lie, by their numbers: all that differ, and perhaps some that
/// are the same. `None` if they are more than `most`.
pub fn differing(
    wanted: &Entry,
    other: &Entry,
    (page_size, most): (u32, usize),
    library: &Library<'_>,
) -> Result<Option<Vec<u32>>, VaultError> {
    unlike(Spans::of(wanted, library), Spans::of(other, library), page_size, most)
}

fn unlike(
    mut wanted: Spans<'_>,
    mut other: Spans<'_>,
    page_size: u32,
    most: usize,
) -> Result<Option<Vec<u32>>, VaultError> {
    let (mut at, mut numbers) = (0, Vec::<u32>::new());
    while let Some(length) = wanted.ready()? {
        let shared = other.ready()?;
        let now = length.min(shared.unwrap_or(length));
        let is_same = shared.is_some() && wanted.spot() == other.spot();
        if !is_same {
            let first = at / u64::from(page_size) + 1;
            let Ok(last) = u32::try_from((at + now).div_ceil(u64::from(page_size))) else { return Ok(None) };
            let known = numbers.last().copied().unwrap_or(0);
            numbers.extend((known.max(first as u32 - 1)..last).map(|before| before + 1).take(most + 1));
            if numbers.len() > most {
                return Ok(None);
            }
        }
        wanted.pass(now);
        other.pass(now);
        at += now;
    }
    Ok(Some(numbers))
}

/// Goes along a list of extents by any steps.
struct Spans<'l> {
    extents: Extents<'l>,
    extent: Option<Extent>,
}

impl<'l> Spans<'l> {
    fn of(entry: &Entry, library: &'l Library<'l>) -> Self {
        Self { extents: extents::of_file(entry, library), extent: None }
    }

    /// How much lies together from here on; none at the end.
    fn ready(&mut self) -> Result<Option<u64>, VaultError> {
        if self.extent.is_none() {
            self.extent = self.extents.next().transpose()?;
        }
        Ok(self.extent.as_ref().map(|extent| extent.length))
    }

    fn spot(&self) -> Option<Spot> {
        self.extent.as_ref().map(|extent| extent.chunk.map(|chunk| (chunk, extent.offset)))
    }

    fn pass(&mut self, length: u64) {
        self.extent = self.extent.take().and_then(|mut extent| {
            extent.length = extent.length.saturating_sub(length);
            extent.offset += length;
            (extent.length > 0).then_some(extent)
        });
    }
}

/// An entry of nothing but these pages of another, one behind the other. Their numbers ascend.
pub fn only(entry: &Entry, pages: &[u32], page_size: u32, library: &Library<'_>) -> Result<Entry, VaultError> {
    let size = u64::from(page_size);
    let (mut at, mut list, mut pages) = (0, Vec::<Extent>::new(), pages.iter().copied().peekable());
    let mut length = 0;
    for extent in extents::of_file(entry, library) {
        let extent = extent?;
        let end = at + extent.length;
        while let Some(start) = pages.peek().map(|page| u64::from(page - 1) * size).filter(|start| *start < end) {
            let part = start.max(at)..(start + size).min(end);
            let offset = if extent.chunk.is_some() { extent.offset + part.start - at } else { 0 };
            let more = Extent { chunk: extent.chunk, length: part.end - part.start, offset, first: None };
            length += more.length;
            match list.last_mut().filter(|last| goes_on(last, &more)) {
                Some(last) => last.length += more.length,
                None => list.push(more),
            }
            if start + size > end {
                break;
            }
            pages.next();
        }
        at = end;
    }
    Ok(Entry { size: length, content: Content { depth: 0, extents: list }, ..entry.clone() })
}

fn goes_on(last: &Extent, next: &Extent) -> bool {
    last.chunk == next.chunk && (next.chunk.is_none() || last.offset + last.length == next.offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PIECE: u64 = 512;

    fn spans(list: &[(Option<u8>, u64, u64)]) -> Spans<'static> {
        let extent = |&(chunk, offset, length): &(Option<u8>, u64, u64)| {
            let chunk = chunk.map(|chunk| PlainDigest::from_bytes([chunk; 32]));
            let offset = if chunk.is_some() { offset * PIECE } else { 0 };
            Ok(Extent { chunk, length: length * PIECE, offset, first: None })
        };
        Spans { extents: Box::new(list.iter().map(extent).collect::<Vec<_>>().into_iter()), extent: None }
    }

    /// Where each piece lies.
    fn pieces(list: &[(Option<u8>, u64, u64)]) -> Vec<Option<(u8, u64)>> {
        let of = |&(chunk, offset, length): &(Option<u8>, u64, u64)| {
            (0..length).map(move |at| chunk.map(|chunk| (chunk, offset + at))).collect::<Vec<_>>()
        };
        list.iter().flat_map(of).collect()
    }

    proptest! {
        #[test]
        fn pages_differ_where_a_piece_of_them_lies_elsewhere(
            wanted in proptest::collection::vec((proptest::option::of(0u8..2), 0u64..3, 1u64..9), 0..8),
            other in proptest::collection::vec((proptest::option::of(0u8..2), 0u64..3, 1u64..9), 0..8),
            is_same in any::<bool>(), in_page in 1usize..5, most in 0usize..12,
        ) {
            let other = if is_same { [&wanted[..], &other[..]].concat() } else { other };
            let (one, two) = (pieces(&wanted), pieces(&other));
            let differs = |at: usize| two.get(at).is_none_or(|piece| *piece != one[at]);
            let pages = (0..one.len()).step_by(in_page).enumerate();
            let expected: Vec<u32> = pages
                .filter(|(_, start)| (*start..one.len().min(start + in_page)).any(differs))
                .map(|(page, _)| page as u32 + 1)
                .collect();
            let found = unlike(spans(&wanted), spans(&other), in_page as u32 * PIECE as u32, most).unwrap();
            prop_assert_eq!(found, (expected.len() <= most).then_some(expected));
        }
    }

    #[test]
    fn a_hole_longer_than_memory_is_no_list() {
        let long = [(None, 0, u64::MAX / PIECE / 2)];
        assert_eq!(unlike(spans(&long), spans(&[]), 4096, 100).unwrap(), None);
    }
}
