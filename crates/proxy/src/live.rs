//! Services as requests see them: the effective target behind one pointer, and who is still on an earlier one.
//!
//! A request sees a target whole or not at all, and once a switch is published no request can enter the old target
//! unseen: see [`Service::publish`] and [`Service::epoch`].

use crate::control::wire::TargetTraffic;
use crate::pass::{PASSES_MAX, Pass};
use crate::state::{Address, Route, ServiceRecord, Target};
use crate::stats::{self, Shard, lock};
use arc_swap::ArcSwapOption;
use hyper::header::{HeaderName, HeaderValue};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Targets without traffic and without requests that are remembered for their counters, the newest first.
const REMEMBERED: usize = 8;

/// One service.
#[derive(Debug)]
pub(crate) struct Service {
    /// What is durable. Locked over a whole switch; never by a request.
    pub(crate) record: Mutex<ServiceRecord>,
    target: ArcSwapOption<LiveTarget>,
    epoch: AtomicU64,
    maintenance: AtomicBool,
    /// Whoever waited for `record` meanwhile must not write its file again.
    forgotten: AtomicBool,
    /// Newest first; the effective one included.
    known: Mutex<Vec<Arc<LiveTarget>>>,
    /// Oldest first.
    passes: Mutex<Vec<Arc<Pass>>>,
}

/// A target in memory. A later turn of the same id is another one.
#[derive(Debug)]
pub(crate) struct LiveTarget {
    pub(crate) id: String,
    pub(crate) labels: Vec<(HeaderName, HeaderValue)>,
    /// Most specific first.
    pub(crate) routes: Vec<LiveRoute>,
    /// One for each worker.
    pub(crate) shards: Box<[Shard]>,
    /// When the last upgraded connection must be closed, in milliseconds of the process; 0: no drain.
    drain_until_ms: AtomicU64,
}

/// A [`Route`] with its upstreams numbered.
#[derive(Debug)]
pub(crate) struct LiveRoute {
    domains: Vec<String>,
    prefix: String,
    pub(crate) upstreams: Vec<UpstreamAddress>,
}

/// An address, with the number that pools know it by. Numbers are never used twice, so that a connection to an earlier
/// process on the same address is never used for a later one.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamAddress {
    pub(crate) number: u32,
    pub(crate) address: Address,
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("use the target {0}: it has no route for every path")]
    NoCatchAll(String),
    #[error("use the target {0}: its route {1} has no address")]
    NoAddress(String, String),
    #[error("use the target {0}: its route {1} does not begin with a slash")]
    Prefix(String, String),
    #[error("use the target {0}: two routes for {1}")]
    Twice(String, String),
    #[error("use the target {0}: its label {1} is not a header")]
    Label(String, String),
}

static NEXT_UPSTREAM: AtomicU32 = AtomicU32::new(0);

impl LiveTarget {
    /// Checks the target and makes it ready for `workers` threads.
    pub(crate) fn new(target: &Target, workers: usize) -> Result<Self, TargetError> {
        let id = &target.id;
        let mut labels = Vec::with_capacity(target.labels.len());
        for (name, value) in &target.labels {
            let wrong = || TargetError::Label(id.clone(), name.clone());
            let name = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
            labels.push((name, HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?));
        }
        let mut routes = Vec::with_capacity(target.routes.len());
        for route in &target.routes {
            routes.push(LiveRoute::new(id, route)?);
        }
        routes
            .sort_by_key(|route| (route.domains.is_empty(), std::cmp::Reverse(route.prefix.len())));
        if !routes.iter().any(|route| route.domains.is_empty() && route.prefix == "/") {
            return Err(TargetError::NoCatchAll(id.clone()));
        }
        for (index, route) in routes.iter().enumerate() {
            if routes[..index].iter().any(|earlier| earlier.claims_same(route)) {
                return Err(TargetError::Twice(id.clone(), route.prefix.clone()));
            }
        }
        Ok(Self {
            id: id.clone(),
            labels,
            routes,
            shards: (0..workers).map(|_| Shard::default()).collect(),
            drain_until_ms: AtomicU64::new(0),
        })
    }

    /// The route for a request.
    pub(crate) fn route(&self, host: &str, path: &str) -> Option<&LiveRoute> {
        self.routes.iter().find(|route| route.fits(host, path))
    }

    /// When the last upgraded connection must be closed; `None`: no drain.
    pub(crate) fn drain_until_ms(&self) -> Option<u64> {
        Some(self.drain_until_ms.load(Ordering::SeqCst)).filter(|at| *at != 0)
    }

