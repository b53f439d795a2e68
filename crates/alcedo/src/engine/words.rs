//! Short phrases for events, in the words of the vocabulary.

use super::ports::{Fetched, SlotState};
use alcedo_core::ReleaseId;
use alcedo_core::binding::{Binding, BindingId, Process};
use alcedo_core::config::HealthCheck;
use alcedo_core::state::AppState;
use std::time::Duration;

/// `11.8 MiB`, `212 MiB`, `3 KiB`.
pub(crate) fn mib(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "sizes are shown with at most three digits")]
    let value = bytes as f64 / (1024.0 * 1024.0);
    match value {
        v if v >= 100.0 => format!("{v:.0} MiB"),
        v if v >= 0.1 => format!("{v:.1} MiB"),
        _ => format!("{} KiB", bytes.div_ceil(1024)),
    }
}

/// `1 request`, `2 requests`.
pub(crate) fn count(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// `30 s`, `10 min`, `2 h`.
pub(crate) fn span(duration: Duration) -> String {
    match duration.as_secs() {
        s if s >= 7200 && s % 3600 == 0 => format!("{} h", s / 3600),
        s if s >= 120 && s % 60 == 0 => format!("{} min", s / 60),
        s if s >= 120 => format!("{} min {} s", s / 60, s % 60),
        0 => format!("{} ms", duration.as_millis()),
        s => format!("{s} s"),
    }
}

pub(crate) fn fetched(release: &ReleaseId, fetched: &Fetched) -> String {
    if fetched.already {
        return format!("{release} is on this host already");
    }
    if fetched.changed_files == fetched.files {
        return format!("{release}: {}, {}", count(fetched.files, "file"), mib(fetched.size_bytes));
    }
    let (copied, size) = (mib(fetched.copied_bytes), mib(fetched.size_bytes));
    format!(
        "{release}: {} of {} changed, {copied} of {size} copied",
        fetched.changed_files,
        count(fetched.files, "file")
    )
}

pub(crate) fn started(binding: &Binding, state: &SlotState) -> String {
    let is_one = binding.processes.len() == 1;
    let one = |process: &Process| {
        let pid = state.processes.iter().find(|p| p.name == process.name).and_then(|p| p.pid);
        let at = format!(
            "{}{}",
            process.address,
            pid.map_or_else(String::new, |pid| format!(", pid {pid}"))
        );
        match (&process.pool, is_one) {
            (Some(pool), true) if pool.children == 1 => format!(", php-fpm with 1 child, {at}"),
            (Some(pool), true) => format!(", php-fpm with {} children, {at}", pool.children),
            (None, true) => format!(" on {at}"),
            (_, false) => format!(" {} on {at}", process.name),
        }
    };
    let parts: Vec<_> = binding.processes.iter().map(one).collect();
    format!("{}{}", binding.slot, parts.join(";"))
}

/// What a probe asks: `GET /healthz`.
pub(crate) fn check(check: &HealthCheck) -> String {
    match check {
        HealthCheck::Http(path) => format!("GET {path}"),
        HealthCheck::Tcp | HealthCheck::None => "connect".to_owned(),
        HealthCheck::Command(command) => command.clone(),
    }
}

/// `once`, `twice`, `5 times`.
pub(crate) fn times(n: u32) -> String {
    match n {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    }
}

/// The release of a binding that some slot holds, else the binding's own name.
pub(crate) fn binding(state: &AppState, id: &BindingId) -> String {
    let held = state.slots.values().find(|s| s.binding.id == *id);
    held.map_or_else(|| id.to_string(), |s| s.binding.release.to_string())
}
