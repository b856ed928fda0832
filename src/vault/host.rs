//! What a vault keeps on this host: the writer file, and a cache that can be lost (docs/format.md §10).
//!
//! Owns where these files lie and how they are replaced: written beside, then renamed. Never holds anything that
//! exists nowhere else.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use walkdir::WalkDir;
use zeroize::Zeroizing;

use crate::base::id::VaultId;
use crate::format::catalog::MarkKey;
use crate::format::header::fill_random;
use crate::vault::cache::{CacheFolder, Notices};
use crate::vault::checked::CheckKey;
use crate::vault::error::VaultError;

/// Where this host keeps things. Given by the caller: the library reads no environment.
#[derive(Clone, Debug)]
pub struct Folders {
    pub config: PathBuf,
    pub cache: PathBuf,
}

impl Folders {
    /// Which vault was met at which place.
    pub fn known(&self) -> PathBuf {
        self.config.join("known")
    }
}

/// This host's files for one vault.
#[derive(Clone, Debug)]
pub struct Host {
    vault: VaultId,
    writer: PathBuf,
    known: PathBuf,
    places: PathBuf,
    ledger: PathBuf,
    /// What strongroom keeps on this host beside the vault.
    own: Vec<PathBuf>,
    cache: PathBuf,
    notices: Notices,
    marks: PathBuf,
    mark: Arc<OnceLock<MarkKey>>,
}

impl Host {
    pub fn new(folders: &Folders, vault: VaultId) -> Self {
        Self {
            vault,
            writer: folders.config.join("writers").join(format!("{vault}.json")),
            known: folders.known(),
            places: folders.config.join("places").join(vault.to_string()),
            own: vec![folders.config.clone(), folders.cache.clone()],
            ledger: folders.config.join("committed").join(vault.to_string()),
            cache: folders.cache.join(vault.to_string()),
            notices: Notices::default(),
            marks: folders.config.join("marks").join(vault.to_string()),
            mark: Arc::default(),
        }
    }

    pub fn writer_file(&self) -> &Path {
        &self.writer
    }

    /// The folder of what is remembered of the places of vaults.
    pub fn known(&self) -> &Path {
        &self.known
    }

    /// The folder of what is remembered of the places that were captured.
    pub fn places(&self) -> &Path {
        &self.places
    }

    /// The folders of what is known of objects, the better one first.
    pub(super) fn ledgers(&self) -> [PathBuf; 2] {
        [self.ledger.clone(), self.cache.join("committed")]
    }

    /// A file that is strongroom's own as well: an identity that lies elsewhere.
    #[must_use]
    pub fn owning(mut self, file: PathBuf) -> Self {
        self.own.push(file);
        self
    }

    /// What strongroom keeps on this host beside the vault.
    pub fn own(&self) -> &[PathBuf] {
        &self.own
    }

    /// What this host marks its catalogs with. Lies in the configuration, or in the cache where nothing can be written
    /// there; where neither can be had, the catalogs of this process will be a stranger's to the next.
    pub(super) fn mark_key(&self) -> &MarkKey {
        self.mark.get_or_init(|| {
            let places = [self.marks.clone(), self.cache.join("mark")];
            let known = places.iter().find_map(|file| kept_secret(file));
            let secret = known.or_else(|| places.iter().find_map(|file| keep_secret(file)));
            MarkKey::new(&secret.unwrap_or_else(|| {
                let mut secret = Zeroizing::new([0; 32]);
                fill_random(&mut *secret);
                secret
            }))
        })
    }

    /// What became of the cache.
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// A folder of the cache, which need not be there.
    pub(super) fn folder(&self, name: &str) -> CacheFolder {
        CacheFolder::new(self.cache.join(name), CheckKey::new(&self.vault, name), self.notices.clone())
    }

    /// A folder of the cache, made if need be.
    pub fn cache(&self, name: &str) -> Result<PathBuf, VaultError> {
        let folder = self.cache.join(name);
        make_private_folder(&folder)?;
        Ok(folder)
    }
}

pub const DAY: Duration = Duration::from_secs(24 * 3600);

impl Host {
    /// Has a day passed since it was last so? What cannot be noted is not due: it would be every time.
    pub fn is_due(&self) -> bool {
        let Ok(file) = self.cache("swept").map(|folder| folder.join("last")) else { return false };
        let last = fs::metadata(&file).and_then(|metadata| metadata.modified()).ok();
        let is_fresh = last.and_then(|time| time.elapsed().ok()).is_some_and(|age| age < DAY);
        !is_fresh && replace(&file, b"").is_ok()
    }

    /// Removes what processes that died left half written in the cache. A day old: another may be writing right now.
    /// The journal is not touched: what it holds is for the next backup.
    pub fn sweep(&self) {
        for folder in ["catalogs", "committed", "index", "index-sound", "pages", "recall", "verify"] {
            let entries = WalkDir::new(self.cache.join(folder)).min_depth(1).max_depth(1).into_iter().flatten();
            for entry in entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "partial")) {
                let modified = entry.metadata().ok().and_then(|metadata| metadata.modified().ok());
                if modified.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > DAY) {
                    let _ = if entry.file_type().is_dir() {
                        fs::remove_dir_all(entry.path())
                    } else {
                        fs::remove_file(entry.path())
                    };
                }
            }
        }
    }
}

