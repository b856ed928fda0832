//! What is shown can be typed back, fits the terminal, and says what to do.

use std::os::unix::ffi::OsStrExt;

use rusqlite::Connection;

use super::*;

#[test]
fn a_name_that_is_shown_can_be_pasted_back() {
    let home = small();
    let folder = home.path("app/docs");
    for (name, content) in [(&b"caf\xe9.txt"[..], "latin"), (b"caf%E9.txt", "percent"), (b"a b;c.txt", "spaces")] {
        fs::write(folder.join(std::ffi::OsStr::from_bytes(name)), content).unwrap();
    }
    home.ok(&["backup", "app"]);
    home.ok(&["backup", "app", "app/docs"]);
    let listing = home.ok(&["show", "latest~1", "app:docs"]).out;
    let names = ["docs/caf%E9.txt", "docs/caf%25E9.txt", "docs/a b;c.txt"];
    for (name, content) in names.into_iter().zip(["latin", "percent", "spaces"]) {
        assert!(listing.contains(&format!("  {name}\n")), "{listing}");
        for typed in [format!("app:{name}"), format!("app/{name}")] {
            assert_eq!(home.ok(&["show", "latest", &typed, "--cat"]).out, content, "{typed}");
        }
        assert_eq!(home.ok(&["show", "latest~1", name, "--cat"]).out, content, "{name}");
        home.ok(&["recover", "latest", "--file", &format!("app:{name}")]);
    }
    // What a person types is taken as it stands where nothing is shown so.
    assert_eq!(home.ok(&["show", "latest~1", "docs/a.txt", "--cat"]).out, "alpha\n");
}

#[test]
fn names_in_hints_are_words_for_a_shell() {
    let home = Home::new();
    home.write("$(touch x)/a.txt", "a");
    home.write("other/a.txt", "a");
    home.ok(&["backup", "$(touch x)", "other"]);
    let said = home.fails(1, &["restore", "latest", "$(touch x):nothing", "--to", "out"]);
    let hint = said.lines().find_map(|line| line.strip_prefix("hint: list what it holds with ")).unwrap();
    assert!(home.shell(hint).contains("a.txt"), "{said}");
    assert!(!home.path("x").exists());
    assert!(home.fails(1, &["recover", "latest", "--file", "nothing"]).contains("any source"));
}

#[test]
fn help_fits_eighty_columns_and_tells_global_options_apart() {
    let home = Home::new();
    let commands =
        ["init", "backup", "snapshots", "show", "diff", "query", "verify", "restore", "recover", "find", "undo"];
    for command in commands {
        let help = home.ok(&["help", command]).out;
        let long: Vec<&str> = help.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "{command}: {long:#?}");
        let (own, global) = help.split_once("Global options:").unwrap_or_else(|| panic!("{help}"));
        for option in ["--vault", "--config", "--identity", "--json", "--quiet", "--verbose"] {
            let begins = |line: &str| {
                ["      ", "  -q, ", "  -v, "].iter().any(|start| line.starts_with(&format!("{start}{option}")))
            };
            let is_there = |text: &str| text.lines().any(begins);
            assert!(is_there(global) && !is_there(own), "{command} {option}: {help}");
        }
        assert_eq!(home.ok(&[command, "--help"]).out, help, "{command}");
    }
}

#[test]
fn every_example_of_a_help_stands_on_a_line_of_its_own() {
    let home = Home::new();
    let commands =
        ["init", "backup", "snapshots", "show", "diff", "query", "verify", "restore", "recover", "find", "undo"];
    for command in std::iter::once(None).chain(commands.map(Some)) {
        let help = home.ok(&Vec::from_iter(command.into_iter().chain(["--help"]))).out;
        let long: Vec<&str> = help.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "{command:?}: {long:#?}");
        let examples = help.split_once("Example").unwrap_or_else(|| panic!("{help}")).1;
        let lines = examples.lines().skip(1).map(str::trim_start).filter(|line| !line.is_empty());
        // A line that goes on ends with a backslash; anything else that does not begin with a command is broken.
        let mut goes_on = false;
        for line in lines {
            assert!(goes_on || line.starts_with("strongroom "), "{command:?}: {line}: {help}");
            goes_on = line.ends_with('\\');
        }
    }
}

