//! An app's site in the host's nginx: written, tested, reloaded and proved by root, once, so that a deploy only sets a flag
//! in a directory of the daemon's own.

use super::accounts;
use super::step::SetupError;
use crate::adapters::router_nginx::{FileChange, Hold, LOGS, Nginx, NginxRouter, SiteChange, UNIT};
use crate::engine::order::likely_ports;
use crate::engine::ports::{EffectError, Router};
use crate::files::Ids;
use crate::paths::{Paths, SYSTEM_USER};
use alcedo_core::binding::Address;
use alcedo_core::config::{Config, NginxForm, RouterKind, socket};
use alcedo_core::nginx::Upstream;
use alcedo_core::{AppName, Slot};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Whom Debian's nginx has its workers run as.
const WORKERS: &str = "www-data";

/// One app's site.
pub(crate) struct Site {
    app: AppName,
    config: Config,
}

/// A file of nginx that changes, for people.
#[derive(Debug, Clone)]
pub(crate) struct SiteStep {
    /// `/etc/nginx/sites-available/alcedo-shop: new`
    pub(crate) title: String,
    /// Its lines that change.
    pub(crate) diff: Vec<String>,
}

impl Site {
    /// The app's, when its router is nginx.
    pub(crate) fn of(app: &AppName, config: &Config) -> Option<Self> {
        form(config)?;
        Some(Self { app: app.clone(), config: config.clone() })
    }

    /// What would be written.
    ///
    /// # Errors
    /// When nginx's configuration cannot be read, is broken, or something stands in the way.
    pub(crate) fn pending(&self, upstreams: &[Upstream]) -> Result<Vec<SiteStep>, SetupError> {
        let changes = router().propose(&self.app, &self.config, upstreams).map_err(in_the_way)?;
        Ok(changes.iter().map(SiteStep::of).collect())
    }

    /// Writes it, tests it, reloads nginx and waits until that is effective; else everything is as before.
    ///
    /// # Errors
    /// What nginx said.
    pub(crate) fn install(&self, upstreams: &[Upstream]) -> Result<(), SetupError> {
        router().configure(&self.app, &self.config, upstreams).map_err(in_the_way)
    }

    /// Where its processes will be reached when nobody who knows can be asked: no port is any app's yet.
    pub(crate) fn likely_upstreams(&self) -> Vec<Upstream> {
        let paths = Paths::system();
        let places = super::places(&paths);
        let one = |(name, service): (&_, &alcedo_core::config::Service)| {
            let ports = service.ports.unwrap_or_else(|| likely_ports(&self.app, name));
            let at = |slot: Slot, port: u16| match service.listens_on_socket(self.config.runner) {
                true => Address::Unix(socket(&places.sockets(&self.app, slot), name)),
                false => Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            };
            Upstream {
                service: name.clone(),
                routes: service.routes.clone(),
                blue: at(Slot::Blue, ports.blue),
                green: at(Slot::Green, ports.green),
                is_fastcgi: service.php_fpm.is_some(),
            }
        };
        self.config.services.iter().map(one).collect()
    }
}

impl SiteStep {
    fn of(change: &FileChange) -> Self {
        let path = change.path.display();
        match &change.after {
            SiteChange::Link(to) => {
                Self { title: format!("{path} -> {}: new", to.display()), diff: Vec::new() }
            }
            SiteChange::Text(text) => Self {
                title: format!(
                    "{path} (root:root 0644): {}",
                    if change.before.is_some() { "changed" } else { "new" }
                ),
                diff: crate::diff::lines(change.before.as_deref().unwrap_or(""), text),
            },
        }
    }
}

/// The files of an app's site that are there.
pub(crate) fn files(app: &AppName) -> Result<Vec<PathBuf>, SetupError> {
    router().files(app).map_err(in_the_way)
}

/// Gives nginx back as it was without the site. What was live is remembered.
pub(crate) fn hand_back(app: &AppName) -> Result<(), SetupError> {
    router().hand_back(app).map_err(in_the_way)
}

/// How nginx is switched, when it is the router.
pub(super) fn form(config: &Config) -> Option<NginxForm> {
    match config.router.kind {
        RouterKind::Nginx { form, .. } => Some(form),
        RouterKind::Embedded => None,
    }
}

/// The user who has to get to an app's sockets and files to serve them; `None`: it needs neither.
pub(super) fn visitor(config: &Config) -> Option<&'static str> {
    form(config)?;
    config
        .services
        .values()
        .any(|service| service.listens_on_socket(config.runner))
        .then_some(WORKERS)
}

/// Where nginx writes an app's access log.
pub(super) fn log_dir(app: &AppName) -> PathBuf {
    Path::new(LOGS).join(app.as_str())
}

/// What the daemon's user may have done to nginx, unit by unit.
pub(super) fn rights(app: &AppName, config: &Config) -> Vec<(String, &'static str)> {
    let Some(form) = form(config) else { return Vec::new() };
    let mut rights = vec![(crate::adapters::router_nginx::rotation_unit(app), "start")];
    match form {
        // A flag is seen with the next request.
        NginxForm::Flag => {}
        NginxForm::Include | NginxForm::Symlink => rights.push((UNIT.to_owned(), "reload")),
    }
    rights
}

/// With the rights that there are by now: the user `alcedo` may be new.
fn router() -> NginxRouter {
    let ids =
        || Some(Ids { user: accounts::uid(SYSTEM_USER)?, group: accounts::gid(SYSTEM_USER)? });
    // Before there is that user nothing is written either.
    let hold = ids().map_or(Hold::Whole, Hold::Root);
    NginxRouter::idle(Nginx::new(None, hold), Paths::system().router())
}

fn in_the_way(error: EffectError) -> SetupError {
    let plain = error.to_string();
    let (what, hint) = match error {
        EffectError::Failed { what, detail, hint } => (format!("{what}: {detail}"), hint),
        EffectError::Cancelled | EffectError::TimedOut { .. } => (plain, None),
    };
    SetupError::InTheWay { what, hint: hint.unwrap_or_else(|| "sudo nginx -t".to_owned()) }
}
