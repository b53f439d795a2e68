//! `alcedo.toml` of this version as it is written: the one list of keys. The parser, the "nearest known key" and
//! `alcedo schema` all come from these types.
//!
//! Says what a value looks like, never what it means beside others (`rules`) or when it is absent (`resolve`).

use super::model::{Hardening, NginxForm, OnInconclusive, Ports, Runner};
use super::syntax::{
    AbsolutePath, AnyPath, App, Cidr, Command, Cpu, Domain, FindingId, Host, HostHeader,
    InsidePath, InsidePattern, KeepWarm, Listen, PhpVersion, ReleaseOf, RoutePrefix, Shell, Signal,
    Size, Text, Time, UrlPath, User,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One app: how it is built, started, checked and reached.
#[derive(Deserialize, JsonSchema)]
pub(super) struct File {
    /// The app's name: letters, digits, hyphens. Also the directory name on the host.
    pub(super) app: Option<Text<App>>,
    #[serde(flatten)]
    pub(super) layer: Layer,
    /// Laid over everything else with `-e NAME`: keys replace, tables merge.
    #[expect(dead_code, reason = "laid over as a tree, before this type is read")]
    pub(super) environments: Option<BTreeMap<String, Layer>>,
}

/// What the file and each environment can say.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Layer {
    /// The machine everything runs on: `user@host`, a name of `~/.ssh/config`, or `exec:PROGRAM …`. Default: this one.
    pub(super) host: Option<Text<Host>>,
    /// What runs the slots. Default: `process`.
    pub(super) runner: Option<Runner>,
    /// Where releases and shared files are kept. Default: `/srv/APP`; without root `~/.local/share/alcedo/APP`.
    pub(super) root: Option<Text<AbsolutePath>>,
    /// Findings taken knowingly and for good, by id. Default: none.
    pub(super) accept: Option<Vec<Text<FindingId>>>,
    /// What is shipped and how it is made.
    pub(super) release: Option<Release>,
    /// One for both slots. What the build ships there fills gaps on the first deploy, then is left out.
    pub(super) shared: Option<Shared>,
    /// Plain values for the app and `release.prepare`.
    pub(super) env: Option<BTreeMap<String, Plain>>,
    /// One web process; short for `[services.web]`.
    #[expect(dead_code, reason = "moved to `services.web` before this type is read")]
    pub(super) web: Option<Service>,
    /// Several web processes of one app: they start, switch and roll back as one.
    pub(super) services: Option<BTreeMap<String, Service>>,
    /// When a process is ready; each service may add its own.
    #[expect(dead_code, reason = "laid under each service's own before this type is read")]
    pub(super) health: Option<Health>,
    /// Requests or commands against the idle slot, and again through the public address.
    pub(super) smoke: Option<Vec<Smoke>>,
    /// Requests that the new slot answers before it gets traffic.
    pub(super) warmup: Option<Warmup>,
    /// How traffic gets to the app.
    pub(super) router: Option<Router>,
    /// How long the slot that lost traffic may finish.
    pub(super) drain: Option<Drain>,
    /// The observation after the switch.
    pub(super) bake: Option<Bake>,
    /// How `runner = "systemd"` runs the app.
    pub(super) systemd: Option<Systemd>,
}

/// `[release]`.
#[derive(Default, Deserialize, JsonSchema)]
pub(super) struct Release {
    /// Shell, run where you type `deploy`; sees `ALCEDO_TARGET` and `ALCEDO_COMMIT`.
    pub(super) build: Option<Text<Shell>>,
    /// Directory, file or archive to ship, relative to this file. Default: `"."`.
    pub(super) source: Option<Text<AnyPath>>,
    /// Never shipped. `.git` and everything under `[shared]` never are.
    pub(super) exclude: Option<Vec<Text<InsidePattern>>>,
    /// Shell, run on the host in the new release at its final path, before it is sealed.
    pub(super) prepare: Option<Text<Shell>>,
    /// Directories of the release that the app may write; everything else is read-only.
    pub(super) writable: Option<Vec<Text<InsidePath>>>,
    /// How many releases are kept. Default: 5.
    #[schemars(range(min = 2, max = 1000))]
    pub(super) keep: Option<u32>,
}

/// `[shared]`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Shared {
    /// Copied into a slot when it is started.
    pub(super) files: Option<Vec<Text<InsidePath>>>,
    /// Linked into each release.
    pub(super) dirs: Option<Vec<Text<InsidePath>>>,
}

