//! `init --adopt`: from a set-up that was made by hand (the layouts of S0, S1 and S3) to the `alcedo.toml` that takes it
//! over. What runs, where it listens and which slot is live is read; only what the sources alone know comes from them.

use super::draft::{Draft, app_name};
use super::{Directory, InitError, detect};
use crate::lint::Severity;
use crate::nginx::{Adopted, Shape};
use crate::slot::Slot;
use crate::units::{Unit, slot_in};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// alcedo's own listener for a site that stays in front of it.
const LISTEN: std::ops::Range<u16> = 8080..8180;
/// Users who are people or the system.
const NO_APP_USERS: [&str; 3] = ["root", "ubuntu", "debian"];

/// What was seen on the host.
#[derive(Debug, Clone, Default)]
pub struct HandMade {
    /// Sites of a known layout.
    pub sites: Vec<Adopted>,
    /// Units that start something.
    pub units: Vec<Unit>,
    /// Who listens, by port: started by hand, or by a unit.
    pub listeners: BTreeMap<u16, Process>,
    /// Names that no app can have: a template unit of that name is somebody else's.
    pub units_taken: BTreeSet<String>,
    /// Directories below `/srv` that hold something.
    pub dirs_taken: BTreeSet<String>,
    /// Links: in the directories that units run in, and of those themselves; where each leads.
    pub links: BTreeMap<PathBuf, PathBuf>,
}

/// A process that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its words.
    pub argv: Vec<String>,
    /// Where it runs.
    pub dir: Option<PathBuf>,
    /// As whom.
    pub user: Option<String>,
    /// Whether others than this host reach it.
    pub is_public: bool,
}

/// One slot's process: of a unit, or started by hand.
struct Live {
    unit: Option<Unit>,
    exec: Vec<String>,
    dir: Option<PathBuf>,
    user: Option<String>,
    port: u16,
}

/// The configuration that takes over the one site that is meant.
///
/// # Errors
/// No site of a known layout, several of them, or one that leads to another machine.
pub fn adopt(
    hand: &HandMade,
    sources: &Directory,
    wanted: Option<&str>,
) -> Result<Draft, InitError> {
    let site = choose(hand, wanted.unwrap_or(&sources.name))?;
    let live = live(hand, site)?;
    let from_sources = detect(sources).ok();
    let mut draft = Draft::new(&kind(site), &name(hand, site, &live, wanted), &sources.name)
        .ok_or_else(|| InitError::NotKnown { saw: "nothing that makes a name".to_owned() })?;
    draft.set("runner", "systemd", "units of alcedo's own, beside the hand-made ones");
    place(hand, &live, &mut draft);
    started(hand, &live, from_sources.as_ref(), &mut draft);
    if let Some(found) = from_sources.as_ref().and_then(|d| d.text("health.path")) {
        draft.set("health.path", found, "found in the sources");
    } else {
        draft.propose(
            "health.path",
            "/healthz",
            "none found here: without it an open port counts as ready",
        );
    }
    ports(hand, &live, &mut draft);
    shared(hand, &live, &mut draft);
    routed(hand, site, &live, &mut draft);
    told(hand, site, &live, &mut draft);
    Ok(draft)
}

/// The port of an address on this host.
pub fn local_port(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    let is_local = host == "localhost" || host == "[::1]" || host.starts_with("127.");
    port.parse().ok().filter(|_| is_local)
}

fn choose<'a>(hand: &'a HandMade, wanted: &str) -> Result<&'a Adopted, InitError> {
    let nothing = |saw: &str| InitError::NotKnown { saw: saw.to_owned() };
    let by_name = |site: &&Adopted| {
        site.domains.iter().any(|d| d.contains(wanted))
            || site.name.contains(&wanted.replace('-', "_"))
    };
    match hand.sites.as_slice() {
        [] => Err(nothing(
            "nginx has no site whose slot is chosen by an upstream in a file of its own, by a link, or by an included variable",
        )),
        [site] => Ok(site),
        sites => {
            let fits: Vec<&Adopted> = sites.iter().filter(by_name).collect();
            let places: Vec<String> = sites.iter().map(|site| site.site.to_string()).collect();
            let [site] = fits.as_slice() else {
                return Err(nothing(&format!(
                    "several sites could be meant ({}): name one with -a",
                    places.join(", ")
                )));
            };
            Ok(site)
        }
    }
}

