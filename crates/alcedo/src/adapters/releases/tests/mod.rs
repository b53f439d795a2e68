//! The store against real file systems, real archives and real crashes.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests start real programs"
)]

mod archives;
mod crashes;
mod disks;
mod instances;
mod random;
mod sealing;
mod shared_paths;
mod trees;
mod uploads;

use super::ReleaseStore;
use crate::engine::ports::{
    Call, Cancel, EffectError, FetchOrder, Fetched, Millis, PrepareOrder, Releases, Sealed, Source,
};
use crate::files::{Until, manifest_of, scan};
use alcedo_core::config::{
    Bake, Config, Drain, Expect, Health, HealthCheck, OnInconclusive, Release, Router, RouterKind,
    Service, Shared, Stop,
};
use alcedo_core::release::{Rules, release_id};
use alcedo_core::{AppName, ReleaseId, ServiceName};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An app's root and a source, in a directory that vanishes with it.
struct Site {
    dir: tempfile::TempDir,
    store: ReleaseStore,
    config: Config,
}

impl Site {
    fn new() -> Self {
        Self::at(tempfile::tempdir().expect("temporary directory"))
    }

    fn at(dir: tempfile::TempDir) -> Self {
        let site = Self { dir, store: ReleaseStore::new(), config: config() };
        fs::create_dir_all(site.source()).expect("source");
        site
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("app")
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    fn instance(&self, release: &ReleaseId) -> PathBuf {
        self.root().join("releases").join(release.as_str())
    }

    /// Writes a file of the source.
    fn write(&self, path: &str, content: &str) -> &Self {
        put(&self.source().join(path), content);
        self
    }

    fn order(&self, number: i64) -> FetchOrder {
        let source = Source::Directory { path: self.source(), hash: self.hash() };
        self.order_of(number, source)
    }

    fn order_of(&self, number: i64, source: Source) -> FetchOrder {
        let config = self.config.clone();
        let commit = Some("4be1c07d".to_owned());
        FetchOrder { root: self.root(), release: release(number), source, config, commit }
    }

    /// The content hash of the source as it is.
    fn hash(&self) -> String {
        let release = &self.config.release;
        let rules = Rules::new(&release.exclude, &self.config.shared, &release.writable);
        let until = Until::done();
        let Ok(found) = scan(&self.source(), &rules.expect("rules"), &until) else {
            return "unknown".to_owned();
        };
        manifest_of(&self.source(), &found, &until).expect("hashes").hash()
    }

    fn fetch(&self, order: &FetchOrder) -> Result<Fetched, EffectError> {
        with_call(|call| self.store.fetch(order, call))
    }

    /// Fetches and seals.
    fn make(&self, number: i64) -> (PathBuf, Fetched, Sealed) {
        let order = self.order(number);
        let fetched = self.fetch(&order).expect("fetched");
        let sealed = self.store.seal(&order).expect("sealed");
        (self.instance(&order.release), fetched, sealed)
    }

    /// The one failure of a fetch, as a person would read it.
    fn refusal(&self, order: &FetchOrder) -> String {
        let refusal = told(self.fetch(order).expect_err("refused"));
        assert!(!self.instance(&order.release).exists(), "nothing is left: {refusal}");
        assert!(!self.store.is_sealed(&self.root(), &order.release).expect("asked"));
        refusal
    }

    fn verify(&self, number: i64) -> Vec<String> {
        let found = with_call(|call| self.store.verify(&self.root(), &release(number), call));
        found.expect("verified").iter().map(|d| format!("{} {}", d.path, d.what)).collect()
    }
}

fn with_call<T>(act: impl FnOnce(&Call<'_>) -> T) -> T {
    let cancel = Cancel::default();
    act(&Call { deadline: Millis(u64::MAX), cancel: &cancel, progress: &|_| {} })
}

fn told(error: EffectError) -> String {
    match error {
        EffectError::Failed { what, detail, hint } => {
            format!("failed to {what}: {detail}\n{}", hint.unwrap_or_default())
        }
        EffectError::Cancelled | EffectError::TimedOut { .. } => error.to_string(),
    }
}

fn release(number: i64) -> ReleaseId {
    release_id(1_795_201_905 + number, Some("4be1c07"), "", false).expect("valid")
}

fn put(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("directory");
    fs::write(path, content).expect("file");
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("metadata").permissions().mode() & 0o7777
}

/// Every path below `dir`, sorted.
fn listing(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    crate::files::walk(dir, &Until::done(), &mut |path, _, _| {
        all.push(path.to_string());
        Ok(crate::files::Visit::Descend)
    })
    .expect("walked");
    all.sort_unstable();
    all
}

pub(crate) fn config() -> Config {
    let seconds = Duration::from_secs;
    Config {
        app: AppName::new("shop").expect("name"),
        environment: "production".to_owned(),
        runner: alcedo_core::config::Runner::Process,
        systemd: alcedo_core::config::Systemd::default(),
        host: None,
        root: None,
        accept: Vec::new(),
        release: Release {
            build: None,
            source: PathBuf::from("."),
            exclude: Vec::new(),
            prepare: None,
            prepare_timeout: seconds(60),
            writable: Vec::new(),
            keep: 5,
        },
        shared: Shared::default(),
        env: BTreeMap::new(),
        services: BTreeMap::new(),
        smoke: Vec::new(),
        warmup: None,
        router: Router {
            kind: RouterKind::Embedded,
            domains: Vec::new(),
            aliases: Vec::new(),
            listen: Vec::new(),
            trusted_proxies: Vec::new(),
            adopt: None,
            max_body_bytes: 1 << 20,
            timeout: seconds(60),
        },
        drain: Drain { requests: seconds(30), websockets: seconds(300) },
        bake: Bake {
            time: seconds(600),
            auto_rollback: true,
            keep_warm: Some(seconds(1800)),
            on_inconclusive: OnInconclusive::Accept,
            max_error_rate: None,
            max_failed_requests: None,
        },
    }
}

fn web(command: &str) -> (ServiceName, Service) {
    let second = Duration::from_secs(1);
    let service = Service {
        command: command.split(' ').map(str::to_owned).collect(),
        php_fpm: None,
        dir: PathBuf::from("."),
        ports: None,
        stop: Stop {
            signal: "SIGTERM".to_owned(),
            signal_origin: "default".to_owned(),
            timeout: second,
        },
        limits: alcedo_core::config::Limits::default(),
        routes: Vec::new(),
        domains: Vec::new(),
        health: Health {
            check: HealthCheck::Tcp,
            host: None,
            interval: second,
            timeout: second,
            healthy_after: 1,
            deadline: second,
            release: None,
            expect: Expect::default(),
        },
    };
    (ServiceName::new("web").expect("name"), service)
}
