//! Checking a vault from the inside: what is there, and whether packs hold what catalogs say.
//!
//! Trusts nothing on this host: catalogs are read from the vault into an index of their own.

mod pages;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::sync::{Arc, Mutex};

use crossbeam_channel::bounded;

use crate::base::chunk::{plain_digest, sealed_digest};
use crate::base::control::Control;
use crate::base::error::{Class, Explain};
use crate::base::id::{PlainDigest, SealedDigest};
use crate::base::name::ObjectKey;
use crate::format::catalog::{Catalog, FrameContents, PackContents};
use crate::format::frame::FrameReader;
use crate::format::page::PageKey;
use crate::format::seal::Opener;
use crate::format::{catalog, layout, pack};
use crate::vault::catalogs::Compared;
use crate::vault::check::pages::PageClaims;
use crate::vault::error::VaultError;
use crate::vault::host;
use crate::vault::index::{Index, catalog_digest};
use crate::vault::ledger::Known;
use crate::vault::read::Library;
use crate::vault::unlocked::UnlockedVault;

/// What a vault holds, by what its store and its catalogs say.
pub struct Census {
    pub manifests: Vec<ObjectKey>,
    /// What this host knew of the vault before anything was looked at.
    pub known: Known,
    pub keys: Vec<ObjectKey>,
    pub packs: BTreeMap<SealedDigest, u64>,
    pub catalogs: usize,
    pub catalog_bytes: u64,
    /// Keys and catalogs that cannot be what they should be.
    pub damaged: Vec<(ObjectKey, VaultError)>,
    index: Arc<Index>,
    folder: std::path::PathBuf,
}

impl Census {
    /// Lists in the opposite order of writing: what a backup that runs meanwhile adds is then at most there and not
    /// yet referred to, never the other way round.
    pub fn take(unlocked: &UnlockedVault) -> Result<Self, VaultError> {
        let vault = &unlocked.vault;
        let known = vault.ledger().read();
        let manifests = vault.manifest_keys()?;
        let mut damaged = Vec::new();
        let keys: Vec<ObjectKey> = vault.store.list(layout::KEYS)?.into_iter().map(|object| object.key).collect();
        for key in &keys {
            if key.digest() != Some(sealed_digest(&vault.store.get(key)?)) {
                damaged.push((key.clone(), VaultError::Damaged { object: key.clone() }));
            }
        }
        let listed = vault.store.list(layout::CATALOGS)?;
        let catalogs: Vec<SealedDigest> = listed.iter().filter_map(|object| catalog_digest(&object.key)).collect();
        let cache = vault.host.folder("verify");
        let folder = host::partial_of(&cache.path().join("index"));
        let cache = cache.within(folder.clone());
        let index = Index::open(cache, &catalogs, |catalog| match vault.read_catalog(catalog) {
            Ok(claims) => Ok(Some(claims)),
            Err(error) if error.class() == Class::Damaged => {
                damaged.push((layout::catalog(catalog), error));
                Ok(None)
            }
            Err(error) => Err(error),
        })?;
        let catalog_bytes = listed.iter().map(|object| object.size).sum();
        let listed = vault.store.list(layout::PACKS)?;
        let packs = listed.into_iter().filter_map(|object| Some((object.key.digest()?, object.size))).collect();
        Ok(Self {
            manifests,
            known,
            keys,
            packs,
            catalogs: catalogs.len(),
            catalog_bytes,
            damaged,
            index: Arc::new(index),
            folder,
        })
    }

    /// Reads by this census, not by the host's cache.
    pub fn library<'v>(&'v self, unlocked: &'v UnlockedVault) -> Library<'v> {
        Library::new(unlocked, self.index.clone())
    }
}

impl Drop for Census {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A pack that does not hold what it should.
pub struct BadPack {
    pub object: ObjectKey,
    pub what: String,
    pub lost: HashSet<PlainDigest>,
}

/// What reading packs came to.
#[derive(Default)]
pub struct Outcome {
    pub checked: u64,
    pub bad: Vec<BadPack>,
    /// Catalogs that say what is not so, though packs are whole, and which chunks are not where they say.
    pub false_catalogs: BTreeMap<SealedDigest, (String, Misplaced)>,
}

/// Packs, and chunks that are not in them.
pub type Misplaced = HashSet<(SealedDigest, PlainDigest)>;

/// What a catalog says of one pack.
pub struct Said {
    pub catalog: SealedDigest,
    pub pack: PackContents,
}

/// Reads packs whole, on all cores.
pub struct Checker<'v> {
    unlocked: &'v UnlockedVault,
    control: &'v Arc<Control>,
    pending_cursor: Mutex<Option<SealedDigest>>,
}

impl<'v> Checker<'v> {
    pub fn new(unlocked: &'v UnlockedVault, control: &'v Arc<Control>) -> Self {
        Self { unlocked, control, pending_cursor: Default::default() }
    }

