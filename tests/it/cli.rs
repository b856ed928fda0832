//! The command line as its users meet it: what is printed where, and how each run ends.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use crate::support::program::Home;

fn small() -> Home {
    let home = Home::new();
    home.write("app/readme.md", "one\n");
    home.write("app/docs/a.txt", "alpha\n");
    home.write("app/docs/b.txt", "beta\n");
    home
}

fn backed_up() -> Home {
    let home = small();
    home.ok(&["backup", "app"]);
    home
}

#[test]
fn the_first_backup_makes_a_vault_and_an_identity_and_says_where() {
    let home = small();
    let ran = home.ok(&["backup", "app"]);
    assert!(ran.err.contains("made vault") && ran.err.contains("made identity"), "{}", ran.err);
    assert!(ran.err.contains("keep a copy of the identity elsewhere"), "{}", ran.err);
    assert_eq!(fs::metadata(home.identity()).unwrap().mode() & 0o777, 0o600);
    assert!(ran.out.contains("3 files") && ran.out.contains("snapshot "), "{}", ran.out);
    let again = home.ok(&["backup", "app"]);
    assert!(again.err.is_empty() && again.out.contains("unchanged"), "{}{}", again.err, again.out);
}

#[test]
fn nothing_but_the_result_is_printed_when_piped_and_nothing_at_all_when_quiet() {
    let home = small();
    let ran = home.ok(&["backup", "app"]);
    assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}') && !ran.err.contains('\r'));
    let quiet = home.ok(&["--quiet", "backup", "app"]);
    assert!(quiet.out.is_empty() && quiet.err.is_empty());
}

#[test]
fn a_host_without_the_identity_still_backs_up_and_deduplicates_but_reads_nothing() {
    let home = backed_up();
    fs::rename(home.identity(), home.path("away.txt")).unwrap();
    home.write("app/new.txt", "new\n");
    let report = home.json(&["backup", "app", "--rescan"]);
    assert_eq!(report["bytes_new"].as_u64(), Some(4), "only the new file is new");
    for command in [&["snapshots"][..], &["restore", "latest", "--to", "out"], &["verify"]] {
        let said = home.fails(12, command);
        assert!(said.contains("no identity opens vault") && said.contains("sealed to: owner"), "{said}");
    }
    let away = home.path("away.txt");
    let list = home.json(&["--identity", away.to_str().unwrap(), "snapshots"]);
    assert_eq!(list["snapshots"].as_array().unwrap().len(), 2);
}

#[test]
fn an_identity_that_others_can_read_is_refused() {
    let home = backed_up();
    fs::set_permissions(home.identity(), fs::Permissions::from_mode(0o644)).unwrap();
    let said = home.fails(1, &["snapshots"]);
    assert!(said.contains("can be read by others") && said.contains("hint: chmod 600"), "{said}");
}

