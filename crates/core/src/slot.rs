//! The two slots that traffic can go to. Active and idle are roles, never stored here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// `blue` or `green`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// The first slot; always shown first.
    Blue,
    /// The second slot.
    Green,
}

impl Slot {
    /// Both, in the order in which they are shown.
    pub const BOTH: [Self; 2] = [Self::Blue, Self::Green];

    /// The other slot.
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Slot {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::BOTH
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a slot: blue or green"))
    }
}
