//! Giving single records back to a live database, with everything that belongs to them.
//!
//! Owns the way from what was asked to a plan, and from a plan to live data: the rules themselves are `record`'s. Live
//! data is written in one transaction, after what it touches is in a safety snapshot; linked files are staged before it
//! and take their places after it, by a journal that the next command finishes or takes back.

mod act;
mod apart;
mod case;
mod databases;
mod export;
mod files;
mod going;
mod grown;
mod journal;
mod looked;
mod named;
mod pattern;
mod safety;
mod standing;
mod take_back;
mod together;
mod work;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::control::Control;
use crate::ops::backup::Planned;
use crate::ops::live_database::LiveDatabase;
use crate::ops::places::Places;
use crate::ops::show::Part;
use crate::record::model::Model;
use crate::record::plan::{Options, Plan};

pub use act::{Report, apply};
pub use case::Case;
pub(in crate::ops) use case::live_place;
pub use export::{Exported, Form, export};
pub use files::{FileAct, FileStep};
pub use journal::{Recovered, settle};
pub use named::named;
pub(in crate::ops) use take_back::{foresee as foresee_taking_back, take_back};
pub use together::{Beside, Joined};

/// So many rows come back unless more are allowed.
pub const BUDGET: u64 = 100_000;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Records of an entity or table, by their keys as a person types them.
    Keys { name: String, keys: Vec<String> },
    /// Rows of a table that a condition holds for.
    Where { table: String, condition: String },
    /// Every record of an entity or table that live data lacks.
    Missing { name: String },
}

pub struct Request {
    pub asked: Asked,
    /// Which database of the snapshot; needed where there are several and no entity says.
    pub part: Option<Part>,
    pub model: Model,
    pub options: Options,
    pub budget: u64,
    /// The configuration's sources, which say where they live.
    pub configured: Vec<Planned>,
    /// Another database than the one it was captured from.
    pub into: Option<LiveDatabase>,
    /// Which databases of other sources take part.
    pub beside: Beside,
    /// What else is known of where sources live.
    pub places: Places,
    /// How long a locked database is waited for.
    pub wait: Duration,
    pub control: Arc<Control>,
}

/// A plan with the files that come back, and where it is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    #[serde(flatten)]
    pub plan: Plan,
    /// The live database.
    pub live: LiveDatabase,
    /// The live databases of other sources that take part. Their tables are called `SOURCE.TABLE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Joined>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileStep>,
}

impl Recovery {
    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.plan.writes() == 0 && !self.files.iter().any(|file| file.act.writes())
    }

    /// Is nothing missing when it is done?
    pub fn is_whole(&self) -> bool {
        self.plan.is_whole() && !self.files.iter().any(|file| file.missing)
    }
}
