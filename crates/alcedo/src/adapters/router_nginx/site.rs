//! The site file: rendered whole, kept as numbered generations, put in place only when it is as we left it, tested, proved
//! effective, and taken back when it is not.

use super::ask;
use super::host::{Broken, Master, Nginx};
use super::record::Record;
use crate::adapters::clock;
use crate::engine::ports::EffectError;
use crate::files::{sync_dir, write_atomically};
use alcedo_core::config::{Config, NginxForm, RouterKind, Tls};
use alcedo_core::nginx::{
    Certbot, Directive, Dump, Site, Upstream, header_of, render, same_but_for_certbot, selector,
    split_certbot,
};
use alcedo_core::{AppName, Slot};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a reload may take to be effective.
const EFFECTIVE_LIMIT: Duration = Duration::from_secs(15);
/// Status pages listen here: below the ports that apps get.
const STATUS_PORTS: std::ops::Range<u16> = 19_000..20_000;
/// Between choosing a port and nginx listening on it, another app must not get it.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// One app's part of nginx.
pub(super) struct Place<'a> {
    pub(super) nginx: &'a Nginx,
    pub(super) app: &'a AppName,
    /// Flag, selector, generations.
    pub(super) dir: &'a Path,
    /// The access log.
    pub(super) log: &'a Path,
}

/// One file as it is and as it will be: what `setup --dry-run` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileChange {
    /// Where.
    pub(crate) path: PathBuf,
    /// What stands there now.
    pub(crate) before: Option<String>,
    /// What will.
    pub(crate) after: Change,
}

/// What becomes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// This text.
    Text(String),
    /// A link to there.
    Link(PathBuf),
}

impl FileChange {
    /// As `diff -u` shows it, without context far away.
    pub(crate) fn diff(&self) -> String {
        let after = match &self.after {
            Change::Text(text) => text.clone(),
            Change::Link(to) => format!("-> {}\n", to.display()),
        };
        let path = self.path.display();
        crate::diff::unified(&path.to_string(), self.before.as_deref().unwrap_or(""), &after)
    }
}

/// What is to be done for an app, computed and not done.
pub(super) struct Proposed {
    pub(super) record: Record,
    pub(super) text: String,
    /// Empty: nothing is to be done.
    pub(super) changes: Vec<FileChange>,
}

