//! Floor 2: where a vault's objects are kept: a folder, a bucket or memory, behind one narrow synchronous struct.
//!
//! Owns creating, reading, listing and removing objects, and telling what went wrong. Never overwrites an object, never
//! knows what one means, and reads no environment. Async stays inside.

mod cause;
mod error;
mod faults;
mod leftovers;
mod open;
mod patience;
mod probe;
mod wait;

use std::fmt;
use std::fs::{self, File};
use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::base::name::ObjectKey;
use crate::store::cause::Kind;

pub use cause::Cause;
pub use error::StoreError;
pub use faults::{Faults, Logged, Operation, When};
pub use open::{Options, STORES};
pub use patience::{Patience, Watch};

/// How often a put is begun when nobody can tell what became of it.
const TRIES: usize = 3;

/// A range longer than this is asked for only once the object is known to be as long: a length may come from damage.
const LONG_RANGE: u64 = 64 << 20;

/// A place for objects. Clones share it; all methods may be called from many threads at once.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    place: Arc<Place>,
    faults: Option<Arc<Faults>>,
    patience: Option<Arc<Patience>>,
}

#[derive(Debug)]
struct Place {
    /// As the person wrote it; holds no secret.
    location: String,
    medium: Medium,
}

#[derive(Debug)]
enum Medium {
    Folder {
        folder: PathBuf,
        /// A file that was there when it was opened, and is gone when the folder is: it was unmounted, say.
        marker: Option<PathBuf>,
    },
    Memory,
    Bucket {
        bucket: String,
        endpoint: Option<String>,
    },
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: ObjectKey,
    pub size: u64,
}

