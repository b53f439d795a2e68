//! What goes back with a release, and what is different.

use super::{SMALL, config};
use crate::config::{ReleasePart, diff};
use insta::assert_snapshot;

const OLD: &str = "\
app = \"shop\"
web.command = \"bin/shop --port {port}\"
env = { A = \"1\", GONE = \"x\" }
health.path = \"/up\"
router.domains = [\"shop.example\"]
";
const NEW: &str = "\
app = \"shop\"
accept = [\"memory.two-copies\"]
web.command = \"bin/shop2 --port {port}\"
env = { A = \"1\", FEATURE_CHECKOUT = \"on\" }
health.path = \"/healthz\"
warmup.paths = [\"/\"]
router = { domains = [\"shop.example\"], aliases = [\"www.shop.example\"] }
bake.time = \"5m\"
";

#[test]
fn rollback_brings_the_release_part_back_and_leaves_the_rest_of_today() {
    let (old, new) = (config(OLD), config(NEW));
    let back = new.with_release_part(old.release_part());
    assert_eq!(
        (&back.services, &back.env, &back.smoke, &back.warmup),
        (&old.services, &old.env, &old.smoke, &old.warmup)
    );
    assert_eq!((&back.router, &back.bake, &back.accept), (&new.router, &new.bake, &new.accept));
    assert_eq!(new.with_release_part(new.release_part()), new);
}

#[test]
fn release_part_survives_the_journal() {
    let part = config(NEW).release_part();
    let text = serde_json::to_string(&part).expect("it is plain data");
    assert_eq!(serde_json::from_str::<ReleasePart>(&text).expect("it was just written"), part);
}

#[test]
fn differences_are_named_by_table_and_key() {
    let changes = diff(&config(OLD), &config(NEW));
    let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_snapshot!(lines.join("\n"), @r#"
    ~ accept = ["memory.two-copies"], was []
    + env FEATURE_CHECKOUT = "on"
    ~ web command = "bin/shop2 --port {port}", was "bin/shop --port {port}"
    ~ health path = "/healthz", was "/up"
    + warmup paths = ["/"]
    + warmup requests = 20
    + router aliases = ["www.shop.example"]
    ~ bake time = "5m", was "10m"
    - env GONE, was "x"
    "#);
}

#[test]
fn comment_and_order_make_no_difference() {
    let moved = "# hello\n\n[web]\ncommand = 'bin/shop  --port \"{port}\"'\n";
    let moved = config(&format!("app = \"shop\"\n{moved}"));
    assert_eq!(diff(&config(SMALL), &moved), []);
    assert_eq!(config(SMALL), moved);
}

#[test]
fn second_service_renames_the_keys_of_the_first() {
    let two = config(
        "app = \"shop\"\nservices.web.command = \"bin/shop --port {port}\"\nservices.api = { command = \"x\", routes = [\"/a\"] }",
    );
    let changes = diff(&config(SMALL), &two);
    assert!(changes.iter().any(|c| c.area == "services" && c.key == "api.command"));
}
