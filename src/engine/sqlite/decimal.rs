//! Numbers that are kept as text, compared without rounding.

use std::cmp::Ordering;

/// Texts of digits in the order of their numbers, however many digits: `-Infinity`, numbers, `Infinity`, `NaN`, and
/// whatever else is no number behind them.
pub fn decimal(one: &str, other: &str) -> Ordering {
    let (one_rank, other_rank) = (rank(one), rank(other));
    if one_rank != other_rank || one_rank != Rank::Number {
        return one_rank
            .cmp(&other_rank)
            .then_with(|| if one_rank == Rank::Other { one.cmp(other) } else { Ordering::Equal });
    }
    let (one, other) = (Digits::of(one), Digits::of(other));
    match (one.negative, other.negative) {
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
        (false, false) => one.size(&other),
        (true, true) => other.size(&one),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Least,
    Number,
    Most,
    NotANumber,
    Other,
}

fn rank(text: &str) -> Rank {
    match text {
        "-Infinity" => Rank::Least,
        "Infinity" => Rank::Most,
        "NaN" => Rank::NotANumber,
        _ => {
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
            let all = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            let is_number = all(whole) && all(part) && !(whole.is_empty() && part.is_empty());
            if is_number && !digits.is_empty() { Rank::Number } else { Rank::Other }
        }
    }
}

/// A number without what does not change it: zeros in front and behind, the sign of nothing.
struct Digits<'t> {
    negative: bool,
    whole: &'t str,
    part: &'t str,
}

impl<'t> Digits<'t> {
    fn of(text: &'t str) -> Self {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
        Self { negative: text.starts_with('-') && !(whole.is_empty() && part.is_empty()), whole, part }
    }

    fn size(&self, other: &Self) -> Ordering {
        (self.whole.len(), self.whole, self.part).cmp(&(other.whole.len(), other.whole, other.part))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_number_has_its_place_too() {
        let ascending =
            ["-Infinity", "-1e3".split('e').next().unwrap(), "-0.5", "0", "1", "10", "Infinity", "NaN", "", "x"];
        for pair in ascending.windows(2) {
            assert_eq!(
                (decimal(pair[0], pair[1]), decimal(pair[1], pair[0])),
                (Ordering::Less, Ordering::Greater),
                "{pair:?}"
            );
        }
        for (one, other) in [("1", "1.00"), ("-0", "0.0"), (".5", "0.50"), ("+7", "07"), ("NaN", "NaN")] {
            assert_eq!(decimal(one, other), Ordering::Equal, "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn digits_are_in_the_order_of_their_numbers(one in -10_000i64..10_000, other in -10_000i64..10_000, zeros in 0usize..3) {
            let written = |number: i64| {
                let sign = if number < 0 { "-" } else { "" };
                format!("{sign}{}.{:02}{}", number.abs() / 100, number.abs() % 100, "0".repeat(zeros))
            };
            let plain = |number: i64| if number % 100 == 0 { (number / 100).to_string() } else { written(number) };
            prop_assert_eq!(decimal(&written(one), &plain(other)), one.cmp(&other));
        }
    }
}
