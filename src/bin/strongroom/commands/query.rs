use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;

use strongroom::base::selector::Selector;
use strongroom::base::text::shell_word;
use strongroom::engine::sqlite::ask::{AskError, Cell, Rows};
use strongroom::format::manifest::Manifest;
use strongroom::ops::choose::Named;
use strongroom::ops::damaged::Damaged;
use strongroom::ops::error::OpError;
use strongroom::ops::query::{Query, Request, Statement};
use strongroom::ops::restore::whose::Chosen;
use strongroom::vault::select::Filter;

use crate::answer::{Answer, Format};
use crate::commands::damaged;
use crate::commands::places::PlaceArgs;
use crate::commands::selector;
use crate::context::{Context, host_name};
use crate::exit::{Ending, Failure};
use crate::render::{Lines, width};

/// Ask a database of a snapshot, with SQL; nothing is restored
///
/// Only what the question touches is fetched. The statement reads: what writes is refused, and nothing is written
/// anywhere. The database as it is now is called live: live.projects is the table as it is now, in a SQLite file on this
/// host, or on the server. A captured PostgreSQL database is asked in SQLite's SQL too: users, or app.users in another
/// schema than public (live."app.users"); numerics, times and what SQLite has no type for are text. In place of SQL,
/// .tables and .schema [TABLE] tell what there is.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    strongroom query latest .tables\n  \
    strongroom query latest \\\n      'SELECT * FROM projects EXCEPT SELECT * FROM live.projects'\n  \
    strongroom query @yesterday 'SELECT name FROM users WHERE id = ?' --bind 42\n  \
    strongroom query latest --attach before=latest~1 \\\n      'SELECT id FROM users EXCEPT SELECT id FROM before.users'\n  \
    strongroom query 7c1e04b2 --source app:data/shop.db --format csv \\\n      'SELECT * FROM orders' > orders.csv")]
pub struct Args {
    /// Which snapshot: latest, latest~2, an id prefix, @TIME, tag:NAME, label:KEY=VALUE
    #[arg(value_name = "SNAPSHOT", value_parser = selector)]
    snapshot: Selector,
    /// One statement that reads; or .tables, or .schema [TABLE]
    #[arg(value_name = "SQL")]
    sql: String,
    /// The database, where the snapshot holds several
    #[arg(long, value_name = "NAME[:PATH]")]
    source: Option<OsString>,
    /// A value for the next parameter of the statement, or for the one of that name
    #[arg(long = "bind", value_name = "[NAME=]VALUE", allow_hyphen_values = true)]
    values: Vec<String>,
    /// The same database of another snapshot, under this name
    #[arg(long, value_name = "NAME=SNAPSHOT", value_parser = attached)]
    attach: Vec<(String, Selector)>,
    /// How to write the answer; json is the same as --json
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    places: PlaceArgs,
    /// Only snapshots of this app
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Only snapshots made on this host
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
}

fn attached(text: &str) -> Result<(String, Selector), String> {
    let (name, rest) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("write NAME=SNAPSHOT")?;
    Ok((name.to_owned(), selector(rest)?))
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let vault = context.unlocked()?;
    let snapshots = vault.snapshots()?;
    let filter = Filter { app: args.app.clone(), host: args.host.clone(), source: None };
    let chooser = context.chooser(&vault, &snapshots, filter)?;
    let statement = statement(&args)?;
    let named = Named::Question { sql: statement.names().to_owned(), of: args.source.clone() };
    let find = |selector: &Selector| Ok::<_, Failure>(context.choose(&chooser, selector, &named)?.manifest);
    let manifest = find(&args.snapshot)?;
    let found = |(_, other): &(String, Selector)| Ok((other.to_string(), find(other)?));
    let others: BTreeMap<String, Manifest> = args.attach.iter().map(found).collect::<Result<_, Failure>>()?;
    let part = args.source.as_deref().map(|text| chooser.part(text, &manifest)).transpose()?;
    let attach = args.attach.iter().map(|(name, selector)| (name.clone(), &others[&selector.to_string()])).collect();
    let control = context.control.clone();
    let values = args.values.clone();
    let configured = context.config()?.map(|config| config.sources).unwrap_or_default();
    let places = args.places.places(&vault, &[&manifest])?;
    let request = Request { manifest: &manifest, part, attach, statement, values, configured, places, control };
    if request.names_live().is_some() {
        // What another host captured has nothing to do with what is here.
        let (selector, host) = (&args.snapshot, &host_name());
        let chosen = Chosen { chooser: &chooser, selector, named: &named, host };
        chosen.must_be_of_this_host(&manifest, request.part.as_slice())?;
    }
    context.tell_whose(&chooser, (&args.snapshot, &named), &manifest)?;
    for (_, selector) in &args.attach {
        context.tell_whose(&chooser, (selector, &named), &others[&selector.to_string()])?;
    }
    let in_order: Vec<&Manifest> =
        std::iter::once(&manifest).chain(args.attach.iter().map(|(_, other)| &others[&other.to_string()])).collect();
    let explained = |error| damaged::explained(error, &in_order, &snapshots, |sound| again(&args, sound));
    let query = Query::open(&vault, request).map_err(explained)?;
    query.warnings.iter().for_each(|warning| context.warn(&format!("warning: {warning}")));
    for (manifest, part) in in_order.iter().zip(&query.parts) {
        damaged::tell(&Damaged::among(manifest, std::slice::from_ref(part)), &snapshots, context);
    }
    answer(&query, &args, &explained, context)
}

