//! Real file systems that fill up: under the vault, under the cache, under a restore.

use super::*;
use crate::support::disk::Disk;

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
    disk.remount("size=8m");
    take.goes_on("a larger disk");
    nothing_is_stored_twice(&take.store, &take.folders, "a larger disk");
}

#[test]
fn a_cache_on_a_full_disk_loses_nothing_and_fails_no_backup() {
    let scene = Scene::new();
    let Some(disk) = Disk::mount(scene.lab.path("small"), "4m") else { return };
    for free in [0u64, 1, 2, 4, 6, 8, 10, 12, 16, 24, 40] {
        let context = format!("{free} pages free for the cache");
        let cache = disk.0.join("cache");
        let copy = scene.take(&format!("cache-{free}"));
        copy_folder(&copy.folders.cache, &cache);
        let take = Take { folders: Folders { cache: cache.clone(), ..copy.folders.clone() }, ..copy };
        let space = rustix::fs::statvfs(&disk.0).unwrap();
        fs::write(disk.0.join("ballast"), vec![1; ((space.f_bavail - free) * space.f_bsize) as usize]).unwrap();
        let before = take.store.list(layout::SNAPSHOTS).unwrap().len();
        take.backup(&Faults::new()).unwrap_or_else(|error| panic!("{context}: {error}"));
        let made = take.store.list(layout::SNAPSHOTS).unwrap().len() - before;
        assert_eq!(made, 1, "{context}");
        fs::remove_file(disk.0.join("ballast")).unwrap();
        take.nothing_is_lost(&context);
        take.goes_on(&context);
        fs::remove_dir_all(&cache).unwrap();
    }
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
    assert!(error.hint().unwrap().contains("run the same command again"), "{:?}", error.hint());
    let half_written = |entry: &walkdir::DirEntry| entry.file_name().to_string_lossy().starts_with(".strongroom-");
    assert!(!walkdir::WalkDir::new(&disk.0).into_iter().any(|entry| half_written(&entry.unwrap())));
    disk.remount("size=8m");
    let report = restore(&unlocked, manifest, &disk.0).unwrap();
    assert_eq!(report.issues, []);
    assert!(report.identical > 0);
    same_files(&disk.0, tree);
}

fn same_files(folder: &Path, tree: &Tree) {
    crate::support::vaults::assert_same(&Tree::read(folder), tree, "restored again");
}
