//! Recoveries that are killed at every step: the next command leaves live data as it was before, or as it should become.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use strongroom::base::control::Control;
use strongroom::engine::sqlite::apply::OnDamage;
use strongroom::format::manifest::Manifest;
use strongroom::ops::actions::Actions;
use strongroom::ops::config::{self, Config};
use strongroom::ops::error::OpError;
use strongroom::ops::hooks::Hooks;
use strongroom::ops::places::Places;
use strongroom::ops::recover::{self, Asked, BUDGET, Beside, Case, Request};
use strongroom::ops::restore::in_place::{Settings, Step};
use strongroom::ops::undo;
use strongroom::record::plan::Options as PlanOptions;
use strongroom::store::{Options, Store};
use strongroom::vault::LockedVault;
use strongroom::vault::commit::Label;
use strongroom::vault::host::Folders;
use strongroom::vault::people::Credentials;
use strongroom::vault::select::SAFETY;
use strongroom::vault::unlocked::UnlockedVault;

use super::*;

/// Every step, and whether the rows are written when it is reached.
pub const STEPS: [(&str, bool); 6] =
    [("begun", false), ("staged", false), ("safe", false), ("written", false), ("committed", true), ("placed", true)];

/// What another process works on.
pub struct Inside {
    pub unlocked: UnlockedVault,
    pub manifest: Manifest,
    pub config: Config,
    pub actions: Actions,
}

/// Opens the newest snapshot of a home; `None` in a process that is none of ours.
pub fn inside() -> Option<Inside> {
    let (work, home) = (place("STRONGROOM_TEST_WORK")?, place("STRONGROOM_TEST_HOME")?);
    let folders = Folders { config: home.join(".config/strongroom"), cache: home.join(".cache/strongroom") };
    let vault = home.join(".local/share/strongroom/vault");
    let store = Store::open(vault.to_str().unwrap(), &Options::default()).unwrap();
    let mut credentials = Credentials::default();
    let identity = fs::read_to_string(folders.config.join("identity.txt")).unwrap();
    credentials.add("identity", &identity, age::NoCallbacks).unwrap();
    let unlocked = LockedVault::open(store, &folders).unwrap().unlock(&credentials).unwrap();
    let all = unlocked.snapshots().unwrap().readable;
    let newest = all.iter().map(|snapshot| &snapshot.manifest).rfind(|manifest| manifest.reason != SAFETY);
    let manifest = newest.unwrap().clone();
    let file = work.join("strongroom.toml");
    let config = config::parse(&fs::read_to_string(&file).unwrap(), &file, &|_| None).unwrap();
    let actions = Actions::new(home.join(".local/share/strongroom/actions").join(unlocked.vault().id().to_string()));
    Some(Inside { unlocked, manifest, config, actions })
}

pub fn die() {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
}

impl Inside {
    /// Recovers project 7, telling of each step.
    pub fn recover(self, options: PlanOptions, told: &dyn Fn(Step), control: Arc<Control>) -> Result<(), OpError> {
        let Self { unlocked, manifest, config, actions } = self;
        let request = Request {
            asked: Asked::Keys { name: "project".into(), keys: vec!["7".into()] },
            part: None,
            model: config.model,
            options,
            budget: BUDGET,
            configured: config.sources,
            into: None,
            beside: Beside::Tied,
            places: Places::of(unlocked.vault()),
            wait: Duration::from_secs(5),
            control: control.clone(),
        };
        let settings = settings(&manifest, &actions, told, control);
        let mut case = Case::open(&unlocked, &manifest, request)?;
        let recovery = case.plan()?;
        recover::apply(&unlocked, &mut case, &recovery, &settings).map(|_| ())
    }

    /// Takes the last recovery back.
    pub fn undo(self, control: Arc<Control>) -> Result<(), OpError> {
        let Self { unlocked, manifest, config, actions } = self;
        let settings = settings(&manifest, &actions, &|_| {}, control);
        let request = undo::Request { action: None, configured: config.sources, force: false, settings };
        undo::undo(&unlocked, request).map(|_| ())
    }
}

fn settings<'s>(
    manifest: &Manifest,
    actions: &'s Actions,
    told: &'s dyn Fn(Step),
    control: Arc<Control>,
) -> Settings<'s> {
    let label = Label {
        host: manifest.host.clone(),
        user: String::new(),
        app: manifest.app.clone(),
        tags: Vec::new(),
        labels: BTreeMap::new(),
        reason: String::new(),
        tool: String::new(),
    };
    Settings {
        safety: Some(label),
        wait: Duration::from_secs(5),
        on_damage: OnDamage::Refuse,
        accept_left_out: false,
        numeric_ids: false,
        trust_times: false,
        actions,
        hooks: Hooks::default(),
        told,
        control,
    }
}

