//! Plans that are kept in a file, for somebody to look at and to be done later.

use std::io::Write;
use std::path::Path;

use strongroom::base::error::reason;
use strongroom::format::manifest::Manifest;
use strongroom::ops::recover::Recovery;
use strongroom::record::plan::VERSION;
use strongroom::vault::host;
use strongroom::vault::snapshots::Snapshots;

use crate::context::waiting;
use crate::exit::Failure;

pub fn read(file: &Path) -> Result<Recovery, Failure> {
    let wrong = |why: String| {
        let hint = "write one with strongroom recover … --plan-out FILE";
        Failure::usage(format!("cannot use the plan {}: {why}", file.display()), hint)
    };
    let bytes = waiting(|| std::fs::read(file)).map_err(|error| wrong(reason(&error)))?;
    let recovery: Recovery = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if recovery.plan.version != VERSION {
        return Err(wrong(format!("it has form {}, and this version knows {VERSION}", recovery.plan.version)));
    }
    Ok(recovery)
}

pub fn write(file: &Path, recovery: &Recovery) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(recovery).expect("BUG: plain fields");
    // It holds values of rows.
    host::create_private(file).and_then(|mut out| out.write_all(&text)).map_err(|error| {
        let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
        let hint = exists.then(|| "a plan never replaces a file: name another, or remove that one first".to_owned());
        Failure::other(format!("cannot write {}: {}", file.display(), reason(&error)), hint)
    })
}

/// The snapshot that a plan is of.
pub fn snapshot(recovery: &Recovery, snapshots: &Snapshots) -> Result<Manifest, Failure> {
    let mut all = snapshots.readable.iter().map(|snapshot| &snapshot.manifest);
    let found = all.find(|manifest| manifest.id == recovery.plan.snapshot);
    found.cloned().ok_or_else(|| {
        let id = recovery.plan.snapshot.short();
        Failure::other(format!("the plan is of snapshot {id}, which this vault does not have"), None)
    })
}
