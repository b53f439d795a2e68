//! Laws: no text is too strange to be answered, and what is shown loads again as the same.

use super::input;
use crate::config::{Config, Input, Loaded, command, diff, load, render, schema, to_json};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};

const WHOLE: &str = include_str!("whole.toml");

/// Pieces that a file can have, each alone legal and most of them together too.
fn file() -> impl Strategy<Value = String> {
    let line = |lines: &'static [&'static str]| select(lines);
    let text = proptest::string::string_regex("[ -~äß\\n\\t\"'\\\\$]{0,12}").expect("a pattern");
    let name = proptest::string::string_regex("[A-Z_][A-Z0-9_]{0,6}").expect("a pattern");
    (
        line(&["", "root = \"/srv/x y\"", "accept = [\"a.b\", \"c.d\"]"]),
        line(&["", "release = { build = \"make && x \\\"q\\\"\", keep = 9, writable = [\"tmp\"] }",
            "release = { prepare = \"a\\nb\", exclude = [\"x\", \"y/*\"], source = \"dist/a\" }"]),
        line(&[
            "web.command = \"node app\"",
            "web = { command = \"uwsgi --x '$A' $PATH \\\"b c\\\" {port}\", ports = { blue = 1, green = 2 } }",
            "web = { command = \"sh -c 'exec a > b'\", stop = { signal = \"SIGHUP\", timeout = \"0s\" }, dir = \"a/b\" }",
            "services = { a = { command = \"x\" }, b = { command = \"y\", routes = [\"/b\", \"/c\"], health.tcp = true } }",
            "services = { web = { command = \"x\", domains = [\"q.example\"] }, b = { command = \"y\" } }",
        ]),
        line(&["", "health.path = \"/up?x=1\"", "health.command = \"test -e x\"",
            "health = { path = \"/\", release = \"json:/a/b\", expect = { status = 204, json = { \"/a\" = 1, \"\" = [1.5, \"x\", { k = true }] } } }",
            "health = { tcp = true, interval = \"90s\", deadline = \"1h\", healthy_after = 1 }"]),
        line(&["", "router = { domains = [\"a.example\"], aliases = [\"b.example\"] }",
            "router = { listen = [\"80\", \"[::1]:81\"], max_body = \"1000B\", timeout = \"1500ms\", trusted_proxies = [\"10.0.0.0/8\"] }"]),
        line(&["", "bake = { time = \"1d\", keep_warm = \"forever\", on_inconclusive = \"extend\" }",
            "bake = { max_error_rate = 0.001, max_failed_requests = 0, auto_rollback = false }",
            "drain = { requests = \"0s\", websockets = \"24h\" }"]),
        line(&["", "warmup.paths = [\"/\"]", "smoke = [{ path = \"/v\" }, { command = \"x {url}\" }]",
            "smoke = [{ path = \"/v\", expect = { json = { \"/n\" = -1 } } }]"]),
        btree_map(name, text, 0..4),
    )
        .prop_map(|(a, b, c, d, e, f, g, env)| {
            let env: String = env
                .iter()
                .filter(|(name, _)| *name != "PORT" && !name.starts_with("ALCEDO_"))
                .map(|(name, value)| format!("env.{name} = {}\n", crate::config::toml_text::string(value)))
                .collect();
            format!("app = \"shop\"\n{a}\n{b}\n{c}\n{d}\n{e}\n{f}\n{g}\n{env}")
        })
}

/// A configuration without what says where its values come from.
fn bare(mut config: Config) -> Config {
    config.services.values_mut().for_each(|service| service.stop.signal_origin.clear());
    config
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_shown_loads_again_as_the_same(text in file()) {
        let first = load(input(&text)).map_err(|e| TestCaseError::fail(format!("{text}\n{e}")))?;
        let shown = render(&first);
        let second = load(input(&shown)).map_err(|e| TestCaseError::fail(format!("{shown}\n{e}")))?;
        prop_assert_eq!(diff(&first.config, &second.config), vec![]);
        prop_assert_eq!(bare(first.config), bare(second.config));
    }

    #[test]
    fn configuration_survives_the_journal(text in file()) {
        let Loaded { config, .. } = load(input(&text)).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let json = serde_json::to_string(&config).expect("it is plain data");
        prop_assert_eq!(serde_json::from_str::<Config>(&json).expect("it was just written"), config);
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        answer(&text, None);
    }

    #[test]
    fn any_bytes_of_toml_are_answered(parts in vec(select(vec![
        "app", "=", "\"", "'", "[", "]", "{", "}", ".", ",", "\n", "web", "command", "health", "path", "services",
        "environments", "x", "1", "0x7f", "-", "1e9", "true", "1979-05-27", "#", "\\", "\u{0}", "ü", "\"\"\"", "[[smoke]]",
        "env", "ports", "\r\n", "\t", " ", "nan", "$", "{port}", "router", "listen", "\"80\"",
    ]), 0..60)) {
        answer(&parts.concat(), Some("x"));
    }

    #[test]
    fn mutated_files_are_answered(text in file(), cuts in vec((any::<Index>(), any::<char>()), 1..6)) {
        answer(&mutated(&text, &cuts), None);
    }

    #[test]
    fn mutated_interface_is_answered(cuts in vec((any::<Index>(), any::<char>()), 1..12)) {
        answer(&mutated(WHOLE, &cuts), Some("staging"));
    }

    #[test]
    fn words_come_back_from_their_command_line(text in "[ -~ä\\n\\t]{1,40}") {
        if let Ok(words) = command::split(&text) {
            let line = command::join(&words);
            prop_assert_eq!(command::split(&line).map_err(|e| TestCaseError::fail(format!("{line}: {e:?}")))?, words);
        }
    }
}

/// Either a configuration or complaints with places inside the text; never a panic.
fn answer(text: &str, environment: Option<&str>) {
    match load(Input { environment, ..input(text) }) {
        Ok(loaded) => drop((render(&loaded), to_json(&loaded))),
        Err(errors) => {
            assert!(
                !errors.errors.is_empty() && !errors.to_string().contains("cannot be read"),
                "{errors}"
            );
            let lines = text.split('\n').count();
            let places = errors.errors.iter().filter_map(|error| error.place.as_ref());
            places.for_each(|place| assert!(place.line <= lines && place.width > 0, "{place:?}"));
        }
    }
}

fn mutated(text: &str, cuts: &[(Index, char)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, c) in cuts {
        let at = at.index(chars.len());
        match c.is_alphanumeric() {
            true => chars[at] = *c,
            false => chars.swap(at, 0),
        }
    }
    chars.into_iter().collect()
}

#[test]
fn deep_and_wide_files_are_answered() {
    answer(&format!("a{} = 1", ".a".repeat(100_000)), None);
    answer(&format!("a = {}", "[".repeat(100_000)), None);
    answer(&"[a]\n".repeat(100_000), None);
    answer(&"= \n".repeat(100_000), None);
    let services: String =
        (0..20_000).map(|n| format!("services.s{n}.command = \"x\"\n")).collect();
    answer(&services, None);
    let environments: String = (0..20_000).map(|n| format!("[environments.e{n}]\n")).collect();
    answer(&environments, None);
    answer(&format!("shared.dirs = [{}]", "\"a\",".repeat(100_000)), None);
    assert!(schema().is_object());
}
