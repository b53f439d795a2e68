//! Names, signals and command lines.

use super::super::command;
use super::super::model::ReleaseField;
use super::{Complaint, Syntax, quote};
use crate::names::AppName;

/// The app's name.
pub(in super::super) enum App {}

impl Syntax for App {
    type Value = AppName;
    const FORMAT: &'static str = "alcedo-name";
    const WHAT: &'static str = "a name like \"shop\"";
    const PATTERN: Option<&'static str> = Some("^[a-z]([a-z0-9-]*[a-z0-9])?$");

    fn parse(text: &str) -> Result<AppName, Complaint> {
        AppName::new(text).map_err(|_| not_a_name(text))
    }
}

/// What is wrong with a name, and the nearest one that is right.
pub(in super::super) fn not_a_name(text: &str) -> Complaint {
    let complaint = Complaint::new(format!("is {}, which is not a name", quote(text)));
    let mapped: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let near = mapped.trim_matches(|c: char| c == '-' || c.is_ascii_digit());
    match AppName::new(near) {
        Ok(name) => complaint.hint(format!("\"{name}\"? Lower-case letters, digits, hyphens")),
        Err(_) => complaint.hint("1 to 40 lower-case letters, digits and hyphens, a letter first"),
    }
}

/// Id of a finding, to be accepted.
pub(in super::super) enum FindingId {}

impl Syntax for FindingId {
    type Value = String;
    const FORMAT: &'static str = "alcedo-finding";
    const WHAT: &'static str = "the id of a finding, like \"memory.two-copies\"";

    fn parse(text: &str) -> Result<String, Complaint> {
        let is_fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        if text.contains('.') && text.bytes().all(is_fine) {
            return Ok(text.to_owned());
        }
        let complaint = Complaint::new(format!("has {}, which is not a finding's id", quote(text)));
        Err(complaint.hint("as `check` and `plan` show it, like \"memory.two-copies\""))
    }
}

/// A version of PHP.
pub(in super::super) enum PhpVersion {}

impl Syntax for PhpVersion {
    type Value = String;
    const FORMAT: &'static str = "alcedo-php-version";
    const WHAT: &'static str = "a version like \"8.2\"";

    fn parse(text: &str) -> Result<String, Complaint> {
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if text.len() <= 8
            && text.split_once('.').is_some_and(|(a, b)| is_number(a) && is_number(b))
        {
            return Ok(text.to_owned());
        }
        let complaint = Complaint::new(format!("has {}, which is no version of PHP", quote(text)));
        Err(complaint.hint("its first two numbers, like \"8.2\""))
    }
}

/// The graceful signal.
pub(in super::super) enum Signal {}

const SIGNALS: [&str; 7] =
    ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH"];

impl Syntax for Signal {
    type Value = String;
    const FORMAT: &'static str = "alcedo-signal";
    const WHAT: &'static str = "a signal like \"SIGTERM\"";
    const PATTERN: Option<&'static str> = Some("^SIG(TERM|INT|QUIT|HUP|USR1|USR2|WINCH)$");

    fn parse(text: &str) -> Result<String, Complaint> {
        if SIGNALS.contains(&text) {
            return Ok(text.to_owned());
        }
        let complaint = Complaint::new(format!("is {}, not a signal to end with", quote(text)));
        let upper = text.to_ascii_uppercase();
        if upper.trim_start_matches("SIG") == "KILL" {
            return Err(complaint.hint("SIGKILL follows after `stop.timeout` anyway"));
        }
        let near = SIGNALS
            .iter()
            .find(|name| name.trim_start_matches("SIG") == upper.trim_start_matches("SIG"));
        Err(match near {
            Some(name) => complaint.hint(format!("\"{name}\"?")),
            None => complaint.hint(SIGNALS.join(", ")),
        })
    }
}

/// A user of the system.
pub(in super::super) enum User {}

impl Syntax for User {
    type Value = String;
    const FORMAT: &'static str = "alcedo-user";
    const WHAT: &'static str = "a user's name like \"shop\"";
    const PATTERN: Option<&'static str> = Some("^[a-z_][a-z0-9_-]{0,31}$");

    fn parse(text: &str) -> Result<String, Complaint> {
        let is_fine =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        let starts = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if !starts || text.len() > 32 || !text.bytes().all(is_fine) {
            let complaint = Complaint::new(format!("is {}, which is no user's name", quote(text)));
            return Err(complaint.hint("1 to 32 lower-case letters, digits, `-` and `_`"));
        }
        if text == "root" || text == "alcedo" {
            let complaint = Complaint::new(format!("is {}, which an app must not be", quote(text)));
            return Err(complaint.hint("a user of its own: leave `systemd.user` out"));
        }
        Ok(text.to_owned())
    }
}

/// A share of the cores, in percent of one.
pub(in super::super) enum Cpu {}

impl Syntax for Cpu {
    type Value = u32;
    const FORMAT: &'static str = "alcedo-cpu";
    const WHAT: &'static str = "a share of a core like \"150%\"";
    const PATTERN: Option<&'static str> = Some("^[1-9][0-9]{0,5}%$");

    fn parse(text: &str) -> Result<u32, Complaint> {
        let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
        match number.filter(|percent| (1..=100_000).contains(percent)) {
            Some(percent) => Ok(percent),
            None => {
                let complaint = Complaint::new(format!("is {}, not a share", quote(text)));
                Err(complaint.hint("percent of one core: \"150%\" is one and a half"))
            }
        }
    }
}

/// A shell command: the user's own, kept as it is.
pub(in super::super) enum Shell {}

impl Syntax for Shell {
    type Value = String;
    const FORMAT: &'static str = "alcedo-shell";
    const WHAT: &'static str = "a shell command";

    fn parse(text: &str) -> Result<String, Complaint> {
        if text.trim().is_empty() {
            return Err(Complaint::new("is empty").hint("leave it out, or say what to run"));
        }
        if text.contains('\0') {
            return Err(Complaint::new("has a NUL character, which no command can have"));
        }
        Ok(text.to_owned())
    }
}

/// An argument list.
pub(in super::super) enum Command {}

impl Syntax for Command {
    type Value = Vec<String>;
    const FORMAT: &'static str = "alcedo-command";
    const WHAT: &'static str = "a command like \"bin/app --port {port}\"";

    fn parse(text: &str) -> Result<Vec<String>, Complaint> {
        command::split(text)
    }
}

/// Where an answer names its release: `json:/release` or `header:X-Release`.
pub(in super::super) enum ReleaseOf {}

impl Syntax for ReleaseOf {
    type Value = ReleaseField;
    const FORMAT: &'static str = "alcedo-release-field";
    const WHAT: &'static str = "\"json:/release\" or \"header:X-Release\"";
    const PATTERN: Option<&'static str> = Some("^(json:/|header:)");

    fn parse(text: &str) -> Result<ReleaseField, Complaint> {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        match text.split_once(':') {
            Some(("json", pointer)) if pointer.starts_with('/') => {
                Ok(ReleaseField::Json(pointer.to_owned()))
            }
            Some(("header", name)) if !name.is_empty() && name.bytes().all(is_token) => {
                Ok(ReleaseField::Header(name.to_owned()))
            }
            Some(("json", field)) if !field.is_empty() => {
                let complaint = Complaint::new("does not begin its JSON pointer with `/`");
                Err(complaint.hint(format!("\"json:/{}\"?", field.replace('.', "/"))))
            }
            Some(_) | None => {
                let complaint = Complaint::new(format!("is {}, which says not where", quote(text)));
                Err(complaint.hint("\"json:/release\" or \"header:X-Release\""))
            }
        }
    }
}
