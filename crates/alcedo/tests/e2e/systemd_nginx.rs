//! A VPS whose router is its own nginx: `setup` writes the site as root, deploys switch it without.

use crate::app::{says, served, words};
use crate::systemd::{SOURCE, Vps};
use xtask::home::Run;

const FLAG: &str = "router.kind = \"nginx\"";
const INCLUDE: &str = "router.kind = \"nginx\"\nrouter.form = \"include\"";

/// With Debian's nginx running as Debian set it up.
fn bare(settings: &str) -> Option<Vps> {
    let vps = Vps::bare(settings)?;
    vps.host.must(&["systemctl", "enable", "--quiet", "--now", "nginx"]).unwrap();
    Some(vps)
}

fn prepared(settings: &str) -> Option<Vps> {
    let vps = bare(settings)?;
    says(&setup(&vps, &[]), 0, &["nginx", "Privileges used"]);
    Some(vps)
}

fn setup(vps: &Vps, args: &[&str]) -> Run {
    let fixed = ["/opt/alcedo", "-C", SOURCE, "setup"];
    let argv: Vec<&str> = fixed.into_iter().chain(args.iter().copied()).collect();
    vps.host.run(&argv).unwrap()
}

/// What the host itself answers, past any app.
fn page(vps: &Vps) -> String {
    vps.host.must(&["curl", "-sS", "-i", "http://127.0.0.1:80/"]).unwrap()
}

fn headless(page: &str) -> &str {
    page.split_once("\r\n\r\n").map_or(page, |(_, body)| body)
}

fn as_daemon(vps: &Vps, argv: &[&str]) -> Option<i32> {
    let fixed = ["setpriv", "--reuid=alcedo", "--regid=alcedo", "--init-groups"];
    let all: Vec<&str> = fixed.into_iter().chain(argv.iter().copied()).collect();
    vps.host.run(&all).unwrap().code
}

/// The pids of nginx's workers: a reload makes new ones.
fn workers(vps: &Vps) -> String {
    vps.host.must(&["pgrep", "-u", "www-data", "nginx"]).unwrap()
}

/// S0-12, S0-13, S0-18, S1-40: one flag, no reload, no root, nothing lost; and after a reboot the same slot.
#[test]
fn nginx_is_set_up_once_and_then_switched_by_a_daemon_without_root() {
    let Some(mut vps) = prepared(FLAG) else { return };
    vps.deploy();
    let (slot, one) = vps.active();
    assert_eq!(slot, "blue");
    let (load, before) = (vps.load(), workers(&vps));
    vps.write("two", "", FLAG);
    vps.deploy();
    let (slot, two) = vps.active();
    assert_eq!(slot, "green");
    vps.until("no deploy under way", |status| status["deploy"].is_null());
    says(&vps.alcedo(&["rollback"]), 0, &["switch", &one]);
    assert_eq!(vps.active(), ("blue".to_owned(), one.clone()));
    served(load, &[&one, &two]);
    assert_eq!(workers(&vps), before, "nothing was reloaded");
    vps.write("three", "", FLAG);
    vps.deploy();
    let live = vps.active();
    assert_eq!(live.0, "green");
    vps.host.reboot().unwrap();
    let status = vps.until("healthy after the reboot", |status| status["healthy"] == true);
    assert_eq!(status["router"]["kind"], "nginx", "{status}");
    assert_eq!(vps.active(), live);
    served(vps.load(), &[&live.1]);
}

/// S0-38, S0-D1, S1-18: a diff first, files of our own only, and the host back as it was.
#[test]
fn setup_of_nginx_is_shown_first_and_can_be_taken_back() {
    let Some(vps) = bare(FLAG) else { return };
    let (before, listing) = (page(&vps), |vps: &Vps| {
        vps.host.must(&["find", "/etc/nginx", "-printf", "%p %s %T@\n"]).unwrap()
    });
    let files = listing(&vps);
    let site = "/etc/nginx/sites-available/alcedo-web";
    says(&setup(&vps, &["--dry-run"]), 0, &[site, "+ upstream alcedo_web.web.blue", "nginx -t"]);
    assert_eq!(listing(&vps), files, "a dry run changes nothing");
    says(&setup(&vps, &[]), 0, &[site, "nginx reload"]);
    says(&setup(&vps, &[]), 0, &["nothing was changed"]);
    vps.deploy();
    let (_, one) = vps.active();
    served(vps.load(), &[&one]);
    // What the site is made from changes with `setup`, which is told, and the live release serves on.
    let wider = format!("{FLAG}\nrouter.max_body = \"7MiB\"");
    vps.write("two", "", &wider);
    says(&vps.alcedo(&["deploy"]), 2, &[site, "sudo alcedo setup"]);
    says(&setup(&vps, &[]), 0, &[site]);
    vps.deploy();
    // The daemon may have its own log begun anew, and nothing else of nginx.
    let systemctl =
        |verb: &str, unit: &str| as_daemon(&vps, &["systemctl", "--no-ask-password", verb, unit]);
    assert_eq!(systemctl("start", "alcedo-nginx-web.service"), Some(0));
    assert!(vps.host.path("/var/log/alcedo/web/access.log.1").exists());
    for verb in ["reload", "stop", "kill"] {
        assert_ne!(systemctl(verb, "nginx.service"), Some(0), "{verb} of nginx");
    }
    says(&setup(&vps, &["--remove", "-y"]), 0, &[&format!("{site}: gone"), "web@.service: gone"]);
    assert_eq!(headless(&page(&vps)), headless(&before), "it serves what it served");
    let now = vps.host.must(&["find", "/etc/nginx", "-type", "f"]).unwrap();
    assert!(!now.contains("alcedo"), "{now}");
    vps.host.must(&["nginx", "-t"]).unwrap();
    assert!(vps.host.path("/srv/web/releases").join(&one).is_dir(), "releases stay");
}