impl Place<'_> {
    /// What nginx needs for `config`; reads, and changes nothing. A site that was edited by hand is an error.
    pub(super) fn propose(
        &self,
        config: &Config,
        upstreams: &[Upstream],
    ) -> Result<Proposed, EffectError> {
        let RouterKind::Nginx { form, tls } = &config.router.kind else {
            return Err(EffectError::failed("set up nginx", "router.kind is not nginx"));
        };
        let known = Record::load(self.dir)?;
        let mut record = match known {
            Some(known) if known.form == *form && known.structure > 0 => known,
            Some(known) if known.structure > 0 => Record { form: *form, ..known },
            // Nothing serves yet: the port of an earlier try may be the reason.
            Some(known) => Record { form: *form, status: self.pick_status()?, ..known },
            None => Record::new(*form, self.pick_status()?),
        };
        let existing = self.existing(&record)?;
        if let Some(unchanged) = self.unchanged(&record, config, tls, upstreams, &existing)? {
            return Ok(Proposed { record, text: unchanged, changes: Vec::new() });
        }
        check_files(tls)?;
        let (dump, _) = self.nginx.dump()?;
        record.pid_file = self.nginx.pid_file(&dump)?;
        if record.structure == 0 {
            (record.site, record.link) = layout(&dump, self.app)?;
        }
        refuse_taken_domains(&dump, &record.site, config)?;
        let existing = self.existing(&record)?;
        upstreams.clone_into(&mut record.upstreams);
        let certbot = existing.as_deref().map(split_certbot).unwrap_or_default();
        let number = self.next_generation(&record);
        let text = self.render(&record, config, tls, upstreams, &certbot, number)?;
        let mut changes = vec![FileChange {
            path: record.site.clone(),
            before: existing,
            after: Change::Text(text.clone()),
        }];
        if let Some(link) = record.link.as_ref().filter(|link| fs::symlink_metadata(link).is_err())
        {
            let after = Change::Link(record.site.clone());
            changes.push(FileChange { path: link.clone(), before: None, after });
        }
        record.installing = Some(number);
        Ok(Proposed { record, text, changes })
    }

    /// Does it: written, tested, reloaded, proved effective; else everything is as before when this returns.
    pub(super) fn install(&self, proposed: Proposed) -> Result<(), EffectError> {
        let Proposed { mut record, text, changes } = proposed;
        let (Some(number), false) = (record.installing, changes.is_empty()) else { return Ok(()) };
        // Not running is told before anything is written.
        Master::of(&record.pid_file)?;
        self.nginx.own(|| {
            self.prepare_dir(&record)?;
            write_atomically(&self.generation(number), text.as_bytes(), 0o644)?;
            record.save(self.dir)
        })?;
        for change in &changes {
            tracing::info!(app = %self.app, "{}", change.diff());
        }
        let done = changes.iter().try_for_each(apply).and_then(|()| self.activate(&record));
        if let Err(error) = done {
            self.restore(&record, &changes)?;
            return Err(error);
        }
        record.structure = number;
        record.installing = None;
        self.nginx.own(|| {
            record.save(self.dir)?;
            match record.form {
                NginxForm::Flag => remove(&self.dir.join("selector.conf")),
                NginxForm::Include | NginxForm::Symlink => Ok(()),
            }
        })
    }

    /// Whether the site is not what `config` wants, as far as that is seen without root; its path, then.
    pub(super) fn differs(
        &self,
        config: &Config,
        upstreams: &[Upstream],
    ) -> Result<Option<PathBuf>, EffectError> {
        let RouterKind::Nginx { form, tls } = &config.router.kind else { return Ok(None) };
        let Some(record) = Record::load(self.dir)?.filter(|record| record.structure > 0) else {
            return Ok(Some(PathBuf::from(format!("sites-available/alcedo-{}", self.app))));
        };
        let existing = self.existing(&record)?;
        let is_same = record.form == *form
            && self.unchanged(&record, config, tls, upstreams, &existing)?.is_some();
        Ok((!is_same).then_some(record.site))
    }

    /// The way back does not wait for `setup`: a site that knows where the slots are will do.
    pub(super) fn refuse_unknown(&self, upstreams: &[Upstream]) -> Result<(), EffectError> {
        let known = Record::load(self.dir)?.filter(|record| record.structure > 0);
        let known = known.map(|record| record.upstreams).unwrap_or_default();
        let is_known = |wanted: &Upstream| {
            let same = |u: &&Upstream| u.service == wanted.service;
            known
                .iter()
                .find(same)
                .is_some_and(|u| u.blue == wanted.blue && u.green == wanted.green)
        };
        match upstreams.iter().find(|upstream| !is_known(upstream)) {
            None => Ok(()),
            Some(upstream) => Err(EffectError::Failed {
                what: format!("reach {} of {} through nginx", upstream.service, self.app),
                detail: "its site, which only root may write, has other addresses".to_owned(),
                hint: Some("sudo alcedo setup".to_owned()),
            }),
        }
    }

    fn activate(&self, record: &Record) -> Result<(), EffectError> {
        if let Err(broken) = self.nginx.test()? {
            return Err(self.blame(&broken, &record.site));
        }
        let wanted = record.installing.unwrap_or(record.structure);
        let dir = self.dir.to_str().unwrap_or_default();
        reload_until(self.nginx, record, |answer| answer.structure == wanted && answer.dir == dir)
    }

    /// Whose file is broken: somebody else's site is named, ours is not their fault.
    fn blame(&self, broken: &Broken, site: &Path) -> EffectError {
        let is_ours = broken.place.as_ref().is_none_or(|place| place.file == site);
        let what = if is_ours { "set up nginx: it refuses the new site" } else { "set up nginx" };
        broken.error(what)
    }

    /// What an installation that did not come to its end left behind is taken back. Durable when it returns.
    pub(super) fn restore(
        &self,
        record: &Record,
        changes: &[FileChange],
    ) -> Result<(), EffectError> {
        for change in changes.iter().rev() {
            match &change.before {
                Some(text) => write_atomically(&change.path, text.as_bytes(), 0o644)?,
                None => remove(&change.path)?,
            }
        }
        // A test that fails now fails for somebody else's reason; the running nginx keeps what it has.
        if matches!(self.nginx.test(), Ok(Ok(()))) {
            self.nginx.reload(&record.pid_file)?;
        }
        let mut record = Record::load(self.dir)?.unwrap_or_else(|| record.clone());
        record.installing = None;
        self.nginx.own(|| record.save(self.dir))
    }

    /// After a crash in the middle of an installation: the text before it is put back.
    pub(super) fn recover(&self) -> Result<(), EffectError> {
        let Some(record) = Record::load(self.dir)? else { return Ok(()) };
        if record.installing.is_none() {
            return Ok(());
        }
        let before = fs::read_to_string(self.generation(record.structure)).ok();
        let mut changes = Vec::new();
        if let (None, Some(link)) = (&before, &record.link) {
            let after = Change::Link(record.site.clone());
            changes.push(FileChange { path: link.clone(), before: None, after });
        }
        let after = Change::Text(String::new());
        changes.insert(0, FileChange { path: record.site.clone(), before, after });
        self.restore(&record, &changes)
    }

    /// An earlier text of the site, until the configuration asks for another one.
    pub(super) fn earlier(&self, number: u64) -> Result<Proposed, EffectError> {
        let what = || format!("go back to generation {number} of the site of {}", self.app);
        let record = Record::load(self.dir)?
            .ok_or_else(|| EffectError::failed(what(), "nginx does not know the app"))?;
        let text = fs::read_to_string(self.generation(number))
            .map_err(|error| EffectError::failed(what(), error))?;
        let before = self.existing(&record)?;
        let theirs = before.as_deref().map(split_certbot).unwrap_or_default();
        if theirs != split_certbot(&text) {
            return Err(EffectError::failed(what(), "certbot has changed the site since"));
        }
        let after = Change::Text(text.clone());
        let changes = vec![FileChange { path: record.site.clone(), before, after }];
        Ok(Proposed { record: Record { installing: Some(number), ..record }, text, changes })
    }

    /// Gives the host back: our site and its link go, the directory with flag and generations stays.
    pub(super) fn remove_site(&self) -> Result<(), EffectError> {
        let Some(record) = Record::load(self.dir)? else { return Ok(()) };
        self.refuse_edited(&record, self.existing(&record)?.as_deref())?;
        for path in record.link.iter().chain([&record.site]) {
            remove(path)?;
        }
        if let Err(broken) = self.nginx.test()? {
            return Err(broken.error("take the site out of nginx"));
        }
        self.nginx.reload(&record.pid_file)
    }

    /// After [`Self::remove_site`]: nothing serves, and what was live is remembered for a site that comes later.
    pub(super) fn forget_site(&self) -> Result<(), EffectError> {
        let Some(record) = Record::load(self.dir)? else { return Ok(()) };
        let record = Record { structure: 0, installing: None, link: None, ..record };
        self.nginx.own(|| record.save(self.dir))
    }

    /// The text of a generation.
    pub(super) fn generation(&self, number: u64) -> PathBuf {
        self.dir.join("generations").join(format!("{number}.conf"))
    }

    fn next_generation(&self, record: &Record) -> u64 {
        let files = fs::read_dir(self.dir.join("generations")).into_iter().flatten().flatten();
        let number =
            |name: std::ffi::OsString| name.to_str()?.strip_suffix(".conf")?.parse::<u64>().ok();
        let newest = files.filter_map(|file| number(file.file_name())).max().unwrap_or(0);
        newest.max(record.structure) + 1
    }

    pub(super) fn existing(&self, record: &Record) -> Result<Option<String>, EffectError> {
        if record.site.as_os_str().is_empty() {
            return Ok(None);
        }
        let existing = match fs::read_to_string(&record.site) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(EffectError::failed(format!("read {}", record.site.display()), error));
            }
        };
        self.refuse_edited(record, existing.as_deref())?;
        Ok(existing)
    }

    fn refuse_edited(&self, record: &Record, existing: Option<&str>) -> Result<(), EffectError> {
        let Some(existing) = existing else { return Ok(()) };
        let numbers = [Some(record.structure), record.installing].into_iter().flatten();
        let ours: Vec<String> =
            numbers.filter_map(|n| fs::read_to_string(self.generation(n)).ok()).collect();
        if ours.iter().any(|text| same_but_for_certbot(text, existing)) {
            return Ok(());
        }
        let site = record.site.display().to_string();
        let is_ours = existing.starts_with(&header_of(self.app));
        let detail = match (ours.first(), is_ours) {
            (Some(ours), true) => crate::diff::unified(&site, ours, existing),
            (_, _) => "it is not alcedo's".to_owned(),
        };
        let what = if is_ours {
            format!("change {site}: it was edited by hand, which is not overwritten")
        } else {
            format!("write {site}: something else stands there")
        };
        let hint = format!("move {site} away, then deploy again; settings: alcedo.toml, [router]");
        Err(EffectError::Failed { what, detail, hint: Some(hint) })
    }

    /// The text that serves, when it is what would be rendered now.
    fn unchanged(
        &self,
        record: &Record,
        config: &Config,
        tls: &Tls,
        upstreams: &[Upstream],
        existing: &Option<String>,
    ) -> Result<Option<String>, EffectError> {
        let (Some(existing), true) = (existing, record.structure > 0) else { return Ok(None) };
        if record.link.as_ref().is_some_and(|link| fs::symlink_metadata(link).is_err()) {
            return Ok(None);
        }
        let certbot = split_certbot(existing);
        let now = self.render(record, config, tls, upstreams, &certbot, record.structure)?;
        Ok(same_lines(&now, existing).then_some(now))
    }

    fn render(
        &self,
        record: &Record,
        config: &Config,
        tls: &Tls,
        upstreams: &[Upstream],
        certbot: &Certbot,
        structure: u64,
    ) -> Result<String, EffectError> {
        let site = Site {
            app: self.app,
            router: &config.router,
            form: record.form,
            tls,
            upstreams,
            dir: self.dir,
            log: self.log,
            status: record.status,
            structure,
            has_ipv6: Path::new("/proc/net/if_inet6").exists(),
            certbot,
        };
        render(&site)
            .map_err(|error| EffectError::failed(error.to_string(), "nginx's own language"))
    }

    /// A loopback port that nobody has, and that was not given out by this process already.
    fn pick_status(&self) -> Result<SocketAddr, EffectError> {
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = blake3::hash(self.dir.as_os_str().as_bytes());
        let start = u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]);
        let count = STATUS_PORTS.end - STATUS_PORTS.start;
        let ports = (0..count).map(|n| STATUS_PORTS.start + (start % count + n) % count);
        let mut free = ports
            .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .filter(|address| !given.contains(&address.port()))
            .filter(|address| TcpListener::bind(address).is_ok());
        let address = free.next().ok_or_else(|| {
            EffectError::failed("find a port for nginx's status page", "19000-19999 are all taken")
        })?;
        drop(free);
        given.insert(address.port());
        Ok(address)
    }

    /// Directories that nginx's workers can enter, and what the site includes.
    pub(super) fn prepare_dir(&self, record: &Record) -> Result<(), EffectError> {
        let root = self.dir.parent().unwrap_or(self.dir);
        make_dir(root)?;
        let state = root.parent().unwrap_or(root);
        crate::paths::let_through(state, root).map_err(|error| {
            EffectError::failed(format!("let nginx pass through {}", state.display()), error)
        })?;
        make_dir(self.dir)?;
        make_dir(&self.dir.join("generations"))?;
        let live = record.switch.slot.unwrap_or(Slot::Blue);
        let path = self.dir.join("selector.conf");
        match record.form {
            // There is a selector when the site was of another form so far.
            NginxForm::Flag if path.exists() => super::set_flag(self.dir, live)?,
            NginxForm::Flag => {}
            NginxForm::Include => {
                let text = selector(live, record.switch.generation);
                write_atomically(&path, text.as_bytes(), 0o644)?;
            }
            NginxForm::Symlink => {
                for slot in Slot::BOTH {
                    let path = self.dir.join(format!("{slot}.conf"));
                    write_atomically(&path, selector(slot, 0).as_bytes(), 0o644)?;
                }
                link_atomically(&path, Path::new(&format!("{live}.conf")))?;
            }
        }
        Ok(())
    }
}

