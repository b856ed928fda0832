//! A crash, a kill, a full disk or a second writer at any moment loses no snapshot and needs no repair.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom::base::error::{Class, Explain};
use strongroom::base::name::ObjectKey;
use strongroom::format::manifest::Manifest;
use strongroom::format::{layout, seal};
use strongroom::ops::error::OpError;
use strongroom::ops::verify::Depth;
use strongroom::store::{Faults, Operation, Store, When};
use strongroom::vault::LockedVault;
use strongroom::vault::host::Folders;

use crate::support::vaults::{
    ALL_DATA, Lab, Random, SMALL, Tree, assert_restores, assert_sound, backup, catalogued, change, copy_folder,
    copy_store, packs, plant, restore, snapshots,
};

/// A vault with two snapshots, and a tree that has changed since.
struct Scene {
    lab: Lab,
    tree: PathBuf,
    kept: Vec<(Manifest, Tree)>,
    now: Tree,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::in_memory();
        let tree = lab.path("tree");
        let mut random = Random::new(7);
        plant(&tree, &mut random, 60, 8 << 10);
        let mut kept = Vec::new();
        for _ in 0..2 {
            kept.push((lab.backup(&tree), Tree::read(&tree)));
            change(&tree, &mut random, 40, 20 << 10);
        }
        let now = Tree::read(&tree);
        Self { lab, tree, kept, now }
    }

    /// The scene once more, to be spoilt.
    fn take(&self, name: &str) -> Take<'_> {
        let folders = self.lab.with_cache(name);
        copy_folder(&self.lab.folders.cache, &folders.cache);
        Take { scene: self, store: copy_store(&self.lab.store), folders }
    }
}

struct Take<'s> {
    scene: &'s Scene,
    store: Store,
    folders: Folders,
}

impl Take<'_> {
    /// A backup over a store that fails as asked; opening the vault is part of it.
    fn backup(&self, faults: &Arc<Faults>) -> Result<Manifest, OpError> {
        let store = self.store.clone().with_faults(faults.clone());
        let vault = LockedVault::open(store, &self.folders)?.into_vault()?.with_limits(SMALL);
        Ok(backup(&vault, &self.scene.tree)?.manifest)
    }

    /// What was committed before is there, byte for byte, and nothing looks damaged.
    fn nothing_is_lost(&self, context: &str) {
        let unlocked = self.scene.lab.unlock(&self.store, &self.folders).unwrap();
        assert_sound(&unlocked, Depth::Structure, context);
        for (manifest, tree) in &self.scene.kept {
            assert_restores(&unlocked, manifest, tree, context);
        }
    }

    /// The next backup just works, and the vault is as good as one that never saw a crash.
    fn goes_on(&self, context: &str) {
        let durable = packs(&self.store);
        let faults = Faults::new();
        let manifest = self.backup(&faults).unwrap_or_else(|error| panic!("{context}: the next backup: {error}"));
        let unlocked = self.scene.lab.unlock(&self.store, &self.folders).unwrap();
        assert_sound(&unlocked, ALL_DATA, context);
        assert_restores(&unlocked, &manifest, &self.scene.now, context);
        let puts = faults.log().into_iter().filter(|line| line.operation == Operation::Put);
        let sent = puts.filter(|line| line.object.starts_with(layout::PACKS)).count();
        let grown = packs(&self.store).difference(&durable).count();
        assert_eq!(sent, grown, "{context}: packs sent");
    }
}

/// Nothing that was durable was stored a second time.
fn nothing_is_stored_twice(store: &Store, folders: &Folders, context: &str) {
    let catalogued = catalogued(store, folders);
    let named: BTreeSet<_> = catalogued.iter().map(|pack| pack.digest).collect();
    assert_eq!(named.len(), catalogued.len(), "{context}: a pack is in two catalogs");
    assert_eq!(named, packs(store), "{context}: packs that were sent are made use of");
    let mut seen = BTreeSet::new();
    for (digest, _) in catalogued.iter().flat_map(|pack| pack.places()) {
        assert!(seen.insert(digest), "{context}: {digest} is in two packs");
    }
}

