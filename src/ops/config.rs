//! `strongroom.toml`: what to capture, and into which vault (docs/design.md, the configuration).
//!
//! Parses text; never reads a file or the environment itself. Every mistake is told with its name and line.

mod env_file;
mod records;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::base::error::{Class, Explain};
use crate::base::name::Name;
use crate::base::text::nearest;
use crate::ops::backup::{Planned, Shares};
use crate::ops::hooks::Hooks;
use crate::record::model::Model;
use crate::source;

/// What a configuration says.
pub struct Config {
    pub vault: Option<String>,
    pub app: Option<Name>,
    pub sources: Vec<Planned>,
    /// `[alarm]`: which losses are told loudly.
    pub alarms: Shares,
    /// `rescan_within`: files that look unchanged are read again so often.
    pub rescan_within: Option<Duration>,
    pub hooks: Hooks,
    /// `[entity.NAME]`, `[[relation]]` and `[[rename]]`.
    pub model: Model,
}

#[derive(Debug, thiserror::Error)]
#[error("{}, line {line}: {what}", .file.display())]
pub struct ConfigError {
    file: PathBuf,
    line: usize,
    what: String,
    hint: Option<String>,
}

impl Explain for ConfigError {
    fn class(&self) -> Class {
        Class::Usage
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

pub use env_file::{env_files, variables};

const KEYS: [&str; 10] =
    ["vault", "app", "env_file", "rescan_within", "source", "alarm", "hooks", "entity", "relation", "rename"];
const ALARMS: [&str; 3] = ["rows_lost", "files_lost", "bytes_lost"];
const HOOKS: [&str; 2] = ["before_restore", "after_restore"];

/// Reads a configuration. `file` names it in messages and is what relative paths are relative to;
/// `variable` looks up `${NAME}`.
pub fn parse(text: &str, file: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    let reader = Reader { text, file, variable };
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| reader.line(span));
        reader.error_at(line, error.message().lines().next().unwrap_or_default().to_owned(), None)
    })?;
    reader.document(document.get_ref())
}

struct Reader<'t> {
    text: &'t str,
    file: &'t Path,
    variable: &'t dyn Fn(&str) -> Option<String>,
}

