//! The site that alcedo gives to nginx: one file with both upstreams, the choice between them, and a status page on
//! loopback that says which slot this nginx sends to now.

use super::certbot::{Certbot, MARK};
use super::text::quoted;
use crate::binding::Address;
use crate::config::{NginxForm, Router, Tls};
use crate::names::{AppName, ServiceName};
use crate::slot::Slot;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// How a site of ours begins.
pub const SITE_ABOUT: &str = "# Site of ";
/// Where the status page is, on the loopback listener.
pub const STATUS_PATH: &str = "/alcedo-router";
/// Idle connections to the app that each worker keeps.
const KEEPALIVE: u32 = 64;
/// How long an idle one is kept. Short on purpose: what is still open this long after a switch is a request, so a drain
/// can be seen from outside; and no app closes an idle connection sooner than nginx does, which would cost a request.
/// A busy site uses its connections again long before that.
pub const KEEPALIVE_TIMEOUT_MS: u64 = 50;
/// As in the posts (S1-32).
pub(super) const CONNECT_TIMEOUT: &str = "3s";
/// Upgraded connections are not cut; the app or the client ends them.
const UPGRADED_TIMEOUT: &str = "1d";

/// What a site is made from.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// The app, by its name on the host.
    pub app: &'a AppName,
    /// `[router]`.
    pub router: &'a Router,
    /// How nginx learns which slot is live.
    pub form: NginxForm,
    /// Where the certificate is.
    pub tls: &'a Tls,
    /// Where each service listens; exactly one has no routes.
    pub upstreams: &'a [Upstream],
    /// The app's own directory: flag or selector.
    pub dir: &'a Path,
    /// The access log.
    pub log: &'a Path,
    /// Where the status page listens.
    pub status: SocketAddr,
    /// Counts the texts of this site.
    pub structure: u64,
    /// Whether a bare port means IPv6, too.
    pub has_ipv6: bool,
    /// What certbot wrote into the file that is there.
    pub certbot: &'a Certbot,
}

/// One service, in both slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its name.
    pub service: ServiceName,
    /// Path prefixes that go to it; empty: all others.
    pub routes: Vec<String>,
    /// In blue.
    pub blue: Address,
    /// In green.
    pub green: Address,
    /// It speaks FastCGI, and nginx serves the files of its document root.
    #[serde(default)]
    pub is_fastcgi: bool,
}

impl Upstream {
    /// The name of the link to its document root in a slot, beside the flag.
    pub fn root_link(service: &ServiceName, slot: &str) -> String {
        format!("root-{service}-{slot}")
    }
}

/// Why there is no site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A path has a character that nginx would read as its own.
    #[error("name {path} to nginx: it has a character other than letters, digits and / . _ - + @")]
    Path {
        /// Which.
        path: String,
    },
    /// No service takes what no other one takes.
    #[error("find the service that takes all paths")]
    NoRoot,
}

/// What the status page answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectiveAnswer {
    /// The app's own directory: no other app of no other alcedo has the same.
    pub dir: String,
    /// The slot that a request would go to.
    pub slot: String,
    /// Of the selector; empty in the flag form.
    pub generation: String,
    /// Of the site's text.
    pub structure: u64,
}

/// The comment that begins a site.
pub fn header_of(app: &AppName) -> String {
    format!("{SITE_ABOUT}{app}, written by alcedo")
}

/// The whole file.
pub fn render(site: &Site<'_>) -> Result<String, RenderError> {
    check_path(site.dir)?;
    check_path(site.log)?;
    if let Tls::Files { cert, key } = site.tls {
        check_path(cert)?;
        check_path(key)?;
    }
    for upstream in site.upstreams {
        for address in [&upstream.blue, &upstream.green] {
            if let Address::Unix(path) = address {
                check_path(path)?;
            }
        }
    }
    if !site.upstreams.iter().any(|u| u.routes.is_empty()) {
        return Err(RenderError::NoRoot);
    }
    let mut text = Text(String::new());
    site.head(&mut text);
    site.upstreams(&mut text);
    site.maps(&mut text);
    site.servers(&mut text);
    for block in &site.certbot.blocks {
        text.line("");
        text.line(block);
    }
    Ok(text.0)
}

/// What the selector file says for a slot; in the symlink form there is one for each slot, without a generation.
pub fn selector(slot: Slot, generation: u64) -> String {
    format!(
        "# {slot} is live. Written by alcedo with each switch.\nset $alcedo_slot {slot};\nset $alcedo_generation {generation};\n"
    )
}

