//! What a SOURCE says about its own kind, and what is done when it says nothing.

use super::Meant;
use crate::files::FilesError;
use alcedo_core::ReleaseId;
use std::path::PathBuf;

/// A SOURCE, with its prefix taken off.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// `path:`.
    Path(String),
    /// `release:`.
    Release(String),
    /// `git:`.
    Git(String),
    /// No prefix.
    Any,
}

impl Typed {
    pub(super) fn parse(text: &str) -> Result<Self, FilesError> {
        let (kind, rest) = text.split_once(':').unwrap_or(("", text));
        let rest = rest.to_owned();
        match kind {
            _ if rest.is_empty() => Err(FilesError::refused_hint(
                format!("read {text:?} as a SOURCE"),
                "it names nothing",
                "name a path, a kept release or a git ref, or nothing at all to build and ship",
            )),
            "path" => Ok(Self::Path(rest)),
            "release" => Ok(Self::Release(rest)),
            "git" => Ok(Self::Git(rest)),
            "image" => {
                Err(FilesError::refused(format!("deploy {text}"), "images are not in this version"))
            }
            _ => Ok(Self::Any),
        }
    }
}

/// What a SOURCE without a prefix could be.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    pub(super) path: Option<PathBuf>,
    pub(super) release: Option<ReleaseId>,
    pub(super) commit: Option<String>,
}

impl Kinds {
    /// The one kind it is.
    pub(super) fn only(mut self, text: &str) -> Result<Meant, FilesError> {
        if let (Some(release), Some(commit)) = (&self.release, &self.commit)
            && is_made_from(release, commit)
        {
            // `alcedo deploy 4be1c07` after a failure: the release is that commit, and need not be built again.
            self.commit = None;
        }
        match (self.path, self.release, self.commit) {
            (Some(path), None, None) => Ok(Meant::Path(path)),
            (None, Some(release), None) => Ok(Meant::Kept(release)),
            (None, None, Some(commit)) => Ok(Meant::Commit(commit)),
            (None, None, None) => Err(FilesError::refused_hint(
                format!("find {text:?}"),
                "it is no path, no kept release and no git ref",
                "`alcedo releases` lists what is kept",
            )),
            (path, release, commit) => Err(ambiguous(text, path, release, commit)),
        }
    }
}

fn is_made_from(release: &ReleaseId, commit: &str) -> bool {
    !release.as_str().ends_with("+dirty") && commit.starts_with(release.tail())
}

fn ambiguous(
    text: &str,
    path: Option<PathBuf>,
    release: Option<ReleaseId>,
    commit: Option<String>,
) -> FilesError {
    let found = [
        path.map(|path| (format!("the path {}", path.display()), "path")),
        release.map(|release| (format!("the release {release}"), "release")),
        commit.map(|commit| (format!("the git commit {}", &commit[..commit.len().min(12)]), "git")),
    ];
    let (meanings, prefixes): (Vec<_>, Vec<_>) = found.into_iter().flatten().unzip();
    let typed: Vec<_> = prefixes.iter().map(|prefix| format!("`{prefix}:{text}`")).collect();
    FilesError::refused_hint(
        format!("decide what {text:?} is"),
        format!("it is {}", meanings.join(" and ")),
        format!("type {}", typed.join(" or ")),
    )
}
