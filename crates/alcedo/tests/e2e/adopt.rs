//! Hosts that were made by hand as the posts say (S0, S1, S3), on a real systemd with the distribution's nginx: adopted,
//! deployed to twice, rolled back and handed back, under load all the while.

use crate::app::{says, served, words, xtask_program};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use xtask::home::{Run, poll_until};
use xtask::lab::{self, Host};
use xtask::load::{Dialect, Load, Shape, Target};

const SOON: Duration = Duration::from_secs(45);
/// Where `alcedo.toml` is written: sources that say nothing, so that all comes from the host.
const DESK: &str = "/opt/desk";
/// Release of the hand-made process, as it says itself.
const BY_HAND: &str = "by-hand";

/// The lines of S0's deploy that switch.
const SCRIPT: &str = "#!/bin/bash\nsed -i 's/9001/9002/' /etc/nginx/conf.d/example-upstream.conf\nnginx -t && systemctl reload nginx\n";

/// A host with one hand-made site.
struct HandMade {
    host: Host,
    domain: &'static str,
}

impl HandMade {
    /// The distribution's nginx, and the posts' files; `None`: not on this machine.
    fn host(domain: &'static str, files: &[(&str, String)], remove: &[&str]) -> Option<Self> {
        if let Some(missing) = lab::missing() {
            xtask::skipped(&missing);
            return None;
        }
        let host = Host::boot("hand").unwrap();
        host.put(Path::new(env!("CARGO_BIN_EXE_alcedo")), "/opt/alcedo", 0o755).unwrap();
        host.put(xtask_program(), "/opt/xtask", 0o755).unwrap();
        host.must(&["mkdir", "-p", DESK]).unwrap();
        for path in remove {
            host.must(&["rm", "-f", path]).unwrap();
        }
        for (path, text) in files {
            host.write(path, text).unwrap();
        }
        Some(Self { host, domain })
    }

    /// What the post types last: units first, then nginx.
    fn start(&self, units: &[&str]) {
        self.host.must(&["systemctl", "daemon-reload"]).unwrap();
        if !units.is_empty() {
            let argv: Vec<&str> = ["systemctl", "enable", "--quiet", "--now"]
                .into_iter()
                .chain(units.iter().copied())
                .collect();
            self.host.must(&argv).unwrap();
        }
        self.host.must(&["nginx", "-t"]).unwrap();
        self.host.must(&["systemctl", "restart", "nginx"]).unwrap();
    }

    fn alcedo(&self, args: &[&str]) -> Run {
        let argv: Vec<&str> =
            ["/opt/alcedo", "-C", DESK].into_iter().chain(args.iter().copied()).collect();
        self.host.run(&argv).unwrap()
    }

    fn load(&self, shape: Shape) -> Load {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        let target = Target { address, host: self.domain.to_owned(), dialect: Dialect::Kit };
        let load = self.host.inside(|| Load::start(target, shape)).unwrap().unwrap();
        poll_until(SOON, || (load.answered() + load.lost() > 50).then_some(())).unwrap();
        load
    }

    /// Who answers the site's users now.
    fn seen(&self) -> Vec<String> {
        let load = self.load(Shape::Fresh { connections: 2 });
        load.stop().unwrap().releases.into_keys().collect()
    }

