//! `vault.json`: the one object whose name is fixed, so it carries its own digest (docs/format.md §2).

use age::x25519::Recipient;
use serde::{Deserialize, Serialize};

use crate::base::chunk::sealed_digest;
use crate::base::id::{SealedDigest, VaultId};
use crate::base::time::Instant;
use crate::format::error::FormatError;
use crate::format::manifest::{FORMAT, check_format};

const WHAT: &str = "vault.json";
const NO_DIGEST: [u8; 32] = [0; 32];

/// What anybody may know of a vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultFile {
    pub format: u64,
    pub vault: VaultId,
    pub created: Instant,
    /// Whom packs, catalogs and manifests are sealed to.
    pub recipient: String,
    /// Whom catalogs are sealed to as well.
    pub catalog_recipient: String,
    /// SHA-256 of this file with these 64 digits as zeros.
    sha256: SealedDigest,
}

impl VaultFile {
    pub fn new(vault: VaultId, created: Instant, recipient: &Recipient, catalog: &Recipient) -> Self {
        let sha256 = SealedDigest::from_bytes(NO_DIGEST);
        Self {
            format: FORMAT,
            vault,
            created,
            recipient: recipient.to_string(),
            catalog_recipient: catalog.to_string(),
            sha256,
        }
    }

    /// The file's bytes. Two files differ if and only if their digests do.
    pub fn write(&self) -> Vec<u8> {
        let blank = Self { sha256: SealedDigest::from_bytes(NO_DIGEST), ..self.clone() };
        let sealed = Self { sha256: sealed_digest(&blank.json()), ..blank };
        sealed.json()
    }

    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        check_format(bytes, WHAT)?;
        let file: Self = serde_json::from_slice(bytes).map_err(|error| FormatError::malformed(WHAT, error))?;
        if file.write() != bytes {
            return Err(FormatError::Altered { what: WHAT });
        }
        Ok(file)
    }

    pub fn digest(&self) -> SealedDigest {
        sealed_digest(&self.write())
    }

    pub fn recipient(&self) -> Result<Recipient, FormatError> {
        self.recipient.parse().map_err(|error| FormatError::malformed(WHAT, error))
    }

    fn json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("BUG: plain fields");
        json.push(b'\n');
        json
    }
}

#[cfg(test)]
mod tests {
    use age::x25519::Identity;

    use super::*;

    #[test]
    fn every_flip_and_every_cut_of_the_file_is_noticed() {
        let recipient = Identity::generate().to_public();
        let bytes = VaultFile::new(VaultId::from_bytes([1; 16]), Instant::now(), &recipient, &recipient).write();
        assert!(VaultFile::read(&bytes).is_ok());
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(VaultFile::read(&flipped).is_err(), "flip at {at}");
            assert!(VaultFile::read(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_format_says_so_whatever_else_it_holds() {
        assert!(matches!(VaultFile::read(br#"{"format": 9}"#), Err(FormatError::Newer { found: 9, .. })));
    }
}
