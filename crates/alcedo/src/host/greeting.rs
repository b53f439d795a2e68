//! The first line of `alcedo host`: `alcedo-host {"api":1,"alcedo":"0.1.0"}`. What a login shell prints before it is no
//! part of it. Fields are added, never renamed.

use crate::api::Failed;
use serde::{Deserialize, Serialize};

const BEGINS: &str = "alcedo-host ";

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Greeting {
    /// Version of the calls.
    pub(crate) api: u32,
    /// Version of the program.
    pub(crate) alcedo: String,
    /// Nothing more will come, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<Failed>,
}

/// As it is written, with its end.
pub(crate) fn line(greeting: &Greeting) -> String {
    let text = serde_json::to_string(greeting).expect("plain fields");
    format!("{BEGINS}{text}\n")
}

/// Reads a line; `None`: it is something else.
pub(crate) fn read(line: &[u8]) -> Option<Greeting> {
    let text = std::str::from_utf8(line).ok()?.trim_end().strip_prefix(BEGINS)?;
    serde_json::from_str(text).ok()
}
