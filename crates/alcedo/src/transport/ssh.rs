//! The system's `ssh`, with what is strict: host keys must be known, nothing is asked, nothing is forwarded.
//!
//! `~/.ssh/config`, agents and jump hosts work, since it is the user's own program. The key of `ALCEDO_SSH_KEY` and the
//! lines of `ALCEDO_KNOWN_HOSTS` are written to files that only this user can read, for as long as a connection is being
//! made: never into an argument list, a log, or another program's environment.

use super::program::{Passing, Program, Reason, Silence, Started};
use crate::adapters::exec::Exit;
use alcedo_core::host::SshAddress;
use std::io::{self, Write};
use std::path::Path;

/// What only the client's environment knows.
#[derive(Clone, Default)]
pub(crate) struct Keys {
    /// `ALCEDO_SSH_KEY`: a private key, as text.
    pub(crate) key: Option<String>,
    /// `ALCEDO_KNOWN_HOSTS`: lines of a `known_hosts` file.
    pub(crate) known_hosts: Option<String>,
}

impl Keys {
    /// As they are set; set to nothing, they are absent.
    pub(crate) fn from_env() -> Self {
        let var = |name| std::env::var(name).ok().filter(|text: &String| !text.trim().is_empty());
        Self { key: var("ALCEDO_SSH_KEY"), known_hosts: var("ALCEDO_KNOWN_HOSTS") }
    }
}

/// The way to `address`, where `words` (`alcedo host VERB APP`) are run.
pub(crate) fn program(address: SshAddress, words: Vec<String>, keys: Keys) -> Program {
    let machine = address.to_string();
    let explained = address.clone();
    let start = move || command(&address, words.clone(), &keys);
    let explain = move |silence: &Silence| explain(&explained, silence);
    Program::new(machine, Box::new(start), Box::new(explain))
}

/// `ssh` with these words for the shell there, and the files that it reads.
pub(super) fn command(
    address: &SshAddress,
    words: Vec<String>,
    keys: &Keys,
) -> io::Result<Started> {
    let mut files = Vec::new();
    let key = keys.key.as_deref().map(key_text).transpose()?;
    let key = key.map(|text| private_file(&text, &mut files)).transpose()?;
    let known = keys.known_hosts.as_deref().map(lines_text);
    let known = known.map(|text| private_file(&text, &mut files)).transpose()?;
    let argv = arguments(address, &words, key.as_deref(), known.as_deref());
    Ok(Started { argv, _files: files })
}

/// The way through a program of the user's own.
pub(crate) fn other(shown: String, mut argv: Vec<String>, words: Vec<String>) -> Program {
    let name = argv.first().cloned().unwrap_or_default();
    argv.extend(words);
    let start = move || Ok(Started { argv: argv.clone(), _files: Vec::new() });
    let explain = move |silence: &Silence| match no_alcedo(silence) {
        Some(reason) => reason,
        None => Reason {
            seen: seen(&format!("`{name}`"), silence),
            hint: Some("its stdin and stdout have to be those of `alcedo host` there".to_owned()),
            passing: Passing::Maybe,
        },
    };
    Program::new(shown, Box::new(start), Box::new(explain))
}

fn arguments(
    address: &SshAddress,
    words: &[String],
    key: Option<&Path>,
    known: Option<&Path>,
) -> Vec<String> {
    let mut argv = vec!["ssh".to_owned(), "-T".to_owned()];
    let mut option = |text: String| argv.extend(["-o".to_owned(), text]);
    for fixed in [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "ConnectTimeout=15",
        "ServerAliveInterval=5",
        "ServerAliveCountMax=3",
        "ClearAllForwardings=yes",
        "ForwardAgent=no",
        "PermitLocalCommand=no",
        // A master that stays behind would keep our pipes open.
        "ControlMaster=no",
        // Uploads are packed already.
        "Compression=no",
    ] {
        option(fixed.to_owned());
    }
    if let Some(key) = key {
        option(format!("IdentityFile=\"{}\"", key.display()));
        option("IdentitiesOnly=yes".to_owned());
        option("IdentityAgent=none".to_owned());
        // Somebody else's open connection would be used instead of this key.
        option("ControlPath=none".to_owned());
    }
    if let Some(known) = known {
        option(format!("UserKnownHostsFile=\"{}\"", known.display()));
        option("GlobalKnownHostsFile=/dev/null".to_owned());
        option("UpdateHostKeys=no".to_owned());
    }
    if let Some(port) = address.port {
        argv.extend(["-p".to_owned(), port.to_string()]);
    }
    argv.extend(["--".to_owned(), address.destination()]);
    argv.extend(words.iter().cloned());
    argv
}

/// A private key as `ssh` wants it: CI systems lose the last line's end, or bring Windows' ones.
fn key_text(text: &str) -> io::Result<String> {
    let text = lines_text(text);
    if text.starts_with("-----BEGIN ") && text.trim_end().ends_with("-----") {
        return Ok(text);
    }
    Err(io::Error::other(
        "use ALCEDO_SSH_KEY: it is no private key; it holds the whole text, from -----BEGIN to END-----",
    ))
}

fn lines_text(text: &str) -> String {
    format!("{}\n", text.replace("\r\n", "\n").trim())
}

