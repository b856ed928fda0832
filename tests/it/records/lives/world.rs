//! An app's tables and rows, and what becomes of them: made up in memory, where it is known of each row which record it is.

use std::collections::BTreeMap;
use std::fmt::Write;

use strongroom::base::record::{OnDelete, Value};
use strongroom::record::model::{Columns, Relation};

use super::super::random::Dice;
use super::super::*;

mod database;
mod made;

pub use database::{read, write};

/// A column that refers to another table's key.
#[derive(Clone)]
pub struct Link {
    pub column: usize,
    pub to: usize,
    pub required: bool,
    pub on_delete: OnDelete,
    /// The schema says so; otherwise the configuration does.
    pub declared: bool,
}

#[derive(Clone)]
enum Fill {
    Key,
    Ref,
    Words(u64),
    One(&'static [&'static str]),
    Unique(&'static str),
    /// When it was made: a day, or a second.
    Day,
    Second,
    Number,
}

#[derive(Clone)]
pub struct Spec {
    pub name: String,
    pub columns: Vec<String>,
    fills: Vec<Fill>,
    /// So many of the first columns are the key.
    pub key: usize,
    pub links: Vec<Link>,
}

impl Spec {
    pub fn has_birth(&self) -> bool {
        self.fills.iter().any(|fill| matches!(fill, Fill::Second))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Which record it is; no two have the same.
    pub birth: u64,
    pub row: Vec<Value>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    pub tables: Vec<BTreeMap<Key, Record>>,
}

pub struct Life {
    pub tables: Vec<Spec>,
    births: u64,
    /// What the snapshot has.
    kept: World,
    /// Somebody deletes by hand, without the app's care.
    by_hand: bool,
    slug: Option<Value>,
}

const USERS: usize = 0;
const CATEGORIES: usize = 1;
const PROJECTS: usize = 2;
const COMMENTS: usize = 4;
const TAGS: usize = 5;
const FILES: usize = 7;
const NOTES: usize = 8;
const WORDS: [&str; 16] = [
    "red", "blue", "north", "south", "plan", "draft", "report", "budget", "letter", "photo", "summer", "winter",
    "house", "garden", "alpha", "omega",
];
const ROLES: [&str; 3] = ["owner", "member", "guest"];
const STATES: [&str; 2] = ["open", "closed"];

impl Life {
    pub fn new(dice: &mut Dice) -> Self {
        let mut tables = Vec::new();
        let mut add = |name: &str, columns: &[(&str, Fill)], key: usize, links: Vec<Link>, dice: &mut Dice| {
            let mut columns: Vec<(String, Fill)> =
                columns.iter().map(|(name, fill)| ((*name).to_owned(), fill.clone())).collect();
            match dice.roll(10) {
                0..5 => columns.push(("created_at".into(), Fill::Second)),
                5 => columns.push(("created_on".into(), Fill::Day)),
                _ => {}
            }
            if dice.is(30) {
                columns.push(("state".into(), Fill::One(&STATES)));
            }
            let (columns, fills) = columns.into_iter().unzip();
            tables.push(Spec { name: name.to_owned(), columns, fills, key, links });
        };
        let link = |column: usize, to: usize, required: bool, on_delete: OnDelete, declared: bool| Link {
            column,
            to,
            required,
            on_delete,
            declared,
        };
        use OnDelete::{Cascade, Restrict, SetNull};
        let (key, refers) = (Fill::Key, Fill::Ref);
        add(
            "users",
            &[("id", key.clone()), ("email", Fill::Unique("@example.org")), ("name", Fill::Words(1))],
            1,
            vec![],
            dice,
        );
        add("categories", &[("id", key.clone()), ("label", Fill::Words(1))], 1, vec![], dice);
        let (slug, owner) = (if dice.is(60) { Fill::Unique("-slug") } else { Fill::Words(1) }, dice.is(70));
        let category = link(4, CATEGORIES, false, if dice.is(60) { SetNull } else { Restrict }, true);
        let owned = link(3, USERS, true, if owner { Restrict } else { Cascade }, true);
        let columns = [
            ("id", key.clone()),
            ("name", Fill::Words(2)),
            ("slug", slug),
            ("owner", refers.clone()),
            ("category", refers.clone()),
        ];
        add("projects", &columns, 1, vec![owned, category], dice);
        let (project, user) = (link(0, PROJECTS, true, Cascade, true), link(1, USERS, true, Cascade, true));
        match dice.is(50) {
            true => add(
                "members",
                &[("project", key.clone()), ("user", key.clone()), ("role", Fill::One(&ROLES))],
                2,
                vec![project, user],
                dice,
            ),
            false => {
                let links = vec![Link { column: 1, ..project }, Link { column: 2, ..user }];
                let columns = [
                    ("id", key.clone()),
                    ("project", refers.clone()),
                    ("user", refers.clone()),
                    ("role", Fill::One(&ROLES)),
                ];
                add("members", &columns, 1, links, dice);
            }
        }
        let author = dice.is(50);
        let links = vec![
            link(1, PROJECTS, true, Cascade, dice.is(80)),
            link(2, USERS, author, if author { Cascade } else { SetNull }, true),
            link(3, COMMENTS, false, if dice.is(70) { Cascade } else { SetNull }, true),
        ];
        let columns = [
            ("id", key.clone()),
            ("project", refers.clone()),
            ("author", refers.clone()),
            ("reply_to", refers.clone()),
            ("body", Fill::Words(3)),
        ];
        add("comments", &columns, 1, links, dice);
        add("tags", &[("id", key.clone()), ("name", Fill::Unique(""))], 1, vec![], dice);
        let links = vec![link(0, PROJECTS, true, Cascade, true), link(1, TAGS, true, Cascade, true)];
        add("tagged", &[("project", key.clone()), ("tag", key.clone())], 2, links, dice);
        let links = vec![link(1, COMMENTS, true, Cascade, true)];
        add(
            "files",
            &[("id", key.clone()), ("comment", refers.clone()), ("name", Fill::Words(1)), ("size", Fill::Number)],
            1,
            links,
            dice,
        );
        let links = vec![link(1, PROJECTS, false, if dice.is(60) { Cascade } else { SetNull }, dice.is(30))];
        add("notes", &[("id", key), ("project", refers), ("text", Fill::Words(2))], 1, links, dice);
        Self { tables, births: 0, kept: World { tables: vec![BTreeMap::new(); 9] }, by_hand: dice.is(30), slug: None }
    }

