//! An effective configuration as a flat list of keys and values: what `config` prints and `plan` compares.

use super::command;
use super::model::{
    Config, Expect, Health, HealthCheck, OnInconclusive, PhpFpm, Ports, ReleaseField, RouterKind,
    Runner, Service, Smoke, Tls,
};
use super::syntax::{size_text, time_text};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// One key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// The effective key, `services.web.health.path`: where [`super::Origins`] knows it.
    pub(super) path: Vec<String>,
    pub(super) value: Shown,
}

/// A value, or in words why there is none.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shown {
    Value(Value),
    Nothing(&'static str),
}

/// Everything that the configuration says, in the order in which it is shown. Keys outside of tables come first.
pub(super) fn entries(config: &Config) -> Vec<Entry> {
    let mut list = List::default();
    list.top(config);
    list.release(config);
    list.env(config);
    for (name, service) in &config.services {
        list.service(name.as_str(), service);
        list.limits(config, name.as_str(), service);
    }
    list.warmup(config);
    list.router(config);
    list.rest(config);
    list.systemd(config);
    list.0
}

#[derive(Default)]
struct List(Vec<Entry>);

impl List {
    fn add(&mut self, path: &[&str], value: Value) {
        let path = path.iter().map(|key| (*key).to_owned()).collect();
        self.0.push(Entry { path, value: Shown::Value(value) });
    }

    fn add_or(&mut self, path: &[&str], value: Option<Value>, nothing: &'static str) {
        let shown = value.map_or(Shown::Nothing(nothing), Shown::Value);
        let path = path.iter().map(|key| (*key).to_owned()).collect();
        self.0.push(Entry { path, value: shown });
    }

    fn top(&mut self, config: &Config) {
        self.add(&["app"], json!(config.app));
        let host = config.host.as_ref().map(|host| json!(host.to_string()));
        self.add_or(&["host"], host, "this machine");
        self.add(&["runner"], json!(config.runner.as_str()));
        let root = config.root.as_deref().map(path);
        self.add_or(&["root"], root, "the host's own directory for this app");
        self.add(&["accept"], json!(config.accept));
        self.add(&["smoke"], config.smoke.iter().map(smoke).collect());
        if config.warmup.is_none() {
            self.add_or(&["warmup"], None, "none");
        }
    }

    fn release(&mut self, config: &Config) {
        let (release, shared) = (&config.release, &config.shared);
        self.add_or(&["release", "build"], release.build.as_ref().map(|b| json!(b)), "nothing");
        self.add(&["release", "source"], path(&release.source));
        self.add(&["release", "exclude"], json!(release.exclude));
        self.add_or(&["release", "prepare"], release.prepare.as_ref().map(|p| json!(p)), "nothing");
        self.add(&["release", "writable"], paths(&release.writable));
        self.add(&["release", "keep"], json!(release.keep));
        self.add(&["shared", "files"], paths(&shared.files));
        self.add(&["shared", "dirs"], paths(&shared.dirs));
    }

    fn env(&mut self, config: &Config) {
        for (name, value) in &config.env {
            self.add(&["env", name], json!(value));
        }
    }

    fn service(&mut self, name: &str, service: &Service) {
        let key = |key: &'static str| ["services", name, key];
        match &service.php_fpm {
            Some(pool) => self.pool(name, pool),
            None => self.add(&key("command"), json!(command::join(&service.command))),
        }
        self.add(&key("dir"), path(&service.dir));
        let ports = service.ports.as_ref().map(ports);
        self.add_or(&key("ports"), ports, "picked once from 20000-29999 and kept");
        let stop = |key: &'static str| ["services", name, "stop", key];
        self.add(&stop("signal"), json!(service.stop.signal));
        self.add(&stop("timeout"), json!(time_text(service.stop.timeout)));
        self.add(&key("no_room"), json!("refuse"));
        self.add(&key("routes"), json!(service.routes));
        self.add(&key("domains"), json!(service.domains));
        self.health(name, &service.health);
    }

    fn pool(&mut self, name: &str, pool: &PhpFpm) {
        let key = |key: &'static str| ["services", name, "php_fpm", key];
        self.add(&key("root"), path(&pool.root));
        self.add(&key("children"), json!(pool.children));
        let version = pool.version.as_ref().map(|version| json!(version));
        self.add_or(&key("version"), version, "the newest that the host has");
    }

    /// Shown where they can be set: elsewhere the keys themselves are refused.
    fn limits(&mut self, config: &Config, name: &str, service: &Service) {
        if config.runner != Runner::Systemd {
            return;
        }
        let limits = &service.limits;
        let memory = limits.memory_bytes.map(|bytes| json!(size_text(bytes)));
        self.add_or(&["services", name, "limits", "memory"], memory, "no limit");
        let cpu = limits.cpu_percent.map(|percent| json!(format!("{percent}%")));
        self.add_or(&["services", name, "limits", "cpu"], cpu, "no limit");
    }

    fn systemd(&mut self, config: &Config) {
        if config.runner != Runner::Systemd {
            return;
        }
        let systemd = &config.systemd;
        let user = systemd.user.as_ref().map(|user| json!(user));
        self.add_or(&["systemd", "user"], user, "a user with the app's name");
        self.add(&["systemd", "hardening"], json!(systemd.hardening.as_str()));
        let watchdog = systemd.watchdog.map(|time| json!(time_text(time)));
        self.add_or(&["systemd", "watchdog"], watchdog, "nobody asks");
    }

