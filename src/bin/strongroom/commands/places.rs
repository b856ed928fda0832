use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use strongroom::base::name::Name;
use strongroom::base::path;
use strongroom::format::manifest::Manifest;
use strongroom::ops::error::{OpError, Problem};
use strongroom::ops::places::{Places, Unknown};
use strongroom::vault::unlocked::UnlockedVault;

use crate::commands::server::refuse_password;
use crate::context::Context;
use crate::exit::Failure;

/// Where sources live on this host.
#[derive(clap::Args, Default)]
pub struct PlaceArgs {
    /// Where a source lives on this host, if neither the configuration nor an earlier backup says so (repeatable)
    #[arg(long = "place", value_name = "SOURCE=PATH|URL")]
    named: Vec<OsString>,
}

impl PlaceArgs {
    /// What this host remembers, and what the command line says of sources that one of these snapshots has.
    pub fn places(&self, vault: &UnlockedVault, manifests: &[&Manifest]) -> Result<Places, Failure> {
        let mut places = Places::of(vault.vault());
        for text in &self.named {
            let (source, root) = named(text)?;
            places.name(source, root);
        }
        places.must_be_of(manifests)?;
        Ok(places)
    }
}

fn named(text: &OsStr) -> Result<(Name, String), Failure> {
    let shown = path::encode(text.as_bytes());
    let wrong = || Failure::usage(format!("--place {shown} does not name a place"), "write --place SOURCE=PATH");
    let at = text.as_bytes().iter().position(|&byte| byte == b'=').ok_or_else(wrong)?;
    let (source, root) = (&text.as_bytes()[..at], &text.as_bytes()[at + 1..]);
    let source = std::str::from_utf8(source).ok().and_then(|source| source.parse::<Name>().ok()).ok_or_else(wrong)?;
    if root.is_empty() {
        return Err(wrong());
    }
    if root.windows(3).any(|some| some == b"://") {
        let url = String::from_utf8_lossy(root).into_owned();
        refuse_password("--place", &url)?;
        return Ok((source, url));
    }
    let root = Path::new(OsStr::from_bytes(root));
    let whole = std::path::absolute(root).unwrap_or(root.to_owned());
    Ok((source, path::encode(whole.as_os_str().as_bytes())))
}

/// Does what needs to know where sources live. Where only the snapshot says so, a person at a terminal is asked; without
/// one, the error tells how to say it.
pub fn confirmed<T>(
    places: &mut Places,
    context: &Context,
    mut attempt: impl FnMut(&Places) -> Result<T, OpError>,
) -> Result<T, Failure> {
    loop {
        match attempt(places) {
            Err(OpError::Problem(Problem::UnknownPlace(unknown))) if context.may_ask() && agreed(&unknown, context) => {
                places.name(unknown.source_name.clone(), unknown.root.clone());
            }
            ended => return Ok(ended?),
        }
    }
}

fn agreed(unknown: &Unknown, context: &Context) -> bool {
    let Unknown { snapshot, source_name, host, .. } = unknown;
    let place = unknown.shown();
    context
        .agreed(&format!("snapshot {snapshot} of {host} says that {source_name} lives at {place}. Is that right here?"))
}