/// Reloads and asks, on fresh connections, until what is wanted is all that answers.
pub(super) fn reload_until(
    nginx: &Nginx,
    record: &Record,
    is_wanted: impl Fn(&alcedo_core::nginx::EffectiveAnswer) -> bool,
) -> Result<(), EffectError> {
    nginx.reload(&record.pid_file)?;
    let deadline = clock::now().after(EFFECTIVE_LIMIT);
    ask::until_settled(record.status, deadline, is_wanted).map_err(|last| EffectError::Failed {
        what: format!(
            "make the reload of nginx effective within {} s: it kept its old configuration",
            EFFECTIVE_LIMIT.as_secs()
        ),
        detail: format!("its status page answered: {last}; its error log says why"),
        hint: Some("nginx -t; tail /var/log/nginx/error.log".to_owned()),
    })
}

/// A symbolic link, replaced in one step and durable.
pub(super) fn link_atomically(path: &Path, to: &Path) -> Result<(), EffectError> {
    let failed = |error: io::Error| EffectError::failed(format!("link {}", path.display()), error);
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    remove(&temporary)?;
    symlink(to, &temporary).map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)?;
    Ok(sync_dir(path.parent().unwrap_or(Path::new("/")))?)
}

/// Removes a file or link, durably; one that is not there is fine.
pub(super) fn remove(path: &Path) -> Result<(), EffectError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(sync_dir(path.parent().unwrap_or(Path::new("/")))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(EffectError::failed(format!("remove {}", path.display()), error)),
    }
}