fn check_path(path: &Path) -> Result<(), RenderError> {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@".contains(c);
    let text = path.to_str().unwrap_or("\0");
    if text.chars().all(is_plain) {
        return Ok(());
    }
    Err(RenderError::Path { path: path.display().to_string() })
}

pub(super) struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    pub(super) fn put(&mut self, depth: usize, line: &str) {
        let _ = writeln!(self.0, "{:1$}{line}", "", depth * 4);
    }
}

impl Site<'_> {
    /// As a part of names that nginx wants to be made of letters, digits and underscores; no two apps get the same one.
    fn name(&self) -> String {
        format!("alcedo_{}", self.app.as_str().replace('-', "_"))
    }

    pub(super) fn upstream_name(&self, service: &ServiceName) -> String {
        format!("{}.{service}", self.name())
    }

    fn head(&self, text: &mut Text) {
        text.line(&format!("{} (structure {}).", header_of(self.app), self.structure));
        text.line(
            "# Edits by hand are found and never overwritten silently; what certbot writes stays.",
        );
        let how = match self.form {
            NginxForm::Flag => format!(
                "For each request the file {}/green says which slot answers: there, green; not there, blue.",
                self.dir.display()
            ),
            NginxForm::Include | NginxForm::Symlink => {
                format!("Which slot answers stands in {}/selector.conf.", self.dir.display())
            }
        };
        text.line(&format!("# {how}"));
    }

    fn upstreams(&self, text: &mut Text) {
        for upstream in self.upstreams {
            let name = self.upstream_name(&upstream.service);
            for (slot, address) in [(Slot::Blue, &upstream.blue), (Slot::Green, &upstream.green)] {
                text.line("");
                text.put(0, &format!("upstream {name}.{slot} {{"));
                text.put(1, &format!("server {address};"));
                // A child of php-fpm that a connection is kept to answers nobody else.
                if !upstream.is_fastcgi {
                    text.put(1, &format!("keepalive {KEEPALIVE};"));
                    text.put(1, "keepalive_requests 1000000;");
                    text.put(1, &format!("keepalive_timeout {KEEPALIVE_TIMEOUT_MS}ms;"));
                }
                text.line("}");
            }
        }
    }

    fn maps(&self, text: &mut Text) {
        let name = self.name();
        text.line("");
        text.put(0, &format!("map $http_upgrade ${name}_upgrade {{"));
        text.put(1, "default 1;");
        text.put(1, "\"\" 0;");
        text.put(1, "~*^h2c 0;");
        text.line("}");
        if !self.router.trusted_proxies.is_empty() {
            text.put(0, &format!("geo $realip_remote_addr ${name}_trusted {{"));
            text.put(1, "default 0;");
            for network in &self.router.trusted_proxies {
                text.put(1, &format!("{network} 1;"));
            }
            text.line("}");
            text.put(
                0,
                &format!("map \"${name}_trusted$http_x_forwarded_proto\" ${name}_scheme {{"),
            );
            text.put(1, "default $scheme;");
            text.put(1, "1https https;");
            text.put(1, "1http http;");
            text.line("}");
        }
        text.put(0, &format!("log_format {name} escape=json"));
        text.put(1, "'{\"at\":$msec,\"slot\":\"$alcedo_slot\",\"status\":\"$status\",\"first\":\"$upstream_header_time\",'");
        text.put(1, "'\"took\":$request_time,\"upstream\":\"$upstream_addr\",\"method\":\"$request_method\",\"path\":\"$uri\"}';");
    }

    fn servers(&self, text: &mut Text) {
        let is_tls = |listen: &&String| listen.ends_with("443");
        let (secure, plain): (Vec<&String>, Vec<&String>) =
            self.router.listen.iter().partition(is_tls);
        let names = match self.router.domains.as_slice() {
            [] => "_".to_owned(),
            domains => domains.join(" "),
        };
        match self.tls {
            Tls::Files { .. } => {
                let default = "443".to_owned();
                let secure = if secure.is_empty() { vec![&default] } else { secure };
                self.server(text, "site", &secure, &names, true);
                self.redirect(text, "redirect", &plain, &names, "https://$host$request_uri", false);
                self.aliases(text, &plain, &secure, "https");
            }
            Tls::Off | Tls::Keep => {
                // 443 under `keep` is certbot's or the owner's to add: without a certificate it would answer nothing.
                self.server(text, "site", &plain, &names, false);
                self.aliases(text, &plain, &[], "$scheme");
            }
        }
        self.status_server(text);
    }

    fn listens(&self, text: &mut Text, block: &str, listens: &[&String], option: &str) {
        if self.certbot.without_listen.contains(block) {
            return;
        }
        for listen in listens {
            let is_port = listen.bytes().all(|b| b.is_ascii_digit());
            text.put(1, &format!("listen {listen}{option};"));
            if is_port && self.has_ipv6 {
                text.put(1, &format!("listen [::]:{listen}{option};"));
            }
        }
    }

    fn open(&self, text: &mut Text, block: &str) {
        text.line("");
        text.line("server {");
        text.put(1, &format!("{MARK}{block}"));
    }

    fn close(&self, text: &mut Text, block: &str) {
        for line in self.certbot.lines.get(block).into_iter().flatten() {
            text.put(1, line);
        }
        text.line("}");
    }

    fn server(&self, text: &mut Text, block: &str, listens: &[&String], names: &str, tls: bool) {
        self.open(text, block);
        self.listens(text, block, listens, if tls { " ssl http2" } else { "" });
        text.put(1, &format!("server_name {names};"));
        if tls {
            self.certificate(text);
        }
        self.choice(text);
        self.serving(text);
        self.close(text, block);
    }

    fn certificate(&self, text: &mut Text) {
        if let Tls::Files { cert, key } = self.tls {
            text.put(1, &format!("ssl_certificate {};", cert.display()));
            text.put(1, &format!("ssl_certificate_key {};", key.display()));
            text.put(1, "ssl_protocols TLSv1.2 TLSv1.3;");
        }
    }

    /// Which slot: for each request in the flag form.
    fn choice(&self, text: &mut Text) {
        match self.form {
            NginxForm::Flag => {
                text.put(1, "set $alcedo_slot blue;");
                let flag = self.dir.join("green");
                text.put(1, &format!("if (-f {}) {{", flag.display()));
                text.put(2, "set $alcedo_slot green;");
                text.put(1, "}");
                self.passes(text);
                text.put(1, "set $alcedo_generation \"\";");
                text.put(1, "open_file_cache off;");
            }
            NginxForm::Include | NginxForm::Symlink => {
                text.put(1, &format!("include {}/selector.conf;", self.dir.display()));
            }
        }
        text.put(1, "uninitialized_variable_warn off;");
    }

    fn serving(&self, text: &mut Text) {
        let name = self.name();
        text.put(1, &format!("access_log {} {name};", self.log.display()));
        text.put(1, "add_header X-Alcedo-Slot $alcedo_slot always;");
        self.pass_link(text);
        text.put(1, &format!("client_max_body_size {};", self.router.max_body_bytes));
        if !self.router.trusted_proxies.is_empty() {
            for network in &self.router.trusted_proxies {
                text.put(1, &format!("set_real_ip_from {network};"));
            }
            text.put(1, "real_ip_header X-Forwarded-For;");
            text.put(1, "real_ip_recursive on;");
        }
        text.line("");
        text.put(1, "location = /nginx-health {");
        text.put(2, "access_log off;");
        text.put(2, "default_type text/plain;");
        text.put(2, "return 200 \"ok\\n\";");
        text.put(1, "}");
        for upstream in self.upstreams {
            if upstream.is_fastcgi {
                super::fastcgi::locations(self, text, upstream);
                continue;
            }
            for route in &upstream.routes {
                self.location(text, &format!("= {}", quoted(route)), upstream);
                self.location(text, &format!("^~ {}", quoted(&format!("{route}/"))), upstream);
            }
            if upstream.routes.is_empty() {
                self.location(text, "/", upstream);
            }
            self.upgraded(text, upstream);
        }
    }

    fn location(&self, text: &mut Text, what: &str, upstream: &Upstream) {
        text.put(1, &format!("location {what} {{"));
        // `return` is the one thing that is always safe inside `if`: the request goes on in the named location.
        text.put(2, &format!("error_page 418 = @upgraded_{};", upstream.service));
        text.put(2, &format!("if (${}_upgrade) {{", self.name()));
        text.put(3, "return 418;");
        text.put(2, "}");
        self.proxy(
            text,
            upstream,
            ("", ""),
            self.router.timeout.as_millis().max(1).to_string() + "ms",
        );
        text.put(1, "}");
    }

    fn upgraded(&self, text: &mut Text, upstream: &Upstream) {
        text.put(1, &format!("location @upgraded_{} {{", upstream.service));
        self.proxy(text, upstream, ("$http_upgrade", "upgrade"), UPGRADED_TIMEOUT.to_owned());
        text.put(1, "}");
    }

    fn proxy(&self, text: &mut Text, upstream: &Upstream, upgrade: (&str, &str), timeout: String) {
        let (scheme, host) = (self.scheme(), self.host());
        let headers = [
            ("Host", host),
            ("X-Real-IP", "$remote_addr"),
            ("X-Forwarded-For", "$remote_addr"),
            ("X-Forwarded-Proto", &scheme),
            ("X-Forwarded-Host", host),
            ("X-Alcedo-Slot", "\"\""),
            ("X-Alcedo-Release", "\"\""),
            ("Upgrade", if upgrade.0.is_empty() { "\"\"" } else { upgrade.0 }),
            ("Connection", if upgrade.1.is_empty() { "\"\"" } else { upgrade.1 }),
        ];
        text.put(
            2,
            &format!("proxy_pass http://{}.$alcedo_slot;", self.upstream_name(&upstream.service)),
        );
        text.put(2, "proxy_http_version 1.1;");
        for (name, value) in headers {
            text.put(2, &format!("proxy_set_header {name} {value};"));
        }
        text.put(2, "proxy_hide_header X-Alcedo-Slot;");
        text.put(2, "proxy_redirect off;");
        text.put(2, &format!("proxy_connect_timeout {CONNECT_TIMEOUT};"));
        text.put(2, &format!("proxy_send_timeout {timeout};"));
        text.put(2, &format!("proxy_read_timeout {timeout};"));
    }

    /// As the client has it, in the word of whoever is trusted.
    pub(super) fn scheme(&self) -> String {
        if self.router.trusted_proxies.is_empty() {
            return "$scheme".to_owned();
        }
        format!("${}_scheme", self.name())
    }

    /// As the client wrote it.
    pub(super) fn host(&self) -> &'static str {
        match self.router.listen.iter().all(|l| l == "80" || l == "443") {
            true => "$host",
            false => "$host:$server_port",
        }
    }

    fn aliases(&self, text: &mut Text, plain: &[&String], secure: &[&String], scheme: &str) {
        let (Some(domain), false) = (self.router.domains.first(), self.router.aliases.is_empty())
        else {
            return;
        };
        let names = self.router.aliases.join(" ");
        let to = format!("{scheme}://{domain}$request_uri");
        self.redirect(text, "aliases", plain, &names, &to, false);
        if !secure.is_empty() {
            self.redirect(text, "secure-aliases", secure, &names, &to, true);
        }
    }

    fn redirect(
        &self,
        text: &mut Text,
        block: &str,
        listens: &[&String],
        names: &str,
        to: &str,
        tls: bool,
    ) {
        if listens.is_empty() {
            return;
        }
        self.open(text, block);
        self.listens(text, block, listens, if tls { " ssl http2" } else { "" });
        text.put(1, &format!("server_name {names};"));
        if tls {
            self.certificate(text);
        }
        text.put(1, "access_log off;");
        text.put(1, "location = /nginx-health {");
        text.put(2, "default_type text/plain;");
        text.put(2, "return 200 \"ok\\n\";");
        text.put(1, "}");
        text.put(1, "location / {");
        text.put(2, &format!("return 301 {to};"));
        text.put(1, "}");
        self.close(text, block);
    }

    /// On loopback: the status page, and the whole site without TLS for whoever verifies it from here.
    fn status_server(&self, text: &mut Text) {
        self.open(text, "status");
        text.put(1, &format!("listen {};", self.status));
        text.put(1, "server_name _;");
        self.choice(text);
        self.serving(text);
        text.put(1, &format!("location = {STATUS_PATH} {{"));
        text.put(2, "access_log off;");
        text.put(2, "default_type application/json;");
        text.put(
            2,
            &format!(
                "return 200 '{{\"dir\":\"{}\",\"slot\":\"$alcedo_slot\",\"generation\":\"$alcedo_generation\",\"structure\":{}}}';",
                self.dir.display(),
                self.structure
            ),
        );
        text.put(1, "}");
        self.close(text, "status");
    }
}
