//! A table whose columns get their widths from the first rows, and are made to fit the line.

use std::io::{self, Write};

use strongroom::engine::sqlite::ask::Cell;

use super::cells;

/// So many rows, or so many bytes of them, are looked at before the widths are settled.
const ROWS: usize = 500;
const BYTES: usize = 1 << 20;
/// No column is made narrower than this for others to fit.
const NARROW: usize = 8;
/// No cell is longer in memory than this; more does not fit any line.
const LONGEST: usize = 4 << 10;

pub struct Table {
    width: usize,
    waiting: Vec<Vec<String>>,
    bytes: usize,
    /// Which columns hold nothing but numbers.
    numbers: Vec<bool>,
    widths: Option<Vec<usize>>,
    pub cut: u64,
}

impl Table {
    pub fn new(width: usize) -> Self {
        Self { width, waiting: Vec::new(), bytes: 0, numbers: Vec::new(), widths: None, cut: 0 }
    }

    pub fn head(&mut self, names: &[String]) {
        self.numbers = vec![true; names.len()];
        self.waiting.push(names.iter().map(|name| cells::plain(&Cell::Text(name.as_bytes()))).collect());
    }

    pub fn row(&mut self, row: &[Cell<'_>], out: &mut dyn Write) -> io::Result<()> {
        if self.widths.is_none() {
            for (cell, number) in row.iter().zip(&mut self.numbers) {
                *number &= matches!(cell, Cell::Integer(_) | Cell::Real(_) | Cell::Null);
            }
        }
        let cells: Vec<String> = row.iter().map(shortened).collect();
        self.bytes += cells.iter().map(String::len).sum::<usize>();
        self.waiting.push(cells);
        if self.widths.is_some() || self.waiting.len() > ROWS || self.bytes > BYTES { self.flush(out) } else { Ok(()) }
    }

    /// Writes what is waiting, in widths that are settled by now.
    pub fn flush(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let widths = match self.widths.take() {
            Some(widths) => widths,
            None => self.settle(),
        };
        for row in std::mem::take(&mut self.waiting) {
            let mut line = String::new();
            for (at, cell) in row.iter().enumerate() {
                let (cell, room) = (self.fit(cell, widths[at]), widths[at]);
                let pad = " ".repeat(room.saturating_sub(cell.chars().count()));
                let (left, right) = if self.numbers[at] { (&*pad, "") } else { ("", &*pad) };
                line.push_str(&format!("  {left}{cell}{right}"));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        self.widths = Some(widths);
        Ok(())
    }

    fn fit(&mut self, cell: &str, room: usize) -> String {
        if cell.chars().count() <= room {
            return cell.to_owned();
        }
        self.cut += 1;
        cell.chars().take(room.saturating_sub(1)).chain(['…']).collect()
    }

    /// What every column needs; the widest give way until the line fits.
    fn settle(&self) -> Vec<usize> {
        let longest = |at: usize| self.waiting.iter().map(|row| row[at].chars().count()).max().unwrap_or(0).max(1);
        let mut widths: Vec<usize> = (0..self.numbers.len()).map(longest).collect();
        loop {
            let over = widths.iter().map(|width| width + 2).sum::<usize>().saturating_sub(self.width);
            let widest = (0..widths.len()).filter(|at| !self.numbers[*at]).max_by_key(|at| widths[*at]);
            match widest.filter(|at| over > 0 && widths[*at] > NARROW) {
                Some(at) => {
                    // Down to the next widest at once, and from there one letter after the other.
                    let next = (0..widths.len()).filter(|other| *other != at).map(|other| widths[other]).max();
                    let floor = next.unwrap_or(0).clamp(NARROW, widths[at] - 1);
                    widths[at] = widths[at].saturating_sub(over).max(floor);
                }
                None => return widths,
            }
        }
    }
}

fn shortened(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Blob(bytes) if bytes.len() > LONGEST => format!("x'{}…'", hex::encode(&bytes[..LONGEST])),
        Cell::Text(text) if text.len() > LONGEST => format!("{}…", cells::plain(&Cell::Text(&text[..LONGEST]))),
        cell => cells::plain(cell),
    }
}
