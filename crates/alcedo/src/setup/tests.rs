//! What `setup` would write, without writing it.

use super::app::AppPlan;
use super::step::{Change, Step};
use super::units;
use crate::paths::Paths;
use alcedo_core::AppName;
use alcedo_core::config::{Input, load};
use std::collections::BTreeSet;

fn plan(settings: &str) -> AppPlan {
    let text = format!("app = \"shop\"\nrunner = \"systemd\"\nhealth.path = \"/up\"\n{settings}");
    let loaded = load(Input { text: &text, file: "alcedo.toml", environment: None }).unwrap();
    AppPlan {
        name: AppName::new("shop").unwrap(),
        config: loaded.config,
        root: "/srv/shop".into(),
        user: "shop".to_owned(),
        group: "shop".to_owned(),
        sockets: vec!["/run/alcedo/sockets/shop-blue".into()],
    }
}

fn file<'a>(steps: &'a [Step], ending: &str) -> &'a str {
    let found = steps.iter().find_map(|step| {
        let Change::File { path, text, .. } = &step.change else { return None };
        path.to_string_lossy().ends_with(ending).then_some(text)
    });
    found.unwrap_or_else(|| panic!("no {ending}"))
}

#[test]
fn each_process_of_each_slot_has_an_instance_with_its_own_signal_and_limits() {
    let plan = plan(
        "services.web = { command = \"venv/bin/gunicorn main:app --bind 127.0.0.1:{port}\", stop = { timeout = \"40s\" } }\n\
         services.api = { command = \"unicorn -p {port}\", routes = [\"/api\"], limits = { memory = \"100MiB\", cpu = \"150%\" } }\n",
    );
    let steps = plan.steps(&Paths::system());
    let web = file(&steps, "shop@blue.service.d/alcedo.conf");
    assert!(web.contains("KillSignal=SIGTERM\nTimeoutStopSec=40000ms\n"), "{web}");
    assert!(!web.contains("MemoryMax"), "{web}");
    let api = file(&steps, "shop@green-api.service.d/alcedo.conf");
    assert!(api.contains("KillSignal=SIGQUIT\n"), "{api}");
    assert!(api.contains("MemoryMax=104857600\nCPUQuota=150%\n"), "{api}");
    let enabled: Vec<_> = steps
        .iter()
        .filter_map(|step| {
            let Change::Enabled { unit, .. } = &step.change else { return None };
            Some(unit.as_str())
        })
        .filter(|unit| unit.starts_with("shop@"))
        .collect();
    let wanted = [
        "shop@blue-api.service",
        "shop@blue.service",
        "shop@green-api.service",
        "shop@green.service",
    ];
    assert_eq!(BTreeSet::from_iter(enabled), BTreeSet::from(wanted));
}

#[test]
fn template_names_no_release_and_starts_only_with_an_order() {
    let plan = plan("web.command = \"bin/web\"\nsystemd.watchdog = \"30s\"\n");
    let text = units::template(&plan, &Paths::system());
    for line in [
        "ConditionPathExists=/var/lib/alcedo/slots/shop/%i",
        "LoadCredential=order:/var/lib/alcedo/slots/shop/%i",
        "ExecStart=/usr/local/bin/alcedo exec shop %i",
        "User=shop",
        "KillMode=mixed",
        "WatchdogSec=30000ms",
        "ProtectSystem=strict",
        "LogRateLimitBurst=10000",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    assert!(!text.contains("bin/web") && !text.contains("releases"), "{text}");
}

#[test]
fn polkit_lets_the_daemon_do_three_things_to_units_that_are_named() {
    let plan = plan("web.command = \"bin/web\"\n");
    let text = units::polkit(&plan);
    assert!(text.contains("[\"shop@blue.service\", \"shop@green.service\"]"), "{text}");
    assert!(text.contains("[\"start\", \"stop\", \"reset-failed\"]"), "{text}");
    assert!(text.contains("subject.user == \"alcedo\""), "{text}");
}

/// Exactly what each form needs: by flag nothing of nginx is the daemon's to touch.
#[test]
fn rights_over_nginx_are_those_of_its_form() {
    let of = |more: &str| {
        let text = format!("web.command = \"bin/web\"\nrouter.kind = \"nginx\"\n{more}");
        units::polkit(&plan(&text))
    };
    let flag = of("");
    assert!(flag.contains("{\"alcedo-nginx-shop.service\": \"start\"}"), "{flag}");
    assert!(!flag.contains("nginx.service\": \"reload\""), "{flag}");
    for form in ["include", "symlink"] {
        let text = of(&format!("router.form = \"{form}\"\n"));
        assert!(text.contains("\"nginx.service\": \"reload\""), "{text}");
    }
}

#[test]
fn nginx_brings_its_log_and_its_visitor_and_no_socket_of_ours() {
    let text = "web.php_fpm = { root = \"public\" }\nrouter.kind = \"nginx\"\n";
    let steps = plan(text).steps(&Paths::system());
    assert!(
        file(&steps, "alcedo-nginx-shop.service").contains("/var/log/alcedo/shop/access.log.1")
    );
    assert!(file(&steps, "alcedo.service.d/shop.conf").contains("After=nginx.service"));
    assert!(file(&steps, "shop@blue.service.d/alcedo.conf").contains("KillSignal=SIGQUIT"));
    let is_visitor = |step: &Step| matches!(&step.change, Change::Member { user, group } if user == "www-data" && group == "shop");
    assert!(steps.iter().any(is_visitor), "nginx's workers get to the pool's socket");
    let is_socket =
        |step: &Step| matches!(&step.change, Change::Running { unit } if unit.ends_with(".socket"));
    assert!(!steps.iter().any(is_socket), "nginx listens");
    let plain = plan("web.command = \"bin/web\"\nrouter.kind = \"nginx\"\n");
    assert!(!plain.steps(&Paths::system()).iter().any(is_visitor), "a port needs no visitor");
}

#[test]
fn a_socket_unit_is_shared_by_the_apps_that_listen_there() {
    let one = units::socket("80", &BTreeSet::from(["shop".to_owned()]));
    let mut apps = units::socket_apps(&one);
    apps.insert("api".to_owned());
    let both = units::socket("80", &apps);
    assert!(both.contains("# For: api shop\n"), "{both}");
    assert!(both.contains("ListenStream=80\nService=alcedo-proxy.service\n"), "{both}");
    assert_eq!(units::socket_name("80"), "alcedo-proxy-80.socket");
    assert_eq!(units::socket_name("127.0.0.1:8080"), "alcedo-proxy-127.0.0.1-8080.socket");
    assert_eq!(units::socket_name("[::1]:8080"), "alcedo-proxy-__1-8080.socket");
}

#[test]
fn hardening_is_as_it_was_chosen() {
    let of = |level: &str| {
        let plan = plan(&format!("web.command = \"bin/web\"\nsystemd.hardening = \"{level}\"\n"));
        units::template(&plan, &Paths::system())
    };
    assert!(!of("none").contains("ProtectSystem"));
    assert!(of("basic").contains("ProtectSystem=strict") && !of("basic").contains("SystemCall"));
    assert!(of("strict").contains("SystemCallFilter=@system-service"));
}
