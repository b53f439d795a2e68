//! Real hosts on this machine: Debian with its own systemd, D-Bus, polkit, sshd and nginx, each in a namespace of its own
//! (`systemd-nspawn`) with its own address, all on one bridge that nothing else sees. Needs root.
//!
//! A [`Host`] boots in seconds, is used over [`Host::run`], and is gone when it is dropped. Never touches the network or
//! the services of the machine it runs on.

mod boot;
mod disk;
mod image;
mod network;

pub use image::{DIR, base, key};
pub use network::Network;

use crate::home::{COMMAND_LIMIT, Run, poll_until};
use crate::packages::Tool;
use anyhow::{Context, Result, bail, ensure};
use boot::{Machine, Storage};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a lab needs on the machine.
pub const TOOLS: &[Tool] = &[
    Tool { program: "mmdebstrap", package: "mmdebstrap", needed_for: "hosts of the lab" },
    Tool {
        program: "systemd-nspawn",
        package: "systemd-container",
        needed_for: "hosts of the lab",
    },
    Tool { program: "ip", package: "iproute2", needed_for: "hosts of the lab" },
    Tool { program: "mkfs.xfs", package: "xfsprogs", needed_for: "power cuts of the lab's hosts" },
    Tool { program: "ssh-keygen", package: "openssh-client", needed_for: "hosts of the lab" },
];

/// A host is up after seconds; a busy machine may take longer.
const BOOT_LIMIT: Duration = Duration::from_secs(90);
/// What every command on a host finds.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why there can be no lab here; `None`: there can.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("hosts of the lab want root".to_owned());
    }
    let missing = crate::packages::ensure(TOOLS);
    let names: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    (!names.is_empty()).then(|| format!("hosts of the lab want {}", names.join(", ")))
}

/// A machine that boots.
#[derive(Debug)]
pub struct Host {
    name: String,
    network: Arc<Network>,
    machine: Machine,
}

impl Host {
    /// Boots a fresh host in a network of its own and waits until its systemd says that it runs.
    pub fn boot(name: &str) -> Result<Self> {
        Self::boot_in(Arc::new(Network::new()?), name)
    }

    /// The same beside other hosts of `network`.
    pub fn boot_in(network: Arc<Network>, name: &str) -> Result<Self> {
        Self::boot_on(Storage::Shared, network, name)
    }

    /// One whose power can be cut, in a network of its own: it has a disk of its own.
    pub fn boot_with_disk(name: &str) -> Result<Self> {
        Self::boot_on(Storage::OwnDisk, Arc::new(Network::new()?), name)
    }

    fn boot_on(storage: Storage, network: Arc<Network>, name: &str) -> Result<Self> {
        let base = image::base()?;
        let name = format!("{name}-{}", network.label());
        let lane = network.join(&name)?;
        let machine = Machine::make(&base, &name, lane, storage)?;
        let mut host = Self { name, network, machine };
        host.power_on()?;
        Ok(host)
    }

    /// One that another process left running with [`Self::leave_running`].
    pub fn attach(network: Arc<Network>, name: &str) -> Result<Self> {
        let name = format!("{name}-{}", network.label());
        let file = Path::new(image::DIR).join(&name).join("number");
        let number = std::fs::read_to_string(&file).with_context(|| format!("find {name}"))?;
        let machine = Machine::attach(&name, network::Lane::new(&name, number.trim().parse()?))?;
        Ok(Self { name, network, machine })
    }

    /// Lets it run on when this process ends.
    pub fn leave_running(self) -> Result<()> {
        let number = self.address().octets()[3].to_string();
        std::fs::write(Path::new(image::DIR).join(&self.name).join("number"), number)?;
        std::mem::forget(self);
        Ok(())
    }

    /// Its machine name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the bridge.
    pub fn address(&self) -> Ipv4Addr {
        self.machine.lane.address
    }

    /// The process id of `systemd-nspawn`, and of the host's first process.
    pub fn pids(&self) -> (u32, Option<u32>) {
        (self.machine.supervisor(), self.machine.leader())
    }

    /// Its network namespace, as a file that can be entered.
    pub fn namespace(&self) -> PathBuf {
        self.machine.lane.namespace.clone()
    }

    /// Its file system, seen from outside.
    pub fn root(&self) -> &Path {
        self.machine.root()
    }

