use strongroom::base::name::ObjectKey;
use strongroom::base::text::{counted, size};
use strongroom::format::manifest::Manifest;
use strongroom::vault::error::VaultError;
use strongroom::vault::select::SAFETY;
use strongroom::vault::snapshots::Snapshot;

use crate::commands::FilterArgs;
use crate::commands::backup::GONE;
use crate::context::Context;
use crate::exit::{Ending, Failure};
use crate::render::{Lean, Lines, Table, Tone, local, paint, zone};

/// List the snapshots
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom snapshots\n  strongroom snapshots --app contextsafe --host web1\n  \
    strongroom --json snapshots | jq -r '.snapshots[].id'")]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// Only snapshots with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// What this host knows of and is gone from the vault is meant to be gone: it is not told any more
    #[arg(long)]
    accept_gone: bool,
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let vault = context.unlocked()?;
    let mut all = vault.snapshots()?;
    let filter = args.filter.filter();
    filter.must_be_known(&all)?;
    if args.accept_gone {
        let gone = [&all.gone[..], &vault.gone_keys()?].concat();
        vault.vault().ledger().accept(gone.iter())?;
        gone.iter().for_each(|object| context.warn(&format!("accepted: {object} is gone")));
        all.gone.clear();
        if !all.altered.is_empty() {
            vault.vault().ledger().see()?;
            all.altered = vault.vault().ledger().read().altered().to_vec();
        }
    }
    let tagged = |snapshot: &Snapshot| args.tag.as_ref().is_none_or(|tag| snapshot.manifest.tags.contains(tag));
    let chosen: Vec<&Snapshot> = all.readable.iter().filter(|s| filter.admits(s) && tagged(s)).collect();
    for (object, error) in &all.damaged {
        context.warn(&format!("damaged: {object}: {}", error.of(object)));
    }
    for (object, error) in &all.newer {
        context.warn(&format!("not listed: {object}: {}; use a newer strongroom", error.of(object)));
    }
    for object in &all.gone {
        context.alarm(&format!("gone: {object} is not in the vault any more"));
    }
    if !all.gone.is_empty() {
        context.warn(GONE);
    }
    context.tell_altered(&all.altered);
    context.tell_ahead(chosen.iter().copied());
    if context.json() {
        let list: Vec<_> = chosen.iter().map(|snapshot| document(snapshot)).collect();
        let names = |some: &[(ObjectKey, VaultError)]| -> Vec<ObjectKey> {
            some.iter().map(|(object, _)| object.clone()).collect()
        };
        let (damaged, newer, gone) = (names(&all.damaged), names(&all.newer), &all.gone);
        let document = serde_json::json!({ "snapshots": list, "damaged": damaged, "newer": newer, "gone": gone });
        context.print_json(&document);
    } else {
        context.print(&table(&chosen));
        context.print(&summary(&chosen));
    }
    Ok(match (all.damaged.is_empty(), all.newer.is_empty()) {
        (true, true) => Ending::Done,
        (true, false) => Ending::Incomplete,
        (false, _) => Ending::Damaged,
    })
}

/// A manifest without its listings, which are of no use outside the vault.
pub fn document(snapshot: &Snapshot) -> serde_json::Value {
    let mut document = serde_json::to_value(&snapshot.manifest).expect("BUG: plain fields");
    document["object"] = snapshot.key.as_str().into();
    document["complete"] = snapshot.manifest.complete().into();
    for source in document["sources"].as_array_mut().into_iter().flatten() {
        if let Some(fields) = source.as_object_mut() {
            fields.remove("listing");
        }
    }
    document
}

fn table(snapshots: &[&Snapshot]) -> Lines {
    use Lean::{Left, Right};
    let mut table = Table::new(&[Left, Left, Left, Left, Left, Left, Right, Right, Left]);
    let several_hosts = snapshots.windows(2).any(|pair| pair[0].manifest.host != pair[1].manifest.host);
    let migrated = snapshots.iter().any(|snapshot| !revisions(&snapshot.manifest).is_empty());
    let (host, revision) = (if several_hosts { "host" } else { "" }, if migrated { "revision" } else { "" });
    let head = ["id", "time", "app", host, "tags", revision, "size", "new", "state"];
    if !snapshots.is_empty() {
        table.row(head.map(str::to_owned).to_vec());
    }
    for Snapshot { manifest, .. } in snapshots.iter().rev() {
        let host = if several_hosts { manifest.host.clone() } else { String::new() };
        let state = match (manifest.complete(), manifest.alarms.is_empty()) {
            (false, _) => paint(Tone::Look, "incomplete"),
            (true, false) => paint(Tone::Look, "alarm"),
            (true, true) => "stored".to_owned(),
        };
        let mut tags = manifest.tags.clone();
        // Not what `latest` means: so that it is seen why.
        tags.extend((manifest.reason == SAFETY).then(|| SAFETY.to_owned()));
        table.row(vec![
            manifest.id.short(),
            local(manifest.time),
            manifest.app.to_string(),
            host,
            tags.join(" "),
            revisions(manifest),
            size(manifest.bytes),
            size(manifest.bytes_new),
            state,
        ]);
    }
    table.render()
}

/// The migrations that the databases have seen last, without which tool's they are.
fn revisions(manifest: &Manifest) -> String {
    const LENGTH: usize = 24;
    let databases = manifest.sources.iter().flat_map(|source| &source.databases);
    let mut ids: Vec<&str> = databases.filter_map(|database| Some(database.revision.as_ref()?.id.as_str())).collect();
    ids.dedup();
    let text = ids.join(" ");
    if text.chars().count() <= LENGTH { text } else { text.chars().take(LENGTH - 1).chain(['…']).collect() }
}

fn summary(snapshots: &[&Snapshot]) -> String {
    let sum = |field: fn(&Snapshot) -> u64| snapshots.iter().map(|s| field(s)).sum::<u64>();
    format!(
        "{} · {} stored of {} captured · zone {}\n",
        counted(snapshots.len() as u64, "snapshot"),
        size(sum(|s| s.manifest.bytes_stored)),
        size(sum(|s| s.manifest.bytes)),
        zone()
    )
}
