//! Identifiers. Each is its own type: the digest of plain bytes can never be mistaken for the digest
//! of sealed ones, nor a snapshot for a vault.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Text that is not the identifier it was taken for.
#[derive(Debug, thiserror::Error)]
#[error("not {what}: expected {digits} hexadecimal digits")]
pub struct BadId {
    what: &'static str,
    digits: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Length in bytes.
            pub const BYTES: usize = $bytes;

            pub fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            pub fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            pub fn to_hex(self) -> String {
                hex::encode(self.0)
            }

            /// The first eight digits: what people read and type.
            pub fn short(self) -> String {
                hex::encode(&self.0[..4])
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let bad = BadId { what: $what, digits: 2 * $bytes };
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(bad);
                }
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| bad)?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.to_hex())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut digits = [0; 2 * $bytes];
                hex::encode_to_slice(self.0, &mut digits).expect("BUG: the buffer fits");
                serializer.serialize_str(std::str::from_utf8(&digits).expect("BUG: hex is ASCII"))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

id! {
    /// SHA-256 of a chunk's plain bytes. Never leaves encryption.
    PlainDigest, 32, "a chunk digest"
}
id! {
    /// SHA-256 of an object's stored bytes: its public name.
    SealedDigest, 32, "an object digest"
}
id! {
    /// Names one snapshot; drawn at random, so that a copy in another vault keeps it.
    SnapshotId, 16, "a snapshot id"
}
id! {
    /// Names one vault; drawn at random by `init`.
    VaultId, 16, "a vault id"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_writes_and_refuses_anything_else() {
        let id = SnapshotId::from_bytes([0xab; 16]);
        assert_eq!(id.to_hex().parse::<SnapshotId>().unwrap(), id);
        assert!("".parse::<SnapshotId>().is_err());
        assert!("AB".repeat(16).parse::<SnapshotId>().is_err());
        assert!("zz".repeat(16).parse::<SnapshotId>().is_err());
        assert_eq!(id.short(), "abababab");
    }
}
