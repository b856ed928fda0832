//! Files of this host's cache with any content under a digest that fits: what a fuzzer feeds to their readers.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::base::id::VaultId;
use crate::base::path::EntryPath;
use crate::vault::cache::{CacheFolder, Notices};
use crate::vault::checked::{CheckKey, CheckedReader, CheckedWriter};
use crate::vault::index::ChunkRecord;
use crate::vault::page_index::PageRecord;
use crate::vault::page_memory::PageMemory;
use crate::vault::recall::read_record;
use crate::vault::run::{Record, Run};

const NAME: &str = "file";

/// The first byte says which kind of file it is.
pub fn cache_file(bytes: &[u8]) {
    let Some((kind, content)) = bytes.split_first() else { return };
    let path = Path::new("/dev/shm").join(format!("strongroom-fuzzed-{}", std::process::id()));
    fs::create_dir_all(&path).expect("there is room in memory");
    let key = CheckKey::new(&VaultId::from_bytes([1; VaultId::BYTES]), "fuzzed");
    match kind % 4 {
        0 => run::<ChunkRecord>(&path, &key, content),
        1 => run::<PageRecord>(&path, &key, content),
        2 => {
            let mut reader = stream(&path, &key, content);
            while let Ok(Some(_)) = read_record(&mut reader) {}
        }
        _ => {
            drop(stream(&path, &key, content));
            let folder = CacheFolder::new(path, key, Notices::default());
            let mut memory = PageMemory::open(Some((&folder, NAME)));
            memory.find(&EntryPath::root().child(b"m"), 4096);
            while memory.run().is_some() {}
        }
    }
}

fn run<R: Record>(path: &Path, key: &CheckKey, content: &[u8]) {
    let digest = key.hasher(NAME.as_ref()).update(content).finalize();
    fs::write(path.join(NAME), [content, digest.as_bytes()].concat()).expect("there is room in memory");
    let Ok(Some(run)) = Run::<R>::open(&path.join(NAME), key) else { return };
    let _ = run.find(&[0; 32]);
    for record in run.records().into_iter().flatten().flatten() {
        let found = run.find(record.key()).expect("it was read");
        found.iter().for_each(|found| _ = run.home(found.home()));
    }
}

fn stream(path: &Path, key: &CheckKey, content: &[u8]) -> CheckedReader {
    let file = File::create(path.join(NAME)).expect("there is room in memory");
    let mut writer = CheckedWriter::new(file, key, NAME.as_ref());
    writer.write_all(content).and_then(|()| writer.finish()).expect("there is room in memory");
    CheckedReader::open(&path.join(NAME), key).expect("it was written")
}
