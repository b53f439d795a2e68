//! The effective configuration of one app in one environment: every default filled in, every value checked.
//!
//! Made by [`super::load`]; nothing else builds one outside tests. Serialized into the journal with each binding, so
//! fields are added with `#[serde(default)]` and never renamed.

use crate::host::HostAddress;
use crate::names::{AppName, ServiceName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One app in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// `app` as written.
    pub app: AppName,
    /// `production`, or the name after `-e`.
    pub environment: String,
    /// `host`: where commands go; absent: this machine. The daemon itself has no use for it.
    #[serde(default)]
    pub host: Option<HostAddress>,
    /// `runner`.
    #[serde(default)]
    pub runner: Runner,
    /// `[systemd]`; read by that runner alone.
    #[serde(default)]
    pub systemd: Systemd,
    /// `root`; absent: the host's default for this app.
    pub root: Option<PathBuf>,
    /// Findings taken knowingly, by id.
    pub accept: Vec<String>,
    /// `[release]`.
    pub release: Release,
    /// `[shared]`.
    pub shared: Shared,
    /// `[env]`, plain values.
    pub env: BTreeMap<String, String>,
    /// `[web]` (as service `web`) or `[services]`.
    pub services: BTreeMap<ServiceName, Service>,
    /// `[[smoke]]`.
    pub smoke: Vec<Smoke>,
    /// `[warmup]`; absent: no warm-up.
    pub warmup: Option<Warmup>,
    /// `[router]`.
    pub router: Router,
    /// `[drain]`.
    pub drain: Drain,
    /// `[bake]`.
    pub bake: Bake,
}

/// `runner`: what runs the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Runner {
    /// Processes under shims of alcedo's own.
    #[default]
    Process,
    /// Units that `setup` wrote.
    Systemd,
}

impl Runner {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Systemd => "systemd",
        }
    }
}

/// `[systemd]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Systemd {
    /// Whom the app runs as; absent: a user with the app's name.
    pub user: Option<String>,
    /// How far it is closed in.
    pub hardening: Hardening,
    /// The app has to say that it lives this often (`WATCHDOG=1`); absent: nobody asks.
    pub watchdog: Option<Duration>,
}

/// `systemd.hardening`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Hardening {
    /// Everything that a web server can do without is taken away.
    Strict,
    /// What hardly any app notices.
    #[default]
    Basic,
    /// Its own user, nothing else.
    None,
}

impl Hardening {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Basic => "basic",
            Self::None => "none",
        }
    }
}

/// `limits` of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// The kernel ends what takes more.
    pub memory_bytes: Option<u64>,
    /// Of one core, in percent.
    pub cpu_percent: Option<u32>,
}

/// `[release]`: what is shipped and how it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Shell, run where `deploy` is typed.
    pub build: Option<String>,
    /// Directory, file or archive to ship, relative to the config file.
    pub source: PathBuf,
    /// Patterns never shipped.
    pub exclude: Vec<String>,
    /// Shell, run on the host in the new release before it is sealed.
    pub prepare: Option<String>,
    /// Limit of `prepare`.
    pub prepare_timeout: Duration,
    /// Directories of the release that the app may write.
    pub writable: Vec<PathBuf>,
    /// How many releases are kept.
    pub keep: u32,
}

/// `[shared]`: one for both slots.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Shared {
    /// Copied into the release instance of a binding.
    pub files: Vec<PathBuf>,
    /// Linked.
    pub dirs: Vec<PathBuf>,
}

/// One web process of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The argument list, with `{port} {socket} {slot} {release}` and `$NAME` not yet replaced; of a pool only the program.
    pub command: Vec<String>,
    /// A pool of php-fpm instead of a command.
    #[serde(default)]
    pub php_fpm: Option<PhpFpm>,
    /// Working directory inside the release.
    pub dir: PathBuf,
    /// Fixed ports; absent: picked once from [`PORTS`] and kept.
    pub ports: Option<Ports>,
    /// How it is asked to stop.
    pub stop: Stop,
    /// What it may take.
    #[serde(default)]
    pub limits: Limits,
    /// Path prefixes that go to this service; empty for the one that takes the rest.
    pub routes: Vec<String>,
    /// Domains of this service alone; empty: the app's.
    pub domains: Vec<String>,
    /// How it shows that it is ready; absent: the listening port counts, see `health.none`.
    pub health: Health,
}

/// `php_fpm` of a service: a pool for each slot, which nginx speaks FastCGI with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhpFpm {
    /// The document root inside the release.
    pub root: PathBuf,
    /// Processes that answer; always there (S0-35).
    pub children: u32,
    /// `8.2`; absent: the newest that the host has.
    pub version: Option<String>,
}

/// Ports are picked from here when the file names none (20000 to 29999: below Linux's ephemeral range).
pub const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// Fixed ports of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ports {
    /// Port of blue.
    pub blue: u16,
    /// Port of green.
    pub green: u16,
    /// Port of the debug slot.
    #[serde(default)]
    pub debug: Option<u16>,
}

