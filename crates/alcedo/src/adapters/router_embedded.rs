//! The embedded proxy as a router: its control socket, one fresh connection a call.

use crate::engine::ports::{
    EffectError, Effective, Entrance, EntranceTaken, Router, SwitchError, Switched, Traffic,
};
use alcedo_core::AppName;
use alcedo_core::binding::{Address, Binding, BindingId};
use alcedo_core::config::{Config, HealthCheck};
use alcedo_proxy::control::{Client, ClientError, FailureKind, Observed};
use alcedo_proxy::listen::ListenAddress;
use alcedo_proxy::state::{self, DrainLimits, Route, Structure, Target};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

/// The proxy answers from memory; a switch waits for the disk.
const LIMIT: Duration = Duration::from_secs(5);
const SWITCH_LIMIT: Duration = Duration::from_secs(15);

/// The target that is no slot: a process that was there before alcedo. The engine is told of none.
const ADOPTED: &str = "adopted";

/// The proxy behind its control socket.
pub(crate) struct EmbeddedRouter {
    socket: PathBuf,
}

impl EmbeddedRouter {
    /// Nothing is connected yet.
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Until the first switch, requests go to a process that was there before. Once there was a switch, nothing is done.
    pub(crate) fn lead_to(&self, app: &AppName, address: SocketAddr) -> Result<(), EffectError> {
        let mut client = self.client()?;
        let known = client.observe(app.as_str(), LIMIT).map_err(|e| failed("ask the proxy", &e))?;
        let generation = known.as_ref().map_or(0, |known| known.generation);
        if known.and_then(|known| known.target).is_some_and(|target| target.id != ADOPTED) {
            return Ok(());
        }
        let route = Route {
            domains: Vec::new(),
            prefix: "/".to_owned(),
            addresses: vec![state::Address::Tcp(address)],
        };
        let target = Target { id: ADOPTED.to_owned(), labels: Vec::new(), routes: vec![route] };
        let operation = format!("{ADOPTED}-{address}");
        client
            .switch(app.as_str(), generation, &operation, target, SWITCH_LIMIT)
            .map(drop)
            .map_err(|e| failed("lead the proxy to the hand-made process", &e))
    }

    /// A connection that begins with versions.
    pub(crate) fn client(&self) -> Result<Client, EffectError> {
        Client::connect(&self.socket, LIMIT).map_err(|error| EffectError::Failed {
            what: "reach the proxy".to_owned(),
            detail: crate::engine::order::chain(&error),
            hint: Some("alcedo check".to_owned()),
        })
    }
}

impl Router for EmbeddedRouter {
    fn observe(&self, app: &AppName) -> Result<Option<Effective>, EffectError> {
        let observed =
            self.client()?.observe(app.as_str(), LIMIT).map_err(|e| failed("ask the proxy", &e))?;
        Ok(observed.map(effective))
    }

    fn configure(
        &self,
        app: &AppName,
        config: &Config,
        _upstreams: &[alcedo_core::nginx::Upstream],
    ) -> Result<(), EffectError> {
        let structure = structure(config);
        let mut client = self.client()?;
        let known = client.observe(app.as_str(), LIMIT).map_err(|e| failed("ask the proxy", &e))?;
        if known.is_some_and(|k| k.structure == structure) {
            return Ok(());
        }
        client
            .configure(app.as_str(), structure, SWITCH_LIMIT)
            .map(|_| ())
            .map_err(|e| failed("configure the proxy", &e))
    }

    fn switch(
        &self,
        app: &AppName,
        expected: u64,
        binding: &Binding,
        operation: &str,
    ) -> Result<Switched, SwitchError> {
        let answer =
            self.client()?.switch(app.as_str(), expected, operation, target(binding), SWITCH_LIMIT);
        match answer {
            Ok(switched) => Ok(Switched {
                generation: switched.generation,
                took_us: switched.took_us.saturating_sub(switched.durable_us),
            }),
            Err(ClientError::Failed(failure)) if failure.kind == FailureKind::Conflict => {
                match failure.effective {
                    Some(now) => Err(SwitchError::Conflict(effective(*now))),
                    None => Err(EffectError::failed("switch", failure.message).into()),
                }
            }
            Err(error) => Err(failed("switch", &error).into()),
        }
    }

    fn drain(
        &self,
        app: &AppName,
        binding: &BindingId,
        config: &Config,
    ) -> Result<(), EffectError> {
        let limits = drain_limits(config);
        let drained = self.client()?.drain(app.as_str(), binding.as_str(), Some(limits), LIMIT);
        drained.map(|_| ()).map_err(|e| failed("drain", &e))
    }

    fn traffic(&self, app: &AppName) -> Result<Vec<Traffic>, EffectError> {
        let all = self
            .client()?
            .traffic(app.as_str(), LIMIT)
            .map_err(|e| failed("read the proxy's counters", &e))?;
        let one = |t: alcedo_proxy::control::TargetTraffic| Traffic {
            target: t.target,
            requests: t.requests,
            errors: t.errors,
            in_flight: t.in_flight.saturating_sub(t.streams),
            tunnels: t.tunnels + t.streams,
            p50_us: t.p50_us,
            p95_us: t.p95_us,
            worst: t.worst,
        };
        Ok(all.into_iter().filter(|t| t.target != ADOPTED).map(one).collect())
    }

    fn admit(
        &self,
        app: &AppName,
        binding: &Binding,
        token: &str,
        lifetime: Duration,
    ) -> Result<(), EffectError> {
        let mut client = self.client()?;
        let admitted =
            client.admit(app.as_str(), target(binding), token, lifetime.as_secs(), LIMIT);
        admitted.map_err(|e| failed("make a link", &e))
    }

