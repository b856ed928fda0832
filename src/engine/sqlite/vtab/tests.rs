use std::sync::Mutex;

use super::*;

/// Rows in memory, sorted by their first column, that note what they are asked.
struct Held {
    rows: Vec<Vec<Value>>,
    asked: Mutex<Vec<Question>>,
}

struct At(Vec<(i64, Vec<Value>)>, usize);

impl Rows for At {
    fn next(&mut self) -> std::result::Result<Option<i64>, Explained> {
        self.1 += 1;
        Ok(self.0.get(self.1 - 1).map(|(number, _)| *number))
    }

    fn value(&self, column: usize) -> std::result::Result<Value, Explained> {
        Ok(self.0[self.1 - 1].1[column].clone())
    }
}

impl Virtual for Held {
    fn columns(&self) -> Vec<Declared> {
        let column = |name: &str, kind| Declared { name: name.to_owned(), kind };
        vec![column("id", "INTEGER"), column("od\"d", "TEXT"), column("amount", "TEXT COLLATE DECIMAL")]
    }

    fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    fn worth(&self, column: usize, comparison: Comparison) -> Option<Worth> {
        match (column, comparison) {
            (0, _) => Some(Worth::Key),
            (1 | 2, Comparison::Equal) => Some(Worth::Sieve),
            _ => None,
        }
    }

    fn order(&self) -> &[usize] {
        &[0]
    }

    fn open(&self, question: &Question) -> std::result::Result<Box<dyn Rows>, Explained> {
        let conditions = &question.conditions;
        self.asked.lock().unwrap().push(question.clone());
        let holds = |row: &Vec<Value>| {
            let equal = |one: &&Condition| one.comparison == Comparison::Equal;
            conditions.iter().filter(equal).all(|one| one.values.contains(&row[one.column]))
        };
        let rows = self.rows.iter().cloned().enumerate().map(|(at, row)| (at as i64, row));
        Ok(Box::new(At(rows.filter(|(_, row)| holds(row)).collect(), 0)))
    }
}

fn connection() -> (Connection, Arc<Held>) {
    let row = |id: i64| {
        let amount = ["10", "9.50", "-3", "9.5", "100000000000000000000.01", "NaN"][id as usize % 6];
        vec![Value::Integer(id), Value::text(&format!("n{id}")), Value::text(amount)]
    };
    let held = Arc::new(Held { rows: (0..12).map(row).collect(), asked: Mutex::default() });
    let connection = Connection::open_in_memory().unwrap();
    create(&connection, vec![("main".into(), "it's".into(), held.clone())], Failure::default()).unwrap();
    (connection, held)
}

fn ids(connection: &Connection, sql: &str) -> Vec<i64> {
    connection.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().map(|id| id.unwrap()).collect()
}

#[test]
fn conditions_on_columns_are_handed_on_and_lists_in_one_piece() {
    let (connection, held) = connection();
    let asked = || std::mem::take(&mut *held.asked.lock().unwrap());
    assert_eq!(ids(&connection, "SELECT id FROM \"it's\" WHERE id IN (3, 5, 7) AND \"od\"\"d\" = 'n5'"), [5]);
    let [Question { conditions, .. }] = &asked()[..] else { panic!("asked more than once") };
    let list = conditions.iter().find(|one| one.column == 0).unwrap();
    assert_eq!(list.values, [3, 5, 7].map(Value::Integer));
    assert_eq!(conditions.iter().find(|one| one.column == 1).unwrap().values, [Value::text("n5")]);
    assert_eq!(ids(&connection, "SELECT id FROM \"it's\" WHERE id > 2 AND id <= 4"), [3, 4]);
    let comparisons: Vec<_> = asked()[0].conditions.iter().map(|one| one.comparison).collect();
    assert_eq!(comparisons, [Comparison::Above, Comparison::AtMost]);
    assert_eq!(ids(&connection, "SELECT id FROM \"it's\" WHERE \"od\"\"d\" = 'N5' COLLATE NOCASE"), [5]);
    assert_eq!(ids(&connection, "SELECT id FROM \"it's\" WHERE amount = '9.50'"), [1, 3, 7, 9]);
    assert!(asked().iter().all(|question| question.conditions.is_empty()), "they compare in another way than by bytes");
}

#[test]
fn a_table_is_told_which_columns_are_looked_at_and_whether_order_matters() {
    let (connection, held) = connection();
    let asked = |sql: &str| {
        ids(&connection, sql);
        let [question] = &std::mem::take(&mut *held.asked.lock().unwrap())[..] else { panic!("{sql}") };
        ([0, 1, 2].map(|column| question.needs(column)), question.sorted)
    };
    assert_eq!(asked("SELECT id FROM \"it's\""), ([true, false, false], false));
    assert_eq!(asked("SELECT count(*) FROM \"it's\""), ([false; 3], false));
    assert_eq!(asked("SELECT id FROM \"it's\" WHERE amount > 3 ORDER BY id"), ([true, false, true], true));
    assert_eq!(asked("SELECT id FROM \"it's\" ORDER BY id DESC"), ([true, false, false], false));
}

#[test]
fn rows_are_not_asked_for_where_a_column_would_have_to_equal_nothing() {
    let (connection, held) = connection();
    assert!(ids(&connection, "SELECT id FROM \"it's\" WHERE id = (SELECT NULL)").is_empty());
    assert!(ids(&connection, "SELECT id FROM \"it's\" WHERE id > (SELECT NULL)").is_empty());
    assert!(held.asked.lock().unwrap().is_empty());
    let sql = "SELECT id FROM \"it's\" WHERE id IN (SELECT NULL UNION ALL SELECT 3)";
    assert_eq!(ids(&connection, sql), [3]);
    assert_eq!(held.asked.lock().unwrap()[0].conditions[0].values, [Value::Integer(3)]);
}

#[test]
fn numbers_written_as_text_compare_as_numbers() {
    let (connection, _) = connection();
    assert_eq!(ids(&connection, "SELECT id FROM \"it's\" WHERE amount > 9.6 AND id < 6"), [0, 4, 5]);
    assert_eq!(ids(&connection, "SELECT id FROM \"it's\" WHERE id < 6 ORDER BY amount, id"), [2, 1, 3, 0, 4, 5]);
    assert_eq!(ids(&connection, "SELECT count(DISTINCT amount) FROM \"it's\""), [5]);
}

#[test]
fn rows_that_are_sorted_already_are_not_sorted_again_and_none_are_written() {
    let (connection, _) = connection();
    let plan = |sql: &str| -> String {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let lines = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
        lines.map(|line| line.unwrap() + "\n").collect()
    };
    assert!(!plan("SELECT id FROM \"it's\" ORDER BY id").contains("ORDER BY"));
    assert!(plan("SELECT id FROM \"it's\" ORDER BY id DESC").contains("ORDER BY"));
    assert!(plan("SELECT id FROM \"it's\" ORDER BY amount").contains("ORDER BY"));
    assert_eq!(ids(&connection, "SELECT id FROM \"it's\" WHERE rowid = 4 OR amount = 10"), [0, 4, 6]);
    assert!(connection.execute("DELETE FROM \"it's\"", []).unwrap_err().to_string().contains("may not be modified"));
}
