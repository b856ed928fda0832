//! A type's value as COPY writes it in text, made into the binary form that says the same.
//!
//! Owns which types have one. Never guesses: what is not written as a server writes it has none.

use std::str::FromStr;

use jiff::civil;
use jiff::tz::TimeZone;
use memchr::memchr;

/// The server counts from the beginning of the year 2000.
const EPOCH_SECONDS: i64 = 946_684_800;
const MICROSECONDS: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;
/// A number of so many digits is none that does not fit.
const DIGITS: usize = 18;

/// How a type's value is written in binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Boolean,
    Small,
    Integer,
    Big,
    Oid,
    Real,
    Double,
    Numeric,
    /// Its text is its binary form.
    Text,
    Jsonb,
    Bytes,
    Uuid,
    Date,
    Timestamp,
    TimestampUtc,
}

impl Form {
    /// Of a type as `format_type` writes it.
    pub fn of(kind: &str) -> Option<Self> {
        let (name, rest) = kind.split_once('(').unwrap_or((kind, ""));
        let behind = rest.split_once(')').map_or("", |(_, behind)| behind);
        Some(match (name, behind) {
            ("boolean", "") => Self::Boolean,
            ("smallint", "") => Self::Small,
            ("integer", "") => Self::Integer,
            ("bigint", "") => Self::Big,
            ("oid", "") => Self::Oid,
            ("real", "") => Self::Real,
            ("double precision", "") => Self::Double,
            ("numeric", "") => Self::Numeric,
            ("text" | "character varying" | "character" | "json", "") => Self::Text,
            ("jsonb", "") => Self::Jsonb,
            ("bytea", "") => Self::Bytes,
            ("uuid", "") => Self::Uuid,
            ("date", "") => Self::Date,
            ("timestamp without time zone", "") | ("timestamp", " without time zone") => Self::Timestamp,
            ("timestamp with time zone", "") | ("timestamp", " with time zone") => Self::TimestampUtc,
            _ => return None,
        })
    }

    /// Appends the length and the value of a whole number that a row goes on with, up to where it stops; says how long its
    /// text is. None where that is anything else: nothing is appended then.
    pub fn write_number(self, row: &[u8], stop: u8, out: &mut Vec<u8>) -> Option<usize> {
        if !matches!(self, Self::Small | Self::Integer | Self::Big | Self::Oid) {
            return None;
        }
        let (value, length) = leading(row);
        (length > 0 && row.get(length) == Some(&stop)).then_some(())?;
        match self {
            Self::Small => append(out, i16::try_from(value).ok()?.to_be_bytes()),
            Self::Integer => append(out, i32::try_from(value).ok()?.to_be_bytes()),
            Self::Oid => append(out, u32::try_from(value).ok()?.to_be_bytes()),
            _ => append(out, value.to_be_bytes()),
        }
        Some(length)
    }

    /// Appends a value; none where its text is not what the type writes.
    pub fn write(self, text: &[u8], days: &mut Days, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Boolean => out.push(match text {
                b"t" => 1,
                b"f" => 0,
                _ => return None,
            }),
            Self::Small => out.extend_from_slice(&i16::try_from(integer(text)?).ok()?.to_be_bytes()),
            Self::Integer => out.extend_from_slice(&i32::try_from(integer(text)?).ok()?.to_be_bytes()),
            Self::Big => out.extend_from_slice(&integer(text)?.to_be_bytes()),
            Self::Oid => out.extend_from_slice(&u32::try_from(integer(text)?).ok()?.to_be_bytes()),
            Self::Real => out.extend_from_slice(&number::<f32>(text)?.to_be_bytes()),
            Self::Double => out.extend_from_slice(&number::<f64>(text)?.to_be_bytes()),
            Self::Numeric => numeric(text, out)?,
            Self::Text => out.extend_from_slice(text),
            Self::Jsonb => {
                out.push(1);
                out.extend_from_slice(text);
            }
            Self::Bytes => {
                let digits = text.strip_prefix(b"\\x")?;
                let begin = out.len();
                out.resize(begin + digits.len() / 2, 0);
                hex::decode_to_slice(digits, &mut out[begin..]).ok()?;
            }
            Self::Uuid => uuid(text, out)?,
            Self::Date => out.extend_from_slice(&date(text, days)?.to_be_bytes()),
            Self::Timestamp => out.extend_from_slice(&timestamp(text, "", days)?.to_be_bytes()),
            Self::TimestampUtc => out.extend_from_slice(&timestamp(text, "+00", days)?.to_be_bytes()),
        }
        Some(())
    }
}

