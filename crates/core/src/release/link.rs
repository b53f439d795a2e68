//! Which symbolic links a release may contain.

use std::path::{Component, Path};

/// Whether a link at `link` (relative to the release) with this `target` can only lead to places inside the release.
///
/// `..` is accepted at the front alone: there it counts real directories, since no file of a release is written
/// through a link. After a name it could step out of wherever another link leads (`a/b/link/../../..`).
pub fn link_stays_inside(link: &Path, target: &Path) -> bool {
    let mut depth = link.components().count().saturating_sub(1);
    let mut named = false;
    if target.as_os_str().is_empty() {
        return false;
    }
    for component in target.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(_) => named = true,
            Component::ParentDir if named || depth == 0 => return false,
            Component::ParentDir => depth -= 1,
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_may_not_leave_the_release() {
        let inside =
            |link: &str, target: &str| link_stays_inside(Path::new(link), Path::new(target));
        assert!(inside("node_modules/.bin/tsc", "../typescript/bin/tsc"));
        assert!(inside("current", "./v2"));
        assert!(inside("a/b", ".."));
        assert!(!inside("a", ".."));
        assert!(!inside("a/b", "../.."));
        assert!(!inside("a", "/etc/passwd"));
        assert!(!inside("a", ""));
        assert!(!inside("a/b/c", "d/../../../.."));
    }
}
