//! A directory as detection sees it: names and texts, nothing that could be changed.

use std::collections::BTreeMap;

/// What stands in an app's directory. Paths are relative, with `/`.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    /// Its own name.
    pub name: String,
    /// Files by path; of what is no text, or too large to be a source, the text is empty.
    pub files: BTreeMap<String, String>,
}

impl Directory {
    /// Whether there is such a file.
    pub(super) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Whether there is anything below that directory.
    pub(super) fn has_dir(&self, dir: &str) -> bool {
        let prefix = format!("{dir}/");
        self.files.range(prefix.clone()..).next().is_some_and(|(path, _)| path.starts_with(&prefix))
    }

    /// A file's text.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// The first of these that is there.
    pub(super) fn first_of(&self, paths: &[&'static str]) -> Option<&'static str> {
        paths.iter().find(|path| self.has(path)).copied()
    }

    /// Files whose names end so, the shallowest first: what starts an app stands near the top.
    pub(super) fn ending(&self, suffixes: &[&str]) -> Vec<(&str, &str)> {
        let fits = |path: &str| suffixes.iter().any(|suffix| path.ends_with(suffix));
        let mut found: Vec<(&str, &str)> = self
            .files
            .iter()
            .filter(|(path, _)| fits(path))
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        found.sort_by_key(|(path, _)| (path.matches('/').count(), *path));
        found
    }
}
