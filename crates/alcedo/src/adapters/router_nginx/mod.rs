//! The host's nginx as a router.
//!
//! Form `flag`: both slots are upstreams of one site, and a file beside our record says which one answers; nginx looks
//! for it with each request, so a switch reloads nothing and no connection is closed. Forms `include` and `symlink`: a
//! file that the site includes is replaced, tested, reloaded, and proved on fresh connections. What is live is always
//! what nginx itself answers; our record says who made it so.

mod access_log;
mod ask;
mod check;
mod connections;
mod host;
mod passes;
mod record;
mod site;

use crate::adapters::clock;
use crate::engine::ports::{
    EffectError, Effective, Entrance, Router, SwitchError, Switched, Traffic,
};
use crate::files::write_atomically;
use access_log::Reader;
use alcedo_core::binding::{Address, Binding, BindingId};
use alcedo_core::config::{Config, NginxForm, RouterKind, Tls};
use alcedo_core::lint::Finding;
use alcedo_core::nginx::{EffectiveAnswer, Upstream, selector};
use alcedo_core::{AppName, Slot};
pub(crate) use check::of_dump;
pub(crate) use host::{Hold, Master, Nginx, UNIT, rotation_unit};
use record::{Record, Switch};
use rustix::fs::{FlockOperation, flock};
pub(crate) use site::{Change as SiteChange, FileChange};
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How long a flag may take to be seen. nginx looks with each request; the first answer decides nearly always.
const FLAG_LIMIT: Duration = Duration::from_secs(2);
/// How often the access logs' lengths are looked at.
const ROTATE_EVERY: Duration = Duration::from_secs(10);
/// Where the access logs of a prepared host are. Root's, since nginx's master opens them as root.
pub(crate) const LOGS: &str = "/var/log/alcedo";
/// In the directory of all apps; no app is called that.
const LOCK: &str = ".lock";

/// nginx for every app of this host that uses it.
pub(crate) struct NginxRouter {
    inner: Arc<Inner>,
}

struct Inner {
    nginx: Nginx,
    /// Holds a directory for each app.
    root: PathBuf,
    /// One switch or installation at a time in this process; see [`Inner::change`].
    changing: Mutex<()>,
    readers: Mutex<BTreeMap<AppName, Reader>>,
}

impl NginxRouter {
    /// Takes back what a killed daemon had begun to install, and looks after the logs from now on.
    pub(crate) fn new(nginx: Nginx, root: PathBuf) -> Self {
        let router = Self::idle(nginx, root);
        let inner = &router.inner;
        if inner.nginx.hold() == Hold::Whole {
            for app in inner.apps() {
                let recovered = inner.at(&app, |place| place.recover());
                if let Err(error) = recovered {
                    let failure = alcedo_core::event::Failure::from(error);
                    tracing::error!(app = %app, "failed to {}: {}", failure.what, failure.detail);
                }
            }
        }
        let weak = Arc::downgrade(inner);
        let thread = std::thread::Builder::new().name("nginx-logs".to_owned());
        if let Err(error) = thread.spawn(move || look_after_logs(&weak)) {
            tracing::error!("failed to start a thread for nginx's logs: {error}");
        }
        router
    }

