//! The shim's life after it has detached: one thread that waits for its child, its socket, its clock, and acts.
//!
//! Never starts a second child while one may live, and never starts one again after a stop was asked for: both are
//! written down (`state.json`) before they are done.

mod conversation;
mod ending;

use super::child::{Child, reap};
use super::files::{Kind, Phase, STATE, ShimDir, Spec, State, Sync, VERSION};
use super::log::Log;
use super::notify::Notify;
use super::policy::{self, Next};
use super::protocol::Reply;
use crate::adapters::clock;
use crate::adapters::exec::{self, Exit};
use crate::engine::ports::Millis;
use conversation::Conversations;
use rustix::event::{PollFd, PollFlags};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longest sleep when nothing is due; only there so that a lost wake-up cannot last for ever.
const IDLE: Duration = Duration::from_secs(600);

/// A shim at work.
pub(super) struct Owner {
    dir: ShimDir,
    spec: Spec,
    state: State,
    child: Option<Child>,
    session: Option<u32>,
    log: Log,
    notify: Option<Notify>,
    conversations: Conversations,
    /// Readable when a child ended.
    ended: UnixStream,
    restart_at: Option<Millis>,
    stopping: Option<ending::Stopping>,
    /// Start it again when the stop is through.
    is_restart: bool,
    _lock: File,
}

impl Owner {
    /// Takes over the directory: `lock` is held, the spec has been read.
    pub(super) fn new(dir: ShimDir, spec: Spec, lock: File) -> io::Result<Self> {
        let (ended, wake) = UnixStream::pair()?;
        ended.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(rustix::process::Signal::CHILD.as_raw(), wake)?;
        let notify = match spec.kind {
            Kind::App => None,
            // The child reaches it by its whole path, which may be too long; then there is nothing to keep.
            Kind::Supervised => Notify::bind(&dir.path().join("notify.sock")).ok(),
        };
        let state = fresh_state(&spec);
        Ok(Self {
            conversations: Conversations::listen(&dir)?,
            log: Log::new(&spec.log, spec.log_limit_bytes),
            dir,
            spec,
            state,
            child: None,
            session: None,
            notify,
            ended,
            restart_at: None,
            stopping: None,
            is_restart: false,
            _lock: lock,
        })
    }

    /// Continues where an earlier shim of this directory was ended, or starts the child. With `stop`, only ends it.
    pub(super) fn take_over(&mut self, stop: bool) {
        let before = self.dir.state().filter(|state| state.binding == self.spec.binding);
        let is_same_boot = before.as_ref().is_some_and(|s| s.boot_id == clock::boot_id());
        self.child = Child::find(&self.dir, before.as_ref().filter(|_| is_same_boot));
        self.session = self.child.as_ref().map(|child| child.session);
        self.log.reopen();
        let phase = before.as_ref().map(|state| state.phase);
        if let Some(before) = before.filter(|_| is_same_boot) {
            self.state = State { child: None, boot_id: clock::boot_id().to_owned(), ..before };
        }
        self.state.child = self.child.as_ref().map(|child| child.identity.clone());
        if stop || matches!(phase, Some(Phase::Stopping | Phase::Stopped)) {
            return self.begin_stop();
        }
        match (phase.filter(|_| is_same_boot), &self.child) {
            (Some(Phase::GaveUp), _) => self.state.phase = Phase::GaveUp,
            (_, Some(child)) => {
                let pid = child.identity.pid;
                self.log.mark(&format!("still running pid {pid}, watched again"));
                self.enter(Phase::Running);
            }
            (Some(Phase::Running), None) => {
                self.log.mark("ended while nobody watched");
                self.end_rest();
                self.after_end(Exit::Unseen);
            }
            (
                Some(Phase::Starting | Phase::Restarting | Phase::Stopping | Phase::Stopped),
                None,
            )
            | (None, None) => self.start(),
        }
    }

    /// How the child is, as others see it.
    pub(super) fn reply(&self) -> Reply {
        Reply::new(Some(self.state.clone()), None)
    }

    /// Works until there is nothing left to own.
    pub(super) fn run(&mut self) -> io::Result<()> {
        while !matches!(self.state.phase, Phase::Stopped | Phase::GaveUp) {
            let awake = self.wait()?;
            self.handle(awake);
            self.observe_child();
            self.do_what_is_due();
        }
        let reply = self.reply();
        self.conversations.answer_all(&reply);
        Ok(())
    }

    fn wait(&self) -> io::Result<Awake> {
        let time = self.next_due().map_or(IDLE, clock::left);
        let inotify = self.log.descriptor();
        let mut ready = vec![PollFd::new(&self.ended, PollFlags::IN)];
        let mut add = |fd| {
            ready.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            ready.len() - 1
        };
        if let Some(child) = &self.child {
            add(child.pidfd.as_fd());
        }
        let log = inotify.map(&mut add);
        let notify = self.notify.as_ref().map(|notify| add(notify.descriptor()));
        let asked = self.conversations.descriptors().map(&mut add).collect::<Vec<_>>();
        exec::wait_ready(&mut ready, time)?;
        let is_ready = |index: Option<usize>| index.is_some_and(|i| !ready[i].revents().is_empty());
        Ok(Awake {
            log: is_ready(log),
            notify: is_ready(notify),
            asked: asked.into_iter().map(|index| is_ready(Some(index))).collect(),
        })
    }

