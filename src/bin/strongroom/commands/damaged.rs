//! What is told of databases that were damaged when they were captured.

use strongroom::format::manifest::Manifest;
use strongroom::ops::damaged::Damaged;
use strongroom::ops::error::OpError;
use strongroom::vault::snapshots::Snapshots;

use crate::context::Context;
use crate::exit::Failure;

/// Names each, and the newest snapshot in which it is sound: a run that ends well ends incomplete.
pub fn tell(damaged: &[Damaged<'_>], snapshots: &Snapshots, context: &Context) {
    let line = |one: &Damaged<'_>| match one.sound(&snapshots.readable) {
        Some(sound) => format!("{one}; snapshot {} has it sound", sound.id.short()),
        None => format!("{one}; no snapshot has it sound"),
    };
    context.alarm_some("warning", damaged.iter().map(line), damaged.len() as u64);
}

/// An error that may come of damage, with the same command (`again`) of the newest snapshot that has the database sound.
pub fn explained(
    error: OpError,
    manifests: &[&Manifest],
    snapshots: &Snapshots,
    again: impl FnOnce(&str) -> String,
) -> Failure {
    let damaged = Damaged::behind(&error, manifests);
    let failure = Failure::from(error);
    match damaged.map(|one| (one.place.label(), one.sound(&snapshots.readable))) {
        None => failure,
        Some((label, None)) => failure.hinting(format!("it was captured like this; no snapshot has {label} sound")),
        Some((_, Some(sound))) => {
            let sound = sound.id.short();
            failure.hinting(format!("it was captured like this; snapshot {sound} has it sound: {}", again(&sound)))
        }
    }
}