/// 0600, gone when dropped.
fn private_file(
    text: &str,
    files: &mut Vec<tempfile::NamedTempFile>,
) -> io::Result<std::path::PathBuf> {
    let mut file = tempfile::Builder::new().prefix("alcedo-").tempfile()?;
    file.write_all(text.as_bytes())?;
    file.flush()?;
    let path = file.path().to_owned();
    files.push(file);
    Ok(path)
}

/// What `ssh` means, and what to type.
pub(super) fn explain(address: &SshAddress, silence: &Silence) -> Reason {
    if let Some(reason) = no_alcedo(silence) {
        return reason;
    }
    let complaint = &silence.complaint;
    let by_hand = by_hand(address);
    let has = |words: &str| complaint.contains(words);
    let (hint, passing) = if has("IDENTIFICATION HAS CHANGED") {
        let hint =
            "the host's key is not the known one; find out why before anything else".to_owned();
        (hint, Passing::Never)
    } else if has("Host key verification failed") || has("host key is known for") {
        let hint = format!(
            "`{by_hand}` once by hand shows its key to compare and keep; in CI: ALCEDO_KNOWN_HOSTS"
        );
        (hint, Passing::Never)
    } else if has("Permission denied") || has("Too many authentication failures") {
        let hint = format!(
            "its key must be in {}'s authorized_keys there, and here in the agent (ssh-add) or in ALCEDO_SSH_KEY",
            address.user.as_deref().unwrap_or("the user")
        );
        (hint, Passing::Never)
    } else if has("Could not resolve hostname") {
        ("see `host` in alcedo.toml, or --host".to_owned(), Passing::Maybe)
    } else {
        (format!("`{by_hand}` by hand says more"), Passing::Maybe)
    };
    Reason { seen: seen("ssh", silence), hint: Some(hint), passing }
}

fn by_hand(address: &SshAddress) -> String {
    match address.port {
        Some(port) => format!("ssh -p {port} {}", address.destination()),
        None => format!("ssh {}", address.destination()),
    }
}

/// The shell there knows no such program.
fn no_alcedo(silence: &Silence) -> Option<Reason> {
    let has = |words: &str| silence.complaint.contains(words);
    let is_missing = silence.exit == Some(Exit::Status(127))
        || (has("alcedo") && (has("not found") || has("No such file")));
    is_missing.then(|| Reason {
        seen: "there is no `alcedo` in the PATH of that account".to_owned(),
        hint: Some("put the same version there, as /usr/local/bin/alcedo".to_owned()),
        passing: Passing::Never,
    })
}

/// The last lines of the complaint, else how it ended.
fn seen(program: &str, silence: &Silence) -> String {
    let lines: Vec<&str> =
        silence.complaint.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join("; ");
    match (last.is_empty(), &silence.exit) {
        (false, _) => format!("{program} says: {last}"),
        (true, Some(exit)) => format!("{program} ended with {exit} and said nothing"),
        (true, None) => format!("{program} said nothing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn address() -> SshAddress {
        SshAddress { user: Some("deploy".to_owned()), host: "vps".to_owned(), port: Some(2222) }
    }

    fn silence(status: i32, complaint: &str) -> Silence {
        Silence { exit: Some(Exit::Status(status)), complaint: complaint.to_owned() }
    }

    #[test]
    fn nothing_of_the_key_is_in_the_argument_list() {
        let text =
            "-----BEGIN OPENSSH PRIVATE KEY-----\r\nSECRET\r\n-----END OPENSSH PRIVATE KEY-----";
        let key = key_text(text).unwrap();
        assert!(key.ends_with("KEY-----\n") && !key.contains('\r'));
        let mut files = Vec::new();
        let path = private_file(&key, &mut files).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let words = ["alcedo", "host", "deploy", "shop"].map(str::to_owned);
        let argv = arguments(&address(), &words, Some(&path), None);
        assert!(argv.iter().all(|word| !word.contains("SECRET")), "{argv:?}");
        let end = ["-p", "2222", "--", "deploy@vps", "alcedo", "host", "deploy", "shop"];
        assert!(argv.ends_with(&end.map(str::to_owned)), "{argv:?}");
        assert!(argv.contains(&"StrictHostKeyChecking=yes".to_owned()));
        drop(files);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_key_is_refused_without_repeating_it() {
        let error = key_text("/home/ana/.ssh/id_ed25519").unwrap_err().to_string();
        assert!(error.contains("ALCEDO_SSH_KEY") && !error.contains("ana"), "{error}");
    }

    #[test]
    fn each_way_of_not_reaching_a_host_says_what_to_type() {
        let of = |status, complaint| explain(&address(), &silence(status, complaint));
        let unknown =
            of(255, "No ED25519 host key is known for [vps]:2222\nHost key verification failed.");
        assert!(unknown.hint.unwrap().contains("ssh -p 2222 deploy@vps"));
        let denied = of(255, "deploy@vps: Permission denied (publickey).");
        assert_eq!(denied.passing, Passing::Never);
        assert!(
            denied.seen.contains("Permission denied") && denied.hint.unwrap().contains("deploy's")
        );
        let down = of(255, "ssh: connect to host vps port 22: Connection refused");
        assert_eq!(down.passing, Passing::Maybe);
        let missing = of(127, "bash: line 1: alcedo: command not found");
        assert!(missing.seen.contains("no `alcedo`"));
    }
}
