//! Storage that is away for a while: it is waited for, and nothing is lost of what it holds.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use strongroom::base::control::Control;
use strongroom::base::error::{Class, Explain};
use strongroom::ops::restore;
use strongroom::store::{Faults, Patience, Store, StoreError, Watch};

use crate::support::program::Home;
use crate::support::s3::moto;
use crate::support::vaults::{Lab, Random, Tree, assert_same, plant};

/// Time that passes only while somebody waits; what happens when enough of it has passed.
#[derive(Clone)]
struct Clock(Arc<Inner>);

struct Inner {
    start: Instant,
    waited: AtomicU64,
    heals: Option<(Duration, Arc<Faults>)>,
    stops: Option<Arc<Control>>,
    said: Mutex<Vec<&'static str>>,
}

impl Clock {
    fn new(heals: Option<(Duration, Arc<Faults>)>, stops: Option<Arc<Control>>) -> Self {
        let (waited, said) = (AtomicU64::new(0), Mutex::default());
        Self(Arc::new(Inner { start: Instant::now(), waited, heals, stops, said }))
    }

    fn waited(&self) -> Duration {
        Duration::from_millis(self.0.waited.load(Ordering::SeqCst))
    }

    fn say(&self, word: &'static str) {
        let mut said = self.0.said.lock().unwrap();
        if said.last() != Some(&word) {
            said.push(word);
        }
    }

    fn said(&self) -> Vec<&'static str> {
        self.0.said.lock().unwrap().clone()
    }
}

impl Watch for Clock {
    fn stopped(&self) -> bool {
        self.0.stops.as_ref().is_some_and(|control| control.stopped())
    }

    fn waiting(&self, _: Duration, _: Duration, error: &StoreError) {
        assert!(error.is_away());
        self.say("waiting");
    }

    fn back(&self, _: Duration) {
        self.say("back");
    }

    fn given_up(&self, _: Duration) {
        self.say("given up");
    }

    fn now(&self) -> Instant {
        self.0.start + self.waited()
    }

    fn pause(&self, time: Duration) {
        self.0.waited.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
        if let Some((_, faults)) = self.0.heals.as_ref().filter(|(after, _)| self.waited() >= *after) {
            faults.heal();
        }
        if let Some(control) = &self.0.stops {
            control.stop();
        }
    }
}

const MINUTES: Duration = Duration::from_secs(300);

struct Scene {
    lab: Lab,
    tree: Tree,
    made: strongroom::format::manifest::Manifest,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::in_memory();
        let mut random = Random::new(5);
        plant(&lab.path("tree"), &mut random, 120, 2 << 10);
        let made = lab.backup(&lab.path("tree"));
        Self { tree: Tree::read(&lab.path("tree")), lab, made }
    }

    /// Restores from storage that is away from the middle of it on.
    fn restore(&self, faults: Arc<Faults>, patience: Option<Patience>, control: &Arc<Control>) -> (u64, Tree) {
        let store = self.lab.store.clone().with_faults(faults.clone());
        let store = patience.into_iter().fold(store, Store::with_patience);
        let unlocked = self.lab.unlock(&store, &self.lab.folders).unwrap();
        faults.away_from(faults.count() + 6);
        let to = tempfile::tempdir().unwrap();
        let request = restore::Request {
            parts: Vec::new(),
            to: to.path().to_owned(),
            numeric_ids: true,
            control: control.clone(),
        };
        match restore::restore(&unlocked, &self.made, &request) {
            Ok(report) => (report.issues_count, Tree::read(to.path())),
            Err(error) => {
                assert_eq!(error.class(), Class::Interrupted, "{error}");
                (u64::MAX, Tree::default())
            }
        }
    }
}

#[test]
fn storage_that_is_away_for_eight_seconds_costs_a_restore_nothing() {
    let scene = Scene::new();
    let control = Arc::default();
    let (issues, _) = scene.restore(Faults::new(), None, &control);
    assert!(issues > 10, "without patience files are lost, and here {issues} were");
    let faults = Faults::new();
    let clock = Clock::new(Some((Duration::from_secs(8), faults.clone())), None);
    let (issues, restored) = scene.restore(faults, Some(Patience::new(MINUTES, clock.clone())), &control);
    assert_eq!(issues, 0);
    assert_same(&restored, &scene.tree, "restored");
    assert_eq!(clock.said(), ["waiting", "back"]);
}

