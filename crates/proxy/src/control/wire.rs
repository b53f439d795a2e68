//! The words of the control socket. Each request and each reply is one line of JSON, at most [`LINE_BYTES_MAX`].
//!
//! Version 1. The first request of a connection is `hello`; a proxy that does not speak the version says which it
//! speaks. Unknown fields are ignored on both sides; an unknown verb is `refused`.

use crate::state::{BadFile, DrainLimits, Structure, Target};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Version of these words.
pub const WIRE_VERSION: u32 = 1;

/// Longest accepted line, in bytes.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Request {
    /// Begins a connection. Reply: [`Hello`].
    Hello {
        /// [`WIRE_VERSION`] of the asker.
        version: u32,
    },
    /// Sets what does not change with a switch; makes the service known. Durable when answered. Reply: [`Observed`].
    Configure {
        /// Its name.
        service: String,
        /// All of it.
        structure: Structure,
    },
    /// Compare-and-set of the target: durable, then published, then answered. Reply: [`Switched`].
    Switch {
        /// Its name.
        service: String,
        /// The generation it must still have.
        expected_generation: u64,
        /// Names this switch; repeated while effective, it is answered as before.
        operation: String,
        /// Where requests go from now on.
        target: Target,
    },
    /// The effective target. Reply: [`Observed`] or `null` for an unknown service.
    Observe {
        /// Its name.
        service: String,
    },
    /// [`Observed`] of every service, by name.
    List,
    /// Counters of the targets still known. Reply: list of [`TargetTraffic`], the effective one first.
    Traffic {
        /// Its name.
        service: String,
    },
    /// Lets what is under way on a target without traffic come to its end. Returns at once with [`Drained`].
    Drain {
        /// Its name.
        service: String,
        /// The target's id.
        target: String,
        /// Instead of the limits of the structure.
        limits: Option<DrainLimits>,
    },
    /// Lets whoever shows the token through to a target that need not have the traffic, until its time is over, the
    /// service is switched, or the process ends: `/.alcedo/preview/TOKEN` makes a cookie of it. Reply: `null`.
    Admit {
        /// Its name.
        service: String,
        /// Where requests with the token go.
        target: Target,
        /// Letters and digits, at least 26, from a random source.
        token: String,
        /// How long it is good, in seconds.
        lifetime_s: u64,
    },
    /// No token of [`Self::Admit`] is good any more. Reply: `null`.
    EndPasses {
        /// Its name.
        service: String,
    },
    /// Turns the maintenance page on or off, durably. Reply: [`Observed`].
    Maintenance {
        /// Its name.
        service: String,
        /// Whether it is shown.
        on: bool,
    },
    /// Removes the service and its state file. Reply: `null`.
    Forget {
        /// Its name.
        service: String,
    },
    /// The process itself. Reply: [`Status`].
    Status,
}

/// The reply line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply<T> {
    /// Done.
    Ok(T),
    /// Not done.
    Failed(Failure),
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What a program does with it.
    pub kind: FailureKind,
    /// A fragment that fits "failed to …".
    pub message: String,
    /// With [`FailureKind::Conflict`]: what is effective.
    #[serde(default)]
    pub effective: Option<Box<Observed>>,
}

/// Kinds of [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The generation is not the expected one; nothing was changed.
    Conflict,
    /// A domain, prefix or catch-all belongs to another service; nothing was changed.
    Claimed,
    /// The service is not known.
    UnknownService,
    /// The request makes no sense; nothing was changed.
    Refused,
    /// An address cannot be listened on; nothing was changed.
    Listen,
    /// The disk did not take it; the effective target is what it was.
    NotDurable,
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`WIRE_VERSION`] of the proxy.
    pub version: u32,
    /// Version of the program.
    pub program: String,
    /// Its process.
    pub pid: u32,
}

/// A service as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Its name.
    pub service: String,
    /// Counts switches; 0: never switched.
    pub generation: u64,
    /// The operation that made the target effective.
    pub operation: Option<String>,
    /// The effective target.
    pub target: Option<Target>,
    /// Whether the maintenance page is shown.
    pub maintenance: bool,
    /// What does not change with a switch.
    pub structure: Structure,
    /// Where it is reachable now.
    pub listening: Vec<Listening>,
}

/// A switch that took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// The new generation.
    pub generation: u64,
    /// From the command's arrival until the target was published, in microseconds.
    pub took_us: u64,
    /// Of these, making it durable, in microseconds.
    pub durable_us: u64,
    /// When the target was published, by `CLOCK_MONOTONIC`, which all processes of a boot share, in nanoseconds;
    /// 0: not by this command.
    #[serde(default)]
    pub published_ns: u64,
    /// It was the effective one already; nothing was written.
    pub already: bool,
}

/// An address that is listened on, or should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// As the structure asks for it.
    pub asked: String,
    /// What is listened on; `None`: see `problem`.
    pub address: Option<SocketAddr>,
    /// Whether `address` is the one for hosts where `asked` is not permitted.
    pub fallback: bool,
    /// Why it is not, or not as asked.
    pub problem: Option<String>,
}

/// Counters of one target since it last got traffic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TargetTraffic {
    /// The target's id.
    pub target: String,
    /// Whether it is the effective one.
    pub effective: bool,
    /// Requests answered or failed. A client that went away is not counted.
    pub requests: u64,
    /// Of these, answered 5xx by the target or not at all because of it.
    pub errors: u64,
    /// Answers 1xx to 5xx.
    pub classes: [u64; 5],
    /// Requests not yet ended, event streams included, tunnels not.
    pub in_flight: u64,
    /// Of these, event streams.
    pub streams: u64,
    /// Upgraded connections.
    pub tunnels: u64,
    /// Median time to the first byte, in microseconds.
    pub p50_us: u64,
    /// 95th percentile.
    pub p95_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// Failing `METHOD path status` with their counts, worst first, at most ten.
    pub worst: Vec<(String, u64)>,
}

/// What a drain has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Requests not yet ended.
    pub in_flight: u64,
    /// Upgraded connections and event streams that will be closed.
    pub closing: u64,
}

/// The process itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its process.
    pub pid: u32,
    /// Version of the program.
    pub program: String,
    /// Since its start, in milliseconds.
    pub uptime_ms: u64,
    /// Threads that carry traffic.
    pub workers: usize,
    /// Client connections open now.
    pub connections: u64,
    /// Connections refused because there were too many.
    pub refused_connections: u64,
    /// Lines the access log could not take.
    pub log_lines_dropped: u64,
    /// Every listener.
    pub listeners: Vec<Listening>,
    /// State files that could not be read.
    pub bad_files: Vec<BadFile>,
    /// It stops as soon as what is under way has ended.
    pub stopping: bool,
}
