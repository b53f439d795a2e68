//! The posts' own units, sites and scripts, and what is wrong with each (requirements S0-D*, S1-D*, S3-D*).

use super::*;
use crate::units::parse;
use std::path::Path;

/// The deploy script of S0, as it stands there.
const S0: &str = r#"#!/usr/bin/env bash
set -euo pipefail

CURRENT_PORT=$(grep -oP 'server 127\.0\.0\.1:\K\d+' /etc/nginx/conf.d/example-upstream.conf)
if [ "$CURRENT_PORT" = "9001" ]; then
    LIVE=blue
    IDLE=green
    IDLE_PORT=9002
else
    LIVE=green
    IDLE=blue
    IDLE_PORT=9001
fi

echo "live: $LIVE, deploying to: $IDLE"
rsync -a --delete /tmp/build/ "/srv/www/example.com/$IDLE/"
ln -sf /srv/www/example.com/shared/.env "/srv/www/example.com/$IDLE/.env"
ln -sf /srv/www/example.com/shared/uploads "/srv/www/example.com/$IDLE/public/uploads"
systemctl restart "example-$IDLE"
sleep 2
expected_sha=$(cd /tmp/build && git rev-parse --short HEAD)
actual_sha=$(curl -fsS "http://127.0.0.1:$IDLE_PORT/_health" | jq -r .commit)
if [ "$actual_sha" != "$expected_sha" ]; then
    exit 1
fi
sed -i "s/:[0-9]\+;/:$IDLE_PORT;/" /etc/nginx/conf.d/example-upstream.conf
nginx -t && systemctl reload nginx
echo "$IDLE is now live (was $LIVE)"
"#;

/// The rollback of S0.
const S0_BACK: &str = "sed -i \"s/:[0-9]\\+;/:$LIVE_PORT;/\" /etc/nginx/conf.d/example-upstream.conf\nnginx -t && systemctl reload nginx\n";

/// The switch of S1.
const S1: &str = "sudo tee /etc/nginx/saltbox/api-upstream.conf >/dev/null <<'EOF'\nset $saltbox_upstream http://127.0.0.1:9012;\nEOF\nsudo nginx -t\nsudo systemctl reload nginx\ncurl -sS https://api.saltbox.example/v\n";

/// What S3 runs on the server, and its switch.
const S3: &str = r#"#! /bin/bash
CURRENT_COLOR=$(curl -s http://localhost/status | jq -r .color)
pkill -f /app/green || true
sudo mv nginx/nginx.conf /etc/nginx/nginx.conf
/app/green --port 8082 --color green &
sleep 2
sudo ln -sf /etc/nginx/$NEXT_COLOR.conf /etc/nginx/upstream.conf
sudo nginx -s reload
"#;

fn ids(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.id.as_str()).collect()
}

fn of_script(text: &str) -> Vec<Finding> {
    scripts::findings(Path::new("/usr/local/bin/deploy.sh"), text)
}

#[track_caller]
fn has(findings: &[Finding], id: &str) -> Finding {
    findings
        .iter()
        .find(|f| f.id == id)
        .cloned()
        .unwrap_or_else(|| panic!("no {id} in {:?}", ids(findings)))
}

fn unit(name: &str, text: &str) -> Vec<Unit> {
    parse(&Path::new("/etc/systemd/system").join(name), text, &BTreeMap::new())
}

fn service(exec: &str) -> String {
    format!("[Service]\nExecStart={exec}\n")
}

/// S0-D3, S0-D4, S0-D5, S0-D6, S0-D7, S0-D8, S0-D10.
#[test]
fn deploy_script_of_s0_has_its_defects_named_where_they_stand() {
    let found = of_script(S0);
    assert_eq!(has(&found, "script.edit-in-place").subject, "/usr/local/bin/deploy.sh:26");
    has(&found, "script.git-shipped");
    assert_eq!(has(&found, "script.link-into-directory").subject, "/usr/local/bin/deploy.sh:18");
    has(&found, "script.no-lock");
    has(&found, "script.fixed-sleep");
    has(&found, "script.restart-draining");
    has(&found, "script.not-verified");
    assert!(!ids(&found).contains(&"script.undefined-variable"), "{found:?}");
}

/// S0-D2.
#[test]
fn rollback_of_s0_uses_a_variable_that_is_never_set() {
    let found = of_script(S0_BACK);
    assert!(has(&found, "script.undefined-variable").message.contains("$LIVE_PORT"));
}

