//! Raw to effective: every default stands here, and only here.

use super::model::{
    Bake, Config, Drain, Expect, Health, HealthCheck, Limits, OnInconclusive, PhpFpm, Release,
    Router, RouterKind, Service, Shared, Smoke, Stop, Systemd, Tls, Warmup,
};
use super::preset;
use super::raw;
use super::syntax::{Syntax, Text};
use crate::names::{AppName, ServiceName};
use std::path::PathBuf;
use std::time::Duration;

/// Limit of `release.prepare`; a build of dependencies takes minutes, a hang takes for ever.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(600);
const KEEP: u32 = 5;
const STOP_SIGNAL: &str = "SIGTERM";
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const WARMUP_REQUESTS: u32 = 20;
/// As S0 has it.
const FPM_CHILDREN: u32 = 4;
const LISTEN_WITH_DOMAINS: &str = "80";
const LISTEN_WITHOUT_DOMAINS: &str = "127.0.0.1:8080";
const MAX_BODY_BYTES: u64 = 100 << 20;
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(60);

/// The effective configuration of what `rules` has passed.
pub(super) fn resolve(app: AppName, raw: raw::File, environment: &str, file: &str) -> Config {
    let layer = raw.layer;
    let services = layer.services.unwrap_or_default().into_iter();
    Config {
        app,
        environment: environment.to_owned(),
        host: layer.host.map(value),
        runner: layer.runner.unwrap_or_default(),
        systemd: systemd(layer.systemd),
        root: layer.root.map(value),
        accept: values(layer.accept),
        release: release(layer.release),
        shared: layer.shared.map_or_else(Shared::default, |shared| Shared {
            files: values(shared.files),
            dirs: values(shared.dirs),
        }),
        env: layer.env.unwrap_or_default().into_iter().map(|(k, v)| (k, v.into_text())).collect(),
        services: services.filter_map(|(name, raw)| service(&name, raw, file)).collect(),
        smoke: layer.smoke.unwrap_or_default().into_iter().filter_map(smoke).collect(),
        warmup: layer.warmup.map(|warmup| Warmup {
            paths: values(warmup.paths),
            requests: warmup.requests.unwrap_or(WARMUP_REQUESTS),
        }),
        router: router(layer.router),
        drain: drain(layer.drain),
        bake: bake(layer.bake),
    }
}

impl raw::Plain {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Integer(number) => number.to_string(),
            Self::Boolean(flag) => flag.to_string(),
        }
    }
}

fn value<S: Syntax>(text: Text<S>) -> S::Value {
    text.0
}

fn values<S: Syntax>(list: Option<Vec<Text<S>>>) -> Vec<S::Value> {
    list.unwrap_or_default().into_iter().map(value).collect()
}

fn release(raw: Option<raw::Release>) -> Release {
    let raw = raw.unwrap_or_default();
    Release {
        build: raw.build.map(value),
        source: raw.source.map_or_else(|| PathBuf::from("."), value),
        exclude: values(raw.exclude),
        prepare: raw.prepare.map(value),
        prepare_timeout: PREPARE_TIMEOUT,
        writable: values(raw.writable),
        keep: raw.keep.unwrap_or(KEEP),
    }
}

fn service(name: &str, raw: raw::Service, file: &str) -> Option<(ServiceName, Service)> {
    let php_fpm = raw.php_fpm.map(php_fpm);
    let command = match &php_fpm {
        Some(pool) => vec![format!("php-fpm{}", pool.version.as_deref().unwrap_or_default())],
        None => raw.command.map(value)?,
    };
    let service = Service {
        php_fpm,
        dir: raw.dir.map_or_else(|| PathBuf::from("."), value),
        ports: raw.ports.as_ref().and_then(raw::SlotPorts::complete),
        stop: stop(raw.stop, &command, file),
        limits: raw.limits.map_or_else(Limits::default, |limits| Limits {
            memory_bytes: limits.memory.map(value),
            cpu_percent: limits.cpu.map(value),
        }),
        routes: values(raw.routes),
        domains: values(raw.domains),
        health: health(raw.health.unwrap_or_default()),
        command,
    };
    Some((ServiceName::new(name).ok()?, service))
}

fn php_fpm(raw: raw::PhpFpm) -> PhpFpm {
    PhpFpm {
        root: raw.root.map_or_else(|| PathBuf::from("."), value),
        children: raw.children.unwrap_or(FPM_CHILDREN),
        version: raw.version.map(value),
    }
}

