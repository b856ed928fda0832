//! Deterministic data sets for `scripts/bench.sh`; the same arguments always give the same bytes.
//!
//!     bench_data tree|docs|db|log DIR [--scale F] [--files N]     generate a set into DIR
//!     bench_data change tree|docs|db|log DIR [--scale F]          apply a day's worth of change to it
//!
//! tree  60,000 small source-like files, 256 MB, in about 4,000 folders
//! docs  300 incompressible documents, 800 MB
//! db    one database-like file of 4 KiB pages, 1.07 GB
//! log   one text log, 600 MB
//!
//! Text comes from templates filled out of a vocabulary with Zipf-like frequencies, so that it compresses about as
//! well as the real thing: neither noise nor repetition. `--scale` shrinks (or grows) the amount of data.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{env, process, thread};

#[path = "bench_data/words.rs"]
mod words;

use words::{LOG_LINES, Rng, STEMS, Vocabulary, name, source_file};

const CHUNK: usize = 1 << 20;
const PAGE: usize = 4096;

const USAGE: &str = "usage: bench_data [change] tree|docs|db|log DIR [--scale F] [--files N]";

/// Runs `work` for every index below `count` on all cores.
fn parallel(count: usize, work: impl Fn(usize) -> io::Result<()> + Sync) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let run = || -> io::Result<()> {
        loop {
            match next.fetch_add(1, Relaxed) {
                index if index < count => work(index)?,
                _ => return Ok(()),
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        handles.into_iter().try_for_each(|handle| handle.join().expect("no thread panics"))
    })
}

/// Writes a file of `chunks` pieces of [`CHUNK`] bytes each.
fn write_chunks(path: &Path, chunks: usize, chunk: impl Fn(usize) -> Vec<u8> + Sync) -> io::Result<()> {
    let file = File::create(path)?;
    parallel(chunks, |index| file.write_all_at(&chunk(index), (index * CHUNK) as u64))
}

fn scaled(amount: usize, scale: f64) -> usize {
    ((amount as f64 * scale) as usize).max(1)
}

fn tree(dir: &Path, files: usize) -> io::Result<()> {
    let mut rng = Rng::new(3, 0);
    let mut folders = vec![dir.join("src")];
    for index in 1..files.div_ceil(15) {
        let parent = &folders[rng.below(index.min(500))];
        folders.push(parent.join(format!("{}_{index}", rng.pick(STEMS))));
    }
    folders.iter().try_for_each(fs::create_dir_all)?;
    let vocabulary = Vocabulary::new();
    parallel(files, |index| {
        let mut rng = Rng::new(4, index);
        let folder = rng.below(folders.len());
        let size = rng.size(1510.0, 1.35, 60.0, 200_000.0);
        let path = folders[folder].join(format!("{}_{index}.rs", name(&mut rng)));
        fs::write(path, source_file(&vocabulary, folder, size, &mut rng))
    })
}

fn document(dir: &Path, index: usize) -> io::Result<()> {
    let mut rng = Rng::new(5, index);
    let mut bytes = vec![0; rng.size(1_690_000.0, 1.0, 100_000.0, 12_000_000.0)];
    rng.fill(&mut bytes);
    bytes[..9].copy_from_slice(b"%PDF-1.7\n");
    let folder = dir.join(format!("{}", 2015 + rng.below(10)));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(format!("{}-{index:04}.pdf", rng.pick(STEMS))), bytes)
}

/// One row of a table: numbers in front, then text, then a token.
fn record(vocabulary: &Vocabulary, id: usize, rng: &mut Rng) -> Vec<u8> {
    let mut out = (id as u64).to_be_bytes().to_vec();
    out.extend((1_700_000_000 + id as u32 / 7).to_be_bytes());
    out.extend((rng.zipf(100_000) as u32).to_be_bytes());
    out.extend((rng.zipf(6) as u16).to_be_bytes());
    let (first, last) = (rng.pick(STEMS), &vocabulary.names[rng.zipf(vocabulary.names.len())]);
    out.extend(format!("{first} {last}\0{first}.{last}@example.org\0").bytes());
    vocabulary.write("$w, $p\0$p\0", &[], rng, &mut out);
    let mut token = [0; 12];
    rng.fill(&mut token);
    out.extend(token);
    out
}

/// A page: number, kind, record count, then the records' offsets, and the records from the end of the page backwards.
fn page(vocabulary: &Vocabulary, number: usize) -> Vec<u8> {
    let mut rng = Rng::new(6, number);
    let mut page = vec![0; PAGE];
    page[..4].copy_from_slice(&(number as u32).to_be_bytes());
    page[4] = 13;
    let (mut count, mut end) = (0, PAGE);
    loop {
        let record = record(vocabulary, number * 64 + count, &mut rng);
        let slot = 8 + 2 * count;
        if slot + 2 + record.len() > end {
            page[6..8].copy_from_slice(&(count as u16).to_be_bytes());
            return page;
        }
        end -= record.len();
        page[end..end + record.len()].copy_from_slice(&record);
        page[slot..slot + 2].copy_from_slice(&(end as u16).to_be_bytes());
        count += 1;
    }
}

fn pages(vocabulary: &Vocabulary, first: usize, count: usize) -> Vec<u8> {
    (first..first + count).flat_map(|number| page(vocabulary, number)).collect()
}

