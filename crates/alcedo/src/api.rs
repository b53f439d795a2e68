//! The words of the daemon's API: JSON over HTTP/1.1 on its unix socket. Version 1.
//!
//! | call | does |
//! |---|---|
//! | `GET  /v1/hello` | [`Hello`]: versions; every connection begins with it |
//! | `GET  /v1/status[?app=APP]` | `status --json` of interface.md |
//! | `POST /v1/apps/APP/plan` | [`DeployCall`] → `plan --json`; nothing is changed |
//! | `POST /v1/apps/APP/entries` | [`ConfigText`] → where its processes are reached in either slot, for `setup`; picks ports |
//! | `POST /v1/apps/APP/deploy` | [`DeployCall`] → [`Accepted`] |
//! | `POST /v1/apps/APP/rollback` | [`RollbackCall`] → [`Accepted`] |
//! | `POST /v1/apps/APP/promote`, `/abort`, `/resolve`, `/retire` | [`VerbCall`] → [`Accepted`] |
//! | `POST /v1/apps/APP/pin` | [`PinCall`] → [`Accepted`] |
//! | `POST /v1/apps/APP/preview` | [`PreviewCall`] → [`Preview`] |
//! | `POST /v1/apps/APP/prune` | [`PruneCall`] → `prune --json` |
//! | `GET  /v1/apps/APP/events?deploy=N&since=SEQ&follow=true` | lines of [`Line`], chunked; ends after the deploy's `ended` |
//! | `GET  /v1/apps/APP/history`, `/releases` | `history --json`, `releases --json` |
//! | `GET  /v1/apps/APP/logs?slot=&release=&process=&deploy=&n=&since=&follow=` | lines of [`LogLine`], chunked |
//! | `GET  /v1/apps/APP/config` | [`AppConfig`]: what the host runs |
//! | `GET  /v1/apps/APP/check` | `check --json` of this host for the app |
//! | `POST /v1/apps/APP/basis`, `/offer`, `PUT /v1/apps/APP/parts/HASH` | files of a release from another machine: [`upload`] |
//!
//! Errors are `{"error":{"code","message","file","line","hint"}}` with [`Failed`]; the exit code goes with it. Fields
//! are added, never renamed; readers ignore fields that they do not know.

pub(crate) mod upload;

use alcedo_core::event::Record;
use alcedo_core::{ReleaseId, Slot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Version of this API.
pub(crate) const API_VERSION: u32 = 1;

/// Who is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// [`API_VERSION`].
    pub(crate) api: u32,
    /// Version of the program.
    pub(crate) alcedo: String,
    /// Its process id.
    pub(crate) pid: u32,
    /// The machine's name.
    pub(crate) host: String,
    /// What its programs are built for: `amd64`. Absent from before there were uploads.
    #[serde(default)]
    pub(crate) machine: Option<String>,
}

/// The app's configuration as it was typed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ConfigText {
    /// Contents of `alcedo.toml`.
    pub(crate) text: String,
    /// Its path, for messages.
    pub(crate) file: String,
    /// `-e`.
    #[serde(default)]
    pub(crate) environment: Option<String>,
}

/// What to deploy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DeployCall {
    /// Unique to this call; a repeated one returns the recorded result.
    pub(crate) operation: String,
    /// Absent with `-a`: the configuration that the host runs.
    #[serde(default)]
    pub(crate) config: Option<ConfigText>,
    /// What to bring.
    pub(crate) what: What,
    /// Stop before the switch.
    #[serde(default)]
    pub(crate) stage: bool,
    /// Caveats accepted, by id.
    #[serde(default)]
    pub(crate) accept: Vec<String>,
    /// Deploy it although it is marked bad.
    #[serde(default)]
    pub(crate) retry: bool,
    /// Go back to stable first when a deploy is being judged.
    #[serde(default)]
    pub(crate) supersede: bool,
    /// Do exactly this plan (its short id), else refuse.
    #[serde(default)]
    pub(crate) plan: Option<String>,
    /// Who.
    pub(crate) by: String,
    /// Why.
    #[serde(default)]
    pub(crate) note: Option<String>,
    /// PATH, HOME, LANG, USER, TZ of whoever typed it: what the app's processes inherit.
    #[serde(default)]
    pub(crate) inherit: BTreeMap<String, String>,
}

