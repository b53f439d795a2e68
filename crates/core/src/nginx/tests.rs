//! The posts' own snippets, as `nginx -T` would print them, and what alcedo renders.

use super::*;
use crate::binding::Address;
use crate::config::{Input, NginxForm, RouterKind, Tls, load};
use crate::slot::Slot;
use crate::{AppName, ServiceName};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn dump(files: &[(&str, &str)]) -> Dump {
    let said = "nginx: the configuration file /etc/nginx/nginx.conf syntax is ok\n";
    let text: Vec<String> =
        files.iter().map(|(p, t)| format!("# configuration file {p}:\n{t}\n\n")).collect();
    parse_dump(&(said.to_owned() + &text.concat())).unwrap()
}

const MAIN: &str = "user www-data;\npid /run/nginx.pid;\nevents { worker_connections 768; }\nhttp {\n    include /etc/nginx/conf.d/*.conf;\n    include /etc/nginx/sites-enabled/*;\n}\n";

/// S0's site.
const S0_SITE: &str = "server {
    listen 443 ssl http2;
    server_name example.com;

    location / {
        proxy_pass http://example_app;
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
    }
}
";
const S0_UPSTREAM: &str = "upstream example_app {\n    server 127.0.0.1:9001;  # blue is live\n}\n";

/// S1's site, its TLS lines by certbot.
const S1_SITE: &str = "server {
    listen 80;
    server_name api.saltbox.example;
    location / {
        return 301 https://$host$request_uri;
    }
}

server {
    listen 443 ssl http2;
    server_name api.saltbox.example;
    ssl_certificate /etc/letsencrypt/live/api.saltbox.example/fullchain.pem; # managed by Certbot
    ssl_certificate_key /etc/letsencrypt/live/api.saltbox.example/privkey.pem; # managed by Certbot

    include /etc/nginx/saltbox/api-upstream.conf;

    location / {
        proxy_pass $saltbox_upstream;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_connect_timeout 3s;
        proxy_read_timeout 60s;
    }
    location = /nginx-health {
        access_log off;
        return 200 \"ok\\n\";
    }
}
";

/// S3's whole nginx.conf.
const S3_MAIN: &str = "events {
worker_connections 1024;
}
http {
include /etc/nginx/mime.types;
include /etc/nginx/upstream.conf; # Dynamic backend selection
server {
listen 80;
server_name _;
location / {
proxy_pass http://app_backend; # Routes to active instance
}
}
}
";

fn s0() -> Dump {
    dump(&[
        ("/etc/nginx/nginx.conf", MAIN),
        ("/etc/nginx/conf.d/example-upstream.conf", S0_UPSTREAM),
        ("/etc/nginx/sites-enabled/example.com", S0_SITE),
    ])
}

fn s1() -> Dump {
    dump(&[
        ("/etc/nginx/nginx.conf", MAIN),
        ("/etc/nginx/sites-enabled/saltbox-api.conf", S1_SITE),
        ("/etc/nginx/saltbox/api-upstream.conf", "set $saltbox_upstream http://127.0.0.1:9012;\n"),
    ])
}

fn s3() -> Dump {
    dump(&[
        ("/etc/nginx/nginx.conf", S3_MAIN),
        ("/etc/nginx/mime.types", "types { text/html html; }\n"),
        ("/etc/nginx/upstream.conf", "upstream app_backend {\nserver 127.0.0.1:8082;\n}\n"),
    ])
}

fn ids(found: &[crate::lint::Finding]) -> Vec<&str> {
    found.iter().map(|f| f.id.as_str()).collect()
}

#[test]
fn s0_upstream_file_is_read_by_its_address_and_never_by_its_comment() {
    let found = adopt(&s0(), &Beside::default());
    let [site] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(site.shape, Shape::EditedUpstream);
    assert_eq!(site.domains, ["example.com"]);
    assert_eq!(site.switch, Switch::File("/etc/nginx/conf.d/example-upstream.conf".into()));
    assert_eq!(site.live_address, "127.0.0.1:9001");
    assert!(site.has_tls);
    // S0-D3: `sed s/9001/9002/` leaves "# blue is live" behind.
    assert_eq!(site.live, None);
    assert_eq!(site.live_by_port(9001, 9002), Some(Slot::Blue));
    assert_eq!(site.live_by_port(9002, 9001), Some(Slot::Green));
}