fn log_lines(first: usize, size: usize) -> Vec<u8> {
    let mut rng = Rng::new(7, first);
    let vocabulary = Vocabulary::default();
    let mut milliseconds = first * 25_000;
    let mut out = Vec::with_capacity(size + 256);
    while out.len() < size {
        milliseconds += rng.below(6);
        let (seconds, day) = (milliseconds / 1000, 1 + milliseconds / 86_400_000);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(out, "2025-03-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z ", milliseconds % 1000)
            .expect("writing to memory succeeds");
        vocabulary.write(LOG_LINES[rng.zipf(LOG_LINES.len())], &[], &mut rng, &mut out);
        out.push(b'\n');
    }
    out.truncate(size - 1);
    out.push(b'\n');
    out
}

/// All files below `dir`, in the order of their names.
fn files_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        match entry.file_type()?.is_dir() {
            true => found.extend(files_below(&entry.path())?),
            false => found.push(entry.path()),
        }
    }
    Ok(found)
}

/// Of every thousand files: ten edited, two added, one deleted and one renamed.
fn change_tree(dir: &Path) -> io::Result<()> {
    let vocabulary = Vocabulary::new();
    for (index, path) in files_below(dir)?.iter().enumerate() {
        let mut rng = Rng::new(8, index);
        match rng.below(1000) {
            0..10 => {
                let text = fs::read_to_string(path)?;
                let mut lines: Vec<String> = text.lines().map(String::from).collect();
                for _ in 0..3 {
                    let at = rng.below(lines.len());
                    let statement = format!("    {}();", name(&mut rng));
                    if rng.chance(50) { lines[at] = statement } else { lines.insert(at, statement) }
                }
                fs::write(path, lines.join("\n") + "\n")?;
            }
            10..12 => {
                let size = rng.size(1510.0, 1.35, 60.0, 200_000.0);
                let added = source_file(&vocabulary, index / 15, size, &mut rng);
                fs::write(path.with_file_name(format!("new_{index}.rs")), added)?;
            }
            12 => fs::remove_file(path)?,
            13 => fs::rename(path, path.with_file_name(format!("renamed_{index}.rs")))?,
            _ => {}
        }
    }
    Ok(())
}

/// Three documents added, two given other content (and another length) in the middle.
fn change_docs(dir: &Path, scale: f64) -> io::Result<()> {
    let documents = files_below(dir)?;
    for index in [documents.len() / 3, documents.len() / 2] {
        let mut bytes = fs::read(&documents[index])?;
        let mut patch = vec![0; 10_000];
        Rng::new(9, index).fill(&mut patch);
        let middle = bytes.len() / 2;
        bytes.splice(middle..middle + 5000, patch);
        fs::write(&documents[index], bytes)?;
    }
    (0..3).try_for_each(|index| document(dir, scaled(300, scale) + index))
}

/// 2,000 records overwritten on random pages, 5,000 appended on new ones.
fn change_db(path: &Path, scale: f64) -> io::Result<()> {
    let vocabulary = Vocabulary::new();
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let count = file.metadata()?.len() as usize / PAGE;
    let mut rng = Rng::new(10, 0);
    for _ in 0..scaled(2000, scale) {
        let number = rng.below(count);
        let mut page = vec![0; PAGE];
        file.read_exact_at(&mut page, (number * PAGE) as u64)?;
        let slot = 8 + 2 * rng.below(usize::from(page[7]));
        let at = usize::from(u16::from_be_bytes([page[slot], page[slot + 1]]));
        rng.fill(&mut page[at + 12..at + 18]);
        file.write_all_at(&page, (number * PAGE) as u64)?;
    }
    file.write_all_at(&pages(&vocabulary, count, scaled(5000, scale).div_ceil(21)), (count * PAGE) as u64)
}

/// About 1 KB of lines inserted in the middle, 6 MB appended.
fn change_log(path: &Path, scale: f64) -> io::Result<()> {
    let mut text = fs::read(path)?;
    let middle = text.len() / 2;
    let appended = log_lines(text.len().div_ceil(CHUNK), scaled(6_000_000, scale));
    text.splice(middle..middle, log_lines(100_000, 1000));
    text.extend(appended);
    fs::write(path, text)
}

fn run(kind: &str, change: bool, dir: &Path, scale: f64, files: usize) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    match (kind, change) {
        ("tree", false) => tree(dir, scaled(files, scale)),
        ("tree", true) => change_tree(dir),
        ("docs", false) => parallel(scaled(300, scale), |index| document(dir, index)),
        ("docs", true) => change_docs(dir, scale),
        ("db", false) => {
            let vocabulary = Vocabulary::new();
            let per_chunk = CHUNK / PAGE;
            let chunk = |index| pages(&vocabulary, index * per_chunk, per_chunk);
            write_chunks(&dir.join("app.db"), scaled(1024, scale), chunk)
        }
        ("db", true) => change_db(&dir.join("app.db"), scale),
        ("log", false) => write_chunks(&dir.join("app.log"), scaled(572, scale), |index| log_lines(index, CHUNK)),
        ("log", true) => change_log(&dir.join("app.log"), scale),
        _ => Err(io::Error::other(USAGE)),
    }
}

fn fail(message: &str, code: i32) -> ! {
    eprintln!("bench_data: {message}");
    process::exit(code)
}

fn main() {
    let (mut words, mut scale, mut files) = (Vec::new(), 1.0, 60_000);
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().and_then(|text| text.parse().ok()).unwrap_or_else(|| fail(USAGE, 2));
        match argument.as_str() {
            "--scale" => scale = value(),
            "--files" => files = value() as usize,
            _ => words.push(argument),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (change, kind, dir) = match words[..] {
        ["change", kind, dir] => (true, kind, dir),
        [kind, dir] => (false, kind, dir),
        _ => fail(USAGE, 2),
    };
    run(kind, change, Path::new(dir), scale, files).unwrap_or_else(|error| fail(&error.to_string(), 1));
}
