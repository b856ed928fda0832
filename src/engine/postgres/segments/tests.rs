//! Segments come together to the rows they are of, and an edit moves no cut but its own.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::base::chunk::Buffers;

/// Keeps all pieces and segments.
#[derive(Default)]
struct Kept {
    pieces: Vec<(Vec<u8>, Option<String>)>,
    segments: Vec<Segment>,
}

impl Pieces for Kept {
    fn piece(&mut self, chunk: Chunk, first: Option<String>) {
        self.pieces.push((chunk.bytes().to_vec(), first));
    }

    fn segment(&mut self, segment: &Segment) {
        self.segments.push(segment.clone());
    }
}

impl Kept {
    fn bytes(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|(bytes, _)| bytes.clone()).collect()
    }
}

fn shape() -> Shape {
    Shape { key: 1, filtered: vec![(1, "parent".to_owned())], salt: 7 }
}

/// Rows of a key, a parent and something to fill them.
fn row(key: u64, parent: u64, length: usize) -> Vec<u8> {
    format!("{key:08}\t{parent}\t{}\n", "x".repeat(length)).into_bytes()
}

fn batch(bytes: Vec<u8>, ends: Vec<u32>) -> Batch {
    Batch { bytes: Lent::new(bytes, &Buffers::new(0, 0)), ends }
}

/// Cuts rows that come `step` bytes at a time.
fn cut(rows: &[Vec<u8>], step: usize) -> Kept {
    let mut kept = Kept::default();
    let mut segmenter = Segmenter::new(shape());
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for row in rows {
        let mut pieces = row.chunks(step).peekable();
        while let Some(piece) = pieces.next() {
            bytes.extend_from_slice(piece);
            if pieces.peek().is_none() {
                ends.push(bytes.len() as u32);
            }
            if bytes.len() >= step {
                segmenter.push(&batch(std::mem::take(&mut bytes), std::mem::take(&mut ends)), &mut kept);
            }
        }
    }
    segmenter.push(&batch(bytes, ends), &mut kept);
    segmenter.finish(&mut kept);
    assert_eq!(segmenter.total_rows, rows.len() as u64);
    assert_eq!(segmenter.total_bytes, rows.iter().map(|row| row.len() as u64).sum::<u64>());
    kept
}

fn check(rows: &[Vec<u8>], kept: &Kept) {
    assert!(kept.bytes() == rows.concat(), "other bytes");
    assert_eq!(kept.segments.iter().map(|segment| segment.rows).sum::<u64>(), rows.len() as u64);
    let mut left = rows;
    let mut pieces = kept.pieces.iter();
    for segment in &kept.segments {
        let (own, later) = left.split_at(segment.rows as usize);
        left = later;
        let bytes = own.concat();
        assert_eq!(segment.bytes, bytes.len() as u64);
        let key = |row: &Vec<u8>| Some(vec![String::from_utf8(row[..8].to_vec()).unwrap()]);
        assert_eq!((&segment.first, &segment.last), (&key(&own[0]), &key(&own[own.len() - 1])));
        let mut length = 0;
        for at in 0.. {
            let (piece, first) = pieces.next().unwrap();
            assert_eq!(first.is_some(), at == 0);
            assert!(first.iter().all(|first| Some(vec![first.clone()]) == segment.first));
            assert!(piece.len() <= LONGEST && (piece.len() == LONGEST || length + piece.len() == bytes.len()));
            length += piece.len();
            if length == bytes.len() {
                break;
            }
        }
        for row in own {
            let parent = std::str::from_utf8(row).unwrap().split('\t').nth(1).unwrap();
            assert!(segment.filters.get("parent").is_none_or(|filter| filter.admits(parent)));
        }
    }
    assert!(pieces.next().is_none());
}

fn table(rows: u64, length: usize) -> Vec<Vec<u8>> {
    (0..rows).map(|key| row(key, key / 100, length + (key % 7) as usize)).collect()
}

#[test]
fn segments_are_of_the_wanted_length() {
    for length in [10, 100, 3000, 40_000] {
        let rows = table(32_000_000 / (length as u64 + 20), length);
        let kept = cut(&rows, 500_000);
        let average = kept.bytes().len() / kept.segments.len();
        assert!((75 << 10..200 << 10).contains(&average), "rows of {length}: {average}");
        let inner = &kept.segments[..kept.segments.len() - 1];
        assert!(inner.iter().all(|segment| (SHORTEST as u64..=LONGEST as u64).contains(&segment.bytes)));
    }
}

