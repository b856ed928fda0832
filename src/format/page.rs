//! Pages of databases, as writers know them again (docs/format.md §6).
//!
//! A page digest is keyed: nobody without the vault's secret can tell which page it is of, nor make two pages for one.

use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

use crate::format::identity::ChunkingSecret;

/// Names a page among those of one vault. Serves to find pages again, never to trust their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageDigest([u8; Self::BYTES]);

impl PageDigest {
    pub const BYTES: usize = 16;

    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// What page digests of one vault are made with.
#[derive(Clone)]
pub struct PageKey(Zeroizing<[u8; 32]>);

impl PageKey {
    pub fn new(secret: &ChunkingSecret) -> Self {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]);
        let mut key = Zeroizing::new([0; 32]);
        let extracted = salt.extract(secret.expose());
        let expanded = extracted.expand(&[b"strongroom page 2"], hkdf::HKDF_SHA256);
        expanded.and_then(|key_material| key_material.fill(&mut *key)).expect("BUG: 32 bytes is what it gives");
        Self(key)
    }

    pub fn digest(&self, page: &[u8]) -> PageDigest {
        let digest = blake3::keyed_hash(&self.0, page);
        PageDigest(digest.as_bytes()[..PageDigest::BYTES].try_into().expect("BUG: a digest is longer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_digest_depends_on_the_page_and_on_the_vault() {
        let key = |n| PageKey::new(&ChunkingSecret::from_bytes([n; 32]));
        let page = [7; 4096];
        assert_eq!(key(1).digest(&page), key(1).digest(&page));
        assert_ne!(key(1).digest(&page), key(2).digest(&page));
        assert_ne!(key(1).digest(&page), key(1).digest(&page[..4095]));
    }
}
