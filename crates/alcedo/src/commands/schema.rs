//! `schema`: the JSON Schema of `alcedo.toml`.

use super::session::Session;
use crate::report::ended::exit;

/// Runs `schema`.
pub(crate) fn run(session: &mut Session) -> anyhow::Result<u8> {
    let text = serde_json::to_string_pretty(&alcedo_core::config::schema())?;
    let _ = session.reporter.raw(&text);
    Ok(exit::DONE)
}
