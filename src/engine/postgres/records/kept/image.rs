//! What a field is, in few bytes, however long it is: two fields whose images are equal are the same.
//!
//! Short fields are their own image; of a long one it is a digest, which is made while its bytes pass by.

use sha2::{Digest, Sha256};

/// Fields up to so many bytes are kept as they are.
const SHORT: usize = 4096;
/// An empty value, as it stands in a file of rows.
pub const EMPTY: &[u8] = b"\\N";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    Short(Vec<u8>),
    Long { length: u64, digest: [u8; 32] },
}

impl Image {
    pub fn of(bytes: &[u8]) -> Self {
        let mut painter = Painter::default();
        painter.add(bytes);
        painter.image()
    }

    /// The field itself, of a short one.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Short(bytes) => Some(bytes),
            Self::Long { .. } => None,
        }
    }

    /// Adds it to a digest, so that no two lists of fields give the same bytes.
    pub fn digest_into(&self, row: &mut Sha256) {
        match self {
            Self::Short(bytes) => {
                row.update((bytes.len() as u64).to_le_bytes());
                row.update(bytes);
            }
            Self::Long { length, digest } => {
                row.update(length.to_le_bytes());
                row.update(digest);
            }
        }
    }
}

/// Makes an image of bytes as they come.
#[derive(Default)]
pub struct Painter {
    length: u64,
    short: Vec<u8>,
    long: Option<Sha256>,
}

impl Painter {
    pub fn add(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if let Some(long) = &mut self.long {
            long.update(bytes);
        } else if self.short.len() + bytes.len() <= SHORT {
            self.short.extend_from_slice(bytes);
        } else {
            let mut long = Sha256::new_with_prefix(std::mem::take(&mut self.short));
            long.update(bytes);
            self.long = Some(long);
        }
    }

    pub fn image(self) -> Image {
        match self.long {
            Some(long) => Image::Long { length: self.length, digest: long.finalize().into() },
            None => Image::Short(self.short),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_the_same_however_its_bytes_come() {
        for length in [0, 1, SHORT - 1, SHORT, SHORT + 1, 5 * SHORT] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            for step in [1, 7, SHORT] {
                let mut painter = Painter::default();
                bytes.chunks(step).for_each(|part| painter.add(part));
                assert!(painter.image() == Image::of(&bytes), "{length} in steps of {step}");
            }
            assert_eq!(Image::of(&bytes).bytes().is_some(), length <= SHORT);
        }
    }
}
