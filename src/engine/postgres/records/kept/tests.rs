use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::engine::postgres::layout::{Column, Table as Line};
use crate::engine::postgres::records::value::escaped;

struct Bytes(Vec<u8>);

impl RandomRead for Bytes {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Explained> {
        buffer.copy_from_slice(&self.0[offset as usize..offset as usize + buffer.len()]);
        Ok(())
    }
}

/// A file in memory, an extent for every three rows.
struct InMemory {
    file: Vec<u8>,
    key: usize,
}

impl Files for InMemory {
    fn rows(&self) -> Result<Arc<dyn RandomRead>, Explained> {
        Ok(Arc::new(Bytes(self.file.clone())))
    }

    fn notes(&self) -> Result<Option<Arc<dyn RandomRead>>, Explained> {
        Ok(None)
    }

    fn starts(&self) -> Result<Vec<Start>, Explained> {
        let (mut at, mut starts) = (0, Vec::new());
        for (number, row) in self.file.split_inclusive(|&byte| byte == b'\n').enumerate() {
            if number % 3 == 0 {
                let fields: Vec<&[u8]> = row.strip_suffix(b"\n").unwrap().split(|&byte| byte == b'\t').collect();
                let first = (self.key > 0).then(|| fields[..self.key].join(&b'\t'));
                starts.push(Start { at, first, content: String::new() });
            }
            let content = &mut starts.last_mut().expect("there is one").content;
            *content += &String::from_utf8_lossy(row);
            at += row.len() as u64;
        }
        Ok(starts)
    }
}

fn line(name: &str, columns: &[(&str, &str)], key: &[&str]) -> Line {
    let column = |(name, kind): &(&str, &str)| Column { name: (*name).into(), kind: (*kind).into() };
    Line {
        name: Qualified { schema: "public".into(), name: name.into() },
        path: format!("data/public/{name}.copy"),
        columns: columns.iter().map(column).collect(),
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        root: None,
        condition: None,
        // As it was written before there were shapes.
        shape: None,
        rows: 10,
        bytes: 0,
    }
}

fn database(tables: Vec<(Line, Vec<u8>)>) -> KeptDatabase {
    let list: Vec<u8> =
        tables.iter().flat_map(|(line, _)| (serde_json::to_string(line).unwrap() + "\n").into_bytes()).collect();
    let files: HashMap<String, Vec<u8>> = tables.into_iter().map(|(line, file)| (line.path, file)).collect();
    let made =
        |line: &Line| -> Arc<dyn Files> { Arc::new(InMemory { file: files[&line.path].clone(), key: line.key.len() }) };
    KeptDatabase::read(&Bytes(list), &made).unwrap()
}

fn written(rows: &[Vec<Value>], kinds: &[&str]) -> Vec<u8> {
    let field = |(value, kind): (&Value, &&str)| escaped(Kind::of(kind).text(value).as_deref());
    let row =
        |row: &Vec<Value>| [row.iter().zip(kinds).map(field).collect::<Vec<_>>().join(&b'\t'), b"\n".to_vec()].concat();
    rows.iter().flat_map(row).collect()
}

fn found(kept: &Kept, by: &[usize], keys: &[Key]) -> Vec<Vec<Value>> {
    let table = &kept.tables().unwrap()[0];
    let (mut rows, wanted) = (Vec::new(), (0..table.columns.len()).collect::<Vec<_>>());
    let mut take = |row| {
        rows.push(row);
        Ok(())
    };
    kept.find(table, by, keys, &wanted, &mut take).unwrap();
    rows
}

fn matching(kept: &Kept, condition: Option<&str>, wanted: &[usize]) -> Vec<Vec<Value>> {
    let (table, mut rows) = (&kept.tables().unwrap()[0], Vec::new());
    let mut take = |row| {
        rows.push(row);
        Ok(())
    };
    kept.matching(table, condition, wanted, &mut take).unwrap();
    rows
}

