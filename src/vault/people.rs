//! People: whom the vault's keys are wrapped to, and how somebody proves to be one of them.
//!
//! Wraps and unwraps `keys/` objects. Never stores a secret and never asks for one: a passphrase is asked for
//! through a function that the caller provides.

use std::sync::{Arc, Mutex, PoisonError};

use age::secrecy::SecretString;
use zeroize::Zeroizing;

use crate::base::error::{Class, Explain};
use crate::base::name::Name;
use crate::format::error::FormatError;
use crate::format::seal::{self, Sealed};
use crate::vault::error::VaultError;

/// Somebody the vault's keys are wrapped to.
pub struct Person {
    pub name: Name,
    lock: Lock,
}

enum Lock {
    Age(age::x25519::Recipient),
    Ssh(age::ssh::Recipient),
    Passphrase(SecretString),
}

/// A public key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadRecipient {
    /// Its text is never quoted: it may come from a file that holds a secret.
    #[error("the recipient {name} is not an age or ssh public key")]
    Unknown { name: Name },
    #[error("the recipient {name} is a secret key, and a public one is wanted")]
    Secret { name: Name },
    #[error("ssh key type {kind} cannot be used for encryption")]
    SshKind { kind: String },
}

impl Explain for BadRecipient {
    fn class(&self) -> Class {
        Class::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Secret { .. } => {
                "age-keygen -y FILE prints the public key of an age identity; of an ssh key, FILE.pub is it".into()
            }
            _ => "use age1…, ssh-ed25519 … or ssh-rsa …".into(),
        })
    }
}

impl Person {
    /// Somebody who holds the private part of `recipient`: `age1…`, `ssh-ed25519 …` or `ssh-rsa …`.
    pub fn with_recipient(name: Name, recipient: &str) -> Result<Self, BadRecipient> {
        let text = recipient.trim();
        if ["AGE-SECRET-KEY-", "PRIVATE KEY-"].iter().any(|secret| text.to_uppercase().contains(secret)) {
            return Err(BadRecipient::Secret { name });
        }
        let unknown = || BadRecipient::Unknown { name: name.clone() };
        let lock = if text.starts_with("ssh-") || text.starts_with("ecdsa-") || text.starts_with("sk-") {
            let kind = text.split_whitespace().next().unwrap_or_default().to_owned();
            match text.parse::<age::ssh::Recipient>() {
                Ok(recipient) => Lock::Ssh(recipient),
                Err(age::ssh::ParseRecipientKeyError::Unsupported(_)) => return Err(BadRecipient::SshKind { kind }),
                Err(_) if !matches!(kind.as_str(), "ssh-ed25519" | "ssh-rsa") => {
                    return Err(BadRecipient::SshKind { kind });
                }
                Err(_) => return Err(unknown()),
            }
        } else {
            Lock::Age(text.parse().map_err(|_| unknown())?)
        };
        Ok(Self { name, lock })
    }

    pub fn with_passphrase(name: Name, passphrase: SecretString) -> Self {
        Self { name, lock: Lock::Passphrase(passphrase) }
    }

    pub fn with_age(name: Name, recipient: age::x25519::Recipient) -> Self {
        Self { name, lock: Lock::Age(recipient) }
    }

    pub(super) fn wrap(&self, text: &str) -> Sealed {
        match &self.lock {
            Lock::Age(recipient) => seal::seal(&[recipient], text.as_bytes()),
            Lock::Ssh(recipient) => seal::seal(&[recipient], text.as_bytes()),
            Lock::Passphrase(passphrase) => {
                seal::seal(&[&crate::format::identity::passphrase_recipient(passphrase)], text.as_bytes())
            }
        }
    }
}

/// What somebody can open `keys/` objects with.
#[derive(Default)]
pub struct Credentials {
    identities: Vec<(String, Box<dyn age::Identity + Send + Sync>)>,
    /// The passphrases of ssh keys, by the files of those.
    locks: Vec<(String, Arc<Mutex<KeyLock>>)>,
    /// Asked at most once, and only if a key is locked by a passphrase and nothing else opened the vault.
    passphrase: Option<AskPassphrase>,
}

/// Asks for the passphrase; `None` if there is nobody to ask.
pub type AskPassphrase = Box<dyn Fn() -> Result<Option<SecretString>, VaultError> + Send + Sync>;

/// An identity file that holds no identity. Its text is never quoted.
#[derive(Debug, thiserror::Error)]
#[error("{label} holds no age or ssh identity")]
pub struct BadIdentity {
    label: String,
    is_public: bool,
}

impl Explain for BadIdentity {
    fn class(&self) -> Class {
        Class::NoIdentity
    }

    fn hint(&self) -> Option<String> {
        let hint = match self.is_public {
            true => "it holds a public key, which opens nothing: name the file of the private one with --identity",
            false => "an identity file has a line that begins with AGE-SECRET-KEY-1, or is an OpenSSH private key",
        };
        Some(hint.into())
    }
}

