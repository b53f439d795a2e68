//! systemd over D-Bus: starts and stops units and says what they are. Every call has a limit; a connection lives as long
//! as one effect, so a bus that was restarted is no special case.

use crate::adapters::clock;
use crate::engine::ports::{Call, EffectError, Millis, Phase};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::runtime::Runtime;
use zbus::export::ordered_stream::OrderedStreamExt;
use zbus::zvariant::{OwnedObjectPath, OwnedValue};
use zbus::{Connection, MatchRule, Message, MessageStream};

const DESTINATION: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// Signals that may wait for us: many jobs end at the same time at boot.
const SIGNALS_MAX: usize = 1024;
/// A wish to cancel is looked for this often.
const TICK: Duration = Duration::from_millis(50);

/// A connection to the system's bus.
pub(crate) struct Bus {
    runtime: Runtime,
    connection: Connection,
    deadline: Millis,
}

/// What systemd says of a unit.
#[derive(Debug, Clone, Default)]
pub(super) struct Unit {
    pub(super) load_state: String,
    pub(super) active_state: String,
    pub(super) sub_state: String,
    pub(super) result: String,
    pub(super) main_pid: Option<u32>,
    pub(super) restarts: u32,
    pub(super) user: Option<u32>,
    pub(super) memory_bytes: Option<u64>,
    /// `CLD_*` of the main process's end, 0 while it runs, and its status or signal.
    exit: (i32, i32),
}

impl Unit {
    /// Whether there is a file for it.
    pub(super) fn is_known(&self) -> bool {
        self.load_state == "loaded"
    }

    /// Whether anything of it runs or is about to.
    pub(super) fn is_up(&self) -> bool {
        matches!(
            self.active_state.as_str(),
            "active" | "activating" | "deactivating" | "reloading" | "refreshing" | "maintenance"
        )
    }

    pub(super) fn phase(&self) -> Phase {
        match self.active_state.as_str() {
            "failed" => Phase::GaveUp,
            "activating" if self.sub_state.starts_with("auto-restart") => Phase::Restarting,
            _ if self.is_up() => Phase::Running,
            _ => Phase::Stopped,
        }
    }

    /// How the main process ended last.
    pub(super) fn last_exit(&self) -> Option<String> {
        const EXITED: i32 = 1;
        match (self.exit, self.result.as_str()) {
            (_, "oom-kill") => Some("killed by the kernel: out of memory".to_owned()),
            (_, "watchdog") => Some("killed: it did not say in time that it lives".to_owned()),
            ((0, _), "success" | "") => None,
            ((0, _), result) => Some(format!("systemd says `{result}`")),
            ((EXITED, status), _) => Some(format!("exit status {status}")),
            ((_, signal), _) => Some(match signal_hook::low_level::signal_name(signal) {
                Some(name) => format!("signal {signal} ({name})"),
                None => format!("signal {signal}"),
            }),
        }
    }
}

impl Bus {
    pub(crate) fn open(deadline: Millis) -> Result<Self, EffectError> {
        let failed =
            |error: &dyn std::fmt::Display| EffectError::failed("reach systemd over D-Bus", error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(&error))?;
        let connecting =
            async { tokio::time::timeout(clock::left(deadline), Connection::system()).await };
        let connection = match runtime.block_on(connecting) {
            Err(_) => return Err(failed(&"the bus does not answer")),
            Ok(connected) => connected.map_err(|error| failed(&error))?,
        };
        Ok(Self { runtime, connection, deadline })
    }

    /// What the unit is now; one that was never started is loaded for that.
    pub(super) fn unit(&self, name: &str) -> Result<Unit, EffectError> {
        let what = format!("ask systemd about {name}");
        let asked = self.within(&what, async {
            let path: OwnedObjectPath = body(&self.manager("LoadUnit", &(name,)).await?)?;
            let unit = self.all(&path, UNIT).await?;
            let service = self.all(&path, SERVICE).await?;
            Ok(unit_of(&unit, &service))
        })?;
        asked.map_err(|error| refused(what, &error))
    }

    /// Starts them and waits until each start job has ended well.
    pub(crate) fn start(&self, names: &[String], call: &Call<'_>) -> Result<(), EffectError> {
        self.jobs("start", "StartUnit", names, call)
    }

    /// Stops them and waits until nothing of them runs.
    pub(super) fn stop(&self, names: &[String], call: &Call<'_>) -> Result<(), EffectError> {
        self.jobs("stop", "StopUnit", names, call)
    }

    /// Has it read its configuration anew and waits until its own command for that has ended well.
    pub(crate) fn reload(&self, name: &str, call: &Call<'_>) -> Result<(), EffectError> {
        self.jobs("reload", "ReloadUnit", &[name.to_owned()], call)
    }

    /// Forgets that it failed, and how often it was started.
    pub(super) fn reset_failed(&self, name: &str) -> Result<(), EffectError> {
        let what = format!("start {name} again");
        let asked = self
            .within(&what, async { self.manager("ResetFailedUnit", &(name,)).await.map(drop) })?;
        asked.map_err(|error| refused(what, &error))
    }

