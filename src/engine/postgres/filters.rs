//! Which values a segment of rows may hold in a column, told in few bytes (docs/format.md §6).
//!
//! Owns the making of filters and the asking of them: whoever looks for the children of a row reads only the segments
//! whose filter does not say no. Never says no wrongly.

use std::collections::{BTreeSet, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// So many values are named one by one.
const NAMED: usize = 16;
/// Longer values are not worth a filter.
const LONGEST: usize = 64;
/// Bits of a Bloom filter for each value, and how many of them a value sets: one wrong yes in a hundred. Where values are
/// few, a filter is short anyway: one in a thousand.
const BITS: usize = 10;
const BITS_OF_FEW: usize = 16;
const FEW: usize = 512;
const HASHES: u64 = 7;
/// Whole numbers this densely packed between the least and the greatest need nothing but these two.
const DENSE: i128 = 4;
/// As long as numbers are this close to each other on average, their steps are shorter than a Bloom filter, and never
/// wrong.
const CLOSE: i128 = 100;
const CLOSE_OF_FEW: i128 = 1000;

/// What may be in a segment's column. Without anything it says nothing, and everything may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// Whole numbers: the least, then of each how far it is from the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<i64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bloom: Option<String>,
}

/// A value that is looked for in many segments.
#[derive(Clone, Debug)]
pub struct Sought {
    text: String,
    number: Option<i64>,
    words: (u64, u64),
}

impl Sought {
    /// A value as it stands in a file of rows.
    pub fn new(text: &str) -> Self {
        let digest = Sha256::digest(text);
        let word = |at: usize| u64::from_be_bytes(digest[at..at + 8].try_into().expect("BUG: eight bytes"));
        Self { text: text.to_owned(), number: text.parse().ok(), words: (word(0), word(8)) }
    }

    /// The bits that the value sets in a Bloom filter of so many.
    fn places(&self, bits: u64) -> impl Iterator<Item = usize> {
        let (start, step) = self.words;
        (0..HASHES).map(move |i| (start.wrapping_add(i.wrapping_mul(step)) % bits) as usize)
    }
}

impl Filter {
    /// May this value, as it stands in a file of rows, be in the segment?
    pub fn admits(&self, value: &str) -> bool {
        self.admits_one_of(&[Sought::new(value)])
    }

    /// May one of these values be in the segment?
    pub fn admits_one_of(&self, sought: &[Sought]) -> bool {
        if let Some(values) = &self.values {
            return sought.iter().any(|sought| values.contains(&sought.text));
        }
        if let Some(steps) = &self.steps {
            let numbers = numbers(steps);
            return sought
                .iter()
                .any(|sought| sought.number.is_none_or(|number| numbers.binary_search(&number).is_ok()));
        }
        let inside = |sought: &&Sought| match (self.min, self.max, sought.number) {
            (Some(min), Some(max), Some(number)) => (min..=max).contains(&number),
            _ => true,
        };
        let mut possible = sought.iter().filter(inside).peekable();
        // Most segments are ruled out before their bits are looked at.
        if possible.peek().is_none() {
            return false;
        }
        match self.bloom.as_ref().and_then(|bloom| STANDARD.decode(bloom).ok()) {
            Some(bits) if !bits.is_empty() => {
                let is_set = |bit: usize| bits[bit / 8] & (1 << (bit % 8)) != 0;
                possible.any(|sought| sought.places(bits.len() as u64 * 8).all(is_set))
            }
            _ => true,
        }
    }
}

/// Collects one column's values over one segment.
#[derive(Debug, Default)]
pub struct Values {
    seen: HashSet<Vec<u8>>,
    last: Vec<u8>,
    unwieldy: bool,
}

impl Values {
    /// Takes a field as it stands in a file of rows.
    pub fn add(&mut self, field: &[u8]) {
        if self.unwieldy || field == b"\\N" || (field == self.last && !self.seen.is_empty()) {
            return;
        }
        if field.len() > LONGEST {
            self.unwieldy = true;
            self.seen.clear();
            return;
        }
        self.last.clear();
        self.last.extend_from_slice(field);
        if !self.seen.contains(field) {
            self.seen.insert(field.to_vec());
        }
    }

    /// What is not known: the segment's column may hold anything.
    pub fn give_up(&mut self) {
        self.unwieldy = true;
        self.seen.clear();
    }

