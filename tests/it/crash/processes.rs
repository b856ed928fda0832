//! The real program: killed at random moments, and twice at once.

use super::*;

/// The program itself, with a home of its own.
struct Program<'l> {
    lab: &'l Lab,
    home: PathBuf,
    vault: PathBuf,
}

impl<'l> Program<'l> {
    fn new(lab: &'l Lab) -> Self {
        let (home, vault) = (lab.path("home"), lab.path("kept"));
        fs::create_dir_all(&home).unwrap();
        let program = Self { lab, home, vault };
        program.run(&["init"]);
        program
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command.env_clear().env("HOME", &self.home).env("PATH", "/usr/bin:/bin").arg("--vault").arg(&self.vault);
        command.args(arguments).stdin(Stdio::null()).current_dir(&self.home);
        command
    }

    fn run(&self, arguments: &[&str]) {
        let output = self.command(arguments).output().unwrap();
        // 3 is an alarm: much may be gone since the last backup that was not killed.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{arguments:?}: {said}");
    }

    fn store(&self) -> Store {
        Store::open(self.vault.to_str().unwrap(), &Default::default()).unwrap()
    }

    fn folders(&self) -> Folders {
        Folders { config: self.home.join(".config/strongroom"), cache: self.home.join(".cache/strongroom") }
    }

    fn manifests(&self) -> BTreeSet<ObjectKey> {
        self.store().list(layout::SNAPSHOTS).unwrap().into_iter().map(|object| object.key).collect()
    }

    /// Restores this snapshot and compares.
    fn restores(&self, key: &ObjectKey, tree: &Tree, context: &str) {
        let to = tempfile::tempdir_in(self.lab.path("")).unwrap();
        let time = layout::manifest_time(key).unwrap();
        let place = to.path().join("out");
        self.run(&["restore", &format!("@{time}"), "--to", place.to_str().unwrap()]);
        crate::support::vaults::assert_same(&Tree::read(&place), tree, context);
    }
}

#[test]
fn a_hundred_kills_at_random_moments_lose_nothing() {
    let seed = std::env::var("STRONGROOM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) ^ 0x5eed_0000);
    let mut random = Random::new(seed);
    let lab = Lab::in_memory();
    let program = Program::new(&lab);
    let tree = lab.path("tree");
    plant(&tree, &mut random, 30, 600 << 10);
    program.run(&["backup", tree.to_str().unwrap()]);
    // How long a backup of a small and of a large change takes: known once one was let run to its end.
    let mut typical: [Option<Duration>; 2] = [None; 2];
    let mut committed: Vec<(ObjectKey, Tree)> = Vec::new();
    let mut known = BTreeSet::new();
    let (mut killed, mut round, mut midway) = (0, 0, 0);
    while killed < 100 {
        round += 1;
        let context = format!("STRONGROOM_SEED={seed}, round {round}, {killed} killed");
        let large = round % 8 == 0;
        change(&tree, &mut random, 4, 600 << 10);
        if large {
            fs::write(tree.join("large"), random.bytes(40 << 20)).unwrap();
        }
        let now = Tree::read(&tree);
        // Most of what matters happens in the second half.
        let share = 0.5 + random.below(650) as f64 / 1000.0;
        let moment = typical[usize::from(large)].map_or(Duration::from_secs(60), |typical| typical.mul_f64(share));
        let objects = program.store().list("").unwrap().len();
        let clock = Instant::now();
        let mut backup = program.command(&["backup", "--quiet", tree.to_str().unwrap()]).spawn().unwrap();
        let ended = wait_until(&mut backup, clock + moment);
        if !ended {
            backup.kill().unwrap();
            killed += 1;
        }
        let status = backup.wait().unwrap();
        if ended {
            typical[usize::from(large)] = Some(clock.elapsed());
        } else {
            midway += usize::from(program.store().list("").unwrap().len() > objects);
        }
        // 3 is an alarm: much may be gone since the last one that was not killed.
        assert!(!ended || matches!(status.code(), Some(0 | 3)), "{context}: {status}");
        let manifests = program.manifests();
        let new: Vec<_> = manifests.difference(&known).cloned().collect();
        known = manifests;
        // The first round's difference holds the one made before as well, which is of another tree.
        committed.extend(new.into_iter().next_back().filter(|_| round > 1).map(|key| (key, now)));
        if killed % 25 == 0 {
            program.run(&["verify"]);
        }
    }
    let context = format!("STRONGROOM_SEED={seed}, after all");
    assert!(midway > 0, "{context}: no kill came when something had been stored and was not committed");
    eprintln!("{midway} kills came after something had been stored");
    program.run(&["backup", tree.to_str().unwrap()]);
    let last = program.manifests().pop_last().unwrap();
    committed.push((last, Tree::read(&tree)));
    program.run(&["verify", "--read-data"]);
    nothing_is_stored_twice(&program.store(), &program.folders(), &context);
    for (key, tree) in &committed {
        program.restores(key, tree, &context);
    }
}

/// Did it end by itself before then?
fn wait_until(child: &mut std::process::Child, moment: Instant) -> bool {
    while Instant::now() < moment {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    child.try_wait().unwrap().is_some()
}

#[test]
fn two_processes_at_once_on_one_host_both_have_their_snapshots() {
    let lab = Lab::in_memory();
    let program = Program::new(&lab);
    let trees = [lab.path("tree-0"), lab.path("tree-1")];
    let mut random = Random::new(11);
    plant(&trees[0], &mut random, 40, 60 << 10);
    copy_folder(&trees[0], &trees[1]);
    for round in 0..8 {
        let seed = random.next();
        trees.iter().for_each(|tree| change(tree, &mut Random::new(seed), 8, 60 << 10));
        let before = program.manifests();
        let running = [0, 1].map(|n| {
            let arguments = ["backup", "--quiet", trees[n].to_str().unwrap()];
            program.command(&arguments).stderr(Stdio::piped()).spawn().unwrap()
        });
        for backup in running {
            let output = backup.wait_with_output().unwrap();
            assert!(output.status.success(), "round {round}: {}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(program.manifests().difference(&before).count(), 2);
    }
    program.run(&["verify", "--read-data"]);
    for tree in &trees {
        let to = lab.path("out").join(tree.file_name().unwrap());
        let app = tree.file_name().unwrap().to_str().unwrap();
        program.run(&["restore", "latest", "--app", app, "--to", to.to_str().unwrap()]);
        crate::support::vaults::assert_same(&Tree::read(&to), &Tree::read(tree), app);
    }
}