#[test]
fn a_manual_page_is_titled_by_its_command_and_says_exit_codes_variables_and_files() {
    let home = Home::new();
    for (arguments, title) in [(&["man"][..], "strongroom"), (&["man", "backup"], "strongroom-backup")] {
        let page = home.ok(arguments).out;
        assert!(page.contains(&format!(".TH {title} 1")), "{page}");
        for section in [".SH \"EXIT STATUS\"", ".SH ENVIRONMENT", ".SH FILES", ".SH EXAMPLES"] {
            assert!(page.contains(section), "{title}: no {section}: {page}");
        }
        assert!(page.contains("STRONGROOM_PASSPHRASE_FILE") && page.contains("strongroom.toml"), "{page}");
    }
    let rendered = home.shell("strongroom man backup | (man -l - 2>/dev/null || cat)");
    assert!(rendered.contains("strongroom backup") || rendered.contains("strongroom"), "{rendered}");
}

#[test]
fn a_wrong_passphrase_a_missing_passphrase_file_and_no_terminal_are_three_errors() {
    let mut home = small();
    let private = |home: &Home, text: &str| {
        home.write("pass", text);
        fs::set_permissions(home.path("pass"), fs::Permissions::from_mode(0o600)).unwrap();
    };
    private(&home, "correct horse\n");
    let file = home.path("pass").to_str().unwrap().to_owned();
    home.set("STRONGROOM_PASSPHRASE_FILE", file.clone());
    home.ok(&["--vault", "vault", "init", "--passphrase"]);
    home.ok(&["--vault", "vault", "backup", "app"]);
    private(&home, "wrong horse\n");
    assert!(home.fails(12, &["--vault", "vault", "snapshots"]).contains("wrong passphrase for vault"));
    fs::remove_file(home.path("pass")).unwrap();
    let said = home.fails(12, &["--vault", "vault", "snapshots"]);
    assert!(said.contains(&format!("passphrase file {file} does not exist")), "{said}");
    let mut home_without = home;
    home_without.unset("STRONGROOM_PASSPHRASE_FILE");
    let said = home_without.fails(12, &["--vault", "vault", "snapshots"]);
    assert!(said.contains("no terminal to ask") && said.contains("STRONGROOM_PASSPHRASE_FILE"), "{said}");
}

#[test]
fn verify_says_nothing_good_of_a_vault_that_is_damaged() {
    let home = backed_up();
    let packs = home.vault().join("packs");
    let pack =
        walkdir::WalkDir::new(packs).into_iter().map(|entry| entry.unwrap()).find(|entry| entry.file_type().is_file());
    fs::remove_file(pack.unwrap().path()).unwrap();
    let ran = home.run(&["verify"]);
    assert_eq!(ran.code, 4);
    for praise in ["every reference resolved", "there and of their length", "sound"] {
        assert!(!ran.out.contains(praise), "{praise}: {}", ran.out);
    }
}

#[test]
fn a_backup_waits_for_a_locked_database_as_long_as_it_is_told_to() {
    let home = small();
    let live = Connection::open(home.path("app/shop.db")).unwrap();
    live.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1); BEGIN EXCLUSIVE").unwrap();
    let ran = home.run(&["backup", "app/shop.db", "--wait", "1"]);
    assert!(ran.code != 0, "{}{}", ran.out, ran.err);
    let mut waiting = home.command(&["backup", "app/shop.db", "--wait", "600"]);
    let child = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Longer than the first one waited.
    std::thread::sleep(std::time::Duration::from_secs(2));
    live.execute_batch("COMMIT").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_differs_and_stays_is_named_with_its_values_and_the_way_to_replace_it() {
    let home = small();
    let live = Connection::open(home.path("app/shop.db")).unwrap();
    live.execute_batch(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, created_at TEXT);
         INSERT INTO t VALUES (1, 'old', '2026-01-02 03:04:05')",
    )
    .unwrap();
    home.ok(&["backup", "app"]);
    live.execute_batch("UPDATE t SET x = 'new'").unwrap();
    let plan = home.ok(&["recover", "latest", "t", "1", "--dry-run"]).out;
    assert!(plan.contains("changed since the snapshot, left unchanged"), "{plan}");
    assert!(plan.contains("--on-conflict overwrite") && plan.contains("x  is 'new', was 'old'"), "{plan}");
    assert!(plan.lines().all(|line| line.chars().count() <= 80), "{plan}");
}

