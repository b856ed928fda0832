//! `init --discover`: a configuration written from what a folder holds.

use super::*;

fn planted() -> Home {
    let home = Home::new();
    home.write("app/documents/1/contract.pdf", "signed\n");
    home.write("app/.env", "SECRET=1\n");
    home.write("app/docker-compose.yml", "services:\n  db:\n    image: postgres:16\n");
    home
}

#[test]
fn a_folder_is_looked_through_a_configuration_written_and_a_backup_works_there() {
    let home = planted();
    let made = home.json(&["--vault", "kept", "init", "--discover", "app"]);
    assert_eq!(made["sources"], serde_json::json!(["documents", "env", "docker-compose"]));
    assert!(made["missing"][0].as_str().unwrap().contains("postgres:16"), "{made}");
    assert!(made["config"].as_str().unwrap().ends_with("app/strongroom.toml"));
    let text = fs::read_to_string(home.path("app/strongroom.toml")).unwrap();
    assert!(!text.contains("SECRET") && text.contains("# docker-compose.yml runs postgres:16"), "{text}");
    // In that folder nothing else has to be said: the vault is named, wherever one stands.
    let mut backup = home.command(&["--json", "backup"]);
    let output = backup.current_dir(home.path("app")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["app"].as_str(), report["sources"].as_array().unwrap().len()), (Some("app"), 3));
    home.ok(&["--vault", "kept", "restore", "latest", "--to", "out"]);
    assert_eq!(fs::read_to_string(home.path("out/documents/1/contract.pdf")).unwrap(), "signed\n");
    assert_eq!(fs::read_to_string(home.path("out/env/.env")).unwrap(), "SECRET=1\n");
}

#[test]
fn a_configuration_that_is_there_is_never_replaced_and_a_vault_that_is_there_is_used() {
    let home = planted();
    home.write("app/strongroom.toml", "# mine\n");
    let said = home.fails(2, &["init", "--discover", "app"]);
    assert!(said.contains("app/strongroom.toml is there already"), "{said}");
    assert_eq!(fs::read_to_string(home.path("app/strongroom.toml")).unwrap(), "# mine\n");
    assert!(!home.vault().exists(), "nothing was made");
    fs::remove_file(home.path("app/strongroom.toml")).unwrap();
    let id = home.json(&["init"])["id"].clone();
    let found = home.json(&["init", "--discover", "app"]);
    assert_eq!(found["id"], id);
    assert!(home.fails(2, &["init", "--discover", "nowhere"]).contains("cannot look into nowhere"));
    assert!(home.fails(2, &["--config", "other.toml", "init", "--discover", "app"]).contains("does not lie in app"));
}

#[test]
fn what_is_written_of_a_database_works_without_its_variable_in_the_environment() {
    let home = planted();
    home.write("app/.env", "PG_PASSWORD=secret\nDATABASE_URL=\"postgres://me:${PG_PASSWORD}@127.0.0.1:1/none\"\n");
    home.ok(&["--vault", "kept", "init", "--discover", "app"]);
    let text = fs::read_to_string(home.path("app/strongroom.toml")).unwrap();
    assert!(text.contains("env_file = [\".env\"]") && !text.contains("secret"), "{text}");
    // Every command reads the configuration.
    let mut listing = home.command(&["snapshots"]);
    let output = listing.current_dir(home.path("app")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn whatever_a_discovery_leaves_out_is_named_with_its_size_and_how_to_add_it() {
    let home = planted();
    for (path, text) in [
        ("app/letters/a.txt", "dear\n"),
        ("app/letters/old/b.txt", "dear\n"),
        ("app/my files/x", "x\n"),
        ("app/certs/key.pem", "key\n"),
        ("app/.hidden/notes", "n\n"),
        ("app/node_modules/m/i.js", "js\n"),
        ("app/docs/guide.md", "guide\n"),
        ("app/README.md", "read me\n"),
    ] {
        home.write(path, text);
    }
    (0..6).for_each(|n| home.write(&format!("app/part/{n}.bin"), "12345"));
    home.write("app/part/uploads/u", "u");
    std::os::unix::fs::symlink("letters", home.path("app/link")).unwrap();
    let said = home.ok(&["--vault", "kept", "init", "--discover", "app"]).out;
    let text = fs::read_to_string(home.path("app/strongroom.toml")).unwrap();
    for left in [
        "letters/  2 files, 10 B",
        "my files/  1 file, 2 B",
        "certs/  1 file, 4 B",
        ".hidden/  1 file, 2 B",
        "node_modules/  1 file, 3 B",
        "README.md  8 B",
        "files in part/  6 files, 30 B",
        "link  a link to letters",
    ] {
        assert!(said.contains(&format!("left out       {left}\n")), "{left}: {said}");
        assert!(text.contains(&format!("# {left}\n")), "{left}: {text}");
    }
    assert!(!said.contains("left out       docs"), "{said}");
    // With its lines in, everything is captured.
    let end = text.split_once("# NOT captured").unwrap();
    let added: String =
        end.1.lines().skip(1).map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or(line))).collect();
    let is_plain = |line: &&str| line.starts_with('[') || line.contains(" = ");
    let added: Vec<&str> = added.lines().filter(is_plain).collect();
    home.write("app/strongroom.toml", format!("{}\n{}\n", end.0, added.join("\n")));
    let mut backup = home.command(&["--json", "backup"]);
    let output = backup.current_dir(home.path("app")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    home.ok(&["--vault", "kept", "restore", "latest", "--to", "out"]);
    assert_eq!(fs::read_to_string(home.path("out/letters/old/b.txt")).unwrap(), "dear\n");
    assert_eq!(fs::read_to_string(home.path("out/my files/x")).unwrap(), "x\n");
    assert!(home.path("out/part/5.bin").exists() && !home.path("out/part/uploads").exists());
}

#[test]
fn a_quiet_discovery_says_how_much_it_left_out() {
    let home = planted();
    home.write("app/letters/a.txt", "dear\n");
    let output = home.run(&["--json", "init", "--discover", "app"]);
    let document: serde_json::Value = serde_json::from_str(&output.out).unwrap();
    let left = serde_json::json!([{ "path": "letters", "what": "folder", "files": 1, "bytes": 5 }]);
    assert_eq!(document["left_out"], left);
    assert!(output.err.contains("not captured: 1 file, 5 B, named at the end of "));
}
