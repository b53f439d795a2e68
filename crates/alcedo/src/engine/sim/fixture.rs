//! The app that scenarios deploy: two processes behind routes, everything a plan can have.

use alcedo_core::binding::{Address, Binding, BindingId, Process};
use alcedo_core::config::{self as c, Config};
use alcedo_core::names::ServiceName;
use alcedo_core::{AppName, ReleaseId};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub(super) fn app() -> AppName {
    AppName::new("shop").expect("a name")
}

pub(super) fn release(n: u64) -> ReleaseId {
    ReleaseId::new(format!("r20261120-0000{n:02}-abcd{n:03}")).expect("a release id")
}

pub(super) fn config() -> Config {
    let health = c::Health {
        check: c::HealthCheck::Http("/healthz".to_owned()),
        host: None,
        interval: Duration::from_millis(200),
        timeout: Duration::from_secs(1),
        healthy_after: 2,
        deadline: Duration::from_secs(5),
        release: None,
        expect: c::Expect::default(),
    };
    let service = |routes: &[&str]| c::Service {
        command: vec!["app".to_owned()],
        php_fpm: None,
        dir: PathBuf::from("."),
        ports: None,
        stop: c::Stop {
            signal: "SIGTERM".to_owned(),
            signal_origin: "default".to_owned(),
            timeout: Duration::from_secs(20),
        },
        limits: c::Limits::default(),
        routes: routes.iter().map(|r| (*r).to_owned()).collect(),
        domains: Vec::new(),
        health: health.clone(),
    };
    let name = |n: &str| ServiceName::new(n).expect("a name");
    c::Config {
        app: app(),
        environment: "production".to_owned(),
        runner: c::Runner::Process,
        systemd: c::Systemd::default(),
        host: None,
        root: Some(PathBuf::from("/srv/shop")),
        accept: Vec::new(),
        release: c::Release {
            build: None,
            source: PathBuf::from("."),
            exclude: Vec::new(),
            prepare: Some("true".to_owned()),
            prepare_timeout: Duration::from_secs(60),
            writable: Vec::new(),
            keep: 2,
        },
        shared: c::Shared::default(),
        env: BTreeMap::new(),
        services: [(name("web"), service(&[])), (name("api"), service(&["/api"]))].into(),
        smoke: vec![c::Smoke::Command("true".to_owned())],
        warmup: Some(c::Warmup { paths: vec!["/".to_owned()], requests: 2 }),
        router: c::Router {
            kind: c::RouterKind::Embedded,
            domains: Vec::new(),
            aliases: Vec::new(),
            listen: vec!["127.0.0.1:8080".to_owned()],
            trusted_proxies: Vec::new(),
            adopt: None,
            max_body_bytes: 1 << 20,
            timeout: Duration::from_secs(60),
        },
        drain: c::Drain { requests: Duration::from_secs(30), websockets: Duration::from_secs(600) },
        bake: c::Bake {
            time: Duration::from_secs(12),
            auto_rollback: true,
            keep_warm: Some(Duration::from_secs(1800)),
            on_inconclusive: c::OnInconclusive::Accept,
            max_error_rate: Some(0.05),
            max_failed_requests: None,
        },
    }
}

pub(super) fn binding(id: BindingId, release: &ReleaseId, config: &Config) -> Binding {
    let slot = id.slot();
    let instance = PathBuf::from("/srv/shop/releases").join(release.as_str());
    let processes = config.services.iter().map(|(name, service)| Process {
        name: name.clone(),
        argv: service.command.clone(),
        env: BTreeMap::new(),
        dir: instance.clone(),
        address: Address::Unix(PathBuf::from(format!("/{slot}/{name}"))),
        pool: None,
        stop: service.stop.clone(),
        routes: service.routes.clone(),
        domains: Vec::new(),
        health: service.health.clone(),
    });
    Binding {
        id,
        app: app(),
        environment: config.environment.clone(),
        slot,
        runner: config.runner,
        release: release.clone(),
        instance: instance.clone(),
        processes: processes.collect(),
        smoke: config.smoke.clone(),
        warmup: config.warmup.clone(),
    }
}
