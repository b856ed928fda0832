//! Trees with everything a file system can hold, there and back.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::program::{Home, differences, shell};

fn torture_tree(home: &Home) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/torture-tree.sh");
    shell(&home.path(""), &format!("bash {} tree", script.display()));
}

#[test]
fn the_torture_tree_comes_back_as_it_was_by_rsyncs_judgement() {
    let home = Home::new();
    torture_tree(&home);
    home.ok(&["backup", "tree"]);
    home.ok(&["restore", "latest", "--to", "out"]);
    assert_eq!(differences(&home.path("tree"), &home.path("out")), "");
    let again = home.json(&["restore", "latest", "--to", "out"])["report"].clone();
    assert_eq!(again["files"].as_u64(), Some(0), "everything is there already: {again}");
    assert_eq!(differences(&home.path("tree"), &home.path("out")), "");
    assert!(home.ok(&["diff", "latest"]).out.contains("no change"));
}

#[test]
fn the_standard_tools_restore_a_whole_snapshot() {
    let home = Home::new();
    torture_tree(&home);
    home.ok(&["backup", "tree"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recover-with-standard-tools.sh");
    let (vault, identity) = (home.vault(), home.identity());
    shell(&home.path(""), &format!("{} {} {} out", script.display(), vault.display(), identity.display()));
    let out = if home.path("out/tree").is_dir() { home.path("out/tree") } else { home.path("out") };
    assert_eq!(differences(&home.path("tree"), &out), "");
}

#[test]
fn the_vault_can_be_read_by_hand() {
    let home = Home::new();
    home.write("app/a.txt", "alpha\n");
    home.ok(&["backup", "app"]);
    let vault = home.vault();
    let identity = home.identity();
    let program = env!("CARGO_BIN_EXE_strongroom");
    let root = vault.ancestors().nth(4).unwrap().display().to_string();
    let count = shell(&vault, &format!("HOME={root} {program} --vault . --json snapshots | jq '.snapshots | length'"));
    assert_eq!(count.trim(), "1");
    shell(&vault, &format!("age -d -i {} keys/*.age > ../owner.txt", identity.display()));
    let members = shell(&vault, "for p in packs/*/*; do age -d -i ../owner.txt $p | zstd -d | tar t; done");
    assert!(members.lines().count() >= 2 && members.lines().all(|line| line.len() == 64), "{members}");
    shell(&vault, "age -d -i ../owner.txt snapshots/* | zstd -d | jq -e '.format == 1'");
    shell(
        &vault,
        "for f in packs/*/* catalogs/* snapshots/* keys/*; do case $f in *$(sha256sum < $f | cut -c1-64)*) ;; *) exit 1;; esac; done",
    );
}

#[test]
fn a_tree_that_changes_under_the_backup_never_makes_a_bad_snapshot() {
    let home = Home::new();
    for n in 0..400 {
        home.write(&format!("tree/{}/{n}", n % 20), format!("{n}").repeat(200));
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in (0..400).cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
                let path = home.path(&format!("tree/{}/{n}", n % 20));
                let _ = fs::remove_file(&path);
                let _ = fs::write(&path, format!("{n}x").repeat(n + 1));
            }
        });
        for _ in 0..10 {
            let code = home.run(&["backup", "tree"]).code;
            assert!(code == 0 || code == 3, "{code}");
        }
        done.store(true, Ordering::Relaxed);
    });
    home.ok(&["verify", "--read-data"]);
    home.ok(&["restore", "latest", "--to", "out"]);
}
