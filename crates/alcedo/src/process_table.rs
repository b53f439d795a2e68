//! Reads `/proc`: who a process is, what belongs to it, and how to end all of it.
//!
//! A process is known by pid, start time and boot id, never by name: pids are reused, names are shared. Nothing here
//! signals a process that was not identified just before.

use crate::adapters::clock;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

/// Environment variable that marks every process of a shim; its value is the shim's directory.
pub(crate) const MARK_SHIM: &str = "ALCEDO_SHIM";
/// Largest environment that is looked into, in bytes.
const ENVIRON_BYTES_MAX: u64 = 1 << 20;

/// Which process, for all time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Its id.
    pub(crate) pid: u32,
    /// Field 22 of `/proc/PID/stat`, in clock ticks since boot.
    pub(crate) start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub(crate) boot_id: String,
}

impl Identity {
    /// Of the process that has this pid now; `None` when there is none, or only its zombie.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Entry::read(pid).filter(Entry::runs).map(|entry| entry.identity())
    }

    /// Whether this very process still runs (a zombie does not).
    pub(crate) fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// A descriptor of this very process; `None` when it is gone.
    pub(crate) fn open(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let descriptor = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Only now is the pid pinned, so only now does the comparison mean something.
        (Entry::read(self.pid)?.identity() == *self).then_some(descriptor)
    }

    /// Sends `signal` to this very process; false when it is gone or not ours.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        self.open().is_some_and(|pidfd| pidfd_send_signal(&pidfd, signal).is_ok())
    }
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) session: u32,
    /// One letter, see proc(5): `Z` is a zombie, `D` cannot be killed now.
    pub(crate) state: char,
    pub(crate) start_ticks: u64,
    pub(crate) resident_pages: u64,
}

impl Entry {
    /// What `/proc` says about `pid` now.
    pub(crate) fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may itself hold spaces and parentheses.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            pid,
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
            resident_pages: fields.get(21)?.parse().ok()?,
        })
    }

    /// Whether it is more than a zombie.
    pub(crate) fn runs(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// Who it is.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            pid: self.pid,
            start_ticks: self.start_ticks,
            boot_id: clock::boot_id().to_owned(),
        }
    }
}

/// All processes at one moment.
#[derive(Debug, Default)]
pub(crate) struct Table(BTreeMap<u32, Entry>);

impl Table {
    /// Reads it. What cannot be read is left out.
    pub(crate) fn read() -> Self {
        let entries = pids().filter_map(|pid| Some((pid, Entry::read(pid)?))).collect();
        Self(entries)
    }

    /// Every process.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.values()
    }

    /// `roots` and everything below them.
    pub(crate) fn descendants(&self, roots: impl IntoIterator<Item = u32>) -> BTreeSet<u32> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for entry in self.iter() {
            children.entry(entry.parent).or_default().push(entry.pid);
        }
        let mut found = BTreeSet::new();
        let mut open: Vec<u32> = roots.into_iter().collect();
        while let Some(pid) = open.pop() {
            if found.insert(pid) {
                open.extend(children.get(&pid).into_iter().flatten());
            }
        }
        found
    }

    /// Memory of `main` and all below it, in bytes: resident, and where several processes share pages each page once.
    pub(crate) fn memory_bytes(&self, main: u32) -> u64 {
        let tree = self.descendants([main]);
        let page = rustix::param::page_size() as u64;
        let resident =
            |pid: &u32| self.0.get(pid).map_or(0, |e| e.resident_pages.saturating_mul(page));
        if tree.len() == 1 {
            return tree.iter().map(resident).sum();
        }
        tree.iter().map(|pid| shared_once(*pid).unwrap_or_else(|| resident(pid))).sum()
    }

    fn select(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Identity> {
        self.iter().filter(|e| e.runs() && wanted(e)).map(Entry::identity).collect()
    }
}

