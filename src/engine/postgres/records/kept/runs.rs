//! Where in a file of rows the rows of a key lie, and where those of another column may.
//!
//! Owns leaving out what cannot hold what is asked for. A type is pruned by only where its order is known to be the
//! server's: whole numbers, and texts by their bytes.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::OnceLock;

use crate::base::error::Explained;
use crate::base::random::RandomRead;
use crate::engine::postgres::filters::Sought;
use crate::engine::postgres::records::kept::order::{Mark, Order};
use crate::engine::postgres::records::kept::table::Start;
use crate::engine::postgres::records::value::unescaped;
use crate::engine::postgres::segments::Segment;

/// Notes on rows are read in blocks of this length.
const BLOCK: usize = 1 << 20;
/// A line of notes is no longer: a filter for each column of a table.
const LONGEST_NOTE: usize = 64 << 20;

/// What is asked of the columns that a key begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// These values of so many columns.
    Points(BTreeSet<Vec<Mark>>),
    /// Values of the first column, both ends among them.
    Between(Option<Mark>, Option<Mark>),
}

/// Rows that follow each other, known by the key of the first.
struct Run {
    start: u64,
    first: Vec<Mark>,
}

/// The runs of one file.
pub struct Runs {
    runs: Vec<Run>,
    end: u64,
}

impl Runs {
    /// `orders` are those of the columns the key begins with. What has no first key belongs to what comes before it.
    pub fn new(starts: &[Start], orders: &[Order], end: u64) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for Start { at: start, first, .. } in starts {
            let first = first.as_deref().and_then(|key| marks(key, orders));
            match first {
                Some(first) if runs.last().is_none_or(|last| last.first <= first) => {
                    runs.push(Run { start: *start, first })
                }
                // What is not in order is no help: it is read together with what comes before it.
                _ if !runs.is_empty() => {}
                _ => runs.push(Run { start: *start, first: Vec::new() }),
            }
        }
        Self { runs, end }
    }

    /// Everything.
    pub fn all(&self) -> Vec<Range<u64>> {
        (0..self.runs.len()).map(|at| self.range(at)).collect()
    }

    /// The run that a row lies in.
    pub fn at(&self, start: u64) -> Range<u64> {
        match self.runs.partition_point(|run| run.start <= start) {
            0 => 0..self.end,
            after => self.range(after - 1),
        }
    }

    /// What may hold rows of such keys.
    pub fn holding(&self, asked: &Asked) -> Vec<Range<u64>> {
        let mut found = BTreeSet::new();
        match asked {
            Asked::Points(points) => {
                points.iter().for_each(|point| found.extend(self.between(Some(point), Some(point))))
            }
            Asked::Between(low, high) => {
                let (low, high) = (low.clone().map(|mark| vec![mark]), high.clone().map(|mark| vec![mark]));
                found.extend(self.between(low.as_ref(), high.as_ref()));
            }
        }
        found.into_iter().map(|at| self.range(at)).collect()
    }

    fn between(&self, low: Option<&Vec<Mark>>, high: Option<&Vec<Mark>>) -> Range<usize> {
        // A run goes on until the next one's first key, which may begin as the key in question does.
        let from =
            low.map_or(0, |low| self.runs.partition_point(|run| begins(&run.first, low).is_lt()).saturating_sub(1));
        let to = high.map_or(self.runs.len(), |high| self.runs.partition_point(|run| begins(&run.first, high).is_le()));
        from..to.max(from)
    }

    fn range(&self, at: usize) -> Range<u64> {
        self.runs[at].start..self.runs.get(at + 1).map_or(self.end, |next| next.start)
    }
}

/// A first key, as far as `other` goes. A run whose first key is not known is before all others.
fn begins(first: &[Mark], other: &[Mark]) -> Ordering {
    first[..first.len().min(other.len())].cmp(other)
}

fn marks(key: &[u8], orders: &[Order]) -> Option<Vec<Mark>> {
    let mut fields = key.split(|&byte| byte == b'\t');
    let mark = |order: &Order| order.mark(&unescaped(fields.next()?)?);
    orders.iter().map(mark).collect()
}

/// Notes of no more bytes are kept: a join asks the same ones for every row of the other table.
const KEPT: u64 = 8 << 20;

/// What is noted of segments, once it was read, if it is not too much.
#[derive(Default)]
pub struct Notes(OnceLock<Vec<Segment>>);

