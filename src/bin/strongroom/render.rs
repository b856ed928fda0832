//! Tables and times as people read them: two spaces of margin, columns aligned, no lines drawn.

use jiff::Zoned;
use strongroom::base::time::Instant;

pub use crate::terminal::{Lines, Tone, paint, wrapped};
use crate::terminal::{safe, seen};

/// Which side a column leans to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lean {
    Left,
    Right,
}

/// Rows aligned in columns, two spaces apart.
pub struct Table {
    leans: Vec<Lean>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(leans: &[Lean]) -> Self {
        Self { leans: leans.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| safe(cell)).collect());
    }

    pub fn render(&self) -> Lines {
        let width = |column: usize| self.rows.iter().map(|row| row.get(column).map_or(0, |cell| seen(cell))).max();
        let widths: Vec<usize> = (0..self.leans.len()).map(|column| width(column).unwrap_or(0)).collect();
        let mut lines = Lines::new();
        for row in &self.rows {
            let mut line = String::from(" ");
            for (column, cell) in row.iter().enumerate().filter(|(column, _)| widths[*column] > 0) {
                let pad = " ".repeat(widths[column] - seen(cell));
                line.push(' ');
                match self.leans[column] {
                    Lean::Left => line.push_str(&format!("{cell}{pad} ")),
                    Lean::Right => line.push_str(&format!("{pad}{cell} ")),
                }
            }
            lines.push(line.trim_end());
        }
        lines
    }
}

/// So many letters fit on a line of the terminal, or of whatever stands in for one.
pub fn width() -> usize {
    let columns = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| size.ws_col);
    if columns == 0 { 80 } else { usize::from(columns).max(40) }
}

/// `2026-11-21 02:00:04`, in the local zone.
pub fn local(time: Instant) -> String {
    zoned(time).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `2026-11-21 02:00:04 CET`.
pub fn local_with_zone(time: Instant) -> String {
    zoned(time).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// The local zone's short name.
pub fn zone() -> String {
    Zoned::now().strftime("%Z").to_string()
}

fn zoned(time: Instant) -> Zoned {
    time.timestamp().to_zoned(jiff::tz::TimeZone::system())
}

/// `0.3 s`, `41 s`, `3 min 20 s`.
pub fn duration(milliseconds: u64) -> String {
    match milliseconds {
        0..=9_999 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        10_000..=99_999 => format!("{} s", milliseconds / 1000),
        _ => format!("{} min {} s", milliseconds / 60_000, milliseconds % 60_000 / 1000),
    }
}
