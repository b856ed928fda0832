//! Restores that read only what the live database is not known to hold.

use sha2::{Digest, Sha256};

use super::*;

/// What a restore asked for.
#[derive(Default)]
struct Asked(Vec<u32>);

/// Gives back what differs, where every page of the snapshot is known.
pub fn give_back(live: &Path, snapshot: &Path) -> Result<Option<Applied>, ApplyError> {
    run(live, snapshot, &mut Asked::default(), |_| true)
}

/// The same, where only some pages are known, by their places; notes which pages were asked for.
fn run(
    live: &Path,
    snapshot: &Path,
    asked: &mut Asked,
    is_known: impl Fn(u32) -> bool + Send + Sync,
) -> Result<Option<Applied>, ApplyError> {
    with_known(snapshot, asked, is_known, |known, options| apply_differing(&mut live_at(live), known, options))
}

fn with_known<R>(
    snapshot: &Path,
    asked: &mut Asked,
    is_known: impl Fn(u32) -> bool + Send + Sync,
    act: impl FnOnce(Known<'_>, &Options<'_>) -> R,
) -> R {
    let bytes = fs::read(snapshot).unwrap();
    let size = header::Header::of(&bytes).unwrap().page_size() as usize;
    let page = |number: u32| &bytes[(number as usize - 1) * size..number as usize * size];
    let name = |page: &[u8]| Sha256::digest(page)[..16].try_into().unwrap();
    let expected = || -> Expectations<'_> {
        let mut number = 0;
        let (is_known, name) = (&is_known, &name);
        Box::new(move || {
            number += 1;
            if is_known(number) { Expected::Named(name(page(number))) } else { Expected::Unknown }
        })
    };
    let mut pages = |numbers: &[u32], take: &mut differing::Take<'_>| {
        asked.0.extend(numbers);
        let content: Vec<u8> = numbers.iter().flat_map(|&number| page(number)).copied().collect();
        // Blocks end within pages.
        let blocks: Vec<_> = content.chunks(5_000).map(|block| Ok(block.to_vec())).collect();
        take(&mut from(blocks.into_iter()))
    };
    let known = Known {
        length: bytes.len() as u64,
        first: bytes[..size].to_vec(),
        expected: &expected,
        name: &name,
        pages: &mut pages,
    };
    let control = Arc::default();
    act(known, &Options { wait: WAIT, on_damage: OnDamage::Refuse, control: &control, dress: None })
}

/// The numbers of the pages of the one that the other does not have there, but the first.
fn unlike(snapshot: &Path, live: &Path) -> Vec<u32> {
    let (one, other) = (fs::read(snapshot).unwrap(), fs::read(live).unwrap());
    let pages = one.chunks(4096).enumerate().skip(1);
    pages.filter(|(at, page)| other.chunks(4096).nth(*at) != Some(page)).map(|(at, _)| at as u32 + 1).collect()
}

const FEW: &str = "UPDATE account SET balance = balance - 7 WHERE id % 3 = 0; DELETE FROM note WHERE id > 2700;";

#[test]
fn only_pages_that_are_not_known_to_be_there_are_asked_for() {
    let more = "CREATE TABLE more AS SELECT hex(randomblob(3000)) x FROM note LIMIT 30;";
    let (grew, shrank) = (format!("{FEW} {more}"), format!("{FEW} DROP TABLE more; PRAGMA incremental_vacuum(100)"));
    let longer = format!("PRAGMA auto_vacuum = INCREMENTAL; {BANK} {more}");
    let cases = [("wal", BANK, FEW), ("delete", BANK, FEW), ("wal", BANK, &*grew), ("delete", BANK, &*grew)];
    for (mode, before, after) in cases.into_iter().chain([("wal", &*longer, &*shrank), ("delete", &*longer, &*shrank)])
    {
        let scene = Scene::new(mode, before, after);
        let (unlike, mut asked) = (unlike(&scene.snapshot(), &scene.live()), Asked::default());
        let applied = run(&scene.live(), &scene.snapshot(), &mut asked, |_| true).unwrap().unwrap();
        asked.0.sort_unstable();
        assert_eq!(asked.0, unlike, "{mode} {after}");
        assert!(unlike.len() > 3, "{unlike:?}");
        assert_eq!((applied.way, applied.written as usize), (Way::Pages, unlike.len() + 1));
        assert_eq!(applied.checked, Checked::Sound);
        scene.assert_given_back();
        assert_eq!(text(&scene.live(), "PRAGMA journal_mode"), mode);
        let again = give_back(&scene.live(), &scene.snapshot()).unwrap().unwrap();
        assert_eq!((again.written, again.checked), (0, Checked::Unchanged));
    }
}