/// With its length before it.
fn append<const N: usize>(out: &mut Vec<u8>, value: [u8; N]) {
    out.extend_from_slice(&(N as i32).to_be_bytes());
    out.extend_from_slice(&value);
}

/// The number that a text begins with, and how long it is: nothing where it begins with none, or has more digits.
fn leading(text: &[u8]) -> (i64, usize) {
    let sign = usize::from(text.first() == Some(&b'-'));
    let (mut value, mut length) = (0, sign);
    for digit in text[sign..].iter().take(DIGITS).map(|byte| byte.wrapping_sub(b'0')) {
        if digit > 9 {
            break;
        }
        value = value * 10 + i64::from(digit);
        length += 1;
    }
    if length == sign { (0, 0) } else { (if sign == 1 { -value } else { value }, length) }
}

/// Few digits without a look at whether they are text.
fn integer(text: &[u8]) -> Option<i64> {
    match leading(text) {
        (value, length) if length > 0 && length == text.len() => Some(value),
        _ => number(text),
    }
}

fn number<N: FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn uuid(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut digits = [0; 32];
    let mut filled = 0;
    for (at, byte) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            (*byte == b'-').then_some(())?;
        } else {
            *digits.get_mut(filled)? = *byte;
            filled += 1;
        }
    }
    let mut bytes = [0; 16];
    (filled == digits.len()).then_some(())?;
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    out.extend_from_slice(&bytes);
    Some(())
}

/// Knows the date that came last: rows that lie together mostly have the same.
#[derive(Clone, Default)]
pub struct Days {
    text: [u8; "2000-01-01".len()],
    days: i64,
}

impl Days {
    /// Days since the beginning of 2000.
    fn of(&mut self, text: &[u8]) -> Option<i64> {
        if text != self.text {
            let known = text.try_into().ok()?;
            ([text[4], text[7]] == *b"--").then_some(())?;
            let date: civil::Date = number(text)?;
            let seconds = TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?.as_second() - EPOCH_SECONDS;
            self.text = known;
            self.days = seconds / DAY_SECONDS;
        }
        Some(self.days)
    }
}

/// Days since the beginning of 2000.
fn date(text: &[u8], days: &mut Days) -> Option<i32> {
    match text {
        b"infinity" => Some(i32::MAX),
        b"-infinity" => Some(i32::MIN),
        _ => i32::try_from(days.of(text)?).ok(),
    }
}

