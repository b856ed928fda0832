//! What is damaged is given back like anything else, and kept before as it is.

use std::fs;
use std::os::unix::fs::FileExt;

use super::{app, assert_same, copy};

#[test]
fn a_damaged_database_is_kept_as_it_is_and_then_given_back() {
    let home = app();
    copy(&home, "whole");
    let live = home.path("app/shop.db");
    for (what, why) in [("spoilt", "would not be sound"), ("cut short", "it is shorter than it says")] {
        let file = fs::File::options().write(true).open(&live).unwrap();
        match what {
            "spoilt" => file.write_all_at(&[0x5a; 9000], 20 * 4096).unwrap(),
            _ => file.set_len(file.metadata().unwrap().len() / 2).unwrap(),
        }
        let damaged = fs::read(&live).unwrap();
        let report = home.json(&["restore", "latest", "--in-place"])["report"].clone();
        assert_eq!(report["databases"][0]["checked"]["result"], "sound", "{what}: {report}");
        assert_same(&home, "whole");
        let ran = home.run(&["restore", report["safety"].as_str().unwrap(), "--to", what]);
        assert!(ran.code == 3 && ran.err.contains("was damaged when it was captured"), "{what}: {}", ran.err);
        assert!(fs::read(home.path(what).join("shop.db")).unwrap() == damaged, "{what}");
        // It is there for whoever wants to mend it. To live by it is another matter.
        let said = home.fails(1, &["undo"]);
        assert!(said.contains(why), "{what}: {said}");
        assert_same(&home, "whole");
    }
}
