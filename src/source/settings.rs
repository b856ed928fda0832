//! Reads the configuration table of one source, key by key.
//!
//! Owns the refusal of unknown keys and of values of the wrong type. Never reads a file or the environment.

use toml::{Table, Value};

use crate::base::text;
use crate::source::ConfigError;

/// A table all of whose keys are known.
pub struct Settings<'a>(&'a Table);

impl<'a> Settings<'a> {
    /// Refuses a table with a key that is not in `known`. `kind` is always known.
    pub fn new(table: &'a Table, known: &[&'static str]) -> Result<Self, ConfigError> {
        for key in table.keys() {
            if key != "kind" && !known.contains(&key.as_str()) {
                let nearest = text::nearest(key, known.iter().copied());
                return Err(ConfigError::UnknownKey { key: key.clone(), nearest });
            }
        }
        Ok(Self(table))
    }

    /// The text under `key`, which must be there.
    pub fn text(&self, key: &'static str) -> Result<&'a str, ConfigError> {
        match self.0.get(key) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(ConfigError::Type { key: key.to_owned(), expected: "a text in quotes" }),
            None => Err(ConfigError::Missing { key }),
        }
    }

    /// The text under `key`, if it is there.
    pub fn optional(&self, key: &'static str) -> Result<Option<&'a str>, ConfigError> {
        self.0.contains_key(key).then(|| self.text(key)).transpose()
    }

    /// The list of texts under `key`; none when it is absent.
    pub fn texts(&self, key: &'static str) -> Result<Vec<String>, ConfigError> {
        let wrong = || ConfigError::Type { key: key.to_owned(), expected: "a list of texts" };
        match self.0.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => {
                values.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    /// The switch under `key`; off when it is absent.
    pub fn flag(&self, key: &'static str) -> Result<bool, ConfigError> {
        match self.0.get(key) {
            None => Ok(false),
            Some(Value::Boolean(flag)) => Ok(*flag),
            Some(_) => Err(ConfigError::Type { key: key.to_owned(), expected: "true or false" }),
        }
    }
}