#[test]
fn a_shell_is_offered_sources_snapshots_tags_and_entities() {
    let home = small();
    home.write(
        "strongroom.toml",
        "app = 'shop'\n[source.documents]\nkind = 'files'\npath = 'app/docs'\n[source.db]\nkind = 'sqlite'\npath = 'app/shop.db'\n\
         [entity.project]\nsource = 'db'\ntable = 'projects'",
    );
    let live = Connection::open(home.path("app/shop.db")).unwrap();
    live.execute_batch("CREATE TABLE projects (id INTEGER PRIMARY KEY)").unwrap();
    let id = home.json(&["backup", "--tag", "pre-deploy"])["id"].as_str().unwrap()[..8].to_owned();
    let offered = |words: &[&str]| -> Vec<String> {
        let ran = home.ok(&[&["complete", "--"], words].concat());
        ran.out.lines().map(str::to_owned).collect()
    };
    let has = |words: &[&str], wanted: &str| {
        let offered = offered(words);
        assert!(offered.iter().any(|one| one == wanted), "{words:?}: {offered:?}");
    };
    has(&["backup", ""], "documents");
    has(&["show", ""], "latest");
    has(&["show", &id[..4]], &id);
    has(&["show", "tag:"], "tag:pre-deploy");
    has(&["restore", "latest", "d"], "documents");
    has(&["restore", "latest", "d"], "db");
    has(&["snapshots", "--tag", ""], "pre-deploy");
    has(&["find", ""], "project");
    has(&["recover", "latest", "p"], "project");
    has(&["recover", "latest", "--missing", ""], "project");
    has(&["query", "latest", "--source", ""], "db");
    assert_eq!(offered(&["restore", "latest", "x"]), Vec::<String>::new());
    // The script asks for them.
    let script = home.ok(&["completions", "bash"]).out;
    home.write("completion.bash", &script);
    let lines = "set +eu; source completion.bash; COMP_WORDS=(strongroom restore latest do); COMP_CWORD=3; COMP_LINE='strongroom restore latest do'; \
        COMP_POINT=${#COMP_LINE}; COMPREPLY=(); _strongroom_with_names strongroom do latest; printf '%s\\n' \"${COMPREPLY[@]}\"";
    assert!(home.shell(lines).lines().any(|line| line == "documents"));
}

/// What stands on a terminal of eighty columns after these bytes came to it.
fn screen(bytes: &str) -> Vec<String> {
    let (mut rows, mut row, mut column) = (vec![Vec::new()], 0_usize, 0_usize);
    let mut letters = bytes.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{1b}' if letters.peek() == Some(&'[') => {
                let sequence: String =
                    std::iter::from_fn(|| letters.next_if(|letter| !letter.is_ascii_alphabetic())).collect();
                let number = sequence.trim_matches(['[', '?']).parse::<usize>();
                match letters.next() {
                    Some('A') => row = row.saturating_sub(number.unwrap_or(1)),
                    Some('K') if number == Ok(2) => rows[row].clear(),
                    Some('K') => rows[row].truncate(column),
                    _ => {}
                }
            }
            letter if letter.is_control() => {}
            letter => {
                while rows[row].len() <= column {
                    rows[row].push(' ');
                }
                rows[row][column] = letter;
                column += 1;
            }
        }
        while rows.len() <= row {
            rows.push(Vec::new());
        }
    }
    rows.into_iter().map(|row| row.into_iter().collect::<String>().trim_end().to_owned()).collect()
}

/// Runs the program at a terminal.
fn at_a_terminal(home: &Home, arguments: &str) -> Vec<String> {
    let program = home.command(&[]);
    let line = format!("stty cols 80 rows 50; {} {arguments}", program.get_program().display());
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).current_dir(home.path("")).stdin(Stdio::null()).env_clear();
    script.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
    screen(&String::from_utf8_lossy(&script.output().expect("script is missing").stdout))
}

#[test]
fn a_line_of_progress_is_gone_when_something_is_printed_and_no_line_is_broken_within_a_word() {
    let home = small();
    let long = format!("app/{}", "a folder with a long name/".repeat(6));
    home.write(&format!("{long}file.txt"), "x");
    home.ok(&["backup", "app", "--label", &format!("why={}", "many words ".repeat(12))]);
    for arguments in [
        "restore latest app --in-place",
        "undo",
        "verify",
        "backup app",
        "show latest",
        "restore latest nothing --to x",
    ] {
        let screen = at_a_terminal(&home, arguments);
        for line in &screen {
            for progress in ["restoring  ", "verifying  ", "reading  "] {
                assert!(!line.contains(progress), "{arguments}: {screen:#?}");
            }
            // A single word may be longer than a line, as the name of an object is.
            let words = line.trim_start().split(' ').count();
            assert!(line.chars().count() <= 80 || words < 3 || line.starts_with("hint:"), "{arguments}: {screen:#?}");
        }
    }
}
