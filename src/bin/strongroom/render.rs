//! Tables and times as people read them: two spaces of margin, columns aligned, no lines drawn.

use std::io::IsTerminal;

use jiff::Zoned;
use strongroom::base::time::Instant;

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
        self.rows.push(cells);
    }

    pub fn render(&self) -> String {
        let width = |column: usize| self.rows.iter().map(|row| row.get(column).map_or(0, |c| c.chars().count())).max();
        let widths: Vec<usize> = (0..self.leans.len()).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::from(" ");
            for (column, cell) in row.iter().enumerate().filter(|(column, _)| widths[*column] > 0) {
                let pad = " ".repeat(widths[column] - cell.chars().count());
                line.push(' ');
                match self.leans[column] {
                    Lean::Left => line.push_str(&format!("{cell}{pad} ")),
                    Lean::Right => line.push_str(&format!("{pad}{cell} ")),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// So many letters fit on a line of the terminal, or of whatever stands in for one.
pub fn width() -> usize {
    let columns = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| size.ws_col);
    if columns == 0 { 80 } else { usize::from(columns).max(40) }
}

/// A line broken between words where it is too long, the rest of it further in.
pub fn wrapped(line: &str, width: usize) -> String {
    let start = line.len() - line.trim_start().len();
    let inner = start + 4;
    let (mut text, mut used) = (line[..start].to_owned(), start);
    for (at, word) in line[start..].split(' ').enumerate() {
        let length = word.chars().count();
        if at > 0 && used + 1 + length > width && used > inner {
            text = format!("{}\n{}", text.trim_end(), " ".repeat(inner));
            used = inner;
        } else if at > 0 {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += length;
    }
    text
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

/// Colours mean: green is safe, yellow wants a look, red is lost. Only on a terminal, and never with NO_COLOR.
#[derive(Clone, Copy)]
pub enum Tone {
    Safe,
    Look,
    Lost,
}

pub fn paint(tone: Tone, text: &str) -> String {
    let plain = !std::io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Safe => 32,
        Tone::Look => 33,
        Tone::Lost => 31,
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn a_long_line_is_broken_between_words_and_goes_on_further_in() {
        assert_eq!(wrapped("  projects 7  for links", 80), "  projects 7  for links");
        assert_eq!(wrapped("note: one two three four", 14), "note: one two\n    three four");
        assert_eq!(wrapped("  a-word-that-no-line-holds", 10), "  a-word-that-no-line-holds");
    }
}
