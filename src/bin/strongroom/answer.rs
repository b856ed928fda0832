//! The answer to a question, written as it comes: as a table, CSV, Markdown or JSON.
//!
//! Never holds more than the first rows, by which a table's columns get their widths.

mod cells;
mod table;

use std::io::{self, Write};

use strongroom::base::text::csv_text;
use strongroom::engine::sqlite::ask::{Cell, Rows};

use crate::terminal::json;
use table::Table;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for reading; what does not fit is cut and ends with …
    Table,
    /// RFC 4180, with a header
    Csv,
    /// One document; see docs/scripting.md
    Json,
    /// A table for documents
    Markdown,
}

/// Writes one answer.
pub struct Answer<'w> {
    out: &'w mut dyn Write,
    format: Format,
    /// What the JSON document begins with: members of an object, each followed by a comma.
    head: String,
    columns: usize,
    table: Option<Table>,
    rows: u64,
    /// Cells of a table that were cut.
    pub cut: u64,
}

impl<'w> Answer<'w> {
    /// `width` bounds the lines of a table; `head` goes into the JSON document.
    pub fn new(out: &'w mut dyn Write, format: Format, width: usize, head: &serde_json::Value) -> Self {
        let table = (format == Format::Table).then(|| Table::new(width));
        let members = head.as_object().into_iter().flatten();
        let head = members.map(|(name, value)| format!("\"{name}\":{value},")).collect();
        Self { out, format, head, columns: 0, table, rows: 0, cut: 0 }
    }

    /// Writes what is left.
    pub fn finish(&mut self) -> io::Result<()> {
        match (self.format, &mut self.table) {
            (Format::Json, _) => writeln!(self.out, "\n]}}")?,
            (_, Some(table)) => {
                table.flush(self.out)?;
                self.cut = table.cut;
            }
            _ => {}
        }
        self.out.flush()
    }

    fn line<T: AsRef<[u8]>>(
        &mut self,
        cells: impl Iterator<Item = T>,
        start: &str,
        between: &str,
        end: &str,
    ) -> io::Result<()> {
        self.out.write_all(start.as_bytes())?;
        for (at, cell) in cells.enumerate() {
            let between = if at == 0 { "" } else { between };
            self.out.write_all(between.as_bytes())?;
            self.out.write_all(cell.as_ref())?;
        }
        self.out.write_all(end.as_bytes())
    }
}

impl Rows for Answer<'_> {
    fn columns(&mut self, names: &[String]) -> io::Result<()> {
        self.columns = names.len();
        match self.format {
            Format::Table => self.table.as_mut().expect("BUG: made with the format").head(names),
            Format::Csv => self.line(names.iter().map(|name| csv_text(name.as_bytes())), "", ",", "\r\n")?,
            Format::Markdown => {
                self.line(names.iter().map(|name| cells::markdown_text(name)), "| ", " | ", " |\n")?;
                self.line(names.iter().map(|_| "---".to_owned()), "| ", " | ", " |\n")?;
            }
            Format::Json => {
                let names = serde_json::Value::from(names.to_vec());
                let head = format!("{{{}\"columns\":{names},\"rows\":[", self.head);
                self.out.write_all(json(&head).as_bytes())?;
            }
        }
        Ok(())
    }

    fn row(&mut self, row: &[Cell<'_>]) -> io::Result<()> {
        self.rows += 1;
        match self.format {
            Format::Table => self.table.as_mut().expect("BUG: made with the format").row(row, self.out),
            Format::Csv => self.line(row.iter().map(cells::csv), "", ",", "\r\n"),
            Format::Markdown => self.line(row.iter().map(cells::markdown), "| ", " | ", " |\n"),
            Format::Json => {
                let start = if self.rows == 1 { "\n[" } else { ",\n[" };
                self.line(row.iter().map(cells::json), start, ",", "]")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, width: usize, rows: &[&[Cell<'_>]]) -> (String, u64) {
        let mut out = Vec::new();
        let head = serde_json::json!({ "snapshot": "12ab" });
        let mut answer = Answer::new(&mut out, format, width, &head);
        answer.columns(&["id".to_owned(), "a,\"b\"|c".to_owned()]).unwrap();
        rows.iter().for_each(|row| answer.row(row).unwrap());
        answer.finish().unwrap();
        let cut = answer.cut;
        (String::from_utf8(out).unwrap(), cut)
    }

    const ROWS: [&[Cell<'_>]; 4] = [
        &[Cell::Integer(7), Cell::Text(b"one, \"two\"\nand | three\x1b[2J")],
        &[Cell::Real(1.5), Cell::Null],
        &[Cell::Real(f64::INFINITY), Cell::Text(b"")],
        &[Cell::Integer(i64::MIN), Cell::Blob(&[0, 255])],
    ];

    #[test]
    fn csv_is_as_rfc_4180_has_it() {
        let expected = "id,\"a,\"\"b\"\"|c\"\r\n7,\"one, \"\"two\"\"\nand | three\u{1b}[2J\"\r\n1.5,\r\nInf,\"\"\r\n\
                        -9223372036854775808,x'00ff'\r\n";
        assert_eq!(written(Format::Csv, 80, &ROWS).0, expected);
    }

    #[test]
    fn json_is_one_document_that_tells_texts_from_blobs() {
        let text = written(Format::Json, 80, &ROWS).0;
        let document: serde_json::Value = serde_json::from_str(&text.replace("9.0e999", "1")).unwrap();
        assert_eq!(document["snapshot"], "12ab");
        assert_eq!(document["columns"][1], "a,\"b\"|c");
        assert_eq!(document["rows"][0][1], "one, \"two\"\nand | three\u{1b}[2J");
        assert_eq!(document["rows"][1], serde_json::json!([1.5, null]));
        assert_eq!(document["rows"][3], serde_json::json!([i64::MIN, { "base64": "AP8=" }]));
        assert!(text.contains("[9.0e999,\"\"]"));
        let none: serde_json::Value = serde_json::from_str(&written(Format::Json, 80, &[]).0).unwrap();
        assert_eq!(none["rows"], serde_json::json!([]));
    }

    #[test]
    fn markdown_keeps_each_row_on_a_line_of_cells() {
        let text = written(Format::Markdown, 80, &ROWS).0;
        assert_eq!(text.lines().count(), 6, "{text}");
        assert!(text.lines().nth(2).unwrap().starts_with("| 7 | one, \"two\"<br>and \\| three\\u{1b}[2J |"), "{text}");
    }

    #[test]
    fn a_table_is_aligned_and_fits_its_width() {
        let text = written(Format::Table, 80, &ROWS).0;
        let expected = "                    id  a,\"b\"|c\n                     7  one, \"two\"\\nand | three\\u{1b}[2J\n\
                        \x20                  1.5  NULL\n                   Inf  \n  -9223372036854775808  x'00ff'\n";
        assert_eq!(text, expected.replace("Inf  \n", "Inf\n"));
        let long = "x".repeat(300);
        let row: &[Cell<'_>] = &[Cell::Integer(1), Cell::Text(long.as_bytes())];
        let (text, cut) = written(Format::Table, 40, &[row, row]);
        assert!(text.lines().all(|line| line.chars().count() <= 40) && text.contains('…'), "{text}");
        assert_eq!(cut, 2);
    }
}
