//! Every object against the digest in its name: what a machine without keys can check.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::chunk::sealed_digest;
use crate::base::control::Control;
use crate::base::name::ObjectKey;
use crate::format::layout;
use crate::format::vault_file::VaultFile;
use crate::ops::error::{OpError, Problem};
use crate::ops::verify::{Checked, Damage, Report, structure};
use crate::store::{Listed, Store};
use crate::vault::error::VaultError;
use crate::vault::ledger::Known;

/// With what this host knows of the vault, which was asked before.
pub(super) fn verify(store: &Store, known: &Known, control: &Control) -> Result<Report, OpError> {
    // What is in no folder of the format belongs to somebody else, or is a probe that could not be removed.
    let folders = [layout::PACKS, layout::CATALOGS, layout::SNAPSHOTS, layout::KEYS];
    let is_ours = |object: &Listed| {
        let name = object.key.as_str();
        object.key == layout::vault_file() || name.split('/').next().is_some_and(|folder| folders.contains(&folder))
    };
    let objects: Vec<Listed> = store.list("")?.into_iter().filter(is_ours).collect();
    if store.head(&layout::vault_file())?.is_none() {
        return Err(VaultError::NoVault { location: store.location().to_owned() }.into());
    }
    control.items_expected.set(objects.len() as u64);
    control.bytes_expected.set(objects.iter().map(|object| object.size).sum());
    let report = Mutex::new(Report::default());
    let next = AtomicUsize::new(0);
    let work = || -> Result<(), OpError> {
        while let Some(object) = objects.get(next.fetch_add(1, Ordering::Relaxed)) {
            if control.stopped() {
                return Err(Problem::Interrupted.into());
            }
            let problem = check(store, object)?;
            control.items.add(1);
            control.bytes.add(object.size);
            note(&mut report.lock().expect("BUG: nothing panics while holding it"), object, problem);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads
            .into_iter()
            .map(|thread| thread.join().expect("BUG: a checker panicked"))
            .collect::<Result<Vec<()>, _>>()
    })?;
    let mut report = report.into_inner().expect("BUG: nothing panics while holding it");
    report.damage.extend(missing(&objects, known));
    report.damage.sort_by(|a, b| a.object.cmp(&b.object));
    Ok(report)
}

/// What is not there, as far as that can be told without a key: what this host knows of, and all of `keys/`.
fn missing(objects: &[Listed], known: &Known) -> Vec<Damage> {
    let there: BTreeSet<ObjectKey> = objects.iter().map(|object| object.key.clone()).collect();
    let damage = |object, what| Damage { object, what, missing: true, harmed: Vec::new() };
    let mut missing: Vec<Damage> = known
        .gone(&there)
        .into_iter()
        .map(|object| {
            let what = structure::known(&object);
            damage(object, what)
        })
        .collect();
    if !there.iter().any(|object| object.as_str().starts_with("keys/")) {
        missing.push(damage(layout::vault_file(), "nobody can open the vault: keys/ is empty".to_owned()));
    }
    missing
}

/// What is wrong with an object, if anything.
fn check(store: &Store, object: &Listed) -> Result<Option<String>, OpError> {
    let bytes = match store.get(&object.key) {
        Ok(bytes) => bytes,
        // Removed since it was listed: by somebody who may.
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if object.key == layout::vault_file() {
        return Ok(VaultFile::read(&bytes).err().map(|error| error.to_string()));
    }
    Ok(match object.key.digest() {
        None => Some("its name holds no digest".to_owned()),
        Some(digest) if digest == sealed_digest(&bytes) => None,
        Some(_) => Some("its bytes are not those it was named for".to_owned()),
    })
}

fn note(report: &mut Report, object: &Listed, problem: Option<String>) {
    let group = match object.key.as_str().split('/').next() {
        Some(layout::PACKS) => &mut report.packs,
        Some(layout::CATALOGS) => &mut report.catalogs,
        Some(layout::SNAPSHOTS) => &mut report.snapshots,
        _ => &mut report.keys,
    };
    let Checked { checked, total, bytes } = group;
    *checked += 1;
    *total += 1;
    *bytes += object.size;
    if let Some(what) = problem {
        report.damage.push(Damage { object: object.key.clone(), what, missing: false, harmed: Vec::new() });
    }
}