#[test]
fn an_edit_leaves_the_segments_of_other_rows_as_they_are() {
    let before = table(100_000, 100);
    let chunks =
        |rows: &[Vec<u8>]| cut(rows, 100_000).pieces.into_iter().map(|(bytes, _)| bytes).collect::<HashSet<_>>();
    let old = chunks(&before);
    let new = |edited: &[Vec<u8>]| chunks(edited).difference(&old).count();
    let mut updated = before.clone();
    updated[50_000] = row(50_000, 7, 30);
    assert!(new(&updated) <= 2);
    let mut deleted = before.clone();
    deleted.drain(20_000..20_100);
    assert!(new(&deleted) <= 3);
    let mut inserted = before.clone();
    inserted.splice(70_000..70_000, (0..500).map(|n| row(90_000_000 + n, 1, 77)));
    assert!(new(&inserted) <= 4);
    let mut grown = before.clone();
    grown[10] = row(10, 1, 5 << 20);
    assert!(new(&grown) <= 9);
}

#[test]
fn a_long_row_is_a_segment_of_its_own_in_chunks_that_do_not_depend_on_what_is_before_it() {
    let mut rows = table(5000, 50);
    rows.insert(2500, row(99_000_000, 1, 3_500_000));
    rows.push(row(99_000_001, 1, LONGEST - 11));
    rows.push(row(99_000_002, 1, LONGEST - 12));
    let kept = cut(&rows, 70_000);
    check(&rows, &kept);
    let own: Vec<_> = kept.segments.iter().filter(|segment| segment.bytes > LONGEST as u64).collect();
    assert_eq!(own.len(), 2);
    let mut moved = table(3000, 60);
    moved.push(rows[2500].clone());
    let known: HashSet<_> = kept.pieces.iter().map(|(bytes, _)| bytes.clone()).collect();
    assert_eq!(cut(&moved, 9000).pieces.iter().filter(|(bytes, _)| known.contains(bytes)).count(), 4);
}

#[test]
fn rows_without_a_key_are_cut_by_what_they_hold() {
    let rows = table(20_000, 100);
    let mut kept = Kept::default();
    let mut segmenter = Segmenter::new(Shape { key: 0, ..shape() });
    for row in &rows {
        segmenter.push(&batch(row.clone(), vec![row.len() as u32]), &mut kept);
    }
    segmenter.finish(&mut kept);
    assert!(kept.bytes() == rows.concat() && kept.segments.len() > 3);
    assert!(kept.pieces.iter().all(|(_, first)| first.is_none()));
    assert!(kept.segments.iter().all(|segment| segment.first.is_none() && segment.filters.contains_key("parent")));
}

#[test]
fn a_table_without_rows_has_no_segment() {
    let kept = cut(&[], 10);
    assert!(kept.pieces.is_empty() && kept.segments.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_rows_come_back_from_their_segments_however_they_came(
        rows in proptest::collection::vec(
            (any::<u64>(), prop_oneof![8 => 0usize..3000, 2 => 100_000usize..400_000, 1 => 900_000usize..2_500_000]), 0..60),
        step in 1000usize..600_000,
    ) {
        let rows: Vec<_> = rows.iter().map(|(parent, length)| row(parent % 100_000_000, *parent, *length)).collect();
        let kept = cut(&rows, step);
        check(&rows, &kept);
        let other = cut(&rows, 250_000);
        prop_assert!(other.pieces == kept.pieces, "cuts depend on how rows come");
    }

    #[test]
    fn cuts_far_from_an_edit_stay(at in 0usize..30_000, length in 0usize..2000) {
        let before = table(30_000, 200);
        let mut after = before.clone();
        after[at] = row(at as u64, 3, length);
        let chunks = |rows: &[Vec<u8>]| cut(rows, 300_000).pieces;
        let old: HashSet<_> = chunks(&before).into_iter().collect();
        prop_assert!(chunks(&after).into_iter().filter(|piece| !old.contains(piece)).count() <= 3);
    }
}
