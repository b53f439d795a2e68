//! What one app has on a prepared host: its user, its directory, its template unit with an instance for each process of
//! each slot, the rule that lets the daemon start and stop exactly these, and the sockets of the embedded router.

use super::accounts;
use super::host::{DAEMON, PROXY, TMPFILES};
use super::step::{After, Change, Owner, SetupError, Step};
use super::{HEADER, UNITS, nginx, units};
use crate::adapters::machine::php_fpm;
use crate::adapters::router_nginx::rotation_unit;
use crate::adapters::runner_systemd::{instance, unit};
use crate::engine::order::Places;
use crate::paths::{Paths, SYSTEM_USER};
use alcedo_core::config::{Config, Runner, Service};
use alcedo_core::{AppName, ServiceName, Slot};
use std::path::{Path, PathBuf};

/// Users' names are no longer than this.
const USER_BYTES_MAX: usize = 32;
/// Where units of others are.
const UNIT_DIRS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Where polkit looks for rules.
const POLKIT: &str = "/etc/polkit-1/rules.d";

/// One app's part, with what its texts need.
#[derive(Debug, Clone)]
pub(crate) struct AppPlan {
    pub(super) name: AppName,
    pub(super) config: Config,
    pub(super) root: PathBuf,
    pub(super) user: String,
    pub(super) group: String,
    /// Where sockets are made, per slot.
    pub(super) sockets: Vec<PathBuf>,
}

impl AppPlan {
    /// Looks at what the configuration wants and at what is in the way.
    ///
    /// # Errors
    /// A runner that needs nothing, or a name that is taken.
    pub(crate) fn new(
        name: &AppName,
        config: &Config,
        places: &Places,
    ) -> Result<Self, SetupError> {
        if config.runner != Runner::Systemd {
            return Err(SetupError::InTheWay {
                what: format!("set up {name}: `runner = \"process\"` has nothing to set up"),
                hint: "runner = \"systemd\"; without root: alcedo setup --user".to_owned(),
            });
        }
        refuse_missing_pools(config)?;
        let root = places.root(name, config);
        let user = user(name, config, &root)?;
        refuse_taken(name)?;
        Ok(Self {
            group: accounts::group_of(&user),
            sockets: Slot::BOTH.iter().map(|slot| places.sockets(name, *slot)).collect(),
            name: name.clone(),
            config: config.clone(),
            root,
            user,
        })
    }

    /// Its steps, after those of the host.
    pub(crate) fn steps(&self, paths: &Paths) -> Vec<Step> {
        let restart = |unit: &str| After::Restart(unit.to_owned());
        let mut steps = vec![
            Step::of(Change::User { name: self.user.clone(), home: self.root.clone() }),
            // What the app writes for the daemon to read is the group's; so are its sockets, for the proxy.
            Step::of(Change::Member { user: SYSTEM_USER.to_owned(), group: self.group.clone() })
                .then(restart(DAEMON))
                .then(restart(PROXY)),
            Step::of(Change::Directory {
                path: self.root.clone(),
                mode: 0o750,
                owner: Owner::of(SYSTEM_USER, &self.group),
            }),
            Step::file(
                Path::new(TMPFILES).join(format!("alcedo-{}.conf", self.name)),
                self.tmpfiles(),
            )
            .then(After::MakeRunDirectories),
            Step::unit(&format!("{DAEMON}.d/{}.conf", self.name), units::daemon_part(self))
                .then(restart(DAEMON)),
            Step::unit(&format!("{}@.service", self.name), units::template(self, paths)),
            Step::file(
                Path::new(POLKIT).join(format!("60-alcedo-{}.rules", self.name)),
                units::polkit(self),
            ),
        ];
        steps.extend(self.parts());
        steps.extend(
            self.units()
                .into_iter()
                .map(|unit| Step::of(Change::Enabled { unit, wants: "multi-user.target.wants" })),
        );
        match nginx::form(&self.config) {
            Some(_) => steps.extend(self.beside_nginx()),
            None => steps.extend(self.listeners()),
        }
        steps
    }

