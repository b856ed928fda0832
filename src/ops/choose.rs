//! Which snapshot a person means: by a selector, and by what of it they name.
//!
//! Owns the rule that `latest`, times, tags, labels and revisions mean the newest snapshot that has what is named beside
//! them (docs/scripting.md). Where none has it, the newest that the selector fits is taken: whoever looks into it says
//! what is missing.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use jiff::Zoned;

use crate::base::control::Control;
use crate::base::path::{self, EntryPath};
use crate::base::selector::Selector;
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::databases::Place;
use crate::ops::error::{OpError, Problem};
use crate::ops::holders::{self, Has, Holders};
use crate::ops::recover;
use crate::ops::show::{self, Part};
use crate::vault::random::Desk;
use crate::vault::select::{self, Doubt, Filter, SelectError, Selected};
use crate::vault::snapshots::{Snapshot, Snapshots};
use crate::vault::unlocked::UnlockedVault;

/// What is named beside the selector.
#[derive(Clone, Debug, Default)]
pub enum Named {
    #[default]
    Nothing,
    /// Sources and paths, as they are typed.
    Parts(Vec<OsString>),
    /// A file by its path or the end of it.
    File(OsString),
    /// A table, in the database of this part if there is one.
    Table { table: String, of: Option<OsString> },
    /// A question in SQL, to the database of this part if there is one.
    Question { sql: String, of: Option<OsString> },
}

/// Chooses among the snapshots of a vault.
pub struct Chooser<'v> {
    unlocked: &'v UnlockedVault,
    snapshots: &'v Snapshots,
    /// What was asked for.
    asked: Filter,
    /// The same, of the app that the configuration is of if no other is asked for.
    filter: Filter,
    /// The names of all sources there are.
    sources: BTreeSet<String>,
    control: Arc<Control>,
    now: Zoned,
    desk: OnceCell<Arc<Desk>>,
    /// What was found in a listing.
    found: RefCell<HashMap<String, bool>>,
}

impl<'v> Chooser<'v> {
    /// `app` is the one of the configuration. An id means its snapshot whatever app that is of.
    pub fn new(
        unlocked: &'v UnlockedVault,
        snapshots: &'v Snapshots,
        (asked, app): (Filter, Option<String>),
        control: Arc<Control>,
    ) -> Self {
        let filter = Filter { app: asked.app.clone().or(app), ..asked.clone() };
        let admitted = snapshots.readable.iter().filter(|snapshot| filter.admits(snapshot));
        let names = admitted.flat_map(|snapshot| &snapshot.manifest.sources).map(|source| source.name.to_string());
        let sources = names.collect();
        let (now, desk, found) = (Zoned::now(), OnceCell::new(), RefCell::default());
        Self { unlocked, snapshots, asked, filter, sources, control, now, desk, found }
    }

