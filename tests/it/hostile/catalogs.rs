//! A writer host is stolen: whoever has its writer file makes catalogs that say what is not so. What other hosts capture
//! restores all the same.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use strongroom::base::id::PlainDigest;
use strongroom::format::catalog::{self, Catalog, FrameContents, PackContents, PagedChunk};
use strongroom::format::identity::WriterKeys;
use strongroom::format::page::PageKey;
use strongroom::format::{layout, seal};
use strongroom::store::Store;
use strongroom::vault::LockedVault;
use strongroom::vault::host::Folders;

use crate::support::vaults::{
    ALL_DATA, Lab, Random, Tree, assert_restores, assert_same, backup, plant, restore, verify,
};

/// What a thief of a writer host has.
struct Thief<'l> {
    store: &'l Store,
    keys: WriterKeys,
}

impl<'l> Thief<'l> {
    fn of(lab: &'l Lab) -> Self {
        let host = LockedVault::open(lab.store.clone(), &lab.folders).unwrap();
        let text = fs::read_to_string(host.host().writer_file()).unwrap();
        Self { store: &lab.store, keys: WriterKeys::from_json(&text).unwrap() }
    }

    /// Everything that catalogs say.
    fn catalogs(&self) -> Vec<Catalog> {
        let objects = self.store.list(layout::CATALOGS).unwrap();
        let open = |object: &strongroom::store::Listed| {
            seal::open(&self.store.get(&object.key).unwrap(), &[&self.keys.catalog]).unwrap()
        };
        objects.iter().map(|object| Catalog::read(&open(object)).unwrap()).collect()
    }

    fn say(&self, catalog: &Catalog) {
        let sealed = seal::seal(&[&self.keys.recipient, &self.keys.catalog.to_public()], &catalog.write());
        self.store.put_new(&layout::catalog(sealed.digest), sealed.bytes.into()).unwrap();
    }

    /// Says of a chunk that it lies in a pack, of which it knows no more than its name and length.
    fn say_in(&self, chunk: (PlainDigest, u32), pack: &PackContents, length: u64) {
        let (stored, plain) = (200, chunk.1.next_multiple_of(512) + 1024);
        let frame = FrameContents { stored, plain, members: vec![chunk] };
        self.say(&Catalog {
            packs: vec![PackContents { digest: pack.digest, size: length, frames: vec![frame] }],
            paged: Vec::new(),
        });
    }
}

/// Another host: a configuration and a cache of its own, with a copy of the writer file.
fn other_host(lab: &Lab, name: &str) -> Folders {
    let folders = Folders { config: lab.path(&format!("{name}-config")), cache: lab.path(&format!("{name}-cache")) };
    let file = |folders: &Folders| -> PathBuf {
        LockedVault::open(lab.store.clone(), folders).unwrap().host().writer_file().to_owned()
    };
    fs::create_dir_all(file(&folders).parent().unwrap()).unwrap();
    fs::copy(file(&lab.folders), file(&folders)).unwrap();
    folders
}

fn database(lab: &Lab) -> PathBuf {
    let tree = lab.path("tree");
    fs::create_dir_all(&tree).unwrap();
    let path = tree.join("app.db");
    let database = Connection::open(&path).unwrap();
    database.execute_batch("CREATE TABLE money (id INTEGER PRIMARY KEY, owner, cents, note)").unwrap();
    let insert = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
        INSERT INTO money SELECT i, 'owner ' || i, i * 100, hex(randomblob(40)) FROM n";
    database.execute_batch(insert).unwrap();
    path
}

fn change(path: &Path) {
    Connection::open(path).unwrap().execute_batch("UPDATE money SET cents = 7 WHERE id % 50 = 0").unwrap();
}

#[test]
fn pages_that_a_stolen_host_claims_to_know_do_not_get_into_the_database_of_another() {
    let lab = Lab::in_memory();
    let path = database(&lab);
    lab.backup(&lab.path("tree"));
    change(&path);
    // The thief knows what is about to be captured, and that the vault has other pages.
    let thief = Thief::of(&lab);
    let key = PageKey::new(&thief.keys.chunking);
    let page_size = 4096;
    let paged: Vec<PagedChunk> = thief.catalogs().into_iter().flat_map(|catalog| catalog.paged).collect();
    let chunk = paged[0].chunk;
    let known: Vec<_> = paged.iter().flat_map(|chunk| chunk.pages.iter().copied()).collect();
    let content = fs::read(&path).unwrap();
    let pages: Vec<_> = content.chunks(page_size).map(|page| key.digest(page)).filter(|p| !known.contains(p)).collect();
    assert!(!pages.is_empty());
    for page in pages {
        let paged = vec![PagedChunk { chunk, page_size: page_size as u32, pages: vec![page] }];
        thief.say(&Catalog { packs: Vec::new(), paged });
    }
    let made = lab.backup(&lab.path("tree"));
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    assert_restores(&unlocked, &made, &Tree::read(&lab.path("tree")), "the captured database");
    let report = verify(&unlocked, ALL_DATA).unwrap();
    assert!(!report.sound(), "a false catalog is told");
    assert!(report.damage.iter().all(|damage| damage.object.as_str().starts_with(layout::CATALOGS)), "{report:#?}");
    let again = lab.backup(&lab.path("tree"));
    assert_restores(&unlocked, &again, &Tree::read(&lab.path("tree")), "captured again");
}

