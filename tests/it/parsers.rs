//! Parsers of foreign bytes: what fuzzers kept, and what is near to it, harms none of them.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../fuzz/parsers.rs"]
mod foreign;

use foreign::PARSERS;

/// So many damaged forms of each kept input are tried.
const FORMS: u64 = 40;

fn kept(parser: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fuzz").join(parser);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files
        .map(|file| file.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect()
}

/// A form of these bytes in which a few are others, missing, or there twice.
fn damaged(bytes: &[u8], mut seed: u64) -> Vec<u8> {
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below.max(1)
    };
    let mut bytes = bytes.to_vec();
    for _ in 0..=next(3) {
        let (at, length) = (next(bytes.len()), next(9));
        match next(4) {
            0 if !bytes.is_empty() => bytes[at] = next(256) as u8,
            1 if !bytes.is_empty() => bytes[at] ^= 1 << next(8),
            2 => drop(bytes.drain(at..bytes.len().min(at + length))),
            _ => {
                let copied = bytes[at..bytes.len().min(at + length)].to_vec();
                bytes.splice(at..at, copied);
            }
        }
    }
    bytes
}

#[test]
fn no_parser_of_foreign_bytes_is_harmed_by_what_fuzzers_kept_or_by_what_is_near_to_it() {
    for (name, parser) in PARSERS {
        let inputs = kept(name);
        assert!(!inputs.is_empty(), "{name}: nothing is kept");
        for (file, bytes) in inputs {
            for form in 0..=FORMS {
                let input = if form == 0 { bytes.clone() } else { damaged(&bytes, form) };
                let done = catch_unwind(AssertUnwindSafe(|| parser(&input)));
                assert!(done.is_ok(), "{name}/{file}, form {form}: {}", String::from_utf8_lossy(&input));
            }
        }
    }
}
