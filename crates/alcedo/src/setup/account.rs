//! The account that people and CI log in to: a user in the group `alcedo`, whose key may run `alcedo host` and nothing else.

use super::PROGRAM;
use super::accounts;
use super::step::SetupError;
use crate::files::{Ids, as_owner, write_atomically};
use std::path::{Path, PathBuf};

/// Before the names of the apps in a line of ours.
fn command(apps: &str) -> String {
    format!("restrict,command=\"{PROGRAM} host --verbs all --apps {apps}\" ")
}

/// Kind and body of a public key, without what people write behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey(String);

impl PublicKey {
    /// One line of a `.pub` file: no options before the key, nothing that could end the line.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (kind, body) = (words.next()?, words.next()?);
        let is_kind =
            kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
        let is_body = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-.@".contains(&b);
        let is_one = text.trim().lines().count() == 1;
        (is_one
            && is_kind
            && kind.bytes().all(is_plain)
            && body.len() > 40
            && body.bytes().all(is_body))
        .then(|| Self(format!("{kind} {body}")))
    }
}

/// The whole `authorized_keys` with the key let in for `app`; `None`: it is already.
pub(super) fn admitted(text: &str, key: &PublicKey, app: &str) -> Option<String> {
    let Some(line) = text.lines().find(|line| line.contains(&key.0)) else {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return Some(format!("{text}{end}{}{}\n", command(app), key.0));
    };
    let ours = command("");
    let (before, _) = ours.split_once("\" ")?;
    // A line of somebody else's lets the key in as they wanted it.
    let (apps, rest) = line.strip_prefix(before)?.split_once('"')?;
    if apps.split(',').any(|known| known == app) {
        return None;
    }
    let wider = format!("{before}{apps},{app}\"{rest}");
    Some(text.replacen(line, &wider, 1))
}

/// Where a user's keys are.
pub(super) fn file(user: &str) -> PathBuf {
    let home = accounts::home(user).unwrap_or_else(|| format!("/home/{user}"));
    Path::new(&home).join(".ssh/authorized_keys")
}

/// Lets the key in, with the rights of the user whose file it is.
pub(super) fn admit(user: &str, key: &PublicKey, app: &str) -> Result<(), SetupError> {
    let path = file(user);
    let failed = |source| SetupError::File { path: path.clone(), source };
    let missing = || failed(std::io::Error::other(format!("there is no user `{user}`")));
    let group = accounts::group_of(user);
    let ids = accounts::uid(user).zip(accounts::gid(&group));
    let (uid, gid) = ids.ok_or_else(missing)?;
    let write = || -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let dir = path.parent().unwrap_or(Path::new("/"));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let text = read(&path)?;
        match admitted(&text, key, app) {
            None => Ok(()),
            Some(text) => {
                write_atomically(&path, text.as_bytes(), 0o600).map_err(std::io::Error::other)
            }
        }
    };
    as_owner(Ids { user: uid, group: gid }, write).and_then(|done| done).map_err(failed)
}

/// What stands there; nothing when there is nothing.
pub(super) fn read(path: &Path) -> std::io::Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAM ana@laptop";

    #[test]
    fn key_is_let_in_for_one_app_then_for_two_and_other_lines_stay() {
        let key = PublicKey::parse(KEY).unwrap();
        let one = admitted("ssh-rsa AAAA other", &key, "shop").unwrap();
        let line =
            "restrict,command=\"/usr/local/bin/alcedo host --verbs all --apps shop\" ssh-ed25519 ";
        assert!(one.starts_with("ssh-rsa AAAA other\n") && one.contains(line), "{one}");
        assert_eq!(admitted(&one, &key, "shop"), None);
        let two = admitted(&one, &key, "api").unwrap();
        assert!(two.contains("--apps shop,api\" ssh-ed25519 "), "{two}");
        assert_eq!(two.lines().count(), 2, "{two}");
    }

    #[test]
    fn a_key_that_somebody_let_in_otherwise_stays_as_it_is() {
        let key = PublicKey::parse(KEY).unwrap();
        assert_eq!(admitted(&format!("{KEY}\n"), &key, "shop"), None);
    }

    #[test]
    fn what_is_no_single_public_key_is_refused() {
        for wrong in
            ["", "ssh-ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----", &format!("{KEY}\n{KEY}")]
        {
            assert_eq!(PublicKey::parse(wrong), None, "{wrong:?}");
        }
        let options = format!("command=\"sh\" {KEY}");
        assert_eq!(PublicKey::parse(&options), None);
    }
}
