//! From what was typed after `deploy` to files that can be fetched: builds, checks out, hashes, and names the release.
//!
//! Runs where `deploy` is typed. Never writes below the app's root, and never decides whether something is deployed.

mod artifact;
mod git;
mod kept;
mod programs;
#[cfg(test)]
mod tests;
mod typed;

use crate::engine::ports::{Call, EffectError, Source};
use crate::files::{FilesError, io_error};
use alcedo_core::ReleaseId;
use alcedo_core::config::Config;
use alcedo_core::release::{Machine, Manifest, release_id};
use artifact::Artifact;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use typed::{Kinds, Typed};

pub(crate) use kept::find_kept;
pub(crate) use programs::run;

/// A program to run to its end.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// Where it runs.
    pub(crate) dir: PathBuf,
    /// On top of this process's own environment.
    pub(crate) env: BTreeMap<String, String>,
}

/// How it ended.
#[derive(Debug, Clone)]
pub(crate) struct TaskEnd {
    /// `exit status 1`; `None`: well.
    pub(crate) failure: Option<String>,
    /// The last of its output: at most 256 KiB.
    pub(crate) output: String,
}

/// Runs it; `Err` when it cannot be started, was cancelled or ran into the deadline.
pub(crate) type RunTask<'a> = dyn Fn(&Task, &Call<'_>) -> Result<TaskEnd, EffectError> + 'a;

/// What is to be deployed, as far as it is known.
pub(crate) struct Request<'a> {
    /// What was typed; absent: build and ship.
    pub(crate) typed: Option<&'a str>,
    /// Where it was typed: paths are relative to it.
    pub(crate) cwd: &'a Path,
    /// The directory of the config file.
    pub(crate) app_dir: &'a Path,
    /// The app.
    pub(crate) config: &'a Config,
    /// Releases the host keeps, any order.
    pub(crate) kept: &'a [ReleaseId],
    /// `active`, `previous`, `stable`, as far as they exist.
    pub(crate) named: &'a BTreeMap<String, ReleaseId>,
    /// The machine that will run it.
    pub(crate) target: Machine,
    /// The app's root, when it is on this machine.
    pub(crate) root: Option<&'a Path>,
    /// Now.
    pub(crate) unix_seconds: i64,
    /// Commit of the live release, for the note.
    pub(crate) since: Option<&'a str>,
}

/// Files that can be fetched.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Where they are.
    pub(crate) source: Source,
    /// What they are called.
    pub(crate) release: ReleaseId,
    /// Full commit they were made from.
    pub(crate) commit: Option<String>,
    /// Whether there were uncommitted changes.
    pub(crate) dirty: bool,
    /// Subjects of the commits since the live release, newest first.
    pub(crate) note: Option<String>,
    /// Every entry with its hash, where the source is a directory or one file.
    pub(crate) tree: Manifest,
    /// Sentences for people.
    pub(crate) notices: Vec<String>,
    /// The app's directory inside the checkout, for a git ref: its `alcedo.toml` is the one of that commit.
    pub(crate) checkout: Option<PathBuf>,
    /// Removes the checkout when dropped: keep it until the fetch has ended.
    pub(crate) guard: Option<tempfile::TempDir>,
}

/// Finds out what was meant, and makes it ready.
///
/// # Errors
/// Nothing or two things of that name, a failed build, an unknown ref, a source that cannot be shipped; the text says
/// what to do.
pub(crate) fn resolve(
    request: &Request<'_>,
    run: &RunTask<'_>,
    call: &Call<'_>,
) -> Result<Resolved, EffectError> {
    let git = git::Git { run, call };
    let Some(text) = request.typed else { return build_here(request, &git) };
    match meant(&Typed::parse(text)?, text, request, &git)? {
        Meant::Path(path) => ship_path(request, &path, call),
        Meant::Kept(release) => Ok(kept_release(release)),
        Meant::Commit(commit) => build_commit(request, &commit, &git),
    }
}

enum Meant {
    Path(PathBuf),
    Kept(ReleaseId),
    Commit(String),
}