    /// The snapshot that is meant.
    pub fn choose(&self, selector: &Selector, named: &Named) -> Result<Selected<'v>, OpError> {
        self.of(selector).must_be_known(self.snapshots)?;
        self.choose_among(selector, named).map_err(|error| match error {
            OpError::Select(error) => error.beside(self.snapshots).into(),
            error => error,
        })
    }

    fn choose_among(&self, selector: &Selector, named: &Named) -> Result<Selected<'v>, OpError> {
        let all = &self.snapshots.readable;
        let filter = self.of(selector);
        let any = || select::select(all, selector, filter, &self.now, |_| Ok::<_, OpError>(true));
        if matches!((selector, named), (Selector::Prefix(_), _) | (_, Named::Nothing)) {
            return any();
        }
        let mut holders = None;
        let holds = |snapshot: &Snapshot| self.holds(&snapshot.manifest, named, &mut holders);
        match select::select(all, selector, filter, &self.now, holds) {
            Err(OpError::Select(_)) => any(),
            chosen => chosen,
        }
    }

    /// Which snapshots a selector may mean.
    fn of(&self, selector: &Selector) -> &Filter {
        if matches!(selector, Selector::Prefix(_)) { &self.asked } else { &self.filter }
    }

    /// The apps that have a snapshot which may be meant, each with its own, where nobody says of which app it is.
    pub fn apps(&self, selector: &Selector, named: &Named) -> Result<BTreeMap<String, &'v Manifest>, OpError> {
        if self.filter.app.is_some() || matches!(selector, Selector::Prefix(_)) {
            return Ok(BTreeMap::new());
        }
        let all = self.snapshots.readable.iter().map(|snapshot| snapshot.manifest.app.to_string());
        let all: BTreeSet<String> = all.collect();
        let mut apps = BTreeMap::new();
        for app in all {
            let is_its_own = |manifest: &Manifest, _: &SourceRecord| manifest.app.as_str() == app;
            if let Some(manifest) = self.among(selector, named, &is_its_own)? {
                apps.insert(app, manifest);
            }
        }
        Ok(apps)
    }

    /// Was it said on which host the snapshot was made?
    pub fn names_a_host(&self) -> bool {
        self.filter.host.is_some()
    }

    /// The snapshot that would be meant if only those counted that captured a source as `fits` says. Of an id, and of `latest~N`,
    /// it is the newest of those.
    pub fn among(
        &self,
        selector: &Selector,
        named: &Named,
        fits: &dyn Fn(&Manifest, &SourceRecord) -> bool,
    ) -> Result<Option<&'v Manifest>, OpError> {
        let latest = Selector::Latest(0);
        let selector = if matches!(selector, Selector::Prefix(_) | Selector::Latest(_)) { &latest } else { selector };
        let mut holders = None;
        let holds = |snapshot: &Snapshot| {
            let manifest = &snapshot.manifest;
            // Nobody means the snapshot made just before something was given back.
            let is_one =
                manifest.reason != select::SAFETY && manifest.sources.iter().any(|record| fits(manifest, record));
            Ok(is_one && self.holds(manifest, named, &mut holders)?)
        };
        match select::select(&self.snapshots.readable, selector, &self.filter, &self.now, holds) {
            Ok(selected) => Ok(Some(&selected.snapshot.manifest)),
            Err(OpError::Select(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What may be meant instead of `chosen`, and cannot be read.
    pub fn doubts(&self, selector: &Selector, chosen: &Snapshot) -> Result<Vec<Doubt<'v>>, OpError> {
        Ok(select::doubts(self.snapshots, selector, chosen, &self.now)?)
    }

    /// Refuses a source that no snapshot has, by name or, where a snapshot has but one, as a path in it.
    pub fn must_have(&self, text: &OsStr) -> Result<(), OpError> {
        let bytes = text.as_bytes();
        let name = bytes.split(|&byte| byte == b':').next().unwrap_or_default();
        if name.is_empty() || self.sources.iter().any(|source| source.as_bytes() == name) {
            return Ok(());
        }
        for snapshot in self.snapshots.readable.iter().filter(|snapshot| self.filter.admits(snapshot)) {
            if self.has_part(&self.part_by_name(text, &snapshot.manifest)?, &snapshot.manifest)? {
                return Ok(());
            }
        }
        let (name, known) = (String::from_utf8_lossy(name).into_owned(), self.sources.iter().cloned().collect());
        Err(SelectError::Unknown { what: "source", name, known }.into())
    }

    /// What of the ledger of this host is not known any more.
    pub fn altered(&self) -> &[String] {
        &self.snapshots.altered
    }

    /// How many snapshots are gone that were made before `chosen`, and so are not meant instead of it.
    pub fn gone_before(&self, chosen: &Snapshot) -> u64 {
        self.snapshots.gone.iter().filter(|object| **object < chosen.key).count() as u64
    }

    /// `SOURCE`, `SOURCE:PATH`, `SOURCE/PATH`, `:PATH`; or just a path, where no source is called so. Of a path without a source
    /// it is the only source that has it.
    pub fn part(&self, text: &OsStr, manifest: &Manifest) -> Result<Part, OpError> {
        let part = self.part_by_name(text, manifest)?;
        if part.source.is_none() && manifest.sources.len() > 1 {
            let having = self.having(&part.path, manifest)?;
            let [only] = &having[..] else {
                let snapshot = manifest.id.short();
                return Err(match having.is_empty() {
                    true => Problem::NowhereIn { snapshot, path: part.path.to_string() },
                    false => Problem::WhichSource { snapshot, sources: having },
                }
                .into());
            };
            return Ok(Part { source: Some(only.clone()), ..part });
        }
        let is_absent = part.source.is_some() && part.source_of(manifest).is_err();
        if !is_absent || manifest.sources.len() != 1 || text.as_bytes().contains(&b':') {
            return Ok(part);
        }
        // Another snapshot has a source of that name; this one may have such a path.
        let path = Part { source: None, path: typed(text.as_bytes())? };
        let path = self.as_shown(path, |part| self.has_part(part, manifest))?;
        Ok(if self.has_part(&path, manifest)? { path } else { part })
    }

    /// The same, where the name of any source there is means that source.
    fn part_by_name(&self, text: &OsStr, manifest: &Manifest) -> Result<Part, OpError> {
        let bytes = text.as_bytes();
        let (name, rest) = match bytes.iter().position(|&b| b == b':') {
            Some(at) => (&bytes[..at], &bytes[at + 1..]),
            None => (bytes, &b""[..]),
        };
        let name = String::from_utf8_lossy(name).into_owned();
        let is_source = self.sources.contains(&name) || manifest.sources.iter().any(|one| one.name.as_str() == name);
        if bytes.is_empty() {
            return Err(Problem::EmptyPart.into());
        }
        let is_path = || match (&manifest.sources[..], typed(bytes)) {
            ([_], _) => Ok(true),
            (_, Ok(path)) => Ok::<_, OpError>(!self.having(&path, manifest)?.is_empty()),
            (_, Err(_)) => Ok(false),
        };
        let (source, path) = match !name.is_empty() && !is_source && is_path()? {
            true => (None, bytes),
            false => ((!name.is_empty()).then_some(name), rest),
        };
        let has = |part: &Part| self.has_part(part, manifest);
        if let Some(part) = self.slashed(bytes, manifest)?
            && (source.is_some() || !has(&Part { source: None, path: typed(bytes)? })?)
        {
            return self.as_shown(part, has);
        }
        self.as_shown(Part { source, path: typed(path)? }, has)
    }

    /// `SOURCE/PATH`, as differences and issues are shown. No source has a slash in its name.
    fn slashed(&self, text: &[u8], manifest: &Manifest) -> Result<Option<Part>, OpError> {
        let Some((name, rest)) = str::from_utf8(text).ok().and_then(|text| text.split_once('/')) else {
            return Ok(None);
        };
        let is_source = manifest.sources.iter().any(|source| source.name.as_str() == name);
        let part = || Ok(Part { source: Some(name.to_owned()), path: typed(rest.as_bytes())? });
        (is_source && !name.contains(':')).then(part).transpose()
    }

    /// A file by its path or the end of it, as `part` but that a source is named only with a colon.
    pub fn file(&self, text: &OsStr, manifest: &Manifest) -> Result<Part, OpError> {
        match text.as_bytes().contains(&b':') {
            true => self.part(text, manifest),
            false => {
                let part = Part { source: None, path: typed(text.as_bytes())? };
                self.as_shown(part, |part| self.has_file(part, manifest))
            }
        }
    }

    /// A path may be given as it is shown, with `%XX` for letters that a terminal does not show. Where something of the
    /// snapshot is shown so, it is meant; otherwise the letters stand for themselves, unless nothing is called so.
    fn as_shown(&self, part: Part, has: impl Fn(&Part) -> Result<bool, OpError>) -> Result<Part, OpError> {
        let shown = std::str::from_utf8(part.path.as_bytes()).ok().filter(|text| text.contains('%'));
        let meant = shown.and_then(path::decode).and_then(|bytes| EntryPath::from_bytes(&bytes).ok());
        let Some(meant) = meant.map(|path| Part { path, ..part.clone() }) else { return Ok(part) };
        let is_shown_so = shown.is_some_and(|shown| meant.path.to_string() == shown);
        Ok(if has(&meant)? && (is_shown_so || !has(&part)?) { meant } else { part })
    }

    fn holds(&self, manifest: &Manifest, named: &Named, holders: &mut Option<Holders>) -> Result<bool, OpError> {
        if self.control.stopped() {
            return Err(Problem::Interrupted.into());
        }
        match named {
            Named::Nothing => Ok(true),
            Named::Parts(parts) => {
                for text in parts {
                    if !self.has_part(&self.part_by_name(text, manifest)?, manifest)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Named::File(text) => self.has_file(&self.file(text, manifest)?, manifest),
            Named::Table { table, of } => {
                let places = self.places(of.as_deref(), manifest)?;
                let desk = self.desk()?;
                let holders = holders.get_or_insert_with(|| Holders::new(desk, self.control.clone()));
                let is_exact = self.is_exactly_known(table);
                let is_it = |place: &Place<'_>| match holders.has(place, manifest, table) {
                    Has::Yes if is_exact => holders.has_exactly(place, manifest, table),
                    has => has != Has::No,
                };
                Ok(places.iter().any(is_it))
            }
            Named::Question { sql, of } => {
                let places = self.places(of.as_deref(), manifest)?;
                let of_any = of.is_some() || !self.is_of_tables(sql);
                if of_any {
                    return Ok(!places.is_empty());
                }
                Ok(places.iter().any(|place| self.may_be_asked(sql, place))
                    || !holders::named_in(sql, places).is_empty())
            }
        }
    }

    /// The databases of the part, if the snapshot has it.
    fn places<'m>(&self, of: Option<&OsStr>, manifest: &'m Manifest) -> Result<Vec<Place<'m>>, OpError> {
        let Some(of) = of else {
            let all = Place::all(manifest);
            return Ok(if all.is_empty() { Place::find(manifest, None).into_iter().collect() } else { all });
        };
        let part = self.part_by_name(of, manifest)?;
        if !self.has_part(&part, manifest)? {
            return Ok(Vec::new());
        }
        let of_source = |place: &Place<'_>| part.source.as_deref() == Some(place.source.name.as_str());
        Ok(match Place::find(manifest, Some(&part)) {
            Ok(place) => vec![place],
            Err(_) => Place::all(manifest).into_iter().filter(of_source).collect(),
        })
    }

    /// Has any snapshot of a server a table of this very name? Then another one that differs in capital letters is not meant.
    fn is_exactly_known(&self, table: &str) -> bool {
        let admitted = self.snapshots.readable.iter().filter(|snapshot| self.filter.admits(snapshot));
        let mut places = admitted.flat_map(|snapshot| Place::all(&snapshot.manifest)).filter(Place::is_postgres);
        places.any(|place| holders::known_tables(&place).any(|name| holders::is_exactly(name, table)))
    }

    /// Does the statement name a table of any snapshot?
    fn is_of_tables(&self, sql: &str) -> bool {
        let admitted = self.snapshots.readable.iter().filter(|snapshot| self.filter.admits(snapshot));
        let mut places = admitted.flat_map(|snapshot| Place::all(&snapshot.manifest));
        places.any(|place| !holders::named_in(sql, vec![place]).is_empty())
    }

    /// The sources that have a path.
    fn having(&self, path: &EntryPath, manifest: &Manifest) -> Result<Vec<String>, OpError> {
        let mut having = Vec::new();
        for source in &manifest.sources {
            let part = Part { source: Some(source.name.to_string()), path: path.clone() };
            if self.has_part(&part, manifest)? {
                having.push(source.name.to_string());
            }
        }
        Ok(having)
    }

    /// Is a database damaged, so that its tables were not counted, and has another snapshot such a table in it?
    fn may_be_asked(&self, sql: &str, place: &Place<'_>) -> bool {
        let is_uncounted = place.known.is_some_and(|known| known.damage.is_some() && known.rows.is_empty());
        let admitted = || self.snapshots.readable.iter().filter(|snapshot| self.filter.admits(snapshot));
        let mut same = admitted().flat_map(|snapshot| Place::all(&snapshot.manifest));
        is_uncounted
            && same.any(|other| other.label() == place.label() && !holders::named_in(sql, vec![other]).is_empty())
    }

    fn has_part(&self, part: &Part, manifest: &Manifest) -> Result<bool, OpError> {
        if part.source.is_none() && manifest.sources.len() > 1 {
            return Ok(!self.having(&part.path, manifest)?.is_empty());
        }
        let Ok(source) = part.source_of(manifest) else { return Ok(false) };
        // What could not be captured, or was gone, is not what anybody wants back.
        if manifest.absence(source).or_else(|| manifest.emptied(source)).is_some() {
            return Ok(false);
        }
        if part.path.is_root() {
            return Ok(true);
        }
        self.once((&source.listing, &part.path), || show::is_there(self.desk()?.library(), source, &part.path))
    }

    fn has_file(&self, part: &Part, manifest: &Manifest) -> Result<bool, OpError> {
        let listings: Vec<_> = manifest.sources.iter().map(|source| (&source.name, &source.listing)).collect();
        self.once((listings, &part.source, &part.path), || match recover::named(self.unlocked, manifest, part) {
            Err(OpError::Problem(Problem::NoPath { .. } | Problem::Nowhere { .. })) => Ok(false),
            Err(OpError::Problem(Problem::WhichFile { .. })) | Ok(_) => Ok(true),
            Err(error) => Err(error),
        })
    }

    /// Looks a question up once for all snapshots that are the same in what it asks of.
    fn once(
        &self,
        question: impl serde::Serialize,
        look: impl FnOnce() -> Result<bool, OpError>,
    ) -> Result<bool, OpError> {
        let question = serde_json::to_string(&question).expect("BUG: plain fields");
        if let Some(found) = self.found.borrow().get(&question) {
            return Ok(*found);
        }
        let found = look()?;
        self.found.borrow_mut().insert(question, found);
        Ok(found)
    }

    fn desk(&self) -> Result<Arc<Desk>, OpError> {
        if let Some(desk) = self.desk.get() {
            return Ok(desk.clone());
        }
        let desk = Desk::new(self.unlocked.library()?.owned());
        Ok(self.desk.get_or_init(|| desk).clone())
    }
}

fn typed(path: &[u8]) -> Result<EntryPath, OpError> {
    let text = OsStr::from_bytes(path);
    EntryPath::from_typed(text).map_err(|_| Problem::BadPart { part: path::encode(path) }.into())
}
