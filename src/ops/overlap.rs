//! Sources that hold the same things.
//!
//! Both captures are whole, and a restore gives such a thing back once, as the first source has it: worth saying, since the
//! two may have seen it at different moments.

use crate::base::path::encode;
use crate::ops::backup::Planned;

/// What two sources hold: `app and db both hold /srv/app/app.db`. One line for all of them.
pub fn overlapping(sources: &[Planned]) -> Option<String> {
    let mut both = Vec::new();
    for (at, one) in sources.iter().enumerate() {
        for other in &sources[at + 1..] {
            let shared = |one: &Planned, other: &Planned| {
                let named = other.source.names();
                named.into_iter().find(|path| one.source.covers(path))
            };
            if let Some(path) = shared(one, other).or_else(|| shared(other, one)) {
                let path = encode(path.as_os_str().as_encoded_bytes());
                both.push(format!("{} and {} both hold {path}", one.name, other.name));
            }
        }
    }
    let what = (!both.is_empty()).then(|| both.join("; "))?;
    Some(format!("{what}: a restore gives it back as the first of them has it; exclude it from one of them"))
}
