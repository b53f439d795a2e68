//! Deploy scripts as people write them from the posts: read line by line, each defect named where it stands. A script is
//! never run, and what is not understood is no finding.

use super::finding;
use crate::lint::{Finding, Severity};
use std::collections::BTreeSet;
use std::path::Path;

/// Variables that a shell or the system sets.
const GIVEN: [&str; 16] = [
    "BASH_SOURCE",
    "CI",
    "EUID",
    "GITHUB_ACTIONS",
    "GITHUB_SHA",
    "HOME",
    "HOSTNAME",
    "IFS",
    "LANG",
    "LOGNAME",
    "OLDPWD",
    "PATH",
    "PWD",
    "SHELL",
    "UID",
    "USER",
];

/// One line: number and code.
type Line<'a> = (usize, &'a str);

/// What stands in one script.
pub(super) fn findings(path: &Path, text: &str) -> Vec<Finding> {
    let lines: Vec<Line<'_>> = text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let script = Script { path, lines: &lines };
    [
        script.undefined(),
        script.edited_in_place(),
        script.written_over(),
        script.main_file(),
        script.untested(),
        script.not_verified(),
        script.link_into_directory(),
        script.git_shipped(),
        script.no_lock(),
        script.fixed_sleep(),
        script.restart(),
        script.by_pattern(),
        script.unsupervised(),
        script.asks_the_app(),
        script.colour_only(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

struct Script<'a> {
    path: &'a Path,
    lines: &'a [Line<'a>],
}

impl Script<'_> {
    fn find(&self, fits: impl Fn(&str) -> bool) -> Option<usize> {
        self.lines.iter().find(|(_, line)| fits(line)).map(|(at, _)| *at)
    }

    fn has(&self, word: &str) -> bool {
        self.find(|line| line.contains(word)).is_some()
    }

    fn told(&self, id: &str, severity: Severity, at: usize, message: &str, fix: &str) -> Finding {
        finding(id, severity, format!("{}:{at}", self.path.display()), message, fix)
    }

    fn reload(&self) -> Option<usize> {
        let is_reload = |line: &str| {
            line.contains("reload nginx")
                || line.contains("nginx -s reload")
                || line.contains("nginx reload")
        };
        self.lines.iter().rev().find(|(_, line)| is_reload(line)).map(|(at, _)| *at)
    }

    /// S0-D2.
    fn undefined(&self) -> Option<Finding> {
        let set: BTreeSet<&str> = self.lines.iter().flat_map(|(_, line)| assigned(line)).collect();
        let unset = |line: &str| {
            used(line)
                .into_iter()
                .find(|name| !set.contains(name) && !GIVEN.contains(name))
                .map(str::to_owned)
        };
        let (at, name) = self.lines.iter().find_map(|(at, line)| Some((*at, unset(line)?)))?;
        let message = format!(
            "${name} is used and never set: what it stands in does nothing, or something else"
        );
        Some(self.told(
            "script.undefined-variable",
            Severity::Error,
            at,
            &message,
            "set it, or set -u at the top; alcedo rollback needs no script",
        ))
    }

    /// S0-D3, S0-D4, S0-38.
    fn edited_in_place(&self) -> Option<Finding> {
        let at = self.find(|line| {
            line.starts_with("sed ") && line.contains(" -i") && line.contains("nginx")
        })?;
        let message = "nginx's file is edited in place: a pattern that fits too much stays on disk, and so does what `nginx -t` refuses";
        Some(self.told(
            "script.edit-in-place",
            Severity::Warning,
            at,
            message,
            "write the whole file anew beside it, test, rename; alcedo does",
        ))
    }

    /// S1-D5.
    fn written_over(&self) -> Option<Finding> {
        let writes = |line: &str| {
            line.contains("tee /etc/nginx")
                || line.contains("> /etc/nginx")
                || line.contains(">/etc/nginx")
        };
        let at = self.find(writes)?;
        let message = "the live file is written over: a moment in which it is empty, and nothing to go back to when `nginx -t` refuses it";
        Some(self.told(
            "script.tee-selector",
            Severity::Warning,
            at,
            message,
            "write it beside, keep the old one, rename; alcedo does",
        ))
    }

    /// S3-D2.
    fn main_file(&self) -> Option<Finding> {
        let replaces = |line: &str| {
            let moves = ["mv ", "cp ", "install "].iter().any(|verb| line.contains(verb));
            moves && (line.contains("/etc/nginx/nginx.conf") || line.contains("*.conf /etc/nginx"))
        };
        let at = self.find(replaces)?;
        let message = "the host's whole nginx.conf is replaced: other sites and their TLS are gone";
        Some(self.told(
            "script.main-file",
            Severity::Warning,
            at,
            message,
            "a file of your own in sites-available; alcedo touches one file",
        ))
    }

    /// S3-D2: `nginx -s reload` without a test.
    fn untested(&self) -> Option<Finding> {
        let at = self.reload().filter(|_| !self.has("nginx -t"))?;
        let message = "nginx is reloaded without `nginx -t`: a broken file stays unnoticed until the next start";
        Some(self.told(
            "script.untested-reload",
            Severity::Warning,
            at,
            message,
            "nginx -t && systemctl reload nginx",
        ))
    }

    /// S0-D10, S1-45, S3-26.
    fn not_verified(&self) -> Option<Finding> {
        let at = self.reload()?;
        let asks = |(line_at, line): &&Line<'_>| {
            *line_at > at && (line.contains("curl") || line.contains("wget"))
        };
        if self.lines.iter().any(|line| asks(&line)) {
            return None;
        }
        let message = "after the reload nobody asks through nginx whether the new version answers";
        Some(self.told(
            "script.not-verified",
            Severity::Warning,
            at,
            message,
            "curl -fsS https://your.domain/healthz; alcedo's `verify` does",
        ))
    }

    /// S0-D6.
    fn link_into_directory(&self) -> Option<Finding> {
        let flags = |line: &str| {
            line.split_once("ln -")
                .map(|(_, rest)| rest.split_whitespace().next().unwrap_or("").to_owned())
        };
        let nests = |line: &str| {
            let is_file = line.split_whitespace().last().is_some_and(|to| {
                to.trim_matches('"').rsplit('/').next().is_some_and(|name| name.contains('.'))
            });
            flags(line).is_some_and(|flags| flags.contains('s') && !flags.contains(['n', 'T']))
                && !is_file
        };
        let at = self.find(nests)?;
        let message =
            "`ln -s` without -n: where a directory is in the way, the link is made inside it";
        Some(self.told(
            "script.link-into-directory",
            Severity::Warning,
            at,
            message,
            "ln -sfn, after a look at what is there; or shared.dirs",
        ))
    }

    /// S0-D5.
    fn git_shipped(&self) -> Option<Finding> {
        let ships = |line: &str| line.contains("rsync ") && !line.contains(".git");
        let at = self.find(ships).filter(|_| self.has("git ") || self.has("rev-parse"))?;
        let message = "a checkout is copied with its .git, which is then served with the rest";
        Some(self.told(
            "script.git-shipped",
            Severity::Warning,
            at,
            message,
            "rsync --exclude=.git; alcedo never ships it",
        ))
    }

    /// S0-D7.
    fn no_lock(&self) -> Option<Finding> {
        let at = self.reload().filter(|_| {
            !self.has("flock")
                && !self.has("lockfile")
                && !self.has("mkdir /run")
                && !self.has("alcedo")
        })?;
        let message = "no lock: two deploys at the same time both take the same slot for idle";
        Some(self.told(
            "script.no-lock",
            Severity::Warning,
            at,
            message,
            "exec 9>/run/deploy.lock; flock -n 9; alcedo has one",
        ))
    }

    /// S0-D7, S0-22, S3-23.
    fn fixed_sleep(&self) -> Option<Finding> {
        let is_loop = |line: &str| {
            ["for ", "while ", "until "].iter().any(|word| line.starts_with(word))
                || line.contains("--retry")
        };
        let at = self
            .find(|line| line.starts_with("sleep "))
            .filter(|_| self.find(is_loop).is_none())?;
        let message =
            "a fixed sleep, then one try: too short on a busy day, and too long on all others";
        Some(self.told(
            "script.fixed-sleep",
            Severity::Info,
            at,
            message,
            "curl --retry 30 --retry-connrefused --retry-delay 1 --max-time 1",
        ))
    }

    /// S0-D8.
    fn restart(&self) -> Option<Finding> {
        let at = self
            .find(|line| line.contains("systemctl restart ") && !line.contains("restart nginx"))?;
        let message = "the idle slot is restarted at once: what still drains there from the last switch is cut";
        Some(self.told(
            "script.restart-draining",
            Severity::Info,
            at,
            message,
            "wait until its connections are gone: ss -tn sport = :PORT; alcedo does",
        ))
    }

    /// S3-D4.
    fn by_pattern(&self) -> Option<Finding> {
        let at = self.find(|line| line.contains("pkill -f") || line.contains("killall "))?;
        let message =
            "processes are ended by a pattern: whatever has it in its command line goes with them";
        Some(self.told(
            "script.pkill",
            Severity::Warning,
            at,
            message,
            "a unit for each slot, and systemctl stop",
        ))
    }

    /// S3-13.
    fn unsupervised(&self) -> Option<Finding> {
        let starts =
            |line: &str| line.ends_with(" &") && !line.ends_with("&&") && !line.contains("wait");
        let at = self.find(starts)?;
        let message = "started with `&`: nobody starts it again after a crash or a reboot";
        Some(self.told(
            "script.unsupervised",
            Severity::Warning,
            at,
            message,
            "a unit, or runner = \"systemd\"",
        ))
    }

    /// S3-D6.
    fn asks_the_app(&self) -> Option<Finding> {
        let at = self.find(|line| {
            line.contains("curl")
                && (line.contains(".color") || line.contains(".colour"))
                && line.contains('=')
        })?;
        let message = "which slot is live is asked of the app: when the site is down the answer is empty, and blue is taken for idle";
        Some(self.told(
            "script.live-asked-of-app",
            Severity::Warning,
            at,
            message,
            "ask what chooses: readlink the link, or alcedo status",
        ))
    }

    /// S3-D3.
    fn colour_only(&self) -> Option<Finding> {
        let names_release =
            ["commit", "release", "sha", "version"].iter().any(|word| self.has(word));
        let at = self
            .find(|line| {
                line.contains("curl") && (line.contains("/status") || line.contains(".color"))
            })
            .filter(|_| !names_release)?;
        let message = "a slot is known by its colour alone: an old process of that colour that still has the port passes";
        Some(self.told(
            "script.colour-as-identity",
            Severity::Warning,
            at,
            message,
            "answer with the release, and set health.release",
        ))
    }
}