    fn health(&mut self, name: &str, health: &Health) {
        let key = |key: &'static str| ["services", name, "health", key];
        match &health.check {
            HealthCheck::Http(path) => self.add(&key("path"), json!(path)),
            HealthCheck::Tcp => self.add(&key("tcp"), json!(true)),
            HealthCheck::Command(command) => self.add(&key("command"), json!(command)),
            HealthCheck::None => {
                return self.add_or(
                    &key("path"),
                    None,
                    "nothing is asked: a port that listens is ready",
                );
            }
        }
        if matches!(health.check, HealthCheck::Http(_)) {
            self.add_or(&key("host"), health.host.as_ref().map(|h| json!(h)), "the first domain");
        }
        self.add(&key("interval"), json!(time_text(health.interval)));
        self.add(&key("timeout"), json!(time_text(health.timeout)));
        self.add(&key("healthy_after"), json!(health.healthy_after));
        self.add(&key("deadline"), json!(time_text(health.deadline)));
        if matches!(health.check, HealthCheck::Http(_)) {
            let release = health.release.as_ref().map(release_field);
            self.add_or(&key("release"), release, "proved by the process");
            self.add_or(&key("expect"), expect(&health.expect), "any 2xx");
        }
    }

    fn warmup(&mut self, config: &Config) {
        let Some(warmup) = &config.warmup else { return };
        self.add(&["warmup", "paths"], json!(warmup.paths));
        self.add(&["warmup", "requests"], json!(warmup.requests));
    }

    fn router(&mut self, config: &Config) {
        let router = &config.router;
        let tls = self.router_kind(&router.kind);
        self.add(&["router", "domains"], json!(router.domains));
        // Without domains there is nothing to redirect to, and the key itself would be refused.
        let aliases = (!router.aliases.is_empty()).then(|| json!(router.aliases));
        self.add_or(&["router", "aliases"], aliases, "none");
        self.add(&["router", "listen"], json!(router.listen));
        self.add(&["router", "tls"], tls);
        self.add(&["router", "trusted_proxies"], json!(router.trusted_proxies));
        self.add(&["router", "max_body"], json!(size_text(router.max_body_bytes)));
        self.add(&["router", "timeout"], json!(time_text(router.timeout)));
        // Shown where it is used: most apps have no site of anybody else in front.
        if let Some(adopt) = &router.adopt {
            self.add(&["router", "adopt"], path(adopt));
        }
    }

    /// Kind and form; what stands for `tls`.
    fn router_kind(&mut self, kind: &RouterKind) -> Value {
        match kind {
            RouterKind::Embedded => {
                self.add(&["router", "kind"], json!("embedded"));
                json!("off")
            }
            RouterKind::Nginx { form, tls } => {
                self.add(&["router", "kind"], json!("nginx"));
                self.add(&["router", "form"], json!(form.as_str()));
                match tls {
                    Tls::Keep => json!("keep"),
                    Tls::Off => json!("off"),
                    Tls::Files { cert, key } => json!({ "cert": path(cert), "key": path(key) }),
                }
            }
        }
    }

    fn rest(&mut self, config: &Config) {
        let (drain, bake) = (&config.drain, &config.bake);
        self.add(&["drain", "requests"], json!(time_text(drain.requests)));
        self.add(&["drain", "websockets"], json!(time_text(drain.websockets)));
        self.add(&["bake", "time"], json!(time_text(bake.time)));
        self.add(&["bake", "auto_rollback"], json!(bake.auto_rollback));
        let keep_warm = bake.keep_warm.map_or_else(|| "forever".to_owned(), time_text);
        self.add(&["bake", "keep_warm"], json!(keep_warm));
        let word = match bake.on_inconclusive {
            OnInconclusive::Accept => "accept",
            OnInconclusive::Extend => "extend",
            OnInconclusive::Hold => "hold",
        };
        self.add(&["bake", "on_inconclusive"], json!(word));
        self.add_or(
            &["bake", "max_error_rate"],
            bake.max_error_rate.map(|r| json!(r)),
            "no fixed limit",
        );
        let failed = bake.max_failed_requests.map(|n| json!(n));
        self.add_or(&["bake", "max_failed_requests"], failed, "no fixed limit");
    }
}

fn path(path: &Path) -> Value {
    json!(path.to_string_lossy())
}

fn paths(list: &[PathBuf]) -> Value {
    list.iter().map(|item| path(item)).collect()
}

fn ports(ports: &Ports) -> Value {
    let mut table = Map::from_iter([
        ("blue".to_owned(), json!(ports.blue)),
        ("green".to_owned(), json!(ports.green)),
    ]);
    if let Some(debug) = ports.debug {
        table.insert("debug".to_owned(), json!(debug));
    }
    Value::Object(table)
}

fn release_field(field: &ReleaseField) -> Value {
    match field {
        ReleaseField::Json(pointer) => json!(format!("json:{pointer}")),
        ReleaseField::Header(name) => json!(format!("header:{name}")),
    }
}

fn expect(expect: &Expect) -> Option<Value> {
    let mut table = Map::new();
    if let Some(status) = expect.status {
        table.insert("status".to_owned(), json!(status));
    }
    if !expect.json.is_empty() {
        table.insert("json".to_owned(), json!(expect.json));
    }
    (!table.is_empty()).then_some(Value::Object(table))
}

fn smoke(smoke: &Smoke) -> Value {
    let mut table = Map::new();
    match smoke {
        Smoke::Command(command) => drop(table.insert("command".to_owned(), json!(command))),
        Smoke::Request { path, expect: wanted } => {
            table.insert("path".to_owned(), json!(path));
            if let Some(wanted) = expect(wanted) {
                table.insert("expect".to_owned(), wanted);
            }
        }
    }
    Value::Object(table)
}
