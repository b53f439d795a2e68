//! The router against a real nginx with workers of another user, on loopback.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests start real programs"
)]

use super::*;
use alcedo_core::config::{BindFacts, Input, bind, load};
use alcedo_core::event::Failure;
use alcedo_core::{DeployId, ReleaseId, ServiceName};
use std::os::unix::fs::PermissionsExt;
use xtask::home::{free_port, poll_until};
use xtask::load::{Dialect, Load, Shape, Target};

const SOON: Duration = Duration::from_secs(20);

/// nginx, an app in both slots (answered by the same nginx), and the router.
struct Fixture {
    nginx: xtask::nginx::Nginx,
    state: tempfile::TempDir,
    router: NginxRouter,
    app: AppName,
    listen: u16,
    ports: [u16; 2],
    operations: std::cell::Cell<u64>,
}

impl Fixture {
    fn new() -> Self {
        let nginx = xtask::nginx::Nginx::start().unwrap();
        let state = tempfile::tempdir().unwrap();
        let ports = [free_port().unwrap(), free_port().unwrap()];
        let slots = [("blue", ports[0]), ("green", ports[1])].map(|(slot, port)| {
            format!("server {{ listen 127.0.0.1:{port}; access_log off; location / {{ return 200 \"{slot}\\n\"; }} location /fail {{ return 500; }} }}\n")
        });
        fs::write(nginx.dir().join("conf.d/slots.conf"), slots.concat()).unwrap();
        let router = router(&nginx, &state);
        let app = AppName::new("web-shop").unwrap();
        let listen = free_port().unwrap();
        Self { nginx, state, router, app, listen, ports, operations: 0.into() }
    }

    /// With the site in place.
    fn configured(form: &str) -> Self {
        let fixture = Self::new();
        fixture.configure(&fixture.config(form, "")).unwrap();
        fixture
    }

    fn config(&self, form: &str, more: &str) -> Config {
        let text = format!(
            "app = \"web-shop\"\nweb.command = \"app --port {{port}}\"\nweb.ports = {{ blue = {}, green = {} }}\n[router]\nkind = \"nginx\"\nform = \"{form}\"\nlisten = [\"127.0.0.1:{}\"]\n{more}",
            self.ports[0], self.ports[1], self.listen
        );
        let input = Input { text: &text, file: "alcedo.toml", environment: None };
        load(input).unwrap_or_else(|e| panic!("{e}")).config
    }

    fn configure(&self, config: &Config) -> Result<(), Failure> {
        let address = |slot: usize| Address::Tcp(([127, 0, 0, 1], self.ports[slot]).into());
        let upstream = Upstream {
            service: ServiceName::new("web").unwrap(),
            routes: Vec::new(),
            blue: address(0),
            green: address(1),
            is_fastcgi: false,
        };
        self.router.configure(&self.app, config, &[upstream]).map_err(Failure::from)
    }

    fn binding(&self, deploy: u32, slot: Slot) -> Binding {
        let facts = BindFacts {
            id: BindingId::new(DeployId(deploy.into()), slot),
            slot,
            release: ReleaseId::new("r20261121-110000-abcdef0").unwrap(),
            instance: "/nowhere".into(),
            addresses: [(ServiceName::new("web").unwrap(), ([127, 0, 0, 1], 1).into())].into(),
            socket_dir: "/nowhere".into(),
            inherited: BTreeMap::new(),
            active_file: "/nowhere/active".into(),
            php_fpm: BTreeMap::new(),
        };
        bind(&self.config("flag", ""), facts).unwrap()
    }

    /// A switch by whoever knows where the router is now.
    fn switch(&self, deploy: u32, slot: Slot) -> Result<Switched, SwitchError> {
        let now = self.router.observe(&self.app).unwrap().expect("configured");
        self.operations.set(self.operations.get() + 1);
        let operation = format!("op-{}", self.operations.get());
        self.router.switch(&self.app, now.generation, &self.binding(deploy, slot), &operation)
    }

    fn effective(&self) -> Effective {
        self.router.observe(&self.app).unwrap().expect("configured")
    }

