//! The one change: the owner's file leads to alcedo's proxy, which leads to the hand-made process until the first switch.
//!
//! In this order: the proxy serves the hand-made process; the record is durable; the file is replaced; `nginx -t`; reload;
//! the reload is seen in nginx's workers; the record says so. A crash in between leaves requests where they went, on either
//! way to the same process, and `setup` goes on where it was. A failure puts the file back before it is told.

use super::record::{Effect, Record, Was, forget};
use super::{failed, files};
use crate::adapters::clock;
use crate::adapters::router_embedded::EmbeddedRouter;
use crate::adapters::router_nginx::{Hold, Master, Nginx};
use crate::engine::ports::{EffectError, Router};
use crate::paths::Paths;
use alcedo_core::AppName;
use alcedo_core::config::{Config, HealthCheck};
use alcedo_core::init::local_port;
use alcedo_core::nginx::{Adopted, Shape, pointed_at};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A reload is effective by then.
const RELOAD_LIMIT: Duration = Duration::from_secs(15);
/// Between two looks at the workers.
const LOOK: Duration = Duration::from_millis(10);
/// A connection on loopback.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// What is to be done for one app: computed, and not done.
#[derive(Debug)]
pub(crate) struct Plan {
    app: AppName,
    config: Config,
    record: Record,
    nginx: Nginx,
}

/// What `setup` has to do; `None`: nothing (any more). Changes nothing.
///
/// # Errors
/// The file is not that of a known layout, was edited since, or leads to a process that does not answer.
pub(crate) fn plan(app: &AppName, config: &Config) -> Result<Option<Plan>, EffectError> {
    let known = Record::load(app)?;
    if let Some(record) = known.as_ref().filter(|r| Some(&r.file) != config.router.adopt.as_ref()) {
        let what = format!("set {app} up: {} is still taken over", record.file.display());
        let hint = "put router.adopt back as it was, or hand the site back first: sudo alcedo setup --remove";
        return Err(failed(what, "router.adopt names another file, or none", hint));
    }
    let Some(file) = &config.router.adopt else { return Ok(None) };
    let nginx = Nginx::new(None, Hold::Whole);
    let now = files::read(file, &ours(app, file))?;
    let record = match known {
        Some(record) if record.effect == Effect::Seen && now == record.after => return Ok(None),
        // An earlier try did not come to its end.
        Some(record) if now == record.before || now == record.after => record,
        Some(record) if record.effect == Effect::Seen => return Err(edited(app, file, &record)),
        Some(_) | None => fresh(app, config, file, now, &nginx)?,
    };
    Ok(Some(Plan { app: app.clone(), config: config.clone(), record, nginx }))
}

/// Gives the host back: the file is what it was, nginx has read it, and only then is anything forgotten. What was said
/// about it; `None`: nothing had been taken over.
///
/// # Errors
/// The hand-made process does not listen any more, or the file was edited since.
pub(crate) fn hand_back(app: &AppName) -> Result<Option<String>, EffectError> {
    let Some(record) = Record::load(app)? else { return Ok(None) };
    let ours = ours(app, &record.file);
    let now = files::read(&record.file, &ours)?;
    if now != record.after && now != record.before {
        return Err(edited(app, &record.file, &record));
    }
    answers(&record.address).map_err(|error| {
        let what =
            format!("hand {} back: nothing listens on {}", record.file.display(), record.address);
        failed(
            what,
            error,
            "start the hand-made unit again first, then: sudo alcedo setup --remove",
        )
    })?;
    // Nobody may take it for done while it is not.
    record.clone().with_effect(Effect::Awaited).save(app)?;
    let nginx = Nginx::new(None, Hold::Whole);
    replace(&nginx, &record.file, &record.before, &record.after)?;
    files::remove(&ours)?;
    forget(app)?;
    Ok(Some(format!("{} leads to {} again, as before", record.file.display(), record.address)))
}

