//! What was taken over, and what stood there before: one small file, durable before anything of the owner's is changed.
//!
//! Version 1. Fields are added with `#[serde(default)]` and never renamed; another version is refused untouched.

use super::failed;
use crate::engine::ports::EffectError;
use crate::files::write_atomically;
use alcedo_core::AppName;
use alcedo_core::config::Config;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;
/// Beside the marker of a prepared host: root writes, the daemon reads.
const DIR: &str = "/etc/alcedo/adopted";

/// One site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    /// The file or link that chose the slot.
    pub(super) file: PathBuf,
    /// What it was.
    pub(super) before: Was,
    /// What it is now.
    pub(super) after: Was,
    /// Where the hand-made process listened.
    pub(super) address: String,
    /// Whether nginx was seen to have read it.
    pub(super) effect: Effect,
}

/// Whether nginx has read the file as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Effect {
    /// It is being replaced, or was when this was written.
    Awaited,
    /// nginx has.
    Seen,
}

/// A text, or where a link leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Was {
    Text(String),
    /// With the text behind it, where that is a file of ours.
    Link {
        to: PathBuf,
        text: Option<String>,
    },
}

impl Record {
    pub(super) fn new(file: &Path, before: Was, after: Was, address: &str) -> Self {
        Self {
            version: VERSION,
            file: file.to_owned(),
            before,
            after,
            address: address.to_owned(),
            effect: Effect::Awaited,
        }
    }

    /// `None`: nothing was taken over.
    pub(super) fn load(app: &AppName) -> Result<Option<Self>, EffectError> {
        let path = path(app);
        let what = || format!("read {}", path.display());
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| failed(what(), error, "sudo alcedo setup"))?,
        };
        let record: Self =
            serde_json::from_str(&text).map_err(|error| failed(what(), error, ""))?;
        if record.version != VERSION {
            let detail = format!("it has format {}, this version reads {VERSION}", record.version);
            return Err(failed(what(), detail, ""));
        }
        Ok(Some(record))
    }

    /// The same, with what is known of its effect.
    pub(super) fn with_effect(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }

    /// Durable when it returns.
    pub(super) fn save(&self, app: &AppName) -> Result<(), EffectError> {
        std::fs::create_dir_all(DIR).map_err(|error| failed(format!("make {DIR}"), error, ""))?;
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| failed("note the take-over", error, ""))?;
        Ok(write_atomically(&path(app), text.as_bytes(), 0o644)?)
    }
}

/// Nothing is taken over any more.
pub(super) fn forget(app: &AppName) -> Result<(), EffectError> {
    super::files::remove(&path(app))?;
    // With the last one, the directory.
    let _ = std::fs::remove_dir(DIR);
    Ok(())
}

/// What of the configuration waits for `setup`: the file that is to be taken over and is not yet.
pub(crate) fn waits(app: &AppName, config: &Config) -> Option<String> {
    let file = config.router.adopt.as_ref()?;
    let is_done = |record: Record| record.effect == Effect::Seen && record.file == *file;
    let done = Record::load(app).ok().flatten().is_some_and(is_done);
    (!done).then(|| file.display().to_string())
}

/// Where the hand-made process of an app listened.
pub(crate) fn hand_made(app: &AppName) -> Option<String> {
    Some(Record::load(app).ok()??.address)
}

fn path(app: &AppName) -> PathBuf {
    Path::new(DIR).join(format!("{app}.json"))
}
