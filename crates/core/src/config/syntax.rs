//! Texts with a syntax of their own: durations, sizes, addresses, domains, paths, signals.
//!
//! Each is parsed once, from its raw type. The JSON Schema carries its name as `format`, so the walk over the file
//! checks it with its place known, and the raw type then reads the same text without another chance to fail.

mod net;
mod path;
mod time;
mod word;

pub(super) use net::{Cidr, Domain, Host, HostHeader, Listen};
pub(super) use path::{AbsolutePath, AnyPath, InsidePath, InsidePattern, RoutePrefix, UrlPath};
pub(super) use time::{KeepWarm, Size, Time, size_text, time_text};
pub(super) use word::{
    App, Command, Cpu, FindingId, PhpVersion, ReleaseOf, Shell, Signal, User, not_a_name,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;

/// A text with a syntax of its own.
pub(super) trait Syntax {
    type Value;
    /// Its name in the JSON Schema.
    const FORMAT: &'static str;
    /// What it is, for "is a number, not …".
    const WHAT: &'static str;
    /// Rough pattern for editors; the parser is stricter.
    const PATTERN: Option<&'static str> = None;

    fn parse(text: &str) -> Result<Self::Value, Complaint>;
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    /// Continues "`key` …".
    pub(super) problem: String,
    pub(super) hint: Option<String>,
}

impl Complaint {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// A text of syntax `S`, parsed.
pub(super) struct Text<S: Syntax>(pub(super) S::Value);

impl<'de, S: Syntax> Deserialize<'de> for Text<S> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        S::parse(&text).map(Self).map_err(|complaint| serde::de::Error::custom(complaint.problem))
    }
}

impl<S: Syntax> JsonSchema for Text<S> {
    fn schema_name() -> Cow<'static, str> {
        S::FORMAT.into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "string", "format": S::FORMAT });
        if let Some(pattern) = S::PATTERN {
            schema.insert("pattern".to_owned(), pattern.into());
        }
        schema
    }
}

/// A syntax as data, for the walk over the file.
pub(super) struct Format {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) check: fn(&str) -> Option<Complaint>,
}

const fn format<S: Syntax>() -> Format {
    Format { name: S::FORMAT, what: S::WHAT, check: |text| S::parse(text).err() }
}

/// All of them; a test holds this list against the schema.
pub(super) const FORMATS: &[Format] = &[
    format::<AbsolutePath>(),
    format::<AnyPath>(),
    format::<App>(),
    format::<Cidr>(),
    format::<Command>(),
    format::<Cpu>(),
    format::<Domain>(),
    format::<FindingId>(),
    format::<Host>(),
    format::<HostHeader>(),
    format::<InsidePath>(),
    format::<InsidePattern>(),
    format::<KeepWarm>(),
    format::<Listen>(),
    format::<PhpVersion>(),
    format::<ReleaseOf>(),
    format::<RoutePrefix>(),
    format::<Shell>(),
    format::<Signal>(),
    format::<Size>(),
    format::<Time>(),
    format::<UrlPath>(),
    format::<User>(),
];

/// A short quotation of what the user wrote.
fn quote(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    if text.chars().count() <= CHARS_MAX {
        return format!("`{text}`");
    }
    format!("`{}…`", text.chars().take(CHARS_MAX).collect::<String>())
}