impl Credentials {
    /// Adds the identities of a file's text. `label` names the file in messages; `callbacks` unlock an ssh key.
    pub fn add(&mut self, label: &str, text: &str, callbacks: impl age::Callbacks) -> Result<(), BadIdentity> {
        let is_public = text.lines().any(|line| ["age1", "ssh-"].iter().any(|key| line.trim_start().starts_with(key)));
        let bad = || BadIdentity { label: label.to_owned(), is_public };
        if text.contains("-----BEGIN") {
            let identity =
                age::ssh::Identity::from_buffer(text.as_bytes(), Some(label.to_owned())).map_err(|_| bad())?;
            let lock = Arc::<Mutex<KeyLock>>::default();
            self.locks.push((label.to_owned(), lock.clone()));
            self.identities.push((label.to_owned(), Box::new(SshIdentity { identity, callbacks, lock })));
            return Ok(());
        }
        let before = self.identities.len();
        for line in text.lines().map(str::trim).filter(|line| line.starts_with("AGE-SECRET-KEY-1")) {
            let identity: age::x25519::Identity = line.parse().map_err(|_| bad())?;
            self.identities
                .push((format!("{label} ({})", shorten(&identity.to_public().to_string())), Box::new(identity)));
        }
        if self.identities.len() == before { Err(bad()) } else { Ok(()) }
    }

    pub fn ask_with(&mut self, ask: AskPassphrase) {
        self.passphrase = Some(ask);
    }

    /// What was tried, for the message that nothing fitted.
    pub fn labels(&self) -> Vec<String> {
        self.identities.iter().map(|(label, _)| label.clone()).collect()
    }

    /// Why ssh keys could not be tried.
    pub(super) fn locked(&self) -> Vec<String> {
        let why = |(label, lock): &(String, Arc<Mutex<KeyLock>>)| match *lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
        {
            KeyLock::Unanswered => {
                Some(format!("{label} is locked by a passphrase, and there is no terminal to ask for it"))
            }
            KeyLock::Wrong => Some(format!("wrong passphrase for {label}")),
            KeyLock::Unasked | KeyLock::Typed(_) => None,
        };
        self.locks.iter().filter_map(why).collect()
    }

    pub(super) fn open(&self, sealed: &[u8]) -> Result<Zeroizing<String>, FormatError> {
        let identities: Vec<&dyn age::Identity> =
            self.identities.iter().map(|(_, i)| i.as_ref() as &dyn age::Identity).collect();
        into_text(seal::open(sealed, &identities)?)
    }

    /// Opens with a passphrase, if the object is locked by one. The passphrase is asked for once.
    pub(super) fn passphrase(&self) -> Result<Option<age::scrypt::Identity>, VaultError> {
        let Some(ask) = &self.passphrase else { return Ok(None) };
        Ok(ask()?.map(age::scrypt::Identity::new))
    }
}

pub(super) fn open_with_passphrase(
    sealed: &[u8],
    identity: &age::scrypt::Identity,
) -> Result<Zeroizing<String>, FormatError> {
    into_text(seal::open(sealed, &[identity])?)
}

/// Is this `keys/` object locked by a passphrase?
pub(super) fn is_passphrase(sealed: &[u8]) -> bool {
    sealed.split(|&b| b == b'\n').nth(1).is_some_and(|line| line.starts_with(b"-> scrypt "))
}

fn into_text(bytes: Vec<u8>) -> Result<Zeroizing<String>, FormatError> {
    let text = String::from_utf8(bytes).map_err(|_| FormatError::malformed("the owner keys", "not text"))?;
    Ok(Zeroizing::new(text))
}

/// `age1qz…k3`: enough to recognise, short enough to read.
pub fn shorten(recipient: &str) -> String {
    match (recipient.get(..6), recipient.get(recipient.len().saturating_sub(4)..)) {
        (Some(head), Some(tail)) if recipient.len() > 12 => format!("{head}…{tail}"),
        _ => recipient.to_owned(),
    }
}

/// What became of the passphrase that an ssh key is locked by. It is asked for once, however often the key is tried.
#[derive(Default)]
enum KeyLock {
    #[default]
    Unasked,
    Unanswered,
    Typed(SecretString),
    Wrong,
}

/// An ssh identity that age asks about through callbacks; wrapped because age asks each time.
struct SshIdentity<C> {
    identity: age::ssh::Identity,
    callbacks: C,
    lock: Arc<Mutex<KeyLock>>,
}

impl<C: age::Callbacks> age::Identity for SshIdentity<C> {
    fn unwrap_stanza(
        &self,
        stanza: &age_core::format::Stanza,
    ) -> Option<Result<age_core::format::FileKey, age::DecryptError>> {
        // Nobody is asked for what cannot fit.
        if !stanza.tag.starts_with("ssh-") {
            return None;
        }
        let callbacks = AskedOnce { callbacks: self.callbacks.clone(), lock: self.lock.clone() };
        let opened = self.identity.clone().with_callbacks(callbacks).unwrap_stanza(stanza);
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!((&*lock, &opened), (KeyLock::Typed(_), Some(Err(age::DecryptError::KeyDecryptionFailed)))) {
            *lock = KeyLock::Wrong;
            return None;
        }
        opened
    }
}

/// Callbacks that remember the answer.
#[derive(Clone)]
struct AskedOnce<C> {
    callbacks: C,
    lock: Arc<Mutex<KeyLock>>,
}

impl<C: age::Callbacks> age::Callbacks for AskedOnce<C> {
    fn display_message(&self, message: &str) {
        self.callbacks.display_message(message);
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        self.callbacks.confirm(message, yes, no)
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        self.callbacks.request_public_string(description)
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*lock, KeyLock::Unasked) {
            *lock = self.callbacks.request_passphrase(description).map_or(KeyLock::Unanswered, KeyLock::Typed);
        }
        match &*lock {
            KeyLock::Typed(passphrase) => Some(passphrase.clone()),
            KeyLock::Unasked | KeyLock::Unanswered | KeyLock::Wrong => None,
        }
    }
}
