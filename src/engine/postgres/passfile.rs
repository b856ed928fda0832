//! The password file, as libpq reads it: lines of host, port, database, user and password.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::engine::postgres::settings::Settings;
use crate::engine::regular;

/// The password of the first line that fits. A file that others may read is as good as none, as libpq has it.
pub(super) fn password(file: &Path, settings: &Settings) -> Option<String> {
    let metadata = fs::metadata(file).ok()?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o077 != 0 {
        return None;
    }
    let mut text = Zeroizing::new(String::new());
    regular::open(file).ok()?.read_to_string(&mut text).ok()?;
    // A socket is known by its folder, and by the name of this host.
    let hosts = [settings.host.as_str(), if settings.is_local() { "localhost" } else { &settings.host }];
    let fits = |field: &str, values: &[&str]| field == "*" || values.contains(&field);
    text.lines().filter(|line| !line.starts_with('#')).map(fields).find_map(|fields| match fields.as_slice() {
        [host, port, dbname, user, password]
            if fits(host, &hosts)
                && fits(port, &[&settings.port.to_string()])
                && fits(dbname, &[&settings.dbname])
                && fits(user, &[&settings.user]) =>
        {
            Some(password.clone())
        }
        _ => None,
    })
}

/// Fields end at colons; what a backslash stands before is itself.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter == ':' && fields.len() < 5 {
            fields.push(String::new());
            continue;
        }
        let letter = if letter == '\\' { letters.next() } else { Some(letter) };
        fields.last_mut().expect("BUG: there is one").extend(letter);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_counts_if_nobody_else_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pgpass");
        fs::write(&file, "# mine\ndb\\:1:5432:app:me:no\nh:*:other:me:no\nh:5432:app:me:a\\:b:c\n*:*:*:*:rest\n")
            .unwrap();
        let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let url = format!("postgres://me@h/app?passfile={}", file.display());
        let password = || Settings::of_url(&url, &|_| None).unwrap().password.map(|password| password.to_string());
        mode(0o600);
        assert_eq!(password().as_deref(), Some("a:b:c"));
        mode(0o640);
        assert_eq!(password(), None);
    }
}