    /// What will be asked for.
    pub fn chosen(&self, kept: &World, dice: &mut Dice) -> (usize, Key) {
        let table = if dice.is(60) { PROJECTS } else { dice.roll(self.tables.len() as u64) as usize };
        let table = if kept.tables[table].is_empty() { USERS } else { table };
        let keys: Vec<&Key> = kept.tables[table].keys().collect();
        // Mostly the last: its number is the one that is used again.
        let at = if dice.is(60) { keys.len() - 1 } else { dice.roll(keys.len() as u64) as usize };
        (table, keys[at].clone())
    }

    fn delete(&mut self, world: &mut World, table: usize, key: &Key, dice: &mut Dice) {
        let Some(gone) = world.tables[table].remove(key) else { return };
        if table == PROJECTS {
            self.slug = Some(gone.row[2].clone()).filter(|slug| !slug.is_null());
        }
        for child in 0..self.tables.len() {
            for link in self.tables[child].links.clone().into_iter().filter(|link| link.to == table) {
                let refers = |one: &Record| one.row[link.column] == key[0];
                let keys: Vec<Key> =
                    world.tables[child].iter().filter(|(_, one)| refers(one)).map(|(key, _)| key.clone()).collect();
                for own in keys {
                    let forgotten = if link.declared { self.by_hand && dice.is(10) } else { dice.is(35) };
                    match link.on_delete {
                        _ if forgotten => {}
                        OnDelete::SetNull => {
                            let record = world.tables[child].get_mut(&own).unwrap();
                            record.row[link.column] = Value::Null;
                        }
                        _ => self.delete(world, child, &own, dice),
                    }
                }
            }
        }
    }

