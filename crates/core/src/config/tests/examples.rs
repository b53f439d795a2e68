//! The examples of the interface: what this version takes and what it says about the rest.

use super::{complaints, loaded};
use insta::assert_snapshot;

#[test]
fn laravel_example_names_what_is_not_in_this_version() {
    assert_snapshot!(complaints(r#"
app             = "shop"
host            = "deploy@shop.example"
runner          = "systemd"
release.build   = "composer install --no-dev -o && npm ci && npm run build"
release.prepare = "php artisan optimize"
shared.files    = [".env"]
shared.dirs     = ["storage"]
web.php_fpm     = { root = "public", children = 4 }
workers.queue   = { command = "php artisan queue:work" }
health.path     = "/up"
router.kind     = "nginx"
router.domains  = ["shop.example"]
"#), @r#"
    alcedo.toml:10: `workers` is not in this version
      10 | workers.queue   = { command = "php artisan queue:work" }
         | ^^^^^^^
    "#);
}

#[test]
fn go_example_is_understood() {
    let loaded = loaded(
        r#"
app            = "api"
host           = "deploy@203.0.113.7"
runner         = "systemd"
release.build  = "CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -o dist/api ./cmd/api"
release.source = "dist/api"
web.command    = "./api --port {port}"
health.path    = "/healthz"
router.domains = ["api.example.com"]
"#,
    );
    assert_eq!(loaded.config.runner, crate::config::Runner::Systemd);
    assert_eq!(loaded.config.router.domains, ["api.example.com"]);
}

#[test]
fn compose_example_names_what_is_not_in_this_version() {
    assert_snapshot!(complaints(r#"
app            = "saltbox"
host           = "deploy@saltbox.example"
runner         = "compose"
compose.shared = ["db", "redis"]
release.image  = "registry.example/saltbox"
services.web   = { container_port = 3000 }
services.api   = { container_port = 8000, routes = ["/api"] }
workers.mail   = { handover = "stop-first" }
migrate.expand = "alembic upgrade head"
health         = { path = "/healthz", expect = { json = { "/checks/db" = "ok" } } }
router.domains = ["saltbox.example"]
environments.staging = { host = "deploy@staging.saltbox.example", router.domains = ["staging.saltbox.example"] }
"#), @r#"
    alcedo.toml:4: `runner = "compose"` is not in this version
      4 | runner         = "compose"
        |                  ^^^^^^^^^ this version: `process`, `systemd`
    alcedo.toml:5: `compose` is not in this version
      5 | compose.shared = ["db", "redis"]
        | ^^^^^^^
    alcedo.toml:6: `release.image` is not in this version
      6 | release.image  = "registry.example/saltbox"
        |         ^^^^^ this version: `release.build` and `release.source` make a release
    alcedo.toml:7: `services.web.container_port` is not in this version
      7 | services.web   = { container_port = 3000 }
        |                    ^^^^^^^^^^^^^^ this version: `web.command` starts a server
    alcedo.toml:8: `services.api.container_port` is not in this version
      8 | services.api   = { container_port = 8000, routes = ["/api"] }
        |                    ^^^^^^^^^^^^^^ this version: `web.command` starts a server
    alcedo.toml:9: `workers` is not in this version
      9 | workers.mail   = { handover = "stop-first" }
        | ^^^^^^^
    alcedo.toml:10: `migrate` is not in this version
      10 | migrate.expand = "alembic upgrade head"
         | ^^^^^^^ this version: `release.prepare` runs before the new release starts
    "#);
}

/// Every key of the interface is either known or named as later: none is "unknown".
#[test]
fn whole_interface_is_known_or_named_as_later() {
    let complaints = complaints(include_str!("whole.toml"));
    assert!(!complaints.contains("unknown key"), "{complaints}");
    assert_snapshot!(complaints, @r#"
    alcedo.toml:10: `release.image` is not in this version
      10 | image       = "registry.example/app"  # example, compose: instead of build and source; S…
         | ^^^^^ this version: `release.build` and `release.source` make a release
    alcedo.toml:24: `secrets` is not in this version
      24 | [secrets]
         |  ^^^^^^^ this version: plain values in [env], files in [shared]
    alcedo.toml:27: `web` and `services` are both there
      27 | [web]                                 # one web process; short for [services.web]
         |  ^^^ [web] is short for [services.web]
    alcedo.toml:28: `web.command` stands beside `web.php_fpm`, which is started by itself
      28 | command     = "venv/bin/gunicorn --bind 127.0.0.1:{port} main:app"  # example. Also {soc…
         | ^^^^^^^ one of the two
    alcedo.toml:29: `web.php_fpm` needs a router that speaks FastCGI, and `router.kind` is `embedded`
      29 | php_fpm     = { root = "public", children = 4, version = "8.3" }    # example, instead o…
         | ^^^^^^^ router.kind = "nginx"
    alcedo.toml:30: `web.container_port` is not in this version
      30 | container_port = 8000                 # example, compose; `service = "web"` when the nam…
         | ^^^^^^^^^^^^^^ this version: `web.command` starts a server
    alcedo.toml:32: `web.ports.debug` is not in this version
      32 | ports       = { blue = 9011, green = 9012, debug = 9013 }           # example. Absent: p…
         |                                            ^^^^^
    alcedo.toml:34: `web.limits` needs `runner = "systemd"`
      34 | limits      = { memory = "400MiB", cpu = "150%" }                   # example
         | ^^^^^^ runner = "systemd", and then `alcedo setup`
    alcedo.toml:62: `router.form` says how nginx switches
      62 | form        = "flag"                  # nginx: flag (no reload; names the slot, not the …
         | ^^^^ router.kind = "nginx"
    alcedo.toml:65: `router.listen` has 443, but TLS is not in this version
      65 | listen      = ["80", "443"]           # the host's, shared by its apps (a domain or path…
         |                      ^^^^^ "80"?
    alcedo.toml:66: `router.tls = "acme"` is not in this version
      66 | tls         = "acme"                  # acme | keep (nginx, caddy: certbot or the owner …
         |               ^^^^^^ this version: `off`, `keep`
    alcedo.toml:67: `router.trusted_proxies` has the name `cloudflare`; names are not in this version
      67 | trusted_proxies = ["cloudflare"]      # example. Whose word about client address and sch…
         |                    ^^^^^^^^^^^^ networks like "173.245.48.0/20"
    alcedo.toml:71: `preview` is not in this version
      71 | [preview]                             # the slot without traffic, for you. With no confi…
         |  ^^^^^^^
    alcedo.toml:86: `workers` is not in this version
      86 | [workers.mail]
         |  ^^^^^^^
    alcedo.toml:92: `migrate` is not in this version
      92 | [migrate]
         |  ^^^^^^^ this version: `release.prepare` runs before the new release starts
    alcedo.toml:98: `gates` is not in this version
      98 | [gates]
         |  ^^^^^
    alcedo.toml:103: `hooks` is not in this version
      103 | [hooks]                               # shell; host, release directory, app user. pre_s…
          |  ^^^^^
    alcedo.toml:106: `notify` is not in this version
      106 | [notify]
          |  ^^^^^^
    alcedo.toml:109: `assets` is not in this version
      109 | [assets]                              # pages loaded before the switch still find their…
          |  ^^^^^^
    alcedo.toml:112: `systemd` needs `runner = "systemd"`
      112 | [systemd]
          |  ^^^^^^^ runner = "systemd", and then `alcedo setup`
    alcedo.toml:117: `compose` is not in this version
      117 | [compose]
          |  ^^^^^^^
    alcedo.toml:121: `hosts` is not in this version
      121 | [hosts]                               # example, instead of `host`
          |  ^^^^^ this version: `host` is one machine for everything
    "#);
}
