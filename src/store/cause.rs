//! Reading an error of object_store: what kind of failure it is, and its reason in one line.
//!
//! Owns the knowledge of how that crate and S3 servers word things. Never decides what to do about it.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};

use object_store::client::{HttpError, HttpErrorKind};

use crate::base::error::reason;

/// What an operation failed of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    NotFound,
    Exists,
    NoSpace,
    ReadOnly,
    Denied,
    NoBucket,
    NoCredentials,
    /// There is no connection, or the server asks to come back later.
    Unreachable,
    /// Somebody asked to stop.
    Interrupted,
    /// The request went out and no answer came: it may have had its effect.
    Lost,
    /// The server answered a request for a range with the whole object.
    Whole,
    Other,
}

/// Why an operation failed, in one line.
#[derive(Debug)]
pub struct Cause {
    text: String,
    hint: Option<&'static str>,
    nowhere: bool,
}

impl Cause {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None, nowhere: false }
    }

    /// Does nobody know a server of that name?
    pub(super) fn nowhere(&self) -> bool {
        self.nowhere
    }

    pub(super) fn hint(&self) -> Option<&'static str> {
        self.hint
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Cause {}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self::new(reason(&error))
    }
}

pub(super) fn read(error: &object_store::Error) -> (Kind, Cause) {
    let text = error.to_string();
    if let Some(answer) = Answer::read(&text) {
        return (answer.kind(error), answer.cause());
    }
    if text.contains("169.254.169.254") {
        // Where object_store asks for credentials when it was given none.
        return (Kind::NoCredentials, Cause::new("none are set, and this machine has no role that gives any"));
    }
    let deepest = chain(error).last().expect("BUG: a chain begins with its error");
    if let Some(http) = chain(error).find_map(<dyn Error>::downcast_ref::<HttpError>) {
        let kind = match http.kind() {
            // An answer that breaks off may have been cut anywhere.
            HttpErrorKind::Timeout | HttpErrorKind::Interrupted | HttpErrorKind::Decode => Kind::Lost,
            HttpErrorKind::Connect | HttpErrorKind::Request => Kind::Unreachable,
            _ => Kind::Other,
        };
        return (kind, Cause { nowhere: is_name(error), ..of_deepest(deepest) });
    }
    if chain(error).any(|cause| cause.is::<Interrupted>()) {
        return (Kind::Interrupted, of_deepest(deepest));
    }
    if let Some(io) = chain(error).find_map(<dyn Error>::downcast_ref::<io::Error>) {
        return of_io(io, error, &text);
    }
    let kind = if text.contains("non-partial response") { Kind::Whole } else { of_variant(error) };
    (kind, of_deepest(deepest))
}

/// A request that nobody waited for any longer.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

pub(super) fn interrupted() -> object_store::Error {
    object_store::Error::Generic { store: "network", source: Box::new(Interrupted) }
}

/// Whether object_store had sent the request before: then an earlier try of ours may have had the effect.
pub(super) fn retried(error: &object_store::Error) -> bool {
    error.to_string().contains(" retries, max_retries: ")
}

fn of_variant(error: &object_store::Error) -> Kind {
    match error {
        object_store::Error::NotFound { .. } => Kind::NotFound,
        object_store::Error::AlreadyExists { .. } => Kind::Exists,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => Kind::Denied,
        _ => Kind::Other,
    }
}

fn of_io(io: &io::Error, error: &object_store::Error, text: &str) -> (Kind, Cause) {
    let mut cause = Cause::new(reason(io));
    let kind = match io.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Kind::NoSpace,
        ErrorKind::ReadOnlyFilesystem => Kind::ReadOnly,
        // A name becomes an object's by a hard link: some file systems have none.
        ErrorKind::PermissionDenied | ErrorKind::Unsupported if text.contains("rename file") => {
            cause.hint = Some("the file system there has no hard links (as FAT and exFAT have none): use another");
            Kind::Denied
        }
        ErrorKind::PermissionDenied => Kind::Denied,
        // A network file system that is away.
        ErrorKind::StaleNetworkFileHandle
        | ErrorKind::TimedOut
        | ErrorKind::NotConnected
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::ConnectionRefused => Kind::Unreachable,
        _ => of_variant(error),
    };
    (kind, cause)
}

