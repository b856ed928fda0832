//! Large tables in parts by ranges of their key, so that several connections read one of them.
//!
//! Owns where the parts begin. Nothing depends on it but speed: the parts together are the rows in their order.

use crate::engine::postgres::catalog::Relation;
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::{literal, quoted};

/// A part is about so long: what one connection may have read ahead of the others.
const PART: u64 = 8 << 20;
/// A table of fewer bytes is read by one connection.
const LARGE: u64 = 3 * PART;
/// Where rows lie in another order than their keys, reading a range jumps about: up to here they are likely in memory.
const SCATTERED: u64 = 1 << 30;
const ORDERED: f32 = 0.5;
const MOST_PARTS: u64 = 20_000;
/// Rows looked at for each part.
const LOOKED_AT: f64 = 30.0;

/// Types whose values compare the same however they are looked up.
const PLAIN: [&str; 9] =
    ["smallint", "integer", "bigint", "uuid", "date", "numeric", "character varying", "text", "timestamp"];

/// The conditions on the key that the parts of a table are read by, in order. None: it is read in one go.
pub fn parts(session: &mut Session, relation: &Relation) -> Result<Vec<String>, PostgresError> {
    if !splits(relation) {
        return Ok(Vec::new());
    }
    let wanted = (relation.bytes / PART).clamp(2, MOST_PARTS);
    let bounds = bounds(session, relation, wanted)?;
    if bounds.is_empty() {
        return Ok(Vec::new());
    }
    let key = row(&relation.sort_columns());
    let mut conditions = vec![format!("{key} < {}", bounds[0])];
    conditions.extend(bounds.windows(2).map(|pair| format!("{key} >= {} AND {key} < {}", pair[0], pair[1])));
    conditions.push(format!("{key} >= {}", bounds[bounds.len() - 1]));
    Ok(conditions)
}

/// Do values of this type compare the same however they are looked up? Its name is a name then, and nothing else: it can
/// be put into a query.
pub fn plain(kind: &str) -> bool {
    let is_plain = |plain: &&str| {
        let Some(rest) = kind.strip_prefix(*plain) else { return false };
        let (length, zone) = rest.find(" with").map_or((rest, ""), |at| rest.split_at(at));
        let inner = length.strip_prefix('(').and_then(|length| length.strip_suffix(')'));
        let is_length = inner.map_or(length.is_empty(), |inner| inner.bytes().all(|b| b.is_ascii_digit() || b == b','));
        is_length && ["", " with time zone", " without time zone"].contains(&zone)
    };
    PLAIN.iter().any(is_plain)
}

fn splits(relation: &Relation) -> bool {
    relation.bytes >= LARGE
        && relation.is_whole()
        && relation.index_sorts()
        && relation.columns[..relation.key].iter().all(|column| plain(&column.kind))
        && (relation.correlation.abs() >= ORDERED || relation.bytes <= SCATTERED)
}

/// Keys that divide a sample of the rows evenly, as SQL takes them.
fn bounds(session: &mut Session, relation: &Relation, wanted: u64) -> Result<Vec<String>, PostgresError> {
    let key = &relation.columns[..relation.key];
    let names: Vec<String> = key.iter().map(|column| quoted(&column.name)).collect();
    let texts: Vec<String> = names.iter().map(|name| format!("{name}::text")).collect();
    let order = names.join(", ");
    // Some pages for each part, and each row of them: a sample of pages is quickly had.
    let pages = (relation.bytes / 8192).max(1) as f64;
    let percent = (100.0 * (wanted as f64 * LOOKED_AT / 20.0) / pages).clamp(0.01, 100.0);
    let sql = format!(
        "SELECT ARRAY[{texts}] FROM (SELECT {order}, row_number() OVER (ORDER BY {order}) AS number, \
         count(*) OVER () AS count FROM ONLY {table} TABLESAMPLE SYSTEM ({percent}) REPEATABLE (1)) sample \
         WHERE number % greatest(count / {wanted}, 1) = 0 ORDER BY {order}",
        texts = texts.join(", "),
        table = relation.name.quoted(),
    );
    let mut bounds: Vec<String> = Vec::new();
    for found in session.query(&sql, &[])? {
        let values: Vec<String> = found.get(0);
        let values: Vec<String> =
            values.iter().zip(key).map(|(value, column)| format!("{}::{}", literal(value), column.kind)).collect();
        let bound = row(&values);
        if bounds.last() != Some(&bound) {
            bounds.push(bound);
        }
    }
    Ok(bounds)
}

fn row(values: &[String]) -> String {
    format!("({})", values.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_goes_into_a_query_is_a_name_and_nothing_else() {
        for kind in ["integer", "character varying(50)", "numeric(10,2)", "timestamp(3) without time zone", "text"] {
            assert!(plain(kind), "{kind}");
        }
        for kind in ["integer[]", "daterange", "integer) TO PROGRAM 'x'", "integer) OR (true", "text(1", "public.mood"]
        {
            assert!(!plain(kind), "{kind}");
        }
    }
}