#[test]
fn storage_that_stays_away_is_given_up_once_for_all_files() {
    let scene = Scene::new();
    let clock = Clock::new(None, None);
    let patience = Patience::new(MINUTES, clock.clone());
    let (issues, _) = scene.restore(Faults::new(), Some(patience), &Arc::default());
    assert!(issues > 10, "{issues}");
    assert!(clock.said().starts_with(&["waiting", "given up"]), "{:?}", clock.said());
    // Several threads wait at the same time, and this clock adds what each of them waits.
    assert!(clock.waited() >= MINUTES && clock.waited() < 2 * MINUTES, "{:?}", clock.waited());
}

#[test]
fn whoever_waits_for_storage_stops_when_asked_to() {
    let scene = Scene::new();
    let control: Arc<Control> = Arc::default();
    let clock = Clock::new(None, Some(control.clone()));
    scene.restore(Faults::new(), Some(Patience::new(MINUTES, clock.clone())), &control);
    assert!(clock.waited() < Duration::from_secs(30), "{:?}", clock.waited());
}

#[test]
fn storage_that_refuses_connections_from_the_start_is_waited_for_as_long_as_storage_that_goes_away() {
    let lab = Lab::in_memory();
    let faults = Faults::new();
    faults.away_from(0);
    let clock = Clock::new(None, None);
    let store = lab.store.clone().with_faults(faults).with_patience(Patience::new(MINUTES, clock.clone()));
    let error = store.get(&"vault.json".parse().unwrap()).unwrap_err();
    assert!(error.is_away());
    assert!(clock.waited() >= MINUTES && clock.waited() < 2 * MINUTES, "{:?}", clock.waited());
}

#[test]
fn every_operation_waits_for_a_folder_that_is_unmounted_for_a_while() {
    let lab = Lab::in_folder();
    let place = lab.path("vault");
    let object = |name: &str| format!("packs/{name}").parse().unwrap();
    let plain = Store::open(place.to_str().unwrap(), &Default::default()).unwrap();
    plain.put_new(&object("one"), "content".into()).unwrap();
    type Deed = fn(&Store) -> Result<(), StoreError>;
    let deeds: [(&str, Deed); 6] = [
        ("get", |store| store.get(&"packs/one".parse().unwrap()).map(drop)),
        ("range", |store| store.get_range(&"packs/one".parse().unwrap(), 1..3).map(drop)),
        ("head", |store| store.head(&"packs/one".parse().unwrap()).map(|size| assert!(size.is_some()))),
        ("list", |store| store.list("packs").map(|found| assert!(!found.is_empty()))),
        ("put", |store| store.put_new(&"packs/two".parse().unwrap(), "new".into())),
        ("delete", |store| store.delete(&"packs/one".parse().unwrap())),
    ];
    for (name, deed) in deeds {
        let aside = lab.path("aside");
        std::fs::rename(&place, &aside).unwrap();
        std::fs::create_dir(&place).unwrap();
        let away = AtomicBool::new(true);
        let mount = {
            let (place, aside) = (place.clone(), aside.clone());
            move || {
                if away.swap(false, Ordering::SeqCst) {
                    std::fs::remove_dir_all(&place).unwrap();
                    std::fs::rename(&aside, &place).unwrap();
                }
            }
        };
        // Opened before, as it stays open while the disk goes.
        let store = plain.clone().with_patience(Patience::new(MINUTES, Mounting(Box::new(mount))));
        deed(&store).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(plain.get(&object("two")).is_ok(), "it went to where the disk was not");
}

/// Mounts the disk in the first pause.
struct Mounting(Box<dyn Fn() + Send + Sync>);

impl Watch for Mounting {
    fn stopped(&self) -> bool {
        false
    }

    fn waiting(&self, _: Duration, _: Duration, _: &StoreError) {}

    fn back(&self, _: Duration) {}

    fn given_up(&self, _: Duration) {}

    fn pause(&self, _: Duration) {
        (self.0)();
    }
}

#[test]
fn a_server_that_goes_away_and_comes_back_costs_a_restore_nothing() {
    let mut home = Home::new();
    let gate = moto().gate();
    for (name, value) in gate.options().aws {
        home.set(&name, value);
    }
    home.set("STRONGROOM_VAULT", format!("s3://{}/vault", moto().bucket()));
    let mut random = Random::new(8);
    plant(&home.path("tree"), &mut random, 60, 40 << 10);
    home.ok(&["init"]);
    home.ok(&["backup", "tree"]);
    let mut restoring = home.command(&["restore", "latest", "--to", "out"]);
    restoring.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
    gate.close();
    let restoring = restoring.spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while gate.refused() < 4 {
        assert!(Instant::now() < until, "nobody asks");
        std::thread::sleep(Duration::from_millis(20));
    }
    gate.open();
    let ran = restoring.wait_with_output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(Tree::read(&home.path("out")).files().count(), Tree::read(&home.path("tree")).files().count());
}
