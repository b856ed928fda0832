//! From a location to a store: a folder, `file:///folder`, `s3://bucket/prefix` or `memory://name`.
//!
//! Owns how locations are written and which settings a bucket needs. Never reads the environment: settings are handed
//! in. Makes no folder unless asked to by [`Store::create`].

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};

use crate::base::error::reason;
use crate::store::cause::{self, Cause};
use crate::store::error::StoreError;
use crate::store::{Medium, Place, Store, wait};

/// The object that stays as long as anything does, once it is there.
const MARKER: &str = "vault.json";

/// What a location alone does not say.
#[derive(Clone, Default)]
pub struct Options {
    /// The `AWS_*` variables, by name. Those that mean nothing to storage are ignored.
    pub aws: BTreeMap<String, String>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.aws.keys()).finish()
    }
}

/// A location, parsed.
#[derive(Debug, PartialEq, Eq)]
enum Location {
    Folder(PathBuf),
    Bucket {
        bucket: String,
        prefix: String,
    },
    /// Shared by name within the process; without a name, one of its own.
    Memory(String),
}

impl Store {
    /// Opens a place that is there.
    pub fn open(location: &str, options: &Options) -> Result<Self, StoreError> {
        match parse(location)? {
            Location::Folder(folder) => open_folder(location, &folder),
            Location::Memory(name) => Ok(open_memory(location, name)),
            Location::Bucket { bucket, prefix } => open_bucket(location, bucket, &prefix, options),
        }
    }

    /// Opens a place, making the folder, and those above it, where it is one. Buckets are not made.
    pub fn create(location: &str, options: &Options) -> Result<Self, StoreError> {
        if let Location::Folder(folder) = parse(location)? {
            make_folder(&folder).map_err(|error| folder_error("make the folder for", location, error))?;
        }
        Self::open(location, options)
    }

    /// What [`Store::lasting_name`] says of a folder, be it there or not. `None` for other places.
    pub fn lasting_name_of(location: &str) -> Option<String> {
        match parse(location).ok()? {
            Location::Folder(folder) => {
                Some(format!("file://{}", lasting(&std::path::absolute(folder).ok()?, 0).display()))
            }
            _ => None,
        }
    }

    fn at(location: &str, medium: Medium, objects: Arc<dyn ObjectStore>) -> Self {
        let place = Arc::new(Place { location: location.to_owned(), medium });
        Self { objects, place, faults: None, patience: None }
    }
}

/// A kind of store: the scheme of its locations, and how what follows it is read.
pub struct KindOf {
    pub scheme: &'static str,
    parse: fn(rest: &str) -> Result<Location, &'static str>,
}

/// Every kind of store there is. The contract in tests/it/store_contract.rs goes through them.
pub static STORES: &[KindOf] = &[
    KindOf { scheme: "file", parse: parse_folder },
    KindOf { scheme: "s3", parse: parse_bucket },
    KindOf { scheme: "memory", parse: |rest| Ok(Location::Memory(rest.to_owned())) },
];

fn parse(text: &str) -> Result<Location, StoreError> {
    let bad = |problem| StoreError::BadLocation { location: without_credentials(text), problem };
    let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        let slip = ["s3:", "gs:", "az:", "file:", "memory:"].into_iter().any(|start| text.starts_with(start));
        return match text {
            "" => Err(bad("it is empty")),
            _ if slip => Err(bad("the scheme wants two slashes")),
            _ => Ok(Location::Folder(text.into())),
        };
    };
    match STORES.iter().find(|kind| kind.scheme == scheme) {
        Some(kind) => (kind.parse)(rest).map_err(bad),
        None => Err(StoreError::Unsupported { scheme: scheme.to_owned() }),
    }
}

/// For people: without what stands before an `@`.
fn without_credentials(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://…@{place}"),
        _ => text.to_owned(),
    }
}

fn parse_folder(rest: &str) -> Result<Location, &'static str> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err("the folder must begin with /");
    }
    unescape(path).map(|path| Location::Folder(path.into())).ok_or("it has a stray % in it")
}

