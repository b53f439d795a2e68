//! What in a host's nginx stands against a switch that loses nothing: each with an id, the place, a reason and a fix.
//! Knows the defects of the hand-made layouts that people follow (requirements S0-D*, S1-D*, S3-D*).

use super::text::{Directive, Dump, Place, fits};
use crate::lint::{Finding, Severity};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What is known of the host beside its configuration.
#[derive(Debug, Clone)]
pub struct Host<'a> {
    /// `nginx -V`.
    pub about: &'a str,
    /// Whether the program is of Debian's or Ubuntu's package; `None`: not known.
    pub is_distribution: Option<bool>,
    /// Files that were looked for and are not there.
    pub missing: &'a [PathBuf],
    /// Files in directories that nginx includes: where an upstream is defined twice, `nginx -T` prints nothing.
    pub files: &'a BTreeMap<PathBuf, String>,
}

/// Certificates that the configuration names: whoever calls looks whether they are there.
pub fn certificates(dump: &Dump) -> Vec<PathBuf> {
    let all = dump.main.iter().flat_map(Directive::walk);
    let named = all.filter(|d| d.name == "ssl_certificate" || d.name == "ssl_certificate_key");
    // A variable in it is looked up with each request.
    let fixed = named.map(Directive::arg).filter(|path| !path.contains('$'));
    let base = dump.path.parent().unwrap_or(Path::new("/"));
    fixed.map(|path| base.join(path)).collect()
}

/// Everything found, the worst first.
pub fn findings(dump: &Dump, host: &Host<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for server in dump.http().filter(|d| d.name == "server") {
        for location in server.walk() {
            of_proxy(dump, server, location, &mut found);
        }
        conflicts(dump, server, &mut found);
    }
    not_kept_alive(dump, &mut found);
    missing_certificates(dump, host, &mut found);
    found.extend(colours_in_a_glob(dump));
    found.extend(whole_main_file(dump));
    found.extend(not_the_distribution(host));
    found.sort_by(|a, b| (a.severity, &a.id, &a.subject).cmp(&(b.severity, &b.id, &b.subject)));
    found.dedup();
    found
}

/// What can be said when nginx refuses its configuration, from the files alone (S0-D1).
pub fn duplicate_upstreams(host: &Host<'_>) -> Vec<Finding> {
    let mut seen: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for (file, text) in host.files {
        let Ok(directives) = super::text::parse_file(file, text) else { continue };
        for upstream in directives.iter().filter(|d| d.name == "upstream") {
            seen.entry(upstream.arg().to_owned()).or_default().push(upstream.place.clone());
        }
    }
    let twice = seen.into_iter().filter(|(_, places)| places.len() > 1);
    let one = |(name, places): (String, Vec<Place>)| {
        let places: Vec<String> = places.iter().map(ToString::to_string).collect();
        finding(
            "nginx.duplicate-upstream",
            Severity::Error,
            &places[1],
            format!(
                "upstream {name} is defined in {}: nginx refuses every reload of every site on this host",
                places.join(" and in ")
            ),
            "keep files of one colour where no `include *.conf` finds them, or without the suffix .conf",
        )
    };
    twice.map(one).collect()
}

fn finding(id: &str, severity: Severity, subject: &str, message: String, fix: &str) -> Finding {
    Finding {
        id: id.to_owned(),
        severity,
        subject: subject.to_owned(),
        message,
        fix: Some(fix.to_owned()),
        accepted: false,
    }
}

fn of_proxy(dump: &Dump, server: &Directive, at: &Directive, out: &mut Vec<Finding>) {
    for pass in at.all("proxy_pass") {
        let place = pass.place.to_string();
        let host = pass.arg().split("://").nth(1).unwrap_or("").split('/').next().unwrap_or("");
        let set = |name: &str| headers(dump, server, at).get(&name.to_ascii_lowercase()).cloned();
        let is_upstream = upstreams(dump).any(|u| matches_upstream(host, u.arg()));
        if pass.arg().contains('$') && !is_upstream {
            out.push(finding(
                "nginx.variable-pass",
                Severity::Warning,
                &place,
                format!("`proxy_pass {}` goes to an address in a variable: a new connection for every request", pass.arg()),
                "name an `upstream` with `keepalive`, and let the variable choose among upstreams",
            ));
        }
        if set("host").is_none() {
            out.push(finding(
                "nginx.host-header",
                Severity::Warning,
                &place,
                "the app is not told the name that was asked for".to_owned(),
                "proxy_set_header Host $host;",
            ));
        }
        if set("x-forwarded-for").is_none() && set("x-real-ip").is_none() {
            out.push(finding(
                "nginx.client-address",
                Severity::Info,
                &place,
                "the app sees nginx's address instead of the client's".to_owned(),
                "proxy_set_header X-Forwarded-For $remote_addr;",
            ));
        }
        if set("upgrade").is_none() {
            out.push(finding(
                "nginx.upgrade",
                Severity::Info,
                &place,
                "WebSockets do not get through".to_owned(),
                "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";",
            ));
        }
    }
}

/// Whether the host of a `proxy_pass` means the upstream; each variable in it may be anything.
fn matches_upstream(host: &str, upstream: &str) -> bool {
    let mut pattern = String::new();
    let mut chars = host.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '$' {
            while chars.next_if(|c| c.is_ascii_alphanumeric() || "_{}".contains(*c)).is_some() {}
            pattern.push('*');
        } else {
            pattern.push(c);
        }
    }
    pattern != "*" && fits(&pattern, Path::new(upstream))
}