/// Names that a line sets.
fn assigned(line: &str) -> Vec<&str> {
    let words = line.split([' ', ';', '\t', '(']).filter_map(|word| word.split_once('='));
    let mut names: Vec<&str> =
        words.map(|(name, _)| name.trim_end_matches('+')).filter(|name| is_name(name)).collect();
    for keyword in ["for ", "read ", "read -r ", "local ", "export ", "declare ", "readonly "] {
        if let Some((_, rest)) = line.split_once(keyword) {
            names.extend(
                rest.split_whitespace()
                    .take_while(|word| *word != "in")
                    .filter(|word| is_name(word)),
            );
        }
    }
    names
}

/// Names that a line uses, without those that have a default.
fn used(line: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_literal = false;
    for (at, c) in line.char_indices() {
        if c == '\'' && line[..at].matches('"').count().is_multiple_of(2) {
            is_literal = !is_literal;
        }
        if c != '$' || is_literal || line[..at].ends_with('\\') {
            continue;
        }
        let rest = &line[at + 1..];
        let body = rest.strip_prefix('{').unwrap_or(rest);
        let end = body.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(body.len());
        let has_default = rest.starts_with('{') && body[end..].starts_with([':', '-', '+', '?']);
        if is_name(&body[..end]) && !has_default {
            names.push(&body[..end]);
        }
    }
    names
}

/// Names of scripts' own: lower-case ones are awk's and jq's as often as not.
fn is_name(text: &str) -> bool {
    text.len() > 1
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        && !text.as_bytes()[0].is_ascii_digit()
}