fn live(hand: &HandMade, site: &Adopted) -> Result<Live, InitError> {
    let elsewhere = || InitError::NotKnown {
        saw: format!("{} sends to {}, which is no port of this host", site.site, site.live_address),
    };
    let port = local_port(&site.live_address).ok_or_else(elsewhere)?;
    let unit = hand.units.iter().find(|unit| unit.port == Some(port)).cloned();
    let process = hand.listeners.get(&port).cloned();
    let exec =
        unit.as_ref().map(|u| u.exec.clone()).or_else(|| Some(process.as_ref()?.argv.clone()));
    let dir = unit.as_ref().and_then(|u| u.dir.clone()).or_else(|| process.as_ref()?.dir.clone());
    let user =
        unit.as_ref().and_then(|u| u.user.clone()).or_else(|| process.as_ref()?.user.clone());
    Ok(Live { unit, exec: exec.unwrap_or_default(), dir, user, port })
}

fn kind(site: &Adopted) -> String {
    let how = match site.shape {
        Shape::EditedUpstream => "an upstream file that is edited",
        Shape::LinkedUpstream => "a link to one of two upstream files",
        Shape::SetVariable => "an included variable",
    };
    format!("The set-up made by hand behind {} ({how})", site.site)
}

/// A name that no unit of somebody else has.
fn name(hand: &HandMade, site: &Adopted, live: &Live, wanted: Option<&str>) -> String {
    let unit = live.unit.as_ref().map(|unit| stem(&unit.name));
    let user = live
        .user
        .clone()
        .filter(|user| !NO_APP_USERS.contains(&user.as_str()) && user != "www-data");
    let domain =
        site.domains.first().map(|domain| domain.split('.').next().unwrap_or(domain).to_owned());
    let upstream = site
        .name
        .trim_end_matches("_upstream")
        .trim_end_matches("_app")
        .trim_end_matches("_backend")
        .to_owned();
    let candidates = [wanted.map(str::to_owned), unit, user, domain, Some(upstream)];
    let names = candidates
        .into_iter()
        .flatten()
        .filter_map(|text| app_name(&text))
        .map(|name| name.to_string());
    let names: Vec<String> = names.collect();
    let is_free = |name: &&String| !hand.units_taken.contains(*name);
    let first = names.first().cloned().unwrap_or_default();
    names.iter().find(is_free).cloned().unwrap_or_else(|| format!("{first}-app"))
}

/// `example-blue.service`, `saltbox-api@blue.service` without their colour.
fn stem(unit: &str) -> String {
    let name = unit.trim_end_matches(".service");
    let name = name.split('@').next().unwrap_or(name);
    let mut name = name.to_owned();
    for slot in Slot::BOTH {
        for joined in
            [format!("-{slot}"), format!("_{slot}"), format!("{slot}-"), format!("{slot}_")]
        {
            name = name.replace(&joined, "");
        }
    }
    name
}

fn place(hand: &HandMade, live: &Live, draft: &mut Draft) {
    let app = draft.app.to_string();
    if hand.dirs_taken.contains(&app) {
        draft.set(
            "root",
            format!("/srv/alcedo-{app}"),
            format!("/srv/{app} is the hand-made one's"),
        );
    }
    if let Some(user) = live.user.as_ref().filter(|user| !NO_APP_USERS.contains(&user.as_str())) {
        let from =
            live.unit.as_ref().map_or_else(|| "whom it runs as".to_owned(), |unit| unit.at("User"));
        draft.set(
            "systemd.user",
            user.as_str(),
            format!("{from}; so it may read what the hand-made one wrote"),
        );
    }
}