    /// Hands over what each catalog says of each pack. Catalogs that cannot be read are the census's business.
    pub fn each_pack(&self, mut each: impl FnMut(Said)) -> Result<(), VaultError> {
        self.each_catalog(|catalog, _, contents| {
            contents.packs.into_iter().for_each(|pack| each(Said { catalog, pack }));
        })
    }

    fn each_catalog(&self, mut each: impl FnMut(SealedDigest, bool, Catalog)) -> Result<(), VaultError> {
        let vault = &self.unlocked.vault;
        for catalog in vault.catalog_digests()? {
            match vault.read_whole_catalog(catalog) {
                Ok((contents, own)) => each(catalog, own, contents),
                Err(error) if error.class() == Class::Damaged => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads these packs: every byte against the name, every chunk against its digest, every page against what catalogs
    /// say of it. Takes note of the catalogs that are true, and of those that are not.
    pub fn read_packs(&self, chosen: &BTreeSet<SealedDigest>) -> Result<Outcome, VaultError> {
        let mut claims = PageClaims::default();
        self.each_catalog(|catalog, own, contents| claims.add(catalog, own, &contents.paged))?;
        let mut outcome = self.read_with(chosen, &claims)?;
        let (wrong, proven) = claims.results();
        for (catalog, chunks) in wrong {
            let what = format!("what it says of the pages in {chunks} chunks is not so");
            outcome.false_catalogs.entry(catalog).or_insert((what, Misplaced::new()));
        }
        let refuted = outcome.false_catalogs.keys().copied().collect();
        self.unlocked.vault.note_compared(&Compared { proven, refuted });
        Ok(outcome)
    }

    fn read_with(&self, chosen: &BTreeSet<SealedDigest>, claims: &PageClaims) -> Result<Outcome, VaultError> {
        let workers = std::thread::available_parallelism().map_or(2, |n| n.get()).clamp(1, 4);
        let (send, receive) = bounded::<Said>(workers);
        let (outcome, failure) = (Mutex::new(Outcome::default()), Mutex::new(None));
        let key = PageKey::new(&self.unlocked.vault.keys.chunking);
        let work = || {
            let mut reader = PackReader::new(claims, &key);
            for said in receive.clone() {
                if self.control.stopped() {
                    break;
                }
                let found = self.read_pack(&said.pack, &mut reader);
                let mut outcome = outcome.lock().expect("BUG: nothing panics while holding it");
                match found {
                    Ok(Found::Good) => {}
                    Ok(Found::Bad(pack)) => outcome.bad.push(pack),
                    Ok(Found::Untrue(what, lost)) => {
                        let known = outcome.false_catalogs.entry(said.catalog).or_insert((what, Misplaced::new()));
                        known.1.extend(lost.into_iter().map(|chunk| (said.pack.digest, chunk)));
                    }
                    Err(error) => {
                        failure.lock().expect("BUG: nothing panics while holding it").get_or_insert(error);
                        break;
                    }
                }
                outcome.checked += 1;
                self.control.items.add(1);
                self.control.bytes.add(said.pack.size);
            }
        };
        let fed = std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(work);
            }
            let mut done = HashSet::new();
            let fed = self.each_pack(|said| {
                // Catalogs may say different things of one pack, and all of them must be so.
                let says = sealed_digest(&catalog::write(std::slice::from_ref(&said.pack)));
                if chosen.contains(&said.pack.digest) && done.insert(says) {
                    // Nobody listens any more when all readers have ended with an error.
                    let _ = send_unless_stopped(&send, said, self.control);
                }
            });
            drop(send);
            fed
        });
        fed?;
        match failure.into_inner().expect("BUG: nothing panics while holding it") {
            Some(error) => Err(error),
            None => Ok(outcome.into_inner().expect("BUG: nothing panics while holding it")),
        }
    }

    fn read_pack(&self, contents: &PackContents, reader: &mut PackReader<'_>) -> Result<Found, VaultError> {
        let object = layout::pack(contents.digest);
        let total: usize = contents.frames.iter().map(|frame| frame.members.len()).sum();
        let sealed = match self.unlocked.vault.store.get(&object) {
            Ok(sealed) => sealed,
            Err(error) if error.is_not_found() => {
                let lost = contents.places().map(|(digest, _)| digest).collect();
                return Ok(Found::Bad(BadPack { object, what: "it is not there".to_owned(), lost }));
            }
            Err(error) => return Err(error.into()),
        };
        let intact = sealed_digest(&sealed) == contents.digest;
        let lost = reader.lost_chunks(&sealed, contents, &self.unlocked.identity);
        let what = match (intact, lost.len()) {
            (true, 0) if sealed.len() as u64 == contents.size => return Ok(Found::Good),
            (true, 0) => {
                let what = format!("{object} has {} bytes, not {} as it says", sealed.len(), contents.size);
                return Ok(Found::Untrue(what, lost));
            }
            // The pack is what its writer made: whoever says that something else is in it is wrong.
            (true, count) => {
                let what = format!("{count} of {total} chunks are not where it says, in {object}");
                return Ok(Found::Untrue(what, lost));
            }
            (_, 0) => "its bytes are not those it was named for; every chunk can still be read".to_owned(),
            (_, lost) => format!("{lost} of {total} chunks cannot be read"),
        };
        Ok(Found::Bad(BadPack { object, what, lost }))
    }