    /// For one thing that is asked of it, beside a daemon.
    pub(crate) fn idle(nginx: Nginx, root: PathBuf) -> Self {
        let (changing, readers) = (Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { nginx, root, changing, readers }) }
    }

    /// Whether the app is nginx's: recorded when it was first configured. A record that cannot be read is one.
    pub(crate) fn knows(&self, app: &AppName) -> bool {
        match Record::load(&self.inner.dir(app)) {
            Ok(record) => record.is_some_and(|record| record.structure > 0),
            Err(_) => true,
        }
    }

    /// What [`Router::configure`] would write, for `setup --dry-run`; and that it could.
    pub(crate) fn propose(
        &self,
        app: &AppName,
        config: &Config,
        upstreams: &[Upstream],
    ) -> Result<Vec<FileChange>, EffectError> {
        self.inner.at(app, |place| {
            let site::Proposed { record, changes, .. } = place.propose(config, upstreams)?;
            if !changes.is_empty() {
                Master::of(&record.pid_file)?;
            }
            Ok(changes)
        })
    }

    /// Puts an earlier generation of the site back, until the configuration asks for another one.
    #[cfg_attr(not(test), expect(dead_code, reason = "typed by setup"))]
    pub(crate) fn revert(&self, app: &AppName, generation: u64) -> Result<(), EffectError> {
        let _changing = self.inner.change()?;
        self.inner.at(app, |place| place.install(place.earlier(generation)?))
    }

    /// Gives the host back: the site goes, nothing else of nginx is touched.
    pub(crate) fn remove(&self, app: &AppName) -> Result<(), EffectError> {
        let _changing = self.inner.change()?;
        self.inner.at(app, |place| place.remove_site())?;
        site::remove(&self.inner.dir(app).join("state.json"))
    }

    /// The same for `setup --remove`, which remembers what was live.
    pub(crate) fn hand_back(&self, app: &AppName) -> Result<(), EffectError> {
        let _changing = self.inner.change()?;
        self.inner.at(app, |place| {
            place.remove_site()?;
            place.forget_site()
        })
    }

    /// The files that [`Self::hand_back`] takes away.
    pub(crate) fn files(&self, app: &AppName) -> Result<Vec<PathBuf>, EffectError> {
        let record = Record::load(&self.inner.dir(app))?.filter(|record| record.structure > 0);
        Ok(record.map(|r| r.link.into_iter().chain([r.site]).collect()).unwrap_or_default())
    }
}

/// Held while anything of nginx or of what is recorded of it changes.
struct Changing<'a> {
    _here: MutexGuard<'a, ()>,
    _everywhere: fs::File,
}

/// What is known and what nginx answers.
struct Look {
    record: Record,
    slot: Slot,
    /// A switch whose end was not recorded took effect.
    is_settled: bool,
}

impl Inner {
    fn dir(&self, app: &AppName) -> PathBuf {
        self.root.join(app.as_str())
    }

    fn log(&self, app: &AppName) -> PathBuf {
        let dir = match self.nginx.hold() {
            Hold::Whole => self.dir(app),
            Hold::Units | Hold::Root(_) => Path::new(LOGS).join(app.as_str()),
        };
        dir.join("access.log")
    }

    fn at<T>(&self, app: &AppName, act: impl FnOnce(&site::Place<'_>) -> T) -> T {
        let (dir, log) = (self.dir(app), self.log(app));
        act(&site::Place { nginx: &self.nginx, app, dir: &dir, log: &log })
    }

    /// nginx has one configuration, and beside the daemon there is `setup`.
    fn change(&self) -> Result<Changing<'_>, EffectError> {
        let here = lock(&self.changing);
        let path = self.root.join(LOCK);
        let failed =
            |error: std::io::Error| EffectError::failed(format!("lock {}", path.display()), error);
        let file = self.nginx.own(|| {
            site::make_dir(&self.root)?;
            fs::File::options().create(true).append(true).open(&path).map_err(failed)
        })?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        Ok(Changing { _here: here, _everywhere: file })
    }

    fn apps(&self) -> Vec<AppName> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.filter_map(|e| AppName::new(e.file_name().to_str()?).ok()).collect()
    }

    /// The record, and what nginx answers now; a switch whose end was not recorded is settled by it, which is not saved.
    fn look(&self, app: &AppName) -> Result<Option<Look>, EffectError> {
        let Some(mut record) = Record::load(&self.dir(app))? else { return Ok(None) };
        if record.structure == 0 {
            return Ok(None);
        }
        let slot = slot_of(&ask::once(record.status)?, &self.dir(app))?;
        let is_settled = record.settle(slot);
        Ok(Some(Look { record, slot, is_settled }))
    }
}

impl Router for NginxRouter {
    fn observe(&self, app: &AppName) -> Result<Option<Effective>, EffectError> {
        let Some(seen) = self.inner.look(app)? else { return Ok(None) };
        if seen.is_settled {
            // Counters need to know it, too. Looked at once more, alone: a switch may be under way.
            let _changing = self.inner.change()?;
            if let Some(Look { record, is_settled: true, .. }) = self.inner.look(app)? {
                record.save(&self.inner.dir(app))?;
            }
        }
        Ok(Some(seen.record.effective(seen.slot)))
    }