    /// A path on the host, seen from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root().join(inside.trim_start_matches('/'))
    }

    /// Starts it (again) and waits until it runs.
    pub fn power_on(&mut self) -> Result<()> {
        self.machine.start()?;
        self.wait_until_up()
    }

    /// `kill -9` of the whole host: nothing on it can say goodbye. What was written is still in the page cache.
    pub fn kill(&mut self) -> Result<()> {
        self.machine.kill()
    }

    /// Cuts its power and gives it back, until it runs again: what was not synced is gone. Wants
    /// [`Self::boot_with_disk`].
    pub fn cut_power(&mut self) -> Result<()> {
        self.machine.cut_power(&image::base()?)?;
        self.power_on()
    }

    /// `systemctl reboot`, until it runs again.
    pub fn reboot(&mut self) -> Result<()> {
        // The command ends with the host it was typed on.
        self.command(&["systemctl", "reboot"])?.status().ok();
        let machine = &mut self.machine;
        // systemd-nspawn leaves starting it again to whoever started it.
        poll_until(BOOT_LIMIT, || machine.has_ended().then_some(()))
            .with_context(|| format!("reboot {}: {}", self.name, self.machine.console()))?;
        self.power_on()
    }

    /// Takes the network away.
    pub fn cut(&self) -> Result<()> {
        self.network.set_link(&self.machine.lane, "down")
    }

    /// Gives it back.
    pub fn heal(&self) -> Result<()> {
        self.network.set_link(&self.machine.lane, "up")
    }

    /// Runs a command as root on the host to its end, whatever that is.
    pub fn run(&self, argv: &[&str]) -> Result<Run> {
        self.run_for(argv, COMMAND_LIMIT)
    }

    /// Runs a command that has to end with status 0; what it wrote to stdout.
    pub fn must(&self, argv: &[&str]) -> Result<String> {
        let run = self.run(argv)?;
        let said =
            || format!("`{}` on {}: {}{}", argv.join(" "), self.name, run.stdout, run.stderr);
        ensure!(run.code == Some(0), "run {} (exit {:?})", said(), run.code);
        Ok(run.stdout)
    }

    /// A command on the host, as root, not started.
    pub fn command(&self, argv: &[&str]) -> Result<Command> {
        let leader = self.machine.leader().context("find the host's first process")?;
        let mut command = Command::new("nsenter");
        command.args(["--target", &leader.to_string()]);
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"]);
        command.args(["/usr/bin/env", "-i", &format!("PATH={PATH}"), "HOME=/root", "LANG=C.UTF-8"]);
        command.args(["NO_COLOR=1", "USER=root"]).args(argv).stdin(Stdio::null());
        Ok(command)
    }

    /// Copies a file onto the host.
    pub fn put(&self, from: &Path, to: &str, mode: u32) -> Result<()> {
        let to = self.path(to);
        std::fs::create_dir_all(to.parent().context("find the directory")?)?;
        // A program that runs cannot be written to; another one can take its name.
        let fresh = to.with_extension("fresh");
        std::fs::copy(from, &fresh).with_context(|| format!("copy {}", from.display()))?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(mode))?;
        Ok(std::fs::rename(&fresh, &to)?)
    }

    /// Writes a file on the host (mode 0644, directories as needed).
    pub fn write(&self, to: &str, text: &str) -> Result<()> {
        let to = self.path(to);
        std::fs::create_dir_all(to.parent().context("find the directory")?)?;
        std::fs::write(&to, text).with_context(|| format!("write {}", to.display()))
    }

    /// Runs `act` in a thread that sees the host's network: its loopback addresses are the host's. Threads that are
    /// started in there see the same.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T> {
        let namespace = std::fs::File::open(self.namespace())?;
        std::thread::scope(|scope| {
            let work = scope.spawn(move || {
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&namespace),
                    kind,
                )?;
                Ok(act())
            });
            match work.join() {
                Ok(result) => result.map_err(|error: rustix::io::Errno| {
                    anyhow::Error::new(error).context("enter the host's network")
                }),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn run_for(&self, argv: &[&str], limit: Duration) -> Result<Run> {
        let stdout = tempfile::NamedTempFile::new()?;
        let stderr = tempfile::NamedTempFile::new()?;
        let mut command = self.command(argv)?;
        command.stdout(stdout.reopen()?).stderr(stderr.reopen()?);
        let since = Instant::now();
        let mut child = command.spawn().context("start nsenter")?;
        let ended = poll_until(limit, || child.try_wait().ok().flatten());
        if ended.is_none() {
            child.kill().ok();
            child.wait().ok();
        }
        let read = |file: &tempfile::NamedTempFile| -> Result<String> {
            Ok(String::from_utf8_lossy(&std::fs::read(file.path())?).into_owned())
        };
        Ok(Run {
            code: ended.and_then(|status| status.code()),
            stdout: read(&stdout)?,
            stderr: read(&stderr)?,
            took: since.elapsed(),
        })
    }

    fn wait_until_up(&mut self) -> Result<()> {
        let deadline = Instant::now() + BOOT_LIMIT;
        loop {
            let state = self
                .machine
                .leader()
                .and_then(|_| self.run_for(&["systemctl", "is-system-running"], BOOT_LIMIT).ok());
            let state = state.map(|run| run.stdout.trim().to_owned()).unwrap_or_default();
            if matches!(state.as_str(), "running" | "degraded") {
                return Ok(());
            }
            if Instant::now() > deadline || self.machine.has_ended() {
                bail!("boot {} (`{state}`): {}", self.name, self.machine.console());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.machine.remove();
        self.network.leave(&self.machine.lane);
    }
}

/// Runs a program of this machine that has to succeed; what it wrote to stdout.
pub(crate) fn must(argv: &[&str]) -> Result<String> {
    let (program, args) = argv.split_first().context("run nothing")?;
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("start {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "run `{}`: {}", argv.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