    /// The same, once anybody answers at all.
    fn until_seen(&self) -> Vec<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        let target = Target { address, host: self.domain.to_owned(), dialect: Dialect::Kit };
        let shape = Shape::Fresh { connections: 1 };
        let load = self.host.inside(|| Load::start(target, shape)).unwrap().unwrap();
        poll_until(SOON, || (load.answered() > 10).then_some(())).expect("somebody answers");
        drop(load);
        self.seen()
    }

    fn read(&self, file: &str) -> String {
        self.host.must(&["cat", file]).unwrap()
    }

    fn toml(&self) -> String {
        std::fs::read_to_string(self.host.path(&format!("{DESK}/alcedo.toml"))).unwrap()
    }

    /// The whole story; `file` chooses the slot. Nothing is lost at any point of it.
    fn is_adopted_deployed_and_handed_back(&self, file: &str, wanted: &[&str]) {
        let before = self.read(file);
        assert_eq!(self.seen(), [BY_HAND]);
        // One reload each way closes idle connections: who keeps one through it sees that, as with every reload.
        let users = self.load(Shape::Fresh { connections: 4 });
        let run = self.alcedo(&["init", "--adopt"]);
        says(&run, 0, &["router.adopt", file, "Next: alcedo check"]);
        self.settle();
        says(&self.alcedo(&["check", "--local"]), 0, &[]);
        self.check_finds(file, wanted);
        let run = self.alcedo(&["setup", "--dry-run"]);
        says(&run, 0, &[file, "leads to alcedo's proxy", "Nothing was changed"]);
        assert_eq!(self.read(file), before);
        // S1-48: an edit that nginx has not read changes nothing, so it is proved.
        says(&self.alcedo(&["setup"]), 0, &["Privileges used", "reloaded nginx"]);
        says(&self.alcedo(&["setup"]), 0, &["nothing was changed"]);
        assert_eq!(self.seen(), [BY_HAND], "nothing is deployed yet");
        self.is_gone_on_with_after_a_crash(file);
        let kept = self.load(Shape::Closed { connections: 6, slow: 2 });
        let one = self.deploy("one");
        assert_eq!(self.seen(), [one.as_str()]);
        let two = self.deploy("two");
        assert_eq!(self.seen(), [two.as_str()]);
        says(&self.alcedo(&["rollback"]), 0, &["switch", &one]);
        assert_eq!(self.seen(), [one.as_str()]);
        assert!(self.ids(&[]).contains(&"adopt.hand-made-runs".to_owned()));
        served(kept, &[BY_HAND, &one, &two]);
        says(&self.alcedo(&["setup", "--remove", "-y"]), 0, &["as before"]);
        assert_eq!(self.read(file), before);
        assert_eq!(self.seen(), [BY_HAND]);
        served(users, &[BY_HAND, &one, &two]);
    }

    /// As after a crash before the last record: nobody takes it for done, and `setup` goes on. As after an edit by hand:
    /// nothing is written over.
    fn is_gone_on_with_after_a_crash(&self, file: &str) {
        let records = "/etc/alcedo/adopted/*.json";
        self.host
            .must(&["sh", "-c", &format!("sed -i 's/\"seen\"/\"awaited\"/' {records}")])
            .unwrap();
        says(&self.alcedo(&["deploy"]), 2, &[file, "sudo alcedo setup"]);
        says(&self.alcedo(&["setup"]), 0, &["reloaded nginx"]);
        let text = self.read(file);
        self.host.must(&["sh", "-c", "echo '# by hand' >> \"$0\"", file]).unwrap();
        says(&self.alcedo(&["setup"]), 1, &[file, "changed by hand"]);
        says(&self.alcedo(&["setup", "--remove", "-y"]), 1, &[file, "changed by hand"]);
        self.host.must(&["sh", "-c", "printf %s \"$1\" > \"$0\"", file, &text]).unwrap();
        assert_eq!(self.seen(), [BY_HAND]);
    }

    /// Before anything is set up, and by nobody but whoever types it.
    fn check_finds(&self, file: &str, wanted: &[&str]) {
        self.host.write("/srv/site/deploy.sh", SCRIPT).unwrap();
        let ids = self.ids(&["--bundle", "/tmp/report.txt"]);
        let always =
            ["script.edit-in-place", "script.no-lock", "journald.unlimited", "setup.missing"];
        for id in wanted.iter().chain(&always) {
            assert!(ids.iter().any(|found| found == id), "no {id} in {ids:?}");
        }
        // Somebody who may not read nginx's configuration is told so, and gets the rest.
        let argv =
            ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "/opt/alcedo"];
        let argv: Vec<&str> = argv.into_iter().chain(["-C", DESK, "check"]).collect();
        says(&self.host.run(&argv).unwrap(), 0, &["nginx.not-looked-at", "sudo alcedo check"]);
        let report = self.read("/tmp/report.txt");
        assert!(report.contains("nginx -T") && report.contains(file), "{report}");
        assert!(!report.contains("planted"), "a secret is in the report");
        says(
            &self.alcedo(&["check", "--bundle", "/tmp/report.txt"]),
            1,
            &["write /tmp/report.txt"],
        );
    }

    /// Findings of `check`, by id.
    fn ids(&self, more: &[&str]) -> Vec<String> {
        let args: Vec<&str> = ["check", "--json"].into_iter().chain(more.iter().copied()).collect();
        let run = self.alcedo(&args);
        let told: serde_json::Value =
            serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}", words(&run)));
        let found = told["findings"].as_array().unwrap().iter();
        found.filter_map(|finding| Some(finding["id"].as_str()?.to_owned())).collect()
    }

    /// What a person adds: how a release names itself, and no long observation in a test.
    fn settle(&self) {
        let text = format!(
            "{}\nhealth.release = \"json:/release\"\nbake.time = \"0s\"\nbake.keep_warm = \"forever\"\n",
            self.toml().replace(BY_HAND, "{release}").replace("# health.path", "health.path")
        );
        self.host.write(&format!("{DESK}/alcedo.toml"), &text).unwrap();
    }

    /// The next version; its release.
    fn deploy(&self, version: &str) -> String {
        let text = self.toml();
        let source =
            text.lines().find_map(|line| line.strip_prefix("release.source")).unwrap_or("= \".\"");
        let source = source.split('"').nth(1).unwrap();
        let dir =
            if source.starts_with('/') { source.to_owned() } else { format!("{DESK}/{source}") };
        // From inside: a link there leads nowhere from here.
        let script = "printf %s \"$1\" > \"$2\"";
        self.host.must(&["sh", "-c", script, "sh", version, &format!("{dir}/version")]).unwrap();
        let run = self.alcedo(&["deploy"]);
        let log = || self.host.run(&["journalctl", "-n", "40", "--no-pager"]).unwrap().stdout;
        assert_eq!(run.code, Some(0), "deploy: {}\n{}\n{}", words(&run), self.toml(), log());
        let status = self.alcedo(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
        let app = &status["apps"][0];
        let slot = app["active"].as_str().unwrap();
        app["slots"][slot]["release"].as_str().unwrap().to_owned()
    }
}