fn kept(tables: Vec<(Line, Vec<u8>)>) -> Kept {
    Kept::new(Arc::new(database(tables)), "db", Arc::default())
}

#[test]
fn a_table_of_a_snapshot_that_knows_no_shapes_is_asked_all_the_same() {
    let file = b"1\ta\\tb\n2\t\\N\n5\tc\n6\td\n".to_vec();
    let kept = kept(vec![(line("t", &[("id", "integer"), ("x", "app.short")], &["id"]), file)]);
    let table = &kept.tables().unwrap()[0];
    assert!(table.references.is_empty() && table.key == [0, 1], "all of it is the key where none is known");
    let row = |id, text: &str| vec![Value::Integer(id), Value::text(text)];
    assert_eq!(found(&kept, &[0], &[vec![Value::Integer(5)], vec![Value::text("1")]]), [row(1, "a\tb"), row(5, "c")]);
    assert_eq!(matching(&kept, Some("x > 'b' -- what follows"), &[0, 1]), [row(5, "c"), row(6, "d")]);
    assert_eq!(matching(&kept, None, &[0]), [1, 2, 5, 6].map(|id| vec![Value::Integer(id)]));
    assert!(
        matches!(kept.numbers(table, Some("nothing = 1"), &mut |_| Ok(())), Err(error) if error.to_string().contains("nothing"))
    );
}

#[test]
fn partitions_are_one_table_whatever_the_order_of_their_columns() {
    let root = Some(Qualified { schema: "app".into(), name: "all".into() });
    let columns: [&[(&str, &str)]; 2] = [&[("id", "integer"), ("x", "text")], &[("x", "text"), ("id", "integer")]];
    let one = |at: usize, key: &[&str], file: &[u8]| {
        (Line { root: root.clone(), ..line(&format!("p{at}"), columns[at], key) }, file.to_vec())
    };
    let kept = kept(vec![one(0, &["id"], b"1\ta\n3\tb\n"), one(1, &["x"], b"c\t2\nd\t0\n")]);
    assert_eq!(kept.tables().unwrap()[0].name, "app.all");
    let ids = |rows: Vec<Vec<Value>>| rows.into_iter().map(|row| row[0].clone()).collect::<Vec<_>>();
    assert_eq!(ids(matching(&kept, Some("x <> 'b'"), &[0, 1])), [0, 1, 2].map(Value::Integer));
    assert_eq!(ids(matching(&kept, None, &[0])), [0, 1, 2, 3].map(Value::Integer));
    assert_eq!(
        ids(found(&kept, &[0], &[vec![Value::Integer(2)], vec![Value::Integer(3)]])),
        [3, 2].map(Value::Integer)
    );
}

#[test]
fn numbers_of_any_size_and_texts_without_case_are_found_by_what_they_mean() {
    let columns =
        [("id", "integer"), ("amount", "numeric(10,2)"), ("score", "double precision"), ("mail", "public.citext")];
    let mut line = line("t", &columns, &["id"]);
    let shape =
        layout::Shape { key: vec!["id".into()], ignores_case: ["mail".to_owned()].into(), ..layout::Shape::default() };
    line.shape = Some(shape);
    let kept = kept(vec![(line, b"1\t5.00\t1e+300\tA@x\n2\t0.50\t0.1\tb@X\n".to_vec())]);
    for (by, key, expected) in [
        (1, Value::Integer(5), 1),
        (1, Value::text(".5"), 2),
        (2, Value::Real(1e300), 1),
        (2, Value::text("0.10"), 2),
        (3, Value::text("B@x"), 2),
        (0, Value::Real(1.0), 1),
    ] {
        let rows = found(&kept, &[by], &[vec![key.clone()]]);
        assert_eq!(rows.iter().map(|row| row[0].clone()).collect::<Vec<_>>(), [Value::Integer(expected)], "{key}");
    }
    assert!(found(&kept, &[0], &[vec![Value::Null]]).is_empty());
    assert_eq!(kept.typed(&kept.tables().unwrap()[0], 0, " 7 ").unwrap(), Value::Integer(7));
}

