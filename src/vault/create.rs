//! Making a vault: its keys, wrapped to people, and `vault.json` last, which makes it exist.

use crate::base::id::VaultId;
use crate::base::name::ObjectKey;
use crate::base::time::Instant;
use crate::format::header::fill_random;
use crate::format::identity::{OwnerKeys, WriterKeys};
use crate::format::layout;
use crate::format::vault_file::VaultFile;
use crate::store::Store;
use crate::vault::error::VaultError;
use crate::vault::host::{self, Folders, Host};
use crate::vault::known;
use crate::vault::people::Person;

/// A vault that was just made.
pub struct Created {
    pub id: VaultId,
    /// The file this host backs up with.
    pub writer_file: std::path::PathBuf,
}

/// Makes a vault in an empty place, wraps its keys to `people`, and leaves the writer file on this host.
pub fn create(store: &Store, people: &[Person], folders: &Folders) -> Result<Created, VaultError> {
    refuse_occupied(store)?;
    store.probe()?;
    let mut id = [0; VaultId::BYTES];
    fill_random(&mut id);
    let id = VaultId::from_bytes(id);
    let keys = OwnerKeys::generate();
    let file = VaultFile::new(id, Instant::now(), &keys.vault.to_public(), &keys.catalog.to_public());
    let text = keys.to_text(id, file.digest());
    for person in people {
        let sealed = person.wrap(&text);
        store.put_new(&layout::person(&person.name, sealed.digest), sealed.bytes.into())?;
    }
    let writer = WriterKeys::of(&keys, id, file.digest());
    let host = Host::new(folders, id);
    host::write_secret(host.writer_file(), &writer.to_json())?;
    store.put_new(&layout::vault_file(), file.write().into())?;
    known::replace(store, &file, &host);
    Ok(Created { id, writer_file: host.writer_file().to_owned() })
}

/// A vault is never made on top of anything, but what a crashed `init` left is no obstacle.
pub fn refuse_occupied(store: &Store) -> Result<(), VaultError> {
    let location = || store.location().to_owned();
    if store.head(&layout::vault_file())?.is_some() {
        return Err(VaultError::VaultExists { location: location() });
    }
    let leftover = |key: &ObjectKey| key.as_str().starts_with("keys/") || key.as_str().starts_with("probe/");
    if store.list("")?.iter().any(|object| !leftover(&object.key)) {
        return Err(VaultError::NotEmpty { location: location() });
    }
    Ok(())
}
