use std::io::Write;
use std::path::{Path, PathBuf};

use age::secrecy::{ExposeSecret, SecretString};
use strongroom::base::error::reason;
use strongroom::base::name::Name;
use strongroom::base::path::encode;
use strongroom::base::text::{counted, size};
use strongroom::ops::discover::{self, LeftOut, What};
use strongroom::ops::overlap::overlapping;
use strongroom::store::Store;
use strongroom::vault::LockedVault;
use strongroom::vault::create::{self, Created};
use strongroom::vault::host;
use strongroom::vault::people::{Person, shorten};

use crate::asking::read_passphrase;
use crate::context::{Context, waiting};
use crate::exit::{Ending, Failure};
use crate::render::Lines;

/// Make a vault, and an identity that opens it
///
/// Without options a fresh identity is written to the identity file (or the one that is there is used) and the vault is
/// sealed to it. With --recipient or --passphrase it is sealed to those instead.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    strongroom init\n  \
    strongroom --vault s3://backups/app init --recipient ops=age1… \\\n      --recipient ~/.ssh/id_ed25519.pub\n  \
    strongroom --vault /backups/app init --passphrase\n  \
    strongroom --vault /backups/app init --discover ~/app")]
pub struct Args {
    /// Seal to this public key: age1…, ssh-ed25519 …, ssh-rsa …, or a file that holds one; NAME= gives it a name
    #[arg(long, value_name = "[NAME=]KEY")]
    recipient: Vec<String>,
    /// Seal to a passphrase, typed or from the file named by STRONGROOM_PASSPHRASE_FILE
    #[arg(long)]
    passphrase: bool,
    /// Seal to the identity file as well as to what else is named
    #[arg(long)]
    with_identity: bool,
    /// Look through this folder and write a strongroom.toml into it (or to --config) that names what it holds: SQLite
    /// databases, folders of documents and data, .env and compose files. Tells what it leaves out. Never replaces one. The vault may be there already
    #[arg(long, value_name = "DIR")]
    discover: Option<PathBuf>,
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    if let Some(folder) = &args.discover {
        return discover(folder, &args, context);
    }
    let config = context.config()?;
    if let Some(both) = config.as_ref().and_then(|config| overlapping(&config.sources)) {
        context.say(&format!("warning: {both}"));
    }
    let location = context.location(config.as_ref())?;
    let made = make_for(&args, &location, context)?;
    if context.json() {
        context.print_json(&made.document(&location));
    } else {
        context.print(&made.words(&location));
    }
    Ok(Ending::Done)
}

/// Makes the vault for whom the arguments name.
fn make_for(args: &Args, location: &str, context: &Context) -> Result<Made, Failure> {
    let mut people = Vec::new();
    for text in &args.recipient {
        people.push(recipient(text, people.len())?);
    }
    if args.passphrase {
        people.push(Person::with_passphrase(Name::lossy("passphrase"), new_passphrase()?));
    }
    let with_identity = people.is_empty() || args.with_identity;
    make(context, location, people, with_identity)
}

