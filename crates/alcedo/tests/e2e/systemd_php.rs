//! S0's own app: PHP behind php-fpm and nginx, a pool per slot.

use crate::app::{App, says, served, words};
use crate::systemd::{SOURCE, Vps};
use serde_json::Value;
use xtask::load::{Dialect, Load};
use xtask::packages::{self, Tool};

/// Speaks like `xtask app`, from `index.php` alone.
const INDEX: &str = r#"<?php
$release = getenv('ALCEDO_RELEASE');
$version = trim(file_get_contents(__DIR__ . '/../version'));
if (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) === '/healthz') {
    header('Content-Type: application/json');
    echo json_encode(['status' => 'ok', 'release' => $release, 'version' => $version]);
    exit;
}
$at = hrtime(true);
$body = file_get_contents('php://input');
usleep(1000 * (int) ($_GET['ms'] ?? 0));
$sum = array_sum(array_map('ord', str_split($body)));
echo $_SERVER['REQUEST_METHOD'] === 'POST'
    ? "$release {$_GET['n']} $at " . strlen($body) . " $sum\n"
    : "$release " . ($_GET['n'] ?? '') . " $at\n";
"#;
const SETTINGS: &str = "release.source = \"src\"
health.path = \"/healthz\"
health.release = \"json:/release\"
health.interval = \"50ms\"
bake.time = \"0s\"
router.kind = \"nginx\"
";

