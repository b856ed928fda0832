//! Several at once: hosts, backups on one host, a check meanwhile.

use super::*;

/// Runs as often as `rounds` two backups at once of two trees that share most files.
fn two_at_once(lab: Lab, rounds: usize, one_cache: bool) {
    let trees = [lab.path("tree-0"), lab.path("tree-1")];
    let caches = [lab.folders.clone(), if one_cache { lab.folders.clone() } else { lab.with_cache("other") }];
    let mut random = Random::new(3);
    plant(&trees[0], &mut random, 40, 8 << 10);
    copy_folder(&trees[0], &trees[1]);
    let mut made = Vec::new();
    for _ in 0..rounds {
        let seed = random.next();
        for tree in &trees {
            // The same changes in both: they race for the same chunks.
            change(tree, &mut Random::new(seed), 10, 8 << 10);
        }
        let manifests = std::thread::scope(|scope| {
            let run = |n: usize| backup(&lab.vault(&lab.store, &caches[n]), &trees[n]).unwrap().manifest;
            let threads = [0, 1].map(|n| scope.spawn(move || run(n)));
            threads.map(|thread| thread.join().unwrap())
        });
        made.extend(manifests.into_iter().zip(&trees).map(|(manifest, tree)| (manifest, Tree::read(tree))));
    }
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    assert_eq!(snapshots(&unlocked).len(), 2 * rounds);
    assert_sound(&unlocked, ALL_DATA, "two at once");
    for (manifest, tree) in &made {
        assert_restores(&unlocked, manifest, tree, "two at once");
    }
}

#[test]
fn two_hosts_that_back_up_at_once_both_have_their_snapshots() {
    two_at_once(Lab::in_memory(), 12, false);
    two_at_once(Lab::in_folder(), 6, false);
}

#[test]
fn two_backups_at_once_on_one_host_both_have_their_snapshots() {
    two_at_once(Lab::in_memory(), 20, true);
    two_at_once(Lab::in_folder(), 6, true);
}

#[test]
fn a_verify_while_backups_run_finds_nothing_damaged() {
    let lab = Lab::in_memory();
    let tree = lab.path("tree");
    let mut random = Random::new(5);
    plant(&tree, &mut random, 40, 8 << 10);
    lab.backup(&tree);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..30 {
                change(&tree, &mut random, 8, 8 << 10);
                lab.backup(&tree);
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            // With the cache of the host that backs up, and as another host.
            for folders in [&lab.folders, &lab.with_cache("other")] {
                assert_sound(&lab.unlock(&lab.store, folders).unwrap(), ALL_DATA, "while a backup runs");
            }
        }
    });
}

#[test]
fn a_snapshot_from_the_future_is_kept_and_warned_of() {
    let lab = Lab::in_memory();
    let tree = lab.path("tree");
    let mut random = Random::new(13);
    plant(&tree, &mut random, 10, 4 << 10);
    let (real, first) = (lab.backup(&tree), Tree::read(&tree));
    // What a host would have written whose clock is a day ahead.
    let (seconds, nanoseconds) = real.time.unix();
    let time = strongroom::base::time::Instant::from_unix(seconds + 86_400, nanoseconds as i32);
    let future = Manifest { time, id: strongroom::base::id::SnapshotId::from_bytes([7; 16]), ..real };
    let sealed = seal::seal(&[&lab.owner_keys().vault.to_public()], &future.write());
    lab.store.put_new(&future.key(sealed.digest), sealed.bytes.into()).unwrap();

    change(&tree, &mut random, 5, 4 << 10);
    let report = backup(&lab.vault(&lab.store, &lab.folders), &tree).unwrap();
    assert_eq!(report.warnings.len(), 1);
    assert!(report.warnings[0].contains("is behind the newest snapshot"), "{:?}", report.warnings);
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    assert_sound(&unlocked, ALL_DATA, "a clock that is wrong");
    assert_eq!(snapshots(&unlocked).len(), 3);
    assert_restores(&unlocked, &future, &first, "the one from the future");
    assert_restores(&unlocked, &report.manifest, &Tree::read(&tree), "the one made now");
}

#[test]
fn what_a_killed_put_left_in_the_folder_is_swept_once_a_day_and_never_while_it_is_fresh() {
    let lab = Lab::in_folder();
    let tree = lab.path("tree");
    plant(&tree, &mut Random::new(41), 5, 2 << 10);
    let left = |days: u64| {
        let path = lab.store.folder().unwrap().join(format!("packs/ab/{}.tar.zst.age#{days}", "ab".repeat(32)));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let time = std::time::SystemTime::now() - Duration::from_secs(days * 25 * 3600);
        fs::File::create(&path).unwrap().set_modified(time).unwrap();
        path
    };
    let (old, fresh) = (left(2), left(0));
    lab.backup(&tree);
    assert!(!old.exists() && fresh.exists());
    let later = left(3);
    lab.backup(&tree);
    assert!(later.exists(), "not looked for twice a day");
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    assert_sound(&unlocked, ALL_DATA, "with leftovers");
}
