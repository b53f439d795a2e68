//! What of a source is shipped: never `.git`, never what `release.exclude` names, never what lies under `[shared]`.

use super::manifest::RelPath;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::path::{Path, PathBuf};

/// Why the rules of `[release]` and `[shared]` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// A pattern is not one.
    #[error("read the pattern {pattern:?} of `release.exclude`: {reason}")]
    Pattern {
        /// As written.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry of `[shared]` or `release.writable` leaves the release.
    #[error(
        "use {0:?} in `[shared]` or `release.writable`: name a path inside the release, without `..`"
    )]
    Path(String),
    /// Two entries of `[shared]` contain each other.
    #[error("share both {inner} and {outer}: the one lies in the other")]
    Nested {
        /// The outer one.
        outer: String,
        /// The inner one.
        inner: String,
    },
}

/// What becomes of one path of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It becomes part of the release.
    Ship,
    /// It is left out, with everything under it.
    LeaveOut,
    /// It is a shared directory or lies in one: it seeds `shared/`, once.
    SharedDir(RelPath),
    /// It is a shared file: it seeds `shared/`, once.
    SharedFile(RelPath),
}

/// The rules of one app, ready to use.
#[derive(Debug, Clone)]
pub struct Rules {
    exclude: GlobSet,
    exclude_dirs: GlobSet,
    shared_dirs: Vec<RelPath>,
    shared_files: Vec<RelPath>,
    writable: Vec<RelPath>,
    reader: Reader,
}

/// Whom the app runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reader {
    /// The user who keeps the releases.
    #[default]
    Keeper,
    /// Another one, who gets to them as one of the "others": the app's directory lets nobody else in.
    Other,
}

impl Reader {
    /// Who reads what this runner starts.
    pub fn of(runner: crate::config::Runner) -> Self {
        match runner {
            crate::config::Runner::Process => Self::Keeper,
            crate::config::Runner::Systemd => Self::Other,
        }
    }

    /// The mode with which the reader can do what the owner can.
    pub fn opened(self, mode: u32) -> u32 {
        match self {
            Self::Keeper => mode,
            Self::Other => mode | (mode >> 6) & 0o7,
        }
    }
}

impl Rules {
    /// Checks and compiles. Patterns are those of `.gitignore` without `!`: one without a slash matches a name anywhere,
    /// one with a slash a path from the top; `*`, `?`, `[a-z]`, `**`; a slash at the end: directories only.
    pub fn new(
        exclude: &[String],
        shared: &crate::config::Shared,
        writable: &[PathBuf],
    ) -> Result<Self, RulesError> {
        let (dirs_only, any): (Vec<_>, Vec<_>) = exclude.iter().partition(|p| p.ends_with('/'));
        let rules = Self {
            exclude: compile(&any)?,
            exclude_dirs: compile(&dirs_only)?,
            shared_dirs: plain(&shared.dirs)?,
            shared_files: plain(&shared.files)?,
            writable: plain(writable)?,
            reader: Reader::default(),
        };
        rules.refuse_nested()?;
        Ok(rules)
    }

    /// The same for an app that runs as `reader`.
    #[must_use]
    pub fn read_by(self, reader: Reader) -> Self {
        Self { reader, ..self }
    }

    /// Whom the app runs as.
    pub fn reader(&self) -> Reader {
        self.reader
    }

    /// What becomes of the entry at `path`, given what became of the directories above it: a walk that does not
    /// descend into what is left out may ask for each entry alone.
    pub fn fate(&self, path: &RelPath, is_dir: bool) -> Fate {
        if self.is_left_out(path.as_path(), is_dir) {
            return Fate::LeaveOut;
        }
        if let Some(dir) =
            self.shared_dirs.iter().find(|dir| path.as_path().starts_with(dir.as_path()))
        {
            return Fate::SharedDir(dir.clone());
        }
        if self.shared_files.contains(path) {
            return Fate::SharedFile(path.clone());
        }
        Fate::Ship
    }

    /// Like [`Self::fate`] for entries in any order (archives): the directories above count too.
    pub fn fate_alone(&self, path: &RelPath, is_dir: bool) -> Fate {
        let above =
            path.as_path().ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
        if above.into_iter().any(|above| self.is_left_out(above, true)) {
            return Fate::LeaveOut;
        }
        self.fate(path, is_dir)
    }

    /// Shared directories.
    pub fn shared_dirs(&self) -> &[RelPath] {
        &self.shared_dirs
    }

    /// Shared files.
    pub fn shared_files(&self) -> &[RelPath] {
        &self.shared_files
    }

    /// Directories of the release that the app may write.
    pub fn writable(&self) -> &[RelPath] {
        &self.writable
    }

    /// Whether `path` is a writable directory or lies in one.
    pub fn is_writable(&self, path: &Path) -> bool {
        self.writable.iter().any(|dir| path.starts_with(dir.as_path()))
    }

    fn is_left_out(&self, path: &Path, is_dir: bool) -> bool {
        path.file_name().is_some_and(|name| name == ".git")
            || self.exclude.is_match(path)
            || (is_dir && self.exclude_dirs.is_match(path))
    }

