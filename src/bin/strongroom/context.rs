//! The world a command runs in: environment, folders, configuration, and opening the vault.
//!
//! The only place that reads the environment. Secrets are read from files or typed without echo, never from arguments.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use indicatif::ProgressBar;
use strongroom::base::control::Control;
use strongroom::base::error::reason;
use strongroom::base::name::Name;
use strongroom::ops::actions::Actions;
use strongroom::ops::config::{self, Config};
use strongroom::ops::turns::Turns;
use strongroom::store::{Options, Store, StoreError};
use strongroom::vault::cache::Notices;
use strongroom::vault::error::VaultError;
use strongroom::vault::host::{self, Folders};
use strongroom::vault::people::Credentials;
use strongroom::vault::unlocked::UnlockedVault;
use strongroom::vault::{LockedVault, Vault};

use crate::arguments::Global;
use crate::asking::{Prompt, passphrase_file, read_passphrase};
use crate::exit::Failure;
use crate::outage::{self, Outages};
use crate::output::{Output, Writer};
use crate::render::width;
use crate::terminal::{Printed, json};

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
    pub output: Output,
    alarmed: Cell<bool>,
    outages: Arc<Outages>,
    /// What became of the caches of the vaults that were opened.
    notices: RefCell<Vec<Notices>>,
    /// What is shown of the work that goes on, below what is printed.
    progress: RefCell<Option<ProgressBar>>,
}

impl Context {
    pub fn new(global: Global) -> Self {
        let control = Arc::new(Control::default());
        let stop = control.clone();
        // The second time somebody asks, they mean now; and so they do while nothing but their own answer is waited for.
        let handler = move || {
            ASKED.store(true, Ordering::SeqCst);
            if stop.stopped() || WAITING.load(Ordering::SeqCst) > 0 {
                if std::io::stderr().is_terminal() {
                    // A line of progress that nobody takes away any more.
                    let _ = std::io::stderr().write_all(b"\r\x1b[2K");
                }
                std::process::exit(130);
            }
            stop.stop();
        };
        let _ = ctrlc::set_handler(handler);
        let (outages, notices) = (Arc::default(), RefCell::default());
        let (output, alarmed, progress) = (Output::default(), Cell::new(false), RefCell::default());
        Self { global, control, output, alarmed, outages, notices, progress }
    }

    /// The same with what another command line says.
    pub fn with(&self, global: Global) -> Self {
        let own = &self.global;
        let global = Global {
            vault: global.vault.or_else(|| own.vault.clone()),
            config: global.config.or_else(|| own.config.clone()),
            identity: global.identity.or_else(|| own.identity.clone()),
            ..Global::default()
        };
        let (outages, notices) = (self.outages.clone(), RefCell::default());
        let (output, alarmed, progress) = (Output::default(), Cell::new(false), RefCell::default());
        Self { global, control: self.control.clone(), output, alarmed, outages, notices, progress }
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

    /// Prints words, unless told not to. A reader that went away ends the output, not the work.
    pub fn print(&self, text: &(impl Printed + ?Sized)) {
        if !self.global.quiet && !self.global.json {
            let width = std::io::stdout().is_terminal().then(width);
            self.write(text.printed().render(width).as_bytes());
        }
    }

    /// Says something beside the result that is no trouble: on standard error, unless told to be quiet.
    pub fn say(&self, text: &(impl Printed + ?Sized)) {
        if !self.global.quiet {
            self.warn(text);
        }
    }

    /// Warns of something for which a run that ends well ends incomplete.
    pub fn alarm(&self, text: &(impl Printed + ?Sized)) {
        self.alarmed.set(true);
        self.warn(text);
    }

    /// The same of many things, as [`Self::warn_some`] tells them.
    pub fn alarm_some(&self, what: &str, lines: impl Iterator<Item = String>, count: u64) {
        self.alarmed.set(self.alarmed.get() || count > 0);
        self.warn_some(what, lines, count);
    }

    /// Was anything said that a person must know?
    pub fn alarmed(&self) -> bool {
        self.alarmed.get()
    }

    /// Says what a person must know, quiet or not: on standard error.
    pub fn warn(&self, text: &(impl Printed + ?Sized)) {
        self.above_progress(|| to_stderr(text));
    }

    /// Warns of the first few of many things, of all that are known with `--verbose`, and of how many there are in all.
    pub fn warn_some(&self, what: &str, lines: impl Iterator<Item = String>, count: u64) {
        let most = if self.global.verbose { usize::MAX } else { 20 };
        let mut told = 0;
        for line in lines.take(most) {
            self.warn(&format!("{what}: {line}"));
            told += 1;
        }
        if count > told {
            self.warn(&format!("{what}: {} more", strongroom::base::text::count(count - told)));
        }
    }

    pub fn verbose(&self) -> bool {
        self.global.verbose
    }

    pub fn print_json(&self, document: &impl serde::Serialize) {
        let text = serde_json::to_string_pretty(document).expect("BUG: plain fields");
        self.write(format!("{}\n", json(&text)).as_bytes());
    }

    /// Writes a part of a document.
    pub fn write(&self, bytes: &[u8]) {
        self.above_progress(|| self.output.write(bytes));
    }

    /// Standard output, for what is written as it comes.
    pub fn out(&self, capacity: usize) -> std::io::BufWriter<Writer<'_>> {
        std::io::BufWriter::with_capacity(capacity, self.output.writer())
    }