/// Crashes a backup at each operation in turn, as `arm` says and `count` counts, until one is through before that.
/// Returns how many crashes there were.
fn crash_everywhere(arm: impl Fn(&Faults, u64), count: fn(&Faults) -> u64, after: impl Fn(&Take<'_>, &str)) -> u64 {
    let scene = Scene::new();
    for number in 1.. {
        let take = scene.take(&format!("cache-{number}"));
        let faults = Faults::new();
        arm(&faults, number);
        let context = format!("crash {number}");
        match take.backup(&faults) {
            Err(_) => after(&take, &context),
            Ok(_) if count(&faults) < number => return number - 1,
            Ok(_) => panic!("{context}: the backup did not notice"),
        }
        fs::remove_dir_all(&take.folders.cache).unwrap();
    }
    unreachable!()
}

fn then_go_on(take: &Take<'_>, context: &str) {
    take.nothing_is_lost(context);
    take.goes_on(context);
    nothing_is_stored_twice(&take.store, &take.folders, context);
}

#[test]
fn after_a_crash_before_any_operation_nothing_is_lost_and_nothing_is_sent_again() {
    let crashes = crash_everywhere(|faults, number| faults.crash_at(number, When::Before), Faults::count, then_go_on);
    assert!(crashes >= 15, "{crashes}");
}

#[test]
fn after_a_crash_after_any_change_nothing_is_lost_and_nothing_is_sent_again() {
    let crashes =
        crash_everywhere(|faults, number| faults.crash_at_change(number, When::After), Faults::changes, then_go_on);
    assert!(crashes >= 10, "{crashes}");
}

#[test]
fn after_a_crash_and_the_loss_of_the_cache_the_next_backup_is_as_good() {
    for when in [When::Before, When::After] {
        crash_everywhere(
            |faults, number| faults.crash_at_change(number, when),
            Faults::changes,
            |take, context| {
                fs::remove_dir_all(&take.folders.cache).unwrap();
                take.nothing_is_lost(context);
                take.goes_on(context);
            },
        );
    }
}

#[test]
fn a_network_that_fails_once_at_any_operation_costs_at_most_that_backup() {
    crash_everywhere(|faults, number| faults.fail_once_at(number), Faults::count, then_go_on);
}

#[test]
fn several_crashes_in_a_row_send_nothing_twice() {
    let scene = Scene::new();
    let take = scene.take("cache-row");
    for number in 1..30 {
        let faults = Faults::new();
        faults.crash_at_change(1 + number % 4, if number % 2 == 0 { When::Before } else { When::After });
        if take.backup(&faults).is_ok() {
            break;
        }
    }
    then_go_on(&take, "many crashes");
}

#[test]
fn a_vault_that_is_full_at_any_point_says_so_and_goes_on_when_there_is_space() {
    let scene = Scene::new();
    let mut failures = 0;
    for step in 0.. {
        let take = scene.take(&format!("cache-{step}"));
        let faults = Faults::new();
        faults.full_after(step * 17_000);
        let context = format!("full after {}", step * 17_000);
        match take.backup(&faults) {
            Ok(_) => break,
            Err(error) => {
                assert!(error.to_string().starts_with("no space left for "), "{context}: {error}");
                assert!(error.hint().unwrap().contains("free some space"));
                failures += 1;
            }
        }
        then_go_on(&take, &context);
    }
    assert!(failures > 5, "{failures}");
}

#[test]
fn a_vault_that_may_only_be_read_can_be_read_and_says_so_to_a_backup() {
    let scene = Scene::new();
    let take = scene.take("cache-read");
    let faults = Faults::new();
    faults.read_only();
    let error = take.backup(&faults).unwrap_err();
    assert!(error.to_string().ends_with("memory:// is read-only"), "{error}");
    assert!(!error.to_string().contains('\n'));
    let store = take.store.clone().with_faults(faults.clone());
    let unlocked = scene.lab.unlock(&store, &take.folders).unwrap();
    assert_eq!(snapshots(&unlocked).len(), 2);
    assert_sound(&unlocked, ALL_DATA, "read-only");
    for (manifest, tree) in &scene.kept {
        assert_restores(&unlocked, manifest, tree, "read-only");
    }
    then_go_on(&take, "read-only before");
}

/// A small file system of its own. None where this process may not mount.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let options = format!("size={size}");
        let mounted = mount_ran(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at));
        if !mounted {
            eprintln!("not run: mounting a small file system needs root");
        }
        mounted.then_some(Self(at))
    }

    fn resize(&self, size: &str) {
        assert!(mount_ran(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0)));
    }
}