    fn end_passes(&self, app: &AppName) -> Result<(), EffectError> {
        let ended = self.client()?.end_passes(app.as_str(), LIMIT);
        ended.map_err(|e| failed("end the links", &e))
    }

    fn entrances_taken(&self, app: &AppName, config: &Config) -> Vec<EntranceTaken> {
        // A proxy that cannot be asked is told of elsewhere.
        let Ok(mut client) = self.client() else { return Vec::new() };
        let (Ok(status), Ok(services)) = (client.status(LIMIT), client.list(LIMIT)) else {
            return Vec::new();
        };
        let others = services.iter().filter(|other| other.service != app.as_str());
        let claimed = others.filter_map(|other| claimed_by(other, config));
        let is_open = |asked: &String| {
            status.listeners.iter().any(|l| l.asked == *asked && l.address.is_some())
        };
        let closed = config.router.listen.iter().filter(|asked| !is_open(asked));
        let held = closed.filter_map(|asked| held_by_others(asked.parse().ok()?));
        claimed.chain(held.map(|address| EntranceTaken { address, app: None })).collect()
    }

    fn entrance(&self, app: &AppName, config: &Config) -> Result<Entrance, EffectError> {
        let observed =
            self.client()?.observe(app.as_str(), LIMIT).map_err(|e| failed("ask the proxy", &e))?;
        let listening = observed.map(|o| o.listening).unwrap_or_default();
        let address = listening.iter().find_map(|l| l.address);
        let Some(address) = address else {
            let problems: Vec<_> = listening.into_iter().filter_map(|l| l.problem).collect();
            return Err(EffectError::failed("find where the proxy listens", problems.join("; ")));
        };
        let address = reachable(address);
        let domain = config.router.domains.first();
        let port = address.port();
        let name = domain.cloned().unwrap_or_else(|| address.ip().to_string());
        let authority = if port == 80 { name } else { format!("{name}:{port}") };
        // Behind somebody else's site, its name does not lead to this port.
        let shown =
            if config.router.adopt.is_some() { address.to_string() } else { authority.clone() };
        Ok(Entrance {
            address: Address::Tcp(address),
            host: authority,
            url: format!("http://{shown}"),
            names_release: true,
        })
    }
}

/// The address, when somebody else listens there. A port that may not be bound at all is not: it has a fallback.
fn held_by_others(asked: ListenAddress) -> Option<SocketAddr> {
    let bound = match asked {
        ListenAddress::Any(port) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        ListenAddress::One(address) => address,
    };
    let error = TcpListener::bind(bound).err()?;
    (error.kind() == std::io::ErrorKind::AddrInUse).then(|| loopback(asked))
}

/// What an app of the same proxy has already of what this one wants: a domain, or every host, on a common address.
fn claimed_by(other: &Observed, config: &Config) -> Option<EntranceTaken> {
    let asked = config.router.listen.iter().find(|one| other.structure.listen.contains(one))?;
    let theirs = || other.structure.domains.iter().chain(&other.structure.aliases);
    let mut ours = config.router.domains.iter().chain(&config.router.aliases);
    let what = if config.router.domains.is_empty() {
        other.structure.domains.is_empty().then(|| "every host".to_owned())?
    } else {
        ours.find(|domain| theirs().any(|their| their == *domain))?.clone()
    };
    Some(EntranceTaken {
        address: loopback(asked.parse().ok()?),
        app: Some((other.service.clone(), what)),
    })
}

fn loopback(asked: ListenAddress) -> SocketAddr {
    match asked {
        ListenAddress::Any(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        ListenAddress::One(address) => address,
    }
}

/// A listener on every address is reached over loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn effective(observed: Observed) -> Effective {
    Effective {
        target: observed.target.map(|t| t.id).filter(|id| id != ADOPTED),
        generation: observed.generation,
        operation: observed.operation,
    }
}

fn failed(what: &str, error: &ClientError) -> EffectError {
    EffectError::failed(what, crate::engine::order::chain(error))
}

fn structure(config: &Config) -> Structure {
    let root = config.services.values().find(|s| s.routes.is_empty());
    let health_path = root.and_then(|s| match &s.health.check {
        HealthCheck::Http(path) => Some(path.clone()),
        HealthCheck::Tcp | HealthCheck::Command(_) | HealthCheck::None => None,
    });
    Structure {
        domains: config.router.domains.clone(),
        aliases: config.router.aliases.clone(),
        listen: config.router.listen.clone(),
        prefixes: Vec::new(),
        max_body_bytes: config.router.max_body_bytes,
        timeout_ms: millis(config.router.timeout),
        trusted_proxies: config.router.trusted_proxies.clone(),
        drain: drain_limits(config),
        health_path,
    }
}

fn drain_limits(config: &Config) -> DrainLimits {
    DrainLimits {
        requests_ms: millis(config.drain.requests),
        websockets_ms: millis(config.drain.websockets),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn target(binding: &Binding) -> Target {
    let labels = vec![
        ("X-Alcedo-Release".to_owned(), binding.release.to_string()),
        ("X-Alcedo-Slot".to_owned(), binding.slot.to_string()),
    ];
    let routes = binding.processes.iter().flat_map(|process| {
        let prefixes =
            if process.routes.is_empty() { vec!["/".to_owned()] } else { process.routes.clone() };
        let address = match &process.address {
            Address::Tcp(address) => state::Address::Tcp(*address),
            Address::Unix(path) => state::Address::Unix(path.clone()),
        };
        prefixes.into_iter().map(move |prefix| Route {
            domains: process.domains.clone(),
            prefix,
            addresses: vec![address.clone()],
        })
    });
    Target { id: binding.id.to_string(), labels, routes: routes.collect() }
}