/// What a deploy brings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// Files of this machine.
    Files {
        /// Where from.
        source: crate::engine::ports::Source,
        /// The id it gets.
        release: ReleaseId,
        /// Commit it was made from.
        commit: Option<String>,
    },
    /// A kept release, or `active`, `previous`, `stable`, or a unique part of an id.
    Kept(String),
}

/// Back to what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RollbackCall {
    /// See [`DeployCall::operation`].
    pub(crate) operation: String,
    /// Absent: the previous good release.
    #[serde(default)]
    pub(crate) release: Option<String>,
    /// Who.
    pub(crate) by: String,
    /// Today's configuration, when there is one.
    #[serde(default)]
    pub(crate) config: Option<ConfigText>,
}

/// `promote`, `abort`, `resolve`, `retire`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VerbCall {
    /// See [`DeployCall::operation`].
    pub(crate) operation: String,
    /// Who.
    pub(crate) by: String,
    /// `resolve`: the slot that is live.
    #[serde(default)]
    pub(crate) slot: Option<Slot>,
    /// `promote --now`: accept during the bake without waiting.
    #[serde(default)]
    pub(crate) now: bool,
    /// `abort`: only while it has not switched (what Ctrl-C sends).
    #[serde(default)]
    pub(crate) before_switch: bool,
}

/// `prune`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PruneCall {
    /// Change nothing.
    pub(crate) dry_run: bool,
}

/// `releases pin`, `releases unpin`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PinCall {
    /// See [`DeployCall::operation`].
    pub(crate) operation: String,
    /// Who.
    pub(crate) by: String,
    /// An id, a unique part of one, or a role.
    pub(crate) release: String,
    /// Keep it from now on; `false`: no longer.
    pub(crate) pinned: bool,
}

/// `preview`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PreviewCall {
    /// Ends every link instead.
    #[serde(default)]
    pub(crate) off: bool,
}

/// `preview --json`: a way to the slot without traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Preview {
    /// A link that makes a cookie; `None`: links were ended.
    #[serde(default)]
    pub(crate) url: Option<String>,
    /// The slot.
    pub(crate) slot: Slot,
    /// What it runs.
    pub(crate) release: ReleaseId,
    /// When the link ends, RFC 3339 UTC.
    #[serde(default)]
    pub(crate) expires_at: Option<String>,
}

/// A call that changes something was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accepted {
    /// The deploy to follow; absent for `resolve` and `retire`.
    #[serde(default)]
    pub(crate) deploy: Option<String>,
    /// Follow events after this sequence number.
    pub(crate) since: u64,
    /// What happened, for verbs without a deploy.
    #[serde(default)]
    pub(crate) text: Option<String>,
}

/// One line of the event stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Line {
    /// Durable: what happened.
    Record(Box<Record>),
    /// May be lost: how far the step under way is.
    Progress(String),
    /// A sign of life, once a second.
    Alive,
}

/// One line of a log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LogLine {
    /// Process within the slot, or `prepare`.
    pub(crate) process: String,
    /// The line, without its end.
    pub(crate) text: String,
}

/// What the host runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AppConfig {
    /// The effective configuration that was last deployed.
    pub(crate) config: Option<alcedo_core::config::Config>,
    /// Where releases are.
    pub(crate) root: Option<PathBuf>,
}

/// Why a call was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failed {
    /// A word for programs: `locked`, `stuck`, `drift`, `bad-release`, `not-accepted`, `usage`, `config`, `failed` …
    pub(crate) code: String,
    /// A whole sentence.
    pub(crate) message: String,
    /// For configuration errors.
    #[serde(default)]
    pub(crate) file: Option<String>,
    /// For configuration errors.
    #[serde(default)]
    pub(crate) line: Option<usize>,
    /// What to type or change.
    #[serde(default)]
    pub(crate) hint: Option<String>,
    /// Exit code of interface.md.
    pub(crate) exit: u8,
}

/// The envelope of an error.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    /// The error.
    pub(crate) error: Failed,
}
