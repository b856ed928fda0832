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