/// One value of `[env]`; the app gets text.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Plain {
    Text(String),
    Integer(i64),
    Boolean(bool),
}

/// `[systemd]`.
#[derive(Default, Deserialize, JsonSchema)]
pub(super) struct Systemd {
    /// Whom the app runs as. Default: a user with the app's name, made by `setup`.
    pub(super) user: Option<Text<User>>,
    /// How far it is closed in. Default: `basic`.
    pub(super) hardening: Option<Hardening>,
    /// The app has to send `WATCHDOG=1` this often, or it is started again. Default: nobody asks.
    pub(super) watchdog: Option<Text<Time>>,
}

/// `limits`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Limits {
    /// What takes more is ended by the kernel and started again.
    pub(super) memory: Option<Text<Size>>,
    /// Of one core: `"150%"` is one and a half.
    pub(super) cpu: Option<Text<Cpu>>,
}

/// `[web]`, `[services.NAME]`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Service {
    /// An argument list (quotes and `$NAME` work), not a shell. `{port} {socket} {slot} {release}` are replaced.
    pub(super) command: Option<Text<Command>>,
    /// Instead of a command: a pool of php-fpm for each slot, behind nginx.
    pub(super) php_fpm: Option<PhpFpm>,
    /// Working directory inside the release. Default: `"."`.
    pub(super) dir: Option<Text<InsidePath>>,
    /// Fixed ports. Default: picked once from 20000-29999 and kept.
    pub(super) ports: Option<SlotPorts>,
    /// How it is asked to stop.
    pub(super) stop: Option<Stop>,
    /// What it may take, with `runner = "systemd"`. Default: no limit.
    pub(super) limits: Option<Limits>,
    /// When two copies do not fit into memory. Default: `refuse`.
    #[expect(dead_code, reason = "one value in this version")]
    pub(super) no_room: Option<NoRoom>,
    /// Path prefixes that go to this service, the longest wins. Exactly one service has none.
    pub(super) routes: Option<Vec<Text<RoutePrefix>>>,
    /// Domains of this service alone.
    pub(super) domains: Option<Vec<Text<Domain>>>,
    /// Its own readiness, laid over `[health]`.
    pub(super) health: Option<Health>,
}

/// `php_fpm`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct PhpFpm {
    /// The document root inside the release: nginx serves its files, `index.php` in it everything else.
    pub(super) root: Option<Text<InsidePath>>,
    /// Processes of each slot. Default: 4.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) children: Option<u32>,
    /// Which php-fpm, like `"8.2"`. Default: the newest that the host has.
    pub(super) version: Option<Text<PhpVersion>>,
}

/// `ports`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SlotPorts {
    /// Port of blue.
    #[schemars(range(min = 1, max = 65535))]
    pub(super) blue: Option<u16>,
    /// Port of green.
    #[schemars(range(min = 1, max = 65535))]
    pub(super) green: Option<u16>,
}

impl SlotPorts {
    /// With both slots named; `rules` has seen to that.
    pub(super) fn complete(&self) -> Option<Ports> {
        Some(Ports { blue: self.blue?, green: self.green?, debug: None })
    }
}

/// `stop`.
#[derive(Default, Deserialize, JsonSchema)]
pub(super) struct Stop {
    /// Sent to the main process. Default: by kind of server (php-fpm, uwsgi, nginx, unicorn: `SIGQUIT`), else `SIGTERM`.
    pub(super) signal: Option<Text<Signal>>,
    /// Then everything that is left is killed. Default: `"20s"`.
    pub(super) timeout: Option<Text<Time>>,
}

/// `no_room`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum NoRoom {
    Refuse,
}

/// `[health]`: exactly one of `path`, `tcp`, `command`.
#[derive(Default, Deserialize, JsonSchema)]
pub(super) struct Health {
    /// `GET` this; 2xx is healthy, a redirect is not.
    pub(super) path: Option<Text<UrlPath>>,
    /// A TCP connection is enough.
    pub(super) tcp: Option<bool>,
    /// Shell with exit status 0.
    pub(super) command: Option<Text<Shell>>,
    /// Host header. Default: the first domain.
    pub(super) host: Option<Text<HostHeader>>,
    /// Between two tries. Default: `"200ms"`.
    pub(super) interval: Option<Text<Time>>,
    /// For one try. Default: `"1s"`.
    pub(super) timeout: Option<Text<Time>>,
    /// Successes in a row. Default: 2.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) healthy_after: Option<u32>,
    /// From the start of the process until it must be ready. Default: `"60s"`.
    pub(super) deadline: Option<Text<Time>>,
    /// Where the answer names its release: `json:/release` or `header:X-Release`.
    pub(super) release: Option<Text<ReleaseOf>>,
    /// What the answer must be. Default: any 2xx.
    pub(super) expect: Option<Expect>,
}