/// What is shipped and how it is started.
fn started(hand: &HandMade, live: &Live, sources: Option<&Draft>, draft: &mut Draft) {
    for key in [
        "release.build",
        "release.source",
        "release.exclude",
        "release.prepare",
        "release.writable",
    ] {
        let setting = sources.and_then(|d| d.settings.iter().find(|s| s.key == key));
        if let Some(setting) = setting {
            draft.set(key, setting.value.clone(), setting.from.clone());
        }
    }
    let root = root(hand, live);
    if let (None, Some(root)) = (sources, &root) {
        draft.set(
            "release.source",
            root.display().to_string(),
            "what is live now; later, what you build",
        );
    }
    let own = root.as_deref().and_then(|root| command(live, root));
    match (own, sources.and_then(|d| d.text("web.command"))) {
        (Some((command, dir)), None) => {
            let from = live.unit.as_ref().map_or_else(
                || format!("what listens on {}", live.port),
                |unit| unit.at("ExecStart"),
            );
            draft.set("web.command", command, from);
            if !dir.is_empty() {
                draft.set("web.dir", dir, "where the hand-made one runs");
            }
        }
        (_, Some(command)) => draft.set("web.command", command, "found in the sources here"),
        (None, None) => {
            draft.propose(
                "web.command",
                "bin/app --port {port}",
                "what listens there could not be looked into",
            );
        }
    }
    for (name, value) in live.unit.iter().flat_map(|unit| &unit.env) {
        let is_secret = ["KEY", "SECRET", "PASSWORD", "TOKEN", "URL", "DSN"]
            .iter()
            .any(|part| name.contains(part));
        if name != "PORT" && !is_secret {
            draft.set(&format!("env.{name}"), value.as_str(), "of the hand-made unit");
        }
    }
}

/// The directory of the code: behind a `current` link that link, else where it runs, else where its program is.
fn root(hand: &HandMade, live: &Live) -> Option<PathBuf> {
    let program = live.exec.first().map(PathBuf::from).filter(|path| path.is_absolute());
    let is_system =
        |path: &Path| ["/usr", "/bin", "/sbin", "/opt"].iter().any(|dir| path.starts_with(dir));
    let paths = [live.dir.clone(), program.clone()];
    let linked =
        hand.links.keys().find(|link| paths.iter().flatten().any(|path| path.starts_with(link)));
    let beside = || program.filter(|path| !is_system(path))?.parent().map(Path::to_owned);
    let usable = live.dir.clone().filter(|dir| {
        dir != Path::new("/") && !dir.starts_with("/root") && !dir.starts_with("/home")
    });
    linked.cloned().or(usable).or_else(beside)
}

/// The hand-made command with what differs between slots left open, and its directory within the code.
fn command(live: &Live, root: &Path) -> Option<(String, String)> {
    let (program, rest) = live.exec.split_first()?;
    let dir = live
        .dir
        .as_ref()
        .and_then(|dir| dir.strip_prefix(root).ok())
        .map(Path::to_owned)
        .unwrap_or_default();
    let up = "../".repeat(dir.components().count());
    let program = match Path::new(program).strip_prefix(root) {
        Ok(inside) if up.is_empty() => format!("./{}", inside.display()),
        Ok(inside) => format!("{up}{}", inside.display()),
        Err(_) => program.clone(),
    };
    let port = live.port.to_string();
    let one = |word: &String| {
        let by_port = word == &port
            || word.ends_with(&format!(":{port}"))
            || word.ends_with(&format!("={port}"));
        let word = if by_port { word.replace(&port, "{port}") } else { word.clone() };
        match slot_in(&word) {
            Some(slot) if word == slot.as_str() || word.ends_with(&format!("={slot}")) => {
                word.replace(slot.as_str(), "{slot}")
            }
            Some(_) | None => word,
        }
    };
    let words: Vec<String> = std::iter::once(program).chain(rest.iter().map(one)).collect();
    // Braces of ours mean nothing to the reader of quotes, but a quoting writer would put them in quotes.
    let shown = words.iter().map(|word| {
        if word.contains(['{', '}']) { word.clone() } else { shell_words::quote(word).into_owned() }
    });
    Some((shown.collect::<Vec<_>>().join(" "), dir.display().to_string()))
}

/// Shown and not set: as long as the hand-made units run they have them.
fn ports(hand: &HandMade, live: &Live, draft: &mut Draft) {
    let Some(unit) = &live.unit else { return };
    let same = |other: &&Unit| stem(&other.name) == stem(&unit.name);
    let of = |slot: Slot| hand.units.iter().filter(same).find(|unit| unit.slot == Some(slot))?.port;
    if let (Some(blue), Some(green)) = (of(Slot::Blue), of(Slot::Green)) {
        let from = "the hand-made units have them; yours once these are stopped";
        draft.propose("web.ports", json!({ "blue": blue, "green": green }), from);
    }
}

