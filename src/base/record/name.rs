//! What a name means among others, and how a name of several parts is written.
//!
//! Owns the rule: the one that is written so, and only where there is none the one that differs in capital letters. Where
//! several differ only so, none is meant: whoever asks is told which there are. Parts have dots between them; one that holds
//! a dot or a quote itself is put in double quotes, as in SQL, so that no two things are called the same.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// What a name means, by its place among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    Nothing,
    One(usize),
    /// These differ from it, and from each other, only in how they are written.
    Several(Vec<usize>),
}

impl Meant {
    /// The one that is meant, where it is one.
    pub fn one(self) -> Option<usize> {
        if let Self::One(at) = self { Some(at) } else { None }
    }

    fn of(fitting: Vec<usize>) -> Self {
        match fitting[..] {
            [] => Self::Nothing,
            [one] => Self::One(one),
            _ => Self::Several(fitting),
        }
    }
}

/// The one of these that a name means.
pub fn meant<'n>(name: &str, among: impl Iterator<Item = &'n str>) -> Meant {
    let mut alike = Vec::new();
    for (at, one) in among.enumerate() {
        if one == name {
            return Meant::One(at);
        }
        if one.eq_ignore_ascii_case(name) {
            alike.push(at);
        }
    }
    Meant::of(alike)
}

/// The same of names that may have several parts, and of whatever people type: with quotes where none are needed, or without
/// where they are.
pub fn meant_of_parts<'n>(name: &str, among: impl Iterator<Item = &'n str> + Clone) -> Meant {
    let found = meant(name, among.clone());
    if found != Meant::Nothing {
        return found;
    }
    let plain = joined(name);
    let fitting = |fits: &dyn Fn(&str) -> bool| -> Vec<usize> {
        among.clone().enumerate().filter(|(_, one)| fits(&joined(one))).map(|(at, _)| at).collect()
    };
    let same = fitting(&|one| one == plain);
    Meant::of(if same.is_empty() { fitting(&|one| one.eq_ignore_ascii_case(&plain)) } else { same })
}

/// For each of some names, the one of others that stands for it: the same one, or the only one that differs in capital
/// letters if nothing else of either side does.
pub fn partners(names: &[&str], others: &[&str]) -> Vec<Option<usize>> {
    let exact: BTreeMap<&str, usize> = others.iter().enumerate().map(|(at, other)| (*other, at)).collect();
    let (mine, theirs) = (by_letters(names), by_letters(others));
    let partner = |name: &&str| {
        let plain = name.to_ascii_lowercase();
        let is_only_one = mine[&plain].len() == 1;
        let alike = || match theirs.get(&plain).map(Vec::as_slice) {
            Some([only]) if is_only_one => Some(*only),
            _ => None,
        };
        exact.get(name).copied().or_else(alike)
    };
    names.iter().map(partner).collect()
}

fn by_letters(names: &[&str]) -> BTreeMap<String, Vec<usize>> {
    let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, name) in names.iter().enumerate() {
        places.entry(name.to_ascii_lowercase()).or_default().push(at);
    }
    places
}

/// One part of a name, as it is written among others.
pub fn part(name: &str) -> Cow<'_, str> {
    match name.contains(['.', '"']) {
        true => Cow::Owned(format!("\"{}\"", name.replace('"', "\"\""))),
        false => Cow::Borrowed(name),
    }
}

/// Parts as one name.
pub fn written(parts: &[String]) -> String {
    parts.iter().map(|one| part(one)).collect::<Vec<_>>().join(".")
}

/// The parts of a name, without the quotes they are written in.
pub fn parts(name: &str) -> Vec<String> {
    let (mut parts, mut rest) = (Vec::new(), name);
    loop {
        let (part, behind) = quoted(rest).unwrap_or_else(|| match rest.split_once('.') {
            Some((part, behind)) => (part.to_owned(), Some(behind)),
            None => (rest.to_owned(), None),
        });
        parts.push(part);
        match behind {
            Some(behind) => rest = behind,
            None => return parts,
        }
    }
}

/// The first part, if it is in quotes, and what is behind its dot.
fn quoted(text: &str) -> Option<(String, Option<&str>)> {
    let (inner, mut part) = (text.strip_prefix('"')?, String::new());
    let mut letters = inner.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let is_doubled = letter == '"' && letters.next_if(|(_, next)| *next == '"').is_some();
        if letter != '"' || is_doubled {
            part.push(letter);
            continue;
        }
        return match &inner[at + 1..] {
            "" => Some((part, None)),
            behind => Some((part, Some(behind.strip_prefix('.')?))),
        };
    }
    None
}

/// A name as somebody writes it who knows of no quotes: several may be written so.
pub fn joined(name: &str) -> String {
    parts(name).join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_goes_before_one_in_other_letters_and_of_several_such_none_is_taken() {
        let among = ["P", "p", "Users", "a.\"b.c\"", "\"a.b\".c", "S.t", "x.\"y.z\""];
        let one = |name: &str| meant_of_parts(name, among.iter().copied());
        assert_eq!([one("p"), one("P"), one("\"p\"")], [Meant::One(1), Meant::One(0), Meant::One(1)]);
        assert_eq!([one("users"), one("USERS"), one("s.T")], [Meant::One(2), Meant::One(2), Meant::One(5)]);
        assert_eq!([one("a.\"b.c\""), one("\"a.b\".c")], [Meant::One(3), Meant::One(4)]);
        assert_eq!([one("a.b.c"), one("A.B.c")], [Meant::Several(vec![3, 4]), Meant::Several(vec![3, 4])]);
        assert_eq!([one("x.y.z"), one("\"x\".\"y.z\""), one("x.y")], [Meant::One(6), Meant::One(6), Meant::Nothing]);
        assert_eq!(meant("pp", ["Pp", "PP"].into_iter()), Meant::Several(vec![0, 1]));
    }

    #[test]
    fn what_differs_in_letters_stands_for_another_only_where_nothing_else_could() {
        assert_eq!(partners(&["p", "P"], &["P"]), [None, Some(0)]);
        assert_eq!(partners(&["p"], &["P"]), [Some(0)]);
        assert_eq!(partners(&["p"], &["P", "p"]), [Some(1)]);
        assert_eq!(partners(&["pp", "x"], &["PP", "Pp", "X"]), [None, Some(2)]);
        assert_eq!(partners(&["Id", "id"], &["id", "Id"]), [Some(1), Some(0)]);
    }

    #[test]
    fn no_two_names_of_several_parts_are_written_the_same() {
        let written = |parts: &[&str]| written(&parts.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        let all: [&[&str]; 6] =
            [&["a", "b.c"], &["a.b", "c"], &["a", "b", "c"], &["a\"", "b"], &["\"a\"", "b"], &["a.\"b", "c"]];
        for one in all {
            assert_eq!(parts(&written(one)), one);
        }
        assert_eq!([joined("a.\"b.c\""), joined("\"a.b\".c"), joined("\"a")], ["a.b.c", "a.b.c", "\"a"]);
        assert_eq!(written(&["public", "users"]), "public.users");
    }
}
