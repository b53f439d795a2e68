//! What both slots share: settings that are not in the repository, uploads, a database in a file.

use super::directory::Directory;
use super::draft::Draft;
use crate::lint::Severity;

/// Directories that apps write into and people keep.
const DIRS: [&str; 5] = ["uploads", "public/uploads", "static/uploads", "media", "public/storage"];
/// How SQLite's files are called.
const DATABASES: [&str; 4] = [".sqlite", ".sqlite3", ".db", ".db3"];

/// Sets `[shared]` from what is there.
pub(super) fn find(dir: &Directory, draft: &mut Draft) {
    let wanted = draft.kind == "Laravel" || draft.kind == "Symfony";
    let from =
        dir.first_of(&[".env"]).or_else(|| dir.first_of(&[".env.example"]).filter(|_| wanted));
    if let Some(from) = from {
        draft.list(
            "shared.files",
            &[".env"],
            &format!("{from}; production's own: <root>/shared/.env on the host"),
        );
    }
    let mut dirs: Vec<&str> = DIRS.into_iter().filter(|path| dir.has_dir(path)).collect();
    if draft.kind == "Laravel" {
        dirs = vec!["storage"];
    }
    let databases = dir.ending(&DATABASES);
    for (path, _) in databases {
        match path.rsplit_once('/') {
            // Below a source directory, a shared one would hide the code.
            Some((parent, _)) if holds_only_data(dir, parent) => {
                if !dirs.iter().any(|known| parent == *known || parent.starts_with(&format!("{known}/"))) {
                    dirs.push(parent);
                }
            }
            Some(_) | None => draft.note(
                "shared.sqlite",
                Severity::Warning,
                path,
                "this database lies among the sources: each release would have its own copy, without its -wal",
                "move it into a directory of its own, like data/, and set shared.dirs = [\"data\"]",
            ),
        }
    }
    draft.list("shared.dirs", &dirs, "one for both slots; what is shipped there seeds it once");
}

fn holds_only_data(dir: &Directory, parent: &str) -> bool {
    let prefix = format!("{parent}/");
    let is_code = |path: &String| {
        path.starts_with(&prefix)
            && [".py", ".js", ".ts", ".php", ".go", ".rs"].iter().any(|end| path.ends_with(end))
    };
    !dir.files.keys().any(is_code)
}
