//! What a statement may do, as SQLite asks while it compiles one.
//!
//! Statements that write are found by asking SQLite whether they do, not here: tables of some modules compile writing
//! statements of their own when they are opened, and never run them. Here stands what reads and has effects all the
//! same: files that are opened, code that is loaded, settings that are changed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// Pragmas that tell something of what is named.
const ABOUT: [&str; 10] = [
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// Pragmas that tell something as long as they are given no value.
const TELLING: [&str; 16] = [
    "application_id",
    "auto_vacuum",
    "collation_list",
    "compile_options",
    "data_version",
    "database_list",
    "encoding",
    "freelist_count",
    "function_list",
    "module_list",
    "page_count",
    "page_size",
    "pragma_list",
    "query_only",
    "schema_version",
    "user_version",
];

#[derive(Clone, Default)]
pub struct Authority {
    attaching: Arc<AtomicBool>,
    /// What was refused last.
    refused: Arc<Mutex<Option<String>>>,
}

impl Authority {
    pub fn hook(&self) -> impl FnMut(AuthContext<'_>) -> Authorization + Send + 'static {
        let own = self.clone();
        move |asked: AuthContext<'_>| match own.refusal(&asked.action) {
            None => Authorization::Allow,
            Some(what) => {
                *own.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
                Authorization::Deny
            }
        }
    }

    /// Lets the session itself attach a database.
    pub fn while_attaching<T>(&self, attach: impl FnOnce() -> T) -> T {
        self.attaching.store(true, Ordering::Relaxed);
        let result = attach();
        self.attaching.store(false, Ordering::Relaxed);
        result
    }

    /// What was refused since this was last asked.
    pub fn refused(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn refusal(&self, action: &AuthAction<'_>) -> Option<String> {
        match action {
            AuthAction::Attach { .. } if self.attaching.load(Ordering::Relaxed) => None,
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => Some("ATTACH and DETACH are".to_owned()),
            AuthAction::Pragma { pragma_name, pragma_value } => {
                let name = pragma_name.to_ascii_lowercase();
                let known = ABOUT.contains(&&*name) || (pragma_value.is_none() && TELLING.contains(&&*name));
                (!known).then(|| format!("PRAGMA {name} is"))
            }
            AuthAction::Function { function_name } if function_name.eq_ignore_ascii_case("load_extension") => {
                Some("load_extension is".to_owned())
            }
            AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => Some("transactions are".to_owned()),
            _ => None,
        }
    }
}
