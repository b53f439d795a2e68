//! Finds a kept release by what people type for it.

use crate::files::FilesError;
use alcedo_core::ReleaseId;
use std::collections::BTreeMap;

/// Parts shorter than this name nothing: too much would match.
const PART_CHARS_MIN: usize = 4;
/// Releases named in an error.
const LISTED_MAX: usize = 6;

/// The release that is `part`, or one of the `named`, or the only one that `part` is a part of.
///
/// # Errors
/// When `part` is a part of several.
pub(crate) fn find_kept(
    part: &str,
    kept: &[ReleaseId],
    named: &BTreeMap<String, ReleaseId>,
) -> Result<Option<ReleaseId>, FilesError> {
    let exact = kept.iter().find(|release| release.as_str() == part);
    if let Some(release) = named.get(part).or(exact) {
        return Ok(Some(release.clone()));
    }
    if part.chars().count() < PART_CHARS_MIN {
        return Ok(None);
    }
    let matches: Vec<_> = kept.iter().filter(|release| is_part(part, release)).collect();
    match matches[..] {
        [] => Ok(None),
        [release] => Ok(Some(release.clone())),
        _ => Err(FilesError::refused_hint(
            format!("decide which release {part:?} is"),
            format!("it is part of {}", listed(matches)),
            "type more of it",
        )),
    }
}

/// The refusal for one that is not kept.
pub(super) fn unknown(part: &str, kept: &[ReleaseId]) -> FilesError {
    let why = if kept.is_empty() {
        "no release is kept".to_owned()
    } else {
        let mut newest: Vec<_> = kept.iter().collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        format!("kept are {}", listed(newest))
    };
    FilesError::refused_hint(
        format!("find the release {part:?}"),
        why,
        "`alcedo releases` lists what can be gone back to",
    )
}

/// A part of the id, or a longer commit whose beginning is in it.
fn is_part(part: &str, release: &ReleaseId) -> bool {
    release.as_str().contains(part) || (part.len() > 7 && part.starts_with(release.tail()))
}

fn listed(releases: Vec<&ReleaseId>) -> String {
    let more = releases.len().saturating_sub(LISTED_MAX);
    let mut names: Vec<_> =
        releases.into_iter().take(LISTED_MAX).map(ToString::to_string).collect();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}
