//! What a session is set to, whatever the owner of a database, or somebody for a role, has set it to.
//!
//! Owns the list (docs/decisions/0062). It goes with the message that opens a connection, where it outranks what stands in
//! the database; and once more as the first statement of the session, for poolers that pass nothing on. That one is made of
//! SET alone, which looks nothing up: no statement of ours is ever read under a path of somebody else's.

/// The path in which our own statements look names up: the system's own, and nothing else.
const PATH: (&str, &str) = ("search_path", "");

/// Everything else that decides how a statement is read, how a value is read or written, or which rows are seen; and what
/// would end a session for taking long.
const PINNED: [(&str, &str); 19] = [
    ("standard_conforming_strings", "on"),
    ("quote_all_identifiers", "off"),
    ("array_nulls", "on"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "3"),
    ("xmloption", "content"),
    ("lc_monetary", "C"),
    ("row_security", "off"),
    ("gin_fuzzy_search_limit", "0"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("exit_on_error", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("client_min_messages", "warning"),
];

/// Clocks that only newer servers have. Asked for under the path that was set before.
const NEWER: &str = "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings \
    WHERE name IN ('idle_session_timeout', 'transaction_timeout')";

/// As the message that opens a connection takes it, and tools in their environment.
pub fn options() -> String {
    [&[PATH], &PINNED[..]].concat().iter().map(option).collect::<Vec<_>>().join(" ")
}

/// The same without the path: for a session that tells what it is.
pub fn options_but_path() -> String {
    PINNED.iter().map(option).collect::<Vec<_>>().join(" ")
}

fn option((name, value): &(&str, &str)) -> String {
    format!("-c {name}={}", value.replace(' ', "\\ "))
}

/// As statements. Of dates only the style is set: all that is written is read alike whatever the order of day and month.
pub fn statements() -> String {
    let set = |(name, value): &(&str, &str)| format!("SET {name} = '{value}'; ");
    let all: String = [&[PATH], &PINNED[..]].concat().iter().map(set).collect();
    format!("{all}SET DateStyle = ISO; {NEWER}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_written_as_a_server_takes_them_apart() {
        let all = options();
        assert!(all.starts_with("-c search_path= -c standard_conforming_strings=on "), "{all}");
        assert!(all.contains(" -c default_transaction_isolation=read\\ committed "), "{all}");
        assert_eq!(all.split_once(' ').unwrap().1.split_once(' ').unwrap().1, options_but_path());
        assert!(statements().starts_with("SET search_path = ''; SET standard_conforming_strings = 'on'; "));
    }
}
