//! One `systemd-nspawn`: its files (an overlay on the image), its control group, its processes.

use super::disk::Disk;
use super::image;
use super::must;
use super::network::Lane;
use anyhow::{Context, Result, ensure};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A killed host is gone by then.
const END_LIMIT: Duration = Duration::from_secs(20);
/// S3's VPS.
const MEMORY_BYTES: u64 = 4 << 30;
/// Puts itself into the control groups named before `--`, then becomes the rest.
const ENTER: &str =
    "while [ \"$1\" != -- ]; do echo $$ >\"$1/cgroup.procs\"; shift; done; shift; exec \"$@\"";

/// Where a host keeps what it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    /// On the machine's own file system: quick, and nothing is ever lost.
    Shared,
    /// On a disk of its own.
    OwnDisk,
}

#[derive(Debug)]
pub(super) struct Machine {
    name: String,
    dir: PathBuf,
    root: PathBuf,
    disk: Option<Disk>,
    pub(super) lane: Lane,
    groups: Vec<PathBuf>,
    /// `systemd-nspawn`; of a host that another process started there is no `child`.
    pid: Option<u32>,
    child: Option<Child>,
}

impl Machine {
    /// Its files and control groups; it does not run yet.
    pub(super) fn make(base: &Path, name: &str, lane: Lane, storage: Storage) -> Result<Self> {
        let mut machine = Self::at(name, lane);
        std::fs::create_dir_all(&machine.dir)?;
        machine.disk = match storage {
            Storage::Shared => None,
            Storage::OwnDisk => Some(Disk::make(&machine.dir)?),
        };
        for part in ["upper", "work"] {
            std::fs::create_dir_all(machine.written().join(part))?;
        }
        std::fs::create_dir_all(&machine.root)?;
        machine.mount(base)?;
        std::fs::write(machine.root().join("etc/hostname"), format!("{name}\n"))?;
        std::fs::write(machine.root().join("etc/hosts"), format!("127.0.0.1 localhost {name}\n"))?;
        let ssh = machine.root().join("root/.ssh");
        std::fs::create_dir_all(&ssh)?;
        let key = image::key()?.with_extension("pub");
        std::fs::copy(key, ssh.join("authorized_keys")).context("let the lab's key in")?;
        Ok(machine)
    }

    /// One that another process started and let go.
    pub(super) fn attach(name: &str, lane: Lane) -> Result<Self> {
        let machine = Self::at(name, lane);
        let pid = std::fs::read_to_string(machine.dir.join("pid"));
        let pid = pid.with_context(|| format!("find the host {name}"))?;
        Ok(Self { pid: Some(pid.trim().parse()?), ..machine })
    }

    /// What a process left that was killed; to be removed.
    pub(super) fn leftover(name: &str) -> Self {
        let lane = Lane::new(name, 0);
        Self::attach(name, lane.clone()).unwrap_or_else(|_| Self::at(name, lane))
    }

    fn at(name: &str, lane: Lane) -> Self {
        let dir = Path::new(image::DIR).join(name);
        let root = dir.join("root");
        let name = name.to_owned();
        Self { groups: groups(&name), name, dir, root, disk: None, lane, pid: None, child: None }
    }

    /// Where what the host writes really is.
    fn written(&self) -> &Path {
        self.disk.as_ref().map_or(&self.dir, |disk| disk.dir())
    }