/// Headers that a location sends on: its own ones, else the server's, else those of `http`.
fn headers(dump: &Dump, server: &Directive, at: &Directive) -> BTreeMap<String, String> {
    let of = |block: &[Directive]| -> BTreeMap<String, String> {
        let set = block.iter().filter(|d| d.name == "proxy_set_header");
        set.map(|d| (d.arg().to_ascii_lowercase(), d.args.get(1).cloned().unwrap_or_default()))
            .collect()
    };
    let http: Vec<Directive> =
        dump.http().filter(|d| d.name == "proxy_set_header").cloned().collect();
    [of(&at.block), of(&server.block), of(&http)]
        .into_iter()
        .find(|set| !set.is_empty())
        .unwrap_or_default()
}

fn upstreams(dump: &Dump) -> impl Iterator<Item = &Directive> {
    dump.http().filter(|d| d.name == "upstream")
}

fn not_kept_alive(dump: &Dump, out: &mut Vec<Finding>) {
    for upstream in upstreams(dump).filter(|u| u.all("keepalive").next().is_none()) {
        out.push(finding(
            "nginx.no-keepalive",
            Severity::Warning,
            &upstream.place.to_string(),
            format!("upstream {} opens a new connection for every request", upstream.arg()),
            "keepalive 32; and in the location: proxy_http_version 1.1; proxy_set_header Connection \"\";",
        ));
    }
}

/// nginx serves the first of two with the same name on the same address, and only warns.
fn conflicts(dump: &Dump, server: &Directive, out: &mut Vec<Finding>) {
    let listens = |s: &Directive| -> BTreeSet<String> {
        let own: BTreeSet<String> = s.all("listen").map(|l| l.arg().to_owned()).collect();
        if own.is_empty() { ["80".to_owned()].into() } else { own }
    };
    let before = dump.http().filter(|d| d.name == "server").take_while(|d| d.place != server.place);
    for other in before {
        let names: Vec<&String> = other.all("server_name").flat_map(|n| &n.args).collect();
        let mut own = server.all("server_name").flat_map(|n| &n.args);
        let same = own.find(|name| names.contains(name) && *name != "_");
        if let (Some(name), false) = (same, listens(other).is_disjoint(&listens(server))) {
            out.push(finding(
                "nginx.name-twice",
                Severity::Error,
                &server.place.to_string(),
                format!("{name} is served by {} already: this one is never asked", other.place),
                "remove one of the two",
            ));
        }
    }
}

fn missing_certificates(dump: &Dump, host: &Host<'_>, out: &mut Vec<Finding>) {
    let missing: Vec<PathBuf> =
        certificates(dump).into_iter().filter(|path| host.missing.contains(path)).collect();
    for path in missing {
        out.push(finding(
            "nginx.certificate",
            Severity::Error,
            &path.display().to_string(),
            "the certificate is not there: the next reload or reboot fails".to_owned(),
            "certbot certificates; certbot --nginx",
        ));
    }
    for server in dump.http().filter(|d| d.name == "server") {
        let is_tls = server.all("listen").find(|l| l.args.iter().any(|a| a == "ssl"));
        let has = server.all("ssl_certificate").next().is_some()
            || dump.http().any(|d| d.name == "ssl_certificate");
        if let (Some(listen), false) = (is_tls, has) {
            out.push(finding(
                "nginx.no-certificate",
                Severity::Error,
                &listen.place.to_string(),
                "it listens for TLS and has no certificate: every connection fails".to_owned(),
                "certbot --nginx",
            ));
        }
    }
}

/// S0-D1, S0-39: files of one colour where a glob finds them besides the file that chooses.
fn colours_in_a_glob(dump: &Dump) -> Vec<Finding> {
    let globs: Vec<&String> =
        dump.includes.iter().map(|(p, _)| p).filter(|p| p.contains('*')).collect();
    let is_colour = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        name.contains("blue") || name.contains("green")
    };
    let found = dump.files.keys().filter(is_colour);
    let trapped = found.filter(|file| globs.iter().any(|glob| fits(glob, file)));
    let one = |file: &PathBuf| {
        finding(
            "nginx.colour-in-glob",
            Severity::Warning,
            &file.display().to_string(),
            "a file of one colour is included by a pattern: with the other colour beside it, nginx refuses every reload".to_owned(),
            "move it out of the directory, or give it another suffix than .conf",
        )
    };
    trapped.map(one).collect()
}

/// S3-D2: a main file that replaced the distribution's.
fn whole_main_file(dump: &Dump) -> Option<Finding> {
    let has_sites = dump.includes.iter().any(|(p, _)| p.contains('*'));
    let server = dump.http().find(|d| d.name == "server" && d.place.file == dump.path)?;
    (!has_sites).then(|| {
        finding(
            "nginx.main-file-replaced",
            Severity::Warning,
            &server.place.to_string(),
            format!(
                "{} holds the site itself and includes neither sites-enabled nor conf.d",
                dump.path.display()
            ),
            "put the distribution's nginx.conf back and the site into sites-available",
        )
    })
}

fn not_the_distribution(host: &Host<'_>) -> Option<Finding> {
    let version = host.about.lines().find(|l| l.contains("nginx version"))?;
    (host.is_distribution == Some(false)).then(|| {
        finding(
            "nginx.not-distribution",
            Severity::Info,
            version.trim(),
            "this nginx is not the distribution's package: its paths and its updates are its own"
                .to_owned(),
            "nothing, if that is meant",
        )
    })
}
