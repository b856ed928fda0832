//! A vault's own keys in the wrong hands: packs, catalogs and manifests that say whatever a test wants.

use std::fs;

use age::x25519::Identity;
use strongroom::base::chunk::Chunk;
use strongroom::base::entry::{Content, Extent};
use strongroom::base::id::SnapshotId;
use strongroom::base::name::ObjectKey;
use strongroom::base::time::Instant;
use strongroom::format::catalog::{self, FrameContents, PackContents};
use strongroom::format::frame::FrameWriter;
use strongroom::format::identity::OwnerKeys;
use strongroom::format::manifest::Manifest;
use strongroom::format::{layout, pack, seal};
use strongroom::store::{Options, Store};

use crate::support::program::Home;

pub struct Forge {
    pub store: Store,
    pub keys: OwnerKeys,
    /// What every forged manifest is made of.
    pub honest: Manifest,
}

impl Forge {
    /// In the vault of a home, of its newest snapshot.
    pub fn of_home(home: &Home) -> Self {
        let store = Store::open(home.vault().to_str().unwrap(), &Options::default()).unwrap();
        let identity: Identity = fs::read_to_string(home.identity())
            .unwrap()
            .lines()
            .find_map(|line| line.parse().ok())
            .expect("the identity file holds an identity");
        let open = |sealed: &ObjectKey| seal::open(&store.get(sealed).unwrap(), &[&identity]).ok();
        let keys = store.list(layout::KEYS).unwrap().into_iter().find_map(|object| open(&object.key)).unwrap();
        let keys = OwnerKeys::from_text(std::str::from_utf8(&keys).unwrap()).unwrap().0;
        let newest = store.list(layout::SNAPSHOTS).unwrap().pop().unwrap().key;
        let honest = Manifest::read(&seal::open(&store.get(&newest).unwrap(), &[&keys.vault]).unwrap()).unwrap();
        Self { store, keys, honest }
    }

    /// Seals frames as they are and puts them as a pack; returns what a truthful catalog would say but for `frames`.
    pub fn pack_of(&self, frames: Vec<(Vec<u8>, FrameContents)>) -> PackContents {
        let stored: Vec<u8> = frames.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let sealed = seal::seal(&[&self.keys.vault.to_public()], &stored);
        let (digest, size) = (sealed.digest, sealed.bytes.len() as u64);
        self.store.put_new(&layout::pack(digest), sealed.bytes.into()).unwrap();
        PackContents { digest, size, frames: frames.into_iter().map(|(_, contents)| contents).collect() }
    }

    /// One honest frame of these chunks.
    pub fn frame(&self, chunks: &[Chunk]) -> (Vec<u8>, FrameContents) {
        let mut plain = Vec::new();
        chunks.iter().for_each(|chunk| pack::append(&mut plain, chunk));
        let mut bytes = Vec::new();
        FrameWriter::default().pack(plain.clone(), Vec::new()).parts(|part| bytes.extend_from_slice(part));
        let members = chunks.iter().map(|chunk| (chunk.digest(), chunk.bytes().len() as u32)).collect();
        let contents = FrameContents { stored: bytes.len() as u32, plain: plain.len() as u32, members };
        (bytes, contents)
    }

    pub fn catalog(&self, packs: &[PackContents]) {
        self.catalog_bytes(&catalog::write(packs));
    }

    pub fn catalog_bytes(&self, plain: &[u8]) {
        let sealed = seal::seal(&[&self.keys.vault.to_public(), &self.keys.catalog.to_public()], plain);
        self.store.put_new(&layout::catalog(sealed.digest), sealed.bytes.into()).unwrap();
    }

    /// Makes these bytes readable as one chunk.
    pub fn chunk(&self, bytes: &[u8]) -> Extent {
        let chunk = Chunk::new(bytes.to_vec());
        let pack = self.pack_of(vec![self.frame(std::slice::from_ref(&chunk))]);
        self.catalog(&[pack]);
        Extent::whole(chunk.digest(), bytes.len() as u64)
    }

    /// A listing of these lines.
    pub fn listing(&self, lines: &str) -> Content {
        Content { depth: 0, extents: vec![Extent { first: Some(".".to_owned()), ..self.chunk(lines.as_bytes()) }] }
    }

    /// Lists of lists of `width` times the same extent.
    pub fn nested(&self, innermost: Extent, width: usize, depth: u8) -> Content {
        let mut extent = innermost;
        for _ in 0..depth {
            let mut lines = Vec::new();
            for _ in 0..width {
                strongroom::format::listing::write_extent(&extent, &mut lines);
            }
            extent = Extent { first: extent.first.clone(), ..self.chunk(&lines) };
        }
        Content { depth, extents: vec![extent] }
    }

    /// A manifest with this listing, changed further by `change`.
    pub fn manifest(&self, listing: Content, change: impl FnOnce(&mut Manifest)) -> Manifest {
        let mut manifest =
            Manifest { time: Instant::now(), id: SnapshotId::from_bytes([9; 16]), ..self.honest.clone() };
        manifest.sources[0].listing = listing;
        change(&mut manifest);
        let sealed = seal::seal(&[&self.keys.vault.to_public()], &manifest.write());
        self.store.put_new(&manifest.key(sealed.digest), sealed.bytes.into()).unwrap();
        manifest
    }
}
