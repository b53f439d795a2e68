//! A VPS with a real systemd: prepared by `setup`, apps as units, an unprivileged daemon. Every test is under load from
//! inside the host's own network.

use crate::app::{App, says, served, words, xtask_program};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use xtask::home::{Run, poll_until};
use xtask::lab::{self, Host};
use xtask::load::{Dialect, Load, Shape, Target};

/// Waiting for anything that has to come ends with a failed test.
pub(crate) const SOON: Duration = Duration::from_secs(45);
/// Where the app's sources are on the host: every user may read them.
pub(crate) const SOURCE: &str = "/opt/web";
pub(crate) const PORT: u16 = 8080;
/// Of the load, the slow ones among them.
pub(crate) const CONNECTIONS: u64 = 10;
/// What `setup` may touch.
const TOUCHED: [&str; 9] = [
    "/etc/systemd",
    "/etc/polkit-1",
    "/etc/tmpfiles.d",
    "/etc/alcedo",
    "/etc/passwd",
    "/etc/group",
    "/srv",
    "/usr/local",
    "/run/alcedo",
];

/// A VPS with one app; nothing is deployed yet.
pub(crate) struct Vps {
    pub(crate) host: Host,
}

impl Vps {
    /// A host with the two programs and the app's sources, as it comes from its provider; `None`: not on this machine.
    pub(crate) fn bare(settings: &str) -> Option<Self> {
        if let Some(missing) = lab::missing() {
            xtask::skipped(&missing);
            return None;
        }
        let host = Host::boot("vps").unwrap();
        host.put(Path::new(env!("CARGO_BIN_EXE_alcedo")), "/opt/alcedo", 0o755).unwrap();
        host.put(xtask_program(), "/opt/xtask", 0o755).unwrap();
        host.must(&["systemctl", "disable", "--quiet", "--now", "nginx"]).unwrap();
        let vps = Self { host };
        vps.write("one", "", settings);
        Some(vps)
    }

    /// The same after `setup`.
    pub(crate) fn prepared(settings: &str) -> Option<Self> {
        let vps = Self::bare(settings)?;
        let run = vps.host.run(&["/opt/alcedo", "setup", "-C", SOURCE]).unwrap();
        assert_eq!(run.code, Some(0), "setup: {}", words(&run));
        Some(vps)
    }

    /// The next version.
    pub(crate) fn write(&self, version: &str, flags: &str, settings: &str) {
        let bake = if settings.contains("bake.time") { "" } else { "bake.time = \"0s\"" };
        let health = if settings.contains("health.") {
            ""
        } else {
            "health.path = \"/healthz\"\nhealth.release = \"json:/release\""
        };
        let runner = if settings.contains("runner = ") { "" } else { "runner = \"systemd\"" };
        let text = format!(
            "app = \"web\"
{runner}
release.source = \"src\"
web.command = \"/opt/xtask app --port {{port}} --release {{release}} {flags}\"
router.listen = [\"127.0.0.1:{PORT}\"]
{health}
{bake}
{settings}
"
        );
        self.host.write(&format!("{SOURCE}/alcedo.toml"), &text).unwrap();
        self.host.write(&format!("{SOURCE}/src/version"), version).unwrap();
    }

    pub(crate) fn alcedo(&self, args: &[&str]) -> Run {
        let argv: Vec<&str> = ["/usr/local/bin/alcedo", "-C", SOURCE]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        self.host.run(&argv).unwrap()
    }

    pub(crate) fn deploy(&self) -> Run {
        let run = self.alcedo(&["deploy"]);
        let log = || self.host.run(&["journalctl", "-n", "40", "--no-pager"]).unwrap().stdout;
        assert_eq!(run.code, Some(0), "deploy: {}\n{}", words(&run), log());
        run
    }

    pub(crate) fn status(&self) -> Value {
        let run = self.alcedo(&["status", "--json"]);
        let all: Value =
            serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}", words(&run)));
        all["apps"][0].clone()
    }

    /// What is live: slot and release.
    pub(crate) fn active(&self) -> (String, String) {
        let status = self.status();
        let slot = status["active"].as_str().unwrap_or("none").to_owned();
        let release = status["slots"][&slot]["release"].as_str().unwrap_or("none").to_owned();
        (slot, release)
    }