fn app(port: u16, more: &str) -> String {
    format!("/opt/xtask app --port {port} --release {BY_HAND}{more}")
}

const S0_UPSTREAM: &str = "/etc/nginx/conf.d/example-upstream.conf";

/// S0: a unit and a directory for each colour, one upstream file that `sed` edits.
fn s0() -> Option<HandMade> {
    let unit = |slot: &str, port| {
        format!(
            "[Unit]\nDescription=Example app ({slot})\nAfter=network.target\n\n[Service]\nType=simple\nUser=www-data\n\
             WorkingDirectory=/srv/www/example.com/{slot}\nEnvironment=API_KEY=planted\nExecStart={}\nRestart=on-failure\n\n[Install]\nWantedBy=multi-user.target\n",
            app(port, "")
        )
    };
    let files = [
        ("/etc/systemd/system/example-blue.service", unit("blue", 9001)),
        ("/etc/systemd/system/example-green.service", unit("green", 9002)),
        ("/srv/www/example.com/blue/version", "hand\n".to_owned()),
        ("/srv/www/example.com/green/version", "hand\n".to_owned()),
        (S0_UPSTREAM, "upstream example_app {\n    server 127.0.0.1:9001;  # blue is live\n}\n".to_owned()),
        (
            "/etc/nginx/sites-enabled/example.com",
            "server {\n    listen 80;\n    server_name example.com;\n\n    location / {\n        proxy_pass http://example_app;\n        \
             proxy_set_header Host $host;\n        proxy_set_header X-Real-IP $remote_addr;\n    }\n}\n"
                .to_owned(),
        ),
    ];
    let hand = HandMade::host("example.com", &files, &["/etc/nginx/sites-enabled/default"])?;
    hand.start(&["example-blue", "example-green"]);
    Some(hand)
}

