//! Golden texts and laws of the configuration.

mod bind;
mod errors;
mod examples;
mod fpm;
mod laws;
mod part;
mod render;
mod rules;
mod schema;
mod values;

use super::{Config, Input, Loaded, load};

/// A smallest file, to be extended by tests.
const SMALL: &str = "app = \"shop\"\nweb.command = \"bin/shop --port {port}\"\n";

fn input(text: &str) -> Input<'_> {
    Input { text, file: "alcedo.toml", environment: None }
}

fn loaded(text: &str) -> Loaded {
    load(input(text)).unwrap_or_else(|errors| panic!("{errors}"))
}

fn config(text: &str) -> Config {
    loaded(text).config
}

fn config_in(text: &str, environment: &str) -> Config {
    let input = Input { environment: Some(environment), ..input(text) };
    load(input).unwrap_or_else(|errors| panic!("{errors}")).config
}

/// What the terminal shows for a file that is wrong.
fn complaints(text: &str) -> String {
    load(input(text)).expect_err("the file is wrong").to_string()
}

/// What it shows for a small file with these lines in front of its tables.
fn complaints_with(lines: &str) -> String {
    complaints(&format!("{SMALL}{lines}"))
}
