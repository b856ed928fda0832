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
