//! Asks git: commits, changes, subjects, and a clean checkout. Never changes the user's repository.

use super::{RunTask, Task, last_lines};
use crate::engine::ports::{Call, EffectError};
use crate::files::{FilesError, io_error};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Subjects in a note.
const SUBJECTS_MAX: usize = 10;

/// Runs git.
pub(super) struct Git<'a> {
    pub(super) run: &'a RunTask<'a>,
    pub(super) call: &'a Call<'a>,
}

/// A commit, checked out alone.
pub(super) struct Checkout {
    /// Removes it when dropped.
    pub(super) dir: TempDir,
    /// The app's directory in it.
    pub(super) app_dir: PathBuf,
    /// What people should know about it.
    pub(super) notice: Option<String>,
}

impl Git<'_> {
    /// The commit checked out at `dir`; `None`: no repository, no commit yet, or no git.
    pub(super) fn head(&self, dir: &Path) -> Result<Option<String>, EffectError> {
        self.commit_of(dir, "HEAD")
    }

    /// The commit that `reference` names; `None`: none of that name.
    pub(super) fn commit_of(
        &self,
        dir: &Path,
        reference: &str,
    ) -> Result<Option<String>, EffectError> {
        let spec = format!("{reference}^{{commit}}");
        let answer =
            self.ask(dir, &["rev-parse", "--verify", "--quiet", "--end-of-options", &spec]);
        match answer {
            Ok(Some(text)) => {
                Ok(text.lines().map(str::trim).rfind(|line| is_commit(line)).map(str::to_owned))
            }
            Ok(None) => Ok(None),
            // Without git nothing is a git ref.
            Err(EffectError::Failed { .. }) => Ok(None),
            Err(error @ (EffectError::Cancelled | EffectError::TimedOut { .. })) => Err(error),
        }
    }

    /// Whether anything below `dir` is not committed.
    pub(super) fn is_dirty(&self, dir: &Path) -> Result<bool, EffectError> {
        let changes = self.must(dir, &["status", "--porcelain", "--", "."])?;
        Ok(!changes.trim().is_empty())
    }

    /// Subjects of the commits after `since` up to `commit` that touch `dir`, else the last one.
    pub(super) fn note(
        &self,
        dir: &Path,
        since: Option<&str>,
        commit: &str,
    ) -> Result<Option<String>, EffectError> {
        let range =
            since.filter(|since| is_commit(since)).map(|since| format!("{since}..{commit}"));
        if let Some(range) = range
            && let Some(text) =
                self.ask(dir, &["log", "--format=%s", "--no-merges", &range, "--", "."])?
            && let Some(note) = subjects(&text)
        {
            return Ok(Some(note));
        }
        Ok(self.ask(dir, &["log", "-1", "--format=%s", commit])?.and_then(|text| subjects(&text)))
    }

    /// Checks `commit` out into a directory of its own that shares the repository's objects.
    pub(super) fn check_out(&self, dir: &Path, commit: &str) -> Result<Checkout, EffectError> {
        let top = self.must(dir, &["rev-parse", "--show-toplevel"])?;
        let prefix = self.must(dir, &["rev-parse", "--show-prefix"])?;
        let parent = std::env::temp_dir();
        let holder = tempfile::Builder::new()
            .prefix("alcedo-checkout-")
            .tempdir()
            .map_err(io_error("make a directory in", &parent))?;
        let tree = holder.path().join("tree");
        let tree_text = tree.display().to_string();
        self.must(
            dir,
            &["clone", "--quiet", "--shared", "--no-checkout", top.trim_end(), &tree_text],
        )?;
        self.must(&tree, &["checkout", "--quiet", "--detach", commit])?;
        let app_dir = tree.join(prefix.trim_end());
        if !app_dir.is_dir() {
            return Err(FilesError::refused(
                format!("deploy git:{commit}"),
                format!("there is no {} in that commit", prefix.trim_end()),
            )
            .into());
        }
        let notice = tree.join(".gitmodules").exists().then(|| {
            "the commit has submodules; they are not checked out unless `release.build` does it"
                .to_owned()
        });
        Ok(Checkout { dir: holder, app_dir, notice })
    }

    /// What git answers; `None`: it ended with an error.
    fn ask(&self, dir: &Path, args: &[&str]) -> Result<Option<String>, EffectError> {
        let ended = (self.run)(&self.task(dir, args), self.call)?;
        Ok(ended.failure.is_none().then_some(ended.output))
    }

    /// What git answers, or why it does not.
    fn must(&self, dir: &Path, args: &[&str]) -> Result<String, EffectError> {
        let ended = (self.run)(&self.task(dir, args), self.call)?;
        match ended.failure {
            None => Ok(ended.output),
            Some(failure) => Err(EffectError::failed(
                format!("run `git {}` in {}: {failure}", args.join(" "), dir.display()),
                last_lines(&ended.output, 10),
            )),
        }
    }

    fn task(&self, dir: &Path, args: &[&str]) -> Task {
        let argv = std::iter::once("git").chain(args.iter().copied()).map(str::to_owned).collect();
        let env = [
            ("LC_ALL", "C"),
            // No lock in the user's repository, no question on the user's terminal.
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_TERMINAL_PROMPT", "0"),
        ];
        let env: BTreeMap<_, _> = env.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        Task { argv, dir: dir.to_owned(), env }
    }
}

/// The refusal for a ref that git does not know.
pub(super) fn unknown_ref(dir: &Path, reference: &str) -> FilesError {
    let in_repository = dir.ancestors().any(|above| above.join(".git").exists());
    if in_repository {
        return FilesError::refused_hint(
            format!("find the git ref {reference:?}"),
            "git knows no commit of that name",
            "`git fetch` brings what others pushed",
        );
    }
    FilesError::refused(
        format!("find the git ref {reference:?}"),
        format!("{} is not in a git repository", dir.display()),
    )
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 7..=64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn subjects(text: &str) -> Option<String> {
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let more = all.len().saturating_sub(SUBJECTS_MAX);
    let mut note = all.iter().take(SUBJECTS_MAX).copied().collect::<Vec<_>>().join("; ");
    if more > 0 {
        note.push_str(&format!("; and {more} more"));
    }
    (!note.is_empty()).then_some(note)
}