impl Plan {
    /// What is shown by `--dry-run`: the file with its diff, then the command.
    pub(crate) fn shown(&self) -> Vec<String> {
        let text = |was: &Was| match was {
            Was::Text(text) | Was::Link { text: Some(text), .. } => text.clone(),
            Was::Link { to, text: None } => {
                fs::read_to_string(beside(&self.record.file, to)).unwrap_or_default()
            }
        };
        let (before, after) = (text(&self.record.before), text(&self.record.after));
        let mut lines = vec![format!(
            "{}: leads to alcedo's proxy, which leads to {}",
            self.record.file.display(),
            self.record.address
        )];
        if let Was::Link { to, .. } = &self.record.after {
            lines.push(format!("    link -> {}", to.display()));
        }
        lines.extend(
            crate::diff::lines(&before, &after).into_iter().map(|line| format!("    {line}")),
        );
        lines.push("$ nginx -t, and a reload that is proved by nginx's workers".to_owned());
        lines
    }

    /// Does it. The daemon and the proxy run.
    pub(crate) fn apply(&self) -> Result<(), EffectError> {
        let target: SocketAddr = address(&self.record.address)?;
        answers(&self.record.address).map_err(|error| {
            failed(
                format!(
                    "take {} over: {} does not answer",
                    self.record.file.display(),
                    self.record.address
                ),
                error,
                "alcedo check",
            )
        })?;
        let router = EmbeddedRouter::new(Paths::system().proxy_socket());
        router.configure(&self.app, &self.config, &[])?;
        router.lead_to(&self.app, target)?;
        self.ask_through_the_proxy(&router)?;
        self.record.save(&self.app)?;
        replace(&self.nginx, &self.record.file, &self.record.after, &self.record.before)?;
        self.record.clone().with_effect(Effect::Seen).save(&self.app)
    }

    /// Before anybody is led there: whatever the process answers must come back through the proxy.
    fn ask_through_the_proxy(&self, router: &EmbeddedRouter) -> Result<(), EffectError> {
        use crate::engine::ports::{Call, Cancel, Get, Probe};
        let entrance = router.entrance(&self.app, &self.config)?;
        let root = self.config.services.values().find(|service| service.routes.is_empty());
        let path = root.and_then(|service| match &service.health.check {
            HealthCheck::Http(path) => Some(path.clone()),
            HealthCheck::Tcp | HealthCheck::Command(_) | HealthCheck::None => None,
        });
        let get = Get {
            address: entrance.address,
            path: path.unwrap_or_else(|| "/".to_owned()),
            host: entrance.host,
            headers: std::collections::BTreeMap::new(),
            root: None,
            timeout: Duration::from_secs(10),
        };
        let call = Call {
            deadline: clock::now().after(RELOAD_LIMIT),
            cancel: &Cancel::default(),
            progress: &|_| {},
        };
        let answer = crate::adapters::probe_http::HttpProbe.get(&get, &call);
        let what =
            "take the site over: the hand-made process does not answer through alcedo's proxy";
        match answer {
            Ok(answer) if !(502..=504).contains(&answer.status) => Ok(()),
            Ok(answer) => Err(failed(what, format!("status {}", answer.status), "alcedo check")),
            Err(detail) => Err(failed(what, detail, "alcedo check")),
        }
    }
}

/// Replaced, tested, reloaded, proved; a failure puts `before` back before it is told.
fn replace(nginx: &Nginx, file: &Path, after: &Was, before: &Was) -> Result<(), EffectError> {
    let (dump, _) = nginx.dump()?;
    let master = Master::of(&nginx.pid_file(&dump)?)?;
    files::put(file, after)?;
    let done = match nginx.test() {
        Ok(Ok(())) => reload(&master),
        Ok(Err(broken)) => Err(broken.error("change nginx's configuration")),
        Err(error) => Err(error),
    };
    let Err(error) = done else { return Ok(()) };
    files::put(file, before)?;
    if matches!(nginx.test(), Ok(Ok(()))) {
        reload(&master)?;
    }
    Err(error)
}

