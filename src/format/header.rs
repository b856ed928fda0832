//! The head of an age file: who can open it (docs/format.md §4; the format is age's, version 1).
//!
//! The age crate seals and opens whole streams; its payload cipher is a quarter of the speed of the assembler
//! used in `seal`, and it hands out no file key to read ranges with (docs/decisions/0002). So the head is written
//! and read here from age's own building blocks: recipients wrap, identities unwrap, exactly as in the crate.

use age::secrecy::ExposeSecret;
use age_core::format::{FileKey, Stanza, read::age_stanza};
use age_core::primitives::hkdf;
use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};

use crate::format::error::FormatError;
use crate::format::seal::PayloadKey;

const VERSION: &[u8] = b"age-encryption.org/v1\n";
const MAC_TAG: &[u8] = b"---";
const NONCE: usize = 16;

/// A head longer than this is not one of ours; nothing longer is ever fetched to look for its end.
pub const MAX_HEADER: usize = 64 << 10;

/// Makes a fresh file key, wraps it to everyone, and returns the whole head with the key of the payload behind it.
pub fn write(recipients: &[&dyn age::Recipient]) -> (Vec<u8>, PayloadKey) {
    let file_key = FileKey::init_with_mut(|key| fill_random(key));
    let mut header = VERSION.to_vec();
    for recipient in recipients {
        let (stanzas, _labels) = recipient.wrap_file_key(&file_key).expect("BUG: recipients of a vault always wrap");
        stanzas.iter().for_each(|stanza| write_stanza(stanza, &mut header));
    }
    header.extend_from_slice(MAC_TAG);
    let tag = hmac::sign(&mac_key(&file_key), &header);
    header.push(b' ');
    header.extend_from_slice(BASE64_STANDARD_NO_PAD.encode(tag).as_bytes());
    header.push(b'\n');
    let mut nonce = [0; NONCE];
    fill_random(&mut nonce);
    header.extend_from_slice(&nonce);
    (header, payload_key(&file_key, &nonce))
}

/// Reads the head at the start of `bytes` with the first identity that fits.
/// Returns the payload's key and where the payload begins.
pub fn read(bytes: &[u8], identities: &[&dyn age::Identity]) -> Result<(PayloadKey, usize), FormatError> {
    let what = "the age header";
    let mut rest = bytes.strip_prefix(VERSION).ok_or_else(|| FormatError::malformed(what, "not an age file"))?;
    let mut stanzas = Vec::new();
    while rest.starts_with(b"->") {
        let (after, stanza) =
            age_stanza(rest).map_err(|_| FormatError::malformed(what, "a recipient cannot be read"))?;
        stanzas.push(Stanza::from(stanza));
        rest = after;
    }
    let signed = bytes.len() - rest.len() + MAC_TAG.len();
    let line = rest.strip_prefix(MAC_TAG).and_then(|r| r.strip_prefix(b" ")).ok_or(FormatError::Truncated { what })?;
    let end = line.iter().position(|&b| b == b'\n').ok_or(FormatError::Truncated { what })?;
    let tag = BASE64_STANDARD_NO_PAD.decode(&line[..end]).map_err(|_| FormatError::Altered { what })?;
    let nonce = line.get(end + 1..end + 1 + NONCE).ok_or(FormatError::Truncated { what })?;
    let file_key = unwrap(&stanzas, identities)?;
    hmac::verify(&mac_key(&file_key), &bytes[..signed], &tag).map_err(|_| FormatError::Altered { what })?;
    Ok((payload_key(&file_key, nonce), bytes.len() - line.len() + end + 1 + NONCE))
}

fn unwrap(stanzas: &[Stanza], identities: &[&dyn age::Identity]) -> Result<FileKey, FormatError> {
    // An identity that fails to open what looks like its own (a wrong passphrase) leaves the others their turn.
    for identity in identities {
        if let Some(Ok(file_key)) = identity.unwrap_stanzas(stanzas) {
            return Ok(file_key);
        }
    }
    Err(FormatError::NoIdentity { what: "this object" })
}

fn write_stanza(stanza: &Stanza, header: &mut Vec<u8>) {
    header.extend_from_slice(b"-> ");
    header.extend_from_slice(stanza.tag.as_bytes());
    for argument in &stanza.args {
        header.push(b' ');
        header.extend_from_slice(argument.as_bytes());
    }
    header.push(b'\n');
    // The last line of a body is always shorter than 64 columns, if need be empty: that is how its end is known.
    let body = BASE64_STANDARD_NO_PAD.encode(&stanza.body);
    let ends_full = body.len().is_multiple_of(64);
    for line in body.as_bytes().chunks(64) {
        header.extend_from_slice(line);
        header.push(b'\n');
    }
    if ends_full {
        header.push(b'\n');
    }
}

fn mac_key(file_key: &FileKey) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &hkdf(&[], b"header", file_key.expose_secret()))
}

fn payload_key(file_key: &FileKey, nonce: &[u8]) -> PayloadKey {
    PayloadKey::new(&hkdf(nonce, b"payload", file_key.expose_secret()))
}

/// Fills a buffer from the operating system's generator.
pub fn fill_random(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("BUG: the operating system has no random numbers");
}
