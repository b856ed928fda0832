//! What a recovery has done so far, so that one that was killed is finished or taken back by the next command.
//!
//! Owns the order: everything is named in the action before it is made; the rows are what decides. Once they are committed
//! the files take their places, however often that is begun again; as long as they are not, what was staged is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::base::control::Control;
use crate::base::error::one_line;
use crate::base::name::Name;
use crate::base::path::EntryPath;
use crate::engine::postgres::settings::BadSettings;
use crate::ops::actions::{Action, Actions, Beside, State};
use crate::ops::backup::Planned;
use crate::ops::error::{OpError, Problem};
use crate::ops::live_database::LiveDatabase;
use crate::ops::recover::apart::{self, Became};
use crate::ops::recover::files::{live, tree};
use crate::ops::recover::standing::{APPEARED, Mark, objection, shown};
use crate::ops::recover::together::Joined;
use crate::ops::restore::Issue;
use crate::ops::restore::live::stem;
use crate::ops::safety::place;
use crate::ops::turns::Place;
use crate::record::error::RecordError;
use crate::record::several;
use crate::record::trace::{Written, any_as_written};
use crate::source::files::target::Tree;
use crate::vault::unlocked::UnlockedVault;

/// What a recovery touches, as its action has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// The live database, written as paths are, or as a URL without a password.
    pub live: String,
    /// The databases of other sources that take part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Other>,
    /// What the database can be asked by whether the rows were written for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// What lies beside the action, once the rows are about to be committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
    /// Its rows, in actions of earlier versions; those of this one lie beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub written: Vec<Written>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Placed>,
    /// Everything waits for the rows to be written; without rows, for nothing more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ready: bool,
}

/// A database of another source, and what it can be asked by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    pub source: Name,
    pub live: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
}

/// A file that gets another content, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    pub source: Name,
    pub root: String,
    pub path: EntryPath,
    /// Its path in the snapshot and where it waits, where its record has got another key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<EntryPath>,
    /// The folder beside, in which it waits under the same path; nothing for one that is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<String>,
    /// What stood there before the safety snapshot, and gives way only as it was then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Mark>,
    /// It was there before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
}

impl Recovered {
    pub fn database(&self, configured: &[Planned]) -> Result<LiveDatabase, OpError> {
        database(&self.live, configured)
    }

    /// The databases of other sources.
    pub fn joined(&self, configured: &[Planned]) -> Result<Vec<Joined>, OpError> {
        let joined =
            |other: &Other| Ok(Joined { source: other.source.clone(), live: database(&other.live, configured)? });
        self.others.iter().map(joined).collect()
    }

    /// Notes what the databases can be asked by.
    pub fn note(&mut self, mark: Option<String>) {
        if self.others.is_empty() {
            self.transaction = mark;
            return;
        }
        let mut marks = several::marks(&mark.unwrap_or_default());
        self.transaction = marks.remove("");
        for other in &mut self.others {
            other.transaction = marks.remove(other.source.as_str());
        }
    }

    /// What one of the databases can be asked by; the first is the one the recovery is named by.
    pub fn mark(&self, at: usize) -> Option<&String> {
        match at.checked_sub(1) {
            None => self.transaction.as_ref(),
            Some(at) => self.others.get(at)?.transaction.as_ref(),
        }
    }

    /// What a recovery changes.
    pub fn places(&self) -> Vec<Place> {
        let databases = std::iter::once(&self.live).chain(self.others.iter().map(|other| &other.live));
        let roots = self.files.iter().map(|file| &file.root);
        let mut places: Vec<&String> = databases.chain(roots).filter(|place| !place.is_empty()).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|place| Place::of("", place)).collect()
    }

    /// The folders in which files wait.
    pub fn staging(&self) -> Vec<PathBuf> {
        let mut folders: Vec<&String> = self.files.iter().filter_map(|file| file.staged.as_ref()).collect();
        folders.sort_unstable();
        folders.dedup();
        folders.into_iter().map(|folder| place(folder)).collect()
    }

    /// Gives every file its place, from wherever this was broken off. Those that are left alone are no part of it any more.
    fn place(&mut self) -> Result<Vec<Issue>, OpError> {
        let all: BTreeMap<(String, EntryPath), bool> =
            self.files.iter().map(|file| ((file.root.clone(), file.path.clone()), file.staged.is_some())).collect();
        let has = |file: &Placed, path: &EntryPath| all.contains_key(&(file.root.clone(), path.clone()));
        let is_log = |file: &Placed| stem(&file.path).is_some_and(|stem| has(file, &stem));
        // A log goes to its place, and stays there, before the database that is spoiled by any other one.
        let (logs, others): (Vec<usize>, Vec<usize>) = (0..self.files.len()).partition(|&at| is_log(&self.files[at]));
        let mut placed: BTreeSet<(String, EntryPath)> = BTreeSet::new();
        let mut left: BTreeMap<usize, String> = BTreeMap::new();
        for part in [logs, others] {
            for &at in &part {
                let file = &self.files[at];
                let key = |path: &EntryPath| (file.root.clone(), path.clone());
                let ours = |path: &EntryPath| match file.staged {
                    Some(_) => placed.contains(&key(path)),
                    None => all.get(&key(path)) == Some(&false),
                };
                match file.place(&ours)? {
                    Some(why) => _ = left.insert(at, why),
                    None => _ = placed.insert(key(&file.path)),
                }
            }
            self.sync(&part)?;
        }
        let issue = |(at, reason): (&usize, &String)| Issue { path: shown(&self.files[*at]), reason: reason.clone() };
        let issues = left.iter().map(issue).collect();
        let mut at = 0..;
        self.files.retain(|_| at.next().is_none_or(|at| !left.contains_key(&at)));
        Ok(issues)
    }

    /// Makes the places that these have now last through a crash.
    fn sync(&self, files: &[usize]) -> Result<(), OpError> {
        let mut roots: BTreeMap<&String, Vec<&EntryPath>> = BTreeMap::new();
        files.iter().map(|&at| &self.files[at]).for_each(|file| roots.entry(&file.root).or_default().push(&file.path));
        for (root, paths) in roots {
            tree(root).map_or(Ok(()), |tree| tree.sync(paths.into_iter()))?;
        }
        Ok(())
    }

    /// Removes what was staged.
    pub fn clear(&self) {
        clear(&self.staging());
    }
}