/// S1-D5; and what S1 does right is no finding.
#[test]
fn switch_of_s1_writes_over_the_live_file() {
    let found = of_script(S1);
    has(&found, "script.tee-selector");
    for right in ["script.untested-reload", "script.not-verified", "script.edit-in-place"] {
        assert!(!ids(&found).contains(&right), "{right}");
    }
}

/// S3-D2, S3-D3, S3-D4, S3-D6, S3-13.
#[test]
fn scripts_of_s3_have_their_defects_named() {
    let found = of_script(S3);
    for id in [
        "script.main-file",
        "script.untested-reload",
        "script.colour-as-identity",
        "script.pkill",
        "script.live-asked-of-app",
        "script.unsupervised",
    ] {
        has(&found, id);
    }
}

#[test]
fn script_that_does_it_right_has_no_finding() {
    let text = "#!/bin/sh\nset -eu\nexec 9>/run/deploy.lock\nflock -n 9\nPORT=9002\ncp new.conf /etc/nginx/app/new.tmp\nmv -T /etc/nginx/app/new.tmp /etc/nginx/app/sel.conf\nnginx -t\nsystemctl reload nginx\ncurl -fsS https://shop.example/healthz | grep release\n";
    assert_eq!(ids(&of_script(text)), Vec::<&str>::new());
}

/// S0-D9.
#[test]
fn development_server_in_a_unit_is_found() {
    let units = unit("example-blue.service", &service("/usr/bin/php -S 127.0.0.1:9001 -t public"));
    let found = findings(&Survey { units, ..Survey::default() });
    assert_eq!(
        has(&found, "unit.dev-server").subject,
        "/etc/systemd/system/example-blue.service:2"
    );
}

/// S1-D1, S1-D2, S1-D3, S1-54.
#[test]
fn template_of_s1_has_the_wrong_signal_a_shared_current_and_no_limit() {
    let text = "[Service]\nWorkingDirectory=/srv/saltbox/current/app\nExecStart=/srv/saltbox/current/venv/bin/gunicorn --bind 127.0.0.1:9011 main:app\nKillSignal=SIGQUIT\nRestart=on-failure\nRestartSec=2\n[Install]\nWantedBy=multi-user.target\n";
    let units = unit("saltbox-api@.service", text);
    let enabled = units.iter().map(|unit| unit.name.clone()).collect();
    let links = BTreeMap::from([(
        "/srv/saltbox/current".into(),
        "/srv/saltbox/releases/r2026-04-14".into(),
    )]);
    let found = findings(&Survey { units, enabled, links, ..Survey::default() });
    assert_eq!(
        has(&found, "unit.kill-signal").subject,
        "/etc/systemd/system/saltbox-api@.service:4"
    );
    assert!(has(&found, "unit.shared-current").message.contains("/srv/saltbox/current"));
    has(&found, "unit.both-enabled");
    has(&found, "unit.crash-loop");
}

/// S1-24: the right signal is none of our business.
#[test]
fn units_of_their_own_directories_with_the_graceful_signal_have_no_finding() {
    let mut units =
        unit("a-blue.service", &service("/srv/a/blue/venv/bin/gunicorn -b 127.0.0.1:1 x:y"));
    units.extend(unit(
        "a-green.service",
        &service("/srv/a/green/venv/bin/gunicorn -b 127.0.0.1:2 x:y"),
    ));
    assert_eq!(units::findings(&Survey { units, ..Survey::default() }), []);
}

/// S3-D5, S1-19.
#[test]
fn port_that_answers_from_outside_is_an_error() {
    let process =
        Process { argv: vec!["/app/blue".to_owned()], dir: None, user: None, is_public: true };
    let found =
        findings(&Survey { listeners: BTreeMap::from([(8081, process)]), ..Survey::default() });
    let open = has(&found, "port.public");
    assert_eq!((open.severity, open.subject.as_str()), (Severity::Error, "port 8081"));
}

fn s0_site(text: &str) -> (Vec<Adopted>, BTreeMap<PathBuf, String>) {
    let file = "/etc/nginx/conf.d/up.conf";
    let dump = format!(
        "# configuration file /etc/nginx/nginx.conf:\nhttp {{ include {file}; server {{ listen 80; server_name example.com; location / {{ proxy_pass http://app; }} }} }}\n\n# configuration file {file}:\n{text}\n\n"
    );
    let dump = crate::nginx::parse_dump(&dump).unwrap();
    (
        crate::nginx::adopt(&dump, &crate::nginx::Beside::default()),
        BTreeMap::from([(file.into(), text.to_owned())]),
    )
}

