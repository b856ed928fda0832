//! What would be done, without doing it, in words and as a document.

use serde_json::{Value, json};
use strongroom::base::text::{count, counted};
use strongroom::ops::actions::{Actions, State};
use strongroom::ops::diff::{Change, Difference};
use strongroom::ops::error::OpError;
use strongroom::ops::restore::foreseen::{Counts, Foreseen, Server, Told};

use crate::commands::changes::line;
use crate::context::Context;
use crate::exit::{Ending, Failure};

/// So many tables of a database are named in a line.
const TABLES: usize = 5;

/// Looks, and tells what it sees. `about` is what the document says besides.
pub fn tell(
    about: Value,
    context: &Context,
    look: impl FnOnce(&mut Told<'_>) -> Result<Foreseen, OpError>,
) -> Result<Ending, Failure> {
    let mut changes = Vec::new();
    let foreseen = look(&mut |source: &str, difference: Difference| {
        if context.json() {
            let mut document = serde_json::to_value(&difference).expect("BUG: plain fields");
            document["source"] = source.into();
            changes.push(document);
        } else {
            context.print(&line(source, &difference));
        }
    })?;
    if context.json() {
        let mut document = about;
        document["dry_run"] = true.into();
        document["changes"] = changes.into();
        document["foreseen"] = json!(foreseen);
        context.print_json(&document);
    }
    for source in &foreseen.sources {
        context.print(&format!("{}: {}\n", source.source, counts(source)));
    }
    for server in &foreseen.servers {
        context.print(&format!("{}: {}\n", server.source, database(server)));
    }
    for rows in &foreseen.rows {
        context.print(&format!("{}: {} as before\n", rows.table, counted(rows.rows, "row")));
    }
    let issues = foreseen.issues.iter().map(|issue| format!("{}: {}", issue.path, issue.reason));
    context.warn_some("would not be restored as it was", issues, foreseen.issues_count);
    context.print("nothing was written\n");
    Ok(if foreseen.issues_count == 0 { Ending::Done } else { Ending::Incomplete })
}

/// Tells of recoveries that were broken off: a command that writes finishes or takes them back first.
pub fn tell_unsettled(actions: &Actions, context: &Context) -> Result<(), Failure> {
    for action in actions.list().map_err(OpError::from)? {
        if action.recovered.is_some() && action.state == State::Begun && action.undone_by.is_none() {
            context.say(&format!("note: {} was broken off: the next command that writes settles it first", action.id));
        }
    }
    Ok(())
}

fn counts(counts: &Counts) -> String {
    let all = [
        (counts.removed, "to remove"),
        (counts.added, "to make"),
        (counts.content, "to change"),
        (counts.metadata, "to get other metadata"),
        (counts.same, "there already"),
    ];
    let some: Vec<String> = all
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{} {word}", count(*number)))
        .collect();
    if some.is_empty() { "nothing to do".to_owned() } else { some.join("   ") }
}

fn database(server: &Server) -> String {
    let Server { database, tables, kept, .. } = server;
    let tables = match tables.len() {
        0 => String::new(),
        number => {
            let more = if number > TABLES { ", …" } else { "" };
            let named = tables[..number.min(TABLES)].join(", ");
            let verb = if number == 1 { "differs" } else { "differ" };
            format!("; {} {verb}: {named}{more}", counted(number as u64, "table"))
        }
    };
    match (server.change, kept) {
        (_, Some(kept)) => format!("{kept} would be {database} again"),
        (Change::Added, None) => format!("{database} would be made"),
        (Change::Removed, None) => format!("{database} would be no more, and kept aside"),
        (_, None) => format!("{database} would be replaced{tables}"),
    }
}