impl Other {
    pub fn of(joined: &Joined) -> Self {
        Self { source: joined.source.clone(), live: joined.live.written(), transaction: None }
    }
}

impl Placed {
    /// Its path in the snapshot.
    pub fn from(&self) -> &EntryPath {
        self.from.as_ref().unwrap_or(&self.path)
    }

    /// Puts the file where it belongs, or removes it; says why not, where it is left alone.
    fn place(&self, ours: &dyn Fn(&EntryPath) -> bool) -> Result<Option<String>, OpError> {
        let Some(live) = tree(&self.root) else {
            // Nothing is left to be removed where nothing is.
            let is_gone = self.staged.is_none() && fs::symlink_metadata(place(&self.root)).is_err();
            return if is_gone { Ok(None) } else { Err(self.astray()) };
        };
        let Some(staged) = &self.staged else {
            return match objection(self, (&live, None), ours)? {
                None => self.remove(&live).map(|()| None),
                left => Ok(left),
            };
        };
        live.look(&self.path).map_err(|_| self.astray())?;
        let Some(staged) = tree(staged).filter(|staged| matches!(staged.look(self.from()), Ok(Some(_)))) else {
            // It has its place already, perhaps with the folder it is in.
            return Ok(None);
        };
        loop {
            if let Some(why) = objection(self, (&live, Some(&staged)), ours)? {
                return Ok(Some(why));
            }
            let (from, to) = self.highest_missing(&live)?;
            match live.take((&staged, &from), &to, self.replaced) {
                // Somebody has put something there since it was looked at: that is newer, and stays.
                Err(error) if error.errno() == Some(Errno::EXIST) && to == self.path => {
                    return Ok(Some(APPEARED.to_owned()));
                }
                // The folder is there by now.
                Err(error) if error.errno() == Some(Errno::EXIST) => {}
                result => return Ok(result.map(|()| None)?),
            }
        }
    }

    fn astray(&self) -> OpError {
        let path = live(&self.root, &self.path).display().to_string();
        Problem::Linked { path, reason: "a link leads to it".to_owned() }.into()
    }

    /// A folder that is not there takes its place as a whole, as it was captured. Where the file gets another path, that is
    /// so from the last part on that is another: beside what lies above it others may wait that go elsewhere.
    fn highest_missing(&self, live: &Tree) -> Result<(EntryPath, EntryPath), OpError> {
        let parts: Vec<(&[u8], &[u8])> = self.from().parts().zip(self.path.parts()).collect();
        let last = parts.iter().rposition(|(was, now)| was != now).unwrap_or(0);
        let (mut from, mut to) = (EntryPath::root(), EntryPath::root());
        for (at, (was, now)) in parts.into_iter().enumerate() {
            (from, to) = (from.child(was), to.child(now));
            if live.look(&to).map_err(|_| self.astray())?.is_none() {
                if at >= last {
                    return Ok((from, to));
                }
                live.make_folder(&to)?;
            }
        }
        Ok((self.from().clone(), self.path.clone()))
    }

    fn remove(&self, live: &Tree) -> Result<(), OpError> {
        if !live.remove_file(&self.path)? {
            return Ok(());
        }
        // Folders that nothing is in any more came with it.
        let mut folder = self.path.parent();
        while let Some(path) = folder.filter(|path| !path.is_root() && live.remove_folder(path)) {
            folder = path.parent();
        }
        Ok(())
    }
}

