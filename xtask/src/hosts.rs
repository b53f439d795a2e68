//! `cargo xtask lab`: hosts of the lab by hand. They run until `lab down`.

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use xtask::lab::{self, Host, Network};

/// `cargo xtask lab …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Makes the image that hosts begin with.
    Image,
    /// Boots hosts.
    Up {
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Runs a command as root on a host; without one, a shell. After `reboot`, `up` boots it again.
    Sh {
        /// The host.
        name: String,
        /// The command and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        argv: Vec<String>,
    },
    /// Takes a host's network away.
    Cut {
        /// The host.
        name: String,
    },
    /// Gives it back.
    Heal {
        /// The host.
        name: String,
    },
    /// Power cut: everything on the host is killed. `up` boots it again with its files.
    Kill {
        /// The host.
        name: String,
    },
    /// Ends and removes every host that `up` booted.
    Down,
}

/// Hosts that outlive the command that made them.
const LABEL: &str = "lab";

/// Does it.
pub(crate) fn run(task: &Task) -> Result<ExitCode> {
    if let Some(missing) = lab::missing() {
        bail!("make a lab: {missing}");
    }
    match task {
        Task::Image => println!("{}", lab::base()?.display()),
        Task::Up { names } => return up(names),
        Task::Sh { name, argv } => return shell(name, argv),
        Task::Cut { name } => hold(name, Host::cut)?,
        Task::Heal { name } => hold(name, Host::heal)?,
        Task::Kill { name } => {
            let mut host = attach(name)?;
            let killed = host.kill();
            host.leave_running()?;
            killed?;
        }
        Task::Down => down()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(names: &[String]) -> Result<ExitCode> {
    let network = Arc::new(Network::lasting(LABEL)?);
    for name in names {
        let host = match attach(name) {
            Ok(mut host) => {
                let on = host.power_on();
                if on.is_err() {
                    host.leave_running()?;
                    return on.map(|()| ExitCode::SUCCESS);
                }
                host
            }
            Err(_) => Host::boot_in(network.clone(), name)?,
        };
        println!("{name} runs at {}", host.address());
        host.leave_running()?;
    }
    let key = lab::key()?;
    println!(
        "ssh: nsenter --net=/run/netns/{} ssh -i {} root@ADDRESS",
        network.bridge(),
        key.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn shell(name: &str, argv: &[String]) -> Result<ExitCode> {
    let host = attach(name)?;
    let typed: Vec<&str> = argv.iter().map(String::as_str).collect();
    let command = host.command(if typed.is_empty() { &["bash", "-l"] } else { &typed });
    host.leave_running()?;
    let mut command: Command = command?;
    let status = command.stdin(std::process::Stdio::inherit()).status();
    let code = status.context("start nsenter")?.code().unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn attach(name: &str) -> Result<Host> {
    Host::attach(Arc::new(Network::lasting(LABEL)?), name)
}

fn hold(name: &str, act: fn(&Host) -> Result<()>) -> Result<()> {
    let host = attach(name)?;
    let done = act(&host);
    host.leave_running()?;
    done
}

fn down() -> Result<()> {
    let suffix = format!("-{LABEL}");
    for entry in std::fs::read_dir(lab::DIR).context("find hosts")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(&suffix) {
            match attach(name) {
                Ok(host) => drop(host),
                Err(error) => eprintln!("failed to {error:#}"),
            }
        }
    }
    Network::remove(LABEL);
    Ok(())
}