proptest! {
    #[test]
    fn a_lookup_finds_what_going_through_all_rows_finds(
        rows in proptest::collection::btree_map((-9i64..9, "[a-b%\\t]{0,2}"), proptest::option::of("[x-z]{0,2}"), 0..40),
        keys in proptest::collection::vec((-9i64..9, "[a-b%\\t]{0,2}", "[x-z]{0,2}"), 1..6),
    ) {
        let kinds = ["integer", "text", "text"];
        let columns = [("a", kinds[0]), ("b", kinds[1]), ("c", kinds[2])];
        let rows: Vec<Vec<Value>> = rows.into_iter()
            .map(|((a, b), c)| vec![Value::Integer(a), Value::text(&b), c.map_or(Value::Null, |c| Value::text(&c))]).collect();
        let kept = kept(vec![(line("t", &columns, &["a", "b"]), written(&rows, &kinds))]);
        let keys: Vec<Vec<Value>> = keys.into_iter().map(|(a, b, c)| vec![Value::Integer(a), Value::text(&b), Value::text(&c)]).collect();
        for by in [vec![0], vec![1], vec![2], vec![1, 0], vec![0, 2], vec![0, 1, 2]] {
            let of = |row: &Vec<Value>| by.iter().map(|&at| row[at].clone()).collect::<Vec<_>>();
            let asked: Vec<Key> = keys.iter().map(of).collect();
            let expected: Vec<Vec<Value>> = rows.iter().filter(|row| asked.contains(&of(row))).cloned().collect();
            prop_assert_eq!(found(&kept, &by, &asked), expected, "by {:?}", by);
        }
        // And by SQL: lists for both columns of the key, and for another.
        let list = |at: usize| keys.iter().map(|key| match &key[at] {
            Value::Integer(number) => number.to_string(),
            Value::Text(text) => layout::literal(std::str::from_utf8(text).unwrap()),
            _ => unreachable!(),
        }).collect::<Vec<_>>().join(", ");
        for columns in [vec![0], vec![0, 1], vec![2]] {
            let condition = columns.iter().map(|&at| format!("{} IN ({})", ["a", "b", "c"][at], list(at))).collect::<Vec<_>>().join(" AND ");
            let holds = |row: &&Vec<Value>| columns.iter().all(|&at| keys.iter().any(|key| key[at] == row[at]));
            let expected: Vec<Vec<Value>> = rows.iter().filter(holds).cloned().collect();
            prop_assert_eq!(matching(&kept, Some(&condition), &[0, 1, 2]), expected, "{}", condition);
        }
    }
}

#[test]
fn files_that_are_not_what_the_list_says_are_told() {
    let sound = b"1\ta\n2\tb\n5\tc\n";
    let told = |file: &[u8]| {
        let line =
            Line { rows: 3, bytes: sound.len() as u64, ..line("t", &[("id", "integer"), ("x", "text")], &["id"]) };
        database(vec![(line, file.to_vec())]).check(&Control::default()).unwrap().complaints.join("; ")
    };
    assert_eq!(told(sound), "");
    for (file, expected) in [
        (&b"1\ta\n2\tb\n"[..], "public.t: 2 rows in 8 bytes, and 3 rows in 12 bytes when it was captured"),
        (b"1\ta\n5\tb\n2\tc\n", "public.t: 1 row not in the order of the key"),
        (b"1\ta\n2\tb\n2\tc\n", "public.t: 1 row not in the order of the key"),
        (b"1\ta\n2 b\n5\tc\n", "public.t: 1 row without all of their fields"),
    ] {
        assert!(told(file).contains(expected), "{}", told(file));
    }
}
