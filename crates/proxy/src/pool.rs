//! Idle connections to upstreams, one pool for each worker.
//!
//! A connection stays idle for less than upstreams keep theirs (gunicorn 2 s, Node and uvicorn 5 s), so that it is
//! not closed in the moment it is used again. The most recently used one goes first, so that spare ones grow old.

use crate::upstream::Upstream;
use std::cell::RefCell;
use std::collections::HashMap;

/// How long a connection stays idle, in milliseconds.
const IDLE_LIMIT_MS: u64 = 1_500;
/// Idle connections kept for one upstream address.
const IDLE_MAX: usize = 256;
/// How long an upstream is not trusted to keep connections that it seemed to keep, in milliseconds.
const DISTRUST_MS: u64 = 60_000;

/// Idle connections by the number of the upstream.
#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<u32, Idle>>,
}

#[derive(Default)]
struct Idle {
    /// Oldest first.
    #[expect(
        clippy::vec_box,
        reason = "a connection goes to a request and back: only its pointer moves"
    )]
    stack: Vec<Box<Upstream>>,
    distrusted_until_ms: u64,
    /// When a connection was last kept.
    kept_at_ms: u64,
}

impl Pool {
    /// The connection used last, if its socket is open in this moment; a closed one is distrusted for a while.
    ///
    /// A server that closes right after an answer, without having said so, may do it in the very moment in which the
    /// next request arrives. What must not be sent twice could then only be answered 502, so for `only_trusted` such an
    /// upstream has no connection here.
    pub(crate) fn take(
        &self,
        number: u32,
        now_ms: u64,
        only_trusted: bool,
    ) -> Option<Box<Upstream>> {
        let mut pool = self.idle.borrow_mut();
        let idle = pool.get_mut(&number)?;
        while let Some(upstream) = idle.stack.pop() {
            if now_ms.saturating_sub(upstream.idle_since_ms) >= IDLE_LIMIT_MS {
                idle.stack.clear();
                return None;
            }
            if !upstream.is_open() {
                idle.distrusted_until_ms = now_ms + DISTRUST_MS;
            } else if only_trusted && now_ms < idle.distrusted_until_ms {
                idle.stack.push(upstream);
                return None;
            } else {
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection that can be kept; one too many is closed.
    pub(crate) fn put(&self, mut upstream: Box<Upstream>, now_ms: u64) {
        upstream.idle_since_ms = now_ms;
        upstream.rest();
        let mut pool = self.idle.borrow_mut();
        let idle = pool.entry(upstream.number).or_default();
        idle.kept_at_ms = now_ms;
        if idle.stack.len() < IDLE_MAX {
            idle.stack.push(upstream);
        }
    }

    /// Whether the upstream has kept a connection open after an answer lately.
    pub(crate) fn keeps(&self, number: u32, now_ms: u64) -> bool {
        let pool = self.idle.borrow();
        pool.get(&number).is_some_and(|idle| now_ms.saturating_sub(idle.kept_at_ms) < IDLE_LIMIT_MS)
    }

    /// Closes what has been idle for too long.
    pub(crate) fn sweep(&self, now_ms: u64) {
        self.idle.borrow_mut().retain(|_, idle| {
            let is_young = |u: &Upstream| now_ms.saturating_sub(u.idle_since_ms) < IDLE_LIMIT_MS;
            // Everything before the first young one goes.
            let first_young = idle.stack.iter().position(|upstream| is_young(upstream));
            idle.stack.drain(..first_young.unwrap_or(idle.stack.len()));
            !idle.stack.is_empty()
                || now_ms < idle.distrusted_until_ms
                || now_ms.saturating_sub(idle.kept_at_ms) < IDLE_LIMIT_MS
        });
    }

    /// Whether nothing is idle.
    pub(crate) fn is_empty(&self) -> bool {
        self.idle.borrow().values().all(|idle| idle.stack.is_empty())
    }
}