    /// Orders a drain, or with `None` ends it.
    pub(crate) fn set_drain_until_ms(&self, at: Option<u64>) {
        self.drain_until_ms.store(at.unwrap_or(0), Ordering::SeqCst);
    }

    fn is_used(&self) -> bool {
        self.shards.iter().any(|s| s.in_flight() > 0 || s.tunnels().load(Ordering::SeqCst) > 0)
    }
}

impl LiveRoute {
    fn new(id: &str, route: &Route) -> Result<Self, TargetError> {
        if !route.prefix.starts_with('/') {
            return Err(TargetError::Prefix(id.to_owned(), route.prefix.clone()));
        }
        if route.addresses.is_empty() {
            return Err(TargetError::NoAddress(id.to_owned(), route.prefix.clone()));
        }
        let number = |address: &Address| UpstreamAddress {
            number: NEXT_UPSTREAM.fetch_add(1, Ordering::Relaxed),
            address: address.clone(),
        };
        Ok(Self {
            domains: route.domains.iter().map(|d| d.to_ascii_lowercase()).collect(),
            prefix: trim_prefix(&route.prefix).to_owned(),
            upstreams: route.addresses.iter().map(number).collect(),
        })
    }

    fn fits(&self, host: &str, path: &str) -> bool {
        (self.domains.is_empty() || self.domains.iter().any(|domain| domain == host))
            && prefix_fits(&self.prefix, path)
    }

    fn claims_same(&self, other: &Self) -> bool {
        self.prefix == other.prefix
            && (self.domains.is_empty() && other.domains.is_empty()
                || self.domains.iter().any(|domain| other.domains.contains(domain)))
    }
}

/// `/api/` and `/api` are the same prefix.
pub(crate) fn trim_prefix(prefix: &str) -> &str {
    let trimmed = prefix.trim_end_matches('/');
    if trimmed.is_empty() { "/" } else { trimmed }
}