#[test]
fn pages_of_an_honest_host_are_believed_once_a_check_has_read_them() {
    let lab = Lab::in_memory();
    database(&lab);
    let tree = lab.path("tree");
    let honest = other_host(&lab, "honest");
    backup(&lab.vault(&lab.store, &honest), &tree).unwrap();
    assert!(verify(&lab.unlock(&lab.store, &lab.folders).unwrap(), ALL_DATA).unwrap().sound());
    let made = lab.backup(&tree);
    assert!(made.bytes_new < 4096, "{} bytes of pages that are known were stored again", made.bytes_new);
    let second = other_host(&lab, "second");
    let made = backup(&lab.vault(&lab.store, &second), &tree).unwrap().manifest;
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    assert_restores(&unlocked, &made, &Tree::read(&tree), "captured without a check");
}

#[test]
fn a_chunk_is_read_from_where_it_is_however_many_other_places_are_claimed() {
    let lab = Lab::in_memory();
    let tree = lab.path("tree");
    plant(&tree, &mut Random::new(4), 30, 4 << 10);
    let made = lab.backup(&tree);
    let thief = Thief::of(&lab);
    let packs: Vec<PackContents> = thief.catalogs().into_iter().flat_map(|catalog| catalog.packs).collect();
    let sizes = |pack: &PackContents| [pack.size, pack.size + 1];
    let chunks: Vec<_> = packs.iter().flat_map(|pack| &pack.frames).flat_map(|frame| &frame.members).collect();
    for chunk in chunks.iter().step_by(4) {
        for pack in packs.iter().cycle().take(12) {
            sizes(pack).into_iter().for_each(|length| thief.say_in(**chunk, pack, length));
        }
    }
    for host in [lab.folders.clone(), other_host(&lab, "fresh")] {
        let unlocked = lab.unlock(&lab.store, &host).unwrap();
        assert_restores(&unlocked, &made, &Tree::read(&tree), "restored");
        let report = verify(&unlocked, ALL_DATA).unwrap();
        let harmed: Vec<_> = report.damage.iter().filter(|damage| !damage.harmed.is_empty()).collect();
        assert!(!report.sound() && harmed.is_empty(), "nothing is lost: {harmed:#?}");
    }
    // Lengths that are not so take nothing along either: nothing is stored again.
    assert_eq!(lab.backup(&tree).bytes_new, 0);
}

#[test]
fn what_is_gone_is_stored_again_whatever_a_stolen_host_says_of_where_it_is() {
    let lab = Lab::in_memory();
    let tree = lab.path("tree");
    plant(&tree, &mut Random::new(4), 30, 4 << 10);
    lab.backup(&tree);
    let thief = Thief::of(&lab);
    let packs: Vec<PackContents> = thief.catalogs().into_iter().flat_map(|catalog| catalog.packs).collect();
    let (gone, left) = packs.split_at(packs.len() / 2);
    for pack in gone {
        thief.store.delete(&layout::pack(pack.digest)).unwrap();
        let chunks = pack.frames.iter().flat_map(|frame| &frame.members);
        chunks.for_each(|chunk| thief.say_in(*chunk, &left[0], left[0].size));
    }
    let made = lab.backup(&tree);
    let unlocked = lab.unlock(&lab.store, &other_host(&lab, "fresh")).unwrap();
    assert_restores(&unlocked, &made, &Tree::read(&tree), "restored");
}

#[test]
fn a_chunk_of_another_length_than_a_catalog_says_is_stored() {
    let lab = Lab::in_memory();
    let tree = lab.path("tree");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("one"), b"something").unwrap();
    lab.backup(&tree);
    let thief = Thief::of(&lab);
    let content = Random::new(9).bytes(3000);
    let digest = strongroom::base::chunk::plain_digest(&content);
    let pack = thief.catalogs().into_iter().flat_map(|catalog| catalog.packs).next().unwrap();
    thief.say_in((digest, 2999), &pack, pack.size);
    fs::write(tree.join("two"), &content).unwrap();
    let made = lab.backup(&tree);
    let to = tempfile::tempdir().unwrap();
    let report = restore(&lab.unlock(&lab.store, &lab.folders).unwrap(), &made, to.path()).unwrap();
    assert_eq!(report.issues, []);
    assert_same(&Tree::read(to.path()), &Tree::read(&tree), "restored");
    assert!(catalog::read(&catalog::write(&[pack])).is_ok());
}
