//! What reaches a terminal: lines that hold nothing a terminal obeys but this program's own colours.
//!
//! Names, labels, reasons, values and errors come out of snapshots, databases, servers and folders, and are not to be
//! trusted: an escape sequence could clear the screen, a line end could forge a line of this program. So nothing is
//! printed but [`Lines`], which escape whatever they are made of; JSON gets the escapes of JSON ([`json`]).

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::io::IsTerminal;
use std::sync::OnceLock;

use strongroom::base::text::{is_obeyed, printable};

/// Lines of text, each ready for a terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(Vec<Line>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    text: String,
    /// Part of it is to be pasted into a shell: that is not broken.
    is_command: bool,
}

impl Lines {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one line, whatever is in it.
    pub fn push(&mut self, line: &str) {
        self.0.push(Line { text: safe(line.strip_suffix('\n').unwrap_or(line)), is_command: false });
    }

    /// Adds a line that ends with a command to be pasted.
    pub fn push_command(&mut self, line: &str) {
        self.0.push(Line { text: safe(line), is_command: true });
    }

    /// Adds text that has lines of its own, such as a statement.
    pub fn push_text(&mut self, text: &str) {
        text.lines().for_each(|line| self.push(line));
    }

    pub fn append(&mut self, mut others: Lines) {
        self.0.append(&mut others.0);
    }

    /// As text; broken between words where a line of the terminal is shorter.
    pub fn render(&self, width: Option<usize>) -> String {
        let mut out = String::new();
        for line in &self.0 {
            match width {
                Some(width) if line.is_command => out.push_str(&coloured(&wrapped_before_command(&line.text, width))),
                Some(width) => out.push_str(&coloured(&wrapped(&line.text, width))),
                _ => out.push_str(&coloured(&line.text)),
            }
            out.push('\n');
        }
        out
    }
}

/// What can be printed: one line, or several.
pub trait Printed {
    fn printed(&self) -> Cow<'_, Lines>;
}

impl Printed for Lines {
    fn printed(&self) -> Cow<'_, Lines> {
        Cow::Borrowed(self)
    }
}

impl Printed for str {
    fn printed(&self) -> Cow<'_, Lines> {
        let mut lines = Lines::new();
        lines.push(self);
        Cow::Owned(lines)
    }
}

impl Printed for String {
    fn printed(&self) -> Cow<'_, Lines> {
        Printed::printed(self.as_str())
    }
}

/// On one line, and nothing in it that a terminal obeys, but the marks of [`paint`].
pub fn safe(text: &str) -> String {
    let mark = mark();
    text.split(mark).map(printable).collect::<Vec<_>>().join(mark)
}

/// A JSON document with what a terminal obeys as escapes of JSON. Between its texts is nothing of that sort but line ends.
pub fn json(text: &str) -> Cow<'_, str> {
    let is_plain = |letter: char| letter == '\n' || letter == '\r' || !is_obeyed(letter);
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match is_plain(letter) {
            true => out.push(letter),
            false => out.push_str(&format!("\\u{:04x}", letter as u32)),
        }
    }
    Cow::Owned(out)
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
        Tone::Safe => '2',
        Tone::Look => '3',
        Tone::Lost => '1',
    };
    let mark = mark();
    format!("{mark}{code}{text}{mark}0")
}

/// How many letters of a cell or line are seen.
pub fn seen(text: &str) -> usize {
    text.chars().count() - text.matches(mark()).count() * (mark().chars().count() + 1)
}

/// What stands for a change of colour until a line is printed. It is another one in every run, so that no name of a file
/// can hold it.
fn mark() -> &'static str {
    static MARK: OnceLock<String> = OnceLock::new();
    MARK.get_or_init(|| format!("\u{fdd0}{:016x}", RandomState::new().hash_one("mark")))
}

fn coloured(line: &str) -> String {
    let mut parts = line.split(mark());
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at(part.len().min(1));
        let code = if code == "0" { "0".to_owned() } else { format!("3{code}") };
        out.push_str(&format!("\u{1b}[{code}m{rest}"));
    }
    out
}

/// A line broken between words where it is too long, the rest of it further in.
pub fn wrapped(line: &str, width: usize) -> String {
    let start = line.len() - line.trim_start().len();
    let inner = start + 4;
    let (mut text, mut used) = (line[..start].to_owned(), start);
    for (at, word) in line[start..].split(' ').enumerate() {
        let length = seen(word);
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

/// Programs that a hint names.
const PROGRAMS: [&str; 2] = ["strongroom ", "chmod "];

/// The same of a line that may name a command: where it is too long, the command has a line of its own, and is not broken.
fn wrapped_before_command(line: &str, width: usize) -> String {
    if seen(line) <= width {
        return line.to_owned();
    }
    let begin = |program: &str| line.match_indices(program).map(|(at, _)| at).find(|at| line[..*at].ends_with(' '));
    match PROGRAMS.into_iter().filter_map(begin).min() {
        Some(at) => format!("{}\n    {}", wrapped(line[..at].trim_end(), width), &line[at..]),
        None => wrapped(line, width),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_terminal_obeys_gets_into_a_line_whatever_it_is_made_of() {
        let hostile = "a\u{1b}[2Jb\nerror: forged\r\u{9b}31m\u{202e}txt\u{2028}\u{7f}";
        let mut lines = Lines::new();
        lines.push(hostile);
        lines.push_command(hostile);
        lines.push_text("one\n\ttwo\u{1b}]0;title\u{7}");
        let text = lines.render(Some(20)) + &lines.render(None);
        assert!(text.chars().all(|letter| letter == '\n' || !is_obeyed(letter)), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("error:")), "{text}");
        assert_eq!(Printed::printed("one line\n").render(None), "one line\n");
        let document = serde_json::json!({ "host": hostile }).to_string();
        assert!(json(&document).chars().all(|letter| !is_obeyed(letter)));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json(&document)).unwrap()["host"], hostile);
    }

    #[test]
    fn a_hint_is_broken_between_words_and_the_command_in_it_not_at_all() {
        let of = |text: &str, width| {
            let mut lines = Lines::new();
            lines.push_command(text);
            lines.render(Some(width))
        };
        let hint = "hint: see which of them hold it with strongroom find 'a b c' 1234567890";
        assert_eq!(of(hint, 80), format!("{hint}\n"));
        assert_eq!(of(hint, 24), "hint: see which of them\n    hold it with\n    strongroom find 'a b c' 1234567890\n");
        assert_eq!(of("hint: it is a folder of strongrooms", 20), "hint: it is a folder\n    of strongrooms\n");
    }

    #[test]
    fn a_long_line_is_broken_between_words_and_goes_on_further_in() {
        assert_eq!(wrapped("  projects 7  for links", 80), "  projects 7  for links");
        assert_eq!(wrapped("note: one two three four", 14), "note: one two\n    three four");
        assert_eq!(wrapped("  a-word-that-no-line-holds", 10), "  a-word-that-no-line-holds");
    }
}
