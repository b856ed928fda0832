//! Counts what a capture would go through, for the progress display.
//!
//! The same walk, with the same rules, and nothing read. What goes wrong is left for the capture to report.

use std::collections::HashSet;

use crate::base::control::Control;
use crate::base::entry::Kind;
use crate::source::files::FilesSource;
use crate::source::files::capture::{Start, start};
use crate::source::files::scan::Own;
use crate::source::files::walk::Walk;

pub(super) fn run(source: &FilesSource, control: &Control) {
    let Ok(Start { ahead, parent, root, .. }) = start(source, Own::default()) else { return };
    let (mut items, mut bytes) = (0, 0);
    let mut shared = HashSet::new();
    for found in Walk::new(&ahead, parent, root) {
        if control.stopped() {
            return;
        }
        let Ok(facts) = found.facts else { continue };
        if facts.kind != Kind::Dir && !source.wants(&found.path) {
            continue;
        }
        items += 1;
        let is_new = facts.shared_file().is_none_or(|file| shared.insert(file));
        if facts.kind == Kind::File && is_new {
            bytes += facts.size;
        }
    }
    control.items_expected.add(items);
    control.bytes_expected.add(bytes);
}