    fn refuse_nested(&self) -> Result<(), RulesError> {
        let all = || self.shared_dirs.iter().chain(&self.shared_files);
        for outer in &self.shared_dirs {
            let inside = |p: &&RelPath| *p != outer && p.as_path().starts_with(outer.as_path());
            if let Some(inner) = all().find(inside) {
                return Err(RulesError::Nested {
                    outer: outer.to_string(),
                    inner: inner.to_string(),
                });
            }
        }
        Ok(())
    }
}

fn plain(paths: &[PathBuf]) -> Result<Vec<RelPath>, RulesError> {
    let one = |path: &PathBuf| {
        RelPath::new(path).map_err(|_| RulesError::Path(path.display().to_string()))
    };
    paths.iter().map(one).collect()
}

fn compile(patterns: &[&String]) -> Result<GlobSet, RulesError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let refuse = |reason: String| RulesError::Pattern { pattern: (*pattern).clone(), reason };
        if pattern.starts_with('!') {
            return Err(refuse("`!` is not known here; name only what is left out".to_owned()));
        }
        let glob = GlobBuilder::new(&anchored(pattern))
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| refuse(error.kind().to_string()))?;
        set.add(glob);
    }
    set.build().map_err(|error| RulesError::Pattern {
        pattern: error.glob().unwrap_or_default().to_owned(),
        reason: error.kind().to_string(),
    })
}

/// The pattern as a path from the top: `node_modules` is `**/node_modules`, `/dist` and `a/b` start at the top.
fn anchored(pattern: &str) -> String {
    let body = pattern.trim_end_matches('/');
    let body = body.strip_prefix("./").unwrap_or(body);
    match body.strip_prefix('/') {
        Some(rest) => rest.to_owned(),
        None if body.contains('/') => body.to_owned(),
        None => format!("**/{body}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Shared;

    fn rel(path: &str) -> RelPath {
        RelPath::new(Path::new(path)).expect("plain")
    }

    fn rules(exclude: &[&str], dirs: &[&str], files: &[&str]) -> Result<Rules, RulesError> {
        let paths = |all: &[&str]| all.iter().map(PathBuf::from).collect();
        let shared = Shared { dirs: paths(dirs), files: paths(files) };
        Rules::new(&exclude.iter().map(|&p| p.to_owned()).collect::<Vec<_>>(), &shared, &[])
    }

    #[test]
    fn git_directories_are_never_shipped() {
        // S0-D5: the posts copied .git into the served tree.
        let rules = rules(&[], &[], &[]).expect("valid");
        assert_eq!(rules.fate(&rel(".git"), true), Fate::LeaveOut);
        assert_eq!(rules.fate(&rel("vendor/lib/.git"), false), Fate::LeaveOut);
        assert_eq!(rules.fate_alone(&rel(".git/config"), false), Fate::LeaveOut);
        assert_eq!(rules.fate(&rel(".gitignore"), false), Fate::Ship);
    }

    #[test]
    fn patterns_work_like_those_of_gitignore() {
        let rules = rules(&["node_modules", "/dist", "a/*.log", "tests/", "*.py[co]"], &[], &[])
            .expect("valid");
        let left_out = |path: &str, is_dir| rules.fate_alone(&rel(path), is_dir) == Fate::LeaveOut;
        assert!(left_out("node_modules", true) && left_out("web/node_modules/x/y.js", false));
        assert!(left_out("dist", true) && !left_out("web/dist", true));
        assert!(left_out("a/x.log", false) && !left_out("a/b/x.log", false));
        assert!(
            left_out("tests", true) && !left_out("tests", false) && left_out("x/tests/a", false)
        );
        assert!(left_out("deep/down/m.pyc", false) && !left_out("m.py", false));
    }

    #[test]
    fn shared_paths_are_not_shipped_but_seed() {
        let rules = rules(&["*.tmp"], &["public/uploads"], &[".env"]).expect("valid");
        assert_eq!(rules.fate(&rel("public"), true), Fate::Ship);
        let shared = Fate::SharedDir(rel("public/uploads"));
        assert_eq!(rules.fate(&rel("public/uploads"), true), shared);
        assert_eq!(rules.fate(&rel("public/uploads/a/b.png"), false), shared);
        assert_eq!(rules.fate(&rel("public/uploads/x.tmp"), false), Fate::LeaveOut);
        assert_eq!(rules.fate(&rel("public/uploads2"), true), Fate::Ship);
        assert_eq!(rules.fate(&rel(".env"), false), Fate::SharedFile(rel(".env")));
    }

    #[test]
    fn impossible_rules_are_refused() {
        assert!(matches!(rules(&["a["], &[], &[]), Err(RulesError::Pattern { .. })));
        assert!(matches!(rules(&["!a"], &[], &[]), Err(RulesError::Pattern { .. })));
        assert!(matches!(rules(&[], &["../up"], &[]), Err(RulesError::Path(_))));
        assert!(matches!(rules(&[], &["a"], &["a/.env"]), Err(RulesError::Nested { .. })));
    }
}
