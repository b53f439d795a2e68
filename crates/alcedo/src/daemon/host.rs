//! Every app of this host: their engines, and the world that these share.

use super::router::Routers;
use super::runners::Runners;
use crate::adapters::journal_sqlite::SqliteJournal;
use crate::adapters::machine::ThisMachine;
use crate::adapters::probe_http::HttpProbe;
use crate::adapters::releases::ReleaseStore;
use crate::adapters::router_embedded::EmbeddedRouter;
use crate::adapters::router_nginx::{Hold, Nginx, NginxRouter};
use crate::adapters::runner_process::ProcessRunner;
use crate::adapters::runner_systemd::SystemdRunner;
use crate::adapters::system_clock::SystemClock;
use crate::api::Failed;
use crate::engine::actor::{self, Handle, Mail};
use crate::engine::drive::Engine;
use crate::engine::order::{Places, chain};
use crate::engine::ports::World;
use crate::paths::{Keeper, Paths};
use alcedo_core::AppName;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// Every app of this host.
#[derive(Clone)]
pub(super) struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    paths: Paths,
    places: Places,
    /// `Err`: the journal cannot be used; traffic goes on, nothing is deployed, and the next call tries again.
    world: Mutex<Result<World, Failed>>,
    apps: Mutex<BTreeMap<AppName, Result<Handle, Failed>>>,
    /// Roots of apps that are being sent to, newest last: app, content hash, root.
    uploads: Mutex<Vec<(String, String, PathBuf)>>,
}

/// Uploads that are remembered; one that is not is offered again.
const UPLOADS_MAX: usize = 64;

impl Host {
    /// Opens the journal and starts an engine for each app in it. A journal that cannot be used is told with every call.
    pub(super) fn open(paths: &Paths) -> Self {
        // What a killed daemon had started (`prepare`, smoke checks) must not go on beside what comes now.
        crate::adapters::exec::end_leftovers();
        let places =
            Places { apps: paths.apps.clone(), run: paths.run.clone(), ports: Arc::default() };
        let world = Mutex::new(world(paths, &places));
        let host = Self {
            inner: Arc::new(Inner {
                paths: paths.clone(),
                places,
                world,
                apps: Mutex::default(),
                uploads: Mutex::default(),
            }),
        };
        host.start_known();
        host
    }

    /// Paths of this host.
    pub(super) fn paths(&self) -> &Paths {
        &self.inner.paths
    }

    /// What apps share.
    pub(super) fn places(&self) -> &Places {
        &self.inner.places
    }

    /// The world, unless the journal cannot be used. What was wrong with it may have been put right meanwhile.
    pub(super) fn world(&self) -> Result<World, Failed> {
        let mut known = self.inner.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if known.is_ok() {
            return known.clone();
        }
        *known = world(&self.inner.paths, &self.inner.places);
        let found = known.clone();
        drop(known);
        if found.is_ok() {
            self.start_known();
        }
        found
    }

    /// The app's engine; with `make`, one is started for an app that is not known yet.
    pub(super) fn app(&self, app: &AppName, make: bool) -> Result<Handle, Failed> {
        self.world()?;
        let mut apps = self.lock();
        match apps.get(app) {
            Some(Ok(handle)) => Ok(handle.clone()),
            Some(Err(failed)) => Err(failed.clone()),
            None if make => {
                let handle = self.start(app)?;
                apps.insert(app.clone(), Ok(handle.clone()));
                Ok(handle)
            }
            None => Err(actor::unknown(app)),
        }
    }

    /// Every app, by name.
    pub(super) fn apps(&self) -> Vec<(AppName, Result<Handle, Failed>)> {
        self.lock().iter().map(|(name, handle)| (name.clone(), handle.clone())).collect()
    }

    /// Notes where a release that is being sent belongs.
    pub(super) fn note_upload(&self, app: &str, hash: &str, root: PathBuf) {
        let mut uploads = self.uploads();
        uploads.retain(|(a, h, _)| (a.as_str(), h.as_str()) != (app, hash));
        uploads.push((app.to_owned(), hash.to_owned(), root));
        let over = uploads.len().saturating_sub(UPLOADS_MAX);
        uploads.drain(..over);
    }