/// Every pid there is now.
pub(crate) fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// How the processes of one program are recognised when their parents may be gone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    /// Where the program's processes hang: the main process, and a subreaper that is not itself part of the tree.
    pub(crate) main: Option<u32>,
    /// Its own children belong to the tree, it does not.
    pub(crate) reaper: Option<u32>,
    /// A session that only the tree (and the reaper) has; valid while one of them lives.
    pub(crate) session: Option<u32>,
    /// `NAME=value` in the environment of each.
    pub(crate) mark: Option<(String, String)>,
}

impl Tree {
    /// Everything of it that runs now. The environment is only looked into when nothing else was found: that is the
    /// slow way, and needed only for what left session and parents on purpose.
    pub(crate) fn members(&self) -> Vec<Identity> {
        let table = Table::read();
        let below = table.descendants(self.main.into_iter().chain(self.reaper));
        let me = std::process::id();
        let is_apart = |e: &Entry| e.pid == me || Some(e.pid) == self.reaper;
        let found = table.select(|e| {
            !is_apart(e) && (below.contains(&e.pid) || self.session.is_some_and(|s| s == e.session))
        });
        let Some(mark) = self.mark.as_ref().filter(|_| found.is_empty()) else { return found };
        table.select(|e| !is_apart(e) && is_marked(e.pid, mark))
    }

    /// Sends `signal` to every member; how many there were.
    pub(crate) fn signal(&self, signal: Signal) -> usize {
        let members = self.members();
        members.iter().filter(|member| member.signal(signal)).count()
    }
}

/// Running processes of this user that carry `NAME=value` in the environment they were started with.
pub(crate) fn marked(name: &str, value: &str) -> Vec<Identity> {
    let mark = (name.to_owned(), value.to_owned());
    let me = std::process::id();
    Table::read().select(|e| e.pid != me && is_marked(e.pid, &mark))
}

/// Running processes of this user that have the variable `name`, each with its value.
pub(crate) fn task_owners(name: &str) -> Vec<(Identity, String)> {
    let prefix = format!("{name}=");
    let value = |pid| {
        let environ = environ(pid)?;
        let entry = environ.split(|b| *b == 0).find(|e| e.starts_with(prefix.as_bytes()))?;
        Some(String::from_utf8_lossy(&entry[prefix.len()..]).into_owned())
    };
    let table = Table::read();
    table.iter().filter(|e| e.runs()).filter_map(|e| Some((e.identity(), value(e.pid)?))).collect()
}

fn is_marked(pid: u32, (name, value): &(String, String)) -> bool {
    let wanted = format!("{name}={value}");
    environ(pid)
        .is_some_and(|environ| environ.split(|b| *b == 0).any(|entry| entry == wanted.as_bytes()))
}

/// What a process of this user was started with; `None` for everybody else's, and for those of containers: their marks
/// hold pids and paths that mean something else there.
fn environ(pid: u32) -> Option<Vec<u8>> {
    let own = rustix::process::geteuid().as_raw();
    fs::metadata(format!("/proc/{pid}")).ok().filter(|meta| meta.uid() == own)?;
    let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/pid")).ok();
    if namespace(&pid.to_string())? != namespace("self")? {
        return None;
    }
    let mut environ = Vec::new();
    let file = fs::File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(ENVIRON_BYTES_MAX).read_to_end(&mut environ).ok()?;
    Some(environ)
}

fn shared_once(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_pid_with_another_start_time_is_somebody_else() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(me.open().is_some());
        let stranger = Identity { start_ticks: me.start_ticks + 1, ..me.clone() };
        assert!(!stranger.is_alive());
        assert!(stranger.open().is_none());
        assert!(!stranger.signal(Signal::KILL));
        let earlier_boot = Identity { boot_id: "another".into(), ..me };
        assert!(!earlier_boot.is_alive());
    }

    #[test]
    fn own_memory_is_seen() {
        assert!(Table::read().memory_bytes(std::process::id()) > 100 * 1024);
    }
}