/// What `write` puts there, whoever has the directory.
fn files(version: &str) -> [(&'static str, String); 4] {
    [
        ("src/version", version.to_owned()),
        ("src/public/index.php", INDEX.to_owned()),
        ("src/public/style.css", format!("/* {version} */\n")),
        ("src/public/.env", "KEY=planted\n".to_owned()),
    ]
}

fn write(vps: &Vps, version: &str, more: &str) {
    let text = format!(
        "app = \"web\"\nrunner = \"systemd\"\nsystemd.hardening = \"strict\"\nweb.php_fpm = {{ root = \"public\", children = 4 }}\n\
         router.listen = [\"127.0.0.1:8080\"]\n{SETTINGS}{more}\n"
    );
    vps.host.write(&format!("{SOURCE}/alcedo.toml"), &text).unwrap();
    for (path, text) in files(version) {
        vps.host.write(&format!("{SOURCE}/{path}"), &text).unwrap();
    }
}

fn prepared() -> Option<Vps> {
    let vps = Vps::bare("")?;
    vps.host.must(&["systemctl", "enable", "--quiet", "--now", "nginx"]).unwrap();
    write(&vps, "one", "");
    let run = vps.host.run(&["/opt/alcedo", "-C", SOURCE, "setup"]).unwrap();
    says(&run, 0, &["sites-available/alcedo-web"]);
    Some(vps)
}

fn get(vps: &Vps, path: &str) -> String {
    let url = format!("http://127.0.0.1:8080{path}");
    vps.host.must(&["curl", "-sS", "-w", "\n%{http_code}", &url]).unwrap()
}

/// S0-4, S0-5, S0-21, S0-23, S0-24, S0-31: own pool, own socket, fresh opcache, asked before it gets traffic.
#[test]
fn pool_for_each_slot_is_deployed_twice_and_rolled_back_without_losing_a_request() {
    let Some(mut vps) = prepared() else { return };
    let run = vps.deploy();
    says(&run, 0, &["php-fpm with 4 children", "/healthz 200", "proved by the app"]);
    let (slot, one) = vps.active();
    assert_eq!(slot, "blue");
    assert!(get(&vps, "/style.css").contains("/* one */"));
    let load = vps.load();
    write(&vps, "two", "");
    vps.deploy();
    let (slot, two) = vps.active();
    assert_eq!(slot, "green");
    // Files and code are those of one release, at once.
    assert!(get(&vps, "/style.css").contains("/* two */"));
    assert!(get(&vps, "/healthz").contains("\"version\":\"two\""));
    vps.until("no deploy under way", |status| status["deploy"].is_null());
    let pool = vps.host.must(&["pgrep", "-c", "-u", "web", "php-fpm"]).unwrap();
    assert_eq!(pool.trim(), "10", "two masters with four children each");
    let pid = vps.show("web@blue.service", "MainPID");
    says(&vps.alcedo(&["rollback"]), 0, &["switch", &one]);
    assert_eq!(vps.show("web@blue.service", "MainPID"), pid, "a flip, not a boot");
    assert!(get(&vps, "/style.css").contains("/* one */"));
    served(load, &[&one, &two]);
    for (path, status) in [("/.env", "404"), ("/nowhere.php", "404"), ("/any/page", "200")] {
        assert!(get(&vps, path).ends_with(status), "{path}: {}", get(&vps, path));
    }
    // Each slot has its own socket, which only the app's group gets to, and its pool is the app's user.
    let sockets = vps.host.must(&["stat", "-c", "%a %G", "/run/alcedo/sockets/web-blue/web.sock"]);
    assert_eq!(sockets.unwrap().trim(), "660 web");
    vps.host.reboot().unwrap();
    vps.until("healthy after the reboot", |status| status["healthy"] == true);
    assert_eq!(vps.active(), ("blue".to_owned(), one.clone()));
    served(vps.load(), &[&one]);
}

/// S0-25: a pool that does not answer as it should gets no traffic, and what PHP said is shown.
#[test]
fn pool_that_fails_its_check_leaves_the_live_one_alone() {
    let Some(vps) = prepared() else { return };
    vps.deploy();
    let live = vps.active();
    let load = vps.load();
    write(&vps, "two", "health.deadline = \"3s\"");
    let broken = "<?php throw new Exception('planted');";
    vps.host.write(&format!("{SOURCE}/src/public/index.php"), broken).unwrap();
    let run = vps.alcedo(&["deploy"]);
    says(&run, 1, &["FAIL", "/healthz: 500; expected 200", "planted", "Live: blue"]);
    assert_eq!(vps.active(), live);
    served(load, &[&live.1]);
    let logs = vps.alcedo(&["logs", "--slot", "green"]);
    assert!(words(&logs).contains("planted"), "{}", words(&logs));
}

/// The same with processes of one's own: a port for each slot, since nginx's user and ours share no directory.
#[test]
fn pool_of_the_process_runner_is_switched_without_losing_a_request() {
    let fpm = Tool { program: "php-fpm8.2", package: "php8.2-fpm", needed_for: "php-fpm" };
    if !packages::ensure(&[fpm]).is_empty() {
        return xtask::skipped("php-fpm is not installed (Debian package php8.2-fpm)");
    }
    let nginx = xtask::nginx::Nginx::start().unwrap();
    let app = App::behind(&nginx);
    let write = |version: &str| {
        let text = format!(
            "app = \"web\"\nweb.php_fpm = {{ root = \"public\", children = 3, version = \"8.2\" }}\n{}\n\
             router.listen = [\"{}\"]\n{SETTINGS}",
            app.ports(),
            app.address
        );
        std::fs::write(app.toml(), text).unwrap();
        std::fs::create_dir_all(app.dir.join("src/public")).unwrap();
        for (path, text) in files(version) {
            std::fs::write(app.dir.join(path), text).unwrap();
        }
    };
    // nginx's workers have to get to the files that they serve: where they cannot, the deploy says so.
    let apps = app.home.path().join("apps");
    let set_mode = |mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&apps, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::create_dir_all(&apps).unwrap();
    set_mode(0o700);
    write("zero");
    let run = app.alcedo(&["deploy"]);
    let said = words(&run);
    assert!(said.contains("FAIL  verify") && said.contains("answers 404"), "{said}");
    set_mode(0o755);
    write("one");
    app.deploy();
    let (_, one) = app.active();
    let load: Load = app.load_of(Dialect::Kit);
    write("two");
    app.deploy();
    let (_, two) = app.active();
    assert_ne!(one, two);
    app.until("no deploy under way", |status: &Value| status["deploy"].is_null());
    says(&app.alcedo(&["rollback"]), 0, &["switch", &one]);
    served(load, &[&one, &two]);
}