fn stop(raw: Option<raw::Stop>, command: &[String], file: &str) -> Stop {
    let raw = raw.unwrap_or_default();
    let (signal, signal_origin) = match (raw.signal, preset::graceful_signal(command)) {
        (Some(signal), _) => (value(signal), file.to_owned()),
        (None, Some((server, signal))) => (signal.to_owned(), format!("preset: {server}")),
        (None, None) => (STOP_SIGNAL.to_owned(), "default".to_owned()),
    };
    Stop { signal, signal_origin, timeout: raw.timeout.map_or(STOP_TIMEOUT, value) }
}

fn health(raw: raw::Health) -> Health {
    let check = match (raw.path, raw.tcp, raw.command) {
        (Some(path), _, _) => HealthCheck::Http(value(path)),
        (None, Some(true), _) => HealthCheck::Tcp,
        (None, Some(false) | None, Some(command)) => HealthCheck::Command(value(command)),
        (None, Some(false) | None, None) => HealthCheck::None,
    };
    Health {
        check,
        host: raw.host.map(value),
        interval: raw.interval.map_or(Duration::from_millis(200), value),
        timeout: raw.timeout.map_or(Duration::from_secs(1), value),
        healthy_after: raw.healthy_after.unwrap_or(2),
        deadline: raw.deadline.map_or(Duration::from_secs(60), value),
        release: raw.release.map(value),
        expect: expect(raw.expect),
    }
}

fn expect(raw: Option<raw::Expect>) -> Expect {
    raw.map_or_else(Expect::default, |raw| Expect {
        status: raw.status,
        json: raw.json.unwrap_or_default(),
    })
}

fn smoke(raw: raw::Smoke) -> Option<Smoke> {
    match (raw.path, raw.command) {
        (Some(path), _) => Some(Smoke::Request { path: value(path), expect: expect(raw.expect) }),
        (None, Some(command)) => Some(Smoke::Command(value(command))),
        (None, None) => None,
    }
}

fn router(raw: Option<raw::Router>) -> Router {
    let raw = raw.unwrap_or_default();
    let domains = values(raw.domains);
    let default_listen =
        if domains.is_empty() { LISTEN_WITHOUT_DOMAINS } else { LISTEN_WITH_DOMAINS };
    let kind = match raw.kind {
        None | Some(raw::RouterKind::Embedded) => RouterKind::Embedded,
        Some(raw::RouterKind::Nginx) => {
            RouterKind::Nginx { form: raw.form.unwrap_or_default(), tls: tls(raw.tls) }
        }
    };
    Router {
        kind,
        domains,
        aliases: values(raw.aliases),
        listen: raw
            .listen
            .map_or_else(|| vec![default_listen.to_owned()], |listen| values(Some(listen))),
        trusted_proxies: values(raw.trusted_proxies),
        max_body_bytes: raw.max_body.map_or(MAX_BODY_BYTES, value),
        timeout: raw.timeout.map_or(FIRST_BYTE_TIMEOUT, value),
        adopt: raw.adopt.map(value),
    }
}

fn systemd(raw: Option<raw::Systemd>) -> Systemd {
    let raw = raw.unwrap_or_default();
    Systemd {
        user: raw.user.map(value),
        hardening: raw.hardening.unwrap_or_default(),
        watchdog: raw.watchdog.map(value),
    }
}

fn tls(raw: Option<raw::Tls>) -> Tls {
    match raw {
        None | Some(raw::Tls::Word(raw::TlsWord::Keep)) => Tls::Keep,
        Some(raw::Tls::Word(raw::TlsWord::Off)) => Tls::Off,
        Some(raw::Tls::Files(files)) => match (files.cert, files.key) {
            (Some(cert), Some(key)) => Tls::Files { cert: value(cert), key: value(key) },
            // `rules` has refused it.
            (None, _) | (_, None) => Tls::Keep,
        },
    }
}

fn drain(raw: Option<raw::Drain>) -> Drain {
    let raw = raw.unwrap_or_default();
    Drain {
        requests: raw.requests.map_or(Duration::from_secs(30), value),
        websockets: raw.websockets.map_or(Duration::from_secs(600), value),
    }
}

fn bake(raw: Option<raw::Bake>) -> Bake {
    let raw = raw.unwrap_or_default();
    Bake {
        time: raw.time.map_or(Duration::from_secs(600), value),
        auto_rollback: raw.auto_rollback.unwrap_or(true),
        keep_warm: raw.keep_warm.map_or(Some(Duration::from_secs(1800)), value),
        on_inconclusive: raw.on_inconclusive.unwrap_or(OnInconclusive::Accept),
        max_error_rate: raw.max_error_rate,
        max_failed_requests: raw.max_failed_requests,
    }
}