    /// Takes the power away and gives it back: the host is not running, and its disk has what was synced.
    pub(super) fn cut_power(&mut self, base: &Path) -> Result<()> {
        let disk =
            self.disk.as_ref().context("cut the power of a host without a disk of its own")?;
        disk.cut()?;
        self.kill()?;
        let root = self.root.display().to_string();
        must(&["umount", "--recursive", &root])?;
        self.disk.iter().try_for_each(Disk::mount_again)?;
        self.mount(base)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn start(&mut self) -> Result<()> {
        self.kill()?;
        for group in &self.groups {
            std::fs::create_dir_all(group).with_context(|| format!("make {}", group.display()))?;
            // Where the memory controller can be had that simply.
            let limit = group.join("memory.limit_in_bytes");
            if limit.is_file() {
                std::fs::write(limit, MEMORY_BYTES.to_string()).ok();
            }
        }
        let console = std::fs::File::create(self.dir.join("console"))?;
        let mut command = Command::new("sh");
        command.args(["-c", ENTER, "sh"]).args(&self.groups).args(["--", "systemd-nspawn"]);
        command.args(["--quiet", "--boot", "--register=no", "--keep-unit", "--link-journal=no"]);
        command.args(["--timezone=off", "--resolv-conf=off"]);
        command.arg(format!("--machine={}", self.name));
        command.arg(format!("--directory={}", self.root().display()));
        command.arg(format!("--network-namespace-path={}", self.lane.namespace.display()));
        command.stdin(Stdio::null()).stdout(console.try_clone()?).stderr(console).process_group(0);
        let child = command.spawn().context("start systemd-nspawn")?;
        std::fs::write(self.dir.join("pid"), child.id().to_string())?;
        self.pid = Some(child.id());
        self.child = Some(child);
        Ok(())
    }

    /// Ends it at once, with everything that runs on it.
    pub(super) fn kill(&mut self) -> Result<()> {
        let Some(pid) = self.pid.take() else { return Ok(()) };
        let leader = leader_of(pid);
        // The host's first process outlives systemd-nspawn, and all others on it end with the first.
        for (victim, is_ours) in [(leader, true), (Some(pid), is_nspawn(&self.name, pid))] {
            let victim = victim.filter(|_| is_ours).and_then(|pid| i32::try_from(pid).ok());
            if let Some(victim) = victim.and_then(rustix::process::Pid::from_raw) {
                rustix::process::kill_process(victim, rustix::process::Signal::KILL).ok();
            }
        }
        if let Some(mut child) = self.child.take() {
            child.wait().context("wait for systemd-nspawn")?;
        }
        let Some(leader) = leader else { return Ok(()) };
        let deadline = Instant::now() + END_LIMIT;
        while Path::new(&format!("/proc/{leader}")).exists() {
            ensure!(
                Instant::now() < deadline,
                "end the host {}: process {leader} stays",
                self.name
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub(super) fn supervisor(&self) -> u32 {
        self.pid.unwrap_or(0)
    }

    /// The host's process 1, as this machine numbers it.
    pub(super) fn leader(&self) -> Option<u32> {
        leader_of(self.pid?)
    }

    pub(super) fn has_ended(&mut self) -> bool {
        if let Some(child) = &mut self.child {
            return child.try_wait().is_ok_and(|status| status.is_some());
        }
        self.pid.is_none_or(|pid| !is_nspawn(&self.name, pid))
    }

    /// The last lines of its console.
    pub(super) fn console(&self) -> String {
        let text = std::fs::read(self.dir.join("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Ends it and removes all that was made for it.
    pub(super) fn remove(&mut self) {
        self.kill().ok();
        let root = self.root().display().to_string();
        must(&["umount", "--recursive", &root]).ok();
        // One that a killed process left, too.
        Disk::remove(&self.dir);
        // Never across a file system that is still mounted.
        must(&["rm", "-rf", "--one-file-system", &self.dir.display().to_string()]).ok();
        for group in &self.groups {
            remove_group(group);
        }
    }

    /// The image below, what the host writes above; where there are no overlays, a copy.
    fn mount(&self, base: &Path) -> Result<()> {
        let at = |part: &str| self.written().join(part).display().to_string();
        let options =
            format!("lowerdir={},upperdir={},workdir={}", base.display(), at("upper"), at("work"));
        let root = self.root.display().to_string();
        let mounted = must(&["mount", "-t", "overlay", "alcedo-lab", "-o", &options, &root]);
        if self.disk.is_some() || mounted.is_ok() {
            return mounted.map(drop);
        }
        let from = format!("{}/.", base.display());
        must(&["cp", "-a", "--reflink=auto", &from, &root]).map(drop)
    }
}

/// A control group for the host in each hierarchy that matters: two systemds in one would end each other's services.
fn groups(name: &str) -> Vec<PathBuf> {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let mount = match controllers {
            "" if Path::new("/sys/fs/cgroup/cgroup.controllers").is_file() => "/sys/fs/cgroup",
            "name=systemd" => "/sys/fs/cgroup/systemd",
            "memory" => "/sys/fs/cgroup/memory",
            _ => return None,
        };
        let dir = Path::new(mount).join(path.trim_start_matches('/'));
        dir.join("cgroup.procs").is_file().then(|| dir.join(format!("alab-{name}")))
    };
    own.lines().filter_map(of).collect()
}

/// Groups hold groups; each can only be removed when it is empty.
fn remove_group(group: &Path) {
    for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    std::fs::remove_dir(group).ok();
}

/// The process below `supervisor` that is number 1 in a namespace of its own.
fn leader_of(supervisor: u32) -> Option<u32> {
    let entries = std::fs::read_dir("/proc").ok()?.flatten();
    let mut parents = std::collections::BTreeMap::new();
    let mut firsts = Vec::new();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let parent = field("PPid:").and_then(|text| text.trim().parse::<u32>().ok());
        parents.insert(pid, parent.unwrap_or(0));
        let numbers: Vec<&str> = field("NSpid:").unwrap_or("").split_whitespace().collect();
        if numbers.len() > 1 && numbers.last() == Some(&"1") && !status.contains("State:\tZ") {
            firsts.push(pid);
        }
    }
    let is_below = |pid: &u32| {
        let mut at = *pid;
        while let Some(parent) = parents.get(&at).filter(|parent| **parent != 0) {
            if *parent == supervisor {
                return true;
            }
            at = *parent;
        }
        false
    };
    firsts.into_iter().find(is_below)
}

/// A pid in a file may be somebody else's by now.
fn is_nspawn(name: &str, pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let wanted = format!("--machine={name}");
    line.split(|byte| *byte == 0).any(|word| word == wanted.as_bytes())
}