#[test]
fn s0_refined_link_says_which_slot_is_live() {
    let found = dump(&[
        (
            "/etc/nginx/nginx.conf",
            "http { include /etc/nginx/app.conf; include /etc/nginx/sites-enabled/*; }",
        ),
        ("/etc/nginx/app.conf", "include /etc/nginx/up/example-upstream-active;\n"),
        (
            "/etc/nginx/up/example-upstream-active",
            "upstream example_app { server 127.0.0.1:9002; }\n",
        ),
        ("/etc/nginx/sites-enabled/example.com", S0_SITE),
    ]);
    let beside = Beside {
        links: [("/etc/nginx/up/example-upstream-active".into(), "example-upstream-green".into())]
            .into(),
        texts: [(
            PathBuf::from("/etc/nginx/up/example-upstream-blue"),
            "upstream example_app { server 127.0.0.1:9001; }".to_owned(),
        )]
        .into(),
    };
    let found = adopt(&found, &beside);
    let [site] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((site.shape.clone(), site.live), (Shape::LinkedUpstream, Some(Slot::Green)));
    let addresses = [(Slot::Blue, "127.0.0.1:9001"), (Slot::Green, "127.0.0.1:9002")];
    assert_eq!(site.addresses, addresses.map(|(s, a)| (s, a.to_owned())).into());
}

#[test]
fn s1_selector_is_read_from_the_variable_that_the_site_passes_to() {
    let found = adopt(&s1(), &Beside::default());
    let [site] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(site.shape, Shape::SetVariable);
    assert_eq!(site.name, "saltbox_upstream");
    assert_eq!(site.switch, Switch::File("/etc/nginx/saltbox/api-upstream.conf".into()));
    assert_eq!(site.live_by_port(9011, 9012), Some(Slot::Green));
    assert_eq!(site.site.to_string(), "/etc/nginx/sites-enabled/saltbox-api.conf:9");
}

#[test]
fn s3_link_in_the_main_file_is_read() {
    let beside = Beside {
        links: [("/etc/nginx/upstream.conf".into(), "/etc/nginx/green.conf".into())].into(),
        texts: [(
            "/etc/nginx/blue.conf".into(),
            "upstream app_backend {\nserver 127.0.0.1:8081;\n}".to_owned(),
        )]
        .into(),
    };
    let found = adopt(&s3(), &beside);
    let [site] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((site.shape.clone(), site.live), (Shape::LinkedUpstream, Some(Slot::Green)));
    assert_eq!(site.addresses.get(&Slot::Blue).map(String::as_str), Some("127.0.0.1:8081"));
    assert!(site.domains.is_empty());
}

#[test]
fn sites_of_no_known_layout_are_left_alone() {
    for (upstream, site) in [
        ("upstream example_app { server a:1; server b:2; }", S0_SITE),
        ("upstream other { server a:1; }", S0_SITE),
        ("", "server { location / { proxy_pass http://localhost:8081; } }"),
        ("", "server { set $x http://a:1; location / { proxy_pass $x; } }"),
        ("", "server { root /var/www; }"),
        ("map $http_host $up { default a; } upstream example_app { server a:1; }", S0_SITE),
    ] {
        let dump = dump(&[
            ("/etc/nginx/nginx.conf", MAIN),
            ("/etc/nginx/conf.d/up.conf", upstream),
            ("/etc/nginx/sites-enabled/site", site),
        ]);
        assert_eq!(adopt(&dump, &Beside::default()), [], "{upstream} {site}");
    }
}

#[test]
fn s0_d1_duplicate_upstream_is_found_from_the_files_alone() {
    let files: BTreeMap<PathBuf, String> = ["blue", "green", "active"]
        .map(|c| {
            (format!("/etc/nginx/conf.d/example-upstream-{c}.conf").into(), S0_UPSTREAM.to_owned())
        })
        .into();
    let found = duplicate_upstreams(&Host {
        files: &files,
        about: "",
        is_distribution: None,
        missing: &[],
    });
    assert_eq!(ids(&found), ["nginx.duplicate-upstream"]);
    assert!(found[0].message.contains("example-upstream-blue.conf:1"), "{found:?}");
    assert!(found[0].fix.is_some());
}

fn no_host() -> Host<'static> {
    static NONE: BTreeMap<PathBuf, String> = BTreeMap::new();
    Host { about: "", is_distribution: None, missing: &[], files: &NONE }
}

