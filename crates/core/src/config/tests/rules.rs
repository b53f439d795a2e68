//! Golden texts for domains, paths, commands, and for settings that cannot stand beside each other.

use super::{SMALL, complaints, complaints_with, loaded};
use insta::assert_snapshot;

/// S0-3, S1-4: each slot has a port of its own.
#[test]
fn ports_of_one_process_are_nobody_elses() {
    let text = "\
app = \"a\"
router.listen = [\"9005\"]
services.site = { command = \"x\", ports = { blue = 9001, green = 9001 } }
services.api = { command = \"y\", routes = [\"/api\"], ports = { blue = 9002, green = 9005 } }
services.b = { command = \"y\", routes = [\"/b\"], ports = { blue = 9002 } }
";
    assert_snapshot!(complaints(text), @r#"
    alcedo.toml:3: `services.site.ports.green` is 9001, the same as `services.site.ports.blue`
      3 | services.site = { command = "x", ports = { blue = 9001, green = 9001 } }
        |                                                                 ^^^^
        | each process of each slot has its own port
    alcedo.toml:4: `services.api.ports.green` is 9005, the same as `router.listen`
      4 | services.api = { command = "y", routes = ["/api"], ports = { blue = 9002, green = 9005 } }
        |                                                                                   ^^^^
        | each process of each slot has its own port
    alcedo.toml:5: `services.b.ports.blue` is 9002, the same as `services.api.ports.blue`
      5 | services.b = { command = "y", routes = ["/b"], ports = { blue = 9002 } }
        |                                                                 ^^^^
        | each process of each slot has its own port
    "#);
}

#[test]
fn slot_port_equal_to_the_default_listener_is_refused() {
    assert!(complaints_with("web.ports = { blue = 8080, green = 9 }").contains("`router.listen`"));
}

#[test]
fn two_services_without_routes_are_refused() {
    let text = "app = \"a\"\nservices.one.command = \"x\"\nservices.two.command = \"y\"\n";
    assert_snapshot!(complaints(text), @r#"
    alcedo.toml:3: `services.two` has no `routes`, and neither has `services.one`
      3 | services.two.command = "y"
        |          ^^^ exactly one service has none: routes = ["/api"]
    "#);
}

#[test]
fn services_that_all_have_routes_are_refused() {
    let text = "app = \"a\"\nservices.one = { command = \"x\", routes = [\"/x\"] }\n";
    assert_snapshot!(complaints(text), @r#"
    alcedo.toml:2: every service has `routes`: nothing takes the other paths
      2 | services.one = { command = "x", routes = ["/x"] }
        |                                           ^^^^ leave `routes` out of one service
    "#);
}

#[test]
fn route_of_two_services_is_refused() {
    let text = "\
app = \"a\"
services.one.command = \"x\"
services.two = { command = \"y\", routes = [\"/api\", \"/\"] }
services.three = { command = \"z\", routes = [\"/api/\", \"api\"] }
";
    assert_snapshot!(complaints(text), @r#"
    alcedo.toml:3: `services.two.routes` has `/`, which is everything
      3 | services.two = { command = "y", routes = ["/api", "/"] }
        |                                                   ^^^
        | the service without `routes` gets all that no other one takes
    alcedo.toml:4: `services.three.routes` has `/api`, which is taken
      4 | services.three = { command = "z", routes = ["/api/", "api"] }
        |                                             ^^^^^^^ `services.two.routes` has it already
    alcedo.toml:4: `services.three.routes` has `api`, which is not the path of a request
      4 | services.three = { command = "z", routes = ["/api/", "api"] }
        |                                                      ^^^^^ "/api"?
    "#);
}

#[test]
fn web_beside_services_is_refused() {
    assert_snapshot!(complaints_with("services.api = { command = \"y\", routes = [\"/api\"] }"), @r#"
    alcedo.toml:2: `web` and `services` are both there
      2 | web.command = "bin/shop --port {port}"
        | ^^^ [web] is short for [services.web]
    "#);
}

#[test]
fn paths_that_leave_the_release_are_refused() {
    let text = "\
shared = { files = [\"/etc/passwd\", \"../.env\", \"\"], dirs = [\"uploads\", \"./uploads/\", \"uploads/x\"] }
release = { writable = [\"~/tmp\", \".\"], exclude = [\"../x\"] }
web.dir = \"a/../..\"
root = \"srv/shop\"
";
    assert_snapshot!(complaints_with(text), @r#"
    alcedo.toml:3: `shared.files` has `/etc/passwd`, an absolute path
      3 | shared = { files = ["/etc/passwd", "../.env", ""], dirs = ["uploads", "./uploads/", "uplo…
        |                     ^^^^^^^^^^^^^ relative to the release: "etc/passwd"?
    alcedo.toml:3: `shared.files` has `../.env`, which leaves the release
      3 | shared = { files = ["/etc/passwd", "../.env", ""], dirs = ["uploads", "./uploads/", "uplo…
        |                                    ^^^^^^^^^ without `..`
    alcedo.toml:3: `shared.files` has an empty path
      3 | shared = { files = ["/etc/passwd", "../.env", ""], dirs = ["uploads", "./uploads/", "uplo…
        |                                               ^^
    alcedo.toml:3: `shared.dirs` has `uploads`, which is there already
      3 | …red = { files = ["/etc/passwd", "../.env", ""], dirs = ["uploads", "./uploads/", "upload…
        |                                                                     ^^^^^^^^^^^^
        | `shared.dirs` has the other
    alcedo.toml:3: `shared.dirs` has `uploads/x`, which lies in `uploads`
      3 | … = ["/etc/passwd", "../.env", ""], dirs = ["uploads", "./uploads/", "uploads/x"] }
        |                                                                      ^^^^^^^^^^^
        | `shared.dirs` has the other
    alcedo.toml:4: `release.writable` has `~/tmp`, which stays as it is
      4 | release = { writable = ["~/tmp", "."], exclude = ["../x"] }
        |                         ^^^^^^^ relative to the release
    alcedo.toml:4: `release.writable` has the whole release
      4 | release = { writable = ["~/tmp", "."], exclude = ["../x"] }
        |                                  ^^^ name files or directories in it
    alcedo.toml:4: `release.exclude` has `../x`, which leaves the release
      4 | release = { writable = ["~/tmp", "."], exclude = ["../x"] }
        |                                                   ^^^^^^ without `..`
    alcedo.toml:5: `web.dir` has `a/../..`, which leaves the release
      5 | web.dir = "a/../.."
        |           ^^^^^^^^^ without `..`
    alcedo.toml:6: `root` is `srv/shop`, not an absolute path
      6 | root = "srv/shop"
        |        ^^^^^^^^^^ like "/srv/shop"; `~` and `$` stay as they are
    "#);
}

#[test]
fn domains_are_plain_names() {
    let text = "\
[router]
domains = [\"https://shop.example/x\", \"shop.example:80\", \"Shop.example\", \"*.shop.example\", \"203.0.113.7\", \"-a.example\", \"bücher.example\", \"a_b.example\"]
aliases = [\"ok.example\", \"ok.example\"]
";
    assert_snapshot!(complaints_with(text), @r#"
    alcedo.toml:4: `router.domains` has `https://shop.example/x`, which is not a domain
      4 | domains = ["https://shop.example/x", "shop.example:80", "Shop.example", "*.shop.example",…
        |            ^^^^^^^^^^^^^^^^^^^^^^^^ without the scheme: "shop.example"
    alcedo.toml:4: `router.domains` has `shop.example:80`, which is not a domain
      4 | domains = ["https://shop.example/x", "shop.example:80", "Shop.example", "*.shop.example",…
        |                                      ^^^^^^^^^^^^^^^^^
        | the name alone: "shop.example"; ports: `router.listen`
    alcedo.toml:4: `router.domains` has `Shop.example`, which is not a domain
      4 | domains = ["https://shop.example/x", "shop.example:80", "Shop.example", "*.shop.example",…
        |                                                         ^^^^^^^^^^^^^^
        | in lower case: "shop.example"
    alcedo.toml:4: `router.domains` has `*.shop.example`, which is not a domain
      4 | … ["https://shop.example/x", "shop.example:80", "Shop.example", "*.shop.example", "203.0.…
        |                                                                 ^^^^^^^^^^^^^^^^
        | wildcards are not in this version: name each domain
    alcedo.toml:4: `router.domains` has `203.0.113.7`, which is not a domain
      4 | ….example/x", "shop.example:80", "Shop.example", "*.shop.example", "203.0.113.7", "-a.exa…
        |                                                                    ^^^^^^^^^^^^^
        | for an address leave `domains` out and set `router.listen`
    alcedo.toml:4: `router.domains` has `-a.example`, which is not a domain
      4 | …shop.example:80", "Shop.example", "*.shop.example", "203.0.113.7", "-a.example", "bücher…
        |                                                                     ^^^^^^^^^^^^
        | letters, digits, hyphens and dots, like "shop.example"
    alcedo.toml:4: `router.domains` has `bücher.example`, which is not a domain
      4 | …"Shop.example", "*.shop.example", "203.0.113.7", "-a.example", "bücher.example", "a_b.ex…
        |                                                                 ^^^^^^^^^^^^^^^^
        | write it in its ASCII form, xn--…
    alcedo.toml:4: `router.domains` has `a_b.example`, which is not a domain
      4 | … "*.shop.example", "203.0.113.7", "-a.example", "bücher.example", "a_b.example"]
        |                                                                    ^^^^^^^^^^^^^
        | letters, digits, hyphens and dots, like "shop.example"
    alcedo.toml:5: `router.aliases` has `ok.example`, which is there already
      5 | aliases = ["ok.example", "ok.example"]
        |                          ^^^^^^^^^^^^ once is enough
    "#);
}

#[test]
fn aliases_without_a_domain_are_refused() {
    assert_snapshot!(complaints_with("router.aliases = [\"www.shop.example\"]"), @r#"
    alcedo.toml:3: `router.aliases` go to the first domain, but there is none
      3 | router.aliases = ["www.shop.example"]
        |        ^^^^^^^ set `router.domains`
    "#);
}

#[test]
fn listening_addresses_and_networks_are_checked() {
    let text = "\
[router]
listen = [\"443\", \"http\", \"0\", \"127.0.0.1\"]
trusted_proxies = [\"cloudflare\", \"10.0.0.1/8\", \"10.0.0.0/33\", \"::1\"]
";
    assert_snapshot!(complaints_with(text), @r#"
    alcedo.toml:4: `router.listen` has 443, but TLS is not in this version
      4 | listen = ["443", "http", "0", "127.0.0.1"]
        |           ^^^^^ "80"?
    alcedo.toml:4: `router.listen` has `http`, which is no port from 1 to 65535 and no address
      4 | listen = ["443", "http", "0", "127.0.0.1"]
        |                  ^^^^^^ "80", "127.0.0.1:8080" or "[::1]:8080"
    alcedo.toml:4: `router.listen` has `0`, which is no port from 1 to 65535 and no address
      4 | listen = ["443", "http", "0", "127.0.0.1"]
        |                          ^^^ "80", "127.0.0.1:8080" or "[::1]:8080"
    alcedo.toml:4: `router.listen` has `127.0.0.1`, which is no port from 1 to 65535 and no address
      4 | listen = ["443", "http", "0", "127.0.0.1"]
        |                               ^^^^^^^^^^^ "80", "127.0.0.1:8080" or "[::1]:8080"
    alcedo.toml:5: `router.trusted_proxies` has the name `cloudflare`; names are not in this version
      5 | trusted_proxies = ["cloudflare", "10.0.0.1/8", "10.0.0.0/33", "::1"]
        |                    ^^^^^^^^^^^^ networks like "173.245.48.0/20"
    alcedo.toml:5: `router.trusted_proxies` has `10.0.0.1/8`, an address inside a network
      5 | trusted_proxies = ["cloudflare", "10.0.0.1/8", "10.0.0.0/33", "::1"]
        |                                  ^^^^^^^^^^^^ "10.0.0.0/8"?
    alcedo.toml:5: `router.trusted_proxies` has `10.0.0.0/33`, which is not a network
      5 | trusted_proxies = ["cloudflare", "10.0.0.1/8", "10.0.0.0/33", "::1"]
        |                                                ^^^^^^^^^^^^^
        | like "10.0.0.0/8" or "2001:db8::/32"
    "#);
}

#[test]
fn shell_operators_show_the_shell_form() {
    let text = |command: &str| complaints(&format!("app = \"a\"\nweb.command = {command}\n"));
    assert_snapshot!(text("'bin/a --port {port} && echo done'"), @r#"
    alcedo.toml:2: `web.command` has `&`, but no shell runs it
      2 | web.command = 'bin/a --port {port} && echo done'
        |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        | quote it, or ask for a shell: "sh -c 'bin/a --port {port} && echo done'"
    "#);
    assert_snapshot!(text("\"NODE_ENV=production node app.js\""), @r#"
    alcedo.toml:2: `web.command` begins with `NODE_ENV=production`, which only a shell sets
      2 | web.command = "NODE_ENV=production node app.js"
        |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ put it into [env]
    "#);
    assert_snapshot!(text("\"bin/a $(hostname)\""), @r#"
    alcedo.toml:2: `web.command` has `$(`, but no shell runs it
      2 | web.command = "bin/a $(hostname)"
        |               ^^^^^^^^^^^^^^^^^^^
        | quote it, or ask for a shell: "sh -c 'bin/a $(hostname)'"
    "#);
    assert_snapshot!(text("\"bin/a 'open\""), @r#"
    alcedo.toml:2: `web.command` opens a quote with ' and does not close it
      2 | web.command = "bin/a 'open"
        |               ^^^^^^^^^^^^^
    "#);
    assert_snapshot!(text("\"~/bin/a\""), @r#"
    alcedo.toml:2: `web.command` has `~`, but no shell runs it
      2 | web.command = "~/bin/a"
        |               ^^^^^^^^^ quote it, or ask for a shell: "sh -c '~/bin/a'"
    "#);
    assert_snapshot!(text("\"bin/a ${PORT:-80}\""), @r#"
    alcedo.toml:2: `web.command` has `${`, but no shell runs it
      2 | web.command = "bin/a ${PORT:-80}"
        |               ^^^^^^^^^^^^^^^^^^^
        | quote it, or ask for a shell: "sh -c 'bin/a ${PORT:-80}'"
    "#);
    assert_snapshot!(text("\"  \""), @r#"
    alcedo.toml:2: `web.command` names no program
      2 | web.command = "  "
        |               ^^^^ like "bin/app --port {port}"
    "#);
}

#[test]
fn names_that_alcedo_sets_are_refused_in_env() {
    assert_snapshot!(complaints_with("env = { PORT = 80, ALCEDO_SLOT = \"x\", \"A-B\" = \"x\" }"), @r#"
    alcedo.toml:3: `env.PORT` is set by alcedo for each slot
      3 | env = { PORT = 80, ALCEDO_SLOT = "x", "A-B" = "x" }
        |         ^^^^ choose another name
    alcedo.toml:3: `env.ALCEDO_SLOT` is set by alcedo for each slot
      3 | env = { PORT = 80, ALCEDO_SLOT = "x", "A-B" = "x" }
        |                    ^^^^^^^^^^^ choose another name
    alcedo.toml:3: `env.A-B` is not a variable's name
      3 | env = { PORT = 80, ALCEDO_SLOT = "x", "A-B" = "x" }
        |                                       ^^^^^ letters, digits and `_`, no digit first
    "#);
}

#[test]
fn readiness_is_asked_in_one_way() {
    assert_snapshot!(complaints_with("health = { path = \"/\", tcp = true }"), @r#"
    alcedo.toml:3: `health` has `path` and `tcp`
      3 | health = { path = "/", tcp = true }
        | ^^^^^^ one of `path`, `tcp`, `command`
    "#);
    assert_snapshot!(complaints_with("health.interval = \"1s\""), @r#"
    alcedo.toml:3: `health` does not say what is asked
      3 | health.interval = "1s"
        | ^^^^^^ path = "/healthz", or tcp = true
    "#);
    assert_snapshot!(complaints_with("health = { tcp = true, expect = { status = 200 } }"), @r#"
    alcedo.toml:3: `health.expect` is about an answer, but nothing is asked
      3 | health = { tcp = true, expect = { status = 200 } }
        |                        ^^^^^^ it goes with `health.path`
    "#);
    assert_snapshot!(complaints_with("health = { path = \"http://x/up\", release = \"json:release\", expect = { json = { db = 1 } } }"), @r#"
    alcedo.toml:3: `health.path` has `http://x/up`, which is not the path of a request
      3 | health = { path = "http://x/up", release = "json:release", expect = { json = { db = 1 } }…
        |                   ^^^^^^^^^^^^^ without the host: "/up"
    alcedo.toml:3: `health.release` does not begin its JSON pointer with `/`
      3 | health = { path = "http://x/up", release = "json:release", expect = { json = { db = 1 } }…
        |                                            ^^^^^^^^^^^^^^ "json:/release"?
    alcedo.toml:3: `health.expect.json.db` is not a JSON pointer
      3 | …alth = { path = "http://x/up", release = "json:release", expect = { json = { db = 1 } } }
        |                                                                               ^^ "/db"?
    "#);
}

#[test]
fn readiness_times_fit_into_the_deadline() {
    assert_snapshot!(complaints_with("health = { path = \"/\", interval = \"2m\" }"), @r#"
    alcedo.toml:3: `health.interval` is longer than `deadline`: it would be asked once
      3 | health = { path = "/", interval = "2m" }
        |                                   ^^^^ a longer `deadline`, or less of the other
    "#);
    assert_snapshot!(complaints_with("health = { path = \"/\", deadline = \"100ms\" }"), @r#"
    alcedo.toml:3: `health.deadline` is shorter than `interval` needs
      3 | health = { path = "/", deadline = "100ms" }
        |                                   ^^^^^^^ a longer `deadline`, or less of the other
    "#);
    assert_snapshot!(complaints_with("health = { path = \"/\", interval = \"10s\", healthy_after = 9 }"), @r#"
    alcedo.toml:3: `health.healthy_after` times `interval` is longer than `deadline`
      3 | health = { path = "/", interval = "10s", healthy_after = 9 }
        |                                                          ^
        | a longer `deadline`, or less of the other
    "#);
    assert_snapshot!(complaints_with("health = { path = \"/\", interval = \"0s\" }"), @r#"
    alcedo.toml:3: `health.interval` is "0s", which leaves no time at all
      3 | health = { path = "/", interval = "0s" }
        |                                   ^^^^ more than zero
    "#);
}

#[test]
fn smoke_and_warmup_say_what_to_ask() {
    assert_snapshot!(complaints_with("smoke = [{ path = \"/\", command = \"x\" }, { command = \"x\", expect = { status = 200 } }]"), @r#"
    alcedo.toml:3: `smoke` has `path` and `command`
      3 | smoke = [{ path = "/", command = "x" }, { command = "x", expect = { status = 200 } }]
        |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ two entries, each with one
    alcedo.toml:3: `smoke.expect` says what `path` answers, but there is none
      3 | smoke = [{ path = "/", command = "x" }, { command = "x", expect = { status = 200 } }]
        |                                                          ^^^^^^ a command: exit status 0
    "#);
    assert_snapshot!(complaints_with("smoke = [{}]\nwarmup.requests = 3"), @r#"
    alcedo.toml:3: `smoke` has an entry without `path` and `command`
      3 | smoke = [{}]
        |          ^^ path = "/v"
    alcedo.toml:4: `warmup` has no `paths`
      4 | warmup.requests = 3
        | ^^^^^^ paths = ["/"]
    "#);
}

#[test]
fn limits_of_a_bake_without_time_are_refused() {
    assert_snapshot!(complaints_with("bake = { time = \"0s\", max_error_rate = 0.1 }"), @r#"
    alcedo.toml:3: `bake.max_error_rate` limits nothing: `bake.time` is "0s"
      3 | bake = { time = "0s", max_error_rate = 0.1 }
        |                       ^^^^^^^^^^^^^^ give `bake.time`, or leave it out
    "#);
}

#[test]
fn signals_are_graceful_ones() {
    assert_snapshot!(complaints_with("web.stop.signal = \"kill\""), @r#"
    alcedo.toml:3: `web.stop.signal` is `kill`, not a signal to end with
      3 | web.stop.signal = "kill"
        |                   ^^^^^^ SIGKILL follows after `stop.timeout` anyway
    "#);
    assert_snapshot!(complaints_with("web.stop.signal = \"term\""), @r#"
    alcedo.toml:3: `web.stop.signal` is `term`, not a signal to end with
      3 | web.stop.signal = "term"
        |                   ^^^^^^ "SIGTERM"?
    "#);
}

#[test]
fn what_only_units_can_do_is_refused_where_there_are_none() {
    let text =
        |lines: &str| format!("app = \"a\"\nweb.command = \"bin/a\"\nhealth.path = \"/\"\n{lines}");
    let file = |lines: &str| complaints(&text(lines));
    let refused = file("web.limits.memory = \"1GiB\"\n");
    assert!(refused.contains("`web.limits` needs `runner = \"systemd\"`"), "{refused}");
    let refused = file("systemd.hardening = \"strict\"\n");
    assert!(refused.contains("`systemd` needs `runner = \"systemd\"`"), "{refused}");
    let units = "runner = \"systemd\"\nweb.limits = { memory = \"1GiB\", cpu = \"150%\" }\n";
    let good = text(&format!("{units}systemd = {{ user = \"shop\", watchdog = \"30s\" }}\n"));
    let input = crate::config::Input { text: &good, file: "alcedo.toml", environment: None };
    let config = crate::config::load(input).unwrap().config;
    assert_eq!(config.runner, crate::config::Runner::Systemd);
    let limits = config.services.values().next().unwrap().limits;
    assert_eq!((limits.memory_bytes, limits.cpu_percent), (Some(1 << 30), Some(150)));
    for (line, wanted) in [
        ("web.limits.cpu = \"1.5\"", "is `1.5`, not a share"),
        ("systemd.user = \"root\"", "which an app must not be"),
        ("systemd.watchdog = \"0s\"", "which nobody can keep"),
        ("systemd.hardening = \"high\"", "hardening"),
    ] {
        let refused = file(&format!("runner = \"systemd\"\n{line}\n"));
        assert!(refused.contains(wanted), "{line}: {refused}");
    }
}

#[test]
fn what_is_nginx_s_is_refused_without_it_and_tls_needs_both_files() {
    let text = "\
[router]
form = \"include\"
tls = \"keep\"
";
    assert!(complaints_with(text).contains("`router.form` says how nginx switches"));
    assert!(complaints_with(text).contains("`router.tls` is nginx's"));
    let nginx = |more: &str| complaints_with(&format!("[router]\nkind = \"nginx\"\n{more}\n"));
    let good = "[router]\nkind = \"nginx\"\nlisten = [\"80\", \"443\"]\ntls = { cert = \"/a\", key = \"/b\" }\n";
    loaded(&format!("{SMALL}{good}"));
    assert!(nginx("listen = [\"443\"]\ntls = \"off\"").contains("`router.tls` is \"off\""));
    assert!(nginx("tls = { cert = \"/a\" }").contains("only one of `cert` and `key`"));
    assert!(nginx("tls = { cert = \"/a;b\", key = \"/b\" }").contains("mean something to nginx"));
    assert!(nginx("tls = { certificate = \"/a\" }").contains("certificate"));
    assert!(nginx("form = \"reload\"").contains("does not know"));
    assert!(nginx("tls = \"acme\"").contains("is not in this version"));
}