/// S0-D3.
#[test]
fn comment_that_sed_left_behind_is_found() {
    let (sites, selectors) = s0_site("upstream app {\n server 127.0.0.1:9002;  # blue is live\n}");
    let units = unit("example-green.service", &service("/srv/x/green/app --port 9002"));
    let found = findings(&Survey { sites, selectors, units, ..Survey::default() });
    assert_eq!(has(&found, "nginx.stale-comment").subject, "/etc/nginx/conf.d/up.conf:2");
    has(&found, "nginx.nobody-there");
}

/// S3-13, and S3-D1.
#[test]
fn process_that_no_unit_starts_and_colour_that_is_missing_are_found() {
    let (mut sites, _) = s0_site("upstream app {\n server 127.0.0.1:9002;\n}");
    sites[0].switch = crate::nginx::Switch::Link {
        path: "/etc/nginx/upstream.conf".into(),
        to: "/etc/nginx/blue.conf".into(),
        files: BTreeMap::from([(crate::Slot::Blue, "/etc/nginx/blue.conf".into())]),
    };
    let process =
        Process { argv: vec!["/app/blue".to_owned()], dir: None, user: None, is_public: false };
    let found = findings(&Survey {
        sites,
        listeners: BTreeMap::from([(9002, process)]),
        ..Survey::default()
    });
    has(&found, "unit.none");
    assert!(has(&found, "nginx.colour-missing").message.contains("green"));
}

/// S0-D5, S0-D6, S3-1, S0-33.
#[test]
fn what_lies_in_the_slots_directories_is_looked_at() {
    let dir = "/srv/www/example.com/blue";
    let files = [".git", "public/uploads/uploads", "data/app.sqlite3"]
        .iter()
        .map(|name| Path::new(dir).join(name));
    let links = BTreeMap::from([(
        Path::new(dir).join("public/uploads/uploads"),
        "/srv/shared/uploads".into(),
    )]);
    let settings = BTreeMap::from([(
        Path::new(dir).join(".env"),
        "APP_KEY=secret\nSESSION_DRIVER=file\n".to_owned(),
    )]);
    let found = findings(&Survey { files: files.collect(), links, settings, ..Survey::default() });
    has(&found, "tree.git-exposed");
    has(&found, "tree.nested-link");
    assert!(has(&found, "shared.sqlite").message.contains("a database of its own"));
    let sessions = has(&found, "session.files");
    assert!(sessions.subject.ends_with(".env:2") && !format!("{sessions:?}").contains("secret"));
}

/// S3-1: a database behind a link to its whole directory is shared as it should be; one file alone is not.
#[test]
fn database_is_shared_by_its_directory_and_not_by_its_file() {
    let at = |path: &str| Path::new("/srv/x/blue").join(path);
    let whole = Survey {
        files: [at("data/a.db")].into(),
        links: BTreeMap::from([(at("data"), "/srv/x/shared/data".into())]),
        ..Survey::default()
    };
    assert!(!ids(&findings(&whole)).contains(&"shared.sqlite"));
    let alone = Survey {
        files: [at("a.db")].into(),
        links: BTreeMap::from([(at("a.db"), "/srv/x/shared/a.db".into())]),
        ..Survey::default()
    };
    assert!(has(&findings(&alone), "shared.sqlite").message.contains("-wal"));
}

/// S3-1, S0-33.
#[test]
fn database_without_wal_and_sessions_in_memory_are_found() {
    assert_eq!(journal_mode(b"SQLite format 3\0\x10\x00\x02\x02"), Some(Journal::Wal));
    assert_eq!(journal_mode(b"SQLite format 3\0\x10\x00\x01\x01"), Some(Journal::Rollback));
    assert_eq!(journal_mode(b"SQLite format 3\0"), None);
    let databases = BTreeMap::from([
        ("/srv/x/data/a.db".into(), Journal::Rollback),
        ("/srv/x/data/b.db".into(), Journal::Wal),
    ]);
    let package = "{ \"dependencies\": {\n \"express-session\": \"1\" } }".to_owned();
    let stored =
        "{ \"dependencies\": { \"express-session\": \"1\", \"connect-redis\": \"7\" } }".to_owned();
    let settings = BTreeMap::from([
        ("/srv/x/blue/package.json".into(), package),
        ("/srv/y/blue/package.json".into(), stored),
    ]);
    let found = findings(&Survey { databases, settings, ..Survey::default() });
    assert_eq!(has(&found, "shared.sqlite-journal").subject, "/srv/x/data/a.db");
    assert_eq!(has(&found, "session.memory").subject, "/srv/x/blue/package.json:2");
    assert_eq!(
        found.iter().filter(|f| f.id.starts_with("session") || f.id.starts_with("shared")).count(),
        2,
        "{found:?}"
    );
}