    fn configure(
        &self,
        app: &AppName,
        config: &Config,
        upstreams: &[Upstream],
    ) -> Result<(), EffectError> {
        let _changing = self.inner.change()?;
        self.inner.at(app, |place| {
            if self.inner.nginx.hold() == Hold::Units {
                return place.refuse_unknown(upstreams);
            }
            place.recover()?;
            place.install(place.propose(config, upstreams)?)
        })
    }

    fn unprepared(&self, app: &AppName, config: &Config, upstreams: &[Upstream]) -> Vec<String> {
        if self.inner.nginx.hold() != Hold::Units {
            return Vec::new();
        }
        match self.inner.at(app, |place| place.differs(config, upstreams)) {
            Ok(site) => site.map(|site| site.display().to_string()).into_iter().collect(),
            Err(error) => {
                vec![format!("nginx's site ({})", alcedo_core::event::Failure::from(error).what)]
            }
        }
    }

    fn switch(
        &self,
        app: &AppName,
        expected: u64,
        binding: &Binding,
        operation: &str,
    ) -> Result<Switched, SwitchError> {
        let begun_us = clock::now_us();
        let _changing = self.inner.change()?;
        let dir = self.inner.dir(app);
        let unknown = || EffectError::failed("switch", format!("nginx does not know {app}"));
        let Look { mut record, slot, .. } = self.inner.look(app)?.ok_or_else(unknown)?;
        let now = record.effective(slot);
        if now.operation.as_deref() == Some(operation)
            && now.target.as_deref() == Some(binding.id.as_str())
        {
            return Ok(Switched { generation: now.generation, took_us: 0 });
        }
        if now.generation != expected {
            return Err(SwitchError::Conflict(now));
        }
        let next = Switch {
            generation: now.generation + 1,
            operation: Some(operation.to_owned()),
            target: Some(binding.id.to_string()),
            slot: Some(binding.slot),
        };
        let generation = next.generation;
        self.begin_counting(app, &mut record, binding.slot);
        link_roots(&dir, binding)?;
        if binding.slot == slot {
            record.commit(next);
            record.save(&dir)?;
            return Ok(Switched { generation, took_us: clock::now_us().saturating_sub(begun_us) });
        }
        record.pending = Some(next.clone());
        record.save(&dir)?;
        if let Err(error) = self.point(&dir, &record, binding.slot, generation) {
            record.pending = None;
            record.save(&dir)?;
            return Err(error.into());
        }
        let took_us = clock::now_us().saturating_sub(begun_us);
        record.commit(next);
        record.save(&dir)?;
        // What they led to is what everybody sees now.
        passes::end(&dir)?;
        Ok(Switched { generation, took_us })
    }

    /// nginx cannot close what it carries for one slot: requests end by themselves, WebSockets with the slot's process.
    fn drain(&self, _: &AppName, _: &BindingId, _: &Config) -> Result<(), EffectError> {
        Ok(())
    }

    fn traffic(&self, app: &AppName) -> Result<Vec<Traffic>, EffectError> {
        let dir = self.inner.dir(app);
        let Some(record) = Record::load(&dir)? else { return Ok(Vec::new()) };
        let mut readers = lock(&self.inner.readers);
        let reader = readers.entry(app.clone()).or_default();
        reader.poll(&self.inner.log(app), &record.since);
        let one = |(slot, target): (&Slot, &String)| {
            let mut traffic = reader.traffic(*slot, target);
            let addresses: Vec<&Address> =
                record.upstreams.iter().map(|u| address(u, *slot)).collect();
            // An estimate: idle connections count until they are closed, 50 ms after their last request.
            traffic.in_flight = connections::open(&addresses);
            traffic
        };
        Ok(record.targets.iter().map(one).collect())
    }

    fn admit(
        &self,
        app: &AppName,
        binding: &Binding,
        token: &str,
        lifetime: Duration,
    ) -> Result<(), EffectError> {
        let _changing = self.inner.change()?;
        let dir = self.inner.dir(app);
        let record = Record::load(&dir)?;
        if record.is_none_or(|record| record.form != NginxForm::Flag) {
            return Err(EffectError::Failed {
                what: format!("make a link to the slot of {app} without traffic"),
                detail: "nginx can lead somebody alone elsewhere with router.form = \"flag\" only"
                    .to_owned(),
                hint: Some("alcedo preview --tunnel".to_owned()),
            });
        }
        link_roots(&dir, binding)?;
        passes::admit(&dir, token, binding.slot, lifetime)
    }

