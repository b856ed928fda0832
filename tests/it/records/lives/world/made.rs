//! How rows of a world are made up.

use super::*;

impl Life {
    pub(super) fn value(&mut self, fill: &Fill, dice: &mut Dice) -> Value {
        let word = |dice: &mut Dice| WORDS[dice.roll(WORDS.len() as u64) as usize];
        match fill {
            Fill::Key | Fill::Ref => Value::Null,
            Fill::Words(number) => {
                let words: Vec<&str> = (0..*number).map(|_| word(dice)).collect();
                if dice.is(8) { Value::Null } else { Value::text(&words.join(" ")) }
            }
            Fill::One(some) => Value::text(some[dice.roll(some.len() as u64) as usize]),
            Fill::Unique(end) => Value::text(&format!("{} {}{end}", word(dice), word(dice))),
            Fill::Day => Value::text(&format!("2024-03-{:02}", 1 + self.births / 20)),
            Fill::Second => Value::text(&format!(
                "2024-03-01 {:02}:{:02}:{:02}",
                self.births / 3600,
                self.births / 60 % 60,
                self.births % 60
            )),
            Fill::Number => Value::Integer((1 + dice.roll(9) as i64) * 100),
        }
    }

    /// Adds a row as an app would: with the number after the highest, and references to what is there.
    pub(super) fn add(&mut self, world: &mut World, table: usize, dice: &mut Dice) -> Option<Key> {
        let spec = self.tables[table].clone();
        self.births += 1;
        let mut row: Vec<Value> = Vec::new();
        for fill in &spec.fills {
            row.push(self.value(fill, dice));
        }
        for link in &spec.links {
            let there: Vec<&Key> = world.tables[link.to].keys().collect();
            let empty = !link.required && (there.is_empty() || dice.is(40));
            if !empty {
                row[link.column] = there.get(dice.roll(there.len().max(1) as u64) as usize)?[0].clone();
            }
        }
        if spec.key == 1 {
            let highest = world.tables[table].keys().map(|key| number_of(&key[0])).max().unwrap_or(0);
            row[0] = Value::Integer(highest + 1);
        }
        for (column, fill) in spec.fills.iter().enumerate().filter(|(_, fill)| matches!(fill, Fill::Unique(_))) {
            if table == PROJECTS
                && dice.is(50)
                && let Some(slug) = self.slug.take()
            {
                row[column] = slug;
            }
            while world.tables[table].values().any(|one| one.row[column] == row[column]) {
                row[column] = self.value(fill, dice);
            }
        }
        let key = row[..spec.key].to_vec();
        // What is made again with the same words under the same number is the same for everybody.
        if let Some(was) = self.kept.tables[table].get(&key).cloned() {
            for (column, fill) in spec.fills.iter().enumerate().filter(|(_, fill)| is_telling(fill)) {
                while row[column] == was.row[column] && !row[column].is_null() {
                    row[column] = self.value(fill, dice);
                }
            }
        }
        let record = Record { birth: self.births, row };
        (!world.tables[table].contains_key(&key)).then(|| _ = world.tables[table].insert(key.clone(), record))?;
        Some(key)
    }

    pub fn populate(&mut self, dice: &mut Dice) -> World {
        let mut world = World { tables: vec![BTreeMap::new(); self.tables.len()] };
        let numbers = [3, 2, 3, 5, 8, 3, 5, 6, 5];
        for (table, most) in numbers.into_iter().enumerate() {
            for _ in 0..1 + dice.roll(most) {
                self.add(&mut world, table, dice);
            }
        }
        if self.by_hand && dice.is(50) {
            // It was not all well before either.
            self.orphan(&mut world, dice);
        }
        world
    }

    /// A row refers to what is not there.
    fn orphan(&mut self, world: &mut World, dice: &mut Dice) {
        let table = [COMMENTS, FILES, NOTES][dice.roll(3) as usize];
        let link = self.tables[table].links[0].clone();
        let highest = world.tables[link.to].keys().map(|key| number_of(&key[0])).max().unwrap_or(0);
        if let Some(record) = world.tables[table].values_mut().last() {
            record.row[link.column] = Value::Integer(highest + 1);
        }
    }
}