#[test]
fn defects_of_s0_s1_and_s3_are_found() {
    let of_s0 = findings(&s0(), &no_host());
    assert_eq!(ids(&of_s0), ["nginx.no-certificate", "nginx.no-keepalive", "nginx.upgrade"]);
    let of_s1 = findings(&s1(), &no_host());
    assert_eq!(ids(&of_s1), ["nginx.variable-pass", "nginx.upgrade"], "S1-D4");
    let of_s3 = findings(&s3(), &no_host());
    let wanted = [
        "nginx.host-header",
        "nginx.main-file-replaced",
        "nginx.no-keepalive",
        "nginx.client-address",
        "nginx.upgrade",
    ];
    assert_eq!(ids(&of_s3), wanted, "S3-D2");
    assert!(of_s0.iter().chain(&of_s1).chain(&of_s3).all(|f| f.fix.is_some()));
}

#[test]
fn missing_certificate_foreign_package_colour_trap_and_name_served_twice_are_found() {
    let dump = dump(&[
        ("/etc/nginx/nginx.conf", MAIN),
        ("/etc/nginx/conf.d/example-upstream-blue.conf", S0_UPSTREAM),
        ("/etc/nginx/sites-enabled/a", S0_SITE),
        ("/etc/nginx/sites-enabled/b", S0_SITE),
        ("/etc/nginx/sites-enabled/c", S1_SITE),
    ]);
    let missing = certificates(&dump);
    assert_eq!(missing[0], Path::new("/etc/letsencrypt/live/api.saltbox.example/fullchain.pem"));
    let host = Host {
        about: "nginx version: nginx/1.31.5\nbuilt by gcc",
        is_distribution: Some(false),
        missing: &missing[..1],
        ..no_host()
    };
    let found = findings(&dump, &host);
    for id in
        ["nginx.certificate", "nginx.not-distribution", "nginx.colour-in-glob", "nginx.name-twice"]
    {
        assert!(ids(&found).contains(&id), "{id} in {found:?}");
    }
}

#[test]
fn what_alcedo_renders_has_none_of_these_findings() {
    for form in [NginxForm::Flag, NginxForm::Include, NginxForm::Symlink] {
        let text = rendered(
            form,
            &Tls::Off,
            "domains = [\"shop.example\"]\naliases = [\"www.shop.example\"]\ntrusted_proxies = [\"10.0.0.0/8\"]\n",
            &Certbot::default(),
        );
        let selector = selector(Slot::Green, 7);
        let dump = dump(&[
            ("/etc/nginx/nginx.conf", MAIN),
            ("/etc/nginx/sites-enabled/alcedo-my-shop", &text),
            ("/var/lib/alcedo/router/my-shop/selector.conf", &selector),
        ]);
        let found = findings(&dump, &no_host());
        assert_eq!(ids(&found), [""; 0], "{form:?}: {found:?}\n{text}");
        assert_eq!(adopt(&dump, &Beside::default()), [], "our own site is not adopted");
    }
}

fn rendered(form: NginxForm, tls: &Tls, settings: &str, certbot: &Certbot) -> String {
    let text = format!(
        "app = \"my-shop\"\nweb.command = \"a {{port}}\"\n[router]\nkind = \"nginx\"\n{settings}"
    );
    let input = Input { text: &text, file: "alcedo.toml", environment: None };
    let config = load(input).unwrap_or_else(|e| panic!("{e}")).config;
    let address = |port| Address::Tcp(([127, 0, 0, 1], port).into());
    let upstream = |name, routes: &[&str], port| Upstream {
        is_fastcgi: false,
        service: ServiceName::new(name).unwrap(),
        routes: routes.iter().map(|r| (*r).to_owned()).collect(),
        blue: address(port),
        green: address(port + 1),
    };
    let upstreams = [upstream("web", &[], 20_000), upstream("api", &["/api"], 20_002)];
    render(&Site {
        app: &AppName::new("my-shop").unwrap(),
        router: &config.router,
        form,
        tls,
        upstreams: &upstreams,
        dir: Path::new("/var/lib/alcedo/router/my-shop"),
        log: Path::new("/var/lib/alcedo/router/my-shop/access.log"),
        status: ([127, 0, 0, 1], 19_000).into(),
        structure: 1,
        has_ipv6: true,
        certbot,
    })
    .unwrap()
}

