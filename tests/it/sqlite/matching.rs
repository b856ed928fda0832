//! Pages of a live database that are known to be a snapshot's, without reading the vault.

use std::fs;

use strongroom::base::entry::Entry;
use strongroom::base::path::EntryPath;
use strongroom::format::manifest::Manifest;
use strongroom::vault::page_match::{self, Known};
use strongroom::vault::read::{self, Library};
use strongroom::vault::stream;
use strongroom::vault::unlocked::UnlockedVault;

use super::{bytes, capture, open, some_rows};
use crate::support::vaults::{Lab, Random};

fn entry(manifest: &Manifest, library: &Library<'_>) -> Entry {
    read::entries(&manifest.sources[0].listing, &EntryPath::root(), library).next().unwrap().unwrap()
}

/// Which of these pages are known to be those of the snapshot.
fn known(unlocked: &UnlockedVault, manifest: &Manifest, pages: &[u8]) -> Vec<bool> {
    let library = unlocked.library().unwrap();
    let (entry, source) = (entry(manifest, &library), &manifest.sources[0]);
    let memories = [source.root.clone()];
    let matched = unlocked.vault().page_match((&manifest.app, &source.name), &memories, &entry, &library).unwrap();
    let mut matched = matched.expect("it was captured here");
    assert_eq!(matched.page_size(), 4096);
    let key = matched.key();
    let is_next = |page: &[u8]| match matched.next_page() {
        None => false,
        Some(Known::Zeros) => page.iter().all(|&byte| byte == 0),
        Some(Known::Page(digest)) => key.digest(page) == digest,
    };
    pages.chunks(4096).map(is_next).collect()
}

fn count(known: &[bool]) -> usize {
    known.iter().filter(|known| **known).count()
}

#[test]
fn pages_are_known_by_the_last_capture_and_never_when_they_have_changed_since() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 30_000);
    let first = capture(&lab, &live);
    let wanted = bytes(&lab, &first, "");
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    let pages = wanted.len() / 4096;
    assert_eq!(count(&known(&unlocked, &first, &wanted)), pages);
    open(&live).execute_batch("UPDATE t SET body = 'x' WHERE id BETWEEN 1000 AND 3000; VACUUM").unwrap();
    open(&live).execute_batch("UPDATE t SET body = 'other' WHERE id = 500").unwrap();
    let second = capture(&lab, &live);
    // Those before the rows that changed lie where they lay; what moved is not looked for.
    let same = |found: &[u8]| found.chunks(4096).zip(wanted.chunks(4096)).map(|(a, b)| a == b).collect::<Vec<_>>();
    let now = fs::read(&live).unwrap();
    assert_eq!(known(&unlocked, &first, &now)[..pages.min(now.len() / 4096)], same(&now));
    assert!(count(&same(&now)) > 50);
    assert_eq!(count(&known(&unlocked, &second, &now)), now.len() / 4096);
    // Somebody writes between that capture and a restore.
    open(&live).execute_batch("UPDATE t SET body = 'late' WHERE id IN (2, 20, 200, 20000)").unwrap();
    let late = fs::read(&live).unwrap();
    let expected: Vec<bool> = late.chunks(4096).zip(now.chunks(4096)).map(|(a, b)| a == b).collect();
    assert!(expected.iter().filter(|same| !**same).count() >= 4);
    assert_eq!(known(&unlocked, &second, &late), expected);
    // What was remembered elsewhere, or of something else, is not known here.
    let library = unlocked.library().unwrap();
    let other = |name: &str, memory: &str| {
        let (entry, name) = (entry(&first, &library), name.parse().unwrap());
        unlocked.vault().page_match((&first.app, &name), &[memory.to_owned()], &entry, &library).unwrap().is_none()
    };
    assert!(other("another", &first.sources[0].root) && other("db", "/elsewhere"));
    assert!(!other("db", &first.sources[0].root));
}

#[test]
fn any_pages_of_a_snapshot_can_be_had_by_themselves() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    let manifest = super::reading::scattered(&lab);
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    let library = unlocked.library().unwrap();
    let (whole, entry) = (bytes(&lab, &manifest, ""), entry(&manifest, &library));
    assert!(entry.content.depth > 0 && live.exists());
    let mut random = Random::new(5);
    for page_size in [512, 4096] {
        for share in [2, 9, 200] {
            let all = 1..=(whole.len() / page_size) as u32;
            let numbers: Vec<u32> = all.filter(|_| random.below(share) == 0).collect();
            let only = page_match::only(&entry, &numbers, page_size as u32, &library).unwrap();
            let expected: Vec<u8> = numbers
                .iter()
                .flat_map(|&number| &whole[(number as usize - 1) * page_size..number as usize * page_size])
                .copied()
                .collect();
            let mut found = Vec::new();
            stream::in_order(&library, &only, &strongroom::base::control::Control::default(), |blocks| {
                let mut block = Vec::new();
                while blocks(&mut block).unwrap() {
                    found.extend_from_slice(&block);
                }
            });
            assert!(found == expected, "{page_size} {share}");
        }
    }
}
