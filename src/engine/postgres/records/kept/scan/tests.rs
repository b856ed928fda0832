use proptest::prelude::*;

use super::*;
use crate::engine::postgres::records::value::escaped;

struct Held(Vec<u8>);

impl RandomRead for Held {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Explained> {
        buffer.copy_from_slice(&self.0[offset as usize..offset as usize + buffer.len()]);
        Ok(())
    }
}

/// Every row of a table of these kinds.
fn scanned(file: Vec<u8>, runs: Vec<Range<u64>>, sieves: Vec<Sieve>, kinds: &[Kind]) -> Vec<Vec<Value>> {
    let mut scan = Scan::new(Arc::new(Held(file)), Arc::default(), runs, sieves);
    let mut rows = Vec::new();
    while scan.next().unwrap().is_some() {
        rows.push(kinds.iter().enumerate().map(|(at, kind)| scan.value(at, *kind).unwrap()).collect());
    }
    rows
}

fn written(rows: &[Vec<Value>], kinds: &[Kind]) -> Vec<u8> {
    let mut file = Vec::new();
    for row in rows {
        let fields: Vec<Vec<u8>> =
            kinds.iter().zip(row).map(|(kind, value)| escaped(kind.text(value).as_deref())).collect();
        file.extend(fields.join(&b'\t'));
        file.push(b'\n');
    }
    file
}

const KINDS: [Kind; 3] = [Kind::Integer, Kind::Text, Kind::Bytes];

#[test]
fn rows_longer_than_a_block_are_read_like_others() {
    let long =
        |seed: u8| -> Vec<u8> { (0..3_500_000u32).map(|n| ((n * 7 + u32::from(seed)) % 251) as u8 + 1).collect() };
    let rows = vec![
        vec![Value::Integer(1), Value::text("short"), Value::Blob(vec![1])],
        vec![Value::Integer(2), Value::Text(long(1)), Value::Blob(long(2))],
        vec![Value::Integer(3), Value::Text(vec![b'\\'; 1_500_001]), Value::Null],
        vec![Value::Integer(4), Value::Null, Value::Blob(long(3))],
        vec![Value::Integer(5), Value::text("N\\N"), Value::Null],
    ];
    let file = written(&rows, &KINDS);
    let length = file.len() as u64;
    assert!(scanned(file.clone(), vec![0..length], Vec::new(), &KINDS) == rows);
    let sieve = |field, value: &[u8]| Sieve { field, admitted: [value.to_vec()].into() };
    assert!(scanned(file.clone(), vec![0..length], vec![sieve(0, b"4")], &KINDS) == rows[3..4]);
    assert!(scanned(file, vec![0..length], vec![sieve(1, b"\\N"), sieve(0, b"4")], &KINDS) == rows[3..4]);
}

proptest! {
    #[test]
    fn every_row_of_every_run_comes_once(
        texts in proptest::collection::vec(proptest::option::of(proptest::collection::vec(1u8.., 0..12)), 1..40),
        cut in 0usize..40,
    ) {
        let row = |(at, text): (usize, &Option<Vec<u8>>)| {
            let text = text.clone().map_or(Value::Null, Value::Text);
            vec![Value::Integer(at as i64), text, Value::Blob(vec![at as u8])]
        };
        let rows: Vec<Vec<Value>> = texts.iter().enumerate().map(row).collect();
        let file = written(&rows, &KINDS);
        let cut = written(&rows[..cut.min(rows.len())], &KINDS).len() as u64;
        let runs = vec![0..cut, cut..file.len() as u64];
        prop_assert_eq!(scanned(file, runs, Vec::new(), &KINDS), rows);
    }
}