/// S1-44, S1-54, S0-35.
#[test]
fn full_disk_journal_without_a_limit_and_memory_for_one_copy_are_found() {
    let found = findings(&Survey {
        disk_bytes: Some(100 << 20),
        live_bytes: 2,
        available_bytes: 1,
        journald: "[Journal]\n#SystemMaxUse=\n".to_owned(),
        ..Survey::default()
    });
    assert_eq!(has(&found, "journald.unlimited").severity, Severity::Info);
    has(&found, "memory.two-copies");
    has(&found, "disk.low");
    let set = Survey { journald: "SystemMaxUse=500M\n".to_owned(), ..Survey::default() };
    assert_eq!(findings(&set), []);
}

/// S1-8, S3-31.
#[test]
fn names_that_lead_nowhere_elsewhere_or_to_a_cdn_are_found() {
    let at = |ip: &str| Some(BTreeSet::from([ip.parse::<IpAddr>().unwrap()]));
    let names = BTreeMap::from([
        ("here.example".to_owned(), at("192.0.2.7")),
        ("there.example".to_owned(), at("198.51.100.1")),
        ("none.example".to_owned(), None),
        ("cdn.example".to_owned(), at("104.16.1.1")),
        ("six.example".to_owned(), at("2606:4700::1")),
    ]);
    let survey = Survey {
        names,
        addresses: ["192.0.2.7".parse().unwrap()].into(),
        redirects: ["cdn.example".to_owned()].into(),
        ..Survey::default()
    };
    let found = edge::findings(&survey);
    assert_eq!(has(&found, "dns.elsewhere").subject, "there.example");
    assert_eq!(has(&found, "dns.unknown").subject, "none.example");
    assert_eq!(has(&found, "edge.redirect-loop").subject, "cdn.example");
    assert_eq!(found.iter().filter(|f| f.id == "edge.cached-identity").count(), 2);
    assert_eq!(found.iter().filter(|f| f.id == "edge.real-ip").count(), 2);
    assert!(!found.iter().any(|f| f.subject == "here.example"), "{found:?}");
    let believed = edge::findings(&Survey { has_real_ip: true, ..survey });
    assert!(!ids(&believed).contains(&"edge.real-ip"));
}

#[test]
fn every_finding_says_what_to_do_and_strange_scripts_are_no_panic() {
    for text in [
        "$",
        "${",
        "${A",
        "'$A\n",
        "ln -",
        "curl .color =",
        "sed -i nginx",
        "\\$A \u{fffd}$\u{fffd}",
        "for X in $X; do",
    ] {
        for finding in of_script(text) {
            assert!(finding.fix.is_some_and(|fix| !fix.is_empty()), "{}", finding.id);
        }
    }
}

/// The table of docs/guide/check.md has every finding, and no other.
#[test]
fn table_of_findings_is_whole() {
    let page = include_str!("../../../../docs/guide/check.md");
    let sources = [
        include_str!("units.rs"),
        include_str!("sites.rs"),
        include_str!("scripts.rs"),
        include_str!("machine.rs"),
        include_str!("edge.rs"),
        include_str!("../nginx/findings.rs"),
        include_str!("../lint.rs"),
    ];
    let groups = [
        "unit.",
        "port.",
        "nginx.",
        "script.",
        "tree.",
        "session.",
        "journald.",
        "memory.",
        "disk.",
        "dns.",
        "edge.",
        "shared.",
        "health.",
        "stop.",
        "command.",
        "bake.",
    ];
    for source in sources {
        for word in source.split('"').skip(1).step_by(2) {
            let is_id = groups.iter().any(|group| word.starts_with(group))
                && word.bytes().all(|b| {
                    b.is_ascii_lowercase() || b == b'.' || b == b'-' || b.is_ascii_digit()
                })
                && word.matches('.').count() == 1
                && !["health.path", "stop.signal", "shared.files", "shared.dirs"].contains(&word);
            assert!(
                !is_id || page.contains(&format!("`{word}`")),
                "{word} is not in docs/guide/check.md"
            );
        }
    }
}