fn mount_ran(command: &mut Command) -> bool {
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_vault_on_a_disk_that_fills_up_keeps_its_snapshots_and_goes_on_when_there_is_space() {
    let scene = Scene::new();
    let Some(disk) = Disk::mount(scene.lab.path("disk"), "4m") else { return };
    let store = Store::open(disk.0.to_str().unwrap(), &Default::default()).unwrap();
    for object in scene.lab.store.list("").unwrap() {
        store.put_new(&object.key, scene.lab.store.get(&object.key).unwrap()).unwrap();
    }
    let take = Take { scene: &scene, store, ..scene.take("cache-disk") };
    let ballast = disk.0.join("ballast.txt");
    for free in [0u64, 3, 8, 13] {
        let space = rustix::fs::statvfs(&disk.0).unwrap();
        fs::write(&ballast, vec![1; ((space.f_bavail - free) * space.f_bsize) as usize]).unwrap();
        let error = take.backup(&Faults::new()).unwrap_err();
        assert!(error.to_string().starts_with("no space left for "), "{error}");
        take.nothing_is_lost(&format!("{free} pages free"));
        fs::remove_file(&ballast).unwrap();
    }
    disk.resize("8m");
    take.goes_on("a larger disk");
    nothing_is_stored_twice(&take.store, &take.folders, "a larger disk");
}

#[test]
fn a_cache_on_a_full_disk_loses_nothing_and_never_makes_a_snapshot_look_failed() {
    let scene = Scene::new();
    let Some(disk) = Disk::mount(scene.lab.path("small"), "4m") else { return };
    let mut outcomes = BTreeSet::new();
    for free in [0u64, 1, 2, 4, 6, 8, 10, 12, 16, 24, 40] {
        let context = format!("{free} pages free for the cache");
        let cache = disk.0.join("cache");
        let copy = scene.take(&format!("cache-{free}"));
        copy_folder(&copy.folders.cache, &cache);
        let take = Take { folders: Folders { cache: cache.clone(), ..copy.folders.clone() }, ..copy };
        let space = rustix::fs::statvfs(&disk.0).unwrap();
        fs::write(disk.0.join("ballast"), vec![1; ((space.f_bavail - free) * space.f_bsize) as usize]).unwrap();
        let before = take.store.list(layout::SNAPSHOTS).unwrap().len();
        let result = take.backup(&Faults::new());
        let made = take.store.list(layout::SNAPSHOTS).unwrap().len() - before;
        match &result {
            Ok(_) => assert_eq!(made, 1, "{context}"),
            Err(error) => {
                assert_eq!(made, 0, "{context}: a snapshot was made, and this said: {error}");
                assert!(error.to_string().starts_with("cannot use ") || error.to_string().contains("space"), "{error}");
            }
        }
        outcomes.insert(result.is_ok());
        fs::remove_file(disk.0.join("ballast")).unwrap();
        take.nothing_is_lost(&context);
        take.goes_on(&context);
        fs::remove_dir_all(&cache).unwrap();
    }
    assert_eq!(outcomes.len(), 2, "both a cache that is too small and one that is not");
}

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

/// The program itself, with a home of its own.
struct Program<'l> {
    lab: &'l Lab,
    home: PathBuf,
    vault: PathBuf,
}

impl<'l> Program<'l> {
    fn new(lab: &'l Lab) -> Self {
        let (home, vault) = (lab.path("home"), lab.path("kept"));
        fs::create_dir_all(&home).unwrap();
        let program = Self { lab, home, vault };
        program.run(&["init"]);
        program
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command.env_clear().env("HOME", &self.home).env("PATH", "/usr/bin:/bin").arg("--vault").arg(&self.vault);
        command.args(arguments).stdin(Stdio::null()).current_dir(&self.home);
        command
    }

