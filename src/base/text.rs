//! Turning numbers into the words people read: sizes in decimal units, counts with separators.

/// `1234567` as `1.2 MB`. Decimal units, one digit after the point from kB on.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `1234567` as `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `count(n)` with the noun it counts, in the singular or with an `s`.
pub fn counted(n: u64, noun: &str) -> String {
    match (n, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{} {stem}ies", count(n)),
        (_, None) => format!("{} {noun}s", count(n)),
    }
}

/// The candidate nearest to `word`, when it is near enough to be a slip of the finger.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(word, c), c))
        .filter(|(d, c)| *d <= 1 + c.len() / 4)
        .min()
        .map(|(_, c)| c)
}

/// Does a terminal obey the letter rather than show it, or does the letter change how others are shown? Control
/// characters, those that turn the direction of writing, and line ends beside `\n`.
pub fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Line ends as `\n`, and letters that a terminal obeys as `\u{…}`.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' | '\t' => out.extend(letter.escape_default()),
            _ if is_obeyed(letter) => out.extend(letter.escape_unicode()),
            _ => out.push(letter),
        }
    }
    out
}

/// A text as a cell of CSV (RFC 4180), in the bytes that it has: it need not be UTF-8. An empty one is told from none.
pub fn csv_text(text: &[u8]) -> Vec<u8> {
    if !text.is_empty() && !text.iter().any(|byte| b"\",\r\n".contains(byte)) {
        return text.to_vec();
    }
    let mut cell = vec![b'"'];
    text.iter().for_each(|byte| cell.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 })));
    cell.push(b'"');
    cell
}

/// What a shell takes for one word and nothing else.
pub fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte);
    match text {
        _ if !text.is_empty() && text.bytes().all(plain) => text.to_owned(),
        _ if text.contains('\'') && !text.contains(['"', '$', '`', '\\', '!']) => format!("\"{text}\""),
        _ => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// What a glob takes for just these letters, whatever they mean in one.
pub fn glob_literal(text: &str) -> String {
    let mut glob = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '*' | '?' | '[' | ']' | '{' | '}' | ',' | '\\' => glob.extend(['[', letter, ']']),
            _ => glob.push(letter),
        }
    }
    glob
}

/// A value for people to recognise: in quotes, and no longer than a glance.
pub fn quoted(text: &str) -> String {
    const MOST: usize = 40;
    let shown = printable(text);
    if shown.chars().count() <= MOST {
        return format!("'{shown}'");
    }
    format!("'{}…'", shown.chars().take(MOST).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts_read_as_people_write_them() {
        assert_eq!(
            [size(0), size(999), size(1000), size(57_300_000), size(999_960)],
            ["0 B", "999 B", "1.0 kB", "57.3 MB", "1.0 MB"]
        );
        assert_eq!([count(7), count(1234), count(1_234_567)], ["7", "1,234", "1,234,567"]);
        assert_eq!(
            [counted(1, "file"), counted(2, "file"), counted(0, "directory")],
            ["1 file", "2 files", "0 directories"]
        );
        assert_eq!(nearest("exlcude", ["exclude", "path"]), Some("exclude"));
        assert_eq!(nearest("zebra", ["exclude", "path"]), None);
    }

    #[test]
    fn a_word_for_a_shell_is_in_quotes_where_it_has_to_be() {
        assert_eq!(shell_word("projects"), "projects");
        assert_eq!(shell_word("name = 'Ada'"), "\"name = 'Ada'\"");
        assert_eq!(shell_word("A$ 'a"), r"'A$ '\''a'");
        assert_eq!(shell_word(""), "''");
    }
}
