//! Names that mean something, validated once at the edge.
//!
//! Never holds a path or an address: a name is safe to use as a file name and as a label.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest accepted name, in bytes; leaves room for suffixes within a 255-byte file name and a 108-byte socket path.
pub const NAME_BYTES_MAX: usize = 40;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "read {text:?} as a name: use 1 to {NAME_BYTES_MAX} lower-case letters, digits and hyphens, starting with a letter"
)]
pub struct NameError {
    /// The rejected text.
    pub text: String,
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Accepts a valid name.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                if is_name(&text) { Ok(Self(text)) } else { Err(NameError { text }) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name! {
    /// An app as the host knows it: `shop`, or `shop-staging` for `-e staging`. Unit, directory and socket names come from it.
    AppName
}
name! {
    /// One process of a slot: `web` for `[web]`, else the key under `[services]`.
    ServiceName
}

/// The environment that the file itself describes.
pub const PRODUCTION: &str = "production";

impl AppName {
    /// The host-side name of `app` in `environment`: production has no suffix.
    pub fn on_host(app: &Self, environment: &str) -> Result<Self, NameError> {
        if environment == PRODUCTION {
            Ok(app.clone())
        } else {
            Self::new(format!("{app}-{environment}"))
        }
    }
}

/// Identity of a release: `r<date>-<time UTC>-<commit or content hash>`, with `+dirty` for uncommitted changes
/// (`r20261120-191405-4be1c07`). Sorts by time.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseId(String);

/// Why a text is not a release id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "read {text:?} as a release id: expected r<date>-<time>-<commit or hash>, like r20261120-191405-4be1c07"
)]
pub struct ReleaseIdError {
    /// The rejected text.
    pub text: String,
}

impl ReleaseId {
    /// Accepts `rYYYYMMDD-HHMMSS-<4 to 40 of [0-9a-z.]>`, optionally `+dirty`. Safe as a file name.
    pub fn new(text: impl Into<String>) -> Result<Self, ReleaseIdError> {
        let text = text.into();
        if is_release_id(&text) { Ok(Self(text)) } else { Err(ReleaseIdError { text }) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The commit or content hash, without `+dirty`: what people type to name the release.
    pub fn tail(&self) -> &str {
        let tail = self.0.rsplit('-').next().unwrap_or_default();
        tail.strip_suffix("+dirty").unwrap_or(tail)
    }
}

fn is_release_id(text: &str) -> bool {
    let body = text.strip_suffix("+dirty").unwrap_or(text);
    let mut parts = body.splitn(3, '-');
    let (Some(date), Some(time), Some(tail)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let digits = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_digit());
    date.strip_prefix('r').is_some_and(|d| digits(d, 8))
        && digits(time, 6)
        && (4..=40).contains(&tail.len())
        && tail.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ReleaseId {
    type Error = ReleaseIdError;
    fn try_from(text: String) -> Result<Self, ReleaseIdError> {
        Self::new(text)
    }
}

impl From<ReleaseId> for String {
    fn from(id: ReleaseId) -> Self {
        id.0
    }
}

/// Number of a deploy, counted per app; shown as `d42`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeployId(pub u64);

impl fmt::Display for DeployId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}", self.0)
    }
}

impl std::str::FromStr for DeployId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_prefix('d').unwrap_or(text).parse().ok();
        number
            .map(Self)
            .ok_or_else(|| format!("read {text:?} as a deploy id: expected something like d42"))
    }
}

impl Serialize for DeployId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeployId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