/// Could the name of a server not be found out? The connector of hyper-util says so in these words, and has no other way.
fn is_name(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|cause| cause.to_string() == "dns error")
}

fn of_deepest(error: &(dyn Error + 'static)) -> Cause {
    match error.downcast_ref::<io::Error>() {
        Some(io) => Cause::new(reason(io)),
        None => Cause::new(error.to_string().lines().next().unwrap_or_default()),
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// What a server said: an HTTP status and, most often, an XML document with a code.
struct Answer<'a> {
    status: u16,
    code: &'a str,
    message: &'a str,
}

impl<'a> Answer<'a> {
    /// object_store keeps its type to itself, so its words are read.
    fn read(text: &'a str) -> Option<Self> {
        if text.contains("redirect without LOCATION") {
            return Some(Self { status: 301, code: "PermanentRedirect", message: "the bucket is in another region" });
        }
        let (_, rest) = text.split_once("non-2xx status code: ")?;
        let status = rest.get(..3)?.parse().ok()?;
        Some(Self { status, code: element(rest, "Code"), message: element(rest, "Message") })
    }

    fn kind(&self, error: &object_store::Error) -> Kind {
        match (self.status, self.code) {
            (_, "NoSuchBucket") => Kind::NoBucket,
            (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull" | "InsufficientCapacity") => Kind::NoSpace,
            (401 | 403, _) => Kind::Denied,
            (408 | 429 | 500 | 502 | 503 | 504, _) | (_, "RequestTimeout" | "SlowDown") => Kind::Unreachable,
            (400, "ExpiredToken" | "InvalidToken" | "AuthorizationHeaderMalformed") => Kind::Denied,
            _ => of_variant(error),
        }
    }

    fn cause(&self) -> Cause {
        let mut text = format!("the server answered {}", self.status);
        for (separator, part) in [(" ", self.code), (": ", self.message)] {
            if !part.is_empty() {
                text.push_str(separator);
                text.push_str(part.lines().next().unwrap_or_default());
            }
        }
        let hint = match (self.status, self.code) {
            (301, _) | (_, "AuthorizationHeaderMalformed") => Some("set AWS_REGION to the bucket's region"),
            (_, "RequestTimeTooSkewed") => Some("set this machine's clock"),
            (_, "ExpiredToken" | "InvalidToken") => Some("the credentials have expired: renew them"),
            (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch") => {
                Some("check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
            }
            (401 | 403, _) => Some(
                "the key needs s3:ListBucket on the bucket, s3:GetObject and s3:PutObject on its objects, and for prune s3:DeleteObject",
            ),
            _ => None,
        };
        Cause { text, hint, nowhere: false }
    }
}

/// The text of the first XML element of a name; empty where there is none.
fn element<'a>(text: &'a str, name: &str) -> &'a str {
    let inside = || {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0.trim())
    };
    inside().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn what_a_server_says_is_told_in_one_line() {
        let (kind, cause) = read(&refused(
            "Error performing PUT http://x/y in 2ms - Server returned non-2xx status code: 403 Forbidden: \
             <?xml version=\"1.0\"?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>no\nmatch</Message></Error>",
        ));
        assert_eq!(kind, Kind::Denied);
        assert_eq!(cause.to_string(), "the server answered 403 SignatureDoesNotMatch: no");
        assert!(cause.hint().unwrap().contains("AWS_SECRET_ACCESS_KEY"));
        let (kind, cause) = read(&refused("Server returned non-2xx status code: 507 Insufficient Storage: "));
        assert_eq!((kind, cause.to_string().as_str()), (Kind::NoSpace, "the server answered 507"));
    }

    #[test]
    fn a_full_disk_is_recognised_by_what_the_system_says() {
        for (number, expected) in [(28, Kind::NoSpace), (122, Kind::NoSpace), (30, Kind::ReadOnly), (13, Kind::Denied)]
        {
            let source = io::Error::from_raw_os_error(number).into();
            let (kind, cause) = read(&object_store::Error::Generic { store: "LocalFileSystem", source });
            assert_eq!(kind, expected, "{number}");
            assert!(!cause.to_string().contains("os error"), "{cause}");
        }
    }
}