impl Notes {
    /// The segments that may hold one of the values in a column. Nothing where the notes are not those of a file of this
    /// length.
    pub fn admitting(
        &self,
        notes: &dyn RandomRead,
        column: &str,
        sought: &[Sought],
        length: u64,
    ) -> Result<Option<Vec<Range<u64>>>, Explained> {
        let (mut found, mut start) = (Vec::new(), 0);
        let mut admit = |segment: &Segment| {
            let end = start + segment.bytes;
            if segment.filters.get(column).is_none_or(|filter| filter.admits_one_of(sought)) {
                found.push(start..end);
            }
            start = end;
        };
        if notes.length() > KEPT {
            each(notes, &mut |segment| admit(&segment))?;
        } else {
            if self.0.get().is_none() {
                let mut read = Vec::new();
                each(notes, &mut |segment| read.push(segment))?;
                // Whoever was faster has read the same.
                let _ = self.0.set(read);
            }
            self.0.get().into_iter().flatten().for_each(admit);
        }
        Ok((start == length).then_some(found))
    }
}

/// What is noted of each segment. One that nothing is known of has no length, and then none of it is believed.
pub fn each(notes: &dyn RandomRead, take: &mut dyn FnMut(Segment)) -> Result<(), Explained> {
    lines(notes, &mut |line| take(serde_json::from_slice(line).unwrap_or_default()))
}

/// Hands over lines, one after another.
pub fn lines(content: &dyn RandomRead, each: &mut dyn FnMut(&[u8])) -> Result<(), Explained> {
    let (mut at, length, mut waiting) = (0, content.length(), Vec::new());
    while at < length {
        let now = (length - at).min(BLOCK as u64) as usize;
        let begun = waiting.len();
        waiting.resize(begun + now, 0);
        content.read_at(at, &mut waiting[begun..])?;
        at += now as u64;
        let mut start = 0;
        while let Some(end) = memchr::memchr(b'\n', &waiting[start..]) {
            each(&waiting[start..start + end]);
            start += end + 1;
        }
        waiting.drain(..start);
        if waiting.len() > LONGEST_NOTE {
            // No line: whoever reads it as one finds that out.
            each(&waiting);
            waiting.clear();
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "runs are ranges, be it one")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start((at, first): (u64, Option<Vec<u8>>)) -> Start {
        Start { at, first, content: at.to_string() }
    }

    #[test]
    fn runs_without_a_first_key_belong_to_the_one_before() {
        let key = |text: &str| Some(text.as_bytes().to_vec());
        let starts = [(0, key("5\tx")), (10, None), (20, None), (30, key("7\ty")), (40, key("7\tz"))].map(start);
        let runs = Runs::new(&starts, &[Order::Numbers], 50);
        assert_eq!(runs.all(), [0..30, 30..40, 40..50]);
        let point = |number| Asked::Points([vec![Mark::Number(number)]].into());
        assert_eq!(runs.holding(&point(6)), [0..30]);
        assert_eq!(runs.holding(&point(7)), [0..30, 30..40, 40..50]);
        assert_eq!(runs.holding(&point(4)), []);
        assert_eq!(runs.holding(&Asked::Between(Some(Mark::Number(8)), None)), [40..50]);
        assert_eq!(Runs::new(&[start((0, None))], &[Order::Bytes], 9).holding(&point(1)), [0..9]);
    }

    proptest! {
        #[test]
        fn no_row_is_left_out_that_was_asked_for(
            keys in proptest::collection::btree_set((-20i64..20, "[a-c]{0,2}"), 1..60),
            cuts in proptest::collection::vec(any::<bool>(), 60),
            low in -25i64..25, width in 0i64..10, text in "[a-c]{0,2}",
        ) {
            let keys: Vec<(i64, String)> = keys.into_iter().collect();
            let starts: Vec<Start> = keys.iter().enumerate().filter(|(at, _)| *at == 0 || cuts[*at])
                .map(|(at, (number, text))| (at as u64, Some(format!("{number}\t{text}").into_bytes()))).map(start).collect();
            let runs = Runs::new(&starts, &[Order::Numbers, Order::Bytes], keys.len() as u64);
            let (number, mark) = (low, Mark::Number(low));
            let pair = vec![mark.clone(), Mark::Bytes(text.clone().into_bytes())];
            type Holds<'h> = &'h dyn Fn(&(i64, String)) -> bool;
            let asks: [(Asked, Holds<'_>); 3] = [
                (Asked::Points([vec![mark.clone()]].into()), &|key| key.0 == number),
                (Asked::Points([pair].into()), &|key| key.0 == number && key.1 == text),
                (Asked::Between(Some(mark), Some(Mark::Number(low + width))), &|key| key.0 >= low && key.0 <= low + width),
            ];
            for (asked, holds) in asks {
                let found = runs.holding(&asked);
                for (at, _) in keys.iter().enumerate().filter(|(_, key)| holds(key)) {
                    prop_assert!(found.iter().any(|range| range.contains(&(at as u64))), "{asked:?} leaves out row {at}");
                }
            }
        }
    }
}
