//! The names of objects (docs/format.md §2).

use crate::base::id::SealedDigest;
use crate::base::name::{Name, ObjectKey};
use crate::base::time::Instant;

pub const KEYS: &str = "keys";
pub const PACKS: &str = "packs";
pub const CATALOGS: &str = "catalogs";
pub const SNAPSHOTS: &str = "snapshots";

fn key(text: String) -> ObjectKey {
    text.parse().expect("BUG: a name of our own is valid")
}

pub fn vault_file() -> ObjectKey {
    key("vault.json".to_owned())
}

/// A person's name is reduced to what object names allow.
pub fn person(name: &Name, digest: SealedDigest) -> ObjectKey {
    let plain: String =
        name.as_str().chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).take(64).collect();
    key(format!("{KEYS}/{plain}-{digest}.age"))
}

/// The name of the person an object of `keys/` belongs to.
pub fn person_of(object: &ObjectKey) -> Option<&str> {
    object.as_str().strip_prefix("keys/")?.rsplit_once('-').map(|(name, _)| name)
}

pub fn pack(digest: SealedDigest) -> ObjectKey {
    let hex = digest.to_hex();
    key(format!("{PACKS}/{}/{hex}.tar.zst.age", &hex[..2]))
}

pub fn catalog(digest: SealedDigest) -> ObjectKey {
    key(format!("{CATALOGS}/{digest}.age"))
}

pub fn manifest(time: Instant, digest: SealedDigest) -> ObjectKey {
    key(format!("{SNAPSHOTS}/{}-{digest}.json.zst.age", time.compact()))
}

/// The time an object of `snapshots/` carries in its name.
pub fn manifest_time(object: &ObjectKey) -> Option<Instant> {
    let name = object.as_str().strip_prefix("snapshots/")?;
    Instant::from_compact(name.strip_suffix(".json.zst.age")?.rsplit_once('-')?.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_what_can_be_read_back_from_them() {
        let digest = SealedDigest::from_bytes([0xa1; 32]);
        let time = Instant::from_unix(1_795_226_404, 123_456_789);
        let object = manifest(time, digest);
        assert_eq!(manifest_time(&object), Some(time));
        assert_eq!(object.digest(), Some(digest));
        assert_eq!(person_of(&person(&Name::lossy("Zoë x"), digest)), Some("Zo__x"));
        assert_eq!(pack(digest).digest(), Some(digest));
        assert_eq!(catalog(digest).digest(), Some(digest));
    }
}
