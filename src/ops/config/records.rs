//! What a configuration says of records: `[entity.NAME]`, `[[relation]]`, `[[rename]]`.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use crate::base::name::Name;
use crate::base::record::{OnDelete, name};
use crate::ops::config::{Config, ConfigError, Reader, Spanned};
use crate::record::model::{Columns, Entity, Linked, Relation, Rename};

const ENTITY: [&str; 5] = ["source", "table", "key", "files", "immutable"];
const RELATION: [&str; 4] = ["from", "to", "when", "on_delete"];
const RENAME: [&str; 2] = ["from", "to"];

impl Reader<'_> {
    pub(super) fn entities(&self, value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<String, Entity>, ConfigError> {
        let tables = self.table(value, "entity is not a table; write [entity.NAME]")?;
        let one = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            Ok((name.to_string(), self.entity(name, value)?))
        };
        tables.iter().map(one).collect()
    }

    fn entity(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<Entity, ConfigError> {
        let table = self.table(value, &format!("entity.{name} is not a table"))?;
        let (mut source, mut of) = (None, None);
        let (mut key, mut files, mut immutable) = (Vec::new(), Vec::new(), Vec::new());
        for (word, value) in table {
            match word.get_ref().as_ref() {
                "source" => source = Some(self.name("source", value)?),
                "table" => of = Some(self.string("table", value)?),
                "key" => key = self.words("key", value)?,
                "immutable" => immutable = self.words("immutable", value)?,
                "files" => files = self.linked(value)?,
                unknown => return Err(self.unknown(unknown, word.span(), &ENTITY)),
            }
        }
        let missing = |what: &str| {
            let hint = Some(format!("write {what} = \"…\" below [entity.{name}]"));
            self.error(value.span(), format!("entity.{name} has no {what}"), hint)
        };
        let source = source.ok_or_else(|| missing("source"))?;
        Ok(Entity { source, table: of.ok_or_else(|| missing("table"))?, key, files, immutable })
    }

    fn linked(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<Linked>, ConfigError> {
        let mut files = Vec::new();
        for item in self.array("files", value)? {
            let table = self.table(item, "files holds tables: { source = \"…\", path = \"{id}/**\" }")?;
            let (mut source, mut path) = (None, None);
            for (word, value) in table {
                match word.get_ref().as_ref() {
                    "source" => source = Some(self.name("source", value)?),
                    "path" => path = Some(self.string("path", value)?),
                    unknown => return Err(self.unknown(unknown, word.span(), &["source", "path"])),
                }
            }
            let (Some(source), Some(path)) = (source, path) else {
                let hint = Some("write { source = \"documents\", path = \"{id}/**\" }".to_owned());
                return Err(self.error(item.span(), "files wants a source and a path".to_owned(), hint));
            };
            files.push(Linked { source, path });
        }
        Ok(files)
    }

    pub(super) fn relations(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<Relation>, ConfigError> {
        self.array("relation", value)?.iter().map(|item| self.relation(item)).collect()
    }

    fn relation(&self, item: &Spanned<DeValue<'_>>) -> Result<Relation, ConfigError> {
        let table = self.table(item, "relation is not a list of tables; write [[relation]]")?;
        let (mut from, mut to, mut when, mut on_delete) = (None, None, Vec::new(), OnDelete::Cascade);
        for (word, value) in table {
            match word.get_ref().as_ref() {
                "from" => from = Some(self.columns("from", value)?),
                "to" => to = Some(self.columns("to", value)?),
                "when" => when = self.when(value)?,
                "on_delete" => on_delete = self.on_delete(value)?,
                unknown => return Err(self.unknown(unknown, word.span(), &RELATION)),
            }
        }
        let hint = || Some("write from = \"db.comments.project_ref\" and to = \"db.projects.id\"".to_owned());
        let (Some((source, from)), Some((other, to))) = (from, to) else {
            return Err(self.error(item.span(), "relation wants from and to".to_owned(), hint()));
        };
        if from.columns.len() != to.columns.len() {
            return Err(self.error(item.span(), "from and to have as many columns as each other".to_owned(), hint()));
        }
        let to_source = Some(other).filter(|other| *other != source);
        Ok(Relation { source, to_source, from, to, when, on_delete })
    }

    fn when(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<(String, String)>, ConfigError> {
        let table = self.table(value, "when is not a table; write when = { type = \"Project\" }")?;
        table.iter().map(|(word, value)| Ok((word.get_ref().to_string(), self.string("when", value)?))).collect()
    }

    fn on_delete(&self, value: &Spanned<DeValue<'_>>) -> Result<OnDelete, ConfigError> {
        match self.string("on_delete", value)?.as_str() {
            "cascade" => Ok(OnDelete::Cascade),
            "restrict" => Ok(OnDelete::Restrict),
            "set-null" => Ok(OnDelete::SetNull),
            other => {
                let hint = Some("it is cascade, restrict or set-null".to_owned());
                Err(self.error(value.span(), format!("on_delete: {other:?} is not known"), hint))
            }
        }
    }

    /// `SOURCE.TABLE.COLUMN`, or a list of them, all of one table.
    fn columns(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<(Name, Columns), ConfigError> {
        let mut found: Option<(Name, Columns)> = None;
        for text in self.words(key, value)? {
            let wrong = |what: String| self.error(value.span(), what, Some("write SOURCE.TABLE.COLUMN".to_owned()));
            let parts = name::parts(&text);
            let [source, table @ .., column] = &parts[..] else {
                return Err(wrong(format!("{key}: {text:?} is not a column of a table of a source")));
            };
            let table = name::written(table);
            if table.is_empty() {
                return Err(wrong(format!("{key}: {text:?} is not a column of a table of a source")));
            }
            let source: Name = source.parse().map_err(|error| wrong(format!("{key}: {error}")))?;
            match &mut found {
                None => {
                    found = Some((source, Columns { table, columns: vec![column.clone()] }));
                }
                Some((same, columns)) if *same == source && columns.table == table => {
                    columns.columns.push(column.clone());
                }
                Some(_) => return Err(wrong(format!("{key}: its columns are of several tables"))),
            }
        }
        found.ok_or_else(|| self.error(value.span(), format!("{key} names no column"), None))
    }

    pub(super) fn renames(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<Rename>, ConfigError> {
        self.array("rename", value)?.iter().map(|item| self.rename(item)).collect()
    }

    fn rename(&self, item: &Spanned<DeValue<'_>>) -> Result<Rename, ConfigError> {
        let table = self.table(item, "rename is not a list of tables; write [[rename]]")?;
        let (mut from, mut to) = (None, None);
        for (word, value) in table {
            match word.get_ref().as_ref() {
                "from" => from = Some(self.string("from", value)?),
                "to" => to = Some(self.string("to", value)?),
                unknown => return Err(self.unknown(unknown, word.span(), &RENAME)),
            }
        }
        let wrong = || {
            let hint = "write from = \"db.projects.title\" and to = \"name\"; for a table, from = \"db.projects\"";
            self.error(item.span(), "rename wants from and to".to_owned(), Some(hint.to_owned()))
        };
        let (Some(from), Some(now)) = (from, to) else { return Err(wrong()) };
        let parts = name::parts(&from);
        let (source, table, column) = match &parts[..] {
            [source, table] => (source, name::part(table).into_owned(), None),
            [source, table @ .., column] if !table.is_empty() => (source, name::written(table), Some(column.clone())),
            _ => return Err(wrong()),
        };
        let source = source.parse().map_err(|_| wrong())?;
        Ok(Rename { source, table, column, now })
    }

    /// Whatever is said of records is said of sources that there are.
    pub(super) fn sources_exist(&self, document: &DeTable<'_>, config: &Config) -> Result<(), ConfigError> {
        let model = &config.model;
        let entities = model.entities.values().flat_map(|entity| {
            std::iter::once(("entity", &entity.source))
                .chain(entity.files.iter().map(|linked| ("entity", &linked.source)))
        });
        let relations =
            model.relations.iter().flat_map(|one| [("relation", &one.source), ("relation", one.to_source())]);
        let renames = model.renames.iter().map(|rename| ("rename", &rename.source));
        for (key, source) in entities.chain(relations).chain(renames) {
            if config.sources.iter().any(|planned| planned.name == *source) {
                continue;
            }
            let span = document.iter().find(|(word, _)| word.get_ref() == key).map_or(0..0, |(word, _)| word.span());
            let hint = Some(format!("describe it in [source.{source}]"));
            return Err(self.error(span, format!("{key}: there is no source {source}"), hint));
        }
        Ok(())
    }

    fn table<'v, 'd>(&self, value: &'v Spanned<DeValue<'d>>, what: &str) -> Result<&'v DeTable<'d>, ConfigError> {
        value.get_ref().as_table().ok_or_else(|| self.error(value.span(), what.to_owned(), None))
    }

    fn array<'v, 'd>(
        &self,
        key: &str,
        value: &'v Spanned<DeValue<'d>>,
    ) -> Result<&'v [Spanned<DeValue<'d>>], ConfigError> {
        let what = || self.error(value.span(), format!("{key} is not a list"), None);
        value.get_ref().as_array().map(|items| &items[..]).ok_or_else(what)
    }

    /// One word, or a list of words.
    fn words(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, ConfigError> {
        match value.get_ref() {
            DeValue::Array(items) => items.iter().map(|item| self.string(key, item)).collect(),
            _ => Ok(vec![self.string(key, value)?]),
        }
    }
}
