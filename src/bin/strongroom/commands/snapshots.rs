use strongroom::base::text::{counted, size};
use strongroom::vault::select::SAFETY;
use strongroom::vault::snapshots::Snapshot;

use crate::commands::FilterArgs;
use crate::context::Context;
use crate::exit::{Ending, Failure};
use crate::render::{Lean, Table, Tone, local, paint, zone};

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
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let vault = context.unlocked()?;
    let all = vault.snapshots()?;
    let filter = args.filter.filter();
    let tagged = |snapshot: &Snapshot| args.tag.as_ref().is_none_or(|tag| snapshot.manifest.tags.contains(tag));
    let chosen: Vec<&Snapshot> = all.readable.iter().filter(|s| filter.admits(s) && tagged(s)).collect();
    for (object, error) in &all.damaged {
        context.say(&format!("damaged: {object}: {error}"));
    }
    if context.json() {
        let list: Vec<_> = chosen.iter().map(|snapshot| document(snapshot)).collect();
        let damaged: Vec<_> = all.damaged.iter().map(|(object, _)| object).collect();
        context.print_json(&serde_json::json!({ "snapshots": list, "damaged": damaged }));
    } else {
        context.print(&table(&chosen));
        context.print(&summary(&chosen));
    }
    Ok(if all.damaged.is_empty() { Ending::Done } else { Ending::Damaged })
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

fn table(snapshots: &[&Snapshot]) -> String {
    use Lean::{Left, Right};
    let mut table = Table::new(&[Left, Left, Left, Left, Left, Right, Right, Left]);
    let several_hosts = snapshots.windows(2).any(|pair| pair[0].manifest.host != pair[1].manifest.host);
    let head = ["id", "time", "app", if several_hosts { "host" } else { "" }, "tags", "size", "new", "state"];
    if !snapshots.is_empty() {
        table.row(head.map(str::to_owned).to_vec());
    }
    for Snapshot { manifest, .. } in snapshots.iter().rev() {
        let host = if several_hosts { manifest.host.clone() } else { String::new() };
        let state = if manifest.complete() { "stored".to_owned() } else { paint(Tone::Look, "incomplete") };
        let mut tags = manifest.tags.clone();
        // Not what `latest` means: so that it is seen why.
        tags.extend((manifest.reason == SAFETY).then(|| SAFETY.to_owned()));
        table.row(vec![
            manifest.id.short(),
            local(manifest.time),
            manifest.app.to_string(),
            host,
            tags.join(" "),
            size(manifest.bytes),
            size(manifest.bytes_new),
            state,
        ]);
    }
    table.render()
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
