//! `key ci`: an SSH key that may deploy, roll back and read status, and nothing else. Made here, kept nowhere.

use super::app;
use super::session::Session;
use crate::adapters::clock;
use crate::adapters::exec::{self, Environment, Exit, Output, Program};
use crate::api::Failed;
use crate::cli::KeyArgs;
use crate::engine::ports::{Call, Cancel};
use crate::report::ended::exit;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the key may do.
const VERBS: &str = "deploy,rollback,status";
/// `ssh-keygen` takes milliseconds.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs `key ci`.
pub(crate) fn run(session: &mut Session, args: &KeyArgs) -> anyhow::Result<u8> {
    let app = if app::is_named(&session.globals) { Some(session.app_by_name()?) } else { None };
    let name = app.as_ref().map(|app| app.name.to_string());
    let machine = match &app {
        Some(_) => session.machine_name(app.as_ref()),
        None => session.machine_name(None),
    };
    let dir =
        tempfile::Builder::new().prefix("alcedo-key-").tempdir().context("make a directory")?;
    let file = dir.path().join("key");
    generate(&file, &format!("alcedo-ci-{}", name.as_deref().unwrap_or("all")))?;
    let private = std::fs::read_to_string(&file).context("read the new key")?;
    let public = std::fs::read_to_string(file.with_extension("pub")).context("read the new key")?;
    let line = authorized(public.trim(), name.as_deref());
    if let Some(out) = &args.out {
        keep(out, &private, &line)?;
    }
    if session.json() {
        session.print_json(&serde_json::json!({
            "authorized_keys": line,
            "public_key": public.trim(),
            "private_key": if args.out.is_some() { None } else { Some(&private) },
            "verbs": VERBS.split(',').collect::<Vec<_>>(),
            "app": name,
            "host": machine,
        }));
        return Ok(exit::DONE);
    }
    say(session, &machine, &line, &private, args.out.as_deref());
    Ok(exit::DONE)
}

/// The line of `authorized_keys`: everything that a login could do is off, and what runs is fixed.
fn authorized(public: &str, app: Option<&str>) -> String {
    let apps = app.map(|app| format!(" --apps {app}")).unwrap_or_default();
    format!("restrict,command=\"alcedo host --verbs {VERBS}{apps}\" {public}")
}

/// By the program that knows the format, without a passphrase: CI has nobody to ask.
fn generate(file: &Path, comment: &str) -> anyhow::Result<()> {
    let fixed = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"];
    let argv = fixed.map(str::to_owned).into_iter().chain([file.display().to_string()]).collect();
    let program = Program {
        argv,
        env: Environment::Inherited,
        dir: PathBuf::from("/"),
        output: Output::Kept { limit_bytes: 4096 },
    };
    let cancel = Cancel::default();
    let call = Call { deadline: clock::now().after(LIMIT), cancel: &cancel, progress: &|_| {} };
    let ended = exec::run(&program, &call).map_err(|error| {
        let why = crate::engine::order::chain(&error);
        Failed::new("failed", format!("failed to make a key: {why}"), exit::FAILED)
            .hint("it needs ssh-keygen (Debian: apt-get install openssh-client)")
    })?;
    if ended.exit != Exit::Status(0) {
        let message = format!("failed to make a key: {}: {}", ended.exit, ended.last_lines(3));
        return Err(Failed::new("failed", message, exit::FAILED).into());
    }
    Ok(())
}

/// A file that is there is somebody's key.
fn keep(out: &Path, private: &str, line: &str) -> anyhow::Result<()> {
    let mut public = out.as_os_str().to_owned();
    public.push(".pub");
    for (path, text, mode) in
        [(out.to_owned(), private, 0o600), (PathBuf::from(public), line, 0o644)]
    {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::File::options();
        let opened = options.write(true).create_new(true).mode(mode).open(&path);
        let mut file = opened.with_context(|| format!("write {}", path.display()))?;
        writeln!(file, "{}", text.trim_end())
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn say(session: &mut Session, machine: &str, line: &str, private: &str, out: Option<&Path>) {
    let what = format!("A key that may {}, and nothing else.", VERBS.replace(',', ", "));
    session.reporter.words(&what);
    session.reporter.words(
        "\n1. This line goes into ~/.ssh/authorized_keys of the account that has alcedo there:\n",
    );
    session.print(&[line.to_owned()]);
    match out {
        Some(out) => {
            let text = format!(
                "\n2. The contents of {} go into CI's secrets as ALCEDO_SSH_KEY; remove the file then.",
                out.display()
            );
            session.reporter.words(&text);
        }
        None => {
            session.reporter.words(
                "\n2. This goes into CI's secrets as ALCEDO_SSH_KEY; it is kept nowhere else:\n",
            );
            session.print(&[private.trim_end().to_owned()]);
        }
    }
    let host = machine.rsplit('@').next().unwrap_or(machine);
    session.reporter.words(
        "\n3. The host's own key goes into CI's secrets as ALCEDO_KNOWN_HOSTS. On a machine that knows the host:",
    );
    session.reporter.words(&format!("     ssh-keygen -F {host}"));
    session.reporter.words("\nThen CI runs: alcedo deploy --wait bake");
}

#[cfg(test)]
mod tests {
    use super::authorized;

    #[test]
    fn the_line_takes_every_other_right_away() {
        let line = authorized("ssh-ed25519 AAAA alcedo-ci-shop", Some("shop"));
        let wanted = "restrict,command=\"alcedo host --verbs deploy,rollback,status --apps shop\" \
                      ssh-ed25519 AAAA alcedo-ci-shop";
        assert_eq!(line, wanted);
    }
}