    /// Takes the line of progress away while something is printed.
    fn above_progress(&self, print: impl FnOnce()) {
        match &*self.progress.borrow() {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// The line of progress that is shown from now on, if one is.
    pub fn shows(&self, progress: Option<ProgressBar>) {
        self.progress.replace(progress);
    }
}

/// Writes lines to standard error.
pub fn to_stderr(text: &(impl Printed + ?Sized)) {
    let width = rustix::termios::tcgetwinsize(std::io::stderr()).ok().map(|size| usize::from(size.ws_col).max(40));
    let _ = std::io::stderr().write_all(text.printed().render(width).as_bytes());
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

    /// Which places commands are changing or reading on this host.
    pub fn turns(&self) -> Result<Turns, Failure> {
        Ok(Turns::new(folder("XDG_DATA_HOME", ".local/share")?.join("actions").join("turns"))
            .within(std::env::var("STRONGROOM_TURN").ok()))
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
        let files = config::env_files(&text, &file)?;
        let texts = files.iter().map(|file| match waiting(|| std::fs::read_to_string(file)) {
            Ok(text) => Ok(text),
            // What it would have said is missed where it is needed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => {
                let message = format!("cannot read env_file {}: {}", file.display(), reason(&error));
                Err(Failure::usage(message, "check env_file in the configuration"))
            }
        });
        let texts: Vec<String> = texts.collect::<Result<_, _>>()?;
        let environment = |name: &str| std::env::var(name).ok();
        let written = config::variables(&texts, &environment);
        Ok(Some(config::parse(&text, &file, &|name| environment(name).or_else(|| written.get(name).cloned()))?))
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

    /// A vault's place, waited for when it is away.
    pub fn open_store(&self, location: &str) -> Result<Store, Failure> {
        let opened = waiting(|| Store::open(location, &self.store_options()));
        if matches!(opened, Err(StoreError::NoFolder { .. }))
            && let Some(known) = LockedVault::met(location, &self.folders()?)
        {
            return Err(VaultError::VaultGone { location: location.to_owned(), known }.into());
        }
        self.patient(opened?)
    }

    pub fn patient(&self, store: Store) -> Result<Store, Failure> {
        let setting = std::env::var(outage::VARIABLE).ok();
        let patience = outage::patience(setting, &self.control, &self.outages, self.interactive())?;
        Ok(store.with_patience(patience))
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
        self.open_at(self.open_store(location)?)
    }

    pub fn open_at(&self, store: Store) -> Result<LockedVault, Failure> {
        let locked = LockedVault::open(store, &self.folders()?)?.owning(self.identity_file()?);
        self.notices.borrow_mut().push(locked.host().notices().clone());
        Ok(locked)
    }

    /// What is to be said at the end of a command that did what it could: of the cache, and of storage that was waited for
    /// in vain.
    pub fn say_last_words(&self) {
        self.say_of_caches();
        let _ = std::io::stderr().write_all(self.outages.hint().unwrap_or_default().as_bytes());
    }

    pub fn say_of_caches(&self) {
        let mut words = String::new();
        for notices in self.notices.borrow().iter() {
            let dropped = notices.take_dropped().into_iter().filter(|_| self.global.verbose);
            words.extend(dropped.map(|line| format!("cache: {line}\n")));
            let unusable = notices.take_unusable();
            words.extend(unusable.map(|why| format!("warning: {why}; went on without it, more slowly\n")));
        }
        let _ = std::io::stderr().write_all(words.as_bytes());
    }

    pub fn unlocked(&self) -> Result<UnlockedVault, Failure> {
        self.unlock(self.locked()?)
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
        Ok(self.unlock_with(locked, &credentials)?.into_vault())
    }

    fn unlock(&self, locked: LockedVault) -> Result<UnlockedVault, Failure> {
        self.unlock_with(locked, &self.credentials()?)
    }

    /// Whoever stops while being asked for a passphrase lacks none.
    fn unlock_with(&self, locked: LockedVault, credentials: &Credentials) -> Result<UnlockedVault, Failure> {
        let unlocked = locked.unlock(credentials);
        let stopped = unlocked.is_err() && self.control.stopped();
        if stopped { Err(VaultError::Interrupted.into()) } else { Ok(unlocked?) }
    }

    /// Without anybody being asked for anything.
    pub fn unlocked_unasked(&self) -> Result<UnlockedVault, Failure> {
        Ok(self.locked()?.unlock(&self.identities(age::NoCallbacks)?)?)
    }

    /// What the identity file named, or the usual one, holds; and a way to ask for a passphrase.
    pub fn credentials(&self) -> Result<Credentials, Failure> {
        let mut credentials = self.identities(Prompt(self.control.clone()))?;
        credentials.ask_with(Box::new(|| read_passphrase("passphrase of the vault: ")));
        Ok(credentials)
    }

    fn identities(&self, callbacks: impl age::Callbacks) -> Result<Credentials, Failure> {
        let mut credentials = Credentials::default();
        let file = self.identity_file()?;
        match waiting(|| host::read_identity(&file))? {
            Some(text) => credentials.add(&file.display().to_string(), &text, callbacks)?,
            None if self.global.identity.is_some() => {
                let message = format!("identity file {} is not there", file.display());
                return Err(Failure::no_identity(message, "check --identity and STRONGROOM_IDENTITY"));
            }
            None => {}
        }
        Ok(credentials)
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