/// Writes a configuration of what a folder holds, and makes the vault unless it is there.
fn discover(folder: &Path, args: &Args, context: &Context) -> Result<Ending, Failure> {
    let file = context.config_file().map_or_else(|| folder.join("strongroom.toml"), Path::to_owned);
    let exists =
        || Failure::usage(format!("{} is there already", file.display()), "it is never replaced: remove it first");
    if std::fs::symlink_metadata(&file).is_ok() {
        return Err(exists());
    }
    // Paths in it are relative to where it lies: what was found is named from there.
    let beside =
        file.parent().is_some_and(|parent| std::path::absolute(parent).ok() == std::path::absolute(folder).ok());
    if !beside {
        return Err(Failure::usage(
            format!("{} does not lie in {}", file.display(), folder.display()),
            "let --config name a file in the folder that is looked through, or leave it out",
        ));
    }
    let found = discover::discover(folder, context.named_location().as_deref(), &context.control)?;
    let location = context.location(None)?;
    let mut document = match context.locked_at(&location) {
        Ok(locked) => serde_json::json!({
            "vault": location, "id": locked.id(), "writer_file": locked.host().writer_file(), "identity": null,
        }),
        Err(failure) if !failure.is_no_vault() => return Err(failure),
        Err(_) => {
            let made = make_for(args, &location, context)?;
            context.print(&made.words(&location));
            made.document(&location)
        }
    };
    let written = std::fs::File::create_new(&file).and_then(|mut out| out.write_all(found.text.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(),
        _ => Failure::other(format!("cannot write {}: {}", file.display(), reason(&error)), None),
    })?;
    found.missing.iter().for_each(|missing| context.warn(&format!("not captured: {missing}")));
    if context.json() {
        document["config"] = file.to_string_lossy().into();
        document["sources"] = found.sources.into();
        document["missing"] = found.missing.into();
        document["left_out"] = found.left_out.iter().map(left_out).collect();
        context.print_json(&document);
    } else {
        let names = if found.sources.is_empty() { "no sources".to_owned() } else { found.sources.join(", ") };
        context.print(&format!("wrote          {}: {names}", file.display()));
        tell_left_out(&found.left_out, context);
        context.print("  review it, then run strongroom backup there");
    }
    if !found.left_out.is_empty() && (context.quiet() || context.json()) {
        let files = found.left_out.iter().map(|left| left.files).sum();
        let bytes = found.left_out.iter().map(|left| left.bytes).sum();
        let amount = format!("{}, {}", counted(files, "file"), size(bytes));
        context.warn(&format!("not captured: {amount}, named at the end of {}", file.display()));
    }
    Ok(Ending::Done)
}

/// So many are named on standard output; the configuration names all.
const TOLD: usize = 20;

/// Names what the configuration leaves out, and how to add it.
fn tell_left_out(left_out: &[LeftOut], context: &Context) {
    if left_out.is_empty() {
        return;
    }
    let most = if context.verbose() { usize::MAX } else { TOLD };
    left_out.iter().take(most).for_each(|left| context.print(&format!("left out       {}", left.words())));
    if let Some(rest) = left_out.get(most..).filter(|rest| !rest.is_empty()) {
        let (files, bytes) = (rest.iter().map(|left| left.files).sum(), rest.iter().map(|left| left.bytes).sum());
        let amount = format!("{}, {}", counted(files, "file"), size(bytes));
        context.print(&format!("left out       {} more  {amount}", rest.len()));
    }
    context.print("  to add one, remove the # before its source at the end of that file");
}

fn left_out(left: &LeftOut) -> serde_json::Value {
    let what = match &left.what {
        What::Folder => "folder",
        What::File => "file",
        What::FilesIn => "files",
        What::Link { .. } => "link",
        What::Unreadable { .. } => "unreadable",
    };
    let path = encode(left.path.as_os_str().as_encoded_bytes());
    serde_json::json!({ "path": path, "what": what, "files": left.files, "bytes": left.bytes })
}

/// A vault that was made, and for whom.
pub struct Made {
    pub created: Created,
    pub identity: Option<std::path::PathBuf>,
    identity_is_new: bool,
    people: Vec<String>,
}

impl Made {
    fn document(&self, location: &str) -> serde_json::Value {
        serde_json::json!({
            "vault": location, "id": self.created.id, "writer_file": self.created.writer_file, "identity": self.identity,
        })
    }

    pub fn words(&self, location: &str) -> Lines {
        let mut text = Lines::new();
        text.push(&format!("made vault     {location}"));
        match &self.identity {
            Some(file) if self.identity_is_new => {
                text.push(&format!("made identity  {}", file.display()));
                text.push("  keep a copy of the identity elsewhere: without it nothing in the vault can be");
                text.push("  read");
            }
            Some(file) => text.push(&format!("sealed to      {}", file.display())),
            None => {}
        }
        for person in &self.people {
            text.push(&format!("sealed to      {person}"));
        }
        text
    }
}