    fn run(&self, arguments: &[&str]) {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn store(&self) -> Store {
        Store::open(self.vault.to_str().unwrap(), &Default::default()).unwrap()
    }

    fn folders(&self) -> Folders {
        Folders { config: self.home.join(".config/strongroom"), cache: self.home.join(".cache/strongroom") }
    }

    fn manifests(&self) -> BTreeSet<ObjectKey> {
        self.store().list(layout::SNAPSHOTS).unwrap().into_iter().map(|object| object.key).collect()
    }

    /// Restores this snapshot and compares.
    fn restores(&self, key: &ObjectKey, tree: &Tree, context: &str) {
        let to = tempfile::tempdir_in(self.lab.path("")).unwrap();
        let time = layout::manifest_time(key).unwrap();
        let place = to.path().join("out");
        self.run(&["restore", &format!("@{time}"), "--to", place.to_str().unwrap()]);
        crate::support::vaults::assert_same(&Tree::read(&place), tree, context);
    }
}

#[test]
fn a_hundred_kills_at_random_moments_lose_nothing() {
    let seed = std::env::var("STRONGROOM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) ^ 0x5eed_0000);
    let mut random = Random::new(seed);
    let lab = Lab::in_memory();
    let program = Program::new(&lab);
    let tree = lab.path("tree");
    plant(&tree, &mut random, 30, 600 << 10);
    program.run(&["backup", tree.to_str().unwrap()]);
    // How long a backup of a small and of a large change takes: known once one was let run to its end.
    let mut typical: [Option<Duration>; 2] = [None; 2];
    let mut committed: Vec<(ObjectKey, Tree)> = Vec::new();
    let mut known = BTreeSet::new();
    let (mut killed, mut round, mut midway) = (0, 0, 0);
    while killed < 100 {
        round += 1;
        let context = format!("STRONGROOM_SEED={seed}, round {round}, {killed} killed");
        let large = round % 8 == 0;
        change(&tree, &mut random, 4, 600 << 10);
        if large {
            fs::write(tree.join("large"), random.bytes(40 << 20)).unwrap();
        }
        let now = Tree::read(&tree);
        // Most of what matters happens in the second half.
        let share = 0.5 + random.below(650) as f64 / 1000.0;
        let moment = typical[usize::from(large)].map_or(Duration::from_secs(60), |typical| typical.mul_f64(share));
        let objects = program.store().list("").unwrap().len();
        let clock = Instant::now();
        let mut backup = program.command(&["backup", "--quiet", tree.to_str().unwrap()]).spawn().unwrap();
        let ended = wait_until(&mut backup, clock + moment);
        if !ended {
            backup.kill().unwrap();
            killed += 1;
        }
        let status = backup.wait().unwrap();
        if ended {
            typical[usize::from(large)] = Some(clock.elapsed());
        } else {
            midway += usize::from(program.store().list("").unwrap().len() > objects);
        }
        assert!(!ended || status.success(), "{context}: {status}");
        let manifests = program.manifests();
        let new: Vec<_> = manifests.difference(&known).cloned().collect();
        known = manifests;
        // The first round's difference holds the one made before as well, which is of another tree.
        committed.extend(new.into_iter().next_back().filter(|_| round > 1).map(|key| (key, now)));
        if killed % 25 == 0 {
            program.run(&["verify"]);
        }
    }
    let context = format!("STRONGROOM_SEED={seed}, after all");
    assert!(midway > 0, "{context}: no kill came when something had been stored and was not committed");
    eprintln!("{midway} kills came after something had been stored");
    program.run(&["backup", tree.to_str().unwrap()]);
    let last = program.manifests().pop_last().unwrap();
    committed.push((last, Tree::read(&tree)));
    program.run(&["verify", "--read-data"]);
    nothing_is_stored_twice(&program.store(), &program.folders(), &context);
    for (key, tree) in &committed {
        program.restores(key, tree, &context);
    }
}

/// Did it end by itself before then?
fn wait_until(child: &mut std::process::Child, moment: Instant) -> bool {
    while Instant::now() < moment {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    child.try_wait().unwrap().is_some()
}

#[test]
fn two_processes_at_once_on_one_host_both_have_their_snapshots() {
    let lab = Lab::in_memory();
    let program = Program::new(&lab);
    let trees = [lab.path("tree-0"), lab.path("tree-1")];
    let mut random = Random::new(11);
    plant(&trees[0], &mut random, 40, 60 << 10);
    copy_folder(&trees[0], &trees[1]);
    for round in 0..8 {
        let seed = random.next();
        trees.iter().for_each(|tree| change(tree, &mut Random::new(seed), 8, 60 << 10));
        let before = program.manifests();
        let running = [0, 1].map(|n| {
            let arguments = ["backup", "--quiet", trees[n].to_str().unwrap()];
            program.command(&arguments).stderr(Stdio::piped()).spawn().unwrap()
        });
        for backup in running {
            let output = backup.wait_with_output().unwrap();
            assert!(output.status.success(), "round {round}: {}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(program.manifests().difference(&before).count(), 2);
    }
    program.run(&["verify", "--read-data"]);
    for tree in &trees {
        let to = lab.path("out").join(tree.file_name().unwrap());
        let app = tree.file_name().unwrap().to_str().unwrap();
        program.run(&["restore", "latest", "--app", app, "--to", to.to_str().unwrap()]);
        crate::support::vaults::assert_same(&Tree::read(&to), &Tree::read(tree), app);
    }
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
fn a_restore_onto_a_full_disk_says_so_and_can_be_run_again() {
    let scene = Scene::new();
    let Some(disk) = Disk::mount(scene.lab.path("target"), "96k") else { return };
    let unlocked = scene.lab.unlock(&scene.lab.store, &scene.lab.folders).unwrap();
    let (manifest, tree) = &scene.kept[1];
    let error = restore(&unlocked, manifest, &disk.0).unwrap_err();
    assert!(error.to_string().starts_with("no space left to restore "), "{error}");
    assert_eq!(error.class(), Class::Failed);
    disk.resize("8m");
    let report = restore(&unlocked, manifest, &disk.0).unwrap();
    assert_eq!(report.issues, []);
    assert!(report.identical > 0);
    same_files(&disk.0, tree);
}

fn same_files(folder: &Path, tree: &Tree) {
    crate::support::vaults::assert_same(&Tree::read(folder), tree, "restored again");
}
