//! Values as their stores keep them: compared, shown to people, written as JSON without loss.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// A value exactly as its store keeps it. Two are equal when they are kept the same way: 1 is not 1.0.
#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Integer(i64),
    Real(f64),
    /// Bytes, since not every store insists that text is text.
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

/// The values of a record, in the order of its table's columns.
pub type Row = Vec<Value>;

/// The values that name a record, in the order of its table's key.
pub type Key = Vec<Value>;

impl Value {
    pub fn text(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The same in small letters, if it is text.
    pub fn lowered(self) -> Self {
        match self {
            Self::Text(bytes) => Self::Text(bytes.to_ascii_lowercase()),
            other => other,
        }
    }

    fn order(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Integer(_) => 1,
            Self::Real(_) => 2,
            Self::Text(_) => 3,
            Self::Blob(_) => 4,
        }
    }

    /// Adds the value to a digest, so that no two rows give the same bytes.
    pub fn digest_into(&self, digest: &mut Sha256) {
        digest.update([self.order()]);
        match self {
            Self::Null => {}
            Self::Integer(number) => digest.update(number.to_le_bytes()),
            Self::Real(number) => digest.update(number.to_bits().to_le_bytes()),
            Self::Text(bytes) | Self::Blob(bytes) => {
                digest.update((bytes.len() as u64).to_le_bytes());
                digest.update(bytes);
            }
        }
    }
}

/// Values as references compare them: a number may be kept as text on one of its sides.
pub fn plain(values: &[Value]) -> Row {
    let plain = |value: &Value| match value {
        Value::Integer(number) => Value::text(&number.to_string()),
        Value::Real(number) if number.fract() == 0.0 => Value::text(&format!("{number:.0}")),
        _ => value.clone(),
    };
    values.iter().map(plain).collect()
}

/// A value that a reference gets, as it keeps values: a number that was text stays text.
pub fn like(was: &Value, now: &Value) -> Value {
    match (was, now) {
        (Value::Text(_), Value::Integer(number)) => Value::text(&number.to_string()),
        _ => now.clone(),
    }
}

/// The same to a reference.
pub fn alike(one: &[Value], other: &[Value]) -> bool {
    plain(one) == plain(other)
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(one), Self::Integer(other)) => one.cmp(other),
            (Self::Real(one), Self::Real(other)) => one.total_cmp(other),
            (Self::Text(one), Self::Text(other)) | (Self::Blob(one), Self::Blob(other)) => one.cmp(other),
            _ => self.order().cmp(&other.order()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.order().hash(state);
        match self {
            Self::Null => {}
            Self::Integer(number) => number.hash(state),
            Self::Real(number) => number.to_bits().hash(state),
            Self::Text(bytes) | Self::Blob(bytes) => bytes.hash(state),
        }
    }
}

/// For people: on one line, nothing that a terminal obeys, and no more of it than tells it from others.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Real(number) => write!(f, "{number:?}"),
            Self::Text(bytes) => f.write_str(&crate::base::text::quoted(&String::from_utf8_lossy(bytes))),
            Self::Blob(bytes) if bytes.len() <= 16 => write!(f, "x'{}'", hex::encode(bytes)),
            Self::Blob(bytes) => write!(f, "{}", crate::base::text::counted(bytes.len() as u64, "byte")),
        }
    }
}

/// As JSON has it; what it has no way to say is a table with one word.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Real(number) => {
                Written::Real { real: number.to_bits(), about: number.to_string() }.serialize(serializer)
            }
            Self::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => serializer.serialize_str(text),
                Err(_) => Written::Text { text: STANDARD.encode(bytes) }.serialize(serializer),
            },
            Self::Blob(bytes) => Written::Blob { base64: STANDARD.encode(bytes) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = |text: String| STANDARD.decode(text).map_err(serde::de::Error::custom);
        Ok(match Option::<Written>::deserialize(deserializer)? {
            None => Self::Null,
            Some(Written::Integer(number)) => Self::Integer(number),
            Some(Written::Plain(text)) => Self::Text(text.into_bytes()),
            Some(Written::Real { real, .. }) => Self::Real(f64::from_bits(real)),
            Some(Written::Text { text }) => Self::Text(bytes(text)?),
            Some(Written::Blob { base64 }) => Self::Blob(bytes(base64)?),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Integer(i64),
    Plain(String),
    /// The number's bits: decimal digits are for people.
    Real {
        real: u64,
        about: String,
    },
    /// Text that is no UTF-8.
    Text {
        text: String,
    },
    Blob {
        base64: String,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Value;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Integer),
            any::<u64>().prop_map(|bits| Value::Real(f64::from_bits(bits))),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::Text),
            ".*".prop_map(|text| Value::Text(text.into_bytes())),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::Blob),
        ]
    }

    proptest! {
        #[test]
        fn a_value_is_the_same_after_json(value in value()) {
            let text = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }

    #[test]
    fn one_is_not_one_point_zero() {
        assert_ne!(Value::Integer(1), Value::Real(1.0));
        assert_ne!(Value::text("1"), Value::Blob(b"1".to_vec()));
    }
}
