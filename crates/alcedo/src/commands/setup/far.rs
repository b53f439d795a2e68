//! `setup --host root@HOST`: brings this program and the configuration there, lets it prepare that host, and leaves
//! nothing behind. The account of `host =` gets a key that may use `alcedo host` for this app, and nothing else.

use super::Target;
use crate::adapters::exec::Exit;
use crate::api::Failed;
use crate::cli::SetupArgs;
use crate::commands::session::Session;
use crate::files::machine_of;
use crate::transport::login::{self, Said};
use alcedo_core::HostAddress;
use alcedo_core::host::SshAddress;
use alcedo_core::release::Machine;
use anyhow::Context;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

/// A directory of the account's own: nobody else can put anything into it.
const RECEIVE: &str = "set -eu; umask 077; d=$(mktemp -d \"$HOME/.alcedo-setup.XXXXXX\"); \
    cat >\"$d/alcedo\"; chmod 700 \"$d/alcedo\"; echo \"$d\"";
/// Public keys that people have, the best first.
const KEYS: [&str; 3] = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"];

/// Does it.
pub(super) fn run(
    session: &mut Session,
    args: &SetupArgs,
    app: Option<&Target>,
    address: &SshAddress,
) -> anyhow::Result<u8> {
    let program = program(args)?;
    refuse_other_machine(&program, address)?;
    let account = app.and_then(|app| account(app, address));
    let key = account.as_ref().map(|_| public_key(args)).transpose()?;
    let file = File::open(&program).with_context(|| format!("read {}", program.display()))?;
    let dir = ask(address, RECEIVE, Some(file))?;
    let quoted = shell_words::quote(&dir).into_owned();
    let done = prepare(session, args, app, address, &quoted, account.zip(key));
    // Whatever came of it.
    let removed = ask(address, &format!("rm -rf {quoted}"), None);
    let exit = done?;
    removed?;
    match exit {
        Exit::Status(code) => Ok(u8::try_from(code).unwrap_or(1)),
        Exit::Signal(_) | Exit::Unseen => {
            Err(Failed::new("failed", format!("`alcedo setup` on {address} ended: {exit}"), 1)
                .into())
        }
    }
}

fn prepare(
    session: &mut Session,
    args: &SetupArgs,
    app: Option<&Target>,
    address: &SshAddress,
    dir: &str,
    account: Option<(String, String)>,
) -> anyhow::Result<Exit> {
    let mut words = vec![format!("{dir}/alcedo")];
    if let Some(app) = app {
        let mut text = tempfile::tempfile().context("make a temporary file")?;
        text.write_all(app.typed.text.as_bytes())?;
        text.rewind()?;
        ask(address, &format!("cat >{dir}/alcedo.toml"), Some(text))?;
        words.push(format!("-c {dir}/alcedo.toml"));
    }
    let mut add = |flag: &str, value: Option<&str>| {
        words.push(flag.to_owned());
        words.extend(value.map(|value| shell_words::quote(value).into_owned()));
    };
    let globals = &session.globals;
    if let Some(environment) = &globals.environment {
        add("-e", Some(environment));
    }
    for (flag, is_set) in [("--json", globals.json), ("-y", globals.yes)] {
        if is_set {
            add(flag, None);
        }
    }
    // There, it is this machine.
    add("--host", Some("local"));
    add("setup", None);
    let set = [("--dry-run", args.dry_run), ("--remove", args.remove), ("--purge", args.purge)];
    for (flag, _) in set.iter().filter(|(_, is_set)| *is_set) {
        add(flag, None);
    }
    if let Some(name) = &args.confirm {
        add("--confirm", Some(name));
    }
    if let Some((account, key)) = &account {
        add("--account", Some(account));
        add("--account-key", Some(key));
    }
    let script = words.join(" ");
    let exit = login::run(address, &script, None, &mut |said| match said {
        Said::Data(line) => session.print(&[line]),
        Said::Words(line) => session.reporter.words(&line),
    })?;
    Ok(exit)
}

/// What the script wrote, when it went well.
fn ask(address: &SshAddress, script: &str, input: Option<File>) -> Result<String, Failed> {
    let (mut data, mut words) = (Vec::new(), Vec::new());
    let exit = login::run(address, script, input, &mut |said| match said {
        Said::Data(line) => data.push(line),
        Said::Words(line) => words.push(line),
    })?;
    match exit {
        Exit::Status(0) => Ok(data.join("\n")),
        Exit::Status(_) | Exit::Signal(_) | Exit::Unseen => {
            let said = words.last().cloned().unwrap_or_else(|| exit.to_string());
            Err(Failed::new("failed", format!("failed to prepare {address}: {said}"), 1))
        }
    }
}

fn program(args: &SetupArgs) -> anyhow::Result<PathBuf> {
    match &args.binary {
        Some(named) => Ok(named.clone()),
        None => std::env::current_exe().context("find this program"),
    }
}

/// A program for another kind of processor would only be found out by its first start.
fn refuse_other_machine(program: &Path, address: &SshAddress) -> Result<(), Failed> {
    let ours = machine_of(program).ok().flatten().ok_or_else(|| {
        Failed::usage(format!("{} is no program for Linux", program.display()))
            .hint("--binary FILE names one")
    })?;
    let said = ask(address, "uname -m; id -u", None)?;
    let (machine, user) = said.split_once('\n').unwrap_or((said.as_str(), ""));
    if Machine::parse(machine) != Some(ours) {
        let message = format!("{address} is {machine}, and {} is for {ours}", program.display());
        return Err(Failed::usage(message).hint("--binary FILE names an alcedo for that machine"));
    }
    if user.trim() != "0" {
        let message = format!("setup changes the system, which {address} may not");
        return Err(
            Failed::usage(message).hint(format!("alcedo setup --host root@{}", address.host))
        );
    }
    Ok(())
}

/// The user of `host =`, when somebody else does the preparing.
fn account(app: &Target, address: &SshAddress) -> Option<String> {
    let HostAddress::Ssh(host) = app.config.host.as_ref()? else { return None };
    host.user.clone().filter(|user| user != "root" && Some(user) != address.user.as_ref())
}

/// The key that `host =` is going to be used with.
fn public_key(args: &SetupArgs) -> Result<String, Failed> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let usual = || KEYS.iter().map(|name| home.join(".ssh").join(name)).find(|path| path.is_file());
    let missing = || {
        Failed::usage("no public key of yours was found in ~/.ssh, and the account wants one")
            .hint("--key FILE names it; ssh-keygen -t ed25519 makes one")
    };
    let path = args.key.clone().or_else(usual).ok_or_else(missing)?;
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failed::usage(format!("failed to read {}: {error}", path.display())))?;
    Ok(text.trim().to_owned())
}
