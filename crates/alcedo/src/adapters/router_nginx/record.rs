//! What alcedo knows of an app's nginx: one small checksummed file beside the flag, written before and after each change.
//!
//! Version 1. Fields are added with `#[serde(default)]` and never renamed; another version is refused untouched.

use crate::engine::ports::{EffectError, Effective};
use crate::files::write_atomically;
use alcedo_core::Slot;
use alcedo_core::config::NginxForm;
use alcedo_core::nginx::Upstream;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;
const FILE: &str = "state.json";

/// What is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) version: u32,
    /// How nginx learns which slot is live.
    pub(super) form: NginxForm,
    /// Our site file.
    pub(super) site: PathBuf,
    /// The link that enables it.
    pub(super) link: Option<PathBuf>,
    /// nginx's pid file.
    pub(super) pid_file: PathBuf,
    /// Where the status page listens.
    pub(super) status: SocketAddr,
    /// The generation of the site's text that serves; 0: none yet.
    pub(super) structure: u64,
    /// The one that is being put in place; what is left of it after a crash is taken back.
    #[serde(default)]
    pub(super) installing: Option<u64>,
    /// Where the slots listen.
    pub(super) upstreams: Vec<Upstream>,
    /// The last switch that took effect.
    pub(super) switch: Switch,
    /// The one whose effect is asked of nginx.
    #[serde(default)]
    pub(super) pending: Option<Switch>,
    /// The binding last switched to, by slot.
    #[serde(default)]
    pub(super) targets: BTreeMap<Slot, String>,
    /// Where the access log stood when the slot last got traffic.
    #[serde(default)]
    pub(super) since: BTreeMap<Slot, LogPosition>,
}

/// One switch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Switch {
    /// Counts switches; 0: never.
    pub(super) generation: u64,
    /// Who asked for it.
    pub(super) operation: Option<String>,
    /// The binding, as text.
    pub(super) target: Option<String>,
    /// Its slot.
    pub(super) slot: Option<Slot>,
}

/// A place in the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogPosition {
    /// Which file, however it is called now.
    pub(super) inode: u64,
    /// In bytes.
    pub(super) offset: u64,
}

impl Record {
    /// Nothing serves yet.
    pub(super) fn new(form: NginxForm, status: SocketAddr) -> Self {
        Self {
            version: VERSION,
            form,
            site: PathBuf::new(),
            link: None,
            pid_file: PathBuf::new(),
            status,
            structure: 0,
            installing: None,
            upstreams: Vec::new(),
            switch: Switch::default(),
            pending: None,
            targets: BTreeMap::new(),
            since: BTreeMap::new(),
        }
    }

    /// What is recorded in `dir`; `None`: nothing.
    pub(super) fn load(dir: &Path) -> Result<Option<Self>, EffectError> {
        let path = dir.join(FILE);
        let what = || format!("read {}", path.display());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(EffectError::failed(what(), error)),
        };
        let (hash, body) = text.split_once('\n').unwrap_or_default();
        if blake3::hash(body.as_bytes()).to_hex().as_str() != hash {
            return Err(EffectError::failed(what(), "its checksum does not fit"));
        }
        let record: Self =
            serde_json::from_str(body).map_err(|error| EffectError::failed(what(), error))?;
        if record.version != VERSION {
            let detail = format!("it has format {}, this version reads {VERSION}", record.version);
            return Err(EffectError::failed(what(), detail));
        }
        Ok(Some(record))
    }

    /// Durable when it returns.
    pub(super) fn save(&self, dir: &Path) -> Result<(), EffectError> {
        let path = dir.join(FILE);
        let body = serde_json::to_string(self)
            .map_err(|error| EffectError::failed(format!("write {}", path.display()), error))?;
        let text = format!("{}\n{body}", blake3::hash(body.as_bytes()).to_hex());
        Ok(write_atomically(&path, text.as_bytes(), 0o600)?)
    }

    /// A switch whose end was not recorded happened exactly when nginx answers its slot. Whether there was one.
    pub(super) fn settle(&mut self, effective: Slot) -> bool {
        let happened = self.pending.take_if(|pending| pending.slot == Some(effective));
        let is_settled = happened.is_some();
        happened.into_iter().for_each(|pending| self.commit(pending));
        is_settled
    }

    /// It took effect.
    pub(super) fn commit(&mut self, switch: Switch) {
        if let (Some(slot), Some(target)) = (switch.slot, &switch.target) {
            self.targets.insert(slot, target.clone());
        }
        self.switch = switch;
        self.pending = None;
    }

    /// What is live when nginx answers `effective`. Another slot than the recorded one is somebody else's switch: it has
    /// no operation, and it counts.
    pub(super) fn effective(&self, effective: Slot) -> Effective {
        let switch = &self.switch;
        let is_recorded = match switch.slot {
            Some(slot) => slot == effective,
            None => effective == Slot::Blue,
        };
        if is_recorded {
            return Effective {
                target: switch.target.clone(),
                generation: switch.generation,
                operation: switch.operation.clone(),
            };
        }
        let unknown = || format!("d0-{effective}");
        Effective {
            target: Some(self.targets.get(&effective).cloned().unwrap_or_else(unknown)),
            generation: switch.generation + 1,
            operation: None,
        }
    }
}
