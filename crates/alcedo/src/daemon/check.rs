//! What can be seen on this host that stands against a good deploy: each finding with an id, a reason, a fix.

use super::host::Host;
use crate::api::Failed;
use crate::engine::ports::{Call, Cancel, World};
use crate::paths::Keeper;
use alcedo_core::AppName;
use alcedo_core::state::AppState;
use serde_json::{Value, json};
use std::borrow::Cow;

/// Free disk below which a deploy is likely to fail.
const DISK_LOW_BYTES: u64 = 512 * 1024 * 1024;

/// `check --json` of this host for one app.
pub(super) fn check(host: &Host, app: &AppName) -> Result<Value, Failed> {
    let world = &host.world()?;
    let state = host.app(app, true)?.feed.state();
    let mut findings = Vec::new();
    findings.extend(router(world, app));
    findings.extend(of_router(world, app));
    findings.extend(public_ports(world, &state));
    findings.extend(pools(world, &state));
    findings.extend(room(world, host, app, &state));
    findings.extend(releases(world, host, app, &state));
    match host.paths().keeper {
        Keeper::User => {
            findings.extend(own_user());
            findings.extend(boot());
        }
        Keeper::System => findings.extend(prepare_user(&state)),
    }
    findings.extend(hand_made(app, &state));
    findings.extend(host_itself(&findings));
    let accept = state.config.as_ref().map(|c| c.accept.clone()).unwrap_or_default();
    let ok = !findings.iter().any(|f| f.severity == "error" && !accept.iter().any(|a| *a == f.id));
    let findings: Vec<Value> = findings
        .into_iter()
        .map(|f| {
            let accepted = accept.iter().any(|a| *a == f.id);
            json!({ "id": f.id, "severity": f.severity, "subject": f.subject, "message": f.message, "fix": f.fix, "accepted": accepted })
        })
        .collect();
    Ok(json!({ "ok": ok, "findings": findings }))
}

/// Time for reading a release whole.
const VERIFY_LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

struct Finding {
    id: Cow<'static, str>,
    severity: &'static str,
    subject: String,
    message: String,
    fix: String,
}

fn router(world: &World, app: &AppName) -> Vec<Finding> {
    let one = |message: String| Finding {
        id: "router.unreachable".into(),
        severity: "error",
        subject: "alcedo proxy".to_owned(),
        message,
        fix: "its log says why: it is started again by itself".to_owned(),
    };
    match world.router.observe(app) {
        Ok(_) => Vec::new(),
        Err(error) => vec![one(alcedo_core::event::Failure::from(error).what)],
    }
}

/// What the router itself finds on this host.
fn of_router(world: &World, app: &AppName) -> Vec<Finding> {
    let found = world.router.findings(app).into_iter();
    let one = |f: alcedo_core::lint::Finding| Finding {
        id: f.id.into(),
        severity: f.severity.word(),
        subject: f.subject,
        message: f.message,
        fix: f.fix.unwrap_or_default(),
    };
    found.map(one).collect()
}

/// What was live before alcedo goes on running until its owner stops it.
fn hand_made(app: &AppName, state: &AppState) -> Option<Finding> {
    let address = crate::adopt::hand_made(app).filter(|_| state.active.is_some())?;
    let port = alcedo_core::init::local_port(&address)?;
    crate::adopt::listener(port)?;
    Some(Finding {
        id: "adopt.hand-made-runs".into(),
        severity: "info",
        subject: address,
        message: "the hand-made process still runs, without traffic: it is the way back of `setup --remove`"
            .to_owned(),
        fix: "when you trust alcedo with it: sudo systemctl disable --now its unit".to_owned(),
    })
}

/// What can be seen of the host without its apps; what was said already is not said twice.
fn host_itself(known: &[Finding]) -> Vec<Finding> {
    let is_new = |f: &alcedo_core::lint::Finding| {
        !known.iter().any(|k| k.id == f.id && k.subject == f.subject)
    };
    let found = crate::survey::look(None).into_iter().filter(is_new);
    found
        .map(|f| Finding {
            id: f.id.into(),
            severity: f.severity.word(),
            subject: f.subject,
            message: f.message,
            fix: f.fix.unwrap_or_default(),
        })
        .collect()
}

/// S3-D5, S1-19: an app that listens on every address is open to the world, past the router.
fn public_ports(world: &World, state: &AppState) -> Vec<Finding> {
    let processes = state.slots.values().flat_map(|s| &s.binding.processes);
    let mut findings = Vec::new();
    for process in processes {
        let Some(port) = process.address.port() else { continue };
        let listeners = world.probe.listeners(&process.address).unwrap_or_default();
        if listeners.iter().any(|l| l.public) {
            findings.push(Finding {
                id: "port.public".into(),
                severity: "warning",
                subject: format!("port {port}"),
                message: format!(
                    "{} listens on every address, so it answers from outside, past the router",
                    process.name
                ),
                fix: "bind to 127.0.0.1".to_owned(),
            });
        }
    }
    findings
}

