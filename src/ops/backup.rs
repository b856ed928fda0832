//! Taking a snapshot: plan, capture each source, commit, report.

use std::sync::Arc;

use crate::base::capture::Capture;
use crate::base::control::Control;
use crate::base::error::one_line;
use crate::base::name::Name;
use crate::base::time::Instant;
use crate::format::layout;
use crate::format::manifest::Manifest;
use crate::ops::error::{OpError, Problem};
use crate::source::Source;
use crate::vault::Vault;
use crate::vault::commit::{Draft, Label};
use crate::vault::error::VaultError;

/// One source under the name it has in the snapshot.
pub struct Planned {
    pub name: Name,
    pub source: Box<dyn Source>,
}

pub struct Request {
    pub sources: Vec<Planned>,
    pub label: Label,
    /// Read everything, whatever looks unchanged.
    pub rescan: bool,
    /// Count first what there is, so that progress can say how long it takes.
    pub estimate: bool,
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
    let mut draft = vault.begin(request.label.clone(), request.rescan)?;
    let mut warnings: Vec<String> = clock_warning(&draft).into_iter().collect();
    for planned in &request.sources {
        if let Err(error) = capture(&mut draft, planned, request) {
            // What was captured stays, catalogued, for the next backup; the reason to stop is what is told.
            let _ = draft.abandon();
            return Err(error);
        }
    }
    let committed = draft.commit()?;
    warnings.extend(committed.not_noted.map(cache_warning));
    Ok(Report { manifest: committed.manifest, warnings })
}

fn capture(draft: &mut Draft<'_>, planned: &Planned, request: &Request) -> Result<(), OpError> {
    let Planned { name, source } = planned;
    let control = request.control.clone();
    let cutter = Arc::new(draft.file_cutter());
    let (mut sink, recall, expected) = draft.source(name, source.kind(), &source.root(), control.clone())?;
    control.bytes_expected.add(expected.bytes);
    control.items_expected.add(expected.entries);
    let capture = Capture { cutter, recall, control: control.clone(), rescan: request.rescan };
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
    sink.finish()?;
    Ok(())
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