fn parse_bucket(rest: &str) -> Result<Location, &'static str> {
    if rest.contains('@') && rest.split('@').next().is_some_and(|before| before.contains(':')) {
        return Err("a location is no place for credentials: give them in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if bucket.is_empty() || !bucket.chars().all(valid) {
        return Err("that is not the name of a bucket");
    }
    let prefix = ObjectPath::parse(prefix).map_err(|_| "the prefix has a dot part or a forbidden letter in it")?;
    Ok(Location::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_string() })
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-'))
}

/// Undoes percent-encoding; `None` where it is broken.
fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.extend(hex::decode(digits).ok()?);
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn open_folder(location: &str, folder: &Path) -> Result<Store, StoreError> {
    let failed = |error| folder_error("open", location, error);
    if !fs::metadata(folder).map_err(failed)?.is_dir() {
        return Err(StoreError::NotAFolder { location: location.to_owned() });
    }
    let root = fs::canonicalize(folder).map_err(failed)?;
    let objects = LocalFileSystem::new_with_prefix(&root).map_err(|error| StoreError::Failed {
        verb: "open",
        object: "the folder".to_owned(),
        location: location.to_owned(),
        source: cause::read(&error).1,
    })?;
    let marker = Some(root.join(MARKER)).filter(|marker| marker.exists());
    Ok(Store::at(location, Medium::Folder { folder: root, marker }, Arc::new(objects.with_fsync(true))))
}

/// A path with its links followed, as far as it is there: a link to a disk that is not mounted leads nowhere.
fn lasting(path: &Path, links: u8) -> PathBuf {
    if let Ok(whole) = fs::canonicalize(path) {
        return whole;
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return path.to_owned() };
    match fs::read_link(path) {
        Ok(target) if links < 40 => lasting(&parent.join(target), links + 1),
        _ => lasting(parent, links).join(name),
    }
}

/// Makes a folder and those above it, each durable in the one it stands in.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}

fn folder_error(verb: &'static str, location: &str, error: io::Error) -> StoreError {
    let (object, location) = ("the vault".to_owned(), location.to_owned());
    match error.kind() {
        ErrorKind::NotFound => StoreError::NoFolder { location },
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => StoreError::NotAFolder { location },
        ErrorKind::PermissionDenied => StoreError::Denied { verb, object, location, source: error.into() },
        ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { verb, object, location, source: error.into() },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            StoreError::NoSpace { object, location, source: error.into() }
        }
        _ => StoreError::Failed { verb, object, location, source: error.into() },
    }
}

fn open_memory(location: &str, name: String) -> Store {
    static NAMED: Mutex<BTreeMap<String, Arc<InMemory>>> = Mutex::new(BTreeMap::new());
    let objects = if name.is_empty() {
        Arc::default()
    } else {
        Arc::clone(NAMED.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default())
    };
    Store::at(location, Medium::Memory, objects)
}

fn open_bucket(location: &str, bucket: String, prefix: &str, options: &Options) -> Result<Store, StoreError> {
    let settings = Settings::of(options);
    let endpoint = settings.endpoint()?.map(str::to_owned);
    if endpoint.is_some() && !settings.has_credentials() {
        // AWS hands its own machines credentials; another server's must be given.
        let source = Cause::new(format!("{} is set, and no credentials are", settings.endpoint_name()));
        return Err(StoreError::NoCredentials { location: location.to_owned(), source });
    }
    let failed = |verb, source| StoreError::Failed {
        verb,
        object: "the bucket".to_owned(),
        location: location.to_owned(),
        source,
    };
    wait::prepare_network().map_err(|error| failed("start threads for", error.into()))?;
    let s3 = build(&bucket, &settings)?
        .build()
        .map_err(|error| StoreError::BadSettings { location: location.to_owned(), source: cause::read(&error).1 })?;
    Ok(Store::at(location, Medium::Bucket { bucket, endpoint }, prefixed(s3, prefix)))
}