    fn end_passes(&self, app: &AppName) -> Result<(), EffectError> {
        let _changing = self.inner.change()?;
        passes::end(&self.inner.dir(app))
    }

    fn findings(&self, app: &AppName) -> Vec<Finding> {
        self.inner.at(app, check::of)
    }

    fn entrance(&self, app: &AppName, config: &Config) -> Result<Entrance, EffectError> {
        let record = Record::load(&self.inner.dir(app))?.ok_or_else(|| {
            EffectError::failed("find where nginx listens", format!("it does not know {app}"))
        })?;
        let has_tls = has_tls(&record, config);
        let listens = config.router.listen.iter().filter(|l| !l.ends_with("443"));
        let plain = listens.filter_map(|l| loopback(l)).next();
        let domain = config.router.domains.first().cloned();
        let (address, scheme) = match (has_tls, plain) {
            (false, Some(address)) => (address, "http"),
            // Through the same site on loopback: what TLS adds is not seen there.
            (true, _) | (false, None) => (record.status, if has_tls { "https" } else { "http" }),
        };
        let name = domain.clone().unwrap_or_else(|| address.ip().to_string());
        let is_default = has_tls || address.port() == 80;
        let authority = if is_default { name } else { format!("{name}:{}", address.port()) };
        Ok(Entrance {
            address: Address::Tcp(address),
            host: authority.clone(),
            url: format!("{scheme}://{authority}"),
            names_release: false,
        })
    }
}

impl NginxRouter {
    /// The slot's counters begin anew, here and after a restart.
    fn begin_counting(&self, app: &AppName, record: &mut Record, slot: Slot) {
        let log = self.inner.log(app);
        let mut readers = lock(&self.inner.readers);
        let reader = readers.entry(app.clone()).or_default();
        reader.poll(&log, &record.since);
        reader.reset(slot);
        record.since.insert(slot, access_log::position(&log));
    }

    /// Points nginx at a slot and proves that it is effective; otherwise nothing has changed when this returns.
    fn point(
        &self,
        dir: &Path,
        record: &Record,
        to: Slot,
        generation: u64,
    ) -> Result<(), EffectError> {
        match record.form {
            NginxForm::Flag => point_flag(dir, record, to),
            NginxForm::Include | NginxForm::Symlink => {
                self.point_selector(dir, record, to, generation)
            }
        }
    }

    /// The selector replaced in one step, tested, reloaded, proved; a failure puts the old one back before it is told.
    fn point_selector(
        &self,
        dir: &Path,
        record: &Record,
        to: Slot,
        generation: u64,
    ) -> Result<(), EffectError> {
        Master::of(&record.pid_file)?;
        write_selector(dir, record.form, to, generation)?;
        let done = match self.inner.nginx.test() {
            Err(error) => Err((error, false)),
            Ok(Err(broken)) => Err((broken.error("switch nginx"), false)),
            Ok(Ok(())) => {
                let is_wanted = |answer: &EffectiveAnswer| {
                    answer.slot == to.as_str()
                        && (record.form == NginxForm::Symlink
                            || answer.generation == generation.to_string())
                };
                site::reload_until(&self.inner.nginx, record, is_wanted).map_err(|e| (e, true))
            }
        };
        let Err((error, was_reloaded)) = done else { return Ok(()) };
        write_selector(dir, record.form, to.other(), record.switch.generation)?;
        // The first failure is what is told: a reload that was refused left everything as it was.
        if was_reloaded && let Err(again) = self.inner.nginx.reload(&record.pid_file) {
            tracing::warn!("failed to {again}: nginx keeps what it has");
        }
        Err(error)
    }
}

/// Where nginx finds the files of a slot that gets traffic now; durable before it does.
fn link_roots(dir: &Path, binding: &Binding) -> Result<(), EffectError> {
    for process in &binding.processes {
        let Some(pool) = &process.pool else { continue };
        let link = dir.join(Upstream::root_link(&process.name, binding.slot.as_str()));
        if fs::read_link(&link).ok().as_ref() != Some(&pool.root) {
            site::link_atomically(&link, &pool.root)?;
        }
    }
    Ok(())
}

