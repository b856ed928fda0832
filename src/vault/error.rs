//! What can go wrong with a vault.

use std::path::PathBuf;

use crate::base::error::{Class, Explain, Explained, one_line};
use crate::base::id::PlainDigest;
use crate::base::name::ObjectKey;
use crate::format::error::FormatError;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("no vault at {location}")]
    NoVault { location: String },
    #[error("no vault at {location}, where this host met vault {}", .known.join(" and vault "))]
    VaultGone { location: String, known: Vec<String> },
    #[error("vault {location} is sealed to nobody any more: keys/ is empty")]
    NoKeys { location: String },
    #[error("{location} already holds a vault")]
    VaultExists { location: String },
    #[error("{location} is not empty and holds no vault")]
    NotEmpty { location: String },
    #[error("cannot read {object}")]
    Object { object: ObjectKey, source: FormatError },
    #[error("{object} is damaged")]
    Damaged { object: ObjectKey },
    #[error("no identity opens vault {location}{}", .locked.iter().map(|why| format!(": {why}")).collect::<String>())]
    NoIdentity { location: String, tried: Vec<String>, locked: Vec<String>, people: Vec<String> },
    #[error("wrong passphrase for vault {location}")]
    WrongPassphrase { location: String, people: Vec<String> },
    #[error("no identity opens vault {location}, and there is no terminal to ask for its passphrase")]
    NobodyToAsk { location: String, people: Vec<String> },
    #[error("passphrase file {} does not exist", .file.display())]
    NoPassphraseFile { file: PathBuf },
    #[error("cannot read passphrase file {}", .file.display())]
    PassphraseFile { file: PathBuf, source: std::io::Error },
    #[error("{} is no passphrase file: it has several lines", .file.display())]
    NotAPassphrase { file: PathBuf },
    #[error("cannot read identity file {}", .file.display())]
    Identity { file: PathBuf, source: std::io::Error },
    #[error("this host has no writer file for vault {location}")]
    NoWriter { location: String, file: PathBuf },
    #[error("{file} does not fit the vault at {location}")]
    WriterMismatch { file: PathBuf, location: String },
    #[error("{location} holds another vault than it did")]
    OtherVault { location: String, found: String, file: PathBuf },
    #[error("a listing cannot be read")]
    Listing { source: FormatError },
    #[error("an extent reaches beyond chunk {}", .digest.short())]
    BadExtent { digest: PlainDigest },
    #[error("chunk {} is in no catalog", .digest.short())]
    UnknownChunk { digest: PlainDigest },
    #[error("chunk {} in {object} is damaged", .digest.short())]
    BadChunk { digest: PlainDigest, object: ObjectKey },
    #[error("cannot use {}", .file.display())]
    Host { file: PathBuf, source: std::io::Error },
    #[error("{} can be read by others", .file.display())]
    Exposed { file: PathBuf },
    #[error("cannot read {}", .file.display())]
    HostFile { file: PathBuf, source: FormatError },
    #[error("an entry's description is longer than {limit} bytes")]
    LongLine { limit: usize },
    #[error("the listing of {name} is nested too deeply to be read back")]
    TooDeep { name: String },
    #[error("read beyond the end of content of {length} bytes")]
    BeyondEnd { length: u64 },
    #[error("interrupted")]
    Interrupted,
    #[error("cannot wrap the vault's keys for {person}")]
    Wrap { person: String, source: age::EncryptError },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Source(SourceFailure),
}

/// An error of the source, handed through the sink it was writing to.
#[derive(Debug)]
pub struct SourceFailure(pub Explained);

impl std::fmt::Display for SourceFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SourceFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl VaultError {
    /// An object that was there and cannot be read: sealed to somebody else means altered, for all but keys.
    pub fn object(object: &ObjectKey, source: FormatError) -> Self {
        match source {
            FormatError::NoIdentity { .. } => Self::Damaged { object: object.clone() },
            source => Self::Object { object: object.clone(), source },
        }
    }

    /// What it says of an object that was named already.
    pub fn of(&self, named: &ObjectKey) -> String {
        match self {
            Self::Damaged { object } if object == named => "its bytes are not what was written".to_owned(),
            Self::Object { object, source } if object == named => one_line(source),
            error => one_line(error),
        }
    }

