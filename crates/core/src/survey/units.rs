//! Hand-made units: what a deploy, a crash or a reboot does to their users.

use super::{Survey, finding};
use crate::config::graceful_signal;
use crate::lint::{Finding, Severity, development_server};
use crate::slot::Slot;
use crate::units::Unit;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(super) fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    // What has neither a slot nor a port is no web process of anybody's.
    for unit in survey.units.iter().filter(|unit| unit.slot.is_some() || unit.port.is_some()) {
        found.extend(dev_server(unit));
        found.extend(kill_signal(unit));
        found.extend(crash_loop(unit));
    }
    for pair in pairs(&survey.units) {
        found.extend(shared_current(survey, pair));
    }
    found.extend(public_ports(survey));
    found
}

/// Units that differ in their colour alone.
fn pairs(units: &[Unit]) -> Vec<[&Unit; 2]> {
    let plain = |unit: &Unit| {
        Slot::BOTH.iter().fold(unit.name.clone(), |name, slot| name.replace(slot.as_str(), "*"))
    };
    let of = |slot: Slot| units.iter().filter(move |unit| unit.slot == Some(slot));
    of(Slot::Blue)
        .filter_map(|blue| Some([blue, of(Slot::Green).find(|green| plain(green) == plain(blue))?]))
        .collect()
}

/// S0-D9.
fn dev_server(unit: &Unit) -> Option<Finding> {
    let words: Vec<&str> = unit.exec.iter().map(String::as_str).collect();
    let (server, fix) = development_server(&words)?;
    let message = format!("{} runs `{server}`, a development server", unit.name);
    Some(finding("unit.dev-server", Severity::Warning, unit.at("ExecStart"), message, fix))
}

/// S1-D2: the wrong signal makes a stop cut the requests in flight.
fn kill_signal(unit: &Unit) -> Option<Finding> {
    let (server, graceful) = graceful_signal(&unit.exec)?;
    let now = unit.kill_signal.as_deref().unwrap_or("SIGTERM");
    if now == graceful {
        return None;
    }
    let message = format!(
        "{} stops {server} with {now}, which drops the requests in flight; {graceful} lets them end",
        unit.name
    );
    let at = if unit.kill_signal.is_some() { "KillSignal" } else { "ExecStart" };
    Some(finding(
        "unit.kill-signal",
        Severity::Warning,
        unit.at(at),
        message,
        &format!("KillSignal={graceful}"),
    ))
}

/// S1-54: with two seconds between starts, systemd's own limit (5 in 10 s) is never met.
fn crash_loop(unit: &Unit) -> Option<Finding> {
    let restarts = unit.lines.contains_key("Restart") && unit.lines.contains_key("RestartSec");
    let limited = unit.lines.contains_key("StartLimitIntervalSec")
        || unit.lines.contains_key("StartLimitBurst");
    (restarts && !limited).then(|| {
        let message = format!("{} is started again without end when it crashes, and each time it writes to the journal", unit.name);
        finding("unit.crash-loop", Severity::Info, unit.at("RestartSec"), message, "StartLimitIntervalSec=60 and StartLimitBurst=5 in [Unit]")
    })
}

/// S1-D1, S1-D3, S1-47: both colours behind one link, so a crash or a reboot starts the old one with the new code.
fn shared_current(survey: &Survey, [blue, green]: [&Unit; 2]) -> Vec<Finding> {
    let paths = |unit: &Unit| -> BTreeSet<PathBuf> {
        unit.dir.iter().cloned().chain(unit.exec.first().map(PathBuf::from)).collect()
    };
    let behind = |unit: &Unit, link: &Path| paths(unit).iter().any(|path| path.starts_with(link));
    let link = survey.links.keys().find(|link| behind(blue, link) && behind(green, link));
    let Some(link) = link else { return Vec::new() };
    let message = format!(
        "{} and {} both run behind {}: a crash of the old one, or a reboot, starts it with the new code",
        blue.name,
        green.name,
        link.display()
    );
    let fix =
        "each slot its own release; alcedo starts a slot from releases/<id>, never behind a link";
    let mut found = vec![finding(
        "unit.shared-current",
        Severity::Warning,
        link.display().to_string(),
        message,
        fix,
    )];
    if [blue, green].iter().all(|unit| survey.enabled.contains(&unit.name)) {
        let message = "both colours start at boot, from the same release: after a reboot there is no way back";
        let fix = format!("sudo systemctl disable {}, whichever has no traffic", green.name);
        found.push(finding(
            "unit.both-enabled",
            Severity::Warning,
            blue.at("WantedBy"),
            message,
            &fix,
        ));
    }
    found
}

/// S1-19, S3-D5: past the router, without TLS, without limits.
fn public_ports(survey: &Survey) -> Vec<Finding> {
    let open = survey.listeners.iter().filter(|(_, process)| process.is_public);
    let one = |(port, process): (&u16, &crate::init::Process)| {
        let who = process.argv.first().map_or("somebody", String::as_str);
        let message =
            format!("{who} listens on every address: it answers from outside, past nginx");
        finding(
            "port.public",
            Severity::Error,
            format!("port {port}"),
            message,
            "bind to 127.0.0.1; until then: sudo ufw deny to it",
        )
    };
    open.map(one).collect()
}
