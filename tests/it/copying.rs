//! A vault is copied while it is written: the runbook's order makes a copy that is whole, another is told from damage.

use std::fs;
use std::path::Path;
use std::process::Command;

use strongroom::store::{Options, Store};

use crate::support::program::{Home, blocks, page, shell};
use crate::support::vaults::{Random, Tree, assert_same, plant};

/// A home with a vault in `vault`, and one snapshot.
fn scene() -> Home {
    let mut home = Home::new();
    home.set("STRONGROOM_VAULT", home.path("vault").to_str().unwrap());
    plant(&home.path("tree"), &mut Random::new(12), 20, 3 << 10);
    home.ok(&["init"]);
    home.ok(&["backup", "tree"]);
    home
}

/// One more snapshot, with something new in it.
fn write(home: &Home, n: usize) {
    fs::write(home.path(&format!("tree/new-{n}")), format!("{n}")).unwrap();
    home.ok(&["backup", "tree"]);
}

/// A `rsync` in front of the real one, which makes a backup before and after each call: whatever order parts are copied
/// in, the vault is written between any two of them.
fn writing_rsync(home: &Home) -> String {
    let real = shell(Path::new("/"), "command -v rsync");
    let program = home.command(&[]).get_program().to_str().unwrap().to_owned();
    fs::create_dir(home.path("bin")).unwrap();
    let script = format!(
        "#!/bin/bash -eu\nwrite() {{ date +%s%N >>tree/written; '{program}' --quiet backup tree; }}\nwrite\n'{}' \"$@\"\nwrite\n",
        real.trim_end()
    );
    fs::write(home.path("bin/rsync"), script).unwrap();
    assert!(Command::new("chmod").arg("+x").arg(home.path("bin/rsync")).status().unwrap().success());
    "export PATH=\"$PWD/bin:$PATH\"\n".to_owned()
}

#[test]
fn the_commands_of_the_runbook_copy_a_vault_that_is_being_written() {
    let home = scene();
    let page = page("runbooks/copy-a-vault.md");
    let blocks = blocks(&page);
    let [copy, check, restore] = &blocks[..] else { panic!("{blocks:#?}") };
    let path = writing_rsync(&home);
    for _ in 0..2 {
        home.shell(&format!("{path}{copy}"));
        assert!(home.shell(check).contains("nothing damaged"));
        let _ = fs::remove_dir_all(home.path("out"));
        home.shell(restore);
    }
    let snapshots = |folder: &str| fs::read_dir(home.path(folder).join("snapshots")).unwrap().count();
    assert!(snapshots("copy") < snapshots("vault"), "nothing was written meanwhile");
    // Once nobody writes any more, the copy catches up.
    home.shell(copy);
    let _ = fs::remove_dir_all(home.path("out"));
    home.shell(restore);
    assert_same(&Tree::read(&home.path("out")), &Tree::read(&home.path("tree")), "the copy");
    let parts = |folder: &str| Store::open(home.path(folder).to_str().unwrap(), &Options::default()).unwrap().list("");
    assert_eq!(parts("copy").unwrap(), parts("vault").unwrap());
}

#[test]
fn what_a_copy_in_the_wrong_order_lacks_is_called_missing_and_not_damaged() {
    let home = scene();
    write(&home, 1);
    for part in ["catalogs", "packs"] {
        shell(&home.path(""), &format!("mkdir -p copy && cp -r vault/{part} copy/"));
    }
    write(&home, 2);
    shell(&home.path(""), "cp -r vault/keys vault/snapshots vault/vault.json copy/");
    let ran = home.run(&["verify", "--vault", "copy"]);
    assert_eq!(ran.code, 4, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("missing: snapshots/") && !ran.err.contains("damaged: "), "{}", ran.err);
    assert!(ran.err.contains("copy again in the order of docs/runbooks/copy-a-vault.md"), "{}", ran.err);
    let told = home.run(&["verify", "--vault", "copy", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert!(told["report"]["damage"].as_array().unwrap().iter().all(|damage| damage["missing"] == true), "{told}");
    // Packs that a catalog names, and that came later.
    fs::remove_dir_all(home.path("copy")).unwrap();
    shell(&home.path(""), "mkdir copy && cp -r vault/packs copy/");
    write(&home, 3);
    shell(&home.path(""), "cp -r vault/catalogs vault/keys vault/snapshots vault/vault.json copy/");
    let ran = home.run(&["verify", "--vault", "copy", "--read-data"]);
    assert!(ran.err.contains("missing: packs/") && !ran.err.contains("damaged: "), "{}", ran.err);
    // What is altered is damaged.
    let packs = Store::open(home.path("copy").to_str().unwrap(), &Options::default()).unwrap().list("packs").unwrap();
    let pack = home.path("copy").join(packs[0].key.as_str());
    let mut bytes = fs::read(&pack).unwrap();
    bytes[300] ^= 1;
    shell(&home.path(""), &format!("rm -f '{}'", pack.display()));
    fs::write(&pack, bytes).unwrap();
    let ran = home.run(&["verify", "--vault", "copy", "--read-data"]);
    assert!(ran.err.contains("damaged: packs/") && !ran.err.contains("copy again"), "{}", ran.err);
}