    fn jobs(
        &self,
        word: &str,
        method: &str,
        names: &[String],
        call: &Call<'_>,
    ) -> Result<(), EffectError> {
        if names.is_empty() {
            return Ok(());
        }
        let what = format!("{word} {}", names.join(", "));
        let ended = self.within(&what, async {
            let mut removed = self.removed_jobs().await?;
            let mut open = BTreeMap::new();
            for name in names {
                let asked = self.manager(method, &(name.as_str(), "replace")).await;
                // A unit whose file is gone and that nothing runs of is as stopped as can be.
                if word == "stop" && asked.as_ref().is_err_and(is_unknown) {
                    continue;
                }
                let job: OwnedObjectPath = body(&asked?)?;
                open.insert(job.as_str().to_owned(), name.clone());
            }
            let mut bad = Vec::new();
            while !open.is_empty() {
                let Ok(next) = tokio::time::timeout(TICK, removed.next()).await else {
                    if call.cancel.is_cancelled() {
                        return Ok(Err(EffectError::Cancelled));
                    }
                    continue;
                };
                let Some(message) = next else {
                    return Err(zbus::Error::Failure("the bus was closed".to_owned()));
                };
                let (_, job, _, result): (u32, OwnedObjectPath, String, String) = body(&message?)?;
                if let Some(name) = open.remove(job.as_str())
                    && result != "done"
                {
                    bad.push((name, result));
                }
            }
            Ok(Ok(bad))
        })?;
        let bad = ended.map_err(|error| refused(what, &error))??;
        match bad.first() {
            None => Ok(()),
            // What systemd calls failed has failed in a way that its state tells better.
            Some((name, result)) => Err(EffectError::Failed {
                what: format!("{word} {name}"),
                detail: format!("systemd says `{result}`"),
                hint: Some(format!("journalctl -u {name} -n 20")),
            }),
        }
    }

    /// Signals about jobs that have ended, from now on.
    async fn removed_jobs(&self) -> zbus::Result<MessageStream> {
        // A second subscription of the same connection is an error that means nothing.
        let _ = self.manager("Subscribe", &()).await;
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender(DESTINATION)?
            .path(MANAGER_PATH)?
            .interface(MANAGER)?
            .member("JobRemoved")?
            .build();
        MessageStream::for_match_rule(rule, &self.connection, Some(SIGNALS_MAX)).await
    }

    async fn manager<B>(&self, method: &str, arguments: &B) -> zbus::Result<Message>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType,
    {
        let (to, at, of) = (Some(DESTINATION), MANAGER_PATH, Some(MANAGER));
        self.connection.call_method(to, at, of, method, arguments).await
    }

    async fn all(
        &self,
        path: &OwnedObjectPath,
        of: &str,
    ) -> zbus::Result<HashMap<String, OwnedValue>> {
        let (to, at) = (Some(DESTINATION), path.as_ref());
        let answer =
            self.connection.call_method(to, at, Some(PROPERTIES), "GetAll", &(of,)).await?;
        body(&answer)
    }

    /// Runs the question to its end or to the deadline.
    fn within<T>(&self, what: &str, question: impl Future<Output = T>) -> Result<T, EffectError> {
        let begun = clock::now();
        let left = clock::left(self.deadline);
        let limited = async { tokio::time::timeout(left, question).await };
        self.runtime.block_on(limited).map_err(|_| EffectError::TimedOut {
            what: what.to_owned(),
            limit_s: self.deadline.since(begun).as_secs(),
        })
    }
}

fn body<T>(message: &Message) -> zbus::Result<T>
where
    T: serde::de::DeserializeOwned + zbus::zvariant::Type,
{
    message.body().deserialize()
}

fn unit_of(unit: &HashMap<String, OwnedValue>, service: &HashMap<String, OwnedValue>) -> Unit {
    let text = |of: &HashMap<String, OwnedValue>, key: &str| {
        let value = of.get(key).and_then(|value| value.downcast_ref::<&str>().ok());
        value.unwrap_or_default().to_owned()
    };
    let number = |key: &str| service.get(key).and_then(|v| v.downcast_ref::<u32>().ok());
    let signed =
        |key: &str| service.get(key).and_then(|v| v.downcast_ref::<i32>().ok()).unwrap_or(0);
    let memory = service.get("MemoryCurrent").and_then(|v| v.downcast_ref::<u64>().ok());
    Unit {
        load_state: text(unit, "LoadState"),
        active_state: text(unit, "ActiveState"),
        sub_state: text(unit, "SubState"),
        result: text(service, "Result"),
        main_pid: number("MainPID").filter(|pid| *pid != 0),
        restarts: number("NRestarts").unwrap_or(0),
        user: number("UID").filter(|uid| *uid != u32::MAX),
        // systemd's word for "not measured here".
        memory_bytes: memory.filter(|bytes| *bytes != u64::MAX),
        exit: (signed("ExecMainCode"), signed("ExecMainStatus")),
    }
}

fn is_unknown(error: &zbus::Error) -> bool {
    matches!(error, zbus::Error::MethodError(name, _, _) if name.ends_with("NoSuchUnit"))
}

fn refused(what: String, error: &zbus::Error) -> EffectError {
    let is_denied = matches!(error, zbus::Error::MethodError(name, _, _)
        if name.contains("AccessDenied") || name.contains("InteractiveAuthorizationRequired"));
    let hint =
        is_denied.then(|| "sudo alcedo setup (it writes the rule that permits it)".to_owned());
    EffectError::Failed { what, detail: error.to_string(), hint }
}
