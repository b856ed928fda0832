//! Several stores as one: their tables beside each other, and one change of all of them.
//!
//! Owns how tables are called (those of the first store as they are, those of any other `NAME.TABLE`) and the order of a
//! commit. Stores do not commit at one moment (docs/decisions/0025): what may fail is done in all of them before the first
//! commits, and where one lasts and the next does not, that is told. Never knows what the stores are.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::control::Control;
use crate::base::error::{Explained, one_line};
use crate::base::name::Name;
use crate::base::record::{Change, Each, EachTouched, Ended, Key, Records, Rules, Table, Value};
use crate::record::error::RecordError;

/// Stores, the first without a name.
pub struct Several<S: ?Sized> {
    members: Vec<Member<S>>,
    /// By what a table is called here: whose it is, and what it is called there.
    places: RefCell<BTreeMap<String, (usize, String)>>,
    control: Arc<Control>,
}

struct Member<S: ?Sized> {
    name: Option<Name>,
    store: Box<S>,
    /// Rows of it are written in this transaction.
    begun: bool,
    mark: Option<String>,
}

/// What a table of another store than the first is called.
pub fn called(store: &Name, table: &str) -> String {
    format!("{store}.{table}")
}

/// The marks of stores by their names; that of the first is under none.
pub fn marks(text: &str) -> BTreeMap<String, String> {
    serde_json::from_str(text).unwrap_or_default()
}

impl<S: Records + ?Sized> Several<S> {
    pub fn new(first: Box<S>, control: Arc<Control>) -> Self {
        let mut several = Self { members: Vec::new(), places: RefCell::default(), control };
        several.push(None, first);
        several
    }

    pub fn add(&mut self, name: Name, store: Box<S>) {
        self.push(Some(name), store);
    }

    fn push(&mut self, name: Option<Name>, store: Box<S>) {
        self.members.push(Member { name, store, begun: false, mark: None });
    }

    /// One of the stores, by its place.
    pub fn store(&self, at: usize) -> &S {
        &self.members[at].store
    }

    /// Whose a table is, by the place of its store.
    pub fn whose(&self, table: &str) -> Result<usize, Explained> {
        Ok(self.place(table)?.0)
    }

    /// The store whose a table is, its name, and the table as it is there.
    pub fn origin<'t>(&self, table: &'t Table) -> Result<(Option<&Name>, &S, Cow<'t, Table>), Explained> {
        let (at, own) = self.own(table)?;
        Ok((self.members[at].name.as_ref(), self.store(at), own))
    }

    fn place(&self, table: &str) -> Result<(usize, String), Explained> {
        if self.places.borrow().is_empty() {
            self.tables()?;
        }
        let gone = || RecordError::NoTable { name: table.to_owned(), place: self.label(), nearest: None };
        self.places.borrow().get(table).cloned().ok_or_else(|| Box::new(gone()) as Explained)
    }

    /// A table as the store has it whose it is.
    fn own<'t>(&self, table: &'t Table) -> Result<(usize, Cow<'t, Table>), Explained> {
        let (at, name) = self.place(&table.name)?;
        Ok((at, if name == table.name { Cow::Borrowed(table) } else { Cow::Owned(Table { name, ..table.clone() }) }))
    }
}

impl<S: Records + ?Sized> Records for Several<S> {
    fn label(&self) -> String {
        self.members.iter().map(|member| member.store.label()).collect::<Vec<_>>().join(", ")
    }

    fn tables(&self) -> Result<Vec<Table>, Explained> {
        let (mut tables, mut places) = (Vec::new(), BTreeMap::new());
        let mut taken: BTreeMap<String, usize> = BTreeMap::new();
        for (at, member) in self.members.iter().enumerate() {
            for mut table in member.store.tables()? {
                let own = table.name.clone();
                if let Some(name) = &member.name {
                    table.name = called(name, &own);
                    table.references.iter_mut().for_each(|reference| reference.to = called(name, &reference.to));
                    table.inherits.iter_mut().for_each(|parent| *parent = called(name, parent));
                }
                if *taken.entry(table.name.to_lowercase()).or_insert(at) != at {
                    let (first, other) = (self.members[0].store.label(), member.store.label());
                    return Err(Box::new(RecordError::SameName { table: table.name, first, other }));
                }
                places.insert(table.name.clone(), (at, own));
                tables.push(table);
            }
        }
        *self.places.borrow_mut() = places;
        Ok(tables)
    }

    fn find(
        &self,
        table: &Table,
        by: &[usize],
        keys: &[Key],
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        let (at, table) = self.own(table)?;
        self.store(at).find(&table, by, keys, wanted, each)
    }

    fn matching(
        &self,
        table: &Table,
        condition: Option<&str>,
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        let (at, table) = self.own(table)?;
        self.store(at).matching(&table, condition, wanted, each)
    }

    /// What refers to another store is compared here.
    fn is_loose(&self, child: (&Table, &[usize]), parent: (&Table, &[usize])) -> bool {
        match (self.own(child.0), self.own(parent.0)) {
            (Ok((at, own)), Ok((other, to))) if at == other => {
                self.store(at).is_loose((&own, child.1), (&to, parent.1))
            }
            _ => false,
        }
    }

    fn typed(&self, table: &Table, column: usize, text: &str) -> Result<Value, Explained> {
        let (at, table) = self.own(table)?;
        self.store(at).typed(&table, column, text)
    }
}