/// S0-D1, S0-D4: what is wrong with nginx is told before anything is changed.
#[test]
fn nginx_that_is_broken_or_down_stops_setup_before_it_changes_anything() {
    let Some(vps) = bare(FLAG) else { return };
    let before = vps.fingerprint();
    vps.host.write("/etc/nginx/sites-enabled/old", "server { nonsense; }\n").unwrap();
    says(&setup(&vps, &[]), 1, &["/etc/nginx/sites-enabled/old:1 is broken", "nginx -t"]);
    vps.host.must(&["rm", "/etc/nginx/sites-enabled/old"]).unwrap();
    vps.host.must(&["systemctl", "stop", "nginx"]).unwrap();
    says(&setup(&vps, &[]), 1, &["find the running nginx", "systemctl start nginx"]);
    assert_eq!(vps.fingerprint(), before, "nothing was changed");
    vps.host.must(&["systemctl", "start", "nginx"]).unwrap();
    says(&setup(&vps, &[]), 0, &["Privileges used"]);
}

/// `-y` answers "go on?" and deletes nothing that cannot be brought back.
#[test]
fn purge_wants_the_name_of_the_app_and_leaves_nothing_of_it() {
    let Some(vps) = prepared(&format!("{FLAG}\nshared.dirs = [\"uploads\"]")) else { return };
    vps.deploy();
    let (_, one) = vps.active();
    for wrong in [&["--purge", "-y"][..], &["--purge", "--confirm", "wep"]] {
        says(&setup(&vps, wrong), 2, &["wants the app's name", "--confirm web"]);
        served(vps.load(), &[&one]);
    }
    says(&setup(&vps, &["--purge", "--dry-run"]), 0, &["/srv/web/releases: would go, for good"]);
    served(vps.load(), &[&one]);
    says(&setup(&vps, &["--purge", "--confirm", "web"]), 0, &["/srv/web/shared: gone, for good"]);
    for gone in ["/srv/web", "/var/lib/alcedo/router/web", "/var/log/alcedo/web"] {
        assert!(!vps.host.path(gone).exists(), "{gone} is still there");
    }
    assert_ne!(vps.host.run(&["id", "web"]).unwrap().code, Some(0), "the user is gone");
}

/// The form that reloads: by a rule for that one unit, and it says what it costs.
#[test]
fn reload_form_reloads_nginx_through_systemd_without_root() {
    let Some(vps) = prepared(INCLUDE) else { return };
    vps.deploy();
    let (_, one) = vps.active();
    vps.write("two", "", INCLUDE);
    says(&vps.alcedo(&["deploy"]), 2, &["NOT zero-downtime", "router.reload"]);
    let run = vps.alcedo(&["deploy", "--accept", "router.reload"]);
    says(&run, 0, &["switch"]);
    let (_, two) = vps.active();
    vps.until("no deploy under way", |status| status["deploy"].is_null());
    says(&vps.alcedo(&["rollback"]), 0, &[&one]);
    assert_eq!(vps.active().1, one);
    served(vps.load(), &[&one]);
    // Somebody else's broken site stops the switch and nothing else.
    vps.until("no deploy under way", |status| status["deploy"].is_null());
    vps.host.write("/etc/nginx/sites-enabled/old", "server { nonsense; }\n").unwrap();
    let run = vps.alcedo(&["deploy", &two, "--retry", "--accept", "router.reload"]);
    assert_eq!(run.code, Some(1), "{}", words(&run));
    assert_eq!(vps.active().1, one);
    served(vps.load(), &[&one]);
}