#[test]
fn site_of_s0_with_an_edited_upstream_is_adopted_and_handed_back() {
    let Some(hand) = s0() else { return };
    // S0-D3, S0-D4, S1-D4.
    hand.is_adopted_deployed_and_handed_back(S0_UPSTREAM, &["nginx.no-keepalive", "nginx.upgrade"]);
}

/// S0-8: what nginx pointed at is what serves after a reboot, before the first deploy and after it.
#[test]
fn reboot_of_an_adopted_host_serves_what_it_served() {
    let Some(mut hand) = s0() else { return };
    says(&hand.alcedo(&["init", "--adopt"]), 0, &[]);
    // Plain `init` where the hand-made units run tells that it is not the same.
    let live = "/srv/www/example.com/blue";
    hand.host.write(&format!("{live}/Procfile"), "web: ./app --port $PORT\n").unwrap();
    let run = hand.host.run(&["/opt/alcedo", "-C", live, "init"]).unwrap();
    says(&run, 0, &["unit.hand-made", "example-blue.service", "init --adopt"]);
    hand.host.must(&["rm", &format!("{live}/Procfile"), &format!("{live}/alcedo.toml")]).unwrap();
    hand.settle();
    says(&hand.alcedo(&["setup"]), 0, &[]);
    hand.host.reboot().unwrap();
    assert_eq!(hand.until_seen(), [BY_HAND]);
    let one = hand.deploy("one");
    hand.host.reboot().unwrap();
    assert_eq!(hand.until_seen(), [one.as_str()]);
}

/// Killed at any moment of the take-over and of the hand-back, `setup` goes on where it was, and nobody notices.
#[test]
fn setup_killed_while_it_takes_over_or_hands_back_loses_nothing_and_goes_on() {
    let Some(hand) = s0() else { return };
    says(&hand.alcedo(&["init", "--adopt"]), 0, &[]);
    hand.settle();
    let whole = hand.toml();
    // Prepared first, so that the kills meet the take-over.
    let plain: String = whole
        .lines()
        .filter(|line| !line.starts_with("router.adopt"))
        .map(|line| format!("{line}\n"))
        .collect();
    hand.host.write(&format!("{DESK}/alcedo.toml"), &plain).unwrap();
    says(&hand.alcedo(&["setup"]), 0, &[]);
    hand.host.write(&format!("{DESK}/alcedo.toml"), &whole).unwrap();
    let before = hand.read(S0_UPSTREAM);
    let users = hand.load(Shape::Fresh { connections: 4 });
    let killed = |args: &[&str], after_ms: u32| {
        let after = format!("0.{after_ms:03}");
        let argv = ["timeout", "--signal=KILL", &after, "/opt/alcedo", "-C", DESK, "setup"];
        let argv: Vec<&str> = argv.into_iter().chain(args.iter().copied()).collect();
        hand.host.run(&argv).unwrap();
        assert_eq!(hand.seen(), [BY_HAND], "killed after {after} s");
    };
    for after_ms in [20, 40, 60, 80, 120, 160, 240] {
        killed(&[], after_ms);
    }
    says(&hand.alcedo(&["setup"]), 0, &[]);
    assert!(hand.read(S0_UPSTREAM).contains("Taken over by alcedo"));
    for after_ms in [20, 40, 60, 80, 120] {
        killed(&["--remove", "-y"], after_ms);
    }
    says(&hand.alcedo(&["setup", "--remove", "-y"]), 0, &[]);
    assert_eq!(hand.read(S0_UPSTREAM), before);
    served(users, &[BY_HAND]);
}