    /// The filter of what was added since the last; nothing where one would not be worth its bytes.
    pub fn take(&mut self) -> Option<Filter> {
        let seen = std::mem::take(&mut self.seen);
        self.last.clear();
        if std::mem::take(&mut self.unwieldy) {
            return None;
        }
        let mut values: Vec<&str> =
            seen.iter().map(|value| std::str::from_utf8(value)).collect::<Result<_, _>>().ok()?;
        if values.len() <= NAMED {
            values.sort_unstable();
            let values = values.into_iter().map(str::to_owned).collect();
            return Some(Filter { values: Some(values), ..Filter::default() });
        }
        let numbers: Option<BTreeSet<i64>> = values.iter().map(|value| value.parse().ok()).collect();
        let range = numbers.as_ref().and_then(|numbers| Some((*numbers.first()?, *numbers.last()?)));
        let (min, max) = (range.map(|range| range.0), range.map(|range| range.1));
        let apart = range.map(|(min, max)| (i128::from(max) - i128::from(min)) / values.len() as i128);
        let close = if values.len() <= FEW { CLOSE_OF_FEW } else { CLOSE };
        Some(match (apart, numbers) {
            (Some(..DENSE), _) => Filter { min, max, ..Filter::default() },
            (Some(apart), Some(numbers)) if apart < close => {
                Filter { steps: Some(steps(&numbers)), ..Filter::default() }
            }
            _ => Filter { min, max, bloom: Some(bloom(&values)), ..Filter::default() },
        })
    }
}

fn steps(numbers: &BTreeSet<i64>) -> Vec<i64> {
    let mut last = 0;
    numbers.iter().map(|&number| number - std::mem::replace(&mut last, number)).collect()
}

/// The numbers of steps, in order. What is no such list gives what it gives: a filter is a help, and digests tell.
fn numbers(steps: &[i64]) -> Vec<i64> {
    let mut at = 0i64;
    let add = |step: &i64| {
        at = at.wrapping_add(*step);
        at
    };
    steps.iter().map(add).collect()
}

fn bloom(values: &[&str]) -> String {
    let each = if values.len() <= FEW { BITS_OF_FEW } else { BITS };
    let mut bits = vec![0u8; (values.len() * each).div_ceil(8)];
    let count = bits.len() as u64 * 8;
    for value in values {
        Sought::new(value).places(count).for_each(|bit| bits[bit / 8] |= 1 << (bit % 8));
    }
    STANDARD.encode(bits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter<'v>(values: impl IntoIterator<Item = &'v str>) -> Option<Filter> {
        let mut collected = Values::default();
        values.into_iter().for_each(|value| collected.add(value.as_bytes()));
        collected.take()
    }

    #[test]
    fn few_values_are_named_dense_numbers_are_a_range_close_ones_steps_and_the_rest_is_a_bloom_filter() {
        let few = filter(["b", "a", "\\N", "b"]).unwrap();
        assert_eq!(few.values.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]));
        assert!(few.admits("a") && !few.admits("c"));
        let numbers = |step: i64| (0..1000).map(|n| (n * step).to_string()).collect::<Vec<_>>();
        let dense = filter(numbers(2).iter().map(String::as_str)).unwrap();
        assert!(dense.bloom.is_none() && (dense.min, dense.max) == (Some(0), Some(1998)) && !dense.admits("1999"));
        let close = filter(numbers(7).iter().map(String::as_str)).unwrap();
        assert_eq!(close.steps.as_ref().map(Vec::len), Some(1000));
        assert!((0..7000).all(|n| close.admits(&n.to_string()) == (n % 7 == 0)) && !close.admits("7000"));
        let wide = filter(numbers(1000).iter().map(String::as_str)).unwrap();
        let wrong = (0..10_000).filter(|n| wide.admits(&(n * 1000 + 7).to_string())).count();
        assert!(
            wide.admits("999000") && wrong < 30,
            "{wrong} of 10,000 wrongly admitted, nine tenths beyond the range"
        );
        let few = filter(numbers(1000).iter().take(500).map(String::as_str)).unwrap();
        let wrong = (0..100_000).filter(|n| few.admits(&(n * 4 + 1).to_string())).count();
        assert!(wrong < 200, "{wrong} of 100,000 wrongly admitted");
        assert_eq!(filter(["x".repeat(65).as_str()]), None);
    }

    #[test]
    fn what_follows_a_segment_is_not_in_its_filter() {
        let mut values = Values::default();
        values.add(b"a");
        assert!(values.take().unwrap().admits("a"));
        values.add(b"a");
        let second = values.take().unwrap();
        assert!(second.admits("a"));
        assert!(!values.take().unwrap().admits("a"));
    }

    proptest! {
        #[test]
        fn a_filter_never_says_no_to_a_value_that_is_there(values in proptest::collection::vec(
            prop_oneof![any::<i64>().prop_map(|n| n.to_string()), "[a-z]{0,70}", (-9i64..9000).prop_map(|n| n.to_string()),
            (0i64..50).prop_map(|n| n.to_string())], 0..80)) {
            let made = filter(values.iter().map(String::as_str));
            let Some(made) = made else { return Ok(()) };
            let read: Filter = serde_json::from_str(&serde_json::to_string(&made).unwrap()).unwrap();
            for value in &values {
                prop_assert!(read.admits(value), "{value} in {read:?}");
            }
        }
    }
}
