//! How a machine is written: `deploy@vps.example`, `local`, or a program whose stdin and stdout lead there.
//!
//! Parsed once, strictly: what comes out is safe as an argument of `ssh` and names the machine in every message.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest accepted text, in bytes.
pub const HOST_BYTES_MAX: usize = 1_000;
/// A host or user name's longest part, in bytes (DNS allows 253).
const NAME_BYTES_MAX: usize = 253;

/// A machine, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostAddress {
    /// This machine.
    Local,
    /// Reached by the system's `ssh`.
    Ssh(SshAddress),
    /// Reached by a program: its argument list, before `alcedo host …` (`exec:multipass exec router --`).
    Exec(Vec<String>),
}

/// `[user@]host[:port]`; the host may be a name of `~/.ssh/config`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SshAddress {
    /// Who logs in; absent: what `ssh` takes by itself.
    pub user: Option<String>,
    /// Name, alias or address (IPv6 without brackets).
    pub host: String,
    /// Absent: what `ssh` takes by itself.
    pub port: Option<u16>,
}

/// Why a text names no machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read {text:?} as a host: {problem}")]
pub struct HostError {
    /// The rejected text.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// How it is written right.
pub const HOST_FORMS: &str =
    "`deploy@vps.example`, `deploy@203.0.113.7:2222`, `local`, or `exec:PROGRAM ARGUMENTS`";

impl HostAddress {
    /// Reads `local`, `exec:…`, or `[ssh://][user@]host[:port]`.
    ///
    /// # Errors
    /// When it is none of these; nothing that begins with a hyphen is one, so that no text becomes an option.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let refuse = |problem| Err(HostError { text: text.chars().take(80).collect(), problem });
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.len() > HOST_BYTES_MAX {
            return refuse("it is too long");
        }
        if text == "local" {
            return Ok(Self::Local);
        }
        if let Some(words) = text.strip_prefix("exec:") {
            return match program(words) {
                Ok(words) => Ok(Self::Exec(words)),
                Err(problem) => refuse(problem),
            };
        }
        match ssh(text.strip_prefix("ssh://").unwrap_or(text)) {
            Ok(address) => Ok(Self::Ssh(address)),
            Err(problem) => refuse(problem),
        }
    }
}

fn program(words: &str) -> Result<Vec<String>, &'static str> {
    let words = shell_words::split(words).map_err(|_| "a quotation mark is not closed")?;
    let Some(first) = words.first() else { return Err("`exec:` names no program") };
    if first.is_empty() || first.starts_with('-') {
        return Err("`exec:` names no program");
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err("no argument can have a NUL character");
    }
    Ok(words)
}

fn ssh(text: &str) -> Result<SshAddress, &'static str> {
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, text),
    };
    let (host, port) = host_and_port(rest)?;
    if user.is_some_and(|user| !is_plain(user, "._-+")) {
        return Err("the user is no name of letters, digits, `.`, `_`, `-`");
    }
    if !(is_plain(host, "._-") || is_ipv6(host)) {
        return Err("the host is no name of letters, digits, `.`, `_`, `-`, and no address");
    }
    Ok(SshAddress { user: user.map(str::to_owned), host: host.to_owned(), port })
}

fn host_and_port(rest: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match rest.strip_prefix('[') {
        Some(inside) => {
            let (host, after) = inside.split_once(']').ok_or("`[` is not closed")?;
            if !is_ipv6(host) {
                return Err("in brackets stands an IPv6 address");
            }
            let port = after.strip_prefix(':');
            if port.is_none() && !after.is_empty() {
                return Err("after `]` comes `:` and a port, or nothing");
            }
            (host, port)
        }
        None if is_ipv6(rest) => (rest, None),
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port)) if port > 0 => Some(port),
        Some(_) => return Err("its port is no number from 1 to 65535"),
    };
    Ok((host, port))
}

fn is_ipv6(text: &str) -> bool {
    text.contains(':') && text.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Never begins with a hyphen: `ssh` would take it for an option.
fn is_plain(text: &str, also: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && !text.starts_with('-')
        && text.chars().all(is_fine)
}

impl SshAddress {
    /// What `ssh` takes as its destination.
    pub fn destination(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        }
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            // Without the scheme these two would read as something else.
            Self::Ssh(SshAddress { user: None, host, port })
                if host == "exec" || (host == "local" && port.is_none()) =>
            {
                f.write_str("ssh://")?;
                SshAddress { user: None, host: host.clone(), port: *port }.fmt(f)
            }
            Self::Ssh(address) => address.fmt(f),
            Self::Exec(words) => write!(f, "exec:{}", shell_words::join(words)),
        }
    }
}

impl fmt::Display for SshAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match (self.host.contains(':'), self.port) {
            (false, None) => f.write_str(&self.host),
            (true, None) => write!(f, "[{}]", self.host),
            (false, Some(port)) => write!(f, "{}:{port}", self.host),
            (true, Some(port)) => write!(f, "[{}]:{port}", self.host),
        }
    }
}

impl TryFrom<String> for HostAddress {
    type Error = HostError;
    fn try_from(text: String) -> Result<Self, HostError> {
        Self::parse(&text)
    }
}

impl From<HostAddress> for String {
    fn from(host: HostAddress) -> Self {
        host.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ssh(user: Option<&str>, host: &str, port: Option<u16>) -> HostAddress {
        let user = user.map(str::to_owned);
        HostAddress::Ssh(SshAddress { user, host: host.to_owned(), port })
    }

    #[test]
    fn machines_are_read_as_people_write_them() {
        let read = |text| HostAddress::parse(text).expect(text);
        assert_eq!(read("local"), HostAddress::Local);
        assert_eq!(read("deploy@vps.example"), ssh(Some("deploy"), "vps.example", None));
        assert_eq!(read("ssh://deploy@10.0.0.1:22"), ssh(Some("deploy"), "10.0.0.1", Some(22)));
        assert_eq!(read("prod_1"), ssh(None, "prod_1", None));
        assert_eq!(read("a@[::1]:2222"), ssh(Some("a"), "::1", Some(2222)));
        assert_eq!(read("::1"), ssh(None, "::1", None));
        for text in ["ssh://local", "ssh://exec:22"] {
            assert_eq!(read(text).to_string(), text);
        }
        let words = ["multipass", "exec", "the router", "--"].map(str::to_owned).to_vec();
        assert_eq!(read("exec:multipass exec 'the router' --"), HostAddress::Exec(words));
    }

    #[test]
    fn what_ssh_could_take_for_something_else_is_refused() {
        for text in [
            "",
            "-oProxyCommand=sh",
            "a@-oProxyCommand=sh",
            "-l@host",
            "a b@host",
            "host;reboot",
            "host:0",
            "host:99999",
            "host:",
            "@host",
            "a@",
            "[::1",
            "[name]",
            "[::1]x",
            "exec:",
            "exec:-c x",
            "exec:'open",
            "a@h\nb",
            "user:password@host",
            "ssh://host/path",
        ] {
            assert!(HostAddress::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_no_option_and_reads_back(text in "\\PC{0,40}|[a-z@:.\\[\\]0-9-]{0,20}") {
            if let Ok(host) = HostAddress::parse(&text) {
                prop_assert_eq!(HostAddress::parse(&host.to_string()), Ok(host.clone()));
                if let HostAddress::Ssh(address) = host {
                    prop_assert!(!address.destination().starts_with('-'));
                    prop_assert!(!address.host.starts_with('-'));
                }
            }
        }
    }
}
