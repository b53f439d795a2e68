//! The path that says that the app is ready: looked for in the sources, never invented.

use super::directory::Directory;
use super::draft::Draft;
use crate::lint::Severity;

/// In the order in which they are believed.
const PATHS: [&str; 12] = [
    "/healthz",
    "/health",
    "/up",
    "/_health",
    "/readyz",
    "/ready",
    "/livez",
    "/ping",
    "/api/healthz",
    "/api/health",
    "/api/up",
    "/status",
];
/// Sources in which a route can stand.
const SOURCES: [&str; 13] = [
    ".py", ".js", ".mjs", ".cjs", ".ts", ".tsx", ".jsx", ".go", ".rs", ".php", ".rb", ".java",
    ".kt",
];
/// What a string can begin and end with; Go 1.22 puts the method before the path.
const QUOTES: [char; 3] = ['"', '\'', '`'];

/// Sets `health.path`, or shows the line with the finding that its absence causes.
pub(super) fn find(dir: &Directory, draft: &mut Draft) {
    let sources = dir.ending(&SOURCES);
    let sources: Vec<_> = sources.into_iter().filter(|(path, _)| !is_test(path)).collect();
    for wanted in PATHS {
        let found = sources.iter().find_map(|(path, text)| {
            let line = text.lines().position(|line| names(line, wanted, path))?;
            Some(format!("{path}:{}", line + 1))
        });
        if let Some(from) = found.or_else(|| by_file(dir, wanted)) {
            let path = from.split(':').next().unwrap_or_default();
            // Django's own paths end with a slash, and another one is a redirect.
            let slash = path.ends_with("urls.py")
                && dir.text(path).is_some_and(|text| text.contains(&format!("{}/", &wanted[1..])));
            let wanted = if slash { format!("{wanted}/") } else { wanted.to_owned() };
            return draft.set("health.path", wanted, from);
        }
    }
    draft.propose("health.path", "/healthz", "none found: without it an open port counts as ready");
    draft.note(
        "health.none",
        Severity::Warning,
        "health.path",
        "no health path was found in the sources: an open port counts as ready, whatever it would answer",
        "answer 200 on /healthz once database and cache do, and set health.path",
    );
}

fn is_test(path: &str) -> bool {
    path.split('/').any(|part| {
        part.starts_with("test")
            || part.starts_with("spec")
            || part.contains("_test.")
            || part.contains(".test.")
    })
}

/// Whether the line has the path as a string of its own: `/health` is not in `"/healthcare"`.
fn names(line: &str, wanted: &str, file: &str) -> bool {
    let trimmed = line.trim_start();
    if trimmed.starts_with("//") || trimmed.starts_with('#') && !trimmed.starts_with("#[") {
        return false;
    }
    // `path("healthz", …)` of Django has no slash in front.
    let bare = file.ends_with("urls.py").then(|| &wanted[1..]);
    std::iter::once(wanted).chain(bare).any(|wanted| {
        line.match_indices(wanted).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + wanted.len()..].trim_start_matches('/').chars().next();
            let opens = before.is_some_and(|c| QUOTES.contains(&c) || c == ' ');
            opens && after.is_some_and(|c| QUOTES.contains(&c))
        })
    })
}

/// Routes that are files.
fn by_file(dir: &Directory, wanted: &str) -> Option<String> {
    let found = dir.files.keys().find(|path| {
        let path = path.strip_prefix("src/").unwrap_or(path);
        ["ts", "js", "tsx", "jsx"].iter().any(|ext| {
            path == format!("app{wanted}/route.{ext}") || path == format!("pages{wanted}.{ext}")
        })
    });
    found.cloned()
}