    pub(crate) fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let found = poll_until(SOON, || Some(self.status()).filter(&is));
        let log = || {
            let journal = self.host.run(&["journalctl", "-b", "-n", "60", "--no-pager"]).unwrap();
            let nginx = self.host.run(&["tail", "-n", "20", "/var/log/nginx/error.log"]).unwrap();
            journal.stdout + &nginx.stdout
        };
        found.unwrap_or_else(|| panic!("never seen: {what}; status: {}\n{}", self.status(), log()))
    }

    /// Load that sees whatever a user on the host would see.
    pub(crate) fn load(&self) -> Load {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        let target = Target { address, host: address.to_string(), dialect: Dialect::Kit };
        let shape = Shape::Closed { connections: 8, slow: 2 };
        let load = self.host.inside(|| Load::start(target, shape)).unwrap().unwrap();
        poll_until(SOON, || (load.answered() + load.lost() > 100).then_some(())).unwrap();
        load
    }

    /// What systemd says of a unit, for people: tests may read it.
    pub(crate) fn show(&self, unit: &str, property: &str) -> String {
        let property = format!("--property={property}");
        let run = self.host.must(&["systemctl", "show", "--value", &property, unit]).unwrap();
        run.trim().to_owned()
    }

    /// Every file that `setup` may touch, with owner, mode, size and time.
    pub(crate) fn fingerprint(&self) -> String {
        let find: Vec<&str> = ["find"]
            .into_iter()
            .chain(TOUCHED)
            .chain(["-printf", "%p %m %u %g %s %T@\n"])
            .collect();
        let mut lines: Vec<String> =
            self.host.run(&find).unwrap().stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines.join("\n")
    }
}

#[test]
fn prepared_host_deploys_twice_and_rolls_back_without_losing_a_request() {
    let Some(vps) = Vps::prepared("") else { return };
    vps.deploy();
    let (slot, one) = vps.active();
    assert_eq!(slot, "blue");
    let load = vps.load();
    let before = vps.show("web@blue.service", "MainPID");
    vps.write("two", "", "");
    vps.deploy();
    let (slot, two) = vps.active();
    assert_eq!(slot, "green");
    let run = vps.alcedo(&["rollback"]);
    says(&run, 0, &["switch", &one]);
    assert_eq!(vps.active(), ("blue".to_owned(), one.clone()));
    // A flip, not a boot: the process is the one that ran before the second deploy.
    assert_eq!(vps.show("web@blue.service", "MainPID"), before);
    let tally = served(load, &[&one, &two]);
    assert!(tally.ok > 500, "{} requests under the deploys", tally.ok);
    // Nothing of it runs as root, and the app is not the daemon's user.
    for (unit, user) in [("alcedo", "alcedo"), ("alcedo-proxy", "alcedo"), ("web@blue", "web")] {
        assert_eq!(vps.show(&format!("{unit}.service"), "User"), user);
    }
    let logs = vps.alcedo(&["logs", "-n", "5"]);
    assert_eq!(logs.code, Some(0), "{}", words(&logs));
}

#[test]
fn reboot_brings_back_what_was_live_and_no_retired_slot() {
    let Some(mut vps) = Vps::prepared("bake.keep_warm = \"forever\"") else { return };
    vps.deploy();
    let (_, one) = vps.active();
    vps.write("two", "", "bake.keep_warm = \"forever\"");
    vps.deploy();
    let live = vps.active();
    assert_eq!(live.0, "green");
    // Both were up: both are back, the same one is live, and nobody was asked.
    vps.host.reboot().unwrap();
    let status = vps.until("blue warm, green live after the reboot", |status| {
        status["healthy"] == true && status["slots"]["blue"]["state"] == "warm"
    });
    assert_eq!(status["active"], "green");
    served(vps.load(), &[&live.1]);
    says(&vps.alcedo(&["retire"]), 0, &["blue"]);
    vps.host.reboot().unwrap();
    vps.until("green live after the second reboot", |status| status["healthy"] == true);
    assert_eq!(vps.active(), live);
    assert_eq!(vps.show("web@blue.service", "ActiveState"), "inactive");
    served(vps.load(), &[&live.1]);
    // The retired release is still there to be gone back to.
    says(&vps.alcedo(&["rollback"]), 0, &[&one]);
    assert_eq!(vps.active().1, one);
}

