//! A worker's own view of services and targets: plain reference counts, refreshed when the shared epoch moved on.

use crate::live::{LiveRoute, LiveTarget, Service, UpstreamAddress};
use crate::pass::Pass;
use crate::stats::Shard;
use crate::table::{Rules, Table};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A service on one worker.
pub(crate) struct LocalService {
    pub(crate) name: String,
    pub(crate) rules: Arc<Rules>,
    service: Arc<Service>,
    worker: usize,
    epoch: Cell<u64>,
    target: RefCell<Option<Rc<LocalTarget>>>,
}

/// A target on one worker.
pub(crate) struct LocalTarget {
    pub(crate) live: Arc<LiveTarget>,
    worker: usize,
    turn: Cell<usize>,
}

/// A request, event stream or tunnel that counts on its target until this is dropped.
pub(crate) struct Ticket {
    pub(crate) target: Rc<LocalTarget>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Stream,
    Tunnel,
}

impl LocalService {
    pub(crate) fn new(table: &Table, index: usize, worker: usize) -> Self {
        let entry = &table.entries[index];
        Self {
            name: entry.name.clone(),
            rules: entry.rules.clone(),
            service: entry.service.clone(),
            worker,
            epoch: Cell::new(0),
            target: RefCell::new(None),
        }
    }

    /// Whether the maintenance page is shown.
    pub(crate) fn is_in_maintenance(&self) -> bool {
        self.service.is_in_maintenance()
    }

    /// Counts a request in on the effective target. See [`Service::publish`] for why the epoch is read twice; each
    /// further turn of the loop takes a further switch.
    pub(crate) fn enter(&self) -> Option<Ticket> {
        loop {
            let epoch = self.service.epoch();
            if epoch != self.epoch.get() {
                self.refresh(epoch);
            }
            let target = self.target.borrow().clone()?;
            target.shard().enter();
            let ticket = Ticket { target, kind: Kind::Request };
            if self.service.epoch() == epoch {
                return Some(ticket);
            }
        }
    }

    /// The pass with that token, if it is good now.
    pub(crate) fn pass(&self, token: &str, now_ms: u64) -> Option<Arc<Pass>> {
        self.service.pass(token, now_ms)
    }

    /// Counts a request in on the target of a pass.
    pub(crate) fn enter_by(&self, pass: &Pass) -> Ticket {
        let (live, worker) = (pass.live.clone(), self.worker);
        let target = Rc::new(LocalTarget { live, worker, turn: Cell::new(0) });
        target.shard().enter();
        Ticket { target, kind: Kind::Request }
    }

    fn refresh(&self, epoch: u64) {
        let local = |live| Rc::new(LocalTarget { live, worker: self.worker, turn: Cell::new(0) });
        *self.target.borrow_mut() = self.service.target().map(local);
        self.epoch.set(epoch);
    }
}

impl LocalTarget {
    pub(crate) fn shard(&self) -> &Shard {
        &self.live.shards[self.worker]
    }

    /// The next of the route's addresses.
    pub(crate) fn pick<'r>(&self, route: &'r LiveRoute) -> &'r UpstreamAddress {
        if let [only] = &route.upstreams[..] {
            return only;
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        &route.upstreams[turn % route.upstreams.len()]
    }
}

impl Ticket {
    /// The request became an event stream.
    pub(crate) fn become_stream(&mut self) {
        debug_assert!(self.kind == Kind::Request);
        self.kind = Kind::Stream;
        self.target.shard().streams().fetch_add(1, Ordering::SeqCst);
    }

    /// The request became a tunnel. It counts as one before it stops to count as a request.
    pub(crate) fn become_tunnel(&mut self) {
        debug_assert!(self.kind == Kind::Request);
        self.kind = Kind::Tunnel;
        self.target.shard().tunnels().fetch_add(1, Ordering::SeqCst);
        self.target.shard().leave();
    }

    /// Tells targets apart, turns of the same id too.
    pub(crate) fn target_address(&self) -> usize {
        Arc::as_ptr(&self.target.live).addr()
    }

    /// When the target's drain closes it; `None`: no drain.
    pub(crate) fn drain_until_ms(&self) -> Option<u64> {
        self.target.live.drain_until_ms()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let shard = self.target.shard();
        match self.kind {
            Kind::Request => shard.leave(),
            Kind::Stream => {
                shard.streams().fetch_sub(1, Ordering::SeqCst);
                shard.leave();
            }
            Kind::Tunnel => {
                shard.tunnels().fetch_sub(1, Ordering::SeqCst);
            }
        }
    }
}
