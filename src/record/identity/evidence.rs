//! What speaks for two rows being the same record, and what against it.
//!
//! Owns the weights: bits, by how much likelier a value that agrees or differs is between two states of one record than
//! between two records. What cannot change decides alone; what most rows hold, and what an app gives out like numbers,
//! says nothing.

use std::collections::{BTreeSet, HashMap};

use crate::base::record::{Row, Value};
use crate::record::compare::glimpse;
use crate::record::graph::Link;
use crate::record::identity::moment::is_exact;
use crate::record::identity::sample::{Sample, guess};
use crate::record::identity::traits::{Traits, plain_text};
use crate::record::identity::value::{alike, is_made_of, is_null, is_random};
use crate::record::identity::{Kin, Pair, Standing};
use crate::record::plan::Glimpse;

/// From so many bits on two rows are the same record.
const ENOUGH: f64 = 2.0;
/// From so many bits against it on they are two: a few values that differ may have been changed.
const CLEARLY: f64 = 6.0;
/// So many bits of what is no reference make equal rows the same whatever they refer to.
const PLENTY: f64 = 5.0;
/// One value says no more than this.
const MOST: f64 = 4.0;
/// What rows of one place have in common, such as whom they belong to, and what is given out again with a key, such as a slug,
/// says no more than this altogether: too little by itself.
const IN_COMMON: f64 = 1.5;
/// A reference to what is another record now, or to something else: rows are moved, but not often.
const BELOW_ANOTHER: f64 = -3.0;
/// One to something else that the store would have emptied, had what it named gone: that is given to something else as a
/// matter of course.
const GIVEN: f64 = -1.0;
/// Something has become empty, or was.
const EMPTIED: f64 = -0.5;

/// By link and values: what live data has of what a row refers to; nothing where that is what is being asked.
pub type Parents = HashMap<(usize, Row), Option<Standing>>;

/// What the columns of two rows say.
#[derive(Debug, Default)]
struct Said {
    key: f64,
    /// For it: by column.
    own: Vec<(usize, f64)>,
    /// For it, and given out again with a key.
    shared: f64,
    against: f64,
}

impl Traits {
    /// What decides alone, without a look at anything else.
    pub fn at_once(&self, pair: &Pair<'_>) -> Option<Kin> {
        if let Some(kin) = self.told(pair, &self.immutable) {
            return Some(kin);
        }
        if self.is_between {
            return None;
        }
        let births = self.births.iter().filter_map(|at| Some((*at, pair.value(*at)?, &pair.live[*at])));
        let births: Vec<_> = births.filter(|(_, kept, live)| !is_null(kept) && !is_null(live)).collect();
        if births.iter().any(|(at, kept, live)| !self.is_same(*at, kept, live)) {
            return Some(Kin::Another);
        }
        let exact = births.iter().any(|(at, kept, _)| is_exact(kept) && !self.is_default(*at, kept));
        let unique = self.live.unique.iter().map(|one| &one.columns);
        let single = |columns: &&Vec<usize>| columns.len() == 1;
        let own = [&self.live.key, &self.births].into_iter().chain(unique).filter(single).flatten();
        let mut values = own.filter_map(|at| Some((pair.value(*at)?, &pair.live[*at])));
        let random = values.any(|(kept, live)| kept == live && is_random(kept));
        if exact || random {
            return Some(Kin::Same);
        }
        let plenty = || {
            let said = self.bits(pair, &guessed);
            said.key + said.own.iter().map(|(_, bits)| bits).sum::<f64>() + said.against >= PLENTY
        };
        (self.touches_key().is_empty() && self.is_equal(pair) && plenty()).then_some(Kin::Same)
    }

    /// Columns that the configuration says never change.
    fn told(&self, pair: &Pair<'_>, columns: &[usize]) -> Option<Kin> {
        let pairs = columns.iter().filter_map(|at| Some((*at, pair.value(*at)?, &pair.live[*at])));
        let both: Vec<_> = pairs.filter(|(_, kept, live)| !is_null(kept) && !is_null(live)).collect();
        let same = both.iter().all(|(at, kept, live)| self.is_same(*at, kept, live));
        (!both.is_empty()).then_some(if same { Kin::Same } else { Kin::Another })
    }

    /// What has to be known of what the row refers to.
    pub fn asked(&self, pair: &Pair<'_>) -> Vec<(usize, Row)> {
        pair.targets.clone()
    }

