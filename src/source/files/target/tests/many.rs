//! Many files, many folders, many threads.

use super::*;

#[test]
fn ten_thousand_levels_come_back_and_a_thousand_folders_do_not_exhaust_descriptors() {
    let mut bench = Bench::new();
    let chain = |level: usize| vec!["d"; level].join("/");
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for round in 0..2 {
        for level in 1..=10_000 {
            bench.begin(&Entry { mode: 0o700 + (level % 8) as u32, ..entry(&chain(level), Kind::Dir) }).unwrap();
        }
        let deep = file(&format!("{}/f", chain(10_000)), b"deep");
        let outcome = bench.target.small_file(&deep, b"deep").unwrap();
        assert_eq!(matches!(outcome, Outcome::Identical), round == 1);
        for n in 0..1000 {
            bench.begin(&entry(&format!("wide/{n}"), Kind::Dir)).unwrap();
            bench.target.small_file(&file(&format!("wide/{n}/f"), b""), b"").unwrap();
        }
        // Other tests of this process have files open, too.
        assert!(open() < before + 600, "{} descriptors", open() - before);
        assert_eq!(bench.target.seal(), []);
        bench.again();
    }
    let mut folder = File::open(bench.path("d")).unwrap();
    for level in 2..=10_000u32 {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        folder = File::from(rustix::fs::openat(&folder, "d", flags, Mode::empty()).unwrap());
        let there = folder.metadata().unwrap();
        assert_eq!((there.mode() & 0o7777, there.mtime()), (0o700 + level % 8, 1_600_000_000), "{level}");
    }
    // std's removal goes by whole paths and recursion.
    assert!(std::process::Command::new("rm").arg("-rf").arg(bench.path("d")).status().unwrap().success());
}

#[test]
fn many_threads_restore_one_tree() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let target = &bench.target;
            scope.spawn(move || {
                for n in 0..500 {
                    let entry = file(&format!("{}/{}/{thread}-{n}", n % 7, n % 31), b"x");
                    target.small_file(&entry, b"x").unwrap();
                }
            });
        }
    });
    assert_eq!(
        walkdir::WalkDir::new(bench.path("")).into_iter().filter(|e| e.as_ref().unwrap().path().is_file()).count(),
        2000
    );
}

/// `TMPDIR=DIR cargo test --release --lib -- --ignored --nocapture sixty_thousand`
///
/// Not in a folder where many files were just removed: for some minutes ext4 searches past each of their inodes
/// for every file made (26 s for `tar x` of the same files, too).
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stderr)]
fn sixty_thousand_small_files_in_seconds() {
    let bytes = vec![b'x'; 4270];
    let entries: Vec<Entry> = (0..60_000)
        .map(|n| {
            let path = format!("{}/{}/file-{n}.rs", n / 2000, n / 40 % 50);
            Entry { user: Some("root".into()), group: Some("root".into()), ..file(&path, &bytes) }
        })
        .collect();
    for threads in [1, 2] {
        let bench = Bench::new();
        let start = std::time::Instant::now();
        std::thread::scope(|scope| {
            for part in 0..threads {
                let (target, entries, bytes) = (&bench.target, &entries, &bytes);
                // As a pipeline hands them out: runs of neighbours.
                scope.spawn(move || {
                    for run in entries.chunks(200).skip(part).step_by(threads) {
                        for entry in run {
                            target.small_file(entry, bytes).unwrap();
                        }
                    }
                });
            }
        });
        bench.target.seal();
        eprintln!("{threads} threads: {:?}", start.elapsed());
    }
}
