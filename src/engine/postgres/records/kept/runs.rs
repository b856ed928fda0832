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
use crate::engine::postgres::records::kept::table::Start;
use crate::engine::postgres::records::value::unescaped;
use crate::engine::postgres::segments::Segment;
use crate::engine::sqlite::decimal::decimal;

/// Notes on rows are read in blocks of this length.
const BLOCK: usize = 1 << 20;
/// A line of notes is no longer: a filter for each column of a table.
const LONGEST_NOTE: usize = 64 << 20;

/// How the values of a column of a key are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Numbers,
    Bytes,
    /// Digits, however many.
    Decimals,
    Reals,
    /// Days, and times of day.
    Moments,
    /// Texts filled up with blanks that do not count.
    Padded,
}

impl Order {
    /// Of a type as `format_type` writes it, where it is known well enough to leave out what cannot be meant; what is
    /// looked for there is the same to SQLite.
    pub fn of(kind: &str) -> Option<Self> {
        match kind {
            "smallint" | "integer" | "bigint" | "oid" => Some(Self::Numbers),
            // A UUID is written with small letters and lines at the same places.
            "text" | "character varying" | "uuid" => Some(Self::Bytes),
            _ if kind.starts_with("character varying(") && kind.ends_with(')') => Some(Self::Bytes),
            _ => None,
        }
    }

    /// Of a type where it is known well enough to go through two files side by side.
    pub fn of_sorted(kind: &str) -> Option<Self> {
        let base = kind.split('(').next().unwrap_or(kind);
        match base {
            _ if kind.ends_with(']') => None,
            "numeric" => Some(Self::Decimals),
            "real" | "double precision" => Some(Self::Reals),
            "date" | "timestamp" | "timestamp without time zone" | "timestamp with time zone" => Some(Self::Moments),
            "character" => Some(Self::Padded),
            // Each is written so that its bytes are in its order.
            "boolean" | "bytea" | "name" | "time" | "time without time zone" => Some(Self::Bytes),
            _ => Self::of(kind),
        }
    }

    /// A field's text as it is ordered.
    pub fn mark(self, text: &[u8]) -> Option<Mark> {
        let bytes = || Mark::Bytes(text.to_vec());
        let read = || std::str::from_utf8(text).ok();
        Some(match self {
            Self::Numbers => Mark::Number(read()?.parse().ok()?),
            Self::Bytes => bytes(),
            Self::Decimals => Mark::Decimal(Decimal(read()?.to_owned())),
            Self::Reals => read()?.parse().map_or_else(|_| bytes(), |number| Mark::Number(real(number))),
            Self::Moments => read().and_then(moment).unwrap_or_else(bytes),
            Self::Padded => Mark::Bytes(unpadded(text).to_vec()),
        })
    }
}

/// A value of a key where it is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    Number(i64),
    Decimal(Decimal),
    Bytes(Vec<u8>),
}

/// Digits that are equal to others of the same number.
#[derive(Clone, Debug)]
pub struct Decimal(String);

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        decimal(&self.0, &other.0)
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

/// A number of the machine's, as a whole one in the same order: what is no number comes last, as the server has it.
fn real(number: f64) -> i64 {
    if number.is_nan() {
        return i64::MAX;
    }
    // Nothing is the same with either sign.
    let bits = (number + 0.0).to_bits() as i64;
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

fn unpadded(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' '] = text {
        text = rest;
    }
    text
}

/// A day, or a day and a time in UTC, as bytes in the order of time.
fn moment(text: &str) -> Option<Mark> {
    let mark = |day: i64, microseconds: u64| {
        let day = (day as u64) ^ (1 << 63);
        Mark::Bytes([day.to_be_bytes(), microseconds.to_be_bytes()].concat())
    };
    match text {
        "infinity" => return Some(mark(i64::MAX, 0)),
        "-infinity" => return Some(mark(i64::MIN, 0)),
        _ => {}
    }
    let (text, before_christ) = text.strip_suffix(" BC").map_or((text, false), |text| (text, true));
    let (day, time) = text.split_once(' ').unwrap_or((text, ""));
    let mut parts = day.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let year = if before_christ { 1 - year } else { year };
    let time = time.strip_suffix("+00").unwrap_or(time);
    let (whole, part) = time.split_once('.').unwrap_or((time, ""));
    let mut seconds = 0;
    for number in whole.split(':').filter(|number| !number.is_empty()) {
        seconds = seconds * 60 + number.parse::<u64>().ok()?;
    }
    let part = format!("{part:0<6}").parse::<u64>().ok()?;
    Some(mark((year * 16 + month) * 32 + day, seconds * 1_000_000 + part))
}

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

    #[test]
    fn keys_of_every_type_that_is_gone_through_sorted_are_in_the_order_of_the_server() {
        // Each line as `ORDER BY` has it.
        let ascending: [(&str, &[&str]); 9] = [
            ("numeric(10,2)", &["-Infinity", "-10.5", "-2", "0", "1.50", "10", "Infinity", "NaN"]),
            ("double precision", &["-Infinity", "-1e+300", "-2.5", "-1e-300", "0", "1e-300", "3", "Infinity", "NaN"]),
            (
                "date",
                &["-infinity", "4713-01-01 BC", "0044-03-15 BC", "0001-01-01", "2024-02-29", "10000-01-01", "infinity"],
            ),
            (
                "timestamp(3) without time zone",
                &["0044-03-15 12:00:00 BC", "2024-01-01 00:00:00", "2024-01-01 00:00:00.5", "2024-01-01 00:00:01"],
            ),
            (
                "timestamp with time zone",
                &["2024-01-01 00:00:00.25+00", "2024-01-01 00:00:00.3+00", "2024-01-02 00:00:00+00"],
            ),
            ("character(4)", &["a   ", "a\u{1}  ", "ab  "]),
            ("boolean", &["f", "t"]),
            ("bytea", &["\\x", "\\x00", "\\x00ff", "\\x01"]),
            ("time without time zone", &["00:00:00", "00:00:00.5", "00:00:01", "24:00:00"]),
        ];
        for (kind, texts) in ascending {
            let order = Order::of_sorted(kind).expect("a known type");
            let marks: Vec<Mark> = texts.iter().map(|text| order.mark(text.as_bytes()).expect("a value")).collect();
            assert!(marks.is_sorted_by(|one, other| one < other), "{kind}: {marks:?}");
        }
        assert_eq!(Order::Decimals.mark(b"1.0"), Order::Decimals.mark(b"1.00"));
        assert_eq!(Order::Reals.mark(b"-0"), Order::Reals.mark(b"0"));
        for unknown in ["jsonb", "app.mood", "numeric[]", "timestamp without time zone[]", "citext"] {
            assert_eq!(Order::of_sorted(unknown), None, "{unknown}");
        }
        assert_eq!(Order::of("numeric"), None, "what is looked for is compared as it is written");
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