    /// Where it belongs.
    pub(super) fn upload(&self, app: &str, hash: &str) -> Option<PathBuf> {
        let uploads = self.uploads();
        let found = uploads.iter().find(|(a, h, _)| (a.as_str(), h.as_str()) == (app, hash));
        found.map(|(_, _, root)| root.clone())
    }

    fn uploads(&self) -> MutexGuard<'_, Vec<(String, String, PathBuf)>> {
        self.inner.uploads.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Engines end after the effect under way.
    pub(super) fn stop(&self) {
        for handle in self.lock().values().flatten() {
            handle.send(Mail::Stop);
        }
    }

    fn start_known(&self) {
        let Ok(world) = self.world() else { return };
        let known = match world.journal.apps() {
            Ok(known) => known,
            Err(error) => {
                tracing::error!("failed to {error}");
                return;
            }
        };
        for app in known {
            let handle = self.start(&app);
            if let Err(failed) = &handle {
                tracing::error!(app = %app, "{failed}");
            }
            self.lock().insert(app, handle);
        }
    }

    fn start(&self, app: &AppName) -> Result<Handle, Failed> {
        let world = self.world()?;
        let engine = Engine::open(app.clone(), world).map_err(|error| {
            let message =
                format!("failed to {}; {app} keeps serving, nothing is changed", chain(&error));
            Failed::new("journal", message, 1)
                .hint("restore the journal from a backup, or move it away and deploy anew")
        })?;
        let mut book =
            self.inner.places.ports.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        book.extend(
            engine
                .state
                .ports
                .values()
                .flat_map(|p| [p.blue, p.green])
                .map(|port| (port, app.clone())),
        );
        drop(book);
        actor::spawn(engine, self.inner.places.clone()).map_err(|error| {
            Failed::new("failed", format!("failed to start a thread for {app}: {error}"), 1)
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppName, Result<Handle, Failed>>> {
        self.inner.apps.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The main file of an nginx that is started with `-c`; absent: the compiled-in one.
fn nginx_conf() -> Option<std::path::PathBuf> {
    std::env::var_os("ALCEDO_NGINX_CONF").map(Into::into)
}

/// On a prepared host nginx is root's, and this daemon is not root.
fn hold(keeper: Keeper) -> Hold {
    match keeper {
        Keeper::User => Hold::Whole,
        Keeper::System => Hold::Units,
    }
}

fn world(paths: &Paths, places: &Places) -> Result<World, Failed> {
    let journal = SqliteJournal::open(&paths.state.join("journal.db")).map_err(|error| {
        let message =
            format!("failed to {}; every app keeps serving, nothing is changed", chain(&error));
        tracing::error!("{message}");
        let way = if error.is_for_want_of_room() {
            "free disk space; then everything goes on"
        } else {
            "restore the journal from a backup; without one, move it away: alcedo then knows of no release"
        };
        Failed::new("journal", message, 1).hint(way)
    })?;
    let exe = std::env::current_exe().map_err(|error| {
        Failed::new("failed", format!("failed to find this program: {error}"), 1)
    })?;
    Ok(World {
        runner: Arc::new(Runners {
            process: ProcessRunner::new(paths.clone(), exe),
            systemd: SystemdRunner::new(paths.clone()),
            keeper: paths.keeper,
        }),
        router: Arc::new(Routers {
            embedded: EmbeddedRouter::new(paths.proxy_socket()),
            nginx: NginxRouter::new(Nginx::new(nginx_conf(), hold(paths.keeper)), paths.router()),
        }),
        probe: Arc::new(HttpProbe),
        releases: Arc::new(ReleaseStore::new()),
        journal: Arc::new(journal),
        clock: Arc::new(SystemClock),
        machine: Arc::new(ThisMachine::new(places.clone())),
    })
}
