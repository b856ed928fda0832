//! Paths that change, in words: a line for each, and how many there are.

use strongroom::base::text::{count, size};
use strongroom::ops::diff::{Change, Difference};

use crate::render::{Tone, paint};

#[derive(Default)]
pub struct Counts {
    added: u64,
    removed: u64,
    content: u64,
    metadata: u64,
}

impl Counts {
    pub fn add(&mut self, change: Change) {
        *match change {
            Change::Added => &mut self.added,
            Change::Removed => &mut self.removed,
            Change::Content => &mut self.content,
            Change::Metadata => &mut self.metadata,
        } += 1;
    }

    pub fn none(&self) -> bool {
        self.added + self.removed + self.content + self.metadata == 0
    }

    pub fn words(&self) -> String {
        let all = [
            (self.removed, "removed"),
            (self.added, "added"),
            (self.content, "changed"),
            (self.metadata, "with other metadata"),
        ];
        let some: Vec<String> =
            all.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} {word}", count(*n))).collect();
        if some.is_empty() { "no change".to_owned() } else { some.join("   ") }
    }
}

/// What becomes of one path.
pub fn line(source: &str, difference: &Difference) -> String {
    let (sign, tone) = match difference.change {
        Change::Added => ("+", Some(Tone::Safe)),
        Change::Removed => ("-", Some(Tone::Lost)),
        Change::Content => ("M", Some(Tone::Look)),
        Change::Metadata => ("m", None),
    };
    let sign = tone.map_or(sign.to_owned(), |tone| paint(tone, sign));
    let sizes = match (difference.size_before, difference.size_after) {
        (Some(before), Some(after)) if before != after => format!("  {} -> {}", size(before), size(after)),
        _ => String::new(),
    };
    format!("  {sign} {source}/{}{sizes}\n", difference.path)
}