impl<S: Change + ?Sized> Several<S> {
    fn begun(&mut self) -> impl Iterator<Item = &mut Member<S>> {
        self.members.iter_mut().filter(|member| member.begun)
    }
}

impl<S: Change + ?Sized> Change for Several<S> {
    /// Stores that no row is written to are not kept from anybody.
    fn begin(&mut self, rules: Rules<'_>) -> Result<(), Explained> {
        let mut own: Vec<Vec<String>> = vec![Vec::new(); self.members.len()];
        for table in rules.tables {
            let (at, name) = self.place(table)?;
            own[at].push(name);
        }
        let mut outlived: Vec<Vec<(String, Key)>> = vec![Vec::new(); self.members.len()];
        for (table, key) in rules.outlived {
            // Of a table that is gone there are no rows.
            let Ok((at, name)) = self.place(table) else { continue };
            outlived[at].push((name, key.clone()));
        }
        for (at, tables) in own.iter().enumerate().filter(|(_, tables)| !tables.is_empty()) {
            let outlived = &outlived[at];
            if let Err(error) = self.members[at].store.begin(Rules { tables, outlived, ..rules }) {
                self.roll_back();
                return Err(error);
            }
            self.members[at].begun = true;
        }
        Ok(())
    }

    fn defers(&self) -> bool {
        self.members.iter().filter(|member| member.begun).all(|member| member.store.defers())
    }

    fn cascades(&self) -> bool {
        self.members.iter().filter(|member| member.begun).any(|member| member.store.cascades())
    }

    fn insert(&mut self, table: &Table, columns: &[usize], values: &[Value]) -> Result<(), Explained> {
        let (at, table) = self.own(table)?;
        self.members[at].store.insert(&table, columns, values)
    }

    fn update(&mut self, table: &Table, key: &[Value], columns: &[usize], values: &[Value]) -> Result<bool, Explained> {
        let (at, table) = self.own(table)?;
        self.members[at].store.update(&table, key, columns, values)
    }

    fn delete(&mut self, table: &Table, key: &[Value]) -> Result<bool, Explained> {
        let (at, table) = self.own(table)?;
        self.members[at].store.delete(&table, key)
    }

    fn converted(&self, table: &Table, column: usize, value: &Value) -> Result<Value, String> {
        let (at, table) = self.own(table).map_err(|error| error.to_string())?;
        self.store(at).converted(&table, column, value)
    }

    fn place(&self, table: &Table, columns: &[usize], values: &[Value]) -> Result<Option<Value>, Explained> {
        let (at, table) = self.own(table)?;
        self.store(at).place(&table, columns, values)
    }

    fn next_number(&self, table: &Table, column: usize) -> Result<i64, Explained> {
        let (at, table) = self.own(table)?;
        self.store(at).next_number(&table, column)
    }

    fn touched(&self, table: &Table, each: &mut EachTouched<'_>) -> Result<(), Explained> {
        let (at, table) = self.own(table)?;
        if self.members[at].begun { self.store(at).touched(&table, each) } else { Ok(()) }
    }

    fn unwatched(&self) -> Result<Vec<String>, Explained> {
        let mut all = Vec::new();
        for member in &self.members {
            let some = member.store.unwatched()?;
            all.extend(some.into_iter().map(|what| match &member.name {
                Some(name) => format!("{what} in {name}"),
                None => what,
            }));
        }
        Ok(all)
    }

    /// The marks of all, for [`marks`].
    fn mark(&mut self) -> Result<Option<String>, Explained> {
        let mut marks = BTreeMap::new();
        for member in self.begun() {
            member.mark = member.store.mark()?;
            let name = member.name.as_ref().map(Name::to_string).unwrap_or_default();
            marks.extend(member.mark.clone().map(|mark| (name, mark)));
        }
        Ok((!marks.is_empty()).then(|| serde_json::to_string(&marks).expect("BUG: plain texts")))
    }

    fn ready(&mut self) -> Result<(), Explained> {
        self.begun().try_for_each(|member| member.store.ready())
    }

    /// One after the other. A store that can be asked later what became of it is one that may be lost while it commits,
    /// and goes first.
    fn commit(&mut self) -> Result<Ended, Explained> {
        self.ready()?;
        let mut order: Vec<usize> = (0..self.members.len()).filter(|at| self.members[*at].begun).collect();
        order.sort_by_key(|at| self.members[*at].mark.is_none());
        let mut lasting: Vec<String> = Vec::new();
        for at in order {
            let member = &mut self.members[at];
            let ended = member.store.commit();
            member.begun = ended.is_err();
            let other = member.store.label();
            match ended {
                Ok(Ended::ForGood) => lasting.push(other),
                Ok(unknown) => {
                    self.roll_back();
                    return Ok(unknown);
                }
                Err(error) if lasting.is_empty() => return Err(error),
                Err(error) => {
                    self.roll_back();
                    let (lasting, reason) = (lasting.join(", "), one_line(&*error));
                    return Ok(Ended::Unknown(Box::new(RecordError::Apart { lasting, other, reason })));
                }
            }
            self.control.reached("one is committed");
        }
        Ok(Ended::ForGood)
    }

    fn roll_back(&mut self) {
        for member in self.begun() {
            member.store.roll_back();
            member.begun = false;
        }
    }
}
