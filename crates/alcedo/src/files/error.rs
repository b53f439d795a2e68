//! Why files could not be read or written; every error names its path.

use crate::engine::ports::EffectError;
use crate::files::space::{free_bytes, human_bytes};
use std::io;
use std::path::{Path, PathBuf};

/// Why a tree could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    /// The system said no.
    #[error("{action} {}", path.display())]
    Io {
        /// A verb: `read`, `write`.
        action: &'static str,
        /// What was read or written.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// We say no.
    #[error("{what}")]
    Refused {
        /// A fragment that fits "failed to …".
        what: String,
        /// What was seen.
        why: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Somebody asked it to stop.
    #[error("finish: cancelled")]
    Cancelled,
    /// Its deadline passed.
    #[error("finish within the time limit")]
    TimedOut,
}

impl FilesError {
    /// A refusal without a hint.
    pub(crate) fn refused(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), why: why.into(), hint: None }
    }

    /// A refusal that says what to do.
    pub(crate) fn refused_hint(
        what: impl Into<String>,
        why: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Refused { what: what.into(), why: why.into(), hint: Some(hint.into()) }
    }

    /// What was seen, and the free space where that is the reason.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Io { path, cause, .. } if is_full(cause) => format!(
                "{cause}: {} are free on the file system of {}",
                nearest_free(path),
                path.display()
            ),
            Self::Io { cause, .. } => cause.to_string(),
            Self::Refused { why, .. } => why.clone(),
            Self::Cancelled | Self::TimedOut => self.to_string(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { cause, .. } if is_full(cause) => {
                Some("`alcedo prune --dry-run` shows what old releases take".to_owned())
            }
            Self::Refused { hint, .. } => hint.clone(),
            Self::Io { .. } | Self::Cancelled | Self::TimedOut => None,
        }
    }
}

/// For `map_err`: an [`FilesError::Io`] from anything that is an `io::Error`.
pub(crate) fn io_error<E: Into<io::Error>>(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(E) -> FilesError {
    move |cause| FilesError::Io { action, path: path.to_owned(), cause: cause.into() }
}

fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Free space where `path` is or was to be.
fn nearest_free(path: &Path) -> String {
    let free = path.ancestors().find_map(|above| free_bytes(above).ok());
    free.map_or_else(|| "an unknown number of bytes".to_owned(), human_bytes)
}

impl From<FilesError> for EffectError {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Cancelled => Self::Cancelled,
            FilesError::TimedOut => Self::failed(error.to_string(), "its deadline passed"),
            FilesError::Io { .. } | FilesError::Refused { .. } => {
                Self::Failed { what: error.to_string(), detail: error.detail(), hint: error.hint() }
            }
        }
    }
}