/// S1: a template unit, a port file for each colour, `current`, and an included variable.
#[test]
fn site_of_s1_with_an_included_variable_is_adopted_and_handed_back() {
    let unit = format!(
        "[Unit]\nDescription=Saltbox API (%i) - blue/green instance\nAfter=network.target\n\n[Service]\nType=simple\nUser=saltbox\n\
         Group=saltbox\nWorkingDirectory=/srv/saltbox/current/app\nEnvironmentFile=/etc/saltbox/saltbox-api-%i.env\n\
         ExecStart=/opt/xtask app \\\n  --port ${{PORT}} \\\n  --release {BY_HAND}\nKillSignal=SIGQUIT\nTimeoutStopSec=20\n\
         Restart=on-failure\nRestartSec=2\nNoNewPrivileges=true\nPrivateTmp=true\nProtectSystem=strict\nProtectHome=true\n\
         ReadWritePaths=/srv/saltbox\n\n[Install]\nWantedBy=multi-user.target\n"
    );
    let selector = "/etc/nginx/saltbox/api-upstream.conf";
    let files = [
        ("/etc/systemd/system/saltbox-api@.service", unit),
        ("/etc/saltbox/saltbox-api-blue.env", "PORT=9011\n".to_owned()),
        ("/etc/saltbox/saltbox-api-green.env", "PORT=9012\n".to_owned()),
        ("/srv/saltbox/releases/r2026-04-14/app/version", "hand\n".to_owned()),
        (selector, "set $saltbox_upstream http://127.0.0.1:9011;\n".to_owned()),
        (
            "/etc/nginx/sites-available/saltbox-api.conf",
            "server {\n    listen 80;\n    server_name api.saltbox.example;\n\n    include /etc/nginx/saltbox/api-upstream.conf;\n\n    \
             location / {\n        proxy_pass $saltbox_upstream;\n        proxy_http_version 1.1;\n        proxy_set_header Host $host;\n        \
             proxy_set_header X-Real-IP $remote_addr;\n        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n        \
             proxy_set_header X-Forwarded-Proto $scheme;\n\n        proxy_connect_timeout 3s;\n        proxy_read_timeout 60s;\n    }\n}\n"
                .to_owned(),
        ),
    ];
    let Some(hand) =
        HandMade::host("api.saltbox.example", &files, &["/etc/nginx/sites-enabled/default"])
    else {
        return;
    };
    let host = &hand.host;
    host.must(&[
        "useradd",
        "--system",
        "--home-dir",
        "/srv/saltbox",
        "--shell",
        "/usr/sbin/nologin",
        "saltbox",
    ])
    .unwrap();
    host.must(&["chown", "-R", "saltbox:saltbox", "/srv/saltbox"]).unwrap();
    host.must(&["ln", "-sfn", "/srv/saltbox/releases/r2026-04-14", "/srv/saltbox/current"])
        .unwrap();
    host.must(&[
        "ln",
        "-sfn",
        "/etc/nginx/sites-available/saltbox-api.conf",
        "/etc/nginx/sites-enabled/saltbox-api.conf",
    ])
    .unwrap();
    hand.start(&["saltbox-api@blue"]);
    // S1-D1, S1-D4, S1-54.
    let wanted = ["unit.shared-current", "nginx.variable-pass", "unit.crash-loop"];
    hand.is_adopted_deployed_and_handed_back(selector, &wanted);
}