    /// Who answers a user, on a fresh connection.
    fn answers(&self) -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.listen)).unwrap();
        write!(stream, "GET / HTTP/1.0\r\nHost: shop\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.rsplit("\r\n\r\n").next().unwrap_or_default().trim().to_owned()
    }

    fn dir(&self) -> PathBuf {
        self.router.inner.dir(&self.app)
    }

    fn site(&self) -> PathBuf {
        self.nginx.dir().join("sites-available/alcedo-web-shop")
    }

    fn load(&self) -> Load {
        let address = ([127, 0, 0, 1], self.listen).into();
        let target = Target { address, host: "shop".to_owned(), dialect: Dialect::Any };
        let load = Load::start(target, Shape::Closed { connections: 16, slow: 0 }).unwrap();
        poll_until(SOON, || (load.answered() > 200).then_some(())).expect("answers");
        load
    }

    /// A daemon that begins anew.
    fn restarted(self) -> Self {
        let router = router(&self.nginx, &self.state);
        Self { router, ..self }
    }
}

fn router(nginx: &xtask::nginx::Nginx, state: &tempfile::TempDir) -> NginxRouter {
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let state = state.path().join("state");
    fs::create_dir_all(&state).unwrap();
    NginxRouter::new(Nginx::new(Some(nginx.conf()), Hold::Whole), state.join("router"))
}

fn failure(error: SwitchError) -> Failure {
    match error {
        SwitchError::Effect(error) => error.into(),
        SwitchError::Conflict(now) => panic!("conflict at {now:?}"),
    }
}

#[test]
fn flag_switches_under_load_lose_nothing_and_reload_nothing() {
    let fixture = Fixture::configured("flag");
    assert_eq!(fixture.effective().generation, 0);
    assert_eq!(fixture.effective().target, None);
    let load = fixture.load();
    let errors = fixture.nginx.errors();
    for round in 1..=30 {
        let slot = if round % 2 == 0 { Slot::Green } else { Slot::Blue };
        let switched = fixture.switch(round, slot).unwrap();
        assert_eq!(switched.generation, u64::from(round));
        assert_eq!(fixture.answers(), slot.as_str());
        assert_eq!(fixture.effective().target, Some(format!("d{round}-{slot}")));
    }
    let tally = load.stop().unwrap();
    assert_eq!(tally.lost, 0, "{}", tally.losses_in_words());
    assert_eq!(fixture.nginx.errors(), errors, "nothing in the error log");
}

#[test]
fn switch_is_compare_and_set_and_a_repeated_one_answers_as_before() {
    let fixture = Fixture::configured("flag");
    let green = fixture.binding(1, Slot::Green);
    assert_eq!(fixture.router.switch(&fixture.app, 0, &green, "a").unwrap().generation, 1);
    assert_eq!(fixture.router.switch(&fixture.app, 0, &green, "a").unwrap().generation, 1);
    let blue = fixture.binding(2, Slot::Blue);
    match fixture.router.switch(&fixture.app, 0, &blue, "b") {
        Err(SwitchError::Conflict(now)) => assert_eq!(now.generation, 1),
        other => panic!("{other:?}"),
    }
    assert_eq!(fixture.answers(), "green");
}

#[test]
fn crash_between_flag_and_record_is_decided_by_nginx() {
    let fixture = Fixture::configured("flag");
    fixture.switch(1, Slot::Blue).unwrap();
    let dir = fixture.dir();
    let mut record = Record::load(&dir).unwrap().unwrap();
    let pending = Switch {
        generation: 2,
        operation: Some("crashed".to_owned()),
        target: Some("d2-green".to_owned()),
        slot: Some(Slot::Green),
    };
    record.pending = Some(pending);
    record.save(&dir).unwrap();
    let fixture = fixture.restarted();
    assert_eq!(fixture.effective().operation.as_deref(), Some("op-1"), "the flag was not made");
    set_flag(&dir, Slot::Green).unwrap();
    let fixture = fixture.restarted();
    let now = fixture.effective();
    assert_eq!(now.operation.as_deref(), Some("crashed"), "the flag was made");
    assert_eq!((now.generation, now.target.as_deref()), (2, Some("d2-green")));
    let counted = fixture.router.traffic(&fixture.app).unwrap();
    assert!(counted.iter().any(|t| t.target == "d2-green"), "{counted:?}");
    assert_eq!(fixture.switch(3, Slot::Blue).unwrap().generation, 3);
}

