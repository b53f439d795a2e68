//! What files mean: defaults, presets, layers.

use super::{SMALL, complaints, config, config_in};
use crate::config::{Config, HealthCheck, OnInconclusive, Ports, ReleaseField, Service, Smoke};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

fn service<'a>(config: &'a Config, name: &str) -> &'a Service {
    config.services.iter().find(|(n, _)| n.as_str() == name).expect("the service is there").1
}

#[test]
fn defaults_are_those_of_the_interface() {
    let config = config(SMALL);
    let web = service(&config, "web");
    assert_eq!(web.command, ["bin/shop", "--port", "{port}"]);
    assert_eq!((web.dir.to_str(), web.ports), (Some("."), None));
    assert_eq!((web.stop.signal.as_str(), web.stop.timeout), ("SIGTERM", Duration::from_secs(20)));
    assert_eq!(web.health.check, HealthCheck::None);
    assert_eq!(web.health.interval, Duration::from_millis(200));
    assert_eq!(web.health.timeout, Duration::from_secs(1));
    assert_eq!((web.health.healthy_after, web.health.deadline), (2, Duration::from_secs(60)));
    assert_eq!((config.release.source.to_str(), config.release.keep), (Some("."), 5));
    assert_eq!(config.router.listen, ["127.0.0.1:8080"]);
    assert_eq!(
        (config.router.max_body_bytes, config.router.timeout),
        (100 << 20, Duration::from_secs(60))
    );
    assert_eq!(config.drain.requests, Duration::from_secs(30));
    assert_eq!(config.drain.websockets, Duration::from_secs(600));
    assert_eq!((config.bake.time, config.bake.auto_rollback), (Duration::from_secs(600), true));
    assert_eq!(config.bake.keep_warm, Some(Duration::from_secs(1800)));
    assert_eq!(config.bake.on_inconclusive, OnInconclusive::Accept);
    assert_eq!((config.warmup, config.smoke.len(), config.root), (None, 0, None));
}