#[test]
fn daemon_killed_in_a_deploy_ends_it_and_the_live_slot_serves() {
    let Some(vps) = Vps::prepared("") else { return };
    vps.deploy();
    let live = vps.active();
    let load = vps.load();
    vps.write("two", "--late-ms 3000", "");
    says(&vps.alcedo(&["deploy", "--detach"]), 0, &[]);
    vps.until("the new slot is started", |status| {
        status["slots"]["green"]["processes"][0]["pid"].is_number()
    });
    let daemon = vps.show("alcedo.service", "MainPID");
    vps.host.must(&["kill", "-9", &daemon]).unwrap();
    vps.until("the deploy is over", |status| status["deploy"].is_null());
    assert_eq!(vps.active(), live);
    let down = poll_until(SOON, || {
        (vps.show("web@green.service", "ActiveState") == "inactive").then_some(())
    });
    down.expect("what the deploy had started is stopped");
    served(load, &[&live.1]);
    // And the host is as good as before.
    vps.write("three", "", "");
    vps.deploy();
    assert_eq!(vps.active().0, "green");
}

#[test]
fn setup_shows_everything_first_changes_nothing_twice_and_can_be_taken_back() {
    let Some(vps) =
        Vps::bare("systemd.hardening = \"strict\"\nweb.limits = { memory = \"300MiB\" }")
    else {
        return;
    };
    let setup = |args: &[&str]| {
        let argv: Vec<&str> = ["/opt/alcedo", "-C", SOURCE, "setup"]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        vps.host.run(&argv).unwrap()
    };
    let before = vps.fingerprint();
    let run = setup(&["--dry-run"]);
    says(
        &run,
        0,
        &["/etc/systemd/system/web@.service", "+ ExecStart=", "$ useradd", "Nothing was changed"],
    );
    assert_eq!(vps.fingerprint(), before, "a dry run changes nothing");
    says(&setup(&[]), 0, &["Privileges used", "root: made the user web", "daemon-reload"]);
    let prepared = vps.fingerprint();
    says(&setup(&[]), 0, &["nothing was changed", "Privileges used: none"]);
    assert_eq!(vps.fingerprint(), prepared, "a second setup changes nothing");
    assert_eq!(vps.show("web@blue.service", "MemoryMax"), (300 << 20).to_string());
    vps.deploy();
    let (_, one) = vps.active();
    // What changes with `setup` is neither ignored nor mixed into a deploy.
    vps.write("two", "", "web.stop = { timeout = \"3s\" }");
    says(&vps.alcedo(&["deploy"]), 2, &["web@blue.service.d/alcedo.conf", "sudo alcedo setup"]);
    says(&setup(&["--remove"]), 2, &["web@blue.service", "-y"]);
    served(vps.load(), &[&one]);
    says(&setup(&["--remove", "-y"]), 0, &["web@.service: gone", "kept: the user web"]);
    for gone in ["/etc/systemd/system/web@.service", "/etc/systemd/system/alcedo.service"] {
        assert!(!vps.host.path(gone).exists(), "{gone} is still there");
    }
    assert!(vps.host.path("/srv/web/releases").join(&one).is_dir(), "releases stay");
}

#[test]
fn daemon_may_start_its_own_units_and_no_others() {
    let Some(vps) = Vps::prepared("") else { return };
    let as_daemon = |argv: &[&str]| {
        let all: Vec<&str> = ["setpriv", "--reuid=alcedo", "--regid=alcedo", "--init-groups"]
            .into_iter()
            .chain(argv.iter().copied())
            .collect();
        vps.host.run(&all).unwrap().code
    };
    assert_eq!(as_daemon(&["systemctl", "--no-ask-password", "stop", "web@blue.service"]), Some(0));
    assert_ne!(as_daemon(&["systemctl", "--no-ask-password", "stop", "ssh.service"]), Some(0));
    assert_ne!(as_daemon(&["systemctl", "--no-ask-password", "daemon-reload"]), Some(0));
    assert_eq!(vps.show("ssh.service", "ActiveState"), "active");
}

