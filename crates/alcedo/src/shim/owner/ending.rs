//! How a child is stopped: the graceful signal to the main process, to the rest when that is gone, SIGKILL to all of
//! it when its time is over; and how the rest of a crashed one is cleared away.

use super::{Owner, drain};
use crate::adapters::{clock, exec};
use crate::engine::ports::Millis;
use crate::process_table::{Entry, Identity};
use crate::shim::child::{reap, tree};
use crate::shim::files::{Phase, Sync};
use crate::shim::protocol::Reply;
use crate::shim::signal::parse_signal;
use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;
use std::time::Duration;

/// Between two looks at what is left of a tree.
const LOOK: Duration = Duration::from_millis(20);
/// How long SIGKILL may take before whoever waits is told.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A stop under way.
#[derive(Debug)]
pub(super) struct Stopping {
    kill_at: Millis,
    look_at: Millis,
    is_rest_asked: bool,
}

impl Stopping {
    /// When to go on.
    pub(super) fn look_at(&self) -> Millis {
        self.look_at
    }
}

impl Owner {
    /// Stops the child for good. What is written first is that it is never to be started again.
    pub(super) fn begin_stop(&mut self) {
        self.is_restart = false;
        self.restart_at = None;
        let is_new = self.state.phase != Phase::Stopping;
        self.state.phase = Phase::Stopping;
        if is_new && !self.write(Sync::Data) {
            // No room for the note: then a replacement must find nothing to start.
            let _ = self.dir.forbid_start();
        }
        self.ask_to_end();
    }

    /// Stops the child and starts it again by the spec as it now stands.
    pub(super) fn begin_restart(&mut self) {
        if self.state.phase == Phase::Stopping {
            return;
        }
        if let Ok(spec) = self.dir.spec() {
            self.spec = spec;
        }
        self.is_restart = true;
        self.restart_at = None;
        self.ask_to_end();
    }

    /// Looks what is left, and does what is due about it.
    pub(super) fn go_on_stopping(&mut self) {
        let now = clock::now();
        let Some(stopping) = &mut self.stopping else { return };
        let is_over = now >= stopping.kill_at;
        if self.child.is_some() && !is_over {
            stopping.look_at = stopping.kill_at;
            return;
        }
        stopping.look_at = now.after(LOOK);
        let is_rest_new = !std::mem::replace(&mut stopping.is_rest_asked, true);
        let rest = tree(&self.dir, self.spec.kind, self.child.as_ref(), self.session).members();
        if rest.is_empty() && self.child.is_none() {
            return self.end_stop();
        }
        if is_over {
            signal_each(&rest, Signal::KILL);
        } else if is_rest_new {
            signal_each(&rest, parse_signal(&self.spec.stop_signal).unwrap_or(Signal::TERM));
        }
        self.report_undying(now, &rest);
    }

    /// Clears away what a main process left when it ended by itself; the next one needs its addresses.
    pub(super) fn end_rest(&mut self) {
        let patience = clock::now().after(Duration::from_secs(2));
        loop {
            let rest = tree(&self.dir, self.spec.kind, None, self.session).members();
            if rest.is_empty() || clock::left(patience).is_zero() {
                return;
            }
            signal_each(&rest, Signal::KILL);
            let mut ready = [PollFd::new(&self.ended, PollFlags::IN)];
            let _ = exec::wait_ready(&mut ready, Duration::from_millis(5));
            drain(&self.ended);
            reap(None);
        }
    }

    fn ask_to_end(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        let now = clock::now();
        let signal = parse_signal(&self.spec.stop_signal).unwrap_or(Signal::TERM);
        if let Some(child) = &self.child {
            child.signal(signal);
        }
        self.stopping = Some(Stopping {
            kill_at: now.after(Duration::from_millis(self.spec.stop_timeout_ms)),
            look_at: now,
            is_rest_asked: false,
        });
    }

    fn end_stop(&mut self) {
        self.stopping = None;
        self.state.child = None;
        if self.is_restart {
            self.is_restart = false;
            self.start();
            let reply = self.reply();
            return self.conversations.answer_all(&reply);
        }
        self.log.mark("stopped");
        self.enter(Phase::Stopped);
    }

    fn report_undying(&mut self, now: Millis, rest: &[Identity]) {
        let Some(stopping) = &mut self.stopping else { return };
        if now < stopping.kill_at.after(KILL_PATIENCE) {
            return;
        }
        stopping.look_at = now.after(Duration::from_secs(1));
        let left: Vec<String> = rest.iter().filter_map(|i| Entry::read(i.pid)).map(name).collect();
        let text = format!("SIGKILL does not end {}", left.join(", "));
        self.conversations.answer_all(&Reply::new(Some(self.state.clone()), Some(text)));
    }
}

fn signal_each(members: &[Identity], signal: Signal) {
    for member in members {
        member.signal(signal);
    }
}

fn name(entry: Entry) -> String {
    format!("pid {} (state {})", entry.pid, entry.state)
}
