//! Values for the parameters of a statement, as people type them: `VALUE` for the next, or `NAME=VALUE`.
//!
//! What reads as a number and is written as one writes it is a number; everything else is text. SQLite compares both
//! with a column as the column has it, so `--bind 42` finds `'42'` in a column of text.

use rusqlite::Statement;
use rusqlite::types::Value;

use super::AskError;

/// Gives every parameter its value.
pub fn bind(statement: &mut Statement<'_>, values: &[String]) -> Result<(), AskError> {
    let count = statement.parameter_count();
    let names: Vec<Option<String>> = (1..=count).map(|at| statement.parameter_name(at).map(str::to_owned)).collect();
    let mut bound: Vec<Option<Value>> = vec![None; count];
    for text in values {
        let named = text.split_once('=').and_then(|(name, value)| Some((position(&names, name)?, value)));
        let next = bound.iter().position(Option::is_none);
        // Where parameters have names, a name that is mistyped is no value of another.
        if let (None, Some(next), Some((name, _))) = (&named, next, text.split_once('='))
            && is_named(&names[next])
            && is_a_name(name)
        {
            return Err(unknown(name, &names));
        }
        let (at, value) = match (named, next) {
            (Some(named), _) => named,
            (None, Some(next)) => (next, &**text),
            (None, None) => {
                let what = format!("there are more values than parameters, which are {count}");
                return Err(AskError::Parameters { what });
            }
        };
        bound[at] = Some(parse(value));
    }
    for (at, value) in bound.into_iter().enumerate() {
        let Some(value) = value else {
            let name = names[at].clone().unwrap_or_else(|| (at + 1).to_string());
            return Err(AskError::Parameters { what: format!("parameter {name} has no value") });
        };
        let failed = |error: rusqlite::Error| AskError::Parameters { what: error.to_string() };
        statement.raw_bind_parameter(at + 1, value).map_err(failed)?;
    }
    Ok(())
}

/// Is it one that has a name, and not only a place?
fn is_named(name: &Option<String>) -> bool {
    name.as_deref().is_some_and(|name| !name.starts_with('?'))
}

/// Could it be one?
fn is_a_name(text: &str) -> bool {
    let text = text.strip_prefix([':', '@', '$', '?']).unwrap_or(text);
    !text.is_empty() && text.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
}

fn unknown(name: &str, names: &[Option<String>]) -> AskError {
    let known: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
    AskError::Parameters { what: format!("the statement has no parameter {name}; it has {}", known.join(", ")) }
}

/// The parameter that is called so, with or without the sign it begins with.
fn position(names: &[Option<String>], name: &str) -> Option<usize> {
    names.iter().position(|known| {
        known.as_deref().is_some_and(|known| known == name || known.strip_prefix([':', '@', '$', '?']) == Some(name))
    })
}

fn parse(text: &str) -> Value {
    if let Some(number) = text.parse::<i64>().ok().filter(|number| number.to_string() == text) {
        return Value::Integer(number);
    }
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && number.to_string() == text);
    number.map_or_else(|| Value::Text(text.to_owned()), Value::Real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_as_a_number_is_one() {
        for (text, expected) in [
            ("42", Value::Integer(42)),
            ("-7", Value::Integer(-7)),
            ("1.5", Value::Real(1.5)),
            ("007", Value::Text("007".into())),
            ("1.50", Value::Text("1.50".into())),
            ("+1", Value::Text("+1".into())),
            ("inf", Value::Text("inf".into())),
            ("1e3", Value::Text("1e3".into())),
            ("99999999999999999999", Value::Text("99999999999999999999".into())),
            ("", Value::Text(String::new())),
        ] {
            let found = parse(text);
            // A number too long for an integer reads back as the same digits.
            if text == "99999999999999999999" && found == Value::Real(1e20) {
                panic!("{text} lost its last digits");
            }
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
