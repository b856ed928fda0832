//! Forged catalogs, packs and manifests.

use super::*;

#[test]
fn counts_that_cannot_be_are_only_numbers() {
    let scene = Scene::new();
    let forge = scene.forge();
    let forged = forge.manifest(scene.honest.sources[0].listing.clone(), |manifest| {
        let source = &mut manifest.sources[0];
        (source.files, source.bytes, source.entries) = (u64::MAX, u64::MAX, u64::MAX);
        source.skipped_count = u64::MAX;
        let second = source.clone();
        manifest.sources.push(second);
        manifest.sources[1].name = "second".parse().unwrap();
        manifest.bytes = u64::MAX;
        manifest.previous = Some("vault.json/../../x".to_owned());
        manifest.keys = vec!["keys/none".to_owned(), "\n".to_owned()];
    });
    let outcome = scene.survive("counts", &forge, &forged);
    // What is said to have been left out of the capture is told when it is restored.
    assert!(outcome.honest && outcome.left_out && outcome.found_by_structure, "{outcome:?}");
}

/// A pack and a catalog that disagree about it; a file of the chunk that the catalog promises must not come back.
fn refuse_catalog(scene: &Scene, name: &str, forged: impl FnOnce(&Forge, &Chunk)) {
    let forge = scene.forge();
    let chunk = Chunk::new(BYTES.to_vec());
    forged(&forge, &chunk);
    let text = [ROOT.to_owned(), line("f", "file", &good())].join("\n") + "\n";
    let manifest = forge.manifest(forge.listing(&text), |_| {});
    let outcome = scene.survive(name, &forge, &manifest);
    assert!(outcome.left_out && outcome.found_by_data && outcome.honest, "{name}: {outcome:?}");
}

#[test]
fn catalogs_that_lie_are_found_out() {
    let scene = Scene::new();
    let honest = |forge: &Forge, chunk: &Chunk| forge.frame(std::slice::from_ref(chunk));
    let with = |name: &str, lie: fn(&mut FrameContents)| {
        refuse_catalog(&scene, name, |forge, chunk| {
            let (bytes, contents) = honest(forge, chunk);
            let mut pack = forge.pack_of(vec![(bytes, contents)]);
            lie(&mut pack.frames[0]);
            pack.size = pack.size.max(pack.frames[0].stored.into());
            forge.catalog(&[pack]);
        });
    };
    with("a frame said to be longer", |frame| frame.plain += 512);
    with("a frame said to be longest", |frame| frame.plain = u32::MAX);
    with("a frame said to take more room", |frame| frame.stored += 100);
    with("a frame said to take all room", |frame| frame.stored = u32::MAX);
    with("a frame said to take no room", |frame| frame.stored = 0);
    with("a chunk said to be shorter", |frame| frame.members[0].1 -= 1);
    with("a chunk said to be longest", |frame| frame.members[0].1 = u32::MAX);
    refuse_catalog(&scene, "a pack that is not there", |forge, chunk| {
        let mut pack = forge.pack_of(vec![honest(forge, chunk)]);
        pack.digest = strongroom::base::id::SealedDigest::from_bytes([5; 32]);
        forge.catalog(&[pack.clone()]);
    });
    refuse_catalog(&scene, "packs without end", |forge, chunk| {
        let mut pack = forge.pack_of(vec![honest(forge, chunk)]);
        pack.size = u64::MAX;
        let other = forge.pack_of(vec![honest(forge, chunk)]);
        forge.catalog(&[pack, strongroom::format::catalog::PackContents { size: u64::MAX, ..other }]);
    });
    refuse_catalog(&scene, "a pack of somebody else's", |forge, chunk| {
        let (bytes, contents) = honest(forge, chunk);
        let stranger = age::x25519::Identity::generate();
        let sealed = seal::seal(&[&stranger.to_public()], &bytes);
        let (digest, size) = (sealed.digest, sealed.bytes.len() as u64);
        forge.store.put_new(&layout::pack(digest), sealed.bytes.into()).unwrap();
        forge.catalog(&[strongroom::format::catalog::PackContents { digest, size, frames: vec![contents] }]);
    });
    refuse_catalog(&scene, "a frame that unpacks to a gigabyte", |forge, chunk| {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
        let (_, mut contents) = honest(forge, chunk);
        contents.stored = bomb.len() as u32;
        let pack = forge.pack_of(vec![(bomb, contents)]);
        forge.catalog(&[pack]);
    });
    refuse_catalog(&scene, "other bytes under the chunk's name", |forge, chunk| {
        let mut plain = Vec::new();
        pack::append(&mut plain, &Chunk::new(b"54321".to_vec()));
        let bytes = zstd::bulk::compress(&plain, 3).unwrap();
        let (_, contents) = honest(forge, chunk);
        let contents = FrameContents { stored: bytes.len() as u32, ..contents };
        let pack = forge.pack_of(vec![(bytes, contents)]);
        forge.catalog(&[pack]);
    });
}

