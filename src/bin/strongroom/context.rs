//! The world a command runs in: environment, folders, configuration, prompts, and opening the vault.
//!
//! The only place that reads the environment. Secrets are read from files or typed without echo, never from arguments.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use age::secrecy::SecretString;
use jiff::Zoned;
use strongroom::base::control::Control;
use strongroom::base::error::{one_line, reason};
use strongroom::base::name::Name;
use strongroom::base::selector::Selector;
use strongroom::format::manifest::Manifest;
use strongroom::ops::actions::Actions;
use strongroom::ops::config::{self, Config};
use strongroom::store::{Options, Store};
use strongroom::vault::host::{self, Folders};
use strongroom::vault::people::Credentials;
use strongroom::vault::select::{self, Filter};
use strongroom::vault::snapshots::Snapshot;
use strongroom::vault::unlocked::UnlockedVault;
use strongroom::vault::{LockedVault, Vault};

use crate::arguments::Global;
use crate::exit::Failure;

/// How many files and answers are waited for that a person named or is to give: a pipe, a terminal. Nobody would look at
/// the control meanwhile.
static WAITING: AtomicUsize = AtomicUsize::new(0);
/// Somebody has asked the process to end.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Waits for something that may take for ever, and that a signal ends together with the process.
pub fn waiting<R>(wait: impl FnOnce() -> R) -> R {
    WAITING.fetch_add(1, Ordering::SeqCst);
    if ASKED.load(Ordering::SeqCst) {
        std::process::exit(130);
    }
    let result = wait();
    WAITING.fetch_sub(1, Ordering::SeqCst);
    result
}

pub struct Context {
    global: Global,
    pub control: Arc<Control>,
    stdout_closed: Cell<bool>,
}

impl Context {
    pub fn new(global: Global) -> Self {
        let control = Arc::new(Control::default());
        let stop = control.clone();
        // The second time somebody asks, they mean now; and so they do while nothing but their own answer is waited for.
        let handler = move || {
            ASKED.store(true, Ordering::SeqCst);
            if stop.stopped() || WAITING.load(Ordering::SeqCst) > 0 {
                std::process::exit(130);
            }
            stop.stop();
        };
        let _ = ctrlc::set_handler(handler);
        Self { global, control, stdout_closed: Cell::new(false) }
    }

    pub fn json(&self) -> bool {
        self.global.json
    }

    pub fn quiet(&self) -> bool {
        self.global.quiet
    }

    /// Is there a person at the other end of standard error?
    pub fn interactive(&self) -> bool {
        std::io::stderr().is_terminal() && !self.global.quiet
    }

    pub fn stdout_closed(&self) -> bool {
        self.stdout_closed.get()
    }

    /// Prints words, unless told not to. A reader that went away ends the output, not the work.
    pub fn print(&self, text: &str) {
        if !self.global.quiet && !self.global.json {
            self.write(text.as_bytes());
        }
    }

    /// Says something beside the result: it goes to standard error.
    pub fn say(&self, text: &str) {
        if !self.global.quiet {
            let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
        }
    }

    /// Says the first few of many things, all that are known with `--verbose`, and how many there are in all.
    pub fn say_some(&self, what: &str, lines: impl Iterator<Item = String>, count: u64) {
        let most = if self.global.verbose { usize::MAX } else { 20 };
        let mut told = 0;
        for line in lines.take(most) {
            self.say(&format!("{what}: {line}"));
            told += 1;
        }
        if count > told {
            self.say(&format!("{what}: {} more", strongroom::base::text::count(count - told)));
        }
    }

    pub fn print_json(&self, document: &impl serde::Serialize) {
        let mut text = serde_json::to_vec_pretty(document).expect("BUG: plain fields");
        text.push(b'\n');
        self.write(&text);
    }

    /// Writes a part of a document.
    pub fn write(&self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
            self.stdout_closed.set(true);
        }
    }
}

/// Folders and files.
impl Context {
    pub fn folders(&self) -> Result<Folders, Failure> {
        Ok(Folders { config: folder("XDG_CONFIG_HOME", ".config")?, cache: folder("XDG_CACHE_HOME", ".cache")? })
    }

    /// What was done to live data on this host, for one vault.
    pub fn actions(&self, vault: &UnlockedVault) -> Result<Actions, Failure> {
        let folder = folder("XDG_DATA_HOME", ".local/share")?.join("actions").join(vault.vault().id().to_string());
        Ok(Actions::new(folder))
    }

    /// Where the identity is, or would be made.
    pub fn identity_file(&self) -> Result<PathBuf, Failure> {
        match &self.global.identity {
            Some(file) => Ok(file.clone()),
            None => Ok(self.folders()?.config.join("identity.txt")),
        }
    }

    /// The configuration that was named.
    pub fn config_file(&self) -> Option<&Path> {
        self.global.config.as_deref()
    }

    /// The vault that was named, so that it means the same in another folder.
    pub fn named_location(&self) -> Option<String> {
        let named = self.global.vault.as_ref()?;
        let path = std::path::absolute(named).ok().filter(|_| !named.contains("://"));
        Some(path.map_or(named.clone(), |path| path.to_string_lossy().into_owned()))
    }

    /// The configuration named, or the one in this folder. `None` if there is none.
    pub fn config(&self) -> Result<Option<Config>, Failure> {
        let named = self.global.config.as_deref();
        let file = named.unwrap_or(Path::new("strongroom.toml"));
        let text = match waiting(|| std::fs::read_to_string(file)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => return Ok(None),
            Err(error) => {
                let message = format!("cannot read the configuration {}: {}", file.display(), reason(&error));
                return Err(Failure::usage(message, "check --config and STRONGROOM_CONFIG"));
            }
        };
        let file = std::path::absolute(file).unwrap_or(file.to_owned());
        Ok(Some(config::parse(&text, &file, &|name| std::env::var(name).ok())?))
    }