fn prefixed(s3: AmazonS3, prefix: &str) -> Arc<dyn ObjectStore> {
    if prefix.is_empty() { Arc::new(s3) } else { Arc::new(PrefixStore::new(s3, prefix)) }
}

fn build(bucket: &str, settings: &Settings) -> Result<AmazonS3Builder, StoreError> {
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.5,
        },
        max_retries: 10,
        retry_timeout: Duration::from_secs(25),
    };
    // The time for one request with all its bytes: a pack of 64 MiB over 1 Mbit/s. The default is 30 seconds.
    let client = ClientOptions::new()
        .with_timeout(Duration::from_secs(600))
        .with_connect_timeout(Duration::from_secs(5))
        .with_allow_http(settings.endpoint()?.is_some_and(|endpoint| endpoint.starts_with("http://")));
    let mut builder = AmazonS3Builder::new()
        .with_retry(retry)
        .with_client_options(settings.trusting(client)?)
        // AWS prefers the bucket in the host name; other servers seldom have the DNS for it, nor certificates the dots.
        .with_virtual_hosted_style_request(settings.endpoint()?.is_none() && !bucket.contains('.'))
        // Objects are removed one by one: some servers know no bulk removal.
        .with_config(AmazonS3ConfigKey::DisableBulkDelete, "true");
    match settings.get("AWS_CHECKSUM_ALGORITHM") {
        None => builder = builder.with_checksum_algorithm(Checksum::SHA256),
        Some("none") => {}
        Some(name) => builder = builder.with_config(AmazonS3ConfigKey::Checksum, name),
    }
    for (name, value) in settings.0.iter().filter(|(name, _)| **name != "AWS_CHECKSUM_ALGORITHM") {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, *value);
        }
    }
    Ok(builder.with_bucket_name(bucket))
}

/// The settings that are set: an empty variable is as good as none.
struct Settings<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Settings<'a> {
    const ENDPOINTS: [&'static str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

    fn of(options: &'a Options) -> Self {
        let set = options.aws.iter().filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty());
        Self(set.map(|(name, value)| (name.as_str(), value.as_str())).collect())
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).copied()
    }

    fn endpoint_name(&self) -> &'static str {
        Self::ENDPOINTS.into_iter().find(|name| self.get(name).is_some()).unwrap_or(Self::ENDPOINTS[1])
    }

    fn endpoint(&self) -> Result<Option<&'a str>, StoreError> {
        let name = self.endpoint_name();
        let bad = |problem: &str| Err(StoreError::BadSetting { name: name.to_owned(), problem: problem.to_owned() });
        match self.get(name) {
            None => Ok(None),
            Some(url) if url.contains('@') => bad("has a user name or password in it: use AWS_ACCESS_KEY_ID instead"),
            Some(url) if url.starts_with("http://") || url.starts_with("https://") => Ok(Some(url)),
            Some(_) => bad("must begin with http:// or https://"),
        }
    }

    fn has_credentials(&self) -> bool {
        const ANY: [&str; 6] = [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_SKIP_SIGNATURE",
        ];
        ANY.into_iter().any(|name| self.get(name).is_some())
    }

    /// With the certificates of a private authority, when `AWS_CA_BUNDLE` names them.
    fn trusting(&self, client: ClientOptions) -> Result<ClientOptions, StoreError> {
        let name = "AWS_CA_BUNDLE";
        let Some(file) = self.get(name) else { return Ok(client) };
        let bad = |problem| StoreError::BadSetting { name: name.to_owned(), problem };
        let bundle =
            fs::read(file).map_err(|error| bad(format!("names {file}, which cannot be read: {}", reason(&error))))?;
        let certificates = Certificate::from_pem_bundle(&bundle)
            .map_err(|_| bad(format!("names {file}, which holds no PEM certificates")))?;
        Ok(certificates.into_iter().fold(client, ClientOptions::with_root_certificate))
    }
}

#[cfg(test)]
mod tests;
