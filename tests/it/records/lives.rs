//! Random lives of small apps: a snapshot, then a project is deleted in the app's way while others go on. Keys and slugs are
//! used again, children are moved, values drift, rows are orphaned by hand. Then something is recovered, with every option.
//!
//! What must hold is written from the documented rules (docs/decisions/0033) and from what the test knows of each row: when it
//! was made. The code under test knows nothing of that.

mod oracle;
mod world;

use strongroom::record::identity::{Judge, Standing};
use strongroom::record::plan::OnConflict;

use super::random::Dice;
use super::*;
use oracle::Tally;
use world::{Life, World};

/// A life, and the two databases it left.
pub struct Case {
    pub seed: u64,
    pub life: Life,
    /// Before, and when the recovery begins.
    pub kept: World,
    pub live: World,
    pub bench: Bench,
    pub table: usize,
    pub key: Key,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut life = Life::new(&mut dice);
        let kept = life.populate(&mut dice);
        let mut bench = Bench::new(&life.sql(&kept));
        bench.model.relations = life.relations();
        bench.deferring = dice.is(50);
        let (table, key) = life.chosen(&kept, &mut dice);
        let mut live = life.go_on(kept.clone(), (table, &key), &mut dice);
        life.make_equal(&kept, &mut live);
        world::write(&bench, &life, &live);
        bench.options = Options {
            on_conflict: match dice.roll(6) {
                0 => OnConflict::Overwrite,
                1 => OnConflict::FillNull,
                2 => OnConflict::Abort,
                _ => OnConflict::Skip,
            },
            remap_keys: dice.is(45),
            ..Options::default()
        };
        Self { seed, life, kept, live, bench, table, key }
    }

    pub fn told(&self, what: &str) -> String {
        let Self { seed, bench, table, key, .. } = self;
        let name = &self.life.tables[*table].name;
        let (kept, live) = (self.life.shown(&self.kept), self.life.shown(&self.live));
        format!("life {seed}: {what}\n{name} {key:?} {:?}\nKEPT\n{kept}LIVE\n{live}", bench.options)
    }

    fn plan(&self) -> Plan {
        let name = &self.life.tables[self.table].name;
        let seeds = |graph: &Graph, at: usize| Seeds::Keys {
            columns: graph.tables[at].key.clone(),
            keys: vec![self.key.clone()],
        };
        self.bench.plan(name, &seeds).unwrap_or_else(|error| panic!("{}", self.told(&error.to_string())))
    }

    fn run(&self, tally: &mut Tally) {
        self.measure(tally);
        let plan = self.plan();
        let shown = format!("{plan:#?}");
        let refused = !plan.refusals.is_empty();
        tally.count(&plan);
        if refused {
            oracle::refused(self, &plan);
            return;
        }
        let told = |what: &str| self.told(&format!("{what}\n{shown}"));
        let before = world::read(&self.bench, &self.life);
        let done = self.bench.apply(plan).unwrap_or_else(|error| panic!("{}", told(&error.to_string())));
        let after = world::read(&self.bench, &self.life);
        oracle::check(self, &done.plan, &before, &after, &told, tally);
        let again = self.plan();
        let code = |plan: &Plan| (plan.is_whole(), plan.refusals.is_empty());
        let writes: Vec<_> = again.steps.iter().filter(|step| step.act.writes()).collect();
        assert!(writes.is_empty(), "{}", told(&format!("a second run writes: {writes:#?}")));
        if !oracle::was_for_others(&done.plan, &again) {
            assert_eq!(code(&again), code(&done.plan), "{}", told(&format!("a second run ends otherwise: {again:#?}")));
        }
        self.bench.undo(&done).unwrap_or_else(|error| panic!("{}", told(&format!("undo: {error}"))));
        assert_eq!(world::read(&self.bench, &self.life), before, "{}", told("taken back"));
    }

    /// How often two rows under one key are taken for the same and are not, and the other way round.
    fn measure(&self, tally: &mut Tally) {
        let (kept, live) = (self.bench.session(), self.bench.open());
        let (model, options) = (&self.bench.model, Options::default());
        let graph = Graph::read(&kept, model).unwrap();
        let fits = drift::fit(&graph, &live, model, &[]).unwrap();
        let ground = Ground { graph: &graph, snapshot: &kept, live: &live, fits: &fits, model, options: &options };
        let judge = Judge::new(ground.sides());
        for (at, spec) in self.life.tables.iter().enumerate() {
            let table = graph.named(&spec.name, "it").unwrap();
            let keys: Vec<Key> = self.kept.tables[at].keys().cloned().collect();
            let standing = judge.standing(table, &keys).unwrap();
            for (key, standing) in keys.iter().zip(standing) {
                let Some(now) = self.live.tables[at].get(key) else { continue };
                let was = &self.kept.tables[at][key];
                tally.judged(spec, was, now, standing);
                if was.birth != now.birth && standing == Standing::There {
                    let what = format!("{} {key:?} is taken for the same: {:?}, {:?}", spec.name, was.row, now.row);
                    tally.mistaken.push(format!("{} {what}", self.seed));
                }
            }
        }
    }
}

#[test]
fn whatever_others_did_with_keys_meanwhile_nothing_is_silently_wrong_after_a_recovery() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match (number("STRONGROOM_SEED"), number("STRONGROOM_LIVES")) {
        (Some(seed), None) => seed..seed + 1,
        (start, lives) => start.unwrap_or(0)..start.unwrap_or(0) + lives.unwrap_or(300),
    };
    let mut tally = Tally::default();
    let mut wrong = Vec::new();
    for seed in seeds {
        let mut own = Tally::default();
        let run = std::panic::AssertUnwindSafe(|| Case::new(seed).run(&mut own));
        if let Err(panic) = std::panic::catch_unwind(run) {
            let what = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            wrong.push(what);
        }
        tally.add(own);
    }
    println!("{tally:#?}");
    let first = wrong.first().cloned().unwrap_or_default();
    let heads: Vec<&str> = wrong.iter().filter_map(|what| what.lines().next()).collect();
    assert!(wrong.is_empty(), "{} lives went wrong: {heads:#?}\n{first}", wrong.len());
}