    /// Where the vault is: named, configured, or the user's data folder.
    pub fn location(&self, config: Option<&Config>) -> Result<String, Failure> {
        if let Some(location) = self.global.vault.clone().or_else(|| config.and_then(|config| config.vault.clone())) {
            return Ok(location);
        }
        Ok(folder("XDG_DATA_HOME", ".local/share")?.join("vault").to_string_lossy().into_owned())
    }

    /// Did anybody say where the vault is?
    pub fn location_is_default(&self, config: Option<&Config>) -> bool {
        self.global.vault.is_none() && config.is_none_or(|config| config.vault.is_none())
    }

    pub fn store_options(&self) -> Options {
        let aws: BTreeMap<String, String> = std::env::vars().filter(|(name, _)| name.starts_with("AWS_")).collect();
        Options { aws }
    }
}

fn folder(variable: &str, fallback: &str) -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set(variable).or_else(|| set("HOME").map(|home| home.join(fallback)));
    let hint = || format!("set HOME or {variable}");
    Ok(base.ok_or_else(|| Failure::usage("there is no home folder", hint()))?.join("strongroom"))
}

/// Opening the vault.
impl Context {
    pub fn locked(&self) -> Result<LockedVault, Failure> {
        self.locked_at(&self.location(self.config()?.as_ref())?)
    }

    pub fn locked_at(&self, location: &str) -> Result<LockedVault, Failure> {
        let store = waiting(|| Store::open(location, &self.store_options()))?;
        Ok(LockedVault::open(store, &self.folders()?)?)
    }

    pub fn unlocked(&self) -> Result<UnlockedVault, Failure> {
        Ok(self.locked()?.unlock(&self.credentials()?)?)
    }

    /// For appending: with the writer file of this host, or with an identity where there is none.
    pub fn writable(&self, locked: LockedVault) -> Result<Vault, Failure> {
        if locked.has_writer_file() {
            return Ok(locked.into_vault()?);
        }
        let credentials = self.credentials()?;
        if credentials.labels().is_empty() && !self.interactive() && passphrase_file().is_none() {
            return Ok(locked.into_vault()?);
        }
        Ok(locked.unlock(&credentials)?.into_vault())
    }

    /// What the identity file named, or the usual one, holds; and a way to ask for a passphrase.
    pub fn credentials(&self) -> Result<Credentials, Failure> {
        let mut credentials = Credentials::default();
        let file = self.identity_file()?;
        match waiting(|| host::read_secret(&file))? {
            Some(text) => credentials.add(&file.display().to_string(), &text, Prompt)?,
            None if self.global.identity.is_some() => {
                let message = format!("identity file {} is not there", file.display());
                return Err(Failure::no_identity(message, "check --identity and STRONGROOM_IDENTITY"));
            }
            None => {}
        }
        let ask = passphrase_file().is_some() || std::io::stdin().is_terminal();
        if ask {
            credentials.ask_with(Box::new(|| read_passphrase("passphrase of the vault: ").ok().flatten()));
        }
        Ok(credentials)
    }

    /// The snapshot a selector names.
    pub fn select(&self, vault: &UnlockedVault, selector: &Selector, filter: &Filter) -> Result<Snapshot, Failure> {
        let snapshots = vault.snapshots()?;
        for (object, error) in snapshots.damaged.iter().chain(&snapshots.newer) {
            self.say(&format!("warning: {object} is passed over: {}", one_line(error)));
        }
        Ok(select::select(&snapshots.readable, selector, filter, &Zoned::now())?.clone())
    }

    /// The manifest a selector names.
    pub fn manifest(&self, vault: &UnlockedVault, selector: &Selector, filter: &Filter) -> Result<Manifest, Failure> {
        Ok(self.select(vault, selector, filter)?.manifest)
    }
}

fn passphrase_file() -> Option<PathBuf> {
    std::env::var_os("STRONGROOM_PASSPHRASE_FILE").map(PathBuf::from)
}

/// From the file the environment names, or from the terminal without echo. `None` if nobody can be asked.
pub fn read_passphrase(prompt: &str) -> Result<Option<SecretString>, Failure> {
    if let Some(file) = passphrase_file() {
        let text = waiting(|| host::read_secret(&file))?.ok_or_else(|| {
            Failure::usage(
                format!("passphrase file {} is not there", file.display()),
                "check STRONGROOM_PASSPHRASE_FILE",
            )
        })?;
        return Ok(Some(SecretString::from(text.lines().next().unwrap_or_default().to_owned())));
    }
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    Ok(waiting(|| rpassword::prompt_password(prompt)).ok().map(SecretString::from))
}

/// Asks what an encrypted ssh key needs.
#[derive(Clone)]
struct Prompt;

impl age::Callbacks for Prompt {
    fn display_message(&self, _: &str) {}

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        waiting(|| rpassword::prompt_password(format!("{description}: "))).ok().map(SecretString::from)
    }
}

/// Who and where: what a snapshot says of its origin.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

pub fn user_name() -> String {
    let user = uzers::get_current_username().map(|name| name.to_string_lossy().into_owned());
    user.unwrap_or_else(|| uzers::get_current_uid().to_string())
}

/// A name made of the last part of a path; of the folder it means if that says nothing.
pub fn name_of(path: &Path) -> Name {
    let whole = std::path::absolute(path).unwrap_or(path.to_owned());
    let whole = if path.file_name().is_none() { whole.canonicalize().unwrap_or(whole) } else { whole };
    Name::lossy(&whole.file_name().map_or("root".into(), |name| name.to_string_lossy()))
}