#[test]
fn pages_of_which_nothing_is_known_are_asked_for_as_well() {
    let scene = Scene::new("wal", BANK, FEW);
    let (unlike, mut asked) = (unlike(&scene.snapshot(), &scene.live()), Asked::default());
    let applied = run(&scene.live(), &scene.snapshot(), &mut asked, |number| number % 9 != 0).unwrap().unwrap();
    assert_eq!(applied.written as usize, unlike.len() + 1, "those that are there are not written");
    assert!(unlike.iter().all(|number| asked.0.contains(number)) && asked.0.len() > unlike.len());
    scene.assert_given_back();
}

/// The check has begun by then, and what it has found out is worth nothing.
#[test]
fn what_nobody_expected_is_found_while_the_rest_is_written_and_checked() {
    let long = format!("{BANK} INSERT INTO note SELECT id + 3000, account, hex(randomblob(900)) FROM note;");
    for mode in ["wal", "delete"] {
        for share in [2, 3, 5, 40] {
            let scene = Scene::new(mode, &long, SPENT);
            let unlike = unlike(&scene.snapshot(), &scene.live());
            let is_known = |number| !unlike.contains(&number) || number % share == 0;
            let mut asked = Asked::default();
            let Some(applied) = run(&scene.live(), &scene.snapshot(), &mut asked, is_known).unwrap() else {
                panic!("{mode} {share}: {} pages", unlike.len());
            };
            assert_eq!((applied.written as usize, applied.checked), (unlike.len() + 1, Checked::Sound));
            scene.assert_given_back();
        }
    }
}

#[test]
fn a_database_that_lets_no_second_connection_in_is_looked_at_by_the_first_one() {
    let scene = Scene::new("wal", BANK, FEW);
    let (unlike, mut asked) = (unlike(&scene.snapshot(), &scene.live()), Asked::default());
    let is_known = |number: u32| !number.is_multiple_of(4);
    let outcome = with_known(&scene.snapshot(), &mut asked, is_known, |mut known, options| {
        let (path, goal) = (scene.live(), goal(std::mem::take(&mut known.first), known.length).unwrap());
        let mut live = live_at(&path);
        live.watch(WAIT).unwrap();
        live.connection().execute_batch("PRAGMA locking_mode = EXCLUSIVE").unwrap();
        let told = Told { path: &path, wait: WAIT };
        let started = std::time::Instant::now();
        let outcome = delta::run(&mut live, &goal, From::Known(&mut known), options, &told).unwrap();
        assert!(started.elapsed() < Duration::from_secs(4), "nobody waits for a lock that will not go");
        outcome
    });
    let Outcome::Applied(applied) = outcome else { panic!("few pages differ") };
    assert_eq!((applied.written as usize, applied.checked), (unlike.len() + 1, Checked::Sound));
    scene.assert_given_back();
}

#[test]
fn a_check_that_is_given_up_leaves_the_transaction_as_it_is() {
    let scene = Scene::new("wal", BANK, "");
    let mut connection = Connection::open(scene.live()).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE; UPDATE account SET balance = 1").unwrap();
    let mut asked = 0;
    let given_up = check::connected(&mut connection, move || {
        asked += 1;
        asked > 2
    });
    assert_eq!(given_up.unwrap(), None);
    assert!(!connection.is_autocommit());
    assert_eq!(check::connected(&mut connection, || false).unwrap(), Some(Checked::Sound));
    connection.execute_batch("COMMIT").unwrap();
    assert_eq!(number(&scene.live(), "SELECT sum(balance) FROM account"), 100);
}