    /// What the row refers to, where that is enough.
    pub fn by_parents(&self, pair: &Pair<'_>, parents: &Parents, trust_keys: bool) -> Option<Kin> {
        let in_key = self.touches_key();
        let mut kin = Kin::Same;
        for (link, _) in pair.targets.iter().filter(|(link, _)| in_key.contains(link)) {
            kin = match self.standing(pair, *link, parents) {
                Some(Standing::Another) => return Some(Kin::Another),
                Some(Standing::Unsure | Standing::Newer) => Kin::Unsure,
                _ => kin,
            };
        }
        if kin == Kin::Unsure {
            return Some(kin);
        }
        // Equal keys of references say the same, and what else is equal may be all there is.
        let doubtful = |(link, _): &(usize, Row)| {
            matches!(self.standing(pair, *link, parents), Some(Standing::Another | Standing::Unsure | Standing::Newer))
        };
        let emptied: BTreeSet<usize> = self.emptied(pair).map(|(at, _)| at).collect();
        let declared = |at: &usize| self.links.iter().any(|(link, one, _)| link == at && one.is_declared);
        let mut held = pair.targets.iter().filter(|(link, _)| !emptied.contains(link) && declared(link));
        let equal = self.is_equal(pair) && !held.any(doubtful);
        (self.is_between || equal || trust_keys).then_some(Kin::Same)
    }

    /// What most of it says.
    pub fn by_most(&self, pair: &Pair<'_>, parents: &Parents, sample: &Sample) -> Kin {
        let together = self.together(pair, sample);
        let chance = |column: usize, value: &Glimpse| match self.kept[column] {
            Some(kept) => together.iter().map(|of| of[kept]).fold(sample.chance(pair.key, kept, value), f64::max),
            None => 1.0,
        };
        let (mut common, mut against) = (0.0_f64, 0.0);
        for (at, link, columns) in &self.links {
            match self.reference(pair, (*at, link, columns), parents) {
                bits if bits > 0.0 => common += bits,
                bits => against += bits,
            }
        }
        let said = self.bits(pair, &chance);
        let own = said.own.iter().filter_map(|(column, bits)| Some((self.kept[*column]?, pair.value(*column)?, *bits)));
        let own = said.key + sample.alone(pair.key, &own.collect::<Vec<_>>());
        let bits = own + (common + said.shared).min(IN_COMMON) + said.against + against;
        if bits >= ENOUGH {
            Kin::Same
        } else if bits <= -CLEARLY {
            Kin::Another
        } else {
            Kin::Unsure
        }
    }

    /// For each reference that is what it was, how often rows that have it in common have more in common.
    fn together(&self, pair: &Pair<'_>, sample: &Sample) -> Vec<Vec<f64>> {
        let is_as_it_was = |columns: &[usize]| {
            let mut both = columns.iter().map(|at| (pair.value(*at), &pair.live[*at]));
            both.all(|(kept, live)| kept.is_some_and(|kept| !is_null(kept) && alike(kept, live)))
        };
        let links = self.links.iter().filter(|(.., columns)| is_as_it_was(columns));
        links.map(|(_, link, _)| sample.together(&link.columns)).filter(|of| !of.is_empty()).collect()
    }

    /// What live data has of what the row refers to: what has got a new key is where the row looks for it.
    fn standing(&self, pair: &Pair<'_>, link: usize, parents: &Parents) -> Option<Standing> {
        let (_, _, columns) = self.links.iter().find(|(at, ..)| *at == link)?;
        let (_, target) = pair.targets.iter().find(|(at, _)| *at == link)?;
        if columns.iter().zip(target).any(|(at, was)| pair.value(*at).is_some_and(|now| !alike(now, &glimpse(was)))) {
            return Some(Standing::There);
        }
        parents.get(&(link, target.clone())).copied().flatten()
    }

    fn reference(&self, pair: &Pair<'_>, (at, link, columns): (usize, &Link, &[usize]), parents: &Parents) -> f64 {
        let live = || columns.iter().map(|at| &pair.live[*at]);
        let Some((_, target)) = pair.targets.iter().find(|(link, _)| *link == at) else {
            // It referred to nothing by this link, and perhaps by another one with the same columns.
            let kept = columns.iter().filter_map(|at| pair.value(*at));
            return if kept.zip(live()).any(|(kept, live)| is_null(kept) && !is_null(live)) { EMPTIED } else { 0.0 };
        };
        let standing = self.standing(pair, at, parents);
        let now = columns.iter().map(|at| pair.value(*at));
        if now.zip(live()).all(|(kept, live)| kept.is_some_and(|kept| alike(kept, live))) {
            return match standing {
                // Whether it is there or gone like that of the snapshot: what comes back changes nothing of it.
                Some(Standing::There | Standing::Gone) => 1.0,
                // What no store looks after stays where it is when another record gets the key.
                Some(Standing::Another) if link.is_declared => BELOW_ANOTHER,
                Some(Standing::Another) => 0.0,
                Some(Standing::Unsure | Standing::Newer) | None => 0.0,
            };
        }
        if self.emptied(pair).any(|(link, _)| link == at) {
            return 0.0;
        }
        if live().any(is_null) {
            return EMPTIED;
        }
        let is_as_it_was = target.iter().zip(live()).all(|(was, live)| alike(&glimpse(was), live));
        // Whether what it named is there, gone or about to come back is the same here: that a recovery brings it back must not
        // change what the row is taken for.
        match is_as_it_was {
            true if !link.is_declared => 0.0,
            false if link.on_delete.survives() => GIVEN,
            _ => BELOW_ANOTHER,
        }
    }

