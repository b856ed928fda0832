//! Which schemas are captured, and the rows of which tables.

use std::collections::BTreeSet;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::engine::postgres::layout::Qualified;
use crate::source::ConfigError;
use crate::source::settings::Settings;

/// What the configuration says; an absent list says nothing.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub schemas: Option<Patterns>,
    pub exclude_schemas: Option<Patterns>,
    pub tables: Option<Patterns>,
    pub exclude_tables: Option<Patterns>,
}

/// Patterns of names, as they are written too.
#[derive(Debug)]
pub(super) struct Patterns {
    globs: GlobSet,
    texts: Vec<String>,
}

impl Patterns {
    fn is_match(&self, name: impl AsRef<Path>) -> bool {
        self.globs.is_match(name)
    }

    /// Those that fit none of these names.
    fn idle(&self, names: impl Iterator<Item = String>) -> Vec<&str> {
        let mut used = BTreeSet::new();
        names.for_each(|name| used.extend(self.globs.matches(name)));
        let idle = self.texts.iter().enumerate().filter(|(at, _)| !used.contains(at));
        idle.map(|(_, text)| text.as_str()).collect()
    }
}

impl Selection {
    /// The patterns that name a schema or a table of which there is none, each with its key. Those that leave something out
    /// may name what is not there.
    pub fn idle(&self, schemas: &[String], tables: &[Qualified]) -> Vec<(&'static str, &str)> {
        let names = tables.iter().flat_map(written);
        let mut idle = named(self.schemas.as_ref(), "schemas", schemas.iter().cloned());
        idle.extend(named(self.tables.as_ref(), "tables", names));
        idle
    }

    /// Is this schema captured, with all that is defined in it?
    pub fn has_schema(&self, schema: &str) -> bool {
        self.schemas.as_ref().is_none_or(|globs| globs.is_match(schema))
            && !self.exclude_schemas.as_ref().is_some_and(|globs| globs.is_match(schema))
    }

    /// Are the rows of this table captured? Its definition is, with its schema.
    pub fn has_rows(&self, table: &Qualified) -> bool {
        let named = |globs: &Patterns| written(table).iter().any(|name| globs.is_match(name));
        self.has_schema(&table.schema)
            && self.tables.as_ref().is_none_or(named)
            && !self.exclude_tables.as_ref().is_some_and(named)
    }

    /// Everything there is?
    pub fn has_everything(&self) -> bool {
        self.has_every_schema() && self.tables.is_none() && self.exclude_tables.is_none()
    }

    /// Every schema there is?
    pub fn has_every_schema(&self) -> bool {
        self.schemas.is_none() && self.exclude_schemas.is_none()
    }
}

/// How a table is written in patterns: without its schema, or with it, whether quotes are needed or not.
fn written(table: &Qualified) -> [String; 3] {
    [table.name.clone(), table.shown(), format!("{}.{}", table.schema, table.name)]
}

fn named<'p>(
    patterns: Option<&'p Patterns>,
    key: &'static str,
    names: impl Iterator<Item = String>,
) -> Vec<(&'static str, &'p str)> {
    let idle = patterns.map(|patterns| patterns.idle(names)).unwrap_or_default();
    idle.into_iter().map(|text| (key, text)).collect()
}

/// The patterns under a key. A pattern without a dot is of names in any schema.
pub(super) fn globs(key: &'static str, settings: &Settings<'_>) -> Result<Option<Patterns>, ConfigError> {
    let patterns = settings.texts(key)?;
    if patterns.is_empty() {
        return Ok(None);
    }
    let wrong = |error: globset::Error| ConfigError::Value { key, problem: error.to_string() };
    let mut globs = GlobSetBuilder::new();
    for pattern in &patterns {
        globs.add(GlobBuilder::new(pattern).literal_separator(false).build().map_err(wrong)?);
    }
    Ok(Some(Patterns { globs: globs.build().map_err(wrong)?, texts: patterns }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(table: &str) -> Selection {
        let table: toml::Table = table.parse().unwrap();
        let settings = Settings::new(&table, &["schemas", "exclude_schemas", "tables", "exclude_tables"]).unwrap();
        let globs = |key| globs(key, &settings).unwrap();
        Selection {
            schemas: globs("schemas"),
            exclude_schemas: globs("exclude_schemas"),
            tables: globs("tables"),
            exclude_tables: globs("exclude_tables"),
        }
    }

    fn has(selection: &Selection, schema: &str, name: &str) -> bool {
        selection.has_rows(&Qualified { schema: schema.into(), name: name.into() })
    }

    #[test]
    fn schemas_are_chosen_first_and_tables_in_them_by_either_name() {
        let all = selection("");
        assert!(all.has_every_schema() && has(&all, "public", "t"));
        let some =
            selection("schemas = ['app*']\nexclude_schemas = ['app_old']\nexclude_tables = ['log_*', 'app.cache']");
        assert!(has(&some, "app", "users") && has(&some, "app2", "cache") && !some.has_every_schema());
        for (schema, name) in [("public", "users"), ("app_old", "users"), ("app", "log_1"), ("app", "cache")] {
            assert!(!has(&some, schema, name), "{schema}.{name}");
        }
        let few = selection("tables = ['public.users', 'posts']");
        assert!(has(&few, "public", "users") && has(&few, "x", "posts") && !has(&few, "x", "users"));
        assert!(few.has_schema("x"));
        let tables = [Qualified { schema: "public".into(), name: "users".into() }];
        assert_eq!(few.idle(&["public".to_owned()], &tables), [("tables", "posts")]);
        assert_eq!(some.idle(&["public".to_owned()], &tables), [("schemas", "app*")]);
    }
}
