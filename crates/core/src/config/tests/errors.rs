//! One golden text for each kind of error that a setting has alone, and for the file as a whole.

use super::{complaints, complaints_with, config};
use crate::config::{Input, load};
use insta::assert_snapshot;

#[test]
fn unknown_key_names_the_nearest_known_one() {
    let text =
        "app = \"shop\"\nweb.command = \"x\"\n\n\n\nrelease.prepar = \"php artisan optimize\"\n";
    assert_snapshot!(complaints(text), @r#"
    alcedo.toml:6: unknown key `release.prepar`
      6 | release.prepar = "php artisan optimize"
        |         ^^^^^^ nearest known key: `prepare`
    "#);
}

#[test]
fn unknown_key_names_the_table_where_it_is_known() {
    assert_snapshot!(complaints("app = \"a\"\ncommand = \"bin/a\"\nflavour = 3\n"), @r#"
    alcedo.toml:2: unknown key `command`
      2 | command = "bin/a"
        | ^^^^^^^ known as `web.command`
    alcedo.toml:3: unknown key `flavour`
      3 | flavour = 3
        | ^^^^^^^
        | known: accept, app, bake, drain, env, environments, health, host, release, root, router,
        | runner, services, shared, smoke, systemd, warmup, web
    "#);
}

#[test]
fn unknown_key_inside_an_inline_table_is_underlined() {
    assert_snapshot!(complaints_with("router = { domain = [\"a.example\"], max_bodi = \"1MiB\" }"), @r#"
    alcedo.toml:3: unknown key `router.domain`
      3 | router = { domain = ["a.example"], max_bodi = "1MiB" }
        |            ^^^^^^ nearest known key: `domains`
    alcedo.toml:3: unknown key `router.max_bodi`
      3 | router = { domain = ["a.example"], max_bodi = "1MiB" }
        |                                    ^^^^^^^^ nearest known key: `max_body`
    "#);
}

#[test]
fn all_errors_come_in_one_go_in_the_order_of_the_file() {
    let text = "\
app = \"Shop\"
web.command = \"bin/shop | tee log\"
web.ports = { blue = 9001, green = 9001 }
health = { path = \"healthz\", interval = 5 }
bake.time = \"10\"
releas.keep = 3
";
    assert_snapshot!(complaints(text), @r#"
    alcedo.toml:1: `app` is `Shop`, which is not a name
      1 | app = "Shop"
        |       ^^^^^^ "shop"? Lower-case letters, digits, hyphens
    alcedo.toml:2: `web.command` has `|`, but no shell runs it
      2 | web.command = "bin/shop | tee log"
        |               ^^^^^^^^^^^^^^^^^^^^
        | quote it, or ask for a shell: "sh -c 'bin/shop | tee log'"
    alcedo.toml:3: `web.ports.green` is 9001, the same as `web.ports.blue`
      3 | web.ports = { blue = 9001, green = 9001 }
        |                                    ^^^^ each process of each slot has its own port
    alcedo.toml:4: `health.path` has `healthz`, which is not the path of a request
      4 | health = { path = "healthz", interval = 5 }
        |                   ^^^^^^^^^ "/healthz"?
    alcedo.toml:4: `health.interval` is a whole number, not a duration like "30s"
      4 | health = { path = "healthz", interval = 5 }
        |                                         ^ "5s"?
    alcedo.toml:5: `bake.time` has no unit
      5 | bake.time = "10"
        |             ^^^^ "10s"?
    alcedo.toml:6: unknown key `releas`
      6 | releas.keep = 3
        | ^^^^^^ nearest known key: `release`
    "#);
}

#[test]
fn wrong_types_say_what_was_meant() {
    let text = "\
release.keep = \"5\"
release.prepare = [\"a\", \"b\"]
shared.files = \".env\"
health.path = true
health.interval = 5
bake.auto_rollback = \"true\"
drain = 3
env.RATE = 0.5
env.DAY = 1979-05-27
env.NESTED = { a = 1 }
smoke = { path = \"/\" }
";
    assert_snapshot!(complaints_with(text), @r#"
    alcedo.toml:3: `release.keep` is text, not a whole number
      3 | release.keep = "5"
        |                ^^^ without quotes: 5
    alcedo.toml:4: `release.prepare` is a list, not a shell command
      4 | release.prepare = ["a", "b"]
        |                   ^^^^^^^^^^
    alcedo.toml:5: `shared.files` is text, not a list
      5 | shared.files = ".env"
        |                ^^^^^^ in brackets: [".env"]
    alcedo.toml:6: `health.path` is true or false, not a path like "/healthz"
      6 | health.path = true
        |               ^^^^
    alcedo.toml:7: `health.interval` is a whole number, not a duration like "30s"
      7 | health.interval = 5
        |                   ^ "5s"?
    alcedo.toml:8: `bake.auto_rollback` is text, not true or false
      8 | bake.auto_rollback = "true"
        |                      ^^^^^^ without quotes: true
    alcedo.toml:9: `drain` is a whole number, not a table
      9 | drain = 3
        |         ^
    alcedo.toml:10: `env.RATE` is a number with a fraction, not text, a whole number, true or false
      10 | env.RATE = 0.5
         |            ^^^ in quotes
    alcedo.toml:11: `env.DAY` is a date, not text, a whole number, true or false
      11 | env.DAY = 1979-05-27
         |           ^^^^^^^^^^ in quotes
    alcedo.toml:12: `env.NESTED` is a table, not text, a whole number, true or false
      12 | env.NESTED = { a = 1 }
         |              ^^^^^^^^^
    alcedo.toml:13: `smoke` is a table, not a list
      13 | smoke = { path = "/" }
         |         ^^^^^^^^^^^^^^ in brackets: [{ … }]
    "#);
}

#[test]
fn impossible_numbers_say_their_bounds() {
    let text = "\
release.keep = 1
health = { path = \"/\", healthy_after = 0 }
web.ports = { blue = 0, green = 70000 }
warmup = { paths = [\"/\"], requests = 0 }
bake.max_error_rate = 5
bake.max_failed_requests = -1
smoke = [{ path = \"/\", expect = { status = 99 } }]
";
    assert_snapshot!(complaints_with(text), @r#"
    alcedo.toml:3: `release.keep` is 1, which is not possible
      3 | release.keep = 1
        |                ^ 2 to 1000
    alcedo.toml:4: `health.healthy_after` is 0, which is not possible
      4 | health = { path = "/", healthy_after = 0 }
        |                                        ^ 1 to 1000
    alcedo.toml:5: `web.ports.blue` is 0, which is not possible
      5 | web.ports = { blue = 0, green = 70000 }
        |                      ^ 1 to 65535
    alcedo.toml:5: `web.ports.green` is 70000, which is not possible
      5 | web.ports = { blue = 0, green = 70000 }
        |                                 ^^^^^ 1 to 65535
    alcedo.toml:6: `warmup.requests` is 0, which is not possible
      6 | warmup = { paths = ["/"], requests = 0 }
        |                                      ^ 1 to 1000000
    alcedo.toml:7: `bake.max_error_rate` is 5, which is not possible
      7 | bake.max_error_rate = 5
        |                       ^ 0 to 1, so 5 % is 0.05
    alcedo.toml:8: `bake.max_failed_requests` is -1, which is not possible
      8 | bake.max_failed_requests = -1
        |                            ^^ 0 or more
    alcedo.toml:9: `smoke.expect.status` is 99, which is not possible
      9 | smoke = [{ path = "/", expect = { status = 99 } }]
        |                                            ^^ 200 to 599
    "#);
}

#[test]
fn durations_want_a_unit() {
    let text = "\
health = { path = \"/\", interval = \"5\", timeout = \"soon\", deadline = \"2 minutes\" }
drain.requests = \"forever\"
drain.websockets = \"-3s\"
bake.time = \"10y\"
bake.keep_warm = \"99999999999999999999s\"
router.timeout = \"400d\"
";
    assert_snapshot!(complaints_with(text), @r#"
    alcedo.toml:3: `health.interval` has no unit
      3 | health = { path = "/", interval = "5", timeout = "soon", deadline = "2 minutes" }
        |                                   ^^^ "5s"?
    alcedo.toml:3: `health.timeout` is `soon`, not a number with its unit
      3 | health = { path = "/", interval = "5", timeout = "soon", deadline = "2 minutes" }
        |                                                  ^^^^^^ for example "30s"
    alcedo.toml:3: `health.deadline` has ` minutes` as unit
      3 | health = { path = "/", interval = "5", timeout = "soon", deadline = "2 minutes" }
        |                                                                     ^^^^^^^^^^^ "2m"?
    alcedo.toml:4: `drain.requests` cannot be "forever"
      4 | drain.requests = "forever"
        |                  ^^^^^^^^^ only `bake.keep_warm` can
    alcedo.toml:5: `drain.websockets` is `-3s`, not a number with its unit
      5 | drain.websockets = "-3s"
        |                    ^^^^^ for example "30s"
    alcedo.toml:6: `bake.time` has `y` as unit
      6 | bake.time = "10y"
        |             ^^^^^ units are ms, s, m, h or d
    alcedo.toml:7: `bake.keep_warm` is a number too large to be meant
      7 | bake.keep_warm = "99999999999999999999s"
        |                  ^^^^^^^^^^^^^^^^^^^^^^^
    alcedo.toml:8: `router.timeout` is longer than 366 days
      8 | router.timeout = "400d"
        |                  ^^^^^^
    "#);
}

#[test]
fn sizes_want_a_unit() {
    for size in ["256", "256MB", "0MiB", "lots"] {
        assert!(complaints_with(&format!("router.max_body = {size:?}")).contains("max_body"));
    }
    assert_snapshot!(complaints_with("router.max_body = \"256mb\""), @r#"
    alcedo.toml:3: `router.max_body` has `mb` as unit
      3 | router.max_body = "256mb"
        |                   ^^^^^^^ "256MiB"?
    "#);
}

#[test]
fn file_without_app_or_command_says_what_to_add() {
    assert_snapshot!(complaints(""), @r#"
    alcedo.toml: `app` is missing
      add the app's name: app = "shop"
    alcedo.toml: nothing says how the app is started
      add [web] with its command: web.command = "bin/app --port {port}"
    "#);
    assert_snapshot!(complaints("app = \"a\"\nweb.dir = \".\"\n"), @r#"
    alcedo.toml:2: `web` has no `command`
      2 | web.dir = "."
        | ^^^ command = "bin/app --port {port}"
    "#);
}

#[test]
fn text_that_is_no_toml_is_shown_where_it_breaks() {
    assert_snapshot!(complaints("app = \"shop\"\nweb.command = bin/shop\n[health\npath = \"/\"\n"), @r#"
    alcedo.toml:2: not TOML: string values must be quoted
      2 | web.command = bin/shop
        |               ^^^^^^^^ expected literal string
    alcedo.toml:3: not TOML: unclosed table
      3 | [health
        |        ^ expected `]`
    "#);
    assert_snapshot!(complaints("app = \"shop\"\napp = \"shop2\"\n"), @r#"
    alcedo.toml:2: key `app` is there twice
      2 | app = "shop2"
        | ^^^
    "#);
    assert_snapshot!(complaints("web.command = \"x\"\n[web]\ndir = \".\"\n"), @r#"
    alcedo.toml:2: key `web` is there twice
      2 | [web]
        |  ^^^
    "#);
    assert_snapshot!(complaints("app = \"shop\n"), @r#"
    alcedo.toml:1: not TOML: invalid basic string
      1 | app = "shop
        |            ^ expected `"`
    "#);
}

#[test]
fn unknown_environment_names_the_known_ones() {
    let text = "app = \"a\"\nweb.command = \"x\"\n[environments.staging]\n[environments.qa]\n";
    let input = Input { text, file: "alcedo.toml", environment: Some("stagin") };
    assert_snapshot!(load(input).expect_err("there is none"), @r#"
    alcedo.toml: no environment `stagin`
      nearest: `staging`; known: `production`, `qa`, `staging`
    "#);
}

#[test]
fn errors_in_other_environments_are_found_as_well() {
    let text = "\
[environments.staging]
bake.time = \"1x\"
host = \"-oProxyCommand=sh\"
web.ports = { blue = 7, green = 7 }
[environments.staging.release]
kep = 3
[environments.production]
[environments.\"Über\"]
env.A = \"b\"
";
    assert_snapshot!(complaints_with(text), @r#"
    alcedo.toml:4: `environments.staging.bake.time` has `x` as unit
      4 | bake.time = "1x"
        |             ^^^^ units are ms, s, m, h or d
    alcedo.toml:5: `environments.staging.host` is `-oProxyCommand=sh`: the host is no name of letters, digits, `.`, `_`, `-`, and no address
      5 | host = "-oProxyCommand=sh"
        |        ^^^^^^^^^^^^^^^^^^^
        | `deploy@vps.example`, `deploy@203.0.113.7:2222`, `local`, or `exec:PROGRAM ARGUMENTS`
    alcedo.toml:6: `environments.staging.web.ports.green` is 7, the same as `environments.staging.web.ports.blue`
      6 | web.ports = { blue = 7, green = 7 }
        |                                 ^ each process of each slot has its own port
    alcedo.toml:8: unknown key `environments.staging.release.kep`
      8 | kep = 3
        | ^^^ nearest known key: `keep`
    alcedo.toml:9: `environments.production` is the file itself
      9 | [environments.production]
        |               ^^^^^^^^^^ move its keys to the top
    alcedo.toml:11: `environments.Über` makes the name `shop-Über`, which is none
      11 | env.A = "b"
         | ^^^ together at most 40 lower-case letters, digits and hyphens
    "#);
}

#[test]
fn long_lines_and_control_characters_are_cut() {
    let long = format!(
        "release.exclude = [{}\"../x\", {}]",
        "\"aaaaaaaa\", ".repeat(20),
        "\"b\", ".repeat(20)
    );
    assert_snapshot!(complaints_with(&long), @r#"
    alcedo.toml:3: `release.exclude` has `../x`, which leaves the release
      3 | … "aaaaaaaa", "aaaaaaaa", "aaaaaaaa", "aaaaaaaa", "aaaaaaaa", "aaaaaaaa", "../x", "b", "b…
        |                                                                           ^^^^^^
        | without `..`
    "#);
    assert!(!complaints("app = \"a\\u001b[31m\"").contains('\u{1b}'));
}

#[test]
fn number_too_large_is_refused_once() {
    assert_snapshot!(complaints_with("release.keep = 99999999999999999999\nbake.max_error_rate = nan"), @r#"
    alcedo.toml:3: `release.keep` is too large to be meant
      3 | release.keep = 99999999999999999999
        |                ^^^^^^^^^^^^^^^^^^^^
    alcedo.toml:4: `bake.max_error_rate` is not a finite number
      4 | bake.max_error_rate = nan
        |                       ^^^
    "#);
}

#[test]
fn many_errors_are_counted() {
    let text: String = (0..80).map(|n| format!("k{n} = 1\n")).collect();
    assert!(complaints(&text).ends_with("and 30 more"));
}

#[test]
fn too_long_file_is_not_read() {
    assert!(complaints(&"#".repeat(2 << 20)).contains("1048576 are the limit"));
}

#[test]
fn error_carries_file_line_column_and_width() {
    let errors = load(Input { text: "app = 3", file: "a/alcedo.toml", environment: None });
    let errors = errors.expect_err("a number is no name").errors;
    let place = errors[0].place.clone().expect("it has a place");
    assert_eq!(
        (errors[0].file.as_str(), place.line, place.column, place.width),
        ("a/alcedo.toml", 1, 7, 1)
    );
}

#[test]
fn smallest_file_is_right() {
    assert_eq!(config(super::SMALL).app.as_str(), "shop");
}
