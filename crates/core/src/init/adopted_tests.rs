//! The posts' own layouts, as `init --adopt` sees them on their hosts.

use super::*;
use crate::nginx::{Adopted, Beside, adopt as read_sites, parse_dump};
use crate::units::{Unit, parse};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// nginx as it prints itself: the main file, then others.
fn sites(main: &str, others: &[(&str, &str)], links: &[(&str, &str)]) -> Vec<Adopted> {
    let mut text = format!("# configuration file /etc/nginx/nginx.conf:\n{main}\n\n");
    for (path, other) in others {
        text.push_str(&format!("# configuration file {path}:\n{other}\n\n"));
    }
    let links = links.iter().map(|(link, to)| (PathBuf::from(link), PathBuf::from(to))).collect();
    read_sites(&parse_dump(&text).unwrap(), &Beside { links, texts: BTreeMap::new() })
}

fn unit(name: &str, text: &str, env: &[(&str, &str)]) -> Vec<Unit> {
    let files = env.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
    parse(&Path::new("/etc/systemd/system").join(name), text, &files)
}

fn text<'a>(draft: &'a Draft, key: &str) -> &'a str {
    draft.get(key).and_then(serde_json::Value::as_str).unwrap_or("nothing")
}

fn empty(name: &str) -> Directory {
    Directory { name: name.to_owned(), files: BTreeMap::new() }
}

fn adopted(hand: &HandMade) -> Draft {
    let draft = adopt(hand, &empty("desk"), None).unwrap();
    check(&draft).unwrap_or_else(|error| panic!("{error}\n{}", render(&draft)));
    draft
}

fn s0() -> HandMade {
    let main = "http { include /etc/nginx/conf.d/*.conf; server { listen 443 ssl; server_name example.com; location / { proxy_pass http://example_app; proxy_set_header Host $host; } } }";
    let upstream = "upstream example_app { server 127.0.0.1:9002; # blue is live\n }";
    let service = |slot: &str, port: u16| {
        let text = format!(
            "[Service]\nUser=www-data\nWorkingDirectory=/srv/www/example.com/{slot}\nExecStart=/usr/bin/php -S 127.0.0.1:{port} -t public\n"
        );
        unit(&format!("example-{slot}.service"), &text, &[])
    };
    let shared = "/srv/www/example.com/shared";
    let links = [(".env", ".env"), ("public/uploads", "uploads")].map(|(at, to)| {
        (Path::new("/srv/www/example.com/green").join(at), Path::new(shared).join(to))
    });
    HandMade {
        sites: sites(main, &[("/etc/nginx/conf.d/example-upstream.conf", upstream)], &[]),
        units: [service("blue", 9001), service("green", 9002)].concat(),
        links: links.into(),
        ..HandMade::default()
    }
}

/// S0: which slot is live is in the address, never in the comment (S0-D3, S0-16).
#[test]
fn s0_is_taken_over_from_the_slot_whose_port_nginx_names() {
    let draft = adopted(&s0());
    assert_eq!(draft.app.as_str(), "example");
    assert_eq!(text(&draft, "web.command"), "/usr/bin/php -S 127.0.0.1:{port} -t public");
    assert_eq!(text(&draft, "release.source"), "/srv/www/example.com/green");
    assert_eq!(text(&draft, "systemd.user"), "www-data");
    assert_eq!(text(&draft, "router.adopt"), "/etc/nginx/conf.d/example-upstream.conf");
    assert_eq!(draft.get("router.domains"), Some(&serde_json::json!(["example.com"])));
    // S0-3: theirs, as long as they run.
    assert!(render(&draft).contains("# web.ports"), "{}", render(&draft));
    // S0-19, S0-20: both set-ups use the same ones, and the command for that is told.
    assert_eq!(draft.get("shared.files"), Some(&serde_json::json!([".env"])));
    assert_eq!(draft.get("shared.dirs"), Some(&serde_json::json!(["public/uploads"])));
    let told = format!("{:?}", draft.notes);
    assert!(told.contains("green is live on 127.0.0.1:9002"), "{told}");
    assert!(
        told.contains(
            "sudo mv /srv/www/example.com/shared/uploads /srv/example/shared/public/uploads"
        ),
        "{told}"
    );
    assert!(told.contains("disable --now example-blue.service example-green.service"), "{told}");
}