#[test]
fn site_has_what_the_posts_ask_for() {
    let domain = "domains = [\"shop.example\"]\n";
    let text = rendered(NginxForm::Flag, &Tls::Off, domain, &Certbot::default());
    for wanted in [
        "server 127.0.0.1:20000;",
        "keepalive 64;",
        "if (-f /var/lib/alcedo/router/my-shop/green) {",
        "open_file_cache off;",
        "listen 80;",
        "listen [::]:80;",
        // S1-32
        "proxy_http_version 1.1;",
        "proxy_set_header Host $host;",
        "proxy_set_header X-Real-IP $remote_addr;",
        "proxy_set_header X-Forwarded-For $remote_addr;",
        "proxy_set_header X-Forwarded-Proto $scheme;",
        "proxy_connect_timeout 3s;",
        "proxy_read_timeout 60000ms;",
        "proxy_set_header Connection upgrade;",
        // S1-33
        "location = /nginx-health {",
        "location ^~ /api/ {",
        "add_header X-Alcedo-Slot $alcedo_slot always;",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    assert!(parse_dump(&format!("# configuration file /a:\n{text}")).is_ok());
}

/// S0-4, S0-D5: socket and root by the slot, the real path for PHP, and no dotfile for anybody.
#[test]
fn pool_of_php_is_chosen_with_its_document_root() {
    let router = "app = \"shop\"\nweb.command = \"a\"\nrouter.kind = \"nginx\"\n";
    let config = load(Input { text: router, file: "f", environment: None });
    let config = config.unwrap_or_else(|e| panic!("{e}")).config;
    let socket = |slot| Address::Unix(format!("/run/alcedo/sockets/shop-{slot}/web.sock").into());
    let upstream = Upstream {
        service: ServiceName::new("web").unwrap(),
        routes: Vec::new(),
        blue: socket("blue"),
        green: socket("green"),
        is_fastcgi: true,
    };
    let text = render(&Site {
        app: &AppName::new("shop").unwrap(),
        router: &config.router,
        form: NginxForm::Flag,
        tls: &Tls::Off,
        upstreams: &[upstream],
        dir: Path::new("/var/lib/alcedo/router/shop"),
        log: Path::new("/var/log/alcedo/shop/access.log"),
        status: ([127, 0, 0, 1], 19_000).into(),
        structure: 1,
        has_ipv6: false,
        certbot: &Certbot::default(),
    })
    .unwrap();
    for wanted in [
        "server unix:/run/alcedo/sockets/shop-green/web.sock;",
        "fastcgi_pass alcedo_shop.web.$alcedo_slot;",
        "root /var/lib/alcedo/router/shop/root-web-$alcedo_slot;",
        "fastcgi_param SCRIPT_FILENAME $realpath_root$fastcgi_script_name;",
        "try_files $uri $uri/ /index.php$is_args$args;",
        "location ~ /\\.(?!well-known/) {",
        "access_log /var/log/alcedo/shop/access.log alcedo_shop;",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    assert!(!text.contains("keepalive") && !text.contains("proxy_pass"), "{text}");
}

#[test]
fn certificates_bring_a_redirect_from_plain_http() {
    let tls = Tls::Files { cert: "/etc/ssl/a.pem".into(), key: "/etc/ssl/a.key".into() };
    let settings = "domains = [\"shop.example\"]\naliases = [\"www.shop.example\"]\n";
    let text = rendered(NginxForm::Flag, &tls, settings, &Certbot::default());
    assert!(text.contains("listen 443 ssl http2;"), "{text}");
    assert!(text.contains("return 301 https://$host$request_uri;"), "{text}");
    assert!(text.contains("return 301 https://shop.example$request_uri;"), "{text}");
    let bad = Tls::Files { cert: "/etc/a;b".into(), key: "/etc/k".into() };
    assert_eq!(check_render(&bad), Err(RenderError::Path { path: "/etc/a;b".to_owned() }));
}

fn check_render(tls: &Tls) -> Result<String, RenderError> {
    let router = load(Input {
        text: "app = \"a\"\nweb.command = \"a {port}\"\n",
        file: "f",
        environment: None,
    })
    .unwrap_or_else(|e| panic!("{e}"))
    .config
    .router;
    render(&Site {
        app: &AppName::new("a").unwrap(),
        router: &router,
        form: NginxForm::Flag,
        tls,
        upstreams: &[],
        dir: Path::new("/d"),
        log: Path::new("/d/access.log"),
        status: ([127, 0, 0, 1], 19_000).into(),
        structure: 1,
        has_ipv6: false,
        certbot: &Certbot::default(),
    })
}

/// What `certbot --nginx` makes of a site.
fn by_certbot(text: &str) -> String {
    let text = text.replacen("    listen 80;\n    listen [::]:80;\n", "", 1);
    let (site, status) = text.split_once("\nserver {\n    # alcedo: status").unwrap();
    let site = site.trim_end().strip_suffix('}').unwrap();
    format!(
        "{site}
    listen [::]:443 ssl ipv6only=on; # managed by Certbot
    listen 443 ssl; # managed by Certbot
    ssl_certificate /etc/letsencrypt/live/shop.example/fullchain.pem; # managed by Certbot
    include /etc/letsencrypt/options-ssl-nginx.conf; # managed by Certbot

}}

server {{
    # alcedo: status{status}
server {{
    if ($host = shop.example) {{
        return 301 https://$host$request_uri;
    }} # managed by Certbot


    listen 80;
    listen [::]:80;
    server_name shop.example;
    return 404; # managed by Certbot


}}"
    )
}

#[test]
fn what_certbot_wrote_is_no_edit_and_survives_the_next_rendering() {
    let domain = "domains = [\"shop.example\"]\n";
    let ours = rendered(NginxForm::Flag, &Tls::Keep, domain, &Certbot::default());
    let theirs = by_certbot(&ours);
    assert!(same_but_for_certbot(&ours, &theirs));
    assert!(!same_but_for_certbot(
        &ours,
        &theirs.replace("connect_timeout 3s", "connect_timeout 9s")
    ));
    let certbot = split_certbot(&theirs);
    let next =
        rendered(NginxForm::Flag, &Tls::Keep, &format!("{domain}max_body = \"1MiB\"\n"), &certbot);
    for line in theirs.lines().filter(|l| l.contains("managed by Certbot")) {
        assert!(next.contains(line.trim()), "{line} in {next}");
    }
    // Port 80 is its redirect's now: twice would be one name served twice.
    assert_eq!(next.matches("listen 80;").count(), 1, "{next}");
    assert_eq!(split_certbot(&next), certbot, "and again");
}

#[test]
fn text_that_nginx_would_not_take_is_an_error_with_its_place() {
    for (text, line) in
        [("http {\n", 1), ("http {}\n}\n", 2), ("a b\n", 1), ("a \"b\n", 1), (";", 1), ("{", 1)]
    {
        let error = parse_dump(&format!("# configuration file /c:\n{text}")).unwrap_err();
        assert!(error.to_string().contains(&format!("/c:{line}")), "{text:?}: {error}");
    }
    assert_eq!(parse_dump("nginx: [emerg] …"), Err(TextError::Empty));
    let deep = "a {".repeat(100_000);
    assert!(parse_dump(&format!("# configuration file /c:\n{deep}")).is_err());
    let endless = dump_of_itself();
    assert!(endless.is_err(), "a file that includes itself");
}

fn dump_of_itself() -> Result<Dump, TextError> {
    parse_dump("# configuration file /c:\ninclude /c;\n")
}

#[test]
fn words_quotes_and_variables_are_read_as_nginx_reads_them() {
    let dump = dump(&[(
        "/etc/nginx/nginx.conf",
        "http { log_format a '{\"x\":\"$y\"}' \"b\\\"c\"; # } ;\n map ${x}y $z { ~*^a\\;b 1; } }",
    )]);
    let http: Vec<&Directive> = dump.http().collect();
    assert_eq!(http[0].args, ["a", "{\"x\":\"$y\"}", "b\"c"]);
    assert_eq!(http[1].args, ["${x}y", "$z"]);
    assert_eq!(quoted("/a b"), "\"/a b\"");
}

#[test]
fn default_of_nginx_is_flag_and_keep() {
    let text = "app = \"a\"\nweb.command = \"a {port}\"\nrouter.kind = \"nginx\"\n";
    let config =
        load(Input { text, file: "f", environment: None }).unwrap_or_else(|e| panic!("{e}")).config;
    assert_eq!(config.router.kind, RouterKind::Nginx { form: NginxForm::Flag, tls: Tls::Keep });
}
