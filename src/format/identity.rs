//! The secrets of a vault and how they are written down (docs/format.md §3).
//!
//! Owners hold everything: the vault's identity, the catalog's identity and the chunking secret, as a file that
//! `age -i` accepts. Writers hold what cannot read: the vault's recipient, the catalog's identity, the secret.

use std::str::FromStr;

use age::secrecy::{ExposeSecret, SecretString};
use age::x25519::{Identity, Recipient};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::base::id::{SealedDigest, VaultId};
use crate::format::error::FormatError;
use crate::format::header::fill_random;

/// Decides where content is cut. Zeroed when dropped, never shown.
#[derive(Clone)]
pub struct ChunkingSecret(Zeroizing<[u8; 32]>);

impl ChunkingSecret {
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        fill_random(&mut *bytes);
        Self(bytes)
    }

    pub(super) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for ChunkingSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChunkingSecret(…)")
    }
}

/// Everything an owner holds.
#[derive(Clone)]
pub struct OwnerKeys {
    pub vault: Identity,
    pub catalog: Identity,
    pub chunking: ChunkingSecret,
}

impl OwnerKeys {
    pub fn generate() -> Self {
        Self { vault: Identity::generate(), catalog: Identity::generate(), chunking: ChunkingSecret::generate() }
    }

    /// The text sealed to each person: an age identity file with what age does not know in comments.
    pub fn to_text(&self, vault: VaultId, vault_file: SealedDigest) -> Zeroizing<String> {
        let secret = |identity: &Identity| Zeroizing::new(identity.to_string().expose_secret().to_owned());
        let (own, catalog, chunking) =
            (secret(&self.vault), secret(&self.catalog), Zeroizing::new(hex::encode(*self.chunking.0)));
        Zeroizing::new(format!(
            "# strongroom owner keys 1\n# vault: {vault}\n# vault.json: {vault_file}\n# chunking: {}\n{}\n{}\n",
            *chunking, *own, *catalog
        ))
    }

    /// Reads [`Self::to_text`] back, with the vault id and the digest of `vault.json` it was made for.
    pub fn from_text(text: &str) -> Result<(Self, VaultId, SealedDigest), FormatError> {
        let what = "the owner keys";
        let missing = |name: &str| FormatError::malformed(what, format!("{name} is missing"));
        if !text.starts_with("# strongroom owner keys 1\n") {
            return Err(FormatError::malformed(what, "the first line is unknown"));
        }
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(name)?.strip_prefix(": "));
        let vault_id = field("vault").and_then(|v| v.parse().ok()).ok_or_else(|| missing("the vault id"))?;
        let vault_file =
            field("vault.json").and_then(|v| v.parse().ok()).ok_or_else(|| missing("the digest of vault.json"))?;
        let chunking = field("chunking").and_then(secret_bytes).ok_or_else(|| missing("the chunking secret"))?;
        let mut identities = text.lines().filter(|line| line.starts_with("AGE-SECRET-KEY-1"));
        let mut identity =
            |name| identities.next().and_then(|line| Identity::from_str(line).ok()).ok_or_else(|| missing(name));
        let keys =
            Self { vault: identity("the vault's identity")?, catalog: identity("the catalog's identity")?, chunking };
        Ok((keys, vault_id, vault_file))
    }
}

/// Everything a writer holds.
#[derive(Clone)]
pub struct WriterKeys {
    pub vault_id: VaultId,
    /// Digest of `vault.json`, so that nobody can slip another recipient under it.
    pub vault_file: SealedDigest,
    pub recipient: Recipient,
    pub catalog: Identity,
    pub chunking: ChunkingSecret,
}

#[derive(Serialize, Deserialize)]
struct WriterFile {
    format: u64,
    vault: VaultId,
    vault_json: SealedDigest,
    recipient: String,
    catalog: Zeroizing<String>,
    chunking: Zeroizing<String>,
}

impl WriterKeys {
    pub fn of(owner: &OwnerKeys, vault_id: VaultId, vault_file: SealedDigest) -> Self {
        let OwnerKeys { vault, catalog, chunking } = owner.clone();
        Self { vault_id, vault_file, recipient: vault.to_public(), catalog, chunking }
    }

    pub fn to_json(&self) -> Zeroizing<String> {
        let file = WriterFile {
            format: 1,
            vault: self.vault_id,
            vault_json: self.vault_file,
            recipient: self.recipient.to_string(),
            catalog: Zeroizing::new(self.catalog.to_string().expose_secret().to_owned()),
            chunking: Zeroizing::new(hex::encode(*self.chunking.0)),
        };
        Zeroizing::new(serde_json::to_string_pretty(&file).expect("BUG: plain fields") + "\n")
    }

    /// A secret that cannot be read is never quoted in the error.
    pub fn from_json(text: &str) -> Result<Self, FormatError> {
        let what = "the writer file";
        let file: WriterFile = serde_json::from_str(text).map_err(|error| {
            FormatError::malformed(what, format!("line {} column {}", error.line(), error.column()))
        })?;
        if file.format != 1 {
            return Err(FormatError::Newer { what, found: file.format, known: 1 });
        }
        let bad = |field: &str| FormatError::malformed(what, format!("{field} cannot be read"));
        Ok(Self {
            vault_id: file.vault,
            vault_file: file.vault_json,
            recipient: file.recipient.parse().map_err(|_| bad("recipient"))?,
            catalog: file.catalog.parse().map_err(|_| bad("catalog"))?,
            chunking: secret_bytes(&file.chunking).ok_or_else(|| bad("chunking"))?,
        })
    }
}

fn secret_bytes(text: &str) -> Option<ChunkingSecret> {
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text, &mut *bytes).ok()?;
    Some(ChunkingSecret(bytes))
}

/// A passphrase for age's scrypt. Its work factor is age's own choice for about a second.
pub fn passphrase_recipient(passphrase: &SecretString) -> age::scrypt::Recipient {
    age::scrypt::Recipient::new(passphrase.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_and_writer_keys_read_back_and_age_accepts_the_owners() {
        let keys = OwnerKeys::generate();
        let (vault, file) = (VaultId::from_bytes([7; 16]), SealedDigest::from_bytes([9; 32]));
        let text = keys.to_text(vault, file);
        let (back, vault_back, file_back) = OwnerKeys::from_text(&text).unwrap();
        assert_eq!((vault_back, file_back), (vault, file));
        assert_eq!(back.to_text(vault, file), text);
        assert!(age::IdentityFile::from_buffer(text.as_bytes()).is_ok());
        let writer = WriterKeys::of(&keys, vault, file);
        assert_eq!(WriterKeys::from_json(&writer.to_json()).unwrap().to_json(), writer.to_json());
        assert!(!writer.to_json().contains(keys.vault.to_string().expose_secret()));
    }

    #[test]
    fn a_broken_secret_is_never_quoted() {
        let keys = OwnerKeys::generate();
        let json = WriterKeys::of(&keys, VaultId::from_bytes([7; 16]), SealedDigest::from_bytes([9; 32])).to_json();
        for broken in [
            json.replace("AGE-SECRET-KEY-1", "AGE-SECRET-KEI-1"),
            json.replace("\"chunking\": \"", "\"chunking\": \"zz"),
        ] {
            let Err(error) = WriterKeys::from_json(&broken) else { panic!("accepted") };
            assert!(!error.to_string().contains("AGE-SECRET"), "{error}");
        }
    }
}