/// S1: behind `current`, with the program of the release's own virtualenv.
#[test]
fn s1_gets_a_name_a_root_and_a_command_of_its_own() {
    let main = "http { server { listen 80; server_name api.saltbox.example; include /etc/nginx/saltbox/api-upstream.conf; location / { proxy_pass $saltbox_upstream; proxy_set_header Host $host; } } }";
    let service = "[Service]\nUser=saltbox\nWorkingDirectory=/srv/saltbox/current/app\nEnvironmentFile=/etc/saltbox/saltbox-api-%i.env\nExecStart=/srv/saltbox/current/venv/bin/gunicorn \\\n  --bind 127.0.0.1:${PORT} \\\n  main:app\n";
    let env = [
        ("/etc/saltbox/saltbox-api-blue.env", "PORT=9011\n"),
        ("/etc/saltbox/saltbox-api-green.env", "PORT=9012\nLOG_LEVEL=info\nDB_PASSWORD=planted\n"),
    ];
    let hand = HandMade {
        sites: sites(
            main,
            &[(
                "/etc/nginx/saltbox/api-upstream.conf",
                "set $saltbox_upstream http://127.0.0.1:9012;",
            )],
            &[],
        ),
        units: unit("saltbox-api@.service", service, &env),
        units_taken: BTreeSet::from(["saltbox-api".to_owned()]),
        dirs_taken: BTreeSet::from(["saltbox".to_owned()]),
        links: BTreeMap::from([(
            "/srv/saltbox/current".into(),
            "/srv/saltbox/releases/r2026-04-14".into(),
        )]),
        ..HandMade::default()
    };
    let draft = adopted(&hand);
    assert_eq!(draft.app.as_str(), "saltbox");
    assert_eq!(text(&draft, "root"), "/srv/alcedo-saltbox");
    assert_eq!(
        text(&draft, "web.command"),
        "../venv/bin/gunicorn --bind 127.0.0.1:{port} main:app"
    );
    assert_eq!(text(&draft, "web.dir"), "app");
    assert_eq!(text(&draft, "release.source"), "/srv/saltbox/current");
    assert_eq!(text(&draft, "env.LOG_LEVEL"), "info");
    assert!(!render(&draft).contains("planted"), "{}", render(&draft));
}

/// S3: nobody's child, its colour in its arguments, no name that it would be asked by.
#[test]
fn s3_is_taken_over_from_the_process_that_listens() {
    let main = "http { include /etc/nginx/upstream.conf; server { listen 80; server_name _; location / { proxy_pass http://app_backend; } } }";
    let argv = ["/app/blue", "--port", "8081", "--color", "blue"].map(str::to_owned).to_vec();
    let process = Process {
        argv,
        dir: Some("/home/ubuntu".into()),
        user: Some("ubuntu".to_owned()),
        is_public: true,
    };
    let links = [("/etc/nginx/upstream.conf", "/etc/nginx/blue.conf")];
    let hand = HandMade {
        sites: sites(
            main,
            &[("/etc/nginx/upstream.conf", "upstream app_backend {\nserver 127.0.0.1:8081;\n}")],
            &links,
        ),
        listeners: BTreeMap::from([(8080, process.clone()), (8081, process)]),
        ..HandMade::default()
    };
    let draft = adopted(&hand);
    assert_eq!(draft.app.as_str(), "app");
    assert_eq!(text(&draft, "web.command"), "./blue --port {port} --color {slot}");
    assert_eq!(text(&draft, "release.source"), "/app");
    assert_eq!((text(&draft, "systemd.user"), draft.get("router.domains")), ("nothing", None));
    // 8080 is taken, 8081 is the live one's.
    assert_eq!(draft.get("router.listen"), Some(&serde_json::json!(["127.0.0.1:8082"])));
    assert!(draft.notes.iter().any(|note| note.id == "unit.none"));
}

#[test]
fn sources_here_say_how_it_is_built_and_started() {
    let main = "package main\nfunc main() { flag.String(\"port\", \"\", \"\") }\n// \"/healthz\"\n";
    let files = [("go.mod", "module shop\n"), ("main.go", main)]
        .map(|(path, text)| (path.to_owned(), text.to_owned()));
    let sources = Directory { name: "desk".to_owned(), files: files.into() };
    let draft = adopt(&s0(), &sources, None).unwrap();
    assert_eq!(text(&draft, "web.command"), "./shop --port {port}");
    assert!(text(&draft, "release.build").contains("go build"));
    assert_eq!(text(&draft, "router.adopt"), "/etc/nginx/conf.d/example-upstream.conf");
}

#[test]
fn nothing_is_guessed_of_other_layouts_other_machines_or_several_sites() {
    let refused = |hand: &HandMade, wanted: Option<&str>| {
        adopt(hand, &empty("desk"), wanted).unwrap_err().to_string()
    };
    assert!(refused(&HandMade::default(), None).contains("no site whose slot is chosen"));
    let mut far = s0();
    far.sites[0].live_address = "10.0.0.7:9001".to_owned();
    assert!(refused(&far, None).contains("no port of this host"));
    let mut two = s0();
    let mut other = two.sites[0].clone();
    other.domains = vec!["other.example".to_owned()];
    other.name = "other_app".to_owned();
    two.sites.push(other);
    assert!(refused(&two, None).contains("several sites"));
    assert_eq!(adopt(&two, &empty("desk"), Some("other")).unwrap().app.as_str(), "other");
}
