//! Every parser that eats bytes somebody else may have written, as a function of bytes: it gives an error or something that
//! reads back the same, and never panics, runs on for ever or takes memory that the input does not account for.
//!
//! Shared by the fuzzers beside this file and by a test that feeds each of them what is kept in `fixtures/fuzz`.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use strongroom::base::control::Control;
use strongroom::base::error::{Explain, Explained};
use strongroom::base::path::{self, EntryPath};
use strongroom::base::random::RandomRead;
use strongroom::base::text::printable;
use strongroom::engine::postgres::layout;
use strongroom::engine::postgres::records::kept::{Files, KeptDatabase, Start};
use strongroom::engine::postgres::restore::permitted;
use strongroom::engine::postgres::restore::statements::Splitter;
use strongroom::engine::postgres::settings::Settings;
use strongroom::engine::sqlite::apply::{is_database, page_size};
use strongroom::engine::sqlite::ask::Session;
use strongroom::engine::sqlite::beside::Beside;
use strongroom::format::catalog::{self, Catalog};
use strongroom::format::frame::FrameReader;
use strongroom::format::identity::{OwnerKeys, WriterKeys};
use strongroom::format::manifest::Manifest;
use strongroom::format::vault_file::VaultFile;
use strongroom::format::{header, listing, pack, seal};
use strongroom::ops::config;

pub type Parser = fn(&[u8]);

pub const PARSERS: [(&str, Parser); 11] = [
    ("age_header", age_header),
    ("catalog", catalog),
    ("configuration", configuration),
    ("keys", keys),
    ("listing", listing),
    ("manifest", manifest),
    ("names", names),
    ("pack", pack),
    ("segments", segments),
    ("sqlite", sqlite),
    ("statements", statements),
];

/// Whoever fuzzes knows this key, so that what is behind a header is reached too.
pub const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";

pub fn age_header(bytes: &[u8]) {
    let identity = age::x25519::Identity::from_str(IDENTITY).expect("it is one");
    let identities: [&dyn age::Identity; 1] = [&identity];
    let _ = header::read(bytes, &identities);
    if let Ok(plain) = seal::open(bytes, &identities) {
        assert!(plain.len() < bytes.len());
    }
}

/// The first four bytes say how long a frame says it is; the rest is the frame, or what is in it.
pub fn pack(bytes: &[u8]) {
    let Some((length, frame)) = bytes.split_first_chunk::<4>() else { return };
    let mut plain = Vec::new();
    let length = u32::from_le_bytes(*length);
    if FrameReader::default().decompress(frame, length, &mut plain).is_ok() {
        assert_eq!(plain.len(), length as usize);
        members(&plain);
    }
    members(frame);
}

fn members(frame: &[u8]) {
    for (_, place) in pack::members(frame).into_iter().flatten() {
        assert!(place.start <= place.end && place.end <= frame.len());
    }
}

pub fn catalog(bytes: &[u8]) {
    let _ = catalog::read(bytes);
    if let Ok(read) = Catalog::read(bytes) {
        read.packs.iter().for_each(|pack| _ = pack.places().count());
        assert_eq!(Catalog::read(&read.write()).expect("it was written"), read);
    }
}

pub fn listing(bytes: &[u8]) {
    for line in bytes.split(|&byte| byte == b'\n') {
        if let Ok(entry) = listing::read_entry(line) {
            let mut written = Vec::new();
            listing::write_entry(&entry, &mut written);
            let again = listing::read_entry(written.trim_ascii_end()).expect("it was written");
            assert_eq!(again, entry);
            EntryPath::from_bytes(entry.path.as_bytes()).expect("no path leads out of its source");
        }
        if let Ok(extent) = listing::read_extent(line) {
            let mut written = Vec::new();
            listing::write_extent(&extent, &mut written);
            let _ = listing::read_extent(written.trim_ascii_end()).expect("it was written");
        }
    }
}

pub fn manifest(bytes: &[u8]) {
    // What begins like JSON is packed first: few changes to what is packed unpack to anything.
    let packed =
        if bytes.starts_with(b"{") { zstd::encode_all(bytes, 1).expect("memory is there") } else { bytes.to_vec() };
    let Ok(manifest) = Manifest::read(&packed) else { return };
    let (_, _) = (manifest.complete(), manifest.is_partial());
    manifest.sources.iter().for_each(|source| drop(manifest.absence(source)));
    let written = manifest.write();
    assert_eq!(Manifest::read(&written).expect("it was written").write(), written);
}

pub fn keys(bytes: &[u8]) {
    if let Ok(file) = VaultFile::read(bytes) {
        let _ = file.recipient();
        let _ = VaultFile::read(&file.write()).expect("it was written");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(keys) = WriterKeys::from_json(text) {
        let _ = WriterKeys::from_json(&keys.to_json()).expect("it was written");
    }
    if let Ok((keys, vault, file)) = OwnerKeys::from_text(text) {
        let _ = OwnerKeys::from_text(&keys.to_text(vault, file)).expect("it was written");
    }
}

pub fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let variable = |name: &str| name.starts_with('A').then(|| "a value".to_owned());
    if let Err(error) = config::parse(text, Path::new("/app/strongroom.toml"), &variable) {
        assert!(!error.to_string().is_empty());
    }
}

