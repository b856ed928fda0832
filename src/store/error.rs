//! What can go wrong with storage, in words that name the object and the place.
//!
//! Owns the messages, hints and classes of this floor. Never carries a secret: locations are shown without settings.

use crate::base::error::{Class, Explain};
use crate::base::name::ObjectKey;
use crate::store::cause::Cause;
use crate::store::faults::When;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{key} is not in {location}")]
    NotFound { key: ObjectKey, location: String },
    #[error("{key} exists already in {location}")]
    Exists { key: ObjectKey, location: String },
    #[error("{key} in {location} has {have} bytes, where {wanted} were expected")]
    Truncated { key: ObjectKey, location: String, have: u64, wanted: u64 },
    #[error("no space left for {object} in {location}")]
    NoSpace { object: String, location: String, source: Cause },
    #[error("cannot {verb} {object}: {location} is read-only")]
    ReadOnly { verb: &'static str, object: String, location: String, source: Cause },
    #[error("not allowed to {verb} {object} in {location}")]
    Denied { verb: &'static str, object: String, location: String, source: Cause },
    #[error("{location} cannot be reached")]
    Unreachable { location: String, source: Cause },
    #[error("interrupted while waiting for {location}")]
    Interrupted { location: String },
    #[error("cannot {verb} {object} in {location}")]
    Failed { verb: &'static str, object: String, location: String, source: Cause },
    #[error("there is no folder {location}")]
    NoFolder { location: String },
    #[error("{location} is not a folder")]
    NotAFolder { location: String },
    #[error("there is no bucket for {location}")]
    NoBucket { location: String, source: Cause },
    #[error("no credentials for {location}")]
    NoCredentials { location: String, source: Cause },
    #[error("{scheme}:// is not supported by this version")]
    Unsupported { scheme: String },
    #[error("{location:?} is not a place a vault can be: {problem}")]
    BadLocation { location: String, problem: &'static str },
    /// The value is not shown: it may be a secret.
    #[error("the setting {name} {problem}")]
    BadSetting { name: String, problem: String },
    #[error("the settings for {location} do not go together")]
    BadSettings { location: String, source: Cause },
    #[error("{location} cannot keep a vault: {finding}")]
    IgnoresCreate { location: String, finding: &'static str },
    /// Tests only: a fault that was asked for.
    #[error("stopped by an injected fault {when:?} operation {number}")]
    Injected { number: u64, when: When },
}

impl Explain for StoreError {
    fn class(&self) -> Class {
        match self {
            Self::NoFolder { .. } | Self::NoBucket { .. } => Class::NoVault,
            Self::Truncated { .. } => Class::Damaged,
            Self::Interrupted { .. } => Class::Interrupted,
            Self::Unsupported { .. }
            | Self::BadLocation { .. }
            | Self::BadSetting { .. }
            | Self::BadSettings { .. }
            | Self::NoCredentials { .. }
            | Self::NotAFolder { .. } => Class::Usage,
            _ => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoSpace { .. } => "free some space there; what is stored already is not affected",
            Self::ReadOnly { .. } => "mount it for writing, or use another place",
            Self::Denied { source, .. } => {
                source.hint().unwrap_or("check who owns the place and as whom this program runs")
            }
            Self::Unreachable { .. } => {
                "check the network and AWS_ENDPOINT_URL, or that the disk is mounted; then run the command again: it goes \
                 on from what is done (STRONGROOM_STORAGE_WAIT says how long to wait for storage)"
            }
            Self::NoFolder { .. } => "check --vault, or make a vault with strongroom init",
            Self::NoBucket { .. } => "make the bucket first, or check its name and AWS_ENDPOINT_URL",
            Self::NoCredentials { .. } => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; profiles (AWS_PROFILE, ~/.aws) are not read"
            }
            Self::Unsupported { .. } | Self::BadLocation { .. } => "use a folder, file:///folder or s3://bucket/prefix",
            Self::IgnoresCreate { .. } => {
                "a vault must never be overwritten: use a server that honours If-None-Match, such as AWS S3, Ceph RGW or MinIO"
            }
            Self::Failed { source, .. } => source.hint()?,
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl StoreError {
    /// Did the storage not answer, or not be there at all? It may be back soon.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Does nobody know a server of that name?
    pub(super) fn is_nowhere(&self) -> bool {
        matches!(self, Self::Unreachable { source, .. } if source.nowhere())
    }

    /// Was an object asked for that is not there, or a place that does not exist?
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::NoFolder { .. })
    }
}
