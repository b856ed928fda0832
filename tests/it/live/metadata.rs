//! Owners, modes, attributes and names of what is given back.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use rusqlite::Connection;

use super::{app, sql};
use crate::support::program::shell;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_database_gets_its_owner_mode_and_attributes_back_where_it_lives() {
    let is_root = rustix_is_root();
    for changes in [false, true] {
        let home = app();
        let live = home.path("app/shop.db");
        sql(&live, "PRAGMA journal_mode = WAL");
        set_mode(&live, 0o640);
        shell(&home.path("app"), "setfattr -n user.kept -v yes shop.db");
        if is_root {
            chown(&live, Some(1000), Some(33)).unwrap();
        }
        home.ok(&["backup", "app"]);
        if changes {
            sql(&live, "DELETE FROM orders");
        }
        set_mode(&live, 0o644);
        shell(&home.path("app"), "setfattr -x user.kept shop.db");
        if is_root {
            chown(&live, Some(0), Some(0)).unwrap();
        }
        // Whoever has it open has a log of its own beside it.
        let open = Connection::open(&live).unwrap();
        open.execute_batch("SELECT * FROM orders; BEGIN; ROLLBACK").unwrap();
        let said = home.ok(&["diff", "latest", "live"]).out;
        assert!(said.contains(if changes { "app/shop.db" } else { "m app/shop.db" }), "{said}");
        home.ok(&["restore", "latest", "--in-place"]);
        for side in ["", "-wal", "-shm"] {
            let there = home.path(&format!("app/shop.db{side}"));
            let Ok(stat) = fs::metadata(&there) else { continue };
            assert_eq!(mode(&there), 0o640, "{changes} {side}");
            assert!(!is_root || (stat.uid(), stat.gid()) == (1000, 33), "{changes} {side}");
        }
        assert_eq!(shell(&home.path("app"), "getfattr --only-values -n user.kept shop.db"), "yes");
        home.ok(&["undo"]);
        assert_eq!(mode(&live), 0o644);
        drop(open);
    }
}

fn rustix_is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[test]
fn folders_above_a_single_file_are_made_as_the_snapshot_has_them() {
    let home = app();
    set_mode(&home.path("app"), 0o711);
    set_mode(&home.path("app/docs"), 0o751);
    set_mode(&home.path("app/docs/deep"), 0o755);
    home.ok(&["backup", "app"]);
    fs::remove_dir_all(home.path("app/docs")).unwrap();
    set_mode(&home.path("app"), 0o755);
    home.ok(&["restore", "latest", "app:docs/deep/c.txt", "--in-place"]);
    let modes = |names: [&str; 3]| names.map(|name| mode(&home.path(name)));
    // What is there stays as it is.
    assert_eq!(modes(["app", "app/docs", "app/docs/deep"]), [0o755, 0o751, 0o755]);
    home.ok(&["restore", "latest", "app:docs/deep/c.txt", "--to", "out"]);
    assert_eq!(modes(["out", "out/docs", "out/docs/deep"]), [0o711, 0o751, 0o755]);
    fs::create_dir(home.path("there")).unwrap();
    set_mode(&home.path("there"), 0o700);
    home.ok(&["restore", "latest", "app:docs/deep/c.txt", "--to", "there"]);
    assert_eq!(modes(["there", "there/docs", "there/docs/deep"]), [0o700, 0o751, 0o755]);
}

#[test]
fn files_that_were_apart_and_are_one_file_now_are_apart_again() {
    for options in [&["--in-place"][..], &["--in-place", "--trust-times"], &["--to", "app"]] {
        let home = app();
        shell(&home.path("app"), "echo same > one; cp -p one two; cp -p one z; ln z zz");
        home.ok(&["backup", "app"]);
        shell(&home.path("app"), "ln -f one two; ln -f one z");
        home.ok(&[&["restore", "latest"], options].concat());
        let file = |name: &str| fs::metadata(home.path("app").join(name)).unwrap().ino();
        assert_ne!(file("one"), file("two"), "{options:?}");
        assert_ne!(file("one"), file("z"), "{options:?}");
        assert_eq!(file("z"), file("zz"), "{options:?}");
        assert_eq!(fs::read_to_string(home.path("app/two")).unwrap(), "same\n");
    }
}

#[test]
fn a_restore_that_left_something_out_does_not_end_with_a_word_of_success() {
    let home = app();
    let text = |exclude: &str| format!("[source.app]\nkind = \"files\"\npath = \"app\"\n{exclude}");
    home.write("strongroom.toml", text(""));
    home.ok(&["backup"]);
    home.write("strongroom.toml", text("exclude = [\"readme.md\"]\n"));
    home.write("app/readme.md", "two\n");
    let ran = home.run(&["restore", "latest", "--in-place"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    let last = ran.out.lines().last().unwrap();
    assert!(last.starts_with("incomplete: restored to ") && last.contains("not all of it"), "{last}");
}