#[test]
fn where_most_differs_or_pages_do_not_fit_nothing_is_changed_and_another_way_is_left() {
    let other = "PRAGMA journal_mode = DELETE; PRAGMA page_size = 8192; VACUUM";
    for after in ["UPDATE note SET text = hex(randomblob(60))", other, "PRAGMA auto_vacuum = FULL; VACUUM"] {
        let before = format!("{BANK} INSERT INTO note SELECT id + 3000, account, text FROM note;");
        let scene = Scene::new("delete", &before, after);
        let live = fs::read(scene.live()).unwrap();
        assert_eq!(give_back(&scene.live(), &scene.snapshot()).unwrap(), None, "{after}");
        assert!(fs::read(scene.live()).unwrap() == live, "{after}");
        scene.apply().unwrap();
        scene.assert_given_back();
    }
}

#[test]
fn a_short_log_is_left_to_an_app_that_is_connected_and_a_long_one_is_not() {
    let much = "INSERT INTO note SELECT id + 3000, account, hex(randomblob(30000)) FROM note WHERE id < 400;";
    for (before, after, is_left) in
        [(BANK, FEW, true), (&*format!("{BANK} {much}"), "DELETE FROM note WHERE id > 3000; VACUUM", false)]
    {
        let scene = Scene::new("wal", before, after);
        let app = Connection::open(scene.live()).unwrap();
        app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        let was = fs::read(scene.live()).unwrap();
        let applied = scene.apply().unwrap();
        assert_eq!(u64::from(applied.written) * 4096 <= 16 << 20, is_left, "{} pages", applied.written);
        assert_eq!(fs::read(scene.live()).unwrap() == was, is_left);
        assert_eq!(text(&scene.live(), "PRAGMA integrity_check"), "ok");
        drop(app);
        scene.assert_given_back();
    }
}

#[test]
fn a_result_that_is_not_sound_is_rolled_back() {
    for mode in ["wal", "delete"] {
        let scene = Scene::new(mode, BANK, FEW);
        let before = number(&scene.live(), "SELECT count(*) FROM note");
        let mut damaged = fs::read(scene.snapshot()).unwrap();
        damaged[4096 * 7 + 8..4096 * 7 + 200].fill(0xff);
        fs::write(scene.snapshot(), damaged).unwrap();
        let error = give_back(&scene.live(), &scene.snapshot()).unwrap_err();
        assert!(matches!(error, ApplyError::Unsound { .. }), "{error:?}");
        assert_eq!(number(&scene.live(), "SELECT count(*) FROM note"), before);
        assert_eq!(text(&scene.live(), "PRAGMA integrity_check"), "ok");
    }
}

#[test]
fn a_long_database_is_looked_at_by_several_connections_and_nothing_is_missed() {
    let long = format!(
        "{BANK} CREATE TABLE long (id INTEGER PRIMARY KEY, x BLOB); \
         WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 2000) \
         INSERT INTO long SELECT i, randomblob(3000) FROM n;"
    );
    let here_and_there = "UPDATE long SET x = randomblob(3000) WHERE id % 97 = 0 OR id IN (1, 2000)";
    for mode in ["wal", "delete"] {
        let scene = Scene::new(mode, &long, here_and_there);
        let (unlike, mut asked) = (unlike(&scene.snapshot(), &scene.live()), Asked::default());
        run(&scene.live(), &scene.snapshot(), &mut asked, |_| true).unwrap().unwrap();
        assert_eq!(asked.0, unlike, "{mode}");
        assert!(unlike.len() > 20, "{unlike:?}");
        scene.assert_given_back();
    }
}