fn apply(change: &FileChange) -> Result<(), EffectError> {
    match &change.after {
        Change::Text(text) => Ok(write_atomically(&change.path, text.as_bytes(), 0o644)?),
        Change::Link(to) => link_atomically(&change.path, to),
    }
}

pub(super) fn make_dir(dir: &Path) -> Result<(), EffectError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |error| EffectError::failed(format!("make {}", dir.display()), error);
    fs::DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(failed)?;
    // Whatever the umask: the workers have to enter it.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(failed)
}

/// Blank lines and blanks at the ends do not count: certbot leaves some.
fn same_lines(one: &str, other: &str) -> bool {
    let lines = |text: &str| {
        text.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect::<Vec<_>>()
    };
    one == other || lines(one) == lines(other)
}

fn check_files(tls: &Tls) -> Result<(), EffectError> {
    let Tls::Files { cert, key } = tls else { return Ok(()) };
    for path in [cert, key] {
        if let Err(error) = fs::metadata(path) {
            return Err(EffectError::Failed {
                what: format!("find the certificate {}", path.display()),
                detail: error.to_string(),
                hint: Some("router.tls = { cert, key }, or \"keep\" with certbot".to_owned()),
            });
        }
    }
    Ok(())
}

/// Where this nginx wants sites: Debian's `sites-available` with a link, else `conf.d` (one file, so nothing is defined
/// twice, S0-D1).
fn layout(dump: &Dump, app: &AppName) -> Result<(PathBuf, Option<PathBuf>), EffectError> {
    let dirs = dump.includes.iter().filter_map(|(pattern, _)| {
        let (dir, name) = pattern.rsplit_once('/')?;
        (name == "*" || name == "*.conf").then(|| (PathBuf::from(dir), name == "*.conf"))
    });
    let dirs: Vec<_> = dirs.filter(|(dir, _)| dir.is_dir()).collect();
    let named = |wanted: &str| dirs.iter().find(|(dir, _)| dir.ends_with(wanted)).cloned();
    let file = |is_conf| format!("alcedo-{app}{}", if is_conf { ".conf" } else { "" });
    if let Some((enabled, is_conf)) = named("sites-enabled") {
        let available = enabled.with_file_name("sites-available");
        let name = file(is_conf);
        return Ok(match available.is_dir() {
            true => (available.join(&name), Some(enabled.join(name))),
            false => (enabled.join(name), None),
        });
    }
    if let Some((dir, is_conf)) = named("conf.d") {
        return Ok((dir.join(file(is_conf)), None));
    }
    Err(EffectError::Failed {
        what: "find where nginx wants its sites".to_owned(),
        detail: format!("{} includes neither sites-enabled nor conf.d", dump.path.display()),
        hint: Some(format!(
            "put `include sites-enabled/*;` into the http block of {} and make the directory",
            dump.path.display()
        )),
    })
}

