//! `env_file`: files of `NAME=VALUE` lines that variables are looked up in when the environment has none.
//!
//! Reads the lines as docker compose and most frameworks do: comments, `export`, quotes, and `${NAME}` within a value that
//! is not in single quotes. Never runs anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::ops::config::{ConfigError, Reader};

/// The files that `env_file` names, which is all that is looked at: what else is wrong is told by whoever reads on.
pub fn env_files(text: &str, file: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let reader = Reader { text, file, variable: &|_| None };
    let Ok(document) = DeTable::parse(text) else { return Ok(Vec::new()) };
    let named = document.get_ref().iter().find(|(key, _)| key.get_ref() == "env_file");
    let Some((_, value)) = named else { return Ok(Vec::new()) };
    let wrong = || {
        let hint = Some("write env_file = \".env\", or a list of files".to_owned());
        reader.error(value.span(), "env_file is not text and no list of texts".to_owned(), hint)
    };
    let names: Vec<String> = match value.get_ref() {
        toml::de::DeValue::String(name) => vec![name.to_string()],
        toml::de::DeValue::Array(items) => {
            let name = |item: &toml::Spanned<toml::de::DeValue<'_>>| item.get_ref().as_str().map(str::to_owned);
            items.iter().map(name).collect::<Option<_>>().ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    Ok(names.iter().map(|name| reader.folder().join(name)).collect())
}

/// What the texts of such files say. The first one that has a name has it; `environment` has those of values within values.
pub fn variables(texts: &[String], environment: &dyn Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for text in texts {
        let mut own: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in text.lines().filter_map(line) {
            let value = match value {
                Value::Plain(value) => value,
                Value::Expanded(value) => {
                    expanded(&value, &|name| environment(name).or_else(|| own.get(name).cloned()))
                }
            };
            own.insert(name, value);
        }
        for (name, value) in own {
            found.entry(name).or_insert(value);
        }
    }
    found
}

/// A value as it stands, or with variables in it.
enum Value {
    Plain(String),
    Expanded(String),
}

fn line(line: &str) -> Option<(String, Value)> {
    let line = line.trim();
    let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
    let name = name.trim();
    let is_name = !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    let value = value.trim();
    let value = match value.chars().next() {
        Some('\'') => Value::Plain(value[1..].split('\'').next().unwrap_or_default().to_owned()),
        Some('"') => Value::Expanded(double_quoted(&value[1..])),
        _ => Value::Expanded(value.split(" #").next().unwrap_or_default().trim_end().to_owned()),
    };
    is_name.then(|| (name.to_owned(), value))
}

/// Up to the closing quote; what is escaped stands for itself, and `\n` for a line end.
fn double_quoted(text: &str) -> String {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => match letters.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            _ => out.push(letter),
        }
    }
    out
}

/// With `${NAME}` replaced; a name that nobody knows stays as it stands.
fn expanded(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let value = after.split_once('}').and_then(|(name, rest)| Some((variable(name)?, rest)));
        match value {
            Some((value, after)) => {
                out.push_str(&value);
                rest = after;
            }
            None => {
                out.push_str("${");
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_an_environment_file_are_read_as_compose_reads_them() {
        let text = "# no\nexport A=1\nB=\"two # \\\"words\\\"\"\nC='${A} as it is'\nD=x${A}${HOME}${NONE} # why\n not a line\nE=\n";
        let found =
            variables(&[text.to_owned(), "A=later\nF=f".to_owned()], &|name| (name == "HOME").then(|| "/h".to_owned()));
        let expected =
            [("A", "1"), ("B", "two # \"words\""), ("C", "${A} as it is"), ("D", "x1/h${NONE}"), ("E", ""), ("F", "f")];
        let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_files_are_named_from_where_the_configuration_lies() {
        let files = |text: &str| env_files(text, Path::new("/app/strongroom.toml"));
        assert_eq!(files("env_file = '.env'").unwrap(), [PathBuf::from("/app/.env")]);
        assert_eq!(files("env_file = ['.env', '/etc/x']").unwrap(), ["/app/.env", "/etc/x"].map(PathBuf::from));
        assert!(files("app = 'x'").unwrap().is_empty() && files("env_file = 7").is_err());
    }
}
