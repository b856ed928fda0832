//! The whole way round on a real S3 server that honours conditional writes.

use crate::support::program::{Home, differences};
use crate::support::s3;

#[test]
fn a_vault_in_a_bucket_does_all_that_one_in_a_folder_does() {
    let server = s3::moto();
    let mut home = Home::new();
    for (name, value) in server.variables() {
        home.set(&name, value);
    }
    let location = format!("s3://{}/backups/app", server.bucket());
    home.set("STRONGROOM_VAULT", location.clone());
    for n in 0..50 {
        home.write(&format!("app/{}/{n}.txt", n % 5), format!("text {n}\n").repeat(n * 40 + 1));
    }
    home.ok(&["init"]);
    home.ok(&["backup", "app"]);
    home.write("app/new.txt", "new\n");
    let second = home.json(&["backup", "app", "--rescan"]);
    assert_eq!(second["bytes_new"].as_u64(), Some(4));
    assert_eq!(home.json(&["snapshots"])["snapshots"].as_array().unwrap().len(), 2);
    for depth in [&["verify"][..], &["verify", "--read-data"], &["verify", "--stored"]] {
        assert_eq!(home.json(depth)["sound"], true);
    }
    home.ok(&["restore", "latest", "--to", "out"]);
    assert_eq!(differences(&home.path("app"), &home.path("out")), "");
    assert!(home.fails(2, &["init"]).contains("already holds a vault"));
}
