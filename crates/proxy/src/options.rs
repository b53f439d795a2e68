//! How the process is started: paths and limits of its own. What belongs to a service is in its state file.

use std::path::PathBuf;

/// Where one proxy process keeps its things and how much it may use.
#[derive(Debug, Clone)]
pub struct Options {
    /// Holds `services/<name>.json`. Created when missing.
    pub state_dir: PathBuf,
    /// The control socket. A file that is there is replaced when nobody answers on it.
    pub control_socket: PathBuf,
    /// One JSON line a request goes here, when set. Rotated to `<path>.1` at `access_log_size_bytes`.
    pub access_log: Option<PathBuf>,
    /// Size at which the access log is rotated, in bytes; one older file is kept.
    pub access_log_size_bytes: u64,
    /// Threads that carry traffic. `None`: the number of cores, at most 4.
    pub workers: Option<usize>,
    /// Client connections at the same time; more are answered 503 and closed.
    pub max_connections: usize,
    /// Requests under way to one target at the same time; more are answered 503 with `Retry-After`.
    pub max_in_flight: usize,
    /// How long clients may take.
    pub client_limits: ClientLimits,
}

/// How long a client may take, in milliseconds; observed to a tenth of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// From the first byte of a request's head to its last.
    pub head_ms: u64,
    /// Without a request, on a connection that is kept.
    pub idle_ms: u64,
    /// For each further 1,024 bytes of a request's body (or its end); then 408.
    pub upload_ms: u64,
    /// Without taking 16 KiB of an answer that waits for it.
    pub download_ms: u64,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self { head_ms: 15_000, idle_ms: 75_000, upload_ms: 30_000, download_ms: 60_000 }
    }
}

impl Options {
    /// The defaults with these two paths.
    pub fn new(state_dir: impl Into<PathBuf>, control_socket: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            control_socket: control_socket.into(),
            access_log: None,
            access_log_size_bytes: 64 << 20,
            workers: None,
            max_connections: 16_384,
            max_in_flight: 8_192,
            client_limits: ClientLimits::default(),
        }
    }
}