/// nginx would only warn and serve one of the two.
fn refuse_taken_domains(dump: &Dump, site: &Path, config: &Config) -> Result<(), EffectError> {
    let router = &config.router;
    let mut ports: Vec<&str> = router.listen.iter().map(|l| port_of(l)).collect();
    ports.extend(match &router.kind {
        RouterKind::Nginx { tls: Tls::Files { .. } | Tls::Keep, .. } => Some("443"),
        RouterKind::Nginx { tls: Tls::Off, .. } | RouterKind::Embedded => None,
    });
    let listens = |d: &&Directive| {
        let mut own = d.all("listen").map(|l| port_of(l.arg())).peekable();
        own.peek().is_none() && ports.contains(&"80") || own.any(|port| ports.contains(&port))
    };
    let others = dump.http().filter(|d| d.name == "server").filter(listens);
    let others: Vec<&Directive> = others.filter(|d| !is_from(d, site)).collect();
    for domain in router.domains.iter().chain(&router.aliases) {
        let has = |server: &&&Directive| {
            server.all("server_name").any(|names| names.args.contains(domain))
        };
        if let Some(server) = others.iter().find(has) {
            return Err(EffectError::Failed {
                what: format!("serve {domain}: {} serves it already", server.place),
                detail: "nginx would serve one of the two and only warn".to_owned(),
                hint: Some(format!("disable {}, then deploy again", server.place.file.display())),
            });
        }
    }
    Ok(())
}

/// Of `80`, `[::]:80`, `127.0.0.1:8080`; an address alone means 80.
fn port_of(listen: &str) -> &str {
    match listen.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => port,
        None if listen.bytes().all(|b| b.is_ascii_digit()) => listen,
        Some(_) | None => "80",
    }
}

fn is_from(directive: &Directive, site: &Path) -> bool {
    directive.place.file.file_name() == site.file_name()
}
