//! Configuration and facts to a binding: everything decided that a slot needs to run, now and after a reboot.

use super::expand::{ExpandError, Names, expand};
use super::model::{Config, Health, Runner, Service};
use crate::binding::{Address, Binding, BindingId, Process};
use crate::names::{AppName, NameError, ReleaseId, ServiceName};
use crate::slot::Slot;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What an app's environment takes over from the daemon's; all else is the app's own business.
pub const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "USER", "TZ"];

/// Longest path of a Unix socket, in bytes, on Linux.
const SOCKET_BYTES_MAX: usize = 107;

/// What the configuration does not know.
#[derive(Debug, Clone)]
pub struct BindFacts {
    /// Identity of the binding to be made.
    pub id: BindingId,
    /// Where it will run.
    pub slot: Slot,
    /// What it will run.
    pub release: ReleaseId,
    /// The directory of the release instance, absolute.
    pub instance: PathBuf,
    /// The loopback address of each service that listens on a port; see [`Service::listens_on_socket`].
    pub addresses: BTreeMap<ServiceName, SocketAddr>,
    /// Where sockets are made, absolute; each is `SERVICE.sock` in it.
    pub socket_dir: PathBuf,
    /// The daemon's environment; only [`INHERITED`] is taken from it.
    pub inherited: BTreeMap<String, String>,
    /// The file that exists while this slot has the traffic.
    pub active_file: PathBuf,
    /// The php-fpm of each service that is a pool.
    pub php_fpm: BTreeMap<ServiceName, PathBuf>,
}

/// Why there is no binding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// The app and its environment make no name.
    #[error("name the app on this host")]
    Name(#[from] NameError),
    /// A command names what there is not.
    #[error("fill in the command of service `{service}`")]
    Command {
        /// The service.
        service: ServiceName,
        /// What it names.
        source: ExpandError,
    },
    /// Nobody gave the service a port.
    #[error("bind service `{service}`: it has no address")]
    NoAddress {
        /// The service.
        service: ServiceName,
    },
    /// The host has no such program.
    #[error("bind service `{service}`: this host has no php-fpm for it")]
    NoPhpFpm {
        /// The service.
        service: ServiceName,
    },
    /// The socket cannot exist.
    #[error("bind service `{service}`: {} is longer than {SOCKET_BYTES_MAX} bytes or not UTF-8", path.display())]
    Socket {
        /// The service.
        service: ServiceName,
        /// Its socket.
        path: PathBuf,
    },
}

impl Service {
    /// Whether it listens on a Unix socket: its command has `{socket}` and no `{port}`. A pool does where its user and
    /// nginx's can share one; elsewhere nginx could not get to it.
    pub fn listens_on_socket(&self, runner: Runner) -> bool {
        if self.php_fpm.is_some() {
            return runner == Runner::Systemd;
        }
        let has = |name| self.command.iter().any(|word| word.contains(name));
        has("{socket}") && !has("{port}")
    }
}

/// The socket of a service among those of its slot.
pub fn socket(dir: &Path, service: &ServiceName) -> PathBuf {
    dir.join(format!("{service}.sock"))
}

/// The binding of `config` under these facts. It does not depend on when or where it is made.
pub fn bind(config: &Config, facts: BindFacts) -> Result<Binding, BindError> {
    let processes: Result<Vec<Process>, BindError> = config
        .services
        .iter()
        .map(|(name, service)| process(config, &facts, name, service))
        .collect();
    Ok(Binding {
        app: AppName::on_host(&config.app, &config.environment)?,
        environment: config.environment.clone(),
        processes: processes?,
        smoke: config.smoke.clone(),
        warmup: config.warmup.clone(),
        id: facts.id,
        slot: facts.slot,
        runner: config.runner,
        release: facts.release,
        instance: facts.instance,
    })
}

fn process(
    config: &Config,
    facts: &BindFacts,
    name: &ServiceName,
    service: &Service,
) -> Result<Process, BindError> {
    let socket = socket(&facts.socket_dir, name);
    let socket_text = socket.to_str().filter(|text| text.len() <= SOCKET_BYTES_MAX);
    let address = if service.listens_on_socket(config.runner) {
        if socket_text.is_none() {
            return Err(BindError::Socket { service: name.clone(), path: socket });
        }
        Address::Unix(socket.clone())
    } else {
        let address = facts.addresses.get(name);
        Address::Tcp(*address.ok_or_else(|| BindError::NoAddress { service: name.clone() })?)
    };
    let env = environment(config, facts, address.port());
    let dir: PathBuf = facts.instance.join(&service.dir).components().collect();
    let pool = match &service.php_fpm {
        Some(php_fpm) => {
            let program = facts.php_fpm.get(name);
            let program =
                program.ok_or_else(|| BindError::NoPhpFpm { service: name.clone() })?.clone();
            let file = socket.with_extension("conf");
            Some(super::fpm::pool(php_fpm, config, service, &address, &dir, program, file))
        }
        None => None,
    };
    let names = Names {
        port: address.port(),
        socket: socket_text,
        slot: facts.slot,
        release: &facts.release,
        env: &env,
    };
    let argv = match &pool {
        Some(pool) => pool.argv(config.runner),
        None => expand(&service.command, &names)
            .map_err(|source| BindError::Command { service: name.clone(), source })?,
    };
    Ok(Process {
        name: name.clone(),
        argv,
        env,
        dir,
        pool,
        address,
        stop: service.stop.clone(),
        routes: service.routes.clone(),
        domains: service.domains.clone(),
        health: health(config, service),
    })
}

/// The daemon's few, over them the app's own, over them what alcedo says.
fn environment(config: &Config, facts: &BindFacts, port: Option<u16>) -> BTreeMap<String, String> {
    // A unit's user has a home and a name of its own.
    let is_own = |name: &str| config.runner == Runner::Systemd && matches!(name, "HOME" | "USER");
    let is_taken = |name: &str| INHERITED.contains(&name) && !is_own(name);
    let inherited = facts.inherited.iter().filter(|(name, _)| is_taken(name));
    let own = [
        ("PORT", port.map(|port| port.to_string())),
        ("ALCEDO_APP", Some(config.app.to_string())),
        ("ALCEDO_ENVIRONMENT", Some(config.environment.clone())),
        ("ALCEDO_SLOT", Some(facts.slot.to_string())),
        ("ALCEDO_RELEASE", Some(facts.release.to_string())),
        ("ALCEDO_ACTIVE_FILE", Some(facts.active_file.to_string_lossy().into_owned())),
    ];
    let own = own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let pairs = inherited.chain(&config.env).map(|(name, value)| (name.clone(), value.clone()));
    pairs.chain(own).collect()
}

/// With the Host header that users' requests will have.
fn health(config: &Config, service: &Service) -> Health {
    let domains = service.domains.iter().chain(&config.router.domains);
    let host = service.health.host.as_ref().or_else(|| domains.into_iter().next());
    Health { host: host.cloned(), ..service.health.clone() }
}
