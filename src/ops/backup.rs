//! Taking a snapshot: plan, capture each source, commit, report.

use std::sync::Arc;
use std::time::Duration;

use crate::base::capture::{self, Capture};
use crate::base::control::Control;
use crate::base::database::Database;
use crate::base::error::one_line;
use crate::base::name::Name;
use crate::base::path::EntryPath;
use crate::base::time::Instant;
use crate::format::layout;
use crate::format::manifest::{Alarm, Manifest};
use crate::ops::error::{OpError, Problem};
use crate::ops::overlap::overlapping;
use crate::source::Source;
use crate::vault::Vault;
use crate::vault::commit::{Draft, Label};
use crate::vault::error::VaultError;
use crate::vault::recall::Remembered;
use crate::vault::rotation::Rotation;

/// One source under the name it has in the snapshot.
pub struct Planned {
    pub name: Name,
    pub source: Box<dyn Source>,
}

/// Which files are read although they look unchanged.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Rescan {
    #[default]
    Nothing,
    Everything,
    /// What lies in these parts of sources.
    Parts(Vec<(Name, EntryPath)>),
    /// A share of them, another one each time: from 0 to 1.
    Share(f64),
    /// Each of them once within this time.
    Within(Duration),
}

impl From<bool> for Rescan {
    fn from(everything: bool) -> Self {
        if everything { Self::Everything } else { Self::Nothing }
    }
}

impl Rescan {
    /// What it means for one source, whose turns may go on.
    fn of(&self, source: &Name, rotation: Option<&mut Rotation>, now: Instant) -> capture::Rescan {
        match (self, rotation) {
            (Self::Nothing, _) => capture::Rescan::Nothing,
            (Self::Parts(parts), _) => {
                let own = parts.iter().filter(|(name, _)| name == source).map(|(_, path)| path.clone());
                capture::Rescan::Parts(own.collect())
            }
            (Self::Share(share), Some(rotation)) => capture::Rescan::Turns(rotation.share(*share)),
            (Self::Within(within), Some(rotation)) => capture::Rescan::Turns(rotation.within(*within, now)),
            // A host that cannot note where it stands reads everything, rather than always the same.
            (Self::Everything | Self::Share(_) | Self::Within(_), _) => capture::Rescan::Everything,
        }
    }

    fn rotates(&self) -> bool {
        matches!(self, Self::Share(_) | Self::Within(_))
    }
}

pub struct Request {
    pub sources: Vec<Planned>,
    pub label: Label,
    /// Have databases checked, which takes longer than reading them.
    pub check: bool,
    pub rescan: Rescan,
    /// Count first what there is, so that progress can say how long it takes.
    pub estimate: bool,
    /// A table that has lost more than this share of its rows, in percent, is an alarm.
    pub rows_lost: u8,
    pub control: Arc<Control>,
}

/// A snapshot that was taken.
pub struct Report {
    pub manifest: Manifest,
    /// Things the person should know that are no failures.
    pub warnings: Vec<String>,
}

pub fn backup(vault: &Vault, request: &Request) -> Result<Report, OpError> {
    if request.sources.is_empty() {
        return Err(Problem::Nothing.into());
    }
    let mut draft = vault.begin(request.label.clone(), request.rescan == Rescan::Everything)?;
    let mut rotations = Vec::new();
    let mut warnings: Vec<String> = clock_warning(&draft).into_iter().collect();
    warnings.extend(overlapping(&request.sources));
    for planned in &request.sources {
        let mut rotation = rotation(vault, planned, request);
        let rescan = request.rescan.of(&planned.name, rotation.as_mut(), draft.started());
        rotations.extend(rotation);
        if let Err(error) = capture(&mut draft, planned, request, rescan) {
            // What was captured stays, catalogued, for the next backup; the reason to stop is what is told.
            let _ = draft.abandon();
            return Err(error);
        }
    }
    let committed = draft.commit()?;
    // What cannot be noted is read once more.
    rotations.iter().for_each(|rotation| _ = rotation.keep());
    warnings.extend(committed.not_noted.map(cache_warning));
    Ok(Report { manifest: committed.manifest, warnings })
}

/// Where the turns of a source stand, if it takes turns.
fn rotation(vault: &Vault, planned: &Planned, request: &Request) -> Option<Rotation> {
    let rotates = request.rescan.rotates();
    let rotation = || vault.rotation(&request.label.app, &planned.name, &planned.source.memory());
    rotates.then(rotation)?.ok()
}

fn capture(
    draft: &mut Draft<'_>,
    planned: &Planned,
    request: &Request,
    rescan: capture::Rescan,
) -> Result<(), OpError> {
    let Planned { name, source } = planned;
    let control = request.control.clone();
    let cutter = Arc::new(draft.file_cutter());
    let (mut sink, remembered) =
        draft.source(name, source.kind(), &source.root(), &source.memory(), control.clone())?;
    let Remembered { recall, extent: expected, databases: before, manifest, .. } = remembered;
    control.bytes_expected.add(expected.bytes);
    control.items_expected.add(expected.entries);
    let capture = Capture { cutter, recall, control: control.clone(), rescan, check: request.check };
    let counting = Control::default();
    std::thread::scope(|scope| {
        if request.estimate && expected.entries == 0 {
            scope.spawn(|| {
                source.estimate(&counting);
                control.bytes_expected.add(counting.bytes_expected.get());
                control.items_expected.add(counting.items_expected.get());
            });
        }
        let result = source.capture(capture, &mut sink);
        // Whoever still counts has nothing left to count for.
        counting.stop();
        result
    })?;
    let databases = sink.finish()?;
    if let Some(kept) = manifest {
        lost_rows(name, &before, &databases, request.rows_lost)
            .for_each(|alarm| draft.alarm(Alarm { kept: kept.clone(), ..alarm }));
    }
    Ok(())
}

/// Tables that have lost more than `share` percent of their rows. A handful of rows is no alarm.
fn lost_rows<'d>(
    source: &'d Name,
    before: &'d [Database],
    after: &'d [Database],
    share: u8,
) -> impl Iterator<Item = Alarm> + 'd {
    const HANDFUL: u64 = 10;
    let lost = move |before: u64, after: u64| {
        let lost = before.saturating_sub(after);
        lost >= HANDFUL && u128::from(lost) * 100 > u128::from(before) * u128::from(share)
    };
    let pairs = before.iter().filter_map(|old| Some((old, after.iter().find(|new| new.path == old.path)?)));
    pairs.flat_map(move |(old, new)| {
        old.rows.iter().filter_map(move |(table, &rows)| {
            // A table that cannot be counted any more is told as damage.
            let now = new.rows.get(table).copied().or((new.damage.is_none()).then_some(0))?;
            lost(rows, now).then(|| Alarm {
                source: source.clone(),
                path: old.path.clone(),
                table: table.clone(),
                before: rows,
                after: now,
                kept: String::new(),
            })
        })
    })
}

/// The snapshot is made; what would have made the next one faster is not kept.
fn cache_warning(error: VaultError) -> String {
    format!("{}; the snapshot is complete, and the next backup reads every file again", one_line(&error))
}

/// A clock that runs behind makes snapshots that sort before older ones: nothing is lost, but `latest` is another.
fn clock_warning(draft: &Draft<'_>) -> Option<String> {
    let newest = layout::manifest_time(draft.previous()?)?;
    let now: Instant = draft.started();
    (newest > now).then(|| {
        format!("this host's clock ({now}) is behind the newest snapshot ({newest}): latest will not mean this one")
    })
}