/// Whether a trimmed prefix fits a path, by whole segments.
pub(crate) fn prefix_fits(prefix: &str, path: &str) -> bool {
    prefix == "/"
        || path
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

impl Service {
    /// A service as its record says, published.
    pub(crate) fn new(record: ServiceRecord, workers: usize) -> Result<Self, TargetError> {
        let live = match &record.target {
            Some(target) => Some(Arc::new(LiveTarget::new(target, workers)?)),
            None => None,
        };
        let service = Self {
            target: ArcSwapOption::empty(),
            epoch: AtomicU64::new(1),
            maintenance: AtomicBool::new(record.maintenance),
            forgotten: AtomicBool::new(false),
            known: Mutex::default(),
            passes: Mutex::default(),
            record: Mutex::new(record),
        };
        if let Some(live) = live {
            service.publish(live);
        }
        Ok(service)
    }

    /// Makes the target the effective one: from when this returns, no request enters another.
    ///
    /// A worker counts a request in and then reads the epoch again. Both sides are sequentially consistent, so either
    /// the worker sees the new epoch and takes its count back, or whoever reads the old target's count after this
    /// returned sees the request.
    ///
    /// Gives back earlier turns of the same target whose drain is over with it.
    pub(crate) fn publish(&self, live: Arc<LiveTarget>) -> Vec<Arc<LiveTarget>> {
        let mut known = lock(&self.known);
        let is_revived = |t: &&Arc<LiveTarget>| t.id == live.id && t.drain_until_ms().is_some();
        let revived: Vec<Arc<LiveTarget>> = known.iter().filter(is_revived).cloned().collect();
        revived.iter().for_each(|target| target.set_drain_until_ms(None));
        known.insert(0, live.clone());
        self.target.store(Some(live));
        self.epoch.fetch_add(1, Ordering::SeqCst);
        let mut remembered = 0;
        known.retain(|target| {
            remembered += usize::from(!target.is_used());
            target.is_used() || remembered <= REMEMBERED + 1
        });
        revived
    }

    /// Changes with every publication.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// The effective target.
    pub(crate) fn target(&self) -> Option<Arc<LiveTarget>> {
        self.target.load_full()
    }

    /// Whether it was removed while somebody waited for its record. Asked with the record locked.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::SeqCst)
    }

    /// It is removed. Called with the record locked.
    pub(crate) fn set_forgotten(&self) {
        self.forgotten.store(true, Ordering::SeqCst);
    }

    /// Whether the maintenance page is shown.
    pub(crate) fn is_in_maintenance(&self) -> bool {
        self.maintenance.load(Ordering::Relaxed)
    }

    /// Shows the maintenance page, or no longer.
    pub(crate) fn set_maintenance(&self, on: bool) {
        self.maintenance.store(on, Ordering::SeqCst);
    }

    /// Lets whoever shows the pass through to its target.
    pub(crate) fn admit(&self, pass: Pass) {
        let mut passes = lock(&self.passes);
        if passes.len() >= PASSES_MAX {
            passes.remove(0);
        }
        passes.push(Arc::new(pass));
    }

    /// No pass is good any more.
    pub(crate) fn end_passes(&self) {
        lock(&self.passes).clear();
    }

    /// The pass with that token, if it is good now.
    pub(crate) fn pass(&self, token: &str, now_ms: u64) -> Option<Arc<Pass>> {
        let mut passes = lock(&self.passes);
        passes.retain(|pass| !pass.is_over(now_ms));
        passes.iter().find(|pass| pass.is(token)).cloned()
    }

    /// Every turn of the target that is still known and not effective now.
    pub(crate) fn without_traffic(&self, id: &str) -> Vec<Arc<LiveTarget>> {
        let effective = self.target();
        let is_effective =
            |target: &Arc<LiveTarget>| effective.as_ref().is_some_and(|e| Arc::ptr_eq(e, target));
        let known = lock(&self.known);
        known.iter().filter(|t| t.id == id && !is_effective(t)).cloned().collect()
    }

    /// Counters of the targets still known, the effective one first.
    pub(crate) fn traffic(&self) -> Vec<TargetTraffic> {
        let effective = self.target();
        let mut told: Vec<TargetTraffic> = Vec::new();
        for target in lock(&self.known).iter() {
            if let Some(newer) = told.iter_mut().find(|newer| newer.target == target.id) {
                stats::add_under_way(newer, &target.shards);
                continue;
            }
            let mut traffic = TargetTraffic {
                target: target.id.clone(),
                effective: effective.as_ref().is_some_and(|e| Arc::ptr_eq(e, target)),
                ..TargetTraffic::default()
            };
            stats::add_up(&mut traffic, &target.shards);
            stats::add_under_way(&mut traffic, &target.shards);
            told.push(traffic);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(domains: &[&str], prefix: &str, port: u16) -> Route {
        Route {
            domains: domains.iter().map(ToString::to_string).collect(),
            prefix: prefix.to_owned(),
            addresses: vec![Address::Tcp(([127, 0, 0, 1], port).into())],
        }
    }

    fn target(id: &str, routes: Vec<Route>) -> Target {
        Target { id: id.to_owned(), labels: Vec::new(), routes }
    }

    #[test]
    fn most_specific_route_wins() {
        let routes = vec![
            route(&[], "/", 1),
            route(&[], "/api", 2),
            route(&[], "/api/v2/", 3),
            route(&["admin.example"], "/", 4),
        ];
        let live = LiveTarget::new(&target("t", routes), 1).unwrap();
        let port = |host, path| match &live.route(host, path).unwrap().upstreams[0].address {
            Address::Tcp(address) => address.port(),
            Address::Unix(_) => unreachable!(),
        };
        assert_eq!(port("x", "/apix"), 1);
        assert_eq!(port("x", "/api"), 2);
        assert_eq!(port("x", "/api?q"), 2);
        assert_eq!(port("x", "/api/v2"), 3);
        assert_eq!(port("admin.example", "/api"), 4);
    }

    #[test]
    fn target_that_leaves_paths_out_or_doubles_them_is_refused() {
        assert!(LiveTarget::new(&target("t", vec![route(&[], "/api", 1)]), 1).is_err());
        let twice = vec![route(&[], "/", 1), route(&[], "/a", 1), route(&[], "/a/", 2)];
        assert!(LiveTarget::new(&target("t", twice), 1).is_err());
    }

    #[test]
    fn old_targets_are_forgotten_but_not_while_in_use() {
        let service = Service::new(ServiceRecord::new("s", Default::default()), 1).unwrap();
        let publish = |id: &str| {
            let live = Arc::new(LiveTarget::new(&target(id, vec![route(&[], "/", 1)]), 1).unwrap());
            service.publish(live.clone());
            live
        };
        publish("held").shards[0].enter();
        for n in 0..20 {
            publish(&format!("t{n}"));
        }
        let told = service.traffic();
        assert_eq!(told.len(), 1 + REMEMBERED + 1);
        assert!(told[0].effective && told[0].target == "t19");
        assert_eq!(told.last().unwrap().in_flight, 1);
    }
}