/// S3: a main file of its own, a link to one of two upstream files, a process that no unit keeps.
#[test]
fn site_of_s3_with_a_linked_upstream_is_adopted_and_handed_back() {
    let upstream = |port: u16| format!("upstream app_backend {{\nserver 127.0.0.1:{port};\n}}\n");
    let files = [
        ("/etc/nginx/blue.conf", upstream(8081)),
        ("/etc/nginx/green.conf", upstream(8082)),
        (
            "/etc/nginx/nginx.conf",
            "pid /run/nginx.pid;\nevents {\nworker_connections 1024;\n}\nhttp {\ninclude /etc/nginx/mime.types;\ninclude /etc/nginx/upstream.conf;\n\
             server {\nlisten 80;\nserver_name _;\nlocation / {\nproxy_pass http://app_backend;\n}\n}\n}\n"
                .to_owned(),
        ),
        ("/app/version", "hand\n".to_owned()),
    ];
    let Some(hand) = HandMade::host("anything.example", &files, &[]) else { return };
    let host = &hand.host;
    host.put(xtask_program(), "/app/blue", 0o755).unwrap();
    host.must(&["ln", "-sf", "/etc/nginx/blue.conf", "/etc/nginx/upstream.conf"]).unwrap();
    // As `&` in a script leaves it: nobody's child.
    let argv = [
        "setsid",
        "--fork",
        "sh",
        "-c",
        &format!(
            "cd /app && exec /app/blue app --port 8081 --all-addresses --release {BY_HAND} > /dev/null 2>&1"
        ),
    ];
    host.must(&argv).unwrap();
    hand.start(&[]);
    // S3-D2, S3-13, S3-D5.
    let wanted = ["nginx.main-file-replaced", "unit.none", "nginx.host-header", "port.public"];
    hand.is_adopted_deployed_and_handed_back("/etc/nginx/upstream.conf", &wanted);
    // The colours' own files are as they were.
    assert_eq!(std::fs::read_to_string(host.path("/etc/nginx/blue.conf")).unwrap(), upstream(8081));
}

/// S0-D1: the refinement of S0, with its three files where a pattern includes them.
#[test]
fn upstream_in_three_included_files_is_named_and_nothing_is_adopted() {
    let files = ["blue", "green", "active"]
        .map(|name| format!("/etc/nginx/conf.d/example-upstream-{name}.conf"));
    let Some(hand) = HandMade::host("example.com", &[], &[]) else { return };
    hand.start(&[]);
    for file in &files {
        hand.host.write(file, "upstream example_app {\n server 127.0.0.1:9001;\n}\n").unwrap();
    }
    let text = "app = \"example\"\nrunner = \"systemd\"\nweb.command = \"./app --port {port}\"\n";
    hand.host.write(&format!("{DESK}/alcedo.toml"), text).unwrap();
    says(&hand.alcedo(&["check"]), 1, &["nginx.duplicate-upstream", "example_app", "nginx.broken"]);
    hand.host.must(&["rm", &format!("{DESK}/alcedo.toml")]).unwrap();
    says(&hand.alcedo(&["init", "--adopt"]), 1, &["duplicate upstream"]);
}

/// What cannot be taken over is told, and nothing is changed.
#[test]
fn unknown_layout_and_dead_process_are_told_and_nothing_is_changed() {
    let site = "server {\n listen 80;\n server_name example.com;\n location / { proxy_pass http://127.0.0.1:9001; }\n}\n";
    let files = [("/etc/nginx/sites-enabled/example.com", site.to_owned())];
    let Some(hand) = HandMade::host("example.com", &files, &["/etc/nginx/sites-enabled/default"])
    else {
        return;
    };
    hand.start(&[]);
    says(&hand.alcedo(&["init", "--adopt"]), 1, &["recognize a hand-made set-up"]);
    let upstream = "/etc/nginx/conf.d/up.conf";
    hand.host.write(upstream, "upstream example_app {\n server 127.0.0.1:9001;\n}\n").unwrap();
    hand.host
        .write(
            "/etc/nginx/sites-enabled/example.com",
            &site.replace("127.0.0.1:9001", "example_app"),
        )
        .unwrap();
    let text = format!(
        "app = \"example\"\nrunner = \"systemd\"\nweb.command = \"/opt/xtask app --port {{port}}\"\nrouter.listen = [\"127.0.0.1:8080\"]\nrouter.adopt = \"{upstream}\"\n"
    );
    hand.host.write(&format!("{DESK}/alcedo.toml"), &text).unwrap();
    says(&hand.alcedo(&["setup"]), 1, &["127.0.0.1:9001 does not answer", "serves what it served"]);
    let now = std::fs::read_to_string(hand.host.path(upstream)).unwrap();
    assert!(now.contains("9001") && !now.contains("alcedo"), "{now}");
}
