//! `backup`: configuration, what is skipped, an interrupt.

use super::*;

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
        ("vault = \"${NOWHERE}\"\n", "line 1: neither the environment nor env_file has NOWHERE"),
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
fn what_strongroom_keeps_itself_is_left_out_of_a_source_that_holds_it_and_told_in_a_line() {
    let mut home = small();
    let me = home.path("me");
    home.write("me/docs/a.txt", "alpha\n");
    home.set("HOME", me.to_str().unwrap());
    let first = home.run(&["backup", "me"]);
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(first.err.contains("left out: me: 3 items of strongroom itself: .cache/strongroom, …"), "{}", first.err);
    let again = home.json(&["backup", "me"]);
    assert!(again["bytes"].as_u64().unwrap() < 1000, "what it notes of its turns is little: {again:#}");
    assert_eq!(again["sources"][0]["left_out"][0]["why"], "own", "{again:#}");
    let listing = home.ok(&["show", "latest", "me"]).out;
    for own in ["identity.txt", "vault.json", "writers", "catalogs"] {
        assert!(!listing.contains(own), "{own}: {listing}");
    }
    assert!(listing.contains("docs/a.txt"), "{listing}");
    // It is not there to be removed either, and is no difference.
    home.write("me/docs/a.txt", "two\n");
    let changes = home.json(&["diff", "latest"])["changes"].to_string();
    assert!(changes.contains("docs/a.txt") && !changes.contains("vault"), "{changes}");
    home.ok(&["restore", "latest", "--in-place"]);
    assert_eq!(fs::read(home.path("me/docs/a.txt")).unwrap(), b"alpha\n");
    home.ok(&["verify", "--read-data"]);
    // A vault or an identity elsewhere in it, by whatever name.
    std::os::unix::fs::symlink(home.path("app/kept"), home.path("way")).unwrap();
    let (vault, identity) = (home.path("way"), home.path("app/own.txt"));
    fs::create_dir(home.path("app/kept")).unwrap();
    let own = ["--vault", vault.to_str().unwrap(), "--identity", identity.to_str().unwrap()];
    home.ok(&[&own[..], &["init"]].concat());
    home.ok(&[&own[..], &["backup", "app"]].concat());
    let listing = home.ok(&[&own[..], &["show", "latest", "app"]].concat()).out;
    assert!(!listing.contains("kept") && !listing.contains("own.txt") && listing.contains("readme.md"), "{listing}");
}

#[test]
fn a_pattern_that_fits_nothing_for_want_of_a_bracket_is_a_mistake() {
    let home = small();
    for glob in ["[", "docs/[a-", "a[!]"] {
        let said = home.fails(2, &["backup", "app", "--exclude", glob]);
        assert!(said.contains("has a [ without a ]"), "{glob}: {said}");
        home.write(
            "strongroom.toml",
            format!("[source.app]\nkind = \"files\"\npath = \"app\"\nexclude = ['{glob}']\n"),
        );
        assert!(home.fails(2, &["backup"]).contains("has a [ without a ]"), "{glob}");
        fs::remove_file(home.path("strongroom.toml")).unwrap();
    }
    for glob in ["[ab].txt", "[]a]", "[^a]", "\\["] {
        home.ok(&["backup", "app", "--exclude", glob]);
    }
}
