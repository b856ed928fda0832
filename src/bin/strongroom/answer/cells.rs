//! One value in each format.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use strongroom::base::text::{csv_text, printable};
use strongroom::engine::sqlite::ask::Cell;

/// For people: on one line, and nothing that a terminal obeys.
pub fn plain(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Text(text) => printable(&String::from_utf8_lossy(text)),
        other => bare(other),
    }
}

/// What is no text.
fn bare(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Null | Cell::Text(_) => String::new(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => real(*number),
        Cell::Blob(bytes) => format!("x'{}'", hex::encode(bytes)),
    }
}

pub fn csv(cell: &Cell<'_>) -> Vec<u8> {
    match cell {
        Cell::Text(text) => csv_text(text),
        other => bare(other).into_bytes(),
    }
}

pub fn markdown(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Text(text) => markdown_text(&String::from_utf8_lossy(text)),
        other => plain(other),
    }
}

pub fn markdown_text(text: &str) -> String {
    let lines = text.split('\n').map(|line| printable(line.trim_end_matches('\r')).replace('|', "\\|"));
    lines.collect::<Vec<_>>().join("<br>")
}

pub fn json(cell: &Cell<'_>) -> String {
    let base64 = |bytes: &[u8]| serde_json::json!({ "base64": STANDARD.encode(bytes) }).to_string();
    match cell {
        Cell::Null => "null".to_owned(),
        Cell::Integer(number) => number.to_string(),
        // As SQLite's own JSON has it: readers take it for what is beyond their numbers.
        Cell::Real(number) if number.is_infinite() => if *number > 0.0 { "9.0e999" } else { "-9.0e999" }.to_owned(),
        Cell::Real(number) => serde_json::Value::from(*number).to_string(),
        // Text that is none is told from what it might have been.
        Cell::Text(text) => match str::from_utf8(text) {
            Ok(text) => crate::terminal::json(&serde_json::Value::from(text).to_string()).into_owned(),
            Err(_) => base64(text),
        },
        Cell::Blob(bytes) => base64(bytes),
    }
}

/// As SQLite writes it: a whole number keeps its point.
fn real(number: f64) -> String {
    match number {
        _ if number.is_infinite() => if number > 0.0 { "Inf" } else { "-Inf" }.to_owned(),
        _ if number.abs() >= 1e15 || (number != 0.0 && number.abs() < 1e-4) => format!("{number:e}"),
        _ => format!("{number:?}"),
    }
}