fn write_selector(
    dir: &Path,
    form: NginxForm,
    to: Slot,
    generation: u64,
) -> Result<(), EffectError> {
    let path = dir.join("selector.conf");
    if form == NginxForm::Symlink {
        return site::link_atomically(&path, Path::new(&format!("{to}.conf")));
    }
    Ok(write_atomically(&path, selector(to, generation).as_bytes(), 0o644)?)
}

/// Makes or removes the flag, durably, and asks nginx whether it sees it: a directory that its workers cannot enter means
/// blue to them, without a word.
fn point_flag(dir: &Path, record: &Record, to: Slot) -> Result<(), EffectError> {
    set_flag(dir, to)?;
    let deadline = clock::now().after(FLAG_LIMIT);
    let mut last = String::new();
    while !clock::left(deadline).is_zero() {
        match ask::once(record.status) {
            Ok(answer) if answer.slot == to.as_str() => return Ok(()),
            Ok(answer) => last = format!("it still answers {}", answer.slot),
            Err(error) => last = alcedo_core::event::Failure::from(error).detail,
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    set_flag(dir, to.other())?;
    let user = Master::of(&record.pid_file).map(|master| master.worker_user());
    let user = user.unwrap_or_else(|_| "nginx's user".to_owned());
    Err(EffectError::Failed {
        what: "switch: nginx does not see the flag".to_owned(),
        detail: format!("{last}; {user} has to be able to enter {}", dir.display()),
        hint: Some(format!("namei -l {}", dir.join("green").display())),
    })
}

fn set_flag(dir: &Path, to: Slot) -> Result<(), EffectError> {
    let flag = dir.join("green");
    match to {
        Slot::Green => Ok(write_atomically(&flag, b"green is live\n", 0o644)?),
        Slot::Blue => site::remove(&flag),
    }
}

fn slot_of(answer: &EffectiveAnswer, dir: &Path) -> Result<Slot, EffectError> {
    let other = |what: String| EffectError::failed("ask nginx which slot is live", what);
    if Path::new(&answer.dir) != dir {
        return Err(other(format!("the status page is that of {}", answer.dir)));
    }
    answer.slot.parse().map_err(other)
}

fn address(upstream: &Upstream, slot: Slot) -> &Address {
    match slot {
        Slot::Blue => &upstream.blue,
        Slot::Green => &upstream.green,
    }
}

fn has_tls(record: &Record, config: &Config) -> bool {
    match &config.router.kind {
        RouterKind::Nginx { tls: Tls::Files { .. }, .. } => true,
        RouterKind::Nginx { tls: Tls::Keep, .. } => fs::read_to_string(&record.site)
            .is_ok_and(|text| text.lines().any(|l| l.trim_start().starts_with("ssl_certificate "))),
        RouterKind::Nginx { tls: Tls::Off, .. } | RouterKind::Embedded => false,
    }
}

/// A listener on every address is reached over loopback.
fn loopback(listen: &str) -> Option<SocketAddr> {
    if let Ok(port) = listen.parse::<u16>() {
        return Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let address: SocketAddr = listen.parse().ok()?;
    let ip =
        if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    Some(SocketAddr::new(ip, address.port()))
}

fn look_after_logs(inner: &Weak<Inner>) {
    loop {
        std::thread::sleep(ROTATE_EVERY);
        let Some(inner) = inner.upgrade() else { return };
        for app in inner.apps() {
            if let Err(error) = passes::sweep(&inner.dir(&app)) {
                tracing::warn!(app = %app, "failed to end a preview link: {error}");
            }
            if let Err(error) = inner.rotate(&app, access_log::is_long) {
                tracing::warn!(app = %app, "failed to rotate nginx's access log: {error}");
            }
        }
    }
}

impl Inner {
    fn rotate(&self, app: &AppName, is_time: fn(&Path) -> bool) -> Result<(), EffectError> {
        let log = self.log(app);
        let known = Record::load(&self.dir(app))?.filter(|_| is_time(&log));
        let Some(record) = known else { return Ok(()) };
        let mut readers = lock(&self.readers);
        readers.entry(app.clone()).or_default().poll(&log, &record.since);
        self.nginx.rotate(app, &log, &record.pid_file)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
