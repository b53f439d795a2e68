//! Where each effective value comes from.

use super::tree::Node;
use std::collections::BTreeMap;
use std::fmt;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The kind of server that the command starts.
    Preset(String),
    /// The file.
    File {
        /// As it is shown.
        file: String,
        /// Counted from 1.
        line: usize,
        /// The environment in whose table it stands.
        environment: Option<String>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset(server) => write!(f, "preset: {server}"),
            Self::File { file, line, environment: None } => write!(f, "{file}:{line}"),
            Self::File { file, line, environment: Some(name) } => {
                write!(f, "environments.{name} at {file}:{line}")
            }
        }
    }
}

/// What the file said, by the path of the effective key (`services.web.command`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins(BTreeMap<Vec<String>, Origin>);

impl Origins {
    /// What the file says about this key; `None` when it says nothing.
    pub fn get(&self, path: &[String]) -> Option<&Origin> {
        self.0.get(path)
    }

    pub(super) fn of(tree: &Node, file: &str, text: &str) -> Self {
        let mut origins = Self::default();
        let starts = LineStarts::of(text);
        origins.collect(tree, &mut Vec::new(), file, &starts);
        origins
    }

    fn collect(&mut self, node: &Node, path: &mut Vec<String>, file: &str, lines: &LineStarts) {
        let origin = Origin::File {
            file: file.to_owned(),
            line: lines.line_of(node.key_span.start),
            environment: node.layer.clone(),
        };
        self.0.insert(path.clone(), origin);
        for (key, child) in node.table().into_iter().flatten() {
            path.push(key.clone());
            self.collect(child, path, file, lines);
            path.pop();
        }
    }
}

/// Finds lines without counting from the start each time.
struct LineStarts(Vec<usize>);

impl LineStarts {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1).collect())
    }

    fn line_of(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset) + 1
    }
}