    /// What others do, before the loss and after it.
    fn work(&mut self, world: &mut World, dice: &mut Dice, after: bool) {
        let table = dice.roll(self.tables.len() as u64) as usize;
        match dice.roll(10) {
            0..6 if after => _ = self.add(world, table, dice),
            6 | 7 => {
                let spec = self.tables[table].clone();
                let keys: Vec<Key> = world.tables[table].keys().cloned().collect();
                let Some(key) = keys.get(dice.roll(keys.len().max(1) as u64) as usize) else { return };
                let column = spec.key + dice.roll((spec.fills.len() - spec.key).max(1) as u64) as usize;
                let Some(fill) = spec.fills.get(column) else { return };
                match fill {
                    Fill::Words(_) | Fill::One(_) | Fill::Number => {
                        let value = self.value(fill, dice);
                        let is_copy = |was: &Record| is_telling(fill) && was.row[column] == value;
                        if self.kept.tables[table].get(key).is_some_and(is_copy) {
                            return;
                        }
                        world.tables[table].get_mut(key).unwrap().row[column] = value;
                    }
                    Fill::Ref => self.relink(world, table, key, column, dice),
                    Fill::Unique(_) => {
                        let value = self.value(fill, dice);
                        if !world.tables[table].values().any(|one| one.row[column] == value) {
                            world.tables[table].get_mut(key).unwrap().row[column] = value;
                        }
                    }
                    Fill::Key | Fill::Day | Fill::Second => {}
                }
            }
            8 => {
                let keys: Vec<Key> = world.tables[table].keys().cloned().collect();
                if let Some(key) = keys.last().filter(|_| dice.is(30)) {
                    self.delete(world, table, key, dice);
                }
            }
            _ => {}
        }
    }

    /// A row is moved, or linked again.
    fn relink(&mut self, world: &mut World, table: usize, key: &Key, column: usize, dice: &mut Dice) {
        let Some(link) = self.tables[table].links.iter().find(|link| link.column == column).cloned() else { return };
        let there: Vec<Key> = world.tables[link.to].keys().cloned().collect();
        if let Some(to) = there.get(dice.roll(there.len().max(1) as u64) as usize) {
            world.tables[table].get_mut(key).unwrap().row[column] = to[0].clone();
        }
    }

    pub fn go_on(&mut self, mut world: World, (table, key): (usize, &Key), dice: &mut Dice) -> World {
        self.kept = world.clone();
        for _ in 0..dice.roll(4) {
            self.work(&mut world, dice, false);
        }
        if dice.is(90) {
            self.delete(&mut world, table, key, dice);
        }
        if dice.is(35) {
            let other = [USERS, CATEGORIES, PROJECTS, TAGS][dice.roll(4) as usize];
            if let Some(key) = world.tables[other].keys().last().cloned() {
                self.delete(&mut world, other, &key, dice);
            }
        }
        for _ in 0..dice.roll(14) {
            self.work(&mut world, dice, true);
        }
        world
    }

    /// Rows that agree in all that they hold and refer to are the same record: there is nothing to tell them apart. So are
    /// rows whose key is nothing but references to the same.
    pub fn make_equal(&self, kept: &World, live: &mut World) {
        for (table, spec) in self.tables.iter().enumerate() {
            loop {
                let mut equal = Vec::new();
                for (key, now) in &live.tables[table] {
                    let Some(was) = kept.tables[table].get(key).filter(|was| was.birth != now.birth) else { continue };
                    let is_emptied =
                        |link: &Link| link.on_delete == OnDelete::SetNull && now.row[link.column].is_null();
                    let same_parents = spec.links.iter().all(|link| {
                        let (was, now_value) = (&was.row[link.column], &now.row[link.column]);
                        let (before, after) = (kept.birth(link.to, was), live.birth(link.to, now_value));
                        is_emptied(link) || (was == now_value && before == after)
                    });
                    let same_values = (0..was.row.len()).all(|at| {
                        was.row[at] == now.row[at]
                            || spec.links.iter().any(|link| link.column == at && is_emptied(link))
                    });
                    if same_parents && (spec.key == 2 || same_values) {
                        equal.push((key.clone(), was.birth));
                    }
                }
                if equal.is_empty() {
                    break;
                }
                for (key, birth) in equal {
                    live.tables[table].get_mut(&key).unwrap().birth = birth;
                }
            }
        }
    }
}

impl World {
    /// Which record a reference means.
    pub fn birth(&self, table: usize, value: &Value) -> Option<u64> {
        Some(self.tables[table].get(std::slice::from_ref(value))?.birth)
    }
}

/// Does such a value tell one record from another?
fn is_telling(fill: &Fill) -> bool {
    matches!(fill, Fill::Words(words) if *words > 1)
}

fn number_of(value: &Value) -> i64 {
    let Value::Integer(number) = value else { panic!("{value:?}") };
    *number
}