    /// The packs whose turn it is: those that come after the last one checked, by name, around and around.
    pub fn next_sample(&self, packs: &BTreeSet<SealedDigest>, percent: f64) -> BTreeSet<SealedDigest> {
        let count = (packs.len() as f64 * percent / 100.0).ceil() as usize;
        let last = fs::read_to_string(self.cursor()).ok().and_then(|text| text.parse::<SealedDigest>().ok());
        let after = packs.iter().filter(|digest| last.is_none_or(|last| **digest > last));
        let from_the_start = packs.iter().filter(|digest| last.is_some_and(|last| **digest <= last));
        let chosen: Vec<SealedDigest> = after.chain(from_the_start).take(count).copied().collect();
        if let Some(end) = chosen.last() {
            *self.pending_cursor.lock().expect("BUG: nothing panics while holding it") = Some(*end);
        }
        chosen.into_iter().collect()
    }

    /// The sample was checked to its end: the next one begins after it.
    pub fn keep_sample(&self) {
        if let Some(end) = *self.pending_cursor.lock().expect("BUG: nothing panics while holding it") {
            let folder = self.unlocked.vault.host.folder("verify");
            folder.make();
            folder.noted(host::replace_file(&self.cursor(), end.to_string().as_bytes()));
        }
    }

    fn cursor(&self) -> std::path::PathBuf {
        self.unlocked.vault.host.folder("verify").path().join("cursor")
    }
}

/// Waits for room without waiting for ever: readers may all have ended.
fn send_unless_stopped(send: &crossbeam_channel::Sender<Said>, mut said: Said, control: &Control) -> Option<()> {
    while !control.stopped() {
        match send.send_timeout(said, std::time::Duration::from_millis(200)) {
            Ok(()) => return Some(()),
            Err(crossbeam_channel::SendTimeoutError::Timeout(back)) => said = back,
            Err(crossbeam_channel::SendTimeoutError::Disconnected(_)) => return None,
        }
    }
    None
}

/// Buffers and contexts of one reading thread.
struct PackReader<'c> {
    unpack: FrameReader,
    packed: Vec<u8>,
    plain: Vec<u8>,
    claims: &'c PageClaims,
    key: &'c PageKey,
}

/// What a pack was found to be.
enum Found {
    Good,
    Bad(BadPack),
    /// It is whole, and what a catalog says of it is not so.
    Untrue(String, HashSet<PlainDigest>),
}

impl<'c> PackReader<'c> {
    fn new(claims: &'c PageClaims, key: &'c PageKey) -> Self {
        Self { unpack: FrameReader::default(), packed: Vec::new(), plain: Vec::new(), claims, key }
    }

    /// Reads as a restore does: by the length that the catalog says, whatever was cut off or appended.
    fn lost_chunks(
        &mut self,
        sealed: &[u8],
        contents: &PackContents,
        identity: &age::x25519::Identity,
    ) -> HashSet<PlainDigest> {
        let opener = Opener::new(sealed, &[identity], contents.size).ok();
        let mut lost = HashSet::new();
        let mut start = 0;
        for frame in &contents.frames {
            let readable = opener.as_ref().is_some_and(|opener| self.unpack_frame(sealed, opener, start, frame));
            start += u64::from(frame.stored);
            let mut at = 0;
            for &(digest, length) in &frame.members {
                let body = pack::body(at, length.into());
                at = pack::next(at, length.into());
                let bytes = self.plain.get(body.start as usize..body.end as usize).filter(|_| readable);
                match bytes.filter(|bytes| plain_digest(bytes) == digest) {
                    Some(bytes) => self.claims.compare(&digest, bytes, self.key),
                    None => drop(lost.insert(digest)),
                }
            }
        }
        lost
    }

    fn unpack_frame(&mut self, sealed: &[u8], opener: &Opener, start: u64, frame: &FrameContents) -> bool {
        let range = start..start + u64::from(frame.stored);
        let asked = opener.sealed_range(&range);
        let Some(part) = sealed.get(asked.start as usize..asked.end as usize) else { return false };
        opener.open_range_into(&range, part, &mut self.packed).is_ok()
            && self.unpack.decompress(&self.packed, frame.plain, &mut self.plain).is_ok()
    }
}