pub fn make_private_folder(folder: &Path) -> Result<(), VaultError> {
    private_folder(folder).map_err(VaultError::host(folder))
}

pub(super) fn private_folder(folder: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Replaces a file at once and for good: a crash leaves the old one or the new one.
pub fn replace(file: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    replace_file(file, bytes).map_err(VaultError::host(file))
}

pub(super) fn replace_file(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let partial = partial_of(file);
    let write = || {
        let mut out = create_private(&partial)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        fs::rename(&partial, file)
    };
    write().inspect_err(|_| drop(fs::remove_file(&partial)))
}

/// A secret of 64 digits, if this is one that only its owner reads.
fn kept_secret(file: &Path) -> Option<Zeroizing<[u8; 32]>> {
    let text = read_secret(file).ok()??;
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim_end(), &mut *secret).ok().map(|()| secret)
}

/// Makes such a secret, once for all processes: whichever file is there first stays.
fn keep_secret(file: &Path) -> Option<Zeroizing<[u8; 32]>> {
    let mut secret = Zeroizing::new([0; 32]);
    fill_random(&mut *secret);
    private_folder(file.parent()?).ok()?;
    let partial = partial_of(file);
    let text = Zeroizing::new(format!("{}\n", hex::encode(*secret)));
    let made =
        create_private(&partial).and_then(|mut out| out.write_all(text.as_bytes()).and_then(|()| out.sync_all()));
    let linked = made.and_then(|()| fs::hard_link(&partial, file));
    let _ = fs::remove_file(&partial);
    match linked {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => kept_secret(file),
        made => made.ok().map(|()| secret),
    }
}

/// A name beside `file` that no other process uses.
pub fn partial_of(file: &Path) -> PathBuf {
    let mut random = [0; 8];
    fill_random(&mut random);
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}.partial", hex::encode(random)));
    PathBuf::from(name)
}

/// A new file that only its owner reads.
pub fn create_private(file: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(file)
}

/// Reads a file of secrets; refuses one that others can read. `None` if it is not there.
pub fn read_secret(file: &Path) -> Result<Option<Zeroizing<String>>, VaultError> {
    let Some(Secret { text, is_exposed }) = open_secret(file).map_err(VaultError::host(file))? else {
        return Ok(None);
    };
    if is_exposed { Err(VaultError::Exposed { file: file.to_owned() }) } else { Ok(Some(text)) }
}

/// Reads an identity file as [`read_secret`] does. What holds no identity is nobody's secret: others may read it, and
/// whoever named it is told what it is instead.
pub fn read_identity(file: &Path) -> Result<Option<Zeroizing<String>>, VaultError> {
    let unreadable = |source| VaultError::Identity { file: file.to_owned(), source };
    let Some(Secret { text, is_exposed }) = open_secret(file).map_err(unreadable)? else { return Ok(None) };
    let is_identity = text.contains("AGE-SECRET-KEY-1") || text.contains("-----BEGIN");
    if is_exposed && is_identity { Err(VaultError::Exposed { file: file.to_owned() }) } else { Ok(Some(text)) }
}

/// Reads the passphrase that a file of one line holds, as [`read_secret`] does.
pub fn read_passphrase(file: &Path) -> Result<Zeroizing<String>, VaultError> {
    let unreadable = |source| VaultError::PassphraseFile { file: file.to_owned(), source };
    let secret = open_secret(file).map_err(unreadable)?;
    let Secret { text, is_exposed } = secret.ok_or_else(|| VaultError::NoPassphraseFile { file: file.to_owned() })?;
    match (is_exposed, text.lines().count()) {
        (true, 2..) => Err(VaultError::NotAPassphrase { file: file.to_owned() }),
        (true, _) => Err(VaultError::Exposed { file: file.to_owned() }),
        (false, _) => Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())),
    }
}

struct Secret {
    text: Zeroizing<String>,
    is_exposed: bool,
}

/// No secret is longer: a device has no end.
const LONGEST_SECRET: u64 = 1 << 20;

fn open_secret(file: &Path) -> std::io::Result<Option<Secret>> {
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = opened.metadata()?;
    let is_exposed = metadata.is_file() && metadata.mode() & 0o077 != 0;
    let mut text = Zeroizing::new(String::new());
    opened.take(LONGEST_SECRET).read_to_string(&mut text)?;
    Ok(Some(Secret { text, is_exposed }))
}

/// Makes a file of secrets; never replaces one.
pub fn write_secret(file: &Path, text: &str) -> Result<(), VaultError> {
    if let Some(folder) = file.parent() {
        make_private_folder(folder)?;
    }
    // Whole or not at all: half a secret would keep the next one from being made.
    let partial = partial_of(file);
    let write = || {
        let mut out = create_private(&partial)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::hard_link(&partial, file)
    };
    let written = write();
    let _ = fs::remove_file(&partial);
    written.map_err(VaultError::host(file))
}
