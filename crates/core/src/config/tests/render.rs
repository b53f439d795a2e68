//! What `config` shows.

use super::{SMALL, input, loaded};
use crate::config::{Input, load, render, to_json};
use insta::assert_snapshot;
use serde_json::json;

#[test]
fn every_value_is_shown_with_its_origin() {
    assert_snapshot!(render(&loaded(SMALL)), @r#"
    # shop in production
    app = "shop"                                            # alcedo.toml:1
    # host: this machine                                    # default
    runner = "process"                                      # default
    # root: the host's own directory for this app           # default
    accept = []                                             # default
    smoke = []                                              # default
    # warmup: none                                          # default

    [release]
    # build: nothing                                        # default
    source = "."                                            # default
    exclude = []                                            # default
    # prepare: nothing                                      # default
    writable = []                                           # default
    keep = 5                                                # default

    [shared]
    files = []                                              # default
    dirs = []                                               # default

    [web]
    command = "bin/shop --port {port}"                      # alcedo.toml:2
    dir = "."                                               # default
    # ports: picked once from 20000-29999 and kept          # default
    stop.signal = "SIGTERM"                                 # default
    stop.timeout = "20s"                                    # default
    no_room = "refuse"                                      # default
    routes = []                                             # default
    domains = []                                            # default

    [health]
    # path: nothing is asked: a port that listens is ready  # default

    [router]
    kind = "embedded"                                       # default
    domains = []                                            # default
    # aliases: none                                         # default
    listen = ["127.0.0.1:8080"]                             # default
    tls = "off"                                             # default
    trusted_proxies = []                                    # default
    max_body = "100MiB"                                     # default
    timeout = "1m"                                          # default

    [drain]
    requests = "30s"                                        # default
    websockets = "10m"                                      # default

    [bake]
    time = "10m"                                            # default
    auto_rollback = true                                    # default
    keep_warm = "30m"                                       # default
    on_inconclusive = "accept"                              # default
    # max_error_rate: no fixed limit                        # default
    # max_failed_requests: no fixed limit                   # default
    "#);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one whole file beside its golden text")]
fn layers_and_presets_are_named_as_origins() {
    let text = "\
app = \"shop\"
router.domains = [\"shop.example\"]
[services.web]
command = \"node 'my app.js' {port}\"
[services.api]
command = \"uwsgi --http-socket {socket}\"
routes = [\"/api\"]
health.tcp = true
[health]
path = \"/up\"
expect = { status = 200, json = { \"/db\" = \"ok\" } }
[[smoke]]
path = \"/v\"
[environments.staging.env]
DEBUG = true
[environments.staging.router]
domains = [\"staging.shop.example\"]
";
    let staging = Input { environment: Some("staging"), ..input(text) };
    let staging = load(staging).expect("it is right");
    assert_snapshot!(render(&staging), @r#"
    # shop in staging
    app = "shop"                                        # alcedo.toml:1
    # host: this machine                                # default
    runner = "process"                                  # default
    # root: the host's own directory for this app       # default
    accept = []                                         # default
    smoke = [{ path = "/v" }]                           # alcedo.toml:12
    # warmup: none                                      # default

    [release]
    # build: nothing                                    # default
    source = "."                                        # default
    exclude = []                                        # default
    # prepare: nothing                                  # default
    writable = []                                       # default
    keep = 5                                            # default

    [shared]
    files = []                                          # default
    dirs = []                                           # default

    [env]
    DEBUG = "true"                                      # environments.staging at alcedo.toml:15

    [services.api]
    command = "uwsgi --http-socket {socket}"            # alcedo.toml:6
    dir = "."                                           # default
    # ports: picked once from 20000-29999 and kept      # default
    stop.signal = "SIGQUIT"                             # preset: uwsgi
    stop.timeout = "20s"                                # default
    no_room = "refuse"                                  # default
    routes = ["/api"]                                   # alcedo.toml:7
    domains = []                                        # default

    [services.api.health]
    tcp = true                                          # alcedo.toml:8
    interval = "200ms"                                  # default
    timeout = "1s"                                      # default
    healthy_after = 2                                   # default
    deadline = "1m"                                     # default

    [services.web]
    command = "node \"my app.js\" {port}"               # alcedo.toml:4
    dir = "."                                           # default
    # ports: picked once from 20000-29999 and kept      # default
    stop.signal = "SIGTERM"                             # preset: node
    stop.timeout = "20s"                                # default
    no_room = "refuse"                                  # default
    routes = []                                         # default
    domains = []                                        # default

    [services.web.health]
    path = "/up"                                        # alcedo.toml:10
    # host: the first domain                            # default
    interval = "200ms"                                  # default
    timeout = "1s"                                      # default
    healthy_after = 2                                   # default
    deadline = "1m"                                     # default
    # release: proved by the process                    # default
    expect = { json = { "/db" = "ok" }, status = 200 }  # alcedo.toml:11

    [router]
    kind = "embedded"                                   # default
    domains = ["staging.shop.example"]                  # environments.staging at alcedo.toml:17
    # aliases: none                                     # default
    listen = ["80"]                                     # default
    tls = "off"                                         # default
    trusted_proxies = []                                # default
    max_body = "100MiB"                                 # default
    timeout = "1m"                                      # default

    [drain]
    requests = "30s"                                    # default
    websockets = "10m"                                  # default

    [bake]
    time = "10m"                                        # default
    auto_rollback = true                                # default
    keep_warm = "30m"                                   # default
    on_inconclusive = "accept"                          # default
    # max_error_rate: no fixed limit                    # default
    # max_failed_requests: no fixed limit               # default
    "#);
}

#[test]
fn json_form_has_file_and_line() {
    let json = to_json(&loaded(SMALL));
    assert_eq!(json["app"], "shop");
    let values = json["values"].as_array().expect("a list");
    let value = |key: &str| values.iter().find(|v| v["key"] == key).expect("the key is there");
    assert_eq!(
        value("web.command"),
        &json!({
            "key": "web.command", "value": "bin/shop --port {port}", "origin": "alcedo.toml:2",
            "file": "alcedo.toml", "line": 2,
        })
    );
    assert_eq!(value("release.keep")["origin"], "default");
    assert_eq!(value("release.build")["value"], json!(null));
}