impl Store {
    /// Creates an object that must not be there yet; it is durable once this returns.
    ///
    /// An object whose name carries its digest may be there already with these very bytes: then an earlier try made
    /// it, perhaps before a crash, and all is well. Without a digest that holds only for a try of this very call.
    pub fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        let put = |again| {
            self.faulty(Operation::Put, key.as_str(), bytes.len() as u64, || {
                self.create_object(key, bytes.clone(), again)?;
                self.still_there()
            })
        };
        self.patiently(put)
    }

    /// The whole object.
    pub fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        let get = || self.fetch(key, None).map_err(|error| self.explain("read", key, error));
        let get = |_| self.faulty(Operation::Get, key.as_str(), 0, || self.or_away(get()));
        self.patiently(get).inspect(|bytes| self.count(bytes))
    }

    /// Exactly this range of the object, or an error. An empty range is empty whether the object is there or not.
    pub fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        let get = || self.fetch_range(key, range.clone());
        let get = |_| self.faulty(Operation::GetRange, key.as_str(), 0, || self.or_away(get()));
        self.patiently(get).inspect(|bytes| self.count(bytes))
    }

    /// The object's size; `None` when there is no such object.
    pub fn head(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        let head = || {
            let size = self.size(key)?;
            if size.is_none() { self.still_there().map(|()| None) } else { Ok(size) }
        };
        self.patiently(|_| self.faulty(Operation::Head, key.as_str(), 0, head))
    }

    /// The objects in a folder and below, sorted by key; `""` lists all. Names that no vault uses are passed over:
    /// whoever shares a bucket, or leaves a note in the folder, does no harm.
    pub fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        let list = || {
            let prefix = ObjectPath::from(folder);
            let all = self
                .wait(|objects| async move { objects.list(Some(&prefix)).try_collect::<Vec<_>>().await })
                .map_err(|error| self.failure("list", folder, &error))?;
            let listed = |meta: object_store::ObjectMeta| {
                Some(Listed { key: meta.location.as_ref().parse().ok()?, size: meta.size })
            };
            let mut found: Vec<Listed> = all.into_iter().filter_map(listed).collect();
            found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            // What is not there lists as nothing.
            self.still_there()?;
            Ok(found)
        };
        self.patiently(|_| self.faulty(Operation::List, folder, 0, list))
    }

    /// Removes an object; one that is not there is removed already.
    pub fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let delete = || {
            let path = path(key);
            match self.wait(|objects| async move { objects.delete(&path).await }) {
                Err(error) if cause::read(&error).0 != Kind::NotFound => Err(self.explain("remove", key, error)),
                _ => self.still_there(),
            }
        };
        self.patiently(|_| self.faulty(Operation::Delete, key.as_str(), 0, delete))
    }

    /// The place as the person named it, for messages.
    pub fn location(&self) -> &str {
        &self.place.location
    }

    /// Whether objects are files on this machine.
    pub fn is_local(&self) -> bool {
        self.folder().is_some()
    }

    /// The folder that objects are files in, where they are.
    pub fn folder(&self) -> Option<&Path> {
        match &self.place.medium {
            Medium::Folder { folder, .. } => Some(folder),
            _ => None,
        }
    }

    /// A name of the place that is the same however it was written. `None` for memory, which does not last.
    pub fn lasting_name(&self) -> Option<String> {
        match &self.place.medium {
            Medium::Folder { folder, .. } => Some(format!("file://{}", folder.display())),
            Medium::Memory => None,
            Medium::Bucket { endpoint: None, .. } => Some(self.place.location.clone()),
            Medium::Bucket { endpoint: Some(endpoint), .. } => Some(format!("{} at {endpoint}", self.place.location)),
        }
    }

    /// What kind of place it is, in a few words.
    pub fn describe(&self) -> String {
        match &self.place.medium {
            Medium::Folder { folder, .. } => format!("the folder {}", folder.display()),
            Medium::Memory => "the memory of this process".to_owned(),
            Medium::Bucket { bucket, endpoint: None } => format!("the bucket {bucket} at AWS"),
            Medium::Bucket { bucket, endpoint: Some(endpoint) } => format!("the bucket {bucket} at {endpoint}"),
        }
    }

    /// The same place, failing as `faults` says. For tests.
    pub fn with_faults(self, faults: Arc<Faults>) -> Self {
        Self { faults: Some(faults), ..self }
    }

    fn faulty<T>(
        &self,
        operation: Operation,
        object: &str,
        bytes: u64,
        run: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Some(faults) = &self.faults else { return run() };
        let begun = faults.begin(operation, object, bytes, self.location())?;
        let result = run();
        faults.end(begun).and(result)
    }

    fn count(&self, bytes: &Bytes) {
        self.faults.iter().for_each(|faults| faults.handed_out(bytes.len() as u64));
    }

    fn create_object(&self, key: &ObjectKey, bytes: Bytes, again: bool) -> Result<(), StoreError> {
        let mut lost = again;
        for last in (0..TRIES).map(|n| n + 1 == TRIES) {
            let (path, payload) = (path(key), PutPayload::from_bytes(bytes.clone()));
            let options = PutOptions::from(PutMode::Create);
            let Err(error) = self.wait(|objects| async move { objects.put_opts(&path, payload, options).await }) else {
                return Ok(());
            };
            match cause::read(&error).0 {
                Kind::Exists if lost || key.digest().is_some() || cause::retried(&error) => match self.fetch(key, None)
                {
                    Ok(stored) if stored == bytes => return self.settle(key),
                    Ok(_) => return Err(self.exists(key)),
                    // Refused for a writer that then failed, or removed meanwhile.
                    Err(error) if cause::read(&error).0 == Kind::NotFound && !last => {}
                    Err(error) => return Err(self.explain("read back", key, error)),
                },
                Kind::Exists if last || self.size(key)?.is_some() => return Err(self.exists(key)),
                Kind::Exists => {}
                Kind::Lost if !last => lost = true,
                _ => return Err(self.explain("write", key, error)),
            }
        }
        unreachable!("BUG: the last try returns")
    }

    /// Makes an object durable that an earlier try, perhaps of a process that died, may have left in the page cache.
    fn settle(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let Some(folder) = self.folder() else { return Ok(()) };
        let file = folder.join(key.as_str());
        for path in file.ancestors().take_while(|path| path.starts_with(folder)) {
            File::open(path).and_then(|file| file.sync_all()).map_err(|error| StoreError::Failed {
                verb: "make durable",
                object: key.to_string(),
                location: self.location().to_owned(),
                source: error.into(),
            })?;
        }
        Ok(())
    }

    fn fetch_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let wanted = range.end - range.start;
        if wanted > LONG_RANGE {
            self.long_enough(key, range.end)?;
        }
        match self.fetch(key, Some(range.clone())) {
            Ok(bytes) if bytes.len() as u64 == wanted => Ok(bytes),
            Ok(bytes) => Err(self.truncated(key, range.start + bytes.len() as u64, range.end)),
            Err(error) => match cause::read(&error).0 {
                Kind::Whole => {
                    let whole = self.fetch(key, None).map_err(|error| self.explain("read", key, error))?;
                    self.slice(key, &whole, range)
                }
                Kind::Other => {
                    self.long_enough(key, range.end)?;
                    Err(self.explain("read", key, error))
                }
                _ => Err(self.explain("read", key, error)),
            },
        }
    }

    fn slice(&self, key: &ObjectKey, whole: &Bytes, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.end > whole.len() as u64 {
            return Err(self.truncated(key, whole.len() as u64, range.end));
        }
        Ok(whole.slice(range.start as usize..range.end as usize))
    }

    fn long_enough(&self, key: &ObjectKey, wanted: u64) -> Result<(), StoreError> {
        match self.size(key)? {
            Some(have) if have < wanted => Err(self.truncated(key, have, wanted)),
            Some(_) => Ok(()),
            None => Err(StoreError::NotFound { key: key.clone(), location: self.location().to_owned() }),
        }
    }

    fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        self.openable(key).map_err(|error| self.explain("look at", key, error))?;
        let path = path(key);
        match self.wait(|objects| async move { objects.head(&path).await }) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(error) if cause::read(&error).0 == Kind::NotFound => Ok(None),
            Err(error) => Err(self.explain("look at", key, error)),
        }
    }

    /// Opening a FIFO waits for somebody who writes to it, and opening a device can set it in motion: neither is an object.
    fn openable(&self, key: &ObjectKey) -> object_store::Result<()> {
        let there = self.folder().and_then(|folder| fs::metadata(folder.join(key.as_str())).ok());
        match there {
            Some(there) if !there.is_file() && !there.is_dir() => {
                let source = "it is no regular file".into();
                Err(object_store::Error::Generic { store: "LocalFileSystem", source })
            }
            _ => Ok(()),
        }
    }

    fn fetch(&self, key: &ObjectKey, range: Option<Range<u64>>) -> object_store::Result<Bytes> {
        self.openable(key)?;
        let path = path(key);
        self.wait(|objects| async move {
            match range {
                Some(range) => objects.get_range(&path, range).await,
                None => objects.get(&path).await?.bytes().await,
            }
        })
    }

    /// Local and memory futures never wait for anything but the disk: they run right here.
    fn wait<T, F>(&self, request: impl FnOnce(Arc<dyn ObjectStore>) -> F) -> object_store::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = object_store::Result<T>> + Send + 'static,
    {
        let future = request(Arc::clone(&self.objects));
        let stopped = || self.patience.as_ref().is_some_and(|patience| patience.stopped());
        match self.place.medium {
            Medium::Bucket { .. } => wait::on_network(future, stopped).unwrap_or_else(|| Err(cause::interrupted())),
            _ => wait::here(future),
        }
    }

    fn exists(&self, key: &ObjectKey) -> StoreError {
        StoreError::Exists { key: key.clone(), location: self.location().to_owned() }
    }

    fn truncated(&self, key: &ObjectKey, have: u64, wanted: u64) -> StoreError {
        StoreError::Truncated { key: key.clone(), location: self.location().to_owned(), have, wanted }
    }

    fn explain(&self, verb: &'static str, key: &ObjectKey, error: object_store::Error) -> StoreError {
        match cause::read(&error).0 {
            Kind::NotFound => StoreError::NotFound { key: key.clone(), location: self.location().to_owned() },
            Kind::Exists => self.exists(key),
            _ => self.failure(verb, key.as_str(), &error),
        }
    }

    fn failure(&self, verb: &'static str, object: &str, error: &object_store::Error) -> StoreError {
        let location = self.location().to_owned();
        let object = if object.is_empty() { "objects" } else { object }.to_owned();
        let (kind, source) = cause::read(error);
        match kind {
            Kind::NoSpace => StoreError::NoSpace { object, location, source },
            Kind::ReadOnly => StoreError::ReadOnly { verb, object, location, source },
            Kind::Denied => StoreError::Denied { verb, object, location, source },
            Kind::NoBucket => StoreError::NoBucket { location, source },
            Kind::NoCredentials => StoreError::NoCredentials { location, source },
            Kind::Unreachable | Kind::Lost => StoreError::Unreachable { location, source },
            Kind::Interrupted => StoreError::Interrupted { location },
            Kind::NotFound | Kind::Exists | Kind::Whole | Kind::Other => {
                StoreError::Failed { verb, object, location, source }
            }
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.location())
    }
}

fn path(key: &ObjectKey) -> ObjectPath {
    ObjectPath::from(key.as_str())
}
