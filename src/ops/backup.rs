//! Taking a snapshot: plan, capture each source, commit, report.
//!
//! Owns the rule that a source which cannot be captured costs only itself, and is told.

mod alarms;

use std::sync::Arc;
use std::time::Duration;

use crate::base::capture::{self, Capture};
use crate::base::control::Control;
use crate::base::error::{Class, Explain, one_line};
use crate::base::name::{Name, ObjectKey};
use crate::base::path::EntryPath;
use crate::base::time::Instant;
use crate::format::layout;
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::error::{OpError, Problem};
use crate::ops::overlap::overlapping;
use crate::source::{Source, SourceError};
use crate::vault::Vault;
use crate::vault::commit::{Draft, Label};
use crate::vault::error::VaultError;
use crate::vault::recall::Remembered;
use crate::vault::rotation::Rotation;

pub use alarms::Shares;

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
    /// Which losses are alarms; `None` where nothing is compared.
    pub alarms: Option<Shares>,
    /// All sources or no snapshot: one that cannot be captured ends it.
    pub all: bool,
    pub control: Arc<Control>,
}

/// A snapshot that was taken.
pub struct Report {
    pub manifest: Manifest,
    /// Sources of which nothing could be captured, and why.
    pub failed: Vec<(Name, SourceError)>,
    /// Things the person should know that are no failures.
    pub warnings: Vec<String>,
    /// Snapshots and keys that this host knows of and that are not in the vault any more.
    pub gone: Vec<ObjectKey>,
    /// What of the ledger of this host is not known any more.
    pub altered: Vec<String>,
    /// There is nobody left who could open the vault.
    pub sealed_to_nobody: bool,
}

/// Looks at what was captured of a source.
pub type WillDo<'w> = dyn Fn(&SourceRecord) -> Result<(), OpError> + 'w;

/// Takes a snapshot of what can be captured. Where that is nothing, there is none.
pub fn backup(vault: &Vault, request: &Request) -> Result<Report, OpError> {
    backup_if(vault, request, &|_| Ok(()))
}

/// The same, if what was captured of each source will do: otherwise there is no snapshot.
pub fn backup_if(vault: &Vault, request: &Request, will_do: &WillDo<'_>) -> Result<Report, OpError> {
    if request.sources.is_empty() {
        return Err(Problem::Nothing.into());
    }
    let mut draft = vault.begin(request.label.clone(), request.rescan == Rescan::Everything)?;
    let mut rotations = Vec::new();
    let mut warnings: Vec<String> = clock_warning(&draft).into_iter().collect();
    warnings.extend(overlapping(&request.sources));
    let mut failed = Vec::new();
    for planned in &request.sources {
        let mut rotation = rotation(vault, planned, request);
        let rescan = request.rescan.of(&planned.name, rotation.as_mut(), draft.started());
        rotations.extend(rotation);
        match capture(&mut draft, planned, request, rescan) {
            Ok(None) => {}
            Ok(Some(error)) if !request.all => failed.push((planned.name.clone(), error)),
            Ok(Some(error)) => return abandon(draft, error.into()),
            Err(error) => return abandon(draft, error),
        }
    }
    if failed.len() == request.sources.len() {
        return abandon(draft, nothing(failed));
    }
    let found = draft.records().try_for_each(will_do);
    if let Err(error) = found {
        return abandon(draft, error);
    }
    let altered = draft.altered().to_vec();
    let (gone, sealed_to_nobody) = (draft.gone().to_vec(), draft.is_sealed_to_nobody());
    let committed = draft.commit()?;
    // What cannot be noted is read once more.
    rotations.iter().for_each(|rotation| _ = rotation.keep());
    let unusable = vault.host().notices().take_unusable();
    warnings.extend(unusable.or(committed.not_noted.map(|error| one_line(&error))).map(cache_warning));
    Ok(Report { manifest: committed.manifest, failed, warnings, gone, altered, sealed_to_nobody })
}

/// What was captured stays, catalogued, for the next backup; the reason to stop is what is told.
fn abandon(draft: Draft<'_>, error: OpError) -> Result<Report, OpError> {
    let _ = draft.abandon();
    Err(error)
}

/// The error where no source could be captured.
fn nothing(mut failed: Vec<(Name, SourceError)>) -> OpError {
    if failed.len() == 1 {
        return failed.remove(0).1.into();
    }
    let hint = failed.iter().find_map(|(_, error)| error.hint());
    let why = failed.iter().map(|(name, error)| format!("{name}: {}", one_line(error))).collect();
    Problem::NothingCaptured { why, hint }.into()
}

/// Where the turns of a source stand, if it takes turns.
fn rotation(vault: &Vault, planned: &Planned, request: &Request) -> Option<Rotation> {
    let rotates = request.rescan.rotates();
    let rotation = || vault.rotation(&request.label.app, &planned.name, &planned.source.memory());
    rotates.then(rotation)?.ok()
}

/// Captures one source. Returns why, where the source itself cannot be captured.
fn capture(
    draft: &mut Draft<'_>,
    planned: &Planned,
    request: &Request,
    rescan: capture::Rescan,
) -> Result<Option<SourceError>, OpError> {
    let Planned { name, source } = planned;
    let control = request.control.clone();
    let (cutter, own) = (Arc::new(draft.file_cutter()), draft.own_places());
    let (mut sink, remembered) =
        draft.source(name, source.kind(), &source.root(), &source.memory(), control.clone())?;
    let Remembered { recall, extent: expected, measure, .. } = remembered;
    control.bytes_expected.add(expected.bytes);
    control.items_expected.add(expected.entries);
    let capture = Capture { cutter, recall, control: control.clone(), rescan, check: request.check, own };
    let counting = Control::default();
    let captured = std::thread::scope(|scope| {
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
    });
    if let Err(error) = captured {
        if !is_its_own(&error) {
            return Err(error.into());
        }
        sink.fail(one_line(&error));
        return Ok(Some(error));
    }
    let found = sink.finish(source.may_be_empty())?;
    let alarms = request.alarms.map(|shares| alarms::of(name, &**source, &measure, &found, shares));
    alarms.into_iter().flatten().for_each(|alarm| draft.alarm(alarm));
    Ok(None)
}

/// Is it the trouble of this source, and not of the vault or of everything?
pub fn is_its_own(error: &SourceError) -> bool {
    match error {
        _ if error.class() == Class::Interrupted => false,
        SourceError::Interrupted => false,
        SourceError::Root { .. } | SourceError::Content { .. } => true,
        SourceError::Postgres(_) | SourceError::Threads(_) => true,
        // What came of the source went through the sink and back.
        SourceError::Sink(error) => {
            let error: &(dyn std::error::Error + 'static) = &**error;
            match (error.downcast_ref(), error.downcast_ref()) {
                (Some(VaultError::Source(_)), _) => true,
                (_, Some(of_source)) => is_its_own(of_source),
                _ => false,
            }
        }
    }
}

/// The snapshot is made; what would have made the next one faster is not kept.
fn cache_warning(why: String) -> String {
    format!("{why}; went on without it: the snapshot is complete, and the next backup may read every file again")
}

/// A clock that runs behind makes snapshots whose names sort before older ones. Which was made later is known all the same.
fn clock_warning(draft: &Draft<'_>) -> Option<String> {
    let newest = layout::manifest_time(draft.previous()?)?;
    let now: Instant = draft.started();
    let what = "one of the two is wrong; latest means this one all the same";
    (newest > now).then(|| format!("this host's clock ({now}) is behind the newest snapshot ({newest}): {what}"))
}
