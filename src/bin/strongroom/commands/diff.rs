mod comparison;
mod document;
mod rows;

use strongroom::base::selector::Selector;
use strongroom::ops::choose::Named;
use strongroom::ops::damaged::Damaged;
use strongroom::ops::databases::Place;
use strongroom::ops::error::Problem;
use strongroom::ops::restore::whose::Chosen;
use strongroom::ops::rows::is_there;
use strongroom::ops::show::Part;
use strongroom::vault::unlocked::UnlockedVault;

use crate::commands::damaged;
use crate::commands::diff::comparison::{Asked, Comparison, Homes, Sides};
use crate::commands::places::PlaceArgs;
use crate::commands::{FilterArgs, selector};
use crate::context::{Context, host_name};
use crate::exit::{Ending, Failure};

/// Show what changed between two snapshots, or between one and what is there now
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom diff latest~1 latest\n  strongroom diff @yesterday live\n  \
    strongroom diff latest live --table projects\n  \
    strongroom --json diff latest~1 latest \\\n      | jq -r '.changes[] | select(.change == \"removed\").path'")]
pub struct Args {
    /// The earlier snapshot
    #[arg(value_name = "SNAPSHOT", value_parser = selector)]
    before: Selector,
    /// The later one, or `live` for what is there now
    #[arg(value_name = "SNAPSHOT|live", default_value = "live")]
    after: String,
    /// Only how many of each
    #[arg(long)]
    summary: bool,
    /// Every row of this table that differs, in the databases that changed
    #[arg(long, value_name = "TABLE", conflicts_with = "summary")]
    table: Option<String>,
    /// Read every file that is there now, whatever looks unchanged: finds what a disk has changed
    #[arg(long)]
    rescan: bool,
    #[command(flatten)]
    places: PlaceArgs,
    #[command(flatten)]
    filter: FilterArgs,
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let asked_after = match args.after.as_str() {
        "live" => None,
        text => Some(text.parse::<Selector>()?),
    };
    let vault = context.unlocked()?;
    let only = args.filter.source.clone();
    let filter = args.filter.filter();
    let snapshots = vault.snapshots()?;
    let chooser = context.chooser(&vault, &snapshots, filter)?;
    let select = |selector: &Selector| Ok::<_, Failure>(context.choose(&chooser, selector, &Named::Nothing)?.manifest);
    let (before, after) = (select(&args.before)?, asked_after.as_ref().map(select).transpose()?);
    let sides = Sides { before: &before, after: after.as_ref() };
    let part = only.clone().map(|source| Part { source: Some(source), ..Part::whole() });
    if after.is_none() {
        // What another host captured is no comparison with what is here.
        let (selector, named, host) = (&args.before, &Named::Nothing, &host_name());
        Chosen { chooser: &chooser, selector, named, host }.must_be_of_this_host(&before, part.as_slice())?;
    }
    let told = std::iter::once((&args.before, &before)).chain(asked_after.iter().zip(&after));
    for (selector, manifest) in told {
        context.tell_whose(&chooser, (selector, &Named::Nothing), manifest)?;
    }
    if only.is_none() && after.is_none() {
        let lacking = context.lacking(&chooser, &args.before, &before)?;
        lacking.iter().for_each(|line| context.warn(&format!("note: {line}")));
    }
    let (table, summary, rescan) = (args.table.as_deref(), args.summary, args.rescan);
    let asked = Asked { source: only.as_deref(), table, summary, rescan };
    let unknown = unknown_table(&vault, sides, asked, context)?;
    if let Some(table) = unknown.filter(|_| after.is_some()) {
        return Err(nowhere(table, sides));
    }
    let harmed = std::iter::once(&before).chain(&after).flat_map(|one| Damaged::among(one, part.as_slice()));
    damaged::tell(&harmed.collect::<Vec<_>>(), &snapshots, context);
    let configured = context.config()?.map(|config| config.sources).unwrap_or_default();
    let homes = Homes { places: args.places.places(&vault, &[&before])?, configured };
    let mut comparison = Comparison::new(&vault, (sides, asked), homes, context);
    let is_nowhere = comparison.sources()?;
    if let Some(table) = unknown.filter(|_| is_nowhere) {
        return Err(nowhere(table, sides));
    }
    Ok(comparison.finish())
}

/// The table that is asked for, if no snapshot has it. It may be new in live data, which comparing tells.
fn unknown_table<'a>(
    vault: &UnlockedVault,
    sides: Sides<'_>,
    asked: Asked<'a>,
    context: &Context,
) -> Result<Option<&'a str>, Failure> {
    let Some(table) = asked.table else { return Ok(None) };
    let snapshots: Vec<_> = std::iter::once(sides.before).chain(sides.after).collect();
    let is_there = is_there(vault, &snapshots, asked.source, table, &context.control)?;
    Ok((!is_there).then_some(table))
}

/// A table that is nowhere has no row that differs, and that is no answer.
fn nowhere(table: &str, sides: Sides<'_>) -> Failure {
    let databases = Place::all(sides.before).iter().map(Place::label).collect();
    Problem::NoHolder { snapshot: sides.before.id.short(), table: table.to_owned(), databases }.into()
}