/// S0-5, S0-19, S0-20: what each colour's directory links to is one for both.
fn shared(hand: &HandMade, live: &Live, draft: &mut Draft) {
    let Some(root) = root(hand, live) else { return };
    let inside: Vec<(String, &PathBuf)> = hand
        .links
        .iter()
        .filter_map(|(link, to)| Some((link.strip_prefix(&root).ok()?.display().to_string(), to)))
        .filter(|(link, _)| {
            !link.is_empty() && !link.contains("venv") && !link.contains("node_modules")
        })
        .collect();
    let is_file = |link: &str| {
        link.rsplit('/').next().is_some_and(|name| {
            name.trim_start_matches('.').contains('.') || name.starts_with(".env")
        })
    };
    let (files, dirs): (Vec<_>, Vec<_>) = inside.into_iter().partition(|(link, _)| is_file(link));
    let names =
        |all: &[(String, &PathBuf)]| all.iter().map(|(link, _)| link.clone()).collect::<Vec<_>>();
    for (key, all) in [("shared.files", &files), ("shared.dirs", &dirs)] {
        if !all.is_empty() {
            draft.set(key, json!(names(all)), "links in the live slot's directory");
        }
    }
    let place = draft.text("root").map_or_else(|| format!("/srv/{}", draft.app), str::to_owned);
    for (link, to) in files.iter().chain(&dirs) {
        let at = format!("{place}/shared/{link}");
        let fix = if is_file(link) {
            format!("after setup: sudo install -D -o alcedo -m 0640 {} {at}", to.display())
        } else {
            format!(
                "after setup: sudo mkdir -p {0} && sudo mv {1} {at} && sudo ln -s {at} {1}",
                parent(&at),
                to.display()
            )
        };
        draft.note(
            "adopt.shared",
            Severity::Warning,
            &to.display().to_string(),
            "both set-ups have to use the same one while the hand-made process still runs",
            &fix,
        );
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("/", |(parent, _)| parent)
}

fn routed(hand: &HandMade, site: &Adopted, live: &Live, draft: &mut Draft) {
    let is_free = |port: &u16| *port != live.port && !hand.listeners.contains_key(port);
    let port = LISTEN.into_iter().find(is_free).unwrap_or(LISTEN.start);
    draft.set(
        "router.listen",
        json!([format!("127.0.0.1:{port}")]),
        "alcedo's proxy; your nginx stays in front of it",
    );
    if site.passes_host && !site.domains.is_empty() {
        draft.set("router.domains", json!(site.domains), format!("{}: server_name", site.site));
    }
    draft.set("router.trusted_proxies", json!(["127.0.0.0/8"]), "nginx says who the client is");
    draft.set(
        "router.adopt",
        site.switch_file().display().to_string(),
        "`alcedo setup` points it at router.listen, and `setup --remove` back",
    );
}

fn told(hand: &HandMade, site: &Adopted, live: &Live, draft: &mut Draft) {
    let slot = site.live.or_else(|| live.unit.as_ref()?.slot);
    let slot = slot.map_or_else(|| "one slot".to_owned(), |slot| slot.to_string());
    let message = format!(
        "{slot} is live on {}; it serves on until the first deploy has proved its own",
        site.live_address
    );
    draft.note(
        "adopt.live",
        Severity::Info,
        &site.switch_file().display().to_string(),
        &message,
        "",
    );
    let Some(unit) = &live.unit else {
        let message = "nothing starts what listens there at boot";
        let fix = "deploy soon: alcedo's own units come back after a reboot";
        return draft.note(
            "unit.none",
            Severity::Warning,
            &format!("port {}", live.port),
            message,
            fix,
        );
    };
    let same: Vec<&str> = hand
        .units
        .iter()
        .filter(|u| stem(&u.name) == stem(&unit.name))
        .map(|u| u.name.as_str())
        .collect();
    let message = "the hand-made units go on running: they are the way back until you stop them";
    draft.note(
        "adopt.units",
        Severity::Info,
        &same.join(", "),
        message,
        &format!("when you trust it: sudo systemctl disable --now {}", same.join(" ")),
    );
}
