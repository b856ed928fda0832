//! Records whose files lie where links have been put meanwhile: nothing behind one is read, written or removed.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn files_of_a_record_are_not_given_back_through_a_link_in_the_place_of_their_folder() {
    let home = shop();
    run(&home.path("app/shop.db"), "DELETE FROM projects WHERE id = 7");
    fs::remove_dir_all(home.path("app/documents/7")).unwrap();
    home.write("other/mine", "mine\n");
    symlink(home.path("other"), home.path("app/documents/7")).unwrap();
    let ran = home.run(&["recover", "latest", "project", "7"]);
    assert!(ran.out.contains("a link leads to it") || ran.err.contains("a link leads to it"), "{}{}", ran.out, ran.err);
    assert_eq!(fs::read_dir(home.path("other")).unwrap().count(), 1);
}

#[test]
fn nothing_is_recovered_into_a_source_that_has_become_a_link_to_another_place() {
    let home = shop();
    run(&home.path("app/shop.db"), "DELETE FROM projects WHERE id = 7");
    fs::rename(home.path("app/documents"), home.path("kept")).unwrap();
    home.write("other/mine", "mine\n");
    symlink(home.path("other"), home.path("app/documents")).unwrap();
    let error = home.fails(1, &["recover", "latest", "project", "7"]);
    assert!(error.contains("app/documents leads to"), "{error}");
    assert_eq!(fs::read_dir(home.path("other")).unwrap().count(), 1);
    // Nor into a database.
    fs::remove_file(home.path("app/documents")).unwrap();
    fs::rename(home.path("kept"), home.path("app/documents")).unwrap();
    fs::rename(home.path("app"), home.path("app-kept")).unwrap();
    symlink(home.path("app-kept"), home.path("app")).unwrap();
    let error = home.fails(1, &["recover", "latest", "project", "7"]);
    assert!(error.contains("leads to"), "{error}");
}

/// What stands below a folder, with what links lead to.
fn tree(folder: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(Result::unwrap);
    let one = |entry: walkdir::DirEntry| format!("{} {:?}", entry.path().display(), fs::read_link(entry.path()).ok());
    entries.map(one).collect()
}

#[test]
fn links_among_the_files_of_a_record_come_back_with_it_and_go_with_an_undo_as_often_as_that_is_done() {
    let home = shop();
    let folder = home.path("app/documents/7");
    symlink("deep/70.txt", folder.join("latest.txt")).unwrap();
    symlink("nowhere", folder.join("dangling")).unwrap();
    symlink("/etc", folder.join("deep/away")).unwrap();
    home.ok(&["backup"]);
    let whole = (state(&home), tree(&home.path("app/documents")));
    // All of it is gone; then only the links, while files and a link of somebody else are there.
    for all in [true, false] {
        run(&home.path("app/shop.db"), "DELETE FROM projects WHERE id = 7");
        if all {
            fs::remove_dir_all(&folder).unwrap();
        } else {
            fs::remove_file(folder.join("latest.txt")).unwrap();
            fs::remove_file(folder.join("deep/away")).unwrap();
        }
        let lost = (state(&home), tree(&home.path("app/documents")));
        for _ in 0..2 {
            home.ok(&["recover", "latest", "project", "7"]);
            assert_eq!((state(&home), tree(&home.path("app/documents"))), whole, "all: {all}");
            home.ok(&["undo"]);
            assert_eq!((state(&home), tree(&home.path("app/documents"))), lost, "all: {all}");
        }
        home.ok(&["recover", "latest", "project", "7"]);
    }
    let list = home.ok(&["undo", "--list"]).out;
    assert!(!list.contains("failed") && !list.contains("nothing"), "{list}");
}
