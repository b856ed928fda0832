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

    /// Is there anything under `key`?
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
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
        Ok(self.optional_flag(key)?.unwrap_or(false))
    }

    /// The switch under `key`, if it is there.
    pub fn optional_flag(&self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Boolean(flag)) => Ok(Some(*flag)),
            Some(_) => Err(ConfigError::Type { key: key.to_owned(), expected: "true or false" }),
        }
    }

    /// The whole number under `key`, if it is there.
    pub fn number(&self, key: &'static str) -> Result<Option<i64>, ConfigError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::Integer(number)) => Ok(Some(*number)),
            Some(_) => Err(ConfigError::Type { key: key.to_owned(), expected: "a whole number" }),
        }
    }
}