/// The same question to another snapshot.
fn again(args: &Args, snapshot: &str) -> String {
    let mut words = vec!["strongroom query".to_owned(), snapshot.to_owned()];
    words.extend(args.source.as_ref().map(|source| format!("--source {}", shell_word(&source.to_string_lossy()))));
    words
        .extend(args.attach.iter().map(|(name, other)| format!("--attach {}", shell_word(&format!("{name}={other}")))));
    words.push(shell_word(&args.sql));
    words.extend(args.values.iter().map(|value| format!("--bind {}", shell_word(value))));
    words.join(" ")
}

/// What is meant.
fn statement(args: &Args) -> Result<Statement, Failure> {
    let text = args.sql.trim();
    if !text.starts_with('.') {
        return Ok(Statement::Sql(args.sql.clone()));
    }
    let (command, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    match (command, rest.trim()) {
        (".tables", "") => Ok(Statement::Tables),
        (".schema", "") => Ok(Statement::Schema(None)),
        (".schema", table) => Ok(Statement::Schema(Some(table.to_owned()))),
        _ => Err(Failure::usage(format!("{command} is not known here"), "there are .tables and .schema [TABLE]")),
    }
}

fn answer(
    query: &Query,
    args: &Args,
    explained: &dyn Fn(OpError) -> Failure,
    context: &Context,
) -> Result<Ending, Failure> {
    let format = args.format.unwrap_or(if context.json() { Format::Json } else { Format::Table });
    let mut out = context.out(64 << 10);
    if format == Format::Table && args.sql.trim().starts_with(".schema") {
        let mut statements = Statements { out: &mut out };
        let answered = query.answer(&mut statements);
        return done(answered.and_then(|_| out.flush().map_err(output)), explained);
    }
    let head = serde_json::json!({ "snapshot": query.snapshot, "database": query.database });
    let mut answer = Answer::new(&mut out, format, width(), &head);
    let answered = query.answer(&mut answer).and_then(|_| answer.finish().map_err(output));
    let cut = answer.cut;
    let ending = done(answered, explained)?;
    if cut > 0 {
        let cells = strongroom::base::text::counted(cut, "value");
        context.warn(&format!("{cells} cut to fit; --format csv or json writes everything"));
    }
    Ok(ending)
}

fn output(error: std::io::Error) -> OpError {
    AskError::Output(error).into()
}

/// Where the output itself failed, it knows, and decides how the run ends.
fn done(answered: Result<(), OpError>, explained: &dyn Fn(OpError) -> Failure) -> Result<Ending, Failure> {
    match answered {
        Err(OpError::Ask(AskError::Output(_))) => Ok(Ending::Done),
        result => result.map(|()| Ending::Done).map_err(explained),
    }
}

/// The statements of `.schema`, as one would type them.
struct Statements<'w> {
    out: &'w mut dyn Write,
}

impl Rows for Statements<'_> {
    fn columns(&mut self, _: &[String]) -> std::io::Result<()> {
        Ok(())
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> std::io::Result<()> {
        match cells {
            [_, Cell::Text(sql)] => {
                let mut lines = Lines::new();
                lines.push_text(&format!("{};", String::from_utf8_lossy(sql)));
                self.out.write_all(lines.render(None).as_bytes())
            }
            _ => Ok(()),
        }
    }
}