/// `stop`: the graceful signal, then the time until the tree is killed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// A signal name like `SIGTERM`.
    pub signal: String,
    /// Where the signal comes from, for `config`: `default`, `preset: uwsgi`, `alcedo.toml:12`.
    pub signal_origin: String,
    /// Until SIGKILL.
    pub timeout: Duration,
}

/// How readiness is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What is asked.
    pub check: HealthCheck,
    /// Host header; absent: the first domain, else the address.
    pub host: Option<String>,
    /// Between two tries.
    pub interval: Duration,
    /// For one try.
    pub timeout: Duration,
    /// Successes in a row.
    pub healthy_after: u32,
    /// From the start of the process until it must be ready.
    pub deadline: Duration,
    /// Where the answer names its release.
    pub release: Option<ReleaseField>,
    /// What the answer must be.
    pub expect: Expect,
}

/// What a readiness probe asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthCheck {
    /// `GET` this path.
    Http(String),
    /// A TCP connection is enough.
    Tcp,
    /// A shell command with exit status 0, run in the release.
    Command(String),
    /// Nothing configured: the listening port counts, and the plan says `health.none`.
    None,
}

/// Where an answer names the release that gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseField {
    /// A JSON pointer into the body.
    Json(String),
    /// A response header.
    Header(String),
}

/// What an answer must look like.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Expect {
    /// Exact status; absent: any 2xx.
    pub status: Option<u16>,
    /// JSON pointer → value that must stand there.
    pub json: BTreeMap<String, serde_json::Value>,
}

/// `[[smoke]]`: one request or command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Smoke {
    /// `GET` a path and compare.
    Request {
        /// The path.
        path: String,
        /// What must come back.
        expect: Expect,
    },
    /// A shell command with exit status 0; `{url}` is the slot's base URL.
    Command(String),
}

/// `[warmup]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warmup {
    /// Asked in turn.
    pub paths: Vec<String>,
    /// How many requests in all.
    pub requests: u32,
}

/// `[router]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Router {
    /// What carries the traffic.
    #[serde(default)]
    pub kind: RouterKind,
    /// The first is the address that is verified and printed; empty: every host on `listen`.
    pub domains: Vec<String>,
    /// Redirected to the first domain.
    pub aliases: Vec<String>,
    /// Where the proxy listens: `80` (every address), `127.0.0.1:8080`.
    pub listen: Vec<String>,
    /// Whose word about client address and scheme is taken, as CIDRs.
    pub trusted_proxies: Vec<String>,
    /// Largest request body.
    pub max_body_bytes: u64,
    /// Until the first byte of the answer.
    pub timeout: Duration,
    /// A site of the owner's own nginx stays in front: this file of it, which chose the slot so far, leads to `listen`.
    #[serde(default)]
    pub adopt: Option<PathBuf>,
}

/// `router.kind`, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouterKind {
    /// alcedo's own proxy; plain HTTP in this version.
    #[default]
    Embedded,
    /// The host's nginx.
    Nginx {
        /// How it learns which slot is live.
        form: NginxForm,
        /// Where its certificate comes from.
        tls: Tls,
    },
}

/// `router.form`: how nginx learns which slot is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NginxForm {
    /// A file that nginx looks for with each request: no reload.
    #[default]
    Flag,
    /// A file that is included, and a reload.
    Include,
    /// A link to one of two files that is included, and a reload.
    Symlink,
}

impl NginxForm {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Include => "include",
            Self::Symlink => "symlink",
        }
    }
}

/// `router.tls` of nginx.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// Certbot or the owner has it: their lines in the site stay as they are.
    #[default]
    Keep,
    /// Plain HTTP.
    Off,
    /// These files; plain HTTP is redirected.
    Files {
        /// The chain, PEM.
        cert: PathBuf,
        /// The key, PEM.
        key: PathBuf,
    },
}

/// `[drain]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// For requests in flight.
    pub requests: Duration,
    /// For WebSockets and other upgraded connections.
    pub websockets: Duration,
}

/// `[bake]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bake {
    /// How long the new release is observed.
    pub time: Duration,
    /// Whether a fail gives the traffic back.
    pub auto_rollback: bool,
    /// How long the old slot stays running after a pass; `None` is `"forever"`.
    pub keep_warm: Option<Duration>,
    /// What an inconclusive end means.
    pub on_inconclusive: OnInconclusive,
    /// Fixed limit: failed / all requests, 0 to 1.
    pub max_error_rate: Option<f64>,
    /// Fixed limit: failed requests.
    pub max_failed_requests: Option<u64>,
}

impl Eq for Bake {}

/// `bake.on_inconclusive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnInconclusive {
    /// Keep the new release.
    Accept,
    /// Observe once more for as long.
    Extend,
    /// Wait for a person.
    Hold,
}
