//! `alcedo.toml`: text in, effective configuration or errors with file, line and the nearest known key out.
//!
//! Three steps, each in its own file: `tree` keeps the text's positions, `shape` holds it against the schema of the
//! raw types (the one list of known keys), `resolve` fills in defaults once `rules` has seen the values together.
//! Never reads a file or the environment: text, display name and inherited variables come in as arguments.

mod bind;
mod check;
mod command;
mod diff;
mod entries;
mod error;
mod expand;
mod fpm;
mod later;
mod load;
mod model;
mod origin;
mod part;
mod peek;
mod preset;
mod raw;
mod render;
mod resolve;
mod rules;
mod schema;
mod shape;
mod syntax;
mod toml_text;
mod tree;

#[cfg(test)]
mod tests;

pub use bind::{BindError, BindFacts, INHERITED, bind, socket};
pub use diff::{Change, diff};
pub use error::{ConfigError, ConfigErrors, Place};
pub use expand::{ExpandError, Names, expand};
pub use load::{Input, Loaded, TEXT_BYTES_MAX, load};
pub use model::*;
pub use origin::{Origin, Origins};
pub use part::ReleasePart;
pub use peek::host;
pub(crate) use preset::graceful_signal;
pub use render::{render, to_json};
pub use schema::schema;
pub(crate) use toml_text::value as toml_value;