/// nginx starts new workers only when it has taken its configuration; those of before go.
fn reload(master: &Master) -> Result<(), EffectError> {
    let before = master.workers();
    master.reload()?;
    let deadline = clock::now().after(RELOAD_LIMIT);
    while !clock::left(deadline).is_zero() {
        let now = master.workers();
        if !now.is_empty() && now.is_disjoint(&before) {
            return Ok(());
        }
        std::thread::park_timeout(LOOK);
    }
    let what = format!("make the reload of nginx effective within {} s", RELOAD_LIMIT.as_secs());
    Err(failed(
        what,
        "it kept its old configuration; its error log says why",
        "nginx -t; tail /var/log/nginx/error.log",
    ))
}

fn fresh(
    app: &AppName,
    config: &Config,
    file: &Path,
    now: Was,
    nginx: &Nginx,
) -> Result<Record, EffectError> {
    let what = || format!("take {} over", file.display());
    let sites = super::look::sites(nginx)?;
    let site = sites.iter().find(|site| site.switch_file() == file).ok_or_else(|| {
        failed(
            what(),
            "no site of a known layout is switched by it",
            "sudo alcedo init --adopt shows what there is",
        )
    })?;
    let listen = config.router.listen.first().cloned().unwrap_or_default();
    if site.live_address == listen {
        return Err(failed(
            what(),
            format!("it leads to {listen} already, and what it led to before is not known"),
            "put the address of the live process back into it",
        ));
    }
    address(&site.live_address)?;
    let after = changed(app, site, &now, &listen).ok_or_else(|| {
        failed(
            what(),
            format!("{} is not in it exactly once", site.live_address),
            "one line with the address, and nothing else that chooses",
        )
    })?;
    Ok(Record::new(file, now, after, &site.live_address))
}

/// A text with the other address, or a link to such a text beside the two colours', which stay.
fn changed(app: &AppName, site: &Adopted, now: &Was, listen: &str) -> Option<Was> {
    let file = site.switch_file();
    match now {
        Was::Text(text) => {
            let text = pointed_at(text, &site.shape, listen)?;
            Some(Was::Text(format!(
                "# Taken over by alcedo ({app}), which switches behind this address. Back: alcedo setup --remove\n{text}"
            )))
        }
        Was::Link { to, .. } => {
            let text = fs::read_to_string(beside(file, to)).ok()?;
            let text = pointed_at(&text, &Shape::LinkedUpstream, listen)?;
            let text = format!(
                "# Written by alcedo ({app}), which switches behind this address. Back: alcedo setup --remove\n{text}"
            );
            Some(Was::Link { to: ours(app, file), text: Some(text) })
        }
    }
}

/// A name that no `*.conf` includes.
fn ours(app: &AppName, file: &Path) -> PathBuf {
    file.with_file_name(format!("alcedo-{app}.upstream"))
}

fn beside(link: &Path, to: &Path) -> PathBuf {
    link.parent().unwrap_or(Path::new("/")).join(to)
}

fn address(text: &str) -> Result<SocketAddr, EffectError> {
    let port = local_port(text).ok_or_else(|| {
        failed(
            format!("lead to {text}"),
            "it is no port of this host",
            "alcedo takes over what runs on the host itself",
        )
    })?;
    Ok(text.parse().unwrap_or_else(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
}

fn answers(text: &str) -> std::io::Result<()> {
    let address = address(text).map_err(|_| std::io::ErrorKind::AddrNotAvailable)?;
    TcpStream::connect_timeout(&address, CONNECT_LIMIT).map(drop)
}

fn edited(app: &AppName, file: &Path, record: &Record) -> EffectError {
    let wanted = match &record.after {
        Was::Text(text) => text.clone(),
        Was::Link { to, .. } => format!("a link to {}", to.display()),
    };
    let detail = format!("it was changed by hand since; alcedo wrote: {}", wanted.trim());
    failed(
        format!("find {} of {app} as it was left", file.display()),
        detail,
        "put that back, then type this again",
    )
}

#[cfg(test)]
mod tests;