fn meant(
    typed: &Typed,
    text: &str,
    request: &Request<'_>,
    git: &git::Git<'_>,
) -> Result<Meant, EffectError> {
    match typed {
        Typed::Path(path) => Ok(Meant::Path(request.cwd.join(path))),
        Typed::Release(part) => find_kept(part, request.kept, request.named)?
            .map(Meant::Kept)
            .ok_or_else(|| kept::unknown(part, request.kept).into()),
        Typed::Git(reference) => git
            .commit_of(request.app_dir, reference)?
            .map(Meant::Commit)
            .ok_or_else(|| git::unknown_ref(request.app_dir, reference).into()),
        Typed::Any => {
            let path = request.cwd.join(text);
            let kinds = Kinds {
                path: path.symlink_metadata().is_ok().then_some(path),
                release: find_kept(text, request.kept, request.named)?,
                commit: git.commit_of(request.app_dir, text)?,
            };
            Ok(kinds.only(text)?)
        }
    }
}

/// No SOURCE: the working tree as it is.
fn build_here(request: &Request<'_>, git: &git::Git<'_>) -> Result<Resolved, EffectError> {
    let commit = git.head(request.app_dir)?;
    let dirty = commit.is_some() && git.is_dirty(request.app_dir)?;
    build(request, request.app_dir, commit.as_deref(), git)?;
    let path = request.app_dir.join(&request.config.release.source);
    let artifact = artifact::inspect(&path, request, git.call)?;
    let note = match &commit {
        Some(commit) => git.note(request.app_dir, request.since, commit)?,
        None => None,
    };
    named(request, artifact, commit, dirty, note)
}

/// A git ref: built in a clean checkout, with the same config.
fn build_commit(
    request: &Request<'_>,
    commit: &str,
    git: &git::Git<'_>,
) -> Result<Resolved, EffectError> {
    let checkout = git.check_out(request.app_dir, commit)?;
    build(request, &checkout.app_dir, Some(commit), git)?;
    let path = checkout.app_dir.join(&request.config.release.source);
    let artifact = artifact::inspect(&path, request, git.call)?;
    let note = git.note(request.app_dir, request.since, commit)?;
    let mut resolved = named(request, artifact, Some(commit.to_owned()), false, note)?;
    resolved.notices.extend(checkout.notice);
    resolved.checkout = Some(checkout.app_dir);
    resolved.guard = Some(checkout.dir);
    Ok(resolved)
}

/// A path: shipped as it is. Nobody knows which commit it was made from.
fn ship_path(request: &Request<'_>, path: &Path, call: &Call<'_>) -> Result<Resolved, EffectError> {
    let artifact = artifact::inspect(path, request, call)?;
    named(request, artifact, None, false, None)
}

fn kept_release(release: ReleaseId) -> Resolved {
    let dirty = release.as_str().ends_with("+dirty");
    Resolved {
        source: Source::Kept,
        release,
        commit: None,
        dirty,
        note: None,
        tree: Manifest::default(),
        notices: Vec::new(),
        checkout: None,
        guard: None,
    }
}

fn named(
    request: &Request<'_>,
    artifact: Artifact,
    commit: Option<String>,
    dirty: bool,
    note: Option<String>,
) -> Result<Resolved, EffectError> {
    let release = release_id(request.unix_seconds, commit.as_deref(), &artifact.hash, dirty)
        .map_err(|error| FilesError::refused(error.to_string(), "the commit is not one"))?;
    Ok(Resolved {
        source: artifact.source,
        release,
        commit,
        dirty,
        note,
        tree: artifact.tree,
        notices: artifact.notices,
        checkout: None,
        guard: None,
    })
}

/// Runs `release.build`, if there is one.
fn build(
    request: &Request<'_>,
    dir: &Path,
    commit: Option<&str>,
    git: &git::Git<'_>,
) -> Result<(), EffectError> {
    let Some(command) = &request.config.release.build else { return Ok(()) };
    let env = [
        ("ALCEDO_COMMIT", commit.unwrap_or_default().to_owned()),
        ("ALCEDO_TARGET", format!("linux/{}", request.target)),
        ("ALCEDO_ENVIRONMENT", request.config.environment.clone()),
    ];
    let task = Task {
        argv: ["sh", "-eu", "-c", command].map(str::to_owned).into(),
        dir: dir.canonicalize().map_err(io_error("find", dir))?,
        env: env.map(|(name, value)| (name.to_owned(), value)).into(),
    };
    let ended = (git.run)(&task, git.call)?;
    let Some(failure) = ended.failure else { return Ok(()) };
    Err(EffectError::Failed {
        what: format!("build: `{command}` ended with {failure}"),
        detail: last_lines(&ended.output, 20),
        hint: None,
    })
}

/// The last `count` lines.
fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
