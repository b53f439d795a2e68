//! `alcedo host`: another machine's way to this one's daemon, over stdin and stdout. What an SSH key may do is decided
//! here.
//!
//! Run by an SSH forced command (`restrict,command="alcedo host --verbs deploy,rollback,status"`), or by a login that may
//! do everything anyway. Speaks [`greeting`] first, then HTTP/2 with the calls of `api.rs`; each call is held against
//! the rights of the key before the daemon hears of it. Never runs what it is sent, and never touches an app itself.

mod bridge;
pub(crate) mod greeting;
mod request;
mod rights;
mod tunnel;

use crate::api::{API_VERSION, Failed};
use crate::cli::HostArgs;
use crate::engine::order::chain;
use crate::paths::Paths;
use crate::supervise;
use greeting::Greeting;
use request::{Request, Verb};
use rights::Rights;
use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

/// The code of a daemon that does not answer: the client tries again.
pub(crate) const UNREACHED: &str = "daemon-unreached";
/// Where sshd puts what the client asked for, when the key has a command of its own.
const ASKED: &str = "SSH_ORIGINAL_COMMAND";
/// Starting the daemon may take so long.
const START_LIMIT: Duration = Duration::from_secs(15);

/// Serves one connection. 0 when the client has ended it, 1 when it was refused.
pub(crate) fn main(args: &HostArgs) -> u8 {
    let asked = std::env::var_os(ASKED);
    let admitted = admitted(args, asked.as_ref());
    match admitted.and_then(|admitted| ready().map(|paths| (admitted, paths))) {
        Ok(((_, Request { verb: Verb::Tunnel, app }), paths)) => match tunnel::find(app, &paths) {
            Ok(address) => {
                greet(None);
                ended(tunnel::serve(&address))
            }
            Err(failed) => {
                refuse(&failed);
                1
            }
        },
        Ok(((rights, _), paths)) => {
            greet(None);
            ended(bridge::serve(rights, &paths))
        }
        Err(failed) => {
            refuse(&failed);
            1
        }
    }
}

/// What the one at the other end may do, when it may do what it asks for.
fn admitted(args: &HostArgs, asked: Option<&OsString>) -> Result<(Rights, Request), Failed> {
    let request = match (&args.words[..], asked) {
        ([], Some(asked)) if args.verbs.is_none() => {
            let _ = asked;
            return Err(Failed::new(
                "not-allowed",
                "the line of this key in authorized_keys names no verbs",
                1,
            )
            .hint("command=\"alcedo host --verbs deploy,rollback,status\""));
        }
        ([], Some(asked)) => Request::parse(asked)?,
        ([], None) if args.verbs.is_some() => return Err(request::nothing_asked()),
        (words, _) => Request::of_words(words)?,
    };
    let rights = Rights::of(args)?;
    rights.check(&request)?;
    Ok((rights, request))
}

/// Makes sure that a daemon runs.
fn ready() -> Result<Paths, Failed> {
    let failed = |text: String| Failed::new(UNREACHED, format!("failed to {text}"), 6);
    let paths = Paths::prepare().map_err(|error| failed(chain(&error)))?;
    revive(&paths).map_err(failed)?;
    Ok(paths)
}

/// Starts daemon and proxy when they do not run.
fn revive(paths: &Paths) -> Result<(), String> {
    let exe = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    supervise::ensure_running(paths, &exe, START_LIMIT).map_err(|error| chain(&error))
}

fn ended(served: std::io::Result<()>) -> u8 {
    match served {
        Ok(()) => 0,
        Err(error) => {
            complain(&format!("alcedo host: the connection broke: {error}"));
            1
        }
    }
}

/// The first line: who is here, and why not, where it is refused.
fn greet(refused: Option<&Failed>) {
    let greeting = Greeting {
        api: API_VERSION,
        alcedo: env!("CARGO_PKG_VERSION").to_owned(),
        refused: refused.cloned(),
    };
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(greeting::line(&greeting).as_bytes());
    let _ = stdout.flush();
}

/// In words for whoever typed `ssh` by hand, and as data for `alcedo`.
fn refuse(failed: &Failed) {
    greet(Some(failed));
    complain(&format!("alcedo host: {}", failed.message));
    if let Some(hint) = &failed.hint {
        complain(&format!("Hint: {hint}"));
    }
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests;