    /// Is an object missing that was asked for?
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_not_found())
    }

    /// Is an object of a format that a later version writes?
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Object { source: FormatError::Newer { .. }, .. })
    }

    pub fn host(file: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Host { file: file.into(), source }
    }
}

impl Explain for VaultError {
    fn class(&self) -> Class {
        match self {
            Self::NoVault { .. } | Self::VaultGone { .. } => Class::NoVault,
            Self::NoKeys { .. } => Class::Damaged,
            Self::VaultExists { .. } | Self::NotEmpty { .. } => Class::Usage,
            Self::Object { source, .. } => source.class(),
            Self::Damaged { .. } | Self::UnknownChunk { .. } | Self::BadChunk { .. } => Class::Damaged,
            Self::Listing { .. } | Self::BadExtent { .. } => Class::Damaged,
            Self::NoIdentity { .. } | Self::NoWriter { .. } => Class::NoIdentity,
            Self::WrongPassphrase { .. } | Self::NobodyToAsk { .. } | Self::NoPassphraseFile { .. } => {
                Class::NoIdentity
            }
            Self::PassphraseFile { .. } | Self::NotAPassphrase { .. } | Self::Identity { .. } => Class::NoIdentity,
            Self::Interrupted => Class::Interrupted,
            Self::Store(error) => error.class(),
            Self::Source(error) => error.0.class(),
            Self::OtherVault { .. }
            | Self::WriterMismatch { .. }
            | Self::Host { .. }
            | Self::HostFile { .. }
            | Self::Exposed { .. } => Class::Failed,
            Self::LongLine { .. } | Self::TooDeep { .. } | Self::Wrap { .. } | Self::BeyondEnd { .. } => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoVault { .. } => Some("check --vault, or make one with strongroom init".into()),
            Self::VaultGone { .. } => Some(
                "mount its disk, or bring it back from a copy; if it is gone for good, make a new one with strongroom init".into(),
            ),
            Self::NoKeys { .. } => {
                Some("bring keys/ back from a copy of the vault: without it nothing in the vault can be read".into())
            }
            Self::VaultExists { .. } => Some("use it as it is, or name another place with --vault".into()),
            Self::NotEmpty { .. } => Some("name an empty folder or prefix".into()),
            Self::Object { source, .. } => {
                source.hint().or_else(|| Some("see what is harmed with strongroom verify --read-data".into()))
            }
            Self::Damaged { .. }
            | Self::UnknownChunk { .. }
            | Self::BadChunk { .. }
            | Self::Listing { .. }
            | Self::BadExtent { .. } => Some("see what is harmed with strongroom verify --read-data".into()),
            Self::NoIdentity { people, .. } => {
                Some(format!("pass --identity FILE; the vault is sealed to: {}", people.join(", ")))
            }
            Self::WrongPassphrase { people, .. } => {
                Some(format!("try again, or pass --identity FILE; the vault is sealed to: {}", people.join(", ")))
            }
            Self::NobodyToAsk { people, .. } => Some(format!(
                "set STRONGROOM_PASSPHRASE_FILE to a file (mode 0600) that holds it, or pass --identity FILE; the vault is sealed to: {}",
                people.join(", ")
            )),
            Self::NoPassphraseFile { .. } | Self::PassphraseFile { .. } | Self::NotAPassphrase { .. } => {
                Some("check STRONGROOM_PASSPHRASE_FILE".into())
            }
            Self::Identity { source, .. } if source.kind() == std::io::ErrorKind::IsADirectory => {
                Some("it is a folder: name a file with --identity".into())
            }
            Self::Identity { .. } => Some("check --identity and STRONGROOM_IDENTITY".into()),
            Self::NoWriter { file, .. } => {
                Some(format!("run once with --identity FILE, or copy {} from a host that has it", file.display()))
            }
            Self::WriterMismatch { file, .. } => Some(format!(
                "if the vault was made anew on purpose, remove {}; if not, somebody changed vault.json",
                file.display()
            )),
            Self::OtherVault { found, file, .. } => Some(format!(
                "if that is meant, add the line {found} to {}; if not, somebody put a vault of theirs there",
                file.display()
            )),
            Self::Exposed { file } => Some(format!("chmod 600 {}", file.display())),
            Self::Store(error) => error.hint(),
            Self::Source(error) => error.0.hint(),
            _ => None,
        }
    }
}