/// Not a test of its own: recovers project 7 and is killed at the step it is told.
#[test]
fn another_process() {
    let Some(inside) = inside() else { return };
    let step = std::env::var("STRONGROOM_TEST_STEP").unwrap();
    let told = |reached: Step| match reached {
        Step::Reached(name) if name == step => die(),
        Step::Safe(_) if step == "safe" => die(),
        _ => {}
    };
    let (control, wanted, times) = (Arc::<Control>::default(), step.clone(), AtomicU32::new(0));
    control.watch(move |place| {
        let times = times.fetch_add(1, Ordering::SeqCst) + 1;
        if place == wanted || format!("{place} {times}") == wanted {
            die();
        }
    });
    inside.recover(PlanOptions::default(), &told, control).unwrap();
}

#[test]
fn a_recovery_that_is_killed_at_any_step_is_finished_or_taken_back_by_the_next_command() {
    let home = shop();
    let whole = state(&home);
    lose(&home, 7);
    // A file of it that is there, so that files go to their places one by one too.
    home.write("app/documents/7/deep/70.txt", "document 70\n".repeat(20));
    let harmed = state(&home);
    for (step, written) in STEPS {
        let status = child(&home, step).output().unwrap().status;
        assert_eq!(status.signal(), Some(9), "{step} was not reached");
        if step == "committed" {
            one_has_its_place(&home);
        }
        let list = home.json(&["undo", "--list"])["actions"].as_array().unwrap().clone();
        let expected = if written { &whole } else { &harmed };
        assert_eq!(&state(&home), expected, "killed at {step}");
        let last = list.last().unwrap();
        assert_eq!(last["state"], "done", "{last}");
        assert_eq!(last["undone_by"].is_null(), written, "{last}");
        if written {
            home.ok(&["undo"]);
            assert_eq!(state(&home), harmed, "taken back after {step}");
        }
    }
    home.ok(&["recover", "latest", "project", "7"]);
    assert_eq!(state(&home), whole);
}

/// As if it had been killed among the files.
fn one_has_its_place(home: &Home) {
    let mut folder = fs::read_dir(home.path("app/documents")).unwrap().flatten().map(|entry| entry.path());
    let staged = folder.find(|path| path.to_string_lossy().ends_with(".partial")).unwrap();
    fs::rename(staged.join("7/deep/72.txt"), home.path("app/documents/7/deep/72.txt")).unwrap();
}

#[test]
fn a_recovery_that_is_killed_at_any_moment_is_all_or_nothing() {
    let home = shop();
    let whole = state(&home);
    lose(&home, 7);
    let harmed = state(&home);
    let started = Instant::now();
    home.ok(&["recover", "latest", "project", "7"]);
    let takes = started.elapsed();
    home.ok(&["undo"]);
    let mut ends = [0; 2];
    for round in 0..25 {
        let mut child = home.command(&["recover", "latest", "project", "7"]);
        let mut child = child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        // The last ones have time to spare, however busy the machine is.
        std::thread::sleep(takes * round / if round < 20 { 18 } else { 6 });
        let _ = child.kill();
        child.wait().unwrap();
        home.ok(&["undo", "--list"]);
        let now = state(&home);
        assert!(now == whole || now == harmed, "round {round}: {now:#?}");
        ends[usize::from(now == whole)] += 1;
        if now == whole {
            home.ok(&["undo"]);
            assert_eq!(state(&home), harmed);
        }
    }
    assert!(ends[0] > 0 && ends[1] > 0, "killed before and after its commit: {ends:?}");
}

#[test]
fn what_cannot_be_finished_yet_keeps_nobody_from_anything_else_and_is_finished_later() {
    let home = shop();
    let whole = state(&home);
    lose(&home, 7);
    assert_eq!(child(&home, "committed").output().unwrap().status.signal(), Some(9));
    let (live, away) = (home.path("app/shop.db"), home.path("app/away.db"));
    fs::rename(&live, &away).unwrap();
    let ran = home.ok(&["undo", "--list"]);
    assert!(ran.err.contains("was broken off and cannot be finished yet"), "{}", ran.err);
    fs::rename(&away, &live).unwrap();
    let ran = home.ok(&["undo", "--list"]);
    assert!(ran.err.contains("finished what was broken off"), "{}", ran.err);
    assert_eq!(state(&home), whole);
}
