//! Paths: of requests, and of files on either side of a release's wall.

use super::{Complaint, Syntax, quote};
use std::path::PathBuf;

/// What stands in a request line: `/healthz?full=1`.
pub(in super::super) enum UrlPath {}

impl Syntax for UrlPath {
    type Value = String;
    const FORMAT: &'static str = "alcedo-url-path";
    const WHAT: &'static str = "a path like \"/healthz\"";
    const PATTERN: Option<&'static str> = Some("^/");

    fn parse(text: &str) -> Result<String, Complaint> {
        let problem = format!("has {}, which is not the path of a request", quote(text));
        if let Some((_, rest)) = text.split_once("://") {
            let path = rest.find('/').map_or("/", |at| &rest[at..]);
            return Err(Complaint::new(problem).hint(format!("without the host: \"{path}\"")));
        }
        if !text.starts_with('/') {
            return Err(Complaint::new(problem).hint(format!("\"/{text}\"?")));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            return Err(Complaint::new(problem).hint("no spaces or `#`; others as %XX"));
        }
        Ok(text.to_owned())
    }
}

/// The beginning of paths that go to one service, without a slash at its end.
pub(in super::super) enum RoutePrefix {}

impl Syntax for RoutePrefix {
    type Value = String;
    const FORMAT: &'static str = "alcedo-route";
    const WHAT: &'static str = "the beginning of a path, like \"/api\"";
    const PATTERN: Option<&'static str> = Some("^/.");

    fn parse(text: &str) -> Result<String, Complaint> {
        let text = UrlPath::parse(text)?;
        let prefix = text.trim_end_matches('/');
        if prefix.is_empty() {
            let hint = "the service without `routes` gets all that no other one takes";
            return Err(Complaint::new("has `/`, which is everything").hint(hint));
        }
        if prefix.contains(['?', '*']) || prefix.contains("//") {
            let problem =
                format!("has {}, which is more than the beginning of a path", quote(&text));
            return Err(Complaint::new(problem).hint("like \"/api\""));
        }
        Ok(prefix.to_owned())
    }
}

/// A path on the host.
pub(in super::super) enum AbsolutePath {}

impl Syntax for AbsolutePath {
    type Value = PathBuf;
    const FORMAT: &'static str = "alcedo-absolute-path";
    const WHAT: &'static str = "an absolute path like \"/srv/shop\"";
    const PATTERN: Option<&'static str> = Some("^/");

    fn parse(text: &str) -> Result<PathBuf, Complaint> {
        let problem = format!("is {}, not an absolute path", quote(text));
        if !text.starts_with('/') || text.contains('\0') {
            return Err(
                Complaint::new(problem).hint("like \"/srv/shop\"; `~` and `$` stay as they are")
            );
        }
        if text.split('/').any(|part| part == "..") {
            return Err(Complaint::new(problem).hint("without `..`"));
        }
        Ok(PathBuf::from(text))
    }
}

/// A path as the shell would take it, relative to the file.
pub(in super::super) enum AnyPath {}

impl Syntax for AnyPath {
    type Value = PathBuf;
    const FORMAT: &'static str = "alcedo-path";
    const WHAT: &'static str = "a path like \"dist\"";

    fn parse(text: &str) -> Result<PathBuf, Complaint> {
        if text.is_empty() || text.contains('\0') {
            return Err(Complaint::new("is not a path").hint("\".\" is the file's directory"));
        }
        if text.starts_with('~') {
            return Err(
                Complaint::new("begins with `~`, which stays as it is").hint("write it out")
            );
        }
        Ok(PathBuf::from(text))
    }
}

/// A path that stays inside a release: relative, without `..`, normalised. The release itself is `.`.
pub(in super::super) enum InsidePath {}

impl Syntax for InsidePath {
    type Value = PathBuf;
    const FORMAT: &'static str = "alcedo-inside-path";
    const WHAT: &'static str = "a path inside the release, like \"storage\"";

    fn parse(text: &str) -> Result<PathBuf, Complaint> {
        stays_inside(text)?;
        let parts: Vec<_> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        Ok(PathBuf::from(if parts.is_empty() { ".".to_owned() } else { parts.join("/") }))
    }
}

/// A pattern for paths inside a release (`*`, `**`, `?`).
pub(in super::super) enum InsidePattern {}

impl Syntax for InsidePattern {
    type Value = String;
    const FORMAT: &'static str = "alcedo-inside-pattern";
    const WHAT: &'static str = "a pattern like \"node_modules\"";

    fn parse(text: &str) -> Result<String, Complaint> {
        stays_inside(text)?;
        Ok(text.to_owned())
    }
}

fn stays_inside(text: &str) -> Result<(), Complaint> {
    if text.is_empty() || text.contains('\0') {
        return Err(Complaint::new("has an empty path"));
    }
    if text.starts_with('/') {
        let inside = text.trim_start_matches('/');
        let complaint = Complaint::new(format!("has {}, an absolute path", quote(text)));
        return Err(complaint.hint(format!("relative to the release: \"{inside}\"?")));
    }
    if text.starts_with('~') {
        let complaint = Complaint::new(format!("has {}, which stays as it is", quote(text)));
        return Err(complaint.hint("relative to the release"));
    }
    if text.split('/').any(|part| part == "..") {
        let complaint = Complaint::new(format!("has {}, which leaves the release", quote(text)));
        return Err(complaint.hint("without `..`"));
    }
    Ok(())
}