#[test]
fn with_domains_the_proxy_listens_on_port_80() {
    let config = config(&format!("{SMALL}router.domains = [\"shop.example\"]"));
    assert_eq!(config.router.listen, ["80"]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one whole file beside its golden text")]
fn whole_file_is_read_as_it_is_written() {
    let config = config(
        r#"
app = "saltbox"
runner = "process"
root = "/srv/saltbox"
accept = ["memory.two-copies"]
[release]
build = "make dist"
source = "dist"
exclude = ["node_modules", "tests"]
prepare = "bin/prepare"
writable = ["./tmp/"]
keep = 7
[shared]
files = [".env"]
dirs = ["public/uploads"]
[env]
LOG_LEVEL = "info"
WORKERS = 4
DEBUG = false
[web]
command = "venv/bin/gunicorn --bind 127.0.0.1:{port} main:app"
dir = "backend"
ports = { blue = 9011, green = 9012 }
stop = { signal = "SIGINT", timeout = "90s" }
no_room = "refuse"
[health]
path = "/healthz"
host = "saltbox.example"
interval = "500ms"
timeout = "2s"
healthy_after = 3
deadline = "2m"
release = "json:/release"
expect = { status = 200, json = { "/checks/db" = "ok", "/n" = 1.5, "/all" = [true, { a = 1 }] } }
[[smoke]]
path = "/v"
expect.status = 204
[[smoke]]
command = "bin/smoke {url}"
[warmup]
paths = ["/", "/pricing"]
[router]
kind = "embedded"
domains = ["api.saltbox.example", "saltbox.example"]
aliases = ["www.saltbox.example"]
listen = ["80", "[::1]:8080"]
tls = "off"
trusted_proxies = ["10.0.0.0/8", "2001:db8::1"]
max_body = "1GiB"
timeout = "10s"
[drain]
requests = "5s"
websockets = "0s"
[bake]
time = "1h"
auto_rollback = false
keep_warm = "forever"
on_inconclusive = "hold"
max_error_rate = 0.05
max_failed_requests = 20
"#,
    );
    let web = service(&config, "web");
    assert_eq!(web.ports, Some(Ports { blue: 9011, green: 9012, debug: None }));
    assert_eq!(
        (web.stop.signal.as_str(), web.stop.signal_origin.as_str()),
        ("SIGINT", "alcedo.toml")
    );
    assert_eq!(web.health.check, HealthCheck::Http("/healthz".to_owned()));
    assert_eq!(web.health.release, Some(ReleaseField::Json("/release".to_owned())));
    assert_eq!(web.health.expect.json["/all"], json!([true, { "a": 1 }]));
    assert_eq!(config.release.writable, [PathBuf::from("tmp")]);
    assert_eq!((config.env["WORKERS"].as_str(), config.env["DEBUG"].as_str()), ("4", "false"));
    assert_eq!(config.smoke[1], Smoke::Command("bin/smoke {url}".to_owned()));
    assert_eq!(config.warmup.map(|warmup| warmup.requests), Some(20));
    assert_eq!(config.router.trusted_proxies, ["10.0.0.0/8", "2001:db8::1/128"]);
    assert_eq!((config.bake.keep_warm, config.bake.max_error_rate), (None, Some(0.05)));
    assert_eq!(config.drain.websockets, Duration::ZERO);
}

#[test]
fn environment_replaces_keys_and_merges_tables() {
    let text = "\
app = \"shop\"
[web]
command = \"bin/shop\"
ports = { blue = 1001, green = 1002 }
[env]
A = \"1\"
B = \"2\"
[router]
domains = [\"shop.example\", \"www.shop.example\"]
[environments.staging]
router = { domains = [\"staging.shop.example\"] }
env.B = \"3\"
web.ports = { blue = 2001, green = 2002 }
[environments.staging.web.stop]
timeout = \"1s\"
";
    let (production, staging) = (config(text), config_in(text, "staging"));
    assert_eq!(production.environment, "production");
    assert_eq!((staging.environment.as_str(), staging.app.as_str()), ("staging", "shop"));
    assert_eq!((staging.env["A"].as_str(), staging.env["B"].as_str()), ("1", "3"));
    assert_eq!(staging.router.domains, ["staging.shop.example"]);
    let web = service(&staging, "web");
    assert_eq!(web.command, ["bin/shop"]);
    assert_eq!((web.ports.map(|p| p.blue), web.stop.timeout), (Some(2001), Duration::from_secs(1)));
    assert_eq!(service(&production, "web").stop.timeout, Duration::from_secs(20));
}

#[test]
fn environment_named_production_on_the_command_line_is_the_file() {
    assert_eq!(config_in(SMALL, "production"), config(SMALL));
}

#[test]
fn environment_can_change_how_readiness_is_seen() {
    let text = format!(
        "{SMALL}health = {{ path = \"/up\", release = \"header:X-R\", interval = \"1s\" }}\n\
         environments.ci.health.tcp = true\n"
    );
    let config = config_in(&text, "ci");
    let health = &service(&config, "web").health;
    assert_eq!((&health.check, &health.release), (&HealthCheck::Tcp, &None));
    assert_eq!(health.interval, Duration::from_secs(1));
}

#[test]
fn readiness_of_a_service_lies_over_that_of_the_app() {
    let config = config(
        "\
app = \"a\"
services.site.command = \"x\"
services.api = { command = \"y\", routes = [\"/api/\"], health = { path = \"/api/up\" } }
services.queue = { command = \"z\", routes = [\"/q\"], health = { tcp = true } }
health = { path = \"/up\", interval = \"1s\", expect = { status = 204 } }
",
    );
    let checks: Vec<_> = config.services.values().map(|s| s.health.check.clone()).collect();
    let path = |path: &str| HealthCheck::Http(path.to_owned());
    assert_eq!(checks, [path("/api/up"), HealthCheck::Tcp, path("/up")]);
    assert!(config.services.values().all(|s| s.health.interval == Duration::from_secs(1)));
    assert_eq!(service(&config, "queue").health.expect.status, None);
    assert_eq!(service(&config, "api").routes, ["/api"]);
}

#[test]
fn domains_of_one_service_leave_the_others_theirs() {
    let config = config(
        "\
app = \"a\"
router.domains = [\"a.example\"]
services.site.command = \"x\"
services.admin = { command = \"y\", domains = [\"admin.a.example\"] }
services.hooks = { command = \"z\", domains = [\"admin.a.example\"], routes = [\"/hooks\"] }
",
    );
    assert_eq!(config.services.len(), 3);
}

/// S1-D2: the wrong signal kills requests in flight.
#[test]
fn stop_signal_follows_the_kind_of_server() {
    let signal = |command: &str| {
        let config = config(&format!("app = \"a\"\nweb.command = {command:?}\n"));
        let stop = &service(&config, "web").stop;
        format!("{} {}", stop.signal, stop.signal_origin)
    };
    assert_eq!(signal("venv/bin/gunicorn main:app"), "SIGTERM preset: gunicorn");
    assert_eq!(signal("uwsgi --ini uwsgi.ini"), "SIGQUIT preset: uwsgi");
    assert_eq!(signal("uwsgi --die-on-term"), "SIGTERM preset: uwsgi");
    assert_eq!(signal("/usr/sbin/php-fpm8.2 -F"), "SIGQUIT preset: php-fpm");
    assert_eq!(signal("nginx -g 'daemon off;'"), "SIGQUIT preset: nginx");
    assert_eq!(signal("bundle exec unicorn -p {port}"), "SIGQUIT preset: unicorn");
    assert_eq!(signal("bundle exec puma"), "SIGTERM preset: puma");
    assert_eq!(signal("env -i A=b node server.js"), "SIGTERM preset: node");
    assert_eq!(signal("python3 -m uvicorn main:app"), "SIGTERM preset: uvicorn");
    assert_eq!(signal("sh -c 'exec nginx -g daemon-off'"), "SIGQUIT preset: nginx");
    assert_eq!(signal("sh -c 'nginx; true'"), "SIGTERM default");
    assert_eq!(signal("php -S 127.0.0.1:{port} -t public"), "SIGTERM preset: php");
    assert_eq!(signal("./api --port {port} --color {slot}"), "SIGTERM default");
}

#[test]
fn commands_are_split_like_a_shell_would() {
    let words = |command: &str| {
        let config = config(&format!("app = \"a\"\nweb.command = {}\n", json!(command)));
        service(&config, "web").command.clone()
    };
    assert_eq!(words("a 'b c' \"d $E\" f\\ g \"\" h*"), ["a", "b c", "d $E", "f g", "", "h*"]);
    assert_eq!(
        words("a '$HOME' \\$X \"\\$Y\" $ $$ ${Z}"),
        ["a", "$$HOME", "$$X", "$$Y", "$$", "$$", "${Z}"]
    );
    assert_eq!(
        words("a 'x|y;z' \"p && q\" --json={\"a\":1}"),
        ["a", "x|y;z", "p && q", "--json={a:1}"]
    );
    assert_eq!(words("  a\n  --b\t--c \\\n d"), ["a", "--b", "--c", "d"]);
    assert_eq!(
        words("sh -c 'exec a --port $PORT > \"$LOG\" 2>&1'")[2],
        "exec a --port $$PORT > \"$$LOG\" 2>&1"
    );
}

#[test]
fn writable_directory_may_have_a_shared_one_in_it() {
    let text = "release.writable = [\"storage\"]\nshared.dirs = [\"storage/app\"]";
    assert_eq!(config(&format!("{SMALL}{text}")).shared.dirs, [PathBuf::from("storage/app")]);
    let text = "release.writable = [\"storage/app/x\"]\nshared.dirs = [\"storage/app\"]";
    assert!(complaints(&format!("{SMALL}{text}")).contains("which lies in `storage/app`"));
}

#[test]
fn value_of_env_may_be_any_text() {
    let config = config(&format!("{SMALL}env = {{ A = \"$X {{port}} 'q'\", B = \"\", C = -1 }}"));
    assert_eq!(config.env["A"], "$X {port} 'q'");
    assert_eq!((config.env["B"].as_str(), config.env["C"].as_str()), ("", "-1"));
}

#[test]
fn secret_in_env_is_not_in_this_version() {
    let text = complaints(&format!("{SMALL}env.KEY = {{ secret = \"KEY\" }}"));
    assert!(text.contains("`env.KEY.secret` is not in this version"), "{text}");
}

#[test]
fn port_of_the_debug_slot_is_not_in_this_version() {
    let ports = "web.ports = { blue = 9011, green = 9012, debug = 9013 }";
    let text = complaints(&format!("{SMALL}{ports}"));
    assert!(text.contains("`web.ports.debug` is not in this version"), "{text}");
    assert!(!super::super::schema().to_string().contains("debug slot"));
}

#[test]
fn number_gets_a_unit_only_where_it_needs_one() {
    let text = complaints(&format!("{SMALL}{}", "release.prepare = 3"));
    assert!(text.contains("\"3\"?") && !text.contains("3s"), "{text}");
    assert!(complaints(&format!("{SMALL}{}", "bake.time = 3")).contains("\"3s\"?"));
}

#[test]
fn word_that_is_nearly_one_of_a_later_version_is_named() {
    let text = complaints(&format!("{SMALL}{}", "runner = \"compse\""));
    assert!(
        text.contains("nearest: `compose`, which is not in this version; known: `process`"),
        "{text}"
    );
}
