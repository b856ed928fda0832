//! What is asked for on the command line, as the library takes it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use strongroom::base::error::reason;
use strongroom::base::text::shell_word;
use strongroom::ops::choose::Named;
use strongroom::ops::config::Config;
use strongroom::ops::live_database::LiveDatabase;
use strongroom::ops::places::Places;
use strongroom::ops::recover::{Asked, Beside, Form, Recovery, Request};
use strongroom::ops::show::Part;
use strongroom::record::plan::Options;
use strongroom::source::files::root;

use crate::commands::recover::{Args, Switch};
use crate::commands::server::refuse_password;
use crate::context::Context;
use crate::exit::Failure;

/// What a snapshot has to have to be the one that is meant.
pub(super) fn named(args: &Args, config: Option<&Config>) -> Named {
    if let Some(file) = &args.file {
        return Named::File(file.clone());
    }
    let name = args.entity.as_ref().or(args.table.as_ref()).or(args.missing.as_ref());
    let Some(name) = name else { return Named::Nothing };
    let entity = config.and_then(|config| config.model.entities.get(name));
    let of = || Some(OsString::from(entity?.source.as_str()));
    Named::Table { table: entity.map_or(name, |entity| &entity.table).clone(), of: args.source.clone().or_else(of) }
}

pub(super) fn request(
    args: &Args,
    given: Option<&Recovery>,
    part: Option<Part>,
    places: Places,
    context: &Context,
) -> Result<Request, Failure> {
    let (model, configured) = context.config()?.map(|config| (config.model, config.sources)).unwrap_or_default();
    let own = || Options {
        on_conflict: args.on_conflict.into(),
        remap_keys: args.remap_keys,
        trust_keys: args.trust_keys,
        triggers: args.triggers == Switch::On,
        make_tables: args.into.is_some(),
        set: args.set.clone(),
    };
    Ok(Request {
        asked: if given.is_some() { Asked::Missing { name: String::new() } } else { asked(args)? },
        part,
        model,
        options: given.map_or_else(own, |recovery| recovery.plan.options.clone()),
        budget: args.limit,
        configured,
        into: given.map(|recovery| Ok(recovery.live.clone())).or(args.into.as_deref().map(into)).transpose()?,
        beside: match given {
            Some(recovery) => Beside::Planned(recovery.others.clone()),
            None if args.alone => Beside::None,
            None => Beside::Tied,
        },
        places,
        wait: Duration::from_secs(args.live.wait()),
        control: context.control.clone(),
    })
}

/// A database that is named on the command line.
pub(super) fn into(named: &OsStr) -> Result<LiveDatabase, Failure> {
    let wrong =
        |why: String| Failure::usage(format!("--into: {why}"), "name a file, or postgres://user@host:port/dbname");
    refuse_password("--into", &named.to_string_lossy())?;
    let database = match named.to_str() {
        Some(text) => LiveDatabase::of(text).map_err(|error| wrong(format!("the URL {error}")))?,
        None => LiveDatabase::Sqlite(PathBuf::from(named)),
    };
    Ok(match database {
        LiveDatabase::Sqlite(path) => {
            let led = root::trusted(&path).map_err(|error| wrong(reason(&error)))?;
            LiveDatabase::Sqlite(led.path)
        }
        server => server,
    })
}

/// How records are written down.
pub(super) fn form(named: &str) -> Result<Form, Failure> {
    match named {
        "csv" => Ok(Form::Csv),
        "json" => Ok(Form::Json),
        "sql" => Ok(Form::Sql),
        other => Err(Failure::usage(format!("{other} is no format"), "it is csv, json or sql")),
    }
}

/// The command that shows what would come back of another snapshot.
pub(super) fn again(args: &Args, snapshot: &str) -> String {
    let mut words = vec!["strongroom recover".to_owned(), snapshot.to_owned()];
    words.extend(args.entity.iter().chain(&args.keys).map(|word| shell_word(word)));
    let named = [("--table", &args.table), ("--where", &args.condition), ("--missing", &args.missing)];
    words.extend(named.iter().filter_map(|(name, value)| Some(format!("{name} {}", shell_word(value.as_ref()?)))));
    words.extend(args.source.as_ref().map(|source| format!("--source {}", shell_word(&source.to_string_lossy()))));
    words.push("--dry-run".to_owned());
    words.join(" ")
}

pub(super) fn asked(args: &Args) -> Result<Asked, Failure> {
    match (&args.entity, &args.table, &args.missing) {
        (Some(name), ..) if args.keys.is_empty() => Err(Failure::usage(
            format!("which {name}?"),
            format!("name its keys after it, or everything of it that is gone: --missing {}", shell_word(name)),
        )),
        (Some(name), ..) => Ok(Asked::Keys { name: name.clone(), keys: args.keys.clone() }),
        (_, Some(table), _) => {
            Ok(Asked::Where { table: table.clone(), condition: args.condition.clone().unwrap_or_default() })
        }
        (.., Some(name)) => Ok(Asked::Missing { name: name.clone() }),
        _ => Err(Failure::usage(
            "nothing is asked for",
            "name an entity and keys, --table with --where, --missing ENTITY or --plan FILE",
        )),
    }
}