    fn next_due(&self) -> Option<Millis> {
        let stop = self.stopping.as_ref().map(ending::Stopping::look_at);
        [self.restart_at, stop, self.log.look_at()].into_iter().flatten().min()
    }

    fn handle(&mut self, awake: Awake) {
        drain(&self.ended);
        if awake.log {
            self.log.woken();
        }
        if awake.notify {
            self.listen_to_child();
        }
        for verb in self.conversations.receive(&awake.asked, &self.state) {
            self.obey(verb);
        }
    }

    fn listen_to_child(&mut self) {
        let Some(notify) = &mut self.notify else { return };
        if notify.receive().ready && !self.state.ready {
            self.state.ready = true;
            self.write(Sync::No);
        }
    }

    fn obey(&mut self, wish: conversation::Wish) {
        match (wish, self.spec.kind) {
            (conversation::Wish::Stop, _) => self.begin_stop(),
            (conversation::Wish::Restart, Kind::Supervised) => self.begin_restart(),
            (conversation::Wish::Restart, Kind::App) => {
                let text = "an app's process is not restarted in place: deploy it again";
                self.conversations
                    .answer_all(&Reply::new(Some(self.state.clone()), Some(text.into())));
            }
        }
    }

    fn observe_child(&mut self) {
        reap(self.child.as_mut());
        let Some(exit) = self.child.as_ref().and_then(Child::ended) else { return };
        let pid = self.child.take().map_or(0, |child| child.identity.pid);
        // What it wrote last may still count for the descriptors it gave us.
        self.listen_to_child();
        self.log.mark(&format!("pid {pid} ended: {exit}"));
        if self.stopping.is_none() {
            self.end_rest();
            self.after_end(exit);
        } else {
            self.state.last_exit = Some(exit.to_string());
        }
    }

    fn do_what_is_due(&mut self) {
        let now = clock::now();
        if self.log.look_at().is_some_and(|at| at <= now) {
            self.log.look();
        }
        if self.stopping.is_some() {
            self.go_on_stopping();
        }
        if self.restart_at.is_some_and(|at| at <= now) {
            self.start();
        }
    }

    fn start(&mut self) {
        self.restart_at = None;
        self.state.ready = false;
        self.enter(Phase::Starting);
        for socket in &self.spec.sockets {
            let _ = std::fs::remove_file(socket);
        }
        match Child::start(&self.dir, &self.spec, &mut self.log, self.notify.as_ref()) {
            Ok(child) => {
                self.log.mark(&format!("started pid {}", child.identity.pid));
                self.state.child = Some(child.identity.clone());
                self.state.started_ms = clock::now().0;
                self.session = Some(child.session);
                self.child = Some(child);
                self.enter(Phase::Running);
            }
            Err(error) => self.could_not_start(&error),
        }
    }

    fn could_not_start(&mut self, error: &io::Error) {
        let text = format!("cannot be started: {error}");
        self.log.mark(&text);
        self.state.last_exit = Some(text);
        self.state.child = None;
        self.state.started_ms = clock::now().0;
        let is_lasting = matches!(
            error.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::InvalidInput
        ) || error.raw_os_error()
            == Some(rustix::io::Errno::NOEXEC.raw_os_error());
        match self.spec.kind {
            Kind::App if is_lasting => self.enter(Phase::GaveUp),
            Kind::App | Kind::Supervised => self.decide_next(),
        }
    }

    fn after_end(&mut self, exit: Exit) {
        self.state.last_exit = Some(exit.to_string());
        self.state.child = None;
        self.decide_next();
    }

    fn decide_next(&mut self) {
        let now = clock::now();
        match policy::after_end(&self.spec.restart, &mut self.state, now) {
            Next::StartAfter(wait) => {
                self.restart_at = Some(now.after(wait));
                self.enter(Phase::Restarting);
            }
            Next::GiveUp => {
                self.log.mark("ended too often, not started again");
                self.enter(Phase::GaveUp);
            }
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.state.phase = phase;
        self.write(Sync::No);
    }

    /// Without its state a replacement finds the child by its environment; so a full disk is no reason to stop.
    fn write(&mut self, sync: Sync) -> bool {
        self.dir.write(STATE, &self.state, sync).is_ok()
    }
}

struct Awake {
    log: bool,
    notify: bool,
    asked: Vec<bool>,
}

fn fresh_state(spec: &Spec) -> State {
    State {
        version: VERSION,
        binding: spec.binding.clone(),
        boot_id: clock::boot_id().to_owned(),
        phase: Phase::Starting,
        child: None,
        started_ms: 0,
        restarts: 0,
        short_runs_ms: Vec::new(),
        last_exit: None,
        ready: false,
    }
}

fn drain(mut stream: &UnixStream) {
    let mut buffer = [0; 64];
    while matches!(io::Read::read(&mut stream, &mut buffer), Ok(1..)) {}
}