/// `expect`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Expect {
    /// Exact status.
    #[schemars(range(min = 200, max = 599))]
    pub(super) status: Option<u16>,
    /// JSON pointer = value that must stand there.
    pub(super) json: Option<BTreeMap<String, serde_json::Value>>,
}

/// One of `[[smoke]]`: a `path` or a `command`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Smoke {
    /// `GET` this.
    pub(super) path: Option<Text<UrlPath>>,
    /// Shell with exit status 0; `{url}` is the slot's base URL.
    pub(super) command: Option<Text<Shell>>,
    /// What must come back for `path`. Default: any 2xx.
    pub(super) expect: Option<Expect>,
}

/// `[warmup]`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Warmup {
    /// Asked in turn.
    pub(super) paths: Option<Vec<Text<UrlPath>>>,
    /// How many requests in all. Default: 20.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) requests: Option<u32>,
}

/// `[router]`.
#[derive(Default, Deserialize, JsonSchema)]
pub(super) struct Router {
    /// What carries the traffic. Default: `embedded`.
    pub(super) kind: Option<RouterKind>,
    /// How nginx learns which slot is live. Default: `flag`, which needs no reload.
    pub(super) form: Option<NginxForm>,
    /// The first is the address that is verified and printed.
    pub(super) domains: Option<Vec<Text<Domain>>>,
    /// Redirected to the first domain.
    pub(super) aliases: Option<Vec<Text<Domain>>>,
    /// Ports on every address, or addresses. Default: `["80"]`; without domains `["127.0.0.1:8080"]`.
    #[schemars(length(min = 1))]
    pub(super) listen: Option<Vec<Text<Listen>>>,
    /// Where nginx has its certificate from. Default: `keep` (certbot or the owner has it); embedded: `off`.
    pub(super) tls: Option<Tls>,
    /// Whose word about client address and scheme is taken, as networks. Default: nobody's.
    pub(super) trusted_proxies: Option<Vec<Text<Cidr>>>,
    /// Largest request body. Default: `"100MiB"`.
    pub(super) max_body: Option<Text<Size>>,
    /// Until the first byte of the answer. Default: `"60s"`.
    pub(super) timeout: Option<Text<Time>>,
    /// The file of a hand-made nginx site that chooses the slot: `setup` points it at `listen`, `--remove` back.
    pub(super) adopt: Option<Text<AbsolutePath>>,
}

/// `router.kind`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RouterKind {
    Embedded,
    Nginx,
}

/// `router.tls`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Tls {
    Word(TlsWord),
    Files(TlsFiles),
}

/// `router.tls` in a word.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TlsWord {
    Off,
    Keep,
}

/// `router.tls` by files.
#[derive(Deserialize, JsonSchema)]
pub(super) struct TlsFiles {
    /// The certificate with its chain, PEM.
    pub(super) cert: Option<Text<AbsolutePath>>,
    /// Its key, PEM.
    pub(super) key: Option<Text<AbsolutePath>>,
}

/// `[drain]`.
#[derive(Default, Deserialize, JsonSchema)]
pub(super) struct Drain {
    /// For requests in flight. Default: `"30s"`.
    pub(super) requests: Option<Text<Time>>,
    /// For WebSockets, which are then closed with code 1012, spread over time. Default: `"10m"`.
    pub(super) websockets: Option<Text<Time>>,
}

/// `[bake]`.
#[derive(Default, Deserialize, JsonSchema)]
pub(super) struct Bake {
    /// How long the new release is observed. Default: `"10m"`.
    pub(super) time: Option<Text<Time>>,
    /// Whether a fail gives the traffic back. Default: true.
    pub(super) auto_rollback: Option<bool>,
    /// How long the old slot stays running after a pass, or `"forever"`. Default: `"30m"`.
    pub(super) keep_warm: Option<Text<KeepWarm>>,
    /// When probes were fine but traffic too small. Default: `accept`.
    pub(super) on_inconclusive: Option<OnInconclusive>,
    /// Fixed limit: failed of all requests, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub(super) max_error_rate: Option<f64>,
    /// Fixed limit: failed requests.
    pub(super) max_failed_requests: Option<u64>,
}