/// A php-fpm that the distribution has taken away would be missed at the next start.
fn pools(world: &World, state: &AppState) -> Vec<Finding> {
    let config = state.config.as_ref();
    let services = config.iter().flat_map(|config| config.services.values());
    let wanted = services.filter_map(|service| service.php_fpm.as_ref());
    let missing = wanted.filter(|pool| world.machine.php_fpm(pool.version.as_deref()).is_none());
    let one = |pool: &alcedo_core::config::PhpFpm| {
        let version = pool.version.as_deref().unwrap_or_default();
        Finding {
            id: "php-fpm.missing".into(),
            severity: "error",
            subject: format!("php-fpm{version}"),
            message: "this host has no such program".to_owned(),
            fix: format!("sudo apt-get install php{version}-fpm"),
        }
    };
    missing.map(one).collect()
}

fn room(world: &World, host: &Host, app: &AppName, state: &AppState) -> Vec<Finding> {
    let root = state
        .config
        .as_ref()
        .map_or_else(|| host.places().apps.clone(), |c| host.places().root(app, c));
    let free = world.machine.disk_available_bytes(&root);
    let mut findings = Vec::new();
    if free < DISK_LOW_BYTES {
        findings.push(Finding {
            id: "disk.low".into(),
            severity: "warning",
            subject: root.display().to_string(),
            message: format!("{} MiB are free", free / (1024 * 1024)),
            fix: "alcedo prune --dry-run shows what could go".to_owned(),
        });
    }
    let live: u64 = state
        .active
        .and_then(|slot| world.runner.observe(app, slot).ok())
        .map_or(0, |s| s.processes.iter().map(|p| p.memory_bytes).sum());
    let available = world.machine.memory_available_bytes();
    if live > available {
        findings.push(Finding {
            id: "memory.two-copies".into(),
            severity: "warning",
            subject: "memory".to_owned(),
            message: format!(
                "a second copy needs about {} MiB, {} MiB are available",
                live >> 20,
                available >> 20
            ),
            fix: "free memory, or accept = [\"memory.two-copies\"]".to_owned(),
        });
    }
    findings
}

fn releases(world: &World, host: &Host, app: &AppName, state: &AppState) -> Vec<Finding> {
    let Some(config) = state.config.as_ref() else { return Vec::new() };
    let root = host.places().root(app, config);
    let mut findings = Vec::new();
    for record in state.slots.values() {
        let release = &record.binding.release;
        let problem = match world.releases.is_sealed(&root, release) {
            Ok(true) => match changed(world, &root, release) {
                Some(problem) => problem,
                None => continue,
            },
            Ok(false) => {
                "it is gone from the disk or was never sealed: a restart would fail".to_owned()
            }
            Err(error) => alcedo_core::event::Failure::from(error).what,
        };
        findings.push(Finding {
            id: "release.damaged".into(),
            severity: "error",
            subject: record.binding.release.to_string(),
            message: problem,
            fix: "deploy again; the running processes are not touched".to_owned(),
        });
    }
    findings
}

/// S1-D1: what runs must be what was sealed.
fn changed(
    world: &World,
    root: &std::path::Path,
    release: &alcedo_core::ReleaseId,
) -> Option<String> {
    let call = Call {
        deadline: world.clock.now().after(VERIFY_LIMIT),
        cancel: &Cancel::default(),
        progress: &|_| {},
    };
    // Too large to read now is not a finding.
    let files = world.releases.changed_files(root, release, &call).ok()?;
    let first = files.first()?;
    Some(format!("{} of its files are not as they were sealed; the first: {first}", files.len()))
}

/// design §4: without root every app runs as the daemon's own user.
fn own_user() -> Vec<Finding> {
    let root = rustix::process::geteuid().is_root();
    let (id, severity, message) = if root {
        ("user.root", "warning", "apps of the process runner run as root")
    } else {
        (
            "user.shared",
            "info",
            "apps run as the same user as alcedo: they are not isolated from its state",
        )
    };
    let fix = "a user of its own for each app comes with the systemd runner".to_owned();
    vec![Finding {
        id: id.into(),
        severity,
        subject: "processes".to_owned(),
        message: message.to_owned(),
        fix,
    }]
}

/// The app has a user of its own; what makes its releases has not.
fn prepare_user(state: &AppState) -> Option<Finding> {
    let config = state.config.as_ref()?;
    config.release.prepare.as_ref()?;
    Some(Finding {
        id: "prepare.user".into(),
        severity: "info",
        subject: "release.prepare".to_owned(),
        message: "it runs as the user alcedo, not as the app's: it could read the journal"
            .to_owned(),
        fix: "prepare only what you trust; build the rest before you ship it".to_owned(),
    })
}

/// Whether a reboot brings everything back.
fn boot() -> Vec<Finding> {
    use crate::setup_user::{Boot, SetupUser};
    let exe = std::env::current_exe().unwrap_or_default();
    match SetupUser::new(exe).describe() {
        Ok(Boot::Unit { .. } | Boot::Crontab { .. }) => Vec::new(),
        Ok(_) | Err(_) => vec![Finding {
            id: "boot.not-set-up".into(),
            severity: "warning",
            subject: "reboot".to_owned(),
            message: "nothing starts alcedo at boot: after a reboot no app would run".to_owned(),
            fix: "alcedo setup --user".to_owned(),
        }],
    }
}