    /// What nginx itself is given comes after all of this, in [`nginx::Site`].
    fn beside_nginx(&self) -> Vec<Step> {
        let logs = nginx::log_dir(&self.name);
        let of_root =
            |path: PathBuf| Step::of(Change::Directory { path, mode: 0o755, owner: Owner::root() });
        let above = logs.parent().unwrap_or(Path::new("/")).to_owned();
        let mut steps = vec![
            of_root(above),
            of_root(logs),
            Step::unit(&rotation_unit(&self.name), units::rotation(self)),
        ];
        let member =
            |user: &str| Change::Member { user: user.to_owned(), group: self.group.clone() };
        steps.extend(nginx::visitor(&self.config).map(|user| Step::of(member(user))));
        steps
    }

    /// Every instance of its template that there can be.
    pub(super) fn units(&self) -> Vec<String> {
        let of = |slot: Slot| {
            let names = self.config.services.keys();
            names.map(move |service| unit(&self.name, &instance(slot, service)))
        };
        Slot::BOTH.into_iter().flat_map(of).collect()
    }

    /// What a service has that others of the app have not: its own signal, time and limits.
    fn parts(&self) -> Vec<Step> {
        let of = |slot: Slot| {
            self.config.services.iter().map(move |(name, service)| self.part(slot, name, service))
        };
        Slot::BOTH.into_iter().flat_map(of).collect()
    }

    fn part(&self, slot: Slot, name: &ServiceName, service: &Service) -> Step {
        let unit = unit(&self.name, &instance(slot, name));
        Step::unit(&format!("{unit}.d/alcedo.conf"), units::part(self, slot, name, service))
    }

    fn tmpfiles(&self) -> String {
        let line =
            |dir: &PathBuf| format!("d {} 2770 {SYSTEM_USER} {} -\n", dir.display(), self.group);
        format!("{HEADER}\n{}", self.sockets.iter().map(line).collect::<String>())
    }

    /// A socket unit for each address; several apps share one.
    fn listeners(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for address in &self.config.router.listen {
            let name = units::socket_name(address);
            let path = Path::new(UNITS).join(&name);
            let mut apps = units::socket_apps(&std::fs::read_to_string(path).unwrap_or_default());
            apps.insert(self.name.to_string());
            steps.push(Step::unit(&name, units::socket(address, &apps)));
            steps.push(Step::of(Change::Enabled {
                unit: name.clone(),
                wants: "sockets.target.wants",
            }));
            steps.push(
                Step::of(Change::Running { unit: name }).then(After::Start(PROXY.to_owned())),
            );
        }
        steps
    }
}

fn user(name: &AppName, config: &Config, root: &Path) -> Result<String, SetupError> {
    if let Some(user) = &config.systemd.user {
        return Ok(user.clone());
    }
    let user = name.to_string();
    let taken = accounts::home(&user).is_some_and(|home| Path::new(&home) != root);
    if taken || user == SYSTEM_USER || user.len() > USER_BYTES_MAX {
        let why =
            if user.len() > USER_BYTES_MAX { "its name is too long" } else { "it is another's" };
        return Err(SetupError::InTheWay {
            what: format!("make the user {user} for this app: {why}"),
            hint: "name one: systemd.user = \"shop-app\"".to_owned(),
        });
    }
    Ok(user)
}

/// A pool is the host's own php-fpm.
fn refuse_missing_pools(config: &Config) -> Result<(), SetupError> {
    let pools = config.services.values().filter_map(|service| service.php_fpm.as_ref());
    let mut versions = pools.map(|pool| pool.version.as_deref());
    match versions.find(|version| php_fpm(*version).is_none()) {
        None => Ok(()),
        Some(version) => {
            let version = version.unwrap_or_default();
            Err(SetupError::InTheWay {
                what: format!("prepare a pool of php-fpm {version}: this host has none"),
                hint: format!("sudo apt-get install php{version}-fpm"),
            })
        }
    }
}

/// `user@.service` is systemd's own; an app of that name would break every login.
fn refuse_taken(name: &AppName) -> Result<(), SetupError> {
    let file = format!("{name}@.service");
    let path = UNIT_DIRS
        .iter()
        .map(|dir| Path::new(dir).join(&file))
        .find(|path| std::fs::read_to_string(path).is_ok_and(|text| !text.starts_with(HEADER)));
    match path {
        None => Ok(()),
        Some(path) => Err(SetupError::InTheWay {
            what: format!("write the unit {file}: {} is not ours", path.display()),
            hint: "give the app another name, or remove that unit".to_owned(),
        }),
    }
}