#[test]
fn a_wrong_or_missing_identity_is_named() {
    let home = backed_up();
    home.ok(&["--vault", "other", "--identity", "other.txt", "init"]);
    let said = home.fails(12, &["--identity", "other.txt", "snapshots"]);
    assert!(said.contains("no identity opens"), "{said}");
    assert!(home.fails(12, &["--identity", "nowhere.txt", "snapshots"]).contains("nowhere.txt"));
    home.write("junk.txt", "not an identity\n");
    fs::set_permissions(home.path("junk.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(home.fails(12, &["--identity", "junk.txt", "snapshots"]).contains("holds no age or ssh identity"));
}

#[test]
fn a_place_without_a_vault_and_one_that_is_occupied_are_told_apart() {
    let home = backed_up();
    home.write("full/something", "x");
    assert!(home.fails(10, &["--vault", "nowhere", "snapshots"]).contains("hint: "));
    assert!(home.fails(10, &["--vault", "full", "snapshots"]).contains("no vault"));
    assert!(home.fails(10, &["--vault", "nowhere", "backup", "app"]).contains("hint: "));
    assert!(home.fails(2, &["--vault", "full", "init"]).contains("is not empty"));
    assert!(home.fails(2, &["init"]).contains("already holds a vault"));
    home.fails(2, &["--vault", "gs://bucket", "snapshots"]);
}

#[test]
fn a_vault_of_a_newer_format_and_an_altered_one_are_refused() {
    let home = backed_up();
    let file = home.vault().join("vault.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"format\": 1", "\"format\": 7")).unwrap();
    let said = home.fails(1, &["snapshots"]);
    assert!(said.contains("format 7") && said.contains("newer strongroom"), "{said}");
    fs::write(&file, text.replace("\"created\": \"20", "\"created\": \"21")).unwrap();
    home.fails(4, &["snapshots"]);
}

#[test]
fn a_mistake_in_the_configuration_is_told_with_its_name_and_line() {
    let home = small();
    for (text, expected) in [
        (
            "vault = \"v\"\n\n[source.docs]\nkind = \"files\"\npath = \"app\"\nexlcude = [\"x\"]\n",
            "line 6: source docs: unknown key \"exlcude\"",
        ),
        ("vualt = \"v\"\n", "line 1: unknown key vualt"),
        ("[source.docs]\npath = \"app\"\n", "source docs: \"kind\" is missing"),
        ("[source.docs]\nkind = \"flies\"\npath = \"app\"\n", "line 2: source docs: unknown kind"),
        ("[source.docs]\nkind = \"files\"\npath = 7\n", "line 3"),
        ("vault = \"${NOWHERE}\"\n", "line 1: the environment has no NOWHERE"),
        ("vault = \"v\n", "line 1"),
    ] {
        home.write("strongroom.toml", text);
        let said = home.fails(2, &["backup"]);
        assert!(said.contains("strongroom.toml, ") && said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn a_configuration_names_vault_app_and_sources() {
    let mut home = small();
    home.set("WHERE", "vault");
    let text = "vault = \"${WHERE}\"\napp = \"shop\"\n[source.docs]\nkind = \"files\"\npath = \"app/docs\"\nexclude = [\"b.*\"]\n[source.rest]\nkind = \"files\"\npath = \"app\"\n";
    home.write("strongroom.toml", text);
    home.ok(&["init"]);
    let report = home.json(&["backup", "--tag", "nightly", "--label", "version=1.4"]);
    assert_eq!(report["app"], "shop");
    assert_eq!(report["sources"][0]["files"], 1);
    assert_eq!(report["sources"][1]["files"], 3);
    let one = home.json(&["backup", "docs"]);
    assert_eq!(one["sources"].as_array().unwrap().len(), 1);
    home.ok(&["restore", "tag:nightly", "--to", "out"]);
    assert_eq!(fs::read(home.path("out/docs/a.txt")).unwrap(), b"alpha\n");
    assert_eq!(fs::read(home.path("out/rest/readme.md")).unwrap(), b"one\n");
    assert!(home.path("vault/vault.json").exists());
}

#[test]
fn every_selector_finds_its_snapshot() {
    let home = small();
    let id = |report: serde_json::Value| report["id"].as_str().unwrap().to_owned();
    let first = id(home.json(&["backup", "app", "--tag", "old", "--label", "k=v"]));
    let second = id(home.json(&["backup", "app", "--app", "other"]));
    let third = id(home.json(&["backup", "app"]));
    let shown = |selector: &str| home.json(&["show", selector])["id"].as_str().unwrap().to_owned();
    assert_eq!([shown("latest"), shown("latest~1"), shown("latest~2")], [third.clone(), second.clone(), first.clone()]);
    assert_eq!([shown(&second[..12]), shown(&second)], [second.clone(), second.clone()]);
    assert_eq!(
        [shown("@now"), shown("@today"), shown("tag:old"), shown("label:k=v")],
        [third.clone(), third.clone(), first.clone(), first.clone()]
    );
    let time = home.json(&["show", &second])["time"].as_str().unwrap().to_owned();
    assert_eq!(shown(&format!("@{time}")), second);
    assert_eq!(home.json(&["show", "latest", "--app", "other"])["id"], second);
    for none in ["latest~9", "@yesterday", "@3 days ago", "tag:new", "label:k=w"] {
        assert!(home.fails(1, &["show", none]).contains("no snapshot fits"), "{none}");
    }
    assert_eq!(home.run(&["show", "newest"]).code, 2);
    assert!(home.fails(2, &["show", "@soon"]).contains("is not a point in time"));
    assert!(home.fails(1, &["show", "latest", "--host", "elsewhere"]).contains("no snapshot fits"));
}

#[test]
fn an_ambiguous_prefix_lists_the_candidates() {
    let home = small();
    let mut digits = std::collections::BTreeMap::<char, u32>::new();
    let shared = loop {
        let id = home.json(&["backup", "app"])["id"].as_str().unwrap().to_owned();
        let first = id.chars().next().unwrap();
        *digits.entry(first).or_default() += 1;
        if digits[&first] == 2 {
            break first.to_string();
        }
    };
    let said = home.fails(2, &["show", &shared]);
    assert!(said.contains("fits 2 snapshots") && said.matches(&format!(" {shared}")).count() >= 2, "{said}");
}

#[test]
fn every_command_prints_one_document_with_json_and_errors_too() {
    let home = backed_up();
    home.write("app/docs/a.txt", "changed\n");
    home.ok(&["backup", "app"]);
    assert_eq!(home.json(&["snapshots"])["snapshots"].as_array().unwrap().len(), 2);
    assert_eq!(home.json(&["show", "latest"])["complete"], true);
    let listing = home.json(&["show", "latest", "app"]);
    assert_eq!(listing["entries"].as_array().unwrap().len(), 5);
    let changes = home.json(&["diff", "latest~1", "latest"]);
    assert_eq!(changes["changes"][0]["path"], "docs/a.txt");
    assert_eq!(home.json(&["verify"])["sound"], true);
    assert_eq!(home.json(&["verify", "--read-data"])["sound"], true);
    assert_eq!(home.json(&["verify", "--stored"])["sound"], true);
    assert_eq!(home.json(&["restore", "latest", "--to", "out"])["report"]["files"], 3);
    assert!(home.json(&["completions", "bash"])["script"].as_str().unwrap().contains("strongroom"));
    assert!(home.json(&["man"])["page"].as_str().unwrap().contains("strongroom"));
    let ran = home.run(&["--json", "show", "latest~7"]);
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, document["code"].as_u64()), (1, Some(1)));
    assert!(ran.err.starts_with("error: ") && document["hint"].is_string());
}

#[test]
fn show_lists_and_writes_content_exactly() {
    let home = small();
    let noise: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    home.write("app/noise.bin", &noise);
    home.ok(&["backup", "app"]);
    assert_eq!(home.ok(&["show", "latest", "app:noise.bin", "--cat"]).bytes, noise);
    assert_eq!(home.ok(&["show", "latest", "docs/b.txt", "--cat"]).out, "beta\n");
    let listing = home.ok(&["show", "latest", ":docs"]).out;
    assert_eq!(listing.lines().count(), 3, "{listing}");
    assert!(home.fails(1, &["show", "latest", ":docs/c.txt", "--cat"]).contains("docs/c.txt is not in app"));
    assert!(home.fails(2, &["show", "latest", ":docs", "--cat"]).contains("is not a file"));
    assert!(home.fails(2, &["show", "latest", ":../x"]).contains("not a path inside"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = small();
    for n in 0..3000 {
        home.write(&format!("app/many/{n}"), "x");
    }
    home.ok(&["backup", "app"]);
    let mut child =
        home.command(&["show", "latest", "app"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_restore_over_what_is_there_leaves_the_identical_and_the_foreign_alone() {
    let home = backed_up();
    home.ok(&["restore", "latest", "--to", "out"]);
    let inode = |name: &str| fs::metadata(home.path(name)).unwrap().ino();
    let (kept, replaced) = (inode("out/docs/a.txt"), inode("out/readme.md"));
    home.write("out/readme.md", "spoiled\n");
    home.write("out/foreign.txt", "mine\n");
    fs::remove_file(home.path("out/docs/b.txt")).unwrap();
    let report = home.json(&["restore", "latest", "--to", "out"])["report"].clone();
    assert_eq!((report["files"].as_u64(), report["identical"].as_u64()), (Some(2), Some(1)));
    assert_eq!(inode("out/docs/a.txt"), kept);
    assert_ne!(inode("out/readme.md"), replaced);
    assert_eq!(fs::read_to_string(home.path("out/readme.md")).unwrap(), "one\n");
    assert_eq!(fs::read_to_string(home.path("out/foreign.txt")).unwrap(), "mine\n");
}

#[test]
fn parts_single_files_and_impossible_targets() {
    let home = backed_up();
    home.ok(&["restore", "latest", ":docs/a.txt", "--to", "part"]);
    assert_eq!(fs::read_to_string(home.path("part/docs/a.txt")).unwrap(), "alpha\n");
    assert!(!home.path("part/readme.md").exists());
    assert!(home.fails(1, &["restore", "latest", ":nothing", "--to", "part"]).contains("nothing is not in app"));
    home.write("file", "x");
    home.fails(2, &["restore", "latest", "--to", "file"]);
    home.fails(1, &["restore", "latest", "--to", "/proc/strongroom"]);
    assert_eq!(home.run(&["restore", "latest"]).code, 2);
    home.write("single.txt", "alone\n");
    home.ok(&["backup", "single.txt"]);
    home.ok(&["restore", "latest", "--to", "single"]);
    assert_eq!(fs::read_to_string(home.path("single/single.txt")).unwrap(), "alone\n");
}

#[test]
fn what_cannot_be_read_is_told_and_kept_in_the_manifest_and_ends_with_three() {
    let home = small();
    home.write("app/secret.txt", "x");
    fs::set_permissions(home.path("app/secret.txt"), fs::Permissions::from_mode(0o0)).unwrap();
    let open = |path: &std::path::Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    let top = home.path("").parent().unwrap().to_owned();
    open(&top);
    open(&top.join("home"));
    open(&home.path(""));
    // Root reads everything, so somebody else does it.
    let program = home.path("strongroom");
    fs::copy(env!("CARGO_BIN_EXE_strongroom"), &program).unwrap();
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut command = if is_root { Command::new("setpriv") } else { Command::new(&program) };
    if is_root {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    }
    command.args(["--json", "backup", "app"]).current_dir(home.path("")).env("HOME", top.join("home"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("app/secret.txt: permission denied"), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["complete"], false);
    assert_eq!(report["sources"][0]["skipped"][0]["path"], "secret.txt");
}

#[test]
fn diff_tells_what_was_added_removed_changed_and_only_touched() {
    let home = backed_up();
    home.write("app/new.txt", "new\n");
    home.write("app/docs/a.txt", "other\n");
    fs::remove_file(home.path("app/readme.md")).unwrap();
    fs::set_permissions(home.path("app/docs/b.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    let expected =
        [("docs/a.txt", "content"), ("docs/b.txt", "metadata"), ("new.txt", "added"), ("readme.md", "removed")];
    let check = |document: serde_json::Value| {
        let changes = document["changes"].as_array().unwrap().clone();
        let found: Vec<(&str, &str)> =
            changes.iter().map(|c| (c["path"].as_str().unwrap(), c["change"].as_str().unwrap())).collect();
        assert_eq!(found, expected);
    };
    check(home.json(&["diff", "latest", "live"]));
    check(home.json(&["diff", "latest"]));
    home.ok(&["backup", "app"]);
    check(home.json(&["diff", "latest~1", "latest"]));
    assert!(home.ok(&["diff", "latest"]).out.contains("app: no change"));
    let words = home.ok(&["diff", "latest~1", "latest"]).out;
    assert!(words.contains("app: 1 removed   1 added   1 changed   1 with other metadata"), "{words}");
}

#[test]
fn verify_finds_damage_names_it_and_ends_with_four_and_the_rest_restores() {
    let home = backed_up();
    let pack = first_pack(&home);
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&pack, bytes).unwrap();
    for depth in [&["verify", "--read-data"][..], &["verify", "--stored"]] {
        let ran = home.run(depth);
        assert_eq!(ran.code, 4, "{}{}", ran.out, ran.err);
        assert!(ran.err.contains("damaged: packs/") && ran.err.contains("hint: "), "{}", ran.err);
    }
    let code = home.run(&["restore", "latest", "--to", "out"]).code;
    assert!(code == 3 || code == 4, "{code}");
}

fn first_pack(home: &Home) -> std::path::PathBuf {
    let folder = fs::read_dir(home.vault().join("packs")).unwrap().next().unwrap().unwrap().path();
    fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn samples_cover_every_pack_in_turn() {
    let home = small();
    for n in 0..4 {
        home.write("app/n.txt", format!("{n}"));
        home.ok(&["backup", "app", "--rescan"]);
    }
    let packs = |report: serde_json::Value| report["report"]["packs"]["checked"].as_u64().unwrap();
    assert_eq!(packs(home.json(&["verify", "--read-data"])), 4);
    assert_eq!(packs(home.json(&["verify", "--read-data", "--sample", "25%"])), 1);
    // One bad pack is found within four samples of a quarter each; sooner if a listing lies in it.
    let pack = first_pack(&home);
    let mut bytes = fs::read(&pack).unwrap();
    bytes.truncate(bytes.len() - 1);
    bytes.push(0);
    fs::write(&pack, bytes).unwrap();
    let found = (0..4).filter(|_| home.run(&["verify", "--read-data", "--sample", "25%"]).code == 4).count();
    assert!(found >= 1, "each pack has its turn");
    assert_eq!(home.run(&["verify", "--read-data", "--sample", "0%"]).code, 2);
}

#[test]
fn a_vault_opens_with_an_ssh_key_a_recipient_or_a_passphrase() {
    let mut home = small();
    for kind in ["ed25519", "rsa"] {
        let file = home.path(&format!("id_{kind}"));
        let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", kind, "-f"]).arg(&file).status();
        assert!(made.expect("ssh-keygen is missing").success());
        let vault = format!("vault_{kind}");
        home.ok(&["--vault", &vault, "init", "--recipient", &format!("ops={}.pub", file.display())]);
        home.ok(&["--vault", &vault, "backup", "app"]);
        home.ok(&[
            "--vault",
            &vault,
            "--identity",
            file.to_str().unwrap(),
            "restore",
            "latest",
            "--to",
            &format!("out_{kind}"),
        ]);
        assert!(home.fails(12, &["--vault", &vault, "snapshots"]).contains("sealed to: ops"));
    }
    home.write("pass", "correct horse battery staple\n");
    fs::set_permissions(home.path("pass"), fs::Permissions::from_mode(0o600)).unwrap();
    home.set("STRONGROOM_PASSPHRASE_FILE", home.path("pass").to_str().unwrap().to_owned());
    home.ok(&["--vault", "vault_pass", "init", "--passphrase"]);
    home.ok(&["--vault", "vault_pass", "backup", "app"]);
    home.ok(&["--vault", "vault_pass", "restore", "latest", "--to", "out_pass"]);
    assert_eq!(fs::read_to_string(home.path("out_pass/readme.md")).unwrap(), "one\n");
    home.write("pass", "wrong\n");
    assert!(home.fails(12, &["--vault", "vault_pass", "snapshots"]).contains("passphrase (passphrase)"));
}

#[test]
fn an_interrupted_backup_ends_with_130_and_leaves_a_sound_vault() {
    let home = backed_up();
    for n in 0..40u32 {
        let noise: Vec<u8> = (0..2_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761 + n * 2) >> 23) as u8).collect();
        home.write(&format!("big/{n}"), noise);
    }
    let mut child = home.command(&["backup", "big"]).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(150));
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(130 | 0)), "{code:?}");
    home.ok(&["verify", "--read-data"]);
    home.ok(&["backup", "big"]);
    home.ok(&["restore", "latest", "--to", "out"]);
}

#[test]
fn help_has_examples_and_completions_and_manuals_come_for_all() {
    let home = Home::new();
    let help = home.ok(&["--help"]).out;
    assert!(help.contains("Examples:"));
    for command in ["init", "backup", "snapshots", "show", "diff", "verify", "restore", "undo", "completions", "man"] {
        assert!(help.contains(command));
        assert!(home.ok(&[command, "--help"]).out.contains("Example"), "{command}");
        assert!(home.ok(&["man", command]).out.contains(".TH"), "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.ok(&["completions", shell]).out.contains("strongroom"));
    }
    home.fails(2, &["man", "nothing"]);
    assert_eq!(home.run(&["nothing"]).code, 2);
}