#[test]
fn app_without_a_release_field_is_proved_by_its_unit_and_a_crash_is_told() {
    let Some(vps) = Vps::prepared("health.path = \"/healthz\"") else { return };
    let run = vps.deploy();
    says(&run, 0, &["proved by the unit"]);
    let live = vps.active();
    let load = vps.load();
    vps.write("two", "--no-such-flag", "health.path = \"/healthz\"\nhealth.deadline = \"20s\"");
    says(&vps.alcedo(&["deploy"]), 1, &["FAIL", "probe", "no-such-flag", "Live: blue"]);
    assert_eq!(vps.active(), live);
    served(load, &[&live.1]);
}

#[test]
fn app_writes_what_is_shared_and_neither_its_release_nor_what_is_alcedos() {
    let settings = "shared.dirs = [\"uploads\"]
shared.files = [\".env\"]
release.writable = [\"tmp\"]
release.prepare = \"test -n $HOME && touch $HOME/cached && echo prepared > made\"
env.APP_LOG_DIR = \"uploads\"";
    let Some(vps) = Vps::bare(settings) else { return };
    vps.host.write(&format!("{SOURCE}/src/.env"), "KEY=planted\n").unwrap();
    vps.host.write(&format!("{SOURCE}/src/uploads/first"), "seeded\n").unwrap();
    vps.host.must(&["/opt/alcedo", "setup", "-C", SOURCE]).unwrap();
    vps.deploy();
    let (_, one) = vps.active();
    served(vps.load(), &[&one]);
    let release = format!("/srv/web/releases/{one}");
    let as_user = |user: &str, argv: &[&str]| {
        let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
        let all: Vec<&str> = ["setpriv", &uid, &gid, "--init-groups"]
            .into_iter()
            .chain(argv.iter().copied())
            .collect();
        vps.host.run(&all).unwrap().code
    };
    let found = vps.host.must(&["find", "/srv/web/shared/uploads", "-user", "web"]).unwrap();
    assert!(found.contains("app-"), "the app wrote nothing into what is shared: {found}");
    let at = |name: &str| format!("{release}/{name}");
    for readable in ["made", ".env", "version"] {
        assert_eq!(as_user("web", &["cat", &at(readable)]), Some(0), "{readable}");
    }
    for (path, may) in [
        (at("tmp/x"), true),
        ("/srv/web/shared/uploads/first".to_owned(), true),
        (at("evil"), false),
        (at("version"), false),
        ("/srv/web/evil".to_owned(), false),
        ("/srv/web/shared/evil".to_owned(), false),
    ] {
        // `tee -a` writes through an open for writing, as any program does.
        let done = as_user("web", &["tee", "-a", &path]) == Some(0);
        assert_eq!(done, may, "writing {path}");
    }
    assert_ne!(as_user("web", &["ls", "/var/lib/alcedo"]), Some(0), "the journal is alcedo's");
    assert_ne!(as_user("www-data", &["ls", "/srv/web"]), Some(0), "releases are the app's");
    assert_ne!(as_user("web", &["cat", "/etc/alcedo/system"]), Some(0), "apps are no clients");
}

#[test]
fn proxy_and_daemon_start_again_without_losing_a_request() {
    let Some(vps) = Vps::prepared("") else { return };
    vps.deploy();
    let (_, one) = vps.active();
    let load = vps.load();
    for unit in ["alcedo.service", "alcedo-proxy.service"] {
        let before = (vps.show(unit, "MainPID"), load.answered());
        vps.host.must(&["systemctl", "restart", unit]).unwrap();
        assert_ne!(vps.show(unit, "MainPID"), before.0);
        poll_until(SOON, || (load.answered() > before.1 + 500).then_some(())).unwrap();
    }
    served(load, &[&one]);
    vps.until("healthy again", |status| status["healthy"] == true);
}

/// A program that a daemon had started and left is killed by the next one; in a container its mark means another's.
#[test]
fn daemon_of_the_machine_leaves_programs_in_containers_alone() {
    let Some(vps) = Vps::bare("") else { return };
    let mut marked = vps
        .host
        .command(&["env", "ALCEDO_TASK=999999-1-0", "sleep", "600"])
        .unwrap()
        .spawn()
        .unwrap();
    let runs = || vps.host.run(&["pgrep", "-x", "sleep"]).unwrap().code == Some(0);
    poll_until(SOON, || runs().then_some(())).expect("the marked program runs");
    App::live();
    assert!(runs(), "the machine's daemon killed a program of the container");
    marked.kill().ok();
    marked.wait().ok();
}
