use super::*;
use crate::config::*;
use crate::names::AppName;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

fn service(command: &str) -> Service {
    Service {
        command: shell_words::split(command).unwrap(),
        php_fpm: None,
        dir: PathBuf::from("."),
        ports: None,
        stop: Stop {
            signal: "SIGTERM".to_owned(),
            signal_origin: "default".to_owned(),
            timeout: Duration::from_secs(20),
        },
        limits: crate::config::Limits::default(),
        routes: Vec::new(),
        domains: Vec::new(),
        health: Health {
            check: HealthCheck::Http("/healthz".to_owned()),
            host: None,
            interval: Duration::from_millis(200),
            timeout: Duration::from_secs(1),
            healthy_after: 2,
            deadline: Duration::from_secs(60),
            release: None,
            expect: Expect::default(),
        },
    }
}

fn config(service: Service) -> Config {
    Config {
        app: AppName::new("shop").unwrap(),
        environment: "production".to_owned(),
        runner: crate::config::Runner::Process,
        systemd: crate::config::Systemd::default(),
        host: None,
        root: None,
        accept: Vec::new(),
        release: Release {
            build: None,
            source: PathBuf::from("."),
            exclude: Vec::new(),
            prepare: None,
            prepare_timeout: Duration::from_secs(600),
            writable: Vec::new(),
            keep: 5,
        },
        shared: Shared::default(),
        env: BTreeMap::new(),
        services: [(ServiceName::new("web").unwrap(), service)].into(),
        smoke: Vec::new(),
        warmup: None,
        router: Router {
            kind: RouterKind::Embedded,
            domains: Vec::new(),
            aliases: Vec::new(),
            listen: vec!["127.0.0.1:8080".to_owned()],
            trusted_proxies: Vec::new(),
            adopt: None,
            max_body_bytes: 1 << 20,
            timeout: Duration::from_secs(60),
        },
        drain: Drain { requests: Duration::from_secs(30), websockets: Duration::from_secs(600) },
        bake: Bake {
            time: Duration::from_secs(600),
            auto_rollback: true,
            keep_warm: None,
            on_inconclusive: OnInconclusive::Accept,
            max_error_rate: Some(0.05),
            max_failed_requests: None,
        },
    }
}

fn ids(config: &Config) -> Vec<String> {
    lint(config).into_iter().map(|f| f.id).collect()
}

#[test]
fn a_sound_config_has_no_finding() {
    assert_eq!(ids(&config(service("./api --port {port}"))), [""; 0]);
}

#[test]
fn development_servers_are_named() {
    for (command, server) in [
        ("php -S 127.0.0.1:{port} -t public", "php -S"),
        ("/usr/bin/php8.3 -S 127.0.0.1:{port}", "php -S"),
        ("venv/bin/flask run --port {port}", "flask run"),
        ("python3 -m flask run --port {port}", "flask run"),
        ("venv/bin/python manage.py runserver 127.0.0.1:{port}", "manage.py runserver"),
        ("npx next dev -p {port}", "next dev"),
        ("node_modules/.bin/vite --port {port}", "vite"),
        ("sh -c 'exec php -S 127.0.0.1:{port}'", "php -S"),
    ] {
        let found = lint(&config(service(command)));
        let named = found.iter().any(|f| f.id == "unit.dev-server" && f.message.contains(server));
        assert!(named, "{command}: {found:?}");
    }
    assert_eq!(ids(&config(service("npx next start -p {port}"))), [""; 0]);
    assert_eq!(
        ids(&config(service("venv/bin/gunicorn --bind 127.0.0.1:{port} flask_app:app"))),
        [""; 0]
    );
}

#[test]
fn gunicorn_with_quit_is_a_warning() {
    let mut hard = service("venv/bin/gunicorn --bind 127.0.0.1:{port} main:app");
    hard.stop.signal = "SIGQUIT".to_owned();
    assert_eq!(ids(&config(hard)), ["stop.gunicorn-quit"]);
}

#[test]
fn no_health_check_is_a_warning_unless_accepted() {
    let mut bare = service("./api --port {port}");
    bare.health.check = HealthCheck::None;
    let mut config = config(bare);
    assert_eq!(ids(&config), ["health.none"]);
    config.accept = vec!["health.none".to_owned()];
    assert!(lint(&config)[0].accepted);
}

#[test]
fn a_database_file_shared_without_its_directory_is_an_error() {
    let mut config = config(service("./api --port {port}"));
    config.shared.files = vec![".env".into(), "data/app.sqlite".into()];
    let found = lint(&config);
    assert_eq!(found[0].id, "shared.sqlite");
    assert_eq!(found[0].severity, Severity::Error);
    assert_eq!(
        found[0].fix.as_deref(),
        Some("shared.dirs = [\"data\"], with the database inside it")
    );
    config.shared.dirs = vec!["data".into()];
    assert_eq!(ids(&config), [""; 0]);
}

#[test]
fn a_port_written_into_the_command_is_a_warning() {
    for command in ["./api --port 9001", "gunicorn -b 127.0.0.1:8000 main:app", "./api --port=80"] {
        assert_eq!(ids(&config(service(command))), ["command.fixed-port"], "{command}");
    }
    assert_eq!(ids(&config(service("./api --config prod.toml"))), [""; 0]);
}

#[test]
fn errors_come_before_warnings_and_notes() {
    let mut bad = config(service("php -S 127.0.0.1:{port}"));
    bad.bake.max_error_rate = None;
    bad.shared.files = vec!["app.db".into()];
    assert_eq!(ids(&bad), ["shared.sqlite", "unit.dev-server", "bake.no-limit"]);
}