    /// What the columns say that are neither of the key nor references.
    fn bits(&self, pair: &Pair<'_>, chance: &dyn Fn(usize, &Glimpse) -> f64) -> Said {
        let of_links = |link: &usize| self.links.iter().find(|(at, ..)| at == link).map(|(.., columns)| columns);
        let tied: BTreeSet<usize> =
            pair.targets.iter().filter_map(|(link, _)| of_links(link)).flatten().copied().collect();
        let nulls: BTreeSet<usize> = self.links.iter().flat_map(|(.., columns)| columns).copied().collect();
        let mut said = Said { key: self.key_bits(pair), ..Said::default() };
        for (column, kept) in pair.columns.iter().zip(pair.kept) {
            let live = &pair.live[*column];
            let is_reference = tied.contains(column) || (nulls.contains(column) && is_null(kept));
            if self.live.key.contains(column) || is_reference {
                continue;
            }
            let bits = self.value_bits(pair, *column, (kept, live), chance);
            match self.births.contains(column) || self.counted.contains(column) {
                _ if bits <= 0.0 => said.against += bits,
                true => said.shared += bits,
                false => said.own.push((*column, bits)),
            }
        }
        said
    }

    fn value_bits(
        &self,
        pair: &Pair<'_>,
        column: usize,
        (kept, live): (&Glimpse, &Glimpse),
        chance: &dyn Fn(usize, &Glimpse) -> f64,
    ) -> f64 {
        let restless = self.restless.contains(&column);
        match (is_null(kept), is_null(live)) {
            (true, true) => 0.0,
            (true, false) | (false, true) => {
                if restless {
                    0.0
                } else {
                    EMPTIED
                }
            }
            _ if self.is_same(column, kept, live) => match self.says_nothing(pair, column, kept) {
                true => 0.0,
                false => (0.8 / chance(column, kept)).log2().clamp(0.0, MOST),
            },
            _ if restless => 0.0,
            _ => (0.2 / (1.0 - chance(column, kept)).max(0.01)).log2().min(0.0),
        }
    }

    /// Is the value what such a row has anyway: its default, a number that is given out, something made of its key?
    fn says_nothing(&self, pair: &Pair<'_>, column: usize, value: &Glimpse) -> bool {
        let Glimpse::Value(held) = value else { return false };
        let text = plain_text(held);
        let is_counted = matches!(held, Value::Integer(_)) && self.counted.contains(&column);
        is_counted || self.is_default(column, value) || pair.key.iter().any(|key| is_made_of(&text, key))
    }

    /// A key that people give says something of what it names; one that is counted says nothing.
    fn key_bits(&self, pair: &Pair<'_>) -> f64 {
        let [Value::Text(text)] = pair.key else { return 0.0 };
        let [at] = self.live.key[..] else { return 0.0 };
        let key = Glimpse::Value(Value::Text(text.clone()));
        let is_named = !text.iter().any(u8::is_ascii_digit) && self.is_same(at, &key, &pair.live[at]);
        if is_named { MOST } else { 0.0 }
    }

    /// Do the rows agree in all that they hold, but for references that the store empties when what they lead to goes?
    fn is_equal(&self, pair: &Pair<'_>) -> bool {
        let emptied: BTreeSet<usize> = self.emptied(pair).flat_map(|(_, columns)| columns).copied().collect();
        let same = |(column, kept): (&usize, &Glimpse)| {
            self.live.key.contains(column)
                || emptied.contains(column)
                || self.is_same(*column, kept, &pair.live[*column])
        };
        pair.columns.iter().zip(pair.kept).all(same)
    }
}

fn guessed(_: usize, value: &Glimpse) -> f64 {
    guess(value)
}