#[test]
fn flag_set_by_hand_is_told_from_ours() {
    let fixture = Fixture::configured("flag");
    fixture.switch(1, Slot::Blue).unwrap();
    set_flag(&fixture.dir(), Slot::Green).unwrap();
    let now = fixture.effective();
    assert_eq!((now.generation, now.operation), (2, None));
    assert_eq!(BindingId::parse(&now.target.unwrap()).unwrap().slot(), Slot::Green);
    let blue = fixture.binding(2, Slot::Blue);
    let stale = fixture.router.switch(&fixture.app, 1, &blue, "stale");
    assert!(matches!(stale, Err(SwitchError::Conflict(_))), "{stale:?}");
}

#[test]
fn flag_that_workers_cannot_see_is_noticed_and_taken_back() {
    if !rustix::process::geteuid().is_root() {
        return; // The workers are the same user: nothing is closed to them.
    }
    let fixture = Fixture::configured("flag");
    fixture.switch(1, Slot::Blue).unwrap();
    fs::set_permissions(fixture.dir(), fs::Permissions::from_mode(0o700)).unwrap();
    let failure = failure(fixture.switch(2, Slot::Green).unwrap_err());
    assert!(failure.what.contains("does not see the flag"), "{failure:?}");
    assert!(failure.detail.contains("to enter"), "{failure:?}");
    assert_eq!(fixture.effective().generation, 1);
    fs::set_permissions(fixture.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(fixture.answers(), "blue", "the flag is gone");
}

#[test]
fn reload_forms_switch_effectively_and_go_back_when_nginx_refuses() {
    for form in ["include", "symlink"] {
        let fixture = Fixture::configured(form);
        for round in 1..=4 {
            let slot = if round % 2 == 0 { Slot::Blue } else { Slot::Green };
            fixture.switch(round, slot).unwrap();
            assert_eq!(fixture.answers(), slot.as_str(), "{form}");
        }
        let broken = fixture.nginx.dir().join("sites-enabled/somebody-else");
        fs::write(&broken, "server {\n    listen 127.0.0.1:1;\n    nonsense on;\n}\n").unwrap();
        let selector = fs::read_to_string(fixture.dir().join("selector.conf")).unwrap();
        let failure = failure(fixture.switch(5, Slot::Green).unwrap_err());
        assert!(failure.what.contains("sites-enabled/somebody-else:3"), "{form}: {failure:?}");
        let after = fs::read_to_string(fixture.dir().join("selector.conf")).unwrap();
        assert_eq!(after, selector, "{form}: the selector is as before");
        assert_eq!(fixture.answers(), "blue", "{form}");
        assert_eq!(fixture.effective().generation, 4, "{form}");
        fs::remove_file(&broken).unwrap();
        fixture.switch(6, Slot::Green).unwrap();
        assert_eq!(fixture.answers(), "green", "{form}");
    }
}

#[test]
fn site_edited_by_hand_is_found_and_not_overwritten() {
    let fixture = Fixture::configured("flag");
    let text = fs::read_to_string(fixture.site()).unwrap();
    let edited = text.replace("proxy_connect_timeout 3s", "proxy_connect_timeout 9s");
    fs::write(fixture.site(), &edited).unwrap();
    let failure = fixture.configure(&fixture.config("flag", "")).unwrap_err();
    assert!(failure.what.contains("edited by hand"), "{failure:?}");
    assert!(failure.detail.contains("+        proxy_connect_timeout 9s;"), "{failure:?}");
    assert_eq!(fs::read_to_string(fixture.site()).unwrap(), edited);
    fs::write(fixture.site(), &text).unwrap();
    fixture.configure(&fixture.config("flag", "")).unwrap();
}

#[test]
fn check_names_what_is_wrong_with_this_nginx() {
    let fixture = Fixture::configured("flag");
    let ids = || {
        let found = fixture.router.findings(&fixture.app);
        found.into_iter().map(|f| f.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(), Vec::<String>::new());
    let text = fs::read_to_string(fixture.site()).unwrap();
    fs::write(fixture.site(), text.replace("keepalive 64", "keepalive 65")).unwrap();
    assert_eq!(ids(), ["router.site-edited"]);
    fs::remove_file(fixture.site()).unwrap();
    assert!(ids().contains(&"router.site-gone".to_owned()));
    fs::write(fixture.site(), text).unwrap();
    // S0-D1
    for colour in ["blue", "green"] {
        let file = fixture.nginx.dir().join(format!("conf.d/up-{colour}.conf"));
        fs::write(file, "upstream example_app { server 127.0.0.1:9001; }\n").unwrap();
    }
    assert_eq!(ids(), ["nginx.duplicate-upstream", "nginx.broken"]);
}

#[test]
fn what_is_not_ours_is_never_overwritten() {
    let fixture = Fixture::new();
    fs::write(fixture.site(), "# mine\n").unwrap();
    let failure = fixture.configure(&fixture.config("flag", "")).unwrap_err();
    assert!(failure.what.contains("something else stands there"), "{failure:?}");
    assert_eq!(fs::read_to_string(fixture.site()).unwrap(), "# mine\n");
}

#[test]
fn broken_site_of_somebody_else_is_named_and_nothing_is_written() {
    let fixture = Fixture::new();
    let broken = fixture.nginx.dir().join("sites-enabled/old-shop");
    fs::write(&broken, "upstream a { server 127.0.0.1:1; }\nupstream a { server 127.0.0.1:2; }\n")
        .unwrap();
    let failure = fixture.configure(&fixture.config("flag", "")).unwrap_err();
    assert!(failure.what.contains("sites-enabled/old-shop:2 is broken"), "{failure:?}");
    assert!(failure.detail.contains("duplicate upstream"), "{failure:?}");
    assert!(!fixture.site().exists());
    assert_eq!(fixture.router.observe(&fixture.app).unwrap(), None);
}

#[test]
fn site_that_nginx_refuses_is_taken_back() {
    let fixture = Fixture::configured("flag");
    let before = fs::read_to_string(fixture.site()).unwrap();
    let files = ["cert.pem", "key.pem"].map(|name| fixture.nginx.dir().join(name));
    for file in &files {
        fs::write(file, "not a certificate").unwrap();
    }
    let [cert, key] = files.map(|f| f.display().to_string());
    let tls = format!("tls = {{ cert = \"{cert}\", key = \"{key}\" }}\n");
    let failure = fixture.configure(&fixture.config("flag", &tls)).unwrap_err();
    assert!(failure.what.contains("set up nginx"), "{failure:?}");
    assert_eq!(fs::read_to_string(fixture.site()).unwrap(), before);
    fixture.switch(1, Slot::Green).unwrap();
    assert_eq!(fixture.answers(), "green");
}

#[test]
fn missing_certificate_and_taken_domain_are_told_before_anything_is_written() {
    let fixture = Fixture::new();
    let tls = "tls = { cert = \"/nowhere/cert.pem\", key = \"/nowhere/key.pem\" }\n";
    let failure = fixture.configure(&fixture.config("flag", tls)).unwrap_err();
    assert!(failure.what.contains("/nowhere/cert.pem"), "{failure:?}");
    let other =
        format!("server {{ listen 127.0.0.1:{}; server_name shop.example; }}\n", fixture.listen);
    fs::write(fixture.nginx.dir().join("sites-enabled/other"), other).unwrap();
    let taken = fixture.config("flag", "domains = [\"shop.example\"]\n");
    let failure = fixture.configure(&taken).unwrap_err();
    assert!(failure.what.contains("sites-enabled/other:1 serves it already"), "{failure:?}");
    assert!(!fixture.site().exists());
}

#[test]
fn lines_of_certbot_stay_when_the_site_is_rendered_anew() {
    let fixture = Fixture::new();
    let domain = "domains = [\"shop.example\"]\n";
    fixture.configure(&fixture.config("flag", domain)).unwrap();
    let text = fs::read_to_string(fixture.site()).unwrap();
    let managed = "    client_header_timeout 59s; # managed by Certbot\n}\n";
    let own = format!(
        "server {{\n    if ($host = other.example) {{\n        return 301 https://$host$request_uri;\n    }} # managed by Certbot\n    listen 127.0.0.1:{};\n    server_name other.example;\n    return 404; # managed by Certbot\n}}\n",
        fixture.listen
    );
    let status = text.find("\nserver {\n    # alcedo: status").unwrap();
    let (site, rest) = text.split_at(status);
    let site = site.trim_end().strip_suffix('}').unwrap();
    fs::write(fixture.site(), format!("{site}\n{managed}{rest}{own}")).unwrap();
    fixture.configure(&fixture.config("flag", domain)).unwrap();
    let more = format!("{domain}max_body = \"7MiB\"\n");
    fixture.configure(&fixture.config("flag", &more)).unwrap();
    let text = fs::read_to_string(fixture.site()).unwrap();
    assert!(text.contains("client_max_body_size 7340032;"), "{text}");
    assert!(text.contains("client_header_timeout 59s; # managed by Certbot"), "{text}");
    assert!(text.contains("server_name other.example;"), "{text}");
    fixture.configure(&fixture.config("flag", &more)).unwrap();
}

#[test]
fn traffic_is_counted_by_slot_and_survives_rotation_and_restart() {
    let fixture = Fixture::configured("flag");
    fixture.switch(1, Slot::Blue).unwrap();
    let count = |fixture: &Fixture, target: &str| {
        let all = fixture.router.traffic(&fixture.app).unwrap();
        all.into_iter().find(|t| t.target == target).map_or(0, |t| t.requests)
    };
    for _ in 0..3 {
        fixture.answers();
    }
    poll_until(SOON, || (count(&fixture, "d1-blue") == 3).then_some(())).expect("three");
    fixture.router.inner.rotate(&fixture.app, |_| true).unwrap();
    let log = fixture.dir().join("access.log");
    poll_until(SOON, || log.exists().then_some(())).expect("opened anew");
    fixture.switch(2, Slot::Green).unwrap();
    fixture.answers();
    poll_until(SOON, || (count(&fixture, "d2-green") == 1).then_some(())).expect("one");
    let fixture = fixture.restarted();
    poll_until(SOON, || (count(&fixture, "d2-green") == 1).then_some(())).expect("one still");
    assert_eq!(count(&fixture, "d1-blue"), 3);
}

#[test]
fn installation_that_was_cut_off_is_taken_back() {
    let fixture = Fixture::configured("flag");
    let before = fs::read_to_string(fixture.site()).unwrap();
    let dir = fixture.dir();
    let mut record = Record::load(&dir).unwrap().unwrap();
    record.installing = Some(2);
    record.save(&dir).unwrap();
    fs::write(fixture.site(), "half a site {").unwrap();
    let fixture = fixture.restarted();
    assert_eq!(fs::read_to_string(fixture.site()).unwrap(), before);
    fixture.switch(1, Slot::Green).unwrap();
    assert_eq!(fixture.answers(), "green");
}

#[test]
fn proposal_changes_nothing_and_generations_are_kept() {
    let fixture = Fixture::new();
    let upstream = |port| Address::Tcp(([127, 0, 0, 1], port).into());
    let upstreams = [Upstream {
        service: ServiceName::new("web").unwrap(),
        routes: Vec::new(),
        blue: upstream(fixture.ports[0]),
        green: upstream(fixture.ports[1]),
        is_fastcgi: false,
    }];
    let config = fixture.config("flag", "");
    let changes = fixture.router.propose(&fixture.app, &config, &upstreams).unwrap();
    assert_eq!(changes.len(), 2, "the site and its link");
    assert!(changes[0].diff().contains("+    # alcedo: site"), "{}", changes[0].diff());
    assert!(!fixture.site().exists());
    fixture.configure(&config).unwrap();
    fixture.configure(&fixture.config("flag", "max_body = \"1MiB\"\n")).unwrap();
    let kept = |n: u64| fixture.dir().join("generations").join(format!("{n}.conf"));
    assert!(kept(1).exists() && kept(2).exists() && !kept(3).exists());
    fixture.router.revert(&fixture.app, 1).unwrap();
    assert!(
        fs::read_to_string(fixture.site()).unwrap().contains("client_max_body_size 104857600;")
    );
    let failure = Failure::from(fixture.router.revert(&fixture.app, 9).unwrap_err());
    assert!(failure.what.contains("generation 9"), "{failure:?}");
    fixture.switch(1, Slot::Green).unwrap();
    assert_eq!(fixture.answers(), "green");
    fixture.router.remove(&fixture.app).unwrap();
    assert!(!fixture.site().exists());
    assert!(!fixture.router.knows(&fixture.app));
}