fn database(live: &str, configured: &[Planned]) -> Result<LiveDatabase, OpError> {
    let wrong = |error: BadSettings| Problem::Server { url: live.to_owned(), why: error.to_string() };
    Ok(LiveDatabase::of_action(live).map_err(wrong)?.known(configured))
}

/// Finishes or takes back recoveries that were killed. Returns what was done with each, in words. One that cannot be
/// finished now keeps nobody from what else is to be done: it is told, and tried again by the next command.
pub fn settle(
    unlocked: &UnlockedVault,
    actions: &Actions,
    configured: &[Planned],
    (wait, control): (Duration, &Arc<Control>),
) -> Result<Vec<String>, OpError> {
    // Somebody is at it this moment: what looks broken off may be going on.
    let Some(_held) = actions.hold()? else { return Ok(Vec::new()) };
    let begun = |action: &Action| action.state == State::Begun && action.undone_by.is_none();
    let mut told = Vec::new();
    for action in actions.list()?.into_iter().filter(begun) {
        let Some(recovered) = &action.recovered else { continue };
        let became = match recovered.others.is_empty() {
            true => is_committed(actions, (&action, recovered), configured, wait),
            false => apart::became(unlocked, actions, configured, (&action, recovered), (wait, control)),
        };
        let mut left = Vec::new();
        let settled = became.and_then(|became| settled(actions, (&action, recovered), became, &mut left));
        told.push(match settled {
            Ok(Became::Written) => format!("finished what was broken off: {}", action.id),
            Ok(Became::Nothing) => format!("{} was broken off before anything was changed", action.id),
            Ok(Became::TakenBack) => format!("{} was broken off half way: what was written is taken back", action.id),
            Err(error) => {
                format!("warning: {} was broken off and cannot be finished yet: {}", action.id, one_line(&error))
            }
        });
        told.extend(left.iter().map(|issue| format!("warning: {}: {}", issue.path, issue.reason)));
    }
    Ok(told)
}

/// Finishes one that was written, or notes that it changed nothing.
fn settled(
    actions: &Actions,
    (action, recovered): (&Action, &Recovered),
    became: Became,
    left: &mut Vec<Issue>,
) -> Result<Became, OpError> {
    if became == Became::Written {
        let mut action = action.clone();
        left.extend(place_all(actions, &mut action)?);
        finish(actions, &action)?;
        return Ok(became);
    }
    recovered.clear();
    actions.forget_fired(action);
    let own = action.id.clone();
    actions.keep(&Action { state: State::Done, undone_by: Some(own), ..action.clone() })?;
    Ok(became)
}

/// Gives the files of an action their places. Those that are left alone are told, and are no part of it from then on.
pub(super) fn place_all(actions: &Actions, action: &mut Action) -> Result<Vec<Issue>, OpError> {
    let Some(recovered) = &mut action.recovered else { return Ok(Vec::new()) };
    let staging = recovered.staging();
    let left = recovered.place()?;
    // It says what was done before what waits is gone: by that it is told what was.
    if !left.is_empty() {
        actions.keep(action)?;
    }
    clear(&staging);
    Ok(left)
}

/// Removes folders in which files waited.
pub(super) fn clear(staging: &[PathBuf]) {
    for folder in staging {
        // What stays is litter, not harm.
        let _ = fs::remove_dir_all(folder);
    }
}

/// Marks an action as done, and what it took back as taken back.
pub fn finish(actions: &Actions, action: &Action) -> Result<(), OpError> {
    actions.keep(&Action { state: State::Done, ..action.clone() })?;
    let Some(first) = &action.undoes else { return Ok(()) };
    let first = actions.find(Some(first))?;
    actions.keep(&Action { undone_by: Some(action.id.clone()), ..first.clone() })?;
    // With an undo taken back, what it had taken back stands again.
    let Some(before) = &first.undoes else { return Ok(()) };
    let before = actions.find(Some(before))?;
    Ok(actions.keep(&Action { undone_by: None, ..before })?)
}

/// Were the rows written for good? Where the database cannot say, they themselves do.
fn is_committed(
    actions: &Actions,
    (action, recovered): (&Action, &Recovered),
    configured: &[Planned],
    wait: Duration,
) -> Result<Became, OpError> {
    let written = actions.trace(action)?.written;
    let became = |is_written: bool| if is_written { Became::Written } else { Became::Nothing };
    if written.is_empty() {
        return Ok(became(recovered.ready));
    }
    let live = recovered.database(configured)?.open(wait, &Arc::default()).map_err(RecordError::store)?;
    if let Some(mark) = &recovered.transaction
        && let Some(lasted) = live.lasted(mark).map_err(RecordError::store)?
    {
        return Ok(became(lasted));
    }
    Ok(became(any_as_written(&*live, &written)?))
}