/// Paths, texts for terminals, and addresses.
pub fn names(bytes: &[u8]) {
    if let Ok(found) = EntryPath::from_bytes(bytes) {
        assert!(found.parts().all(|part| !part.is_empty() && part != b".." && !part.contains(&0)));
        assert_eq!(path::decode(&path::encode(bytes)).as_deref(), Some(bytes));
    }
    let text = String::from_utf8_lossy(bytes);
    assert!(!printable(&text).contains(|letter: char| letter.is_control()));
    if let Ok(settings) = Settings::of_url(&text, &|_| None) {
        assert!(!settings.shown().is_empty());
    }
}

/// A statement that is taken out of many is one statement, and the same one, on its own.
pub fn statements(bytes: &[u8]) {
    let Some(found) = split(bytes) else { return };
    for statement in &found {
        permitted::is_definition(&String::from_utf8_lossy(statement));
    }
    // This one decides how those behind it are read.
    let decides = |statement: &Vec<u8>| statement.windows(8).any(|part| part.eq_ignore_ascii_case(b"standard"));
    if !found.iter().any(decides) {
        for statement in found {
            assert_eq!(split(&statement), Some(vec![statement]));
        }
    }
}

fn split(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut splitter, mut found) = (Splitter::default(), Vec::new());
    for &byte in bytes {
        found.extend(splitter.push(byte).ok()?);
    }
    splitter.finish().ok().map(|()| found)
}

#[derive(Debug)]
struct Beyond;

impl std::error::Error for Beyond {}

impl std::fmt::Display for Beyond {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a read beyond the end")
    }
}

impl Explain for Beyond {}

struct Bytes(Vec<u8>);

impl RandomRead for Bytes {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Explained> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.length());
        if end.is_none() {
            return Err(Box::new(Beyond));
        }
        buffer.copy_from_slice(&self.0[offset as usize..][..buffer.len()]);
        Ok(())
    }
}

/// Two databases, parted in the middle, are shown to SQLite and compared.
pub fn sqlite(bytes: &[u8]) {
    let _ = (is_database(bytes), page_size(bytes));
    let halves = bytes.split_at(bytes.len() / 2 / 512 * 512);
    let (before, after) = (content(halves.0), content(halves.1));
    let Ok(mut session) = Session::open(before.clone(), "a", Arc::new(Control::default())) else { return };
    if session.attach("after", after.clone()).is_err() {
        return;
    }
    let unlike: Vec<std::ops::Range<u64>> = (halves.0.chunks(512).zip(halves.1.chunks(512)))
        .zip((0..).step_by(512))
        .filter(|((before, after), _)| before != after)
        .map(|(_, at)| at..at + 512)
        .collect();
    let beside = Beside { before, after, unlike };
    let _ = session.differences("after", None, Some(&beside), &mut |_, _| Ok(()));
}

fn content(bytes: &[u8]) -> Arc<dyn RandomRead> {
    Arc::new(Bytes(bytes.to_vec()))
}

/// Four parts with lines of `====` between them: the list of tables, rows, notes on segments, and places of extents.
pub fn segments(bytes: &[u8]) {
    let mut parts = Parts::of(bytes);
    let (list, rows, notes) = (parts.next(), parts.next(), parts.next());
    let mut at = 0;
    let starts = parts.next().split(|&byte| byte == b'\n').filter_map(|line| start(line, &mut at)).collect();
    let files: Arc<dyn Files> = Arc::new(Kept { rows, notes, starts });
    let Ok(database) = KeptDatabase::read(&Bytes(list), &|_: &layout::Table| files.clone()) else { return };
    for table in &database.tables {
        let wanted: Vec<usize> = (0..table.record.columns.len()).collect();
        let _ = table.each(&wanted, &mut |_| Ok(()));
        let key = vec![strongroom::base::record::Value::Integer(5)];
        if !wanted.is_empty() {
            let _ = table.find(&table.record, &[0], &[key], &wanted, &mut |_| Ok(()));
        }
        let _ = table.row(1 << 20, &wanted);
    }
    let _ = database.check(&Control::default());
}

struct Parts<'b>(&'b [u8]);

impl<'b> Parts<'b> {
    const BETWEEN: &'static [u8] = b"====\n";

    fn of(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    fn next(&mut self) -> Vec<u8> {
        let end = self.0.windows(Self::BETWEEN.len()).position(|part| part == Self::BETWEEN);
        let (part, rest) = match end {
            Some(end) => (&self.0[..end], &self.0[end + Self::BETWEEN.len()..]),
            None => (self.0, &[][..]),
        };
        self.0 = rest;
        part.to_vec()
    }
}

/// `LENGTH KEY`
fn start(line: &[u8], end: &mut u64) -> Option<Start> {
    let text = std::str::from_utf8(line).ok()?;
    let (length, key) = text.split_once(' ').unwrap_or((text, ""));
    let first = (!key.is_empty()).then(|| key.as_bytes().to_vec());
    let at = *end;
    *end = at.checked_add(length.parse().ok()?)?;
    Some(Start { at, first, content: String::new() })
}

struct Kept {
    rows: Vec<u8>,
    notes: Vec<u8>,
    starts: Vec<Start>,
}

impl Files for Kept {
    fn rows(&self) -> Result<Arc<dyn RandomRead>, Explained> {
        Ok(content(&self.rows))
    }

    fn notes(&self) -> Result<Option<Arc<dyn RandomRead>>, Explained> {
        Ok((!self.notes.is_empty()).then(|| content(&self.notes)))
    }

    fn starts(&self) -> Result<Vec<Start>, Explained> {
        Ok(self.starts.clone())
    }
}