impl Reader<'_> {
    fn document(&self, document: &DeTable<'_>) -> Result<Config, ConfigError> {
        let hooks = Hooks { folder: self.folder().to_owned(), ..Hooks::default() };
        let model = Model::default();
        let alarms = Shares::default();
        let rescan_within = None;
        let mut config = Config { vault: None, app: None, sources: Vec::new(), alarms, rescan_within, hooks, model };
        for (key, value) in document {
            match key.get_ref().as_ref() {
                "vault" => config.vault = Some(self.location(self.string("vault", value)?)),
                "app" => config.app = Some(self.name("app", value)?),
                // Read by whoever looks variables up.
                "env_file" => {}
                "source" => config.sources = self.sources(value)?,
                "rescan_within" => config.rescan_within = Some(self.time("rescan_within", value)?),
                "alarm" => config.alarms = self.alarm(value)?,
                "hooks" => self.hooks(value, &mut config.hooks)?,
                "entity" => config.model.entities = self.entities(value)?,
                "relation" => config.model.relations = self.relations(value)?,
                "rename" => config.model.renames = self.renames(value)?,
                unknown => return Err(self.unknown(unknown, key.span(), &KEYS)),
            }
        }
        self.sources_exist(document, &config)?;
        Ok(config)
    }

    fn alarm(&self, value: &Spanned<DeValue<'_>>) -> Result<Shares, ConfigError> {
        let what = "alarm is not a table; write [alarm]";
        let table = value.get_ref().as_table().ok_or_else(|| self.error(value.span(), what.to_owned(), None))?;
        let mut shares = Shares::default();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "rows_lost" => shares.rows_lost = self.percent("rows_lost", value)?,
                "files_lost" => shares.files_lost = self.percent("files_lost", value)?,
                "bytes_lost" => shares.bytes_lost = self.percent("bytes_lost", value)?,
                unknown => return Err(self.unknown(unknown, key.span(), &ALARMS)),
            }
        }
        Ok(shares)
    }

    fn percent(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<u8, ConfigError> {
        let text = self.string(key, value)?;
        let percent = text.strip_suffix('%').and_then(|number| number.trim().parse().ok());
        percent.filter(|percent| *percent <= 100).ok_or_else(|| {
            let hint = Some(format!("write {key} = \"25%\""));
            self.error(value.span(), format!("{key}: {text:?} is no share between 0% and 100%"), hint)
        })
    }

    /// A length of time: `30d`, `12h`, `90m`.
    fn time(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Duration, ConfigError> {
        let text = self.string(key, value)?;
        let units = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];
        let unit = units.into_iter().find(|(letter, _)| text.ends_with(*letter));
        let number = unit.and_then(|(letter, each)| {
            let number: u32 = text.strip_suffix(letter)?.trim().parse().ok()?;
            (number > 0).then(|| Duration::from_secs(u64::from(number) * each))
        });
        number.ok_or_else(|| {
            let hint = Some(format!("write {key} = \"30d\", or 12h, 90m"));
            self.error(value.span(), format!("{key}: {text:?} is no length of time"), hint)
        })
    }

    fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("."))
    }

    fn hooks(&self, value: &Spanned<DeValue<'_>>, hooks: &mut Hooks) -> Result<(), ConfigError> {
        let what = "hooks is not a table; write [hooks]";
        let table = value.get_ref().as_table().ok_or_else(|| self.error(value.span(), what.to_owned(), None))?;
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "before_restore" => hooks.before_restore = Some(self.string("before_restore", value)?),
                "after_restore" => hooks.after_restore = Some(self.string("after_restore", value)?),
                unknown => return Err(self.unknown(unknown, key.span(), &HOOKS)),
            }
        }
        Ok(())
    }

    fn sources(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<Planned>, ConfigError> {
        let what = "source is not a table; write [source.NAME]";
        let table = value.get_ref().as_table().ok_or_else(|| self.error(value.span(), what.to_owned(), None))?;
        let mut sources: Vec<_> = table.iter().collect();
        sources.sort_by_key(|(key, _)| key.span().start);
        sources.into_iter().map(|(key, value)| self.source(key.get_ref(), key.span(), value)).collect()
    }

    fn source(&self, name: &str, span: Range<usize>, value: &Spanned<DeValue<'_>>) -> Result<Planned, ConfigError> {
        let name: Name = name.parse().map_err(|error| self.error(span.clone(), format!("{error}"), None))?;
        let what = format!("source.{name} is not a table");
        let keys = value.get_ref().as_table().ok_or_else(|| self.error(value.span(), what, None))?;
        let mut table = toml::Table::new();
        for (key, value) in keys {
            table.insert(key.get_ref().to_string(), self.value(value)?);
        }
        let source = source::configure(&table, self.folder()).map_err(|error| {
            let line_of = keys.iter().find(|(key, _)| key.get_ref() == error.key());
            let span = line_of.map_or(span.clone(), |(key, _)| key.span());
            self.error(span, format!("source {name}: {error}"), error.hint())
        })?;
        Ok(Planned { name, source })
    }

    /// A value with `${NAME}` replaced everywhere in it.
    fn value(&self, value: &Spanned<DeValue<'_>>) -> Result<toml::Value, ConfigError> {
        Ok(match value.get_ref() {
            DeValue::String(text) => toml::Value::String(self.expand(text, value.span())?),
            DeValue::Array(items) => toml::Value::Array(items.iter().map(|v| self.value(v)).collect::<Result<_, _>>()?),
            DeValue::Table(table) => {
                let items = table.iter().map(|(k, v)| Ok((k.get_ref().to_string(), self.value(v)?)));
                toml::Value::Table(items.collect::<Result<_, _>>()?)
            }
            DeValue::Boolean(truth) => toml::Value::Boolean(*truth),
            other => {
                let parsed = other.as_integer().and_then(|i| i64::from_str_radix(i.as_str(), i.radix()).ok());
                let what = || self.error(value.span(), "dates and fractions are not used here".to_owned(), None);
                toml::Value::Integer(parsed.ok_or_else(what)?)
            }
        })
    }

    fn expand(&self, text: &str, span: Range<usize>) -> Result<String, ConfigError> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let end = rest[at..].find('}').map(|end| at + end);
            let end = end.ok_or_else(|| self.error(span.clone(), "${ has no closing }".to_owned(), None))?;
            let name = &rest[at + 2..end];
            let value = (self.variable)(name).ok_or_else(|| {
                self.error(
                    span.clone(),
                    format!("neither the environment nor env_file has {name}"),
                    Some(format!("set {name}, or name a file that sets it: env_file = \".env\"")),
                )
            })?;
            expanded.push_str(&rest[..at]);
            expanded.push_str(&value);
            rest = &rest[end + 1..];
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn string(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<String, ConfigError> {
        match value.get_ref() {
            DeValue::String(text) => self.expand(text, value.span()),
            _ => Err(self.error(value.span(), format!("{key} is not text"), Some(format!("write {key} = \"…\"")))),
        }
    }

    fn name(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Name, ConfigError> {
        self.string(key, value)?.parse().map_err(|error| self.error(value.span(), format!("{key}: {error}"), None))
    }

    /// A vault that is a relative path lies beside the configuration.
    fn location(&self, location: String) -> String {
        if location.contains("://") || Path::new(&location).is_absolute() {
            return location;
        }
        self.folder().join(location).to_string_lossy().into_owned()
    }

    fn unknown(&self, key: &str, span: Range<usize>, known: &[&str]) -> ConfigError {
        let hint = match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("known keys are {}", known.join(", ")),
        };
        self.error(span, format!("unknown key {key}"), Some(hint))
    }

    fn error(&self, span: Range<usize>, what: String, hint: Option<String>) -> ConfigError {
        self.error_at(self.line(span), what, hint)
    }

    fn error_at(&self, line: usize, what: String, hint: Option<String>) -> ConfigError {
        ConfigError { file: self.file.to_owned(), line, what, hint }
    }

    fn line(&self, span: Range<usize>) -> usize {
        self.text[..span.start.min(self.text.len())].matches('\n').count() + 1
    }
}

type Spanned<T> = toml::Spanned<T>;