/// Makes the vault for these people and, if asked, for the identity file, which is made if it is not there.
pub fn make(context: &Context, location: &str, mut people: Vec<Person>, with_identity: bool) -> Result<Made, Failure> {
    let names = people.iter().map(|person| person.name.to_string()).collect();
    let store = context.patient(Store::create(location, &context.store_options())?)?;
    create::refuse_occupied(&store)?;
    for known in LockedVault::met(location, &context.folders()?).into_iter().flatten() {
        context.warn(&format!("warning: vault {known} was at {location} and is gone: a new one takes its place"));
    }
    let (mut identity, mut identity_is_new) = (None, false);
    if with_identity {
        let file = context.identity_file()?;
        let (recipient, fresh) = identity_recipient(&file)?;
        identity_is_new = fresh;
        people.push(Person::with_recipient(Name::lossy("owner"), &recipient)?);
        identity = Some(file);
    }
    let created = create::create(&store, &people, &context.folders()?)?;
    Ok(Made { created, identity, identity_is_new, people: names })
}

/// The public key of the identity in `file`, which is made if it is not there.
fn identity_recipient(file: &Path) -> Result<(String, bool), Failure> {
    if let Some(text) = host::read_identity(file)? {
        let secret = text.lines().map(str::trim).find(|line| line.starts_with("AGE-SECRET-KEY-1"));
        let identity = secret.and_then(|line| line.parse::<age::x25519::Identity>().ok());
        return match identity {
            Some(identity) => Ok((identity.to_public().to_string(), false)),
            None => Err(Failure::usage(
                format!("{} holds no age identity", file.display()),
                "for an ssh key pass its public part: --recipient FILE.pub",
            )),
        };
    }
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let text = format!("# strongroom identity\n# public key: {recipient}\n{}\n", identity.to_string().expose_secret());
    host::write_secret(file, &text)?;
    Ok((recipient, true))
}

/// `[NAME=]KEY`, where KEY is a public key or a file that holds one.
fn recipient(text: &str, number: usize) -> Result<Person, Failure> {
    let (name, key) = match text.split_once('=') {
        Some((name, key)) if !name.contains(' ') && !name.starts_with("ssh-") => (Some(name), key),
        _ => (None, text),
    };
    let key = match waiting(|| std::fs::read_to_string(key)) {
        Ok(file) if !key.starts_with("age1") => {
            file.lines().find(|line| !line.starts_with('#')).unwrap_or_default().to_owned()
        }
        _ => key.to_owned(),
    };
    let name = match name {
        Some(name) => name.parse().map_err(|error| Failure::usage(format!("{error}"), "write --recipient NAME=KEY"))?,
        None => default_name(&key, number),
    };
    Ok(Person::with_recipient(name, &key)?)
}

/// An ssh key's comment, or the beginning of the key.
fn default_name(key: &str, number: usize) -> Name {
    match key.split_whitespace().nth(2).filter(|_| key.starts_with("ssh-")) {
        Some(comment) => Name::lossy(comment),
        None if key.starts_with("age1") => Name::lossy(&shorten(key).replace('…', "_")),
        None => Name::lossy(&format!("recipient_{}", number + 1)),
    }
}

fn new_passphrase() -> Result<SecretString, Failure> {
    let missing = || {
        Failure::usage(
            "there is nobody to ask for a passphrase",
            "put it into a file and set STRONGROOM_PASSPHRASE_FILE",
        )
    };
    let first = read_passphrase("new passphrase: ")?.ok_or_else(missing)?;
    if first.expose_secret().trim().is_empty() {
        return Err(Failure::usage("the passphrase is empty", "use several words"));
    }
    let again = read_passphrase("again: ")?.ok_or_else(missing)?;
    if first.expose_secret() != again.expose_secret() {
        return Err(Failure::usage("the two passphrases differ", "try again"));
    }
    Ok(first)
}