#[test]
fn two_catalogs_that_disagree_about_a_pack_are_found_out() {
    let scene = Scene::new();
    for lie in 0..4 {
        let forge = scene.forge();
        let chunks = [Chunk::new(BYTES.to_vec()), Chunk::new(b"other".to_vec())];
        let pack = forge.pack_of(vec![forge.frame(&chunks)]);
        let (mut one, mut two) = (pack.clone(), pack);
        one.frames[0].members.truncate(1);
        two.frames[0].members.rotate_left(1);
        two.frames[0].members.truncate(1);
        match lie {
            0 => two.frames[0].stored /= 2,
            1 => two.frames[0].stored += 50,
            2 => two.size += 1,
            _ => two.frames[0].plain -= 512,
        }
        forge.catalog(&[one]);
        forge.catalog(&[two]);
        let other = content(5, &format!(r#"{{"chunk":"{}","length":5}}"#, chunks[1].digest()));
        let text = [ROOT.to_owned(), line("f", "file", &good()), line("g", "file", &other)].join("\n") + "\n";
        let forged = forge.manifest(forge.listing(&text), |_| {});
        let outcome = scene.survive(&format!("lie {lie}"), &forge, &forged);
        assert!(outcome.found_by_data && outcome.honest, "lie {lie}: {outcome:?}");
    }
}

#[test]
fn catalogs_and_manifests_that_are_none_are_found_and_hide_nothing() {
    let scene = Scene::new();
    let magic = b"strongroom catalog 1\n".to_vec();
    for count in [&[0xff; 4][..], &[1, 0, 0, 0], &[]] {
        let forge = scene.forge();
        forge.catalog_bytes(&[&magic[..], count].concat());
        let outcome = scene.survive("a catalog of absurd counts", &forge, &scene.honest);
        assert!(outcome.found_by_structure && outcome.honest, "{count:?}: {outcome:?}");
    }
    let json = serde_json::to_string(&scene.honest).unwrap();
    let compress = |bytes: &[u8]| zstd::bulk::compress(bytes, 3).unwrap();
    for (name, plain) in [
        ("not compressed", json.clone().into_bytes()),
        ("cut short", compress(&json.as_bytes()[..json.len() / 2])),
        ("nested without end", compress(&[b'['; 1 << 20])),
        ("a bomb", compress(&vec![b' '; 80 << 20])),
        ("another vault's", compress(json.replace(&scene.honest.vault.to_hex(), &"ab".repeat(16)).as_bytes())),
        ("a source that leaves", compress(json.replace(r#""name":"docs""#, r#""name":"../escaped""#).as_bytes())),
    ] {
        let forge = scene.forge();
        let sealed = seal::seal(&[&forge.keys.vault.to_public()], &plain);
        let (digest, time) = (sealed.digest, scene.honest.time);
        forge.store.put_new(&layout::manifest(time, digest), sealed.bytes.into()).unwrap();
        let unlocked = scene.lab.unlock(&forge.store, &scene.lab.with_cache("manifests")).unwrap();
        let snapshots = unlocked.snapshots().unwrap();
        assert_eq!((snapshots.readable.len(), snapshots.damaged.len()), (1, 1), "{name}");
        assert!(verify(&unlocked, Depth::Structure).unwrap().damage.len() == 1, "{name}");
    }
    assert!(peak_memory() < MEMORY_KIB);
}
