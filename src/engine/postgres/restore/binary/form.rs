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

    /// Appends a value; none where its text is not what the type writes.
    pub fn write(self, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
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
            Self::Date => out.extend_from_slice(&date(text)?.to_be_bytes()),
            Self::Timestamp => out.extend_from_slice(&timestamp(text, "")?.to_be_bytes()),
            Self::TimestampUtc => out.extend_from_slice(&timestamp(text, "+00")?.to_be_bytes()),
        }
        Some(())
    }
}

/// Few digits without a look at whether they are text.
fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return number(text);
    }
    let value = digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    Some(if digits.len() < text.len() { -value } else { value })
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

/// Days since the beginning of 2000.
fn date(text: &[u8]) -> Option<i32> {
    match text {
        b"infinity" => return Some(i32::MAX),
        b"-infinity" => return Some(i32::MIN),
        _ => {}
    }
    let date: civil::Date = number(text)?;
    let seconds = TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?.as_second() - EPOCH_SECONDS;
    i32::try_from(seconds / DAY_SECONDS).ok()
}

/// Microseconds since the beginning of 2000, of a text that ends with `zone`.
fn timestamp(text: &[u8], zone: &str) -> Option<i64> {
    match text {
        b"infinity" => return Some(i64::MAX),
        b"-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (seconds, fraction) = text.strip_suffix(zone.as_bytes())?.split_at_checked("2000-01-01 00:00:00".len())?;
    let part = |from: usize, to: usize| i8::try_from(integer(&seconds[from..to])?).ok();
    let year = i16::try_from(integer(&seconds[..4])?).ok()?;
    let is_written_so = [4, 7, 10, 13, 16].map(|at| seconds[at]) == *b"-- ::";
    is_written_so.then_some(())?;
    let microseconds = match fraction {
        [] => 0,
        [b'.', digits @ ..] if digits.len() <= 6 => integer(digits)? * 10i64.pow(6 - digits.len() as u32),
        _ => return None,
    };
    let time =
        civil::DateTime::new(year, part(5, 7)?, part(8, 10)?, part(11, 13)?, part(14, 16)?, part(17, 19)?, 0).ok()?;
    let since = TimeZone::UTC.to_timestamp(time).ok()?.as_second() - EPOCH_SECONDS;
    Some(since * MICROSECONDS + microseconds)
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
    use super::*;

    fn written(form: Form, text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        form.write(text.as_bytes(), &mut out)?;
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
        let time = |text| timestamp(text, "+00");
        assert_eq!(time(b"2000-01-01 00:00:00+00"), Some(0));
        assert_eq!(time(b"1999-12-31 23:59:59.25+00"), Some(-750_000));
        assert_eq!(time(b"2024-02-29 12:00:00.000001+00"), Some(762_523_200_000_001));
        assert_eq!(time(b"-infinity"), Some(i64::MIN));
        for odd in
            ["2024-02-30 12:00:00+00", "2024-02-29 12:00:00+01", "2024-02-29T12:00:00+00", "0044-03-15 00:00:00+00 BC"]
        {
            assert_eq!(timestamp(odd.as_bytes(), "+00"), None, "{odd}");
        }
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
}