/// Microseconds since the beginning of 2000, of a text that ends with `zone`.
fn timestamp(text: &[u8], zone: &str, days: &mut Days) -> Option<i64> {
    match text {
        b"infinity" => return Some(i64::MAX),
        b"-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (date, time) = text.strip_suffix(zone.as_bytes())?.split_at_checked("2000-01-01".len())?;
    let [b' ', h1, h2, b':', m1, m2, b':', s1, s2, fraction @ ..] = time else { return None };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    let two = |tens, ones, below| Some(digit(tens)? * 10 + digit(ones)?).filter(|value| *value < below);
    let seconds = (two(h1, h2, 24)? * 60 + two(m1, m2, 60)?) * 60 + two(s1, s2, 60)?;
    let microseconds = match fraction {
        [] => 0,
        [b'.', digits @ ..] if digits.len() <= 6 && digits.iter().all(u8::is_ascii_digit) => {
            integer(digits)? * 10i64.pow(6 - digits.len() as u32)
        }
        _ => return None,
    };
    Some((days.of(date)? * DAY_SECONDS + seconds) * MICROSECONDS + microseconds)
}

const NEGATIVE: u16 = 0x4000;
const GROUP: usize = 4;

/// A number of any length: digits in groups of four around the decimal point, without groups of zeros at the ends, and how many
/// digits behind the point are shown.
fn numeric(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let special = match text {
        b"NaN" => Some(0xC000u16),
        b"Infinity" => Some(0xD000),
        b"-Infinity" => Some(0xF000),
        _ => None,
    };
    if let Some(sign) = special {
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&sign.to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        return Some(());
    }
    let (sign, digits) = text.strip_prefix(b"-").map_or((0, text), |digits| (NEGATIVE, digits));
    let point = memchr(b'.', digits).unwrap_or(digits.len());
    let (whole, behind) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
    let is_number = !whole.is_empty() && whole.iter().chain(behind).all(u8::is_ascii_digit);
    is_number.then_some(())?;
    let begin = out.len();
    out.extend_from_slice(&[0; 8]);
    let head = whole.len() % GROUP;
    let heads = std::iter::once(&whole[..head]).filter(|head| !head.is_empty());
    let groups = heads.chain(whole[head..].chunks(GROUP)).map(|group| (group, 0));
    let groups = groups.chain(behind.chunks(GROUP).map(|group| (group, GROUP - group.len())));
    let mut weight = i64::try_from(whole.len().div_ceil(GROUP)).ok()? - 1;
    for (group, zeros) in groups {
        let value = group.iter().fold(0u16, |value, digit| value * 10 + u16::from(digit - b'0'));
        let value = value * 10u16.pow(zeros as u32);
        if value == 0 && out.len() == begin + 8 {
            weight -= 1;
        } else {
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
    while out.len() > begin + 8 && out.ends_with(&[0, 0]) {
        out.truncate(out.len() - 2);
    }
    let count = i16::try_from((out.len() - begin - 8) / 2).ok()?;
    let (weight, sign) = if count == 0 { (0, 0) } else { (i16::try_from(weight).ok()?, sign) };
    let shown = u16::try_from(behind.len()).ok()?;
    for (at, part) in
        [count.to_be_bytes(), weight.to_be_bytes(), sign.to_be_bytes(), shown.to_be_bytes()].iter().enumerate()
    {
        out[begin + at * 2..begin + at * 2 + 2].copy_from_slice(part);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(form: Form, text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        form.write(text.as_bytes(), &mut Days::default(), &mut out)?;
        Some(out)
    }

    #[test]
    fn numbers_are_groups_of_four_digits_around_the_point() {
        let parts = |text| {
            let bytes = written(Form::Numeric, text).unwrap();
            bytes.chunks(2).map(|two| i16::from_be_bytes([two[0], two[1]])).collect::<Vec<_>>()
        };
        assert_eq!(parts("0"), [0, 0, 0, 0]);
        assert_eq!(parts("0.00"), [0, 0, 0, 2]);
        assert_eq!(parts("-1"), [1, 0, 0x4000, 0, 1]);
        assert_eq!(parts("12345678.9"), [3, 1, 0, 1, 1234, 5678, 9000]);
        assert_eq!(parts("100000000"), [1, 2, 0, 0, 1]);
        assert_eq!(parts("0.00000123"), [1, -2, 0, 8, 123]);
        for odd in ["", "-", "1e5", "1.2.3", "+1", "nan"] {
            assert!(written(Form::Numeric, odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn times_are_counted_from_the_year_2000() {
        let mut days = Days::default();
        let mut time = |text| timestamp(text, "+00", &mut days);
        assert_eq!(time(b"2000-01-01 00:00:00+00"), Some(0));
        assert_eq!(time(b"1999-12-31 23:59:59.25+00"), Some(-750_000));
        assert_eq!(time(b"2024-02-29 12:00:00.000001+00"), Some(762_523_200_000_001));
        assert_eq!(time(b"-infinity"), Some(i64::MIN));
        for odd in [
            "2024-02-30 12:00:00+00",
            "2024-02-29 12:00:00+01",
            "2024-02-29T12:00:00+00",
            "2024-02-29 24:00:00+00",
            "2024-02-29 -1:00:00+00",
            "2024-02-29 12:00:00.-5+00",
            "2024-W09-4 12:00:00+00",
            "0044-03-15 00:00:00+00 BC",
        ] {
            assert_eq!(time(odd.as_bytes()), None, "{odd}");
        }
        let mut date = |text| date(text, &mut days);
        assert_eq!(date(b"1999-12-31"), Some(-1));
        assert_eq!(date(b"2024-02-29"), Some(8_825));
        assert_eq!(date(b"infinity"), Some(i32::MAX));
    }

    #[test]
    fn what_no_server_writes_has_no_binary_form() {
        let odd = [
            (Form::Small, "32768"),
            (Form::Integer, "1.0"),
            (Form::Big, "9223372036854775808"),
            (Form::Oid, "-1"),
            (Form::Boolean, "true"),
            (Form::Double, "1,5"),
            (Form::Bytes, "\\x4"),
            (Form::Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1"),
            (Form::Uuid, "a0eebc999c0b-4ef8-bb6d-6bb9bd380a111-"),
        ];
        for (form, text) in odd {
            assert!(written(form, text).is_none(), "{text}");
        }
        assert_eq!(written(Form::Big, "-9223372036854775808"), Some(i64::MIN.to_be_bytes().to_vec()));
        assert_eq!(Form::of("timestamp(3) with time zone"), Some(Form::TimestampUtc));
        assert_eq!(Form::of("character varying(20)"), Some(Form::Text));
        assert_eq!(["integer[]", "numeric(3,1)[]", "interval", "public.text"].map(Form::of), [None; 4]);
    }

    proptest! {
        #[test]
        fn times_are_those_that_a_calendar_knows(
            times in proptest::collection::vec((-62_135_596_800i64..253_402_300_800, 0i64..1_000_000, 0i64..90_000), 1..8),
        ) {
            let mut days = Days::default();
            for (second, micro, later) in times {
                // The second one is mostly of the same day.
                for second in [second, (second + later).min(253_402_300_799)] {
                    let time = jiff::Timestamp::new(second, 0).unwrap().to_zoned(TimeZone::UTC);
                    let text = format!("{}.{micro:06}", time.strftime("%Y-%m-%d %H:%M:%S"));
                    let expected = (second - EPOCH_SECONDS) * MICROSECONDS + micro;
                    prop_assert_eq!(timestamp(text.as_bytes(), "", &mut days), Some(expected), "{}", text);
                }
            }
        }

        #[test]
        fn a_whole_number_is_read_where_it_stands_and_nothing_else_is(
            value in any::<i64>(), cut in 0u32..64, tail in "[\tx.]?", is_short in any::<bool>(),
        ) {
            let value = value >> cut;
            let (row, mut out) = (format!("{value}{tail}"), Vec::new());
            let form = if is_short { Form::Small } else { Form::Big };
            let found = form.write_number(row.as_bytes(), b'\t', &mut out);
            if let Some(length) = found {
                prop_assert_eq!((length, tail.as_str()), (value.to_string().len(), "\t"));
                let bytes = if is_short { (value as i16).to_be_bytes().to_vec() } else { value.to_be_bytes().to_vec() };
                prop_assert_eq!(&out[4..], &bytes[..]);
                prop_assert!(!is_short || i16::try_from(value).is_ok());
            } else {
                prop_assert!(out.is_empty());
                let fits = !is_short || i16::try_from(value).is_ok();
                prop_assert!(tail != "\t" || !fits || value.unsigned_abs() >= 10u64.pow(18));
            }
        }
    }
}
