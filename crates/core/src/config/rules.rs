//! What values must be beside each other. Each alone has already passed `check`.

mod service;

use super::error::Findings;
use super::model::Runner;
use super::raw;
use super::syntax::{InsidePath, Syntax, not_a_name};
use super::tree::{Node, Value};
use crate::names::AppName;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Longest environment value, in bytes: what Linux takes for one entry.
const ENV_BYTES_MAX: usize = 128 << 10;

/// Everything that cannot stand together is found; the app's name, when there is one.
pub(super) fn check(
    raw: &raw::File,
    tree: &Node,
    environment: &str,
    out: &mut Findings,
) -> Option<AppName> {
    let layer = &raw.layer;
    let mut rules = Rules { tree, out };
    rules.name(raw, environment);
    rules.env();
    rules.shared();
    rules.router(layer.router.as_ref());
    rules.services(layer);
    rules.smoke();
    rules.warmup(layer.warmup.as_ref());
    rules.bake(layer.bake.as_ref());
    rules.systemd(layer);
    rules.adopt(layer);
    raw.app.as_ref().map(|app| app.0.clone())
}

pub(super) struct Rules<'a> {
    tree: &'a Node,
    out: &'a mut Findings,
}

impl<'a> Rules<'a> {
    fn at(&self, path: &[&str]) -> Option<&'a Node> {
        self.tree.at(path.iter().copied())
    }

    /// The items of the list at `path`, as far as they are text.
    fn texts(&self, path: &[&str]) -> Vec<(&'a Node, &'a str)> {
        let Some(Node { value: Value::List(items), .. }) = self.at(path) else { return Vec::new() };
        items.iter().filter_map(|item| Some((item, text(item)?))).collect()
    }

    fn refuse(&mut self, node: &Node, problem: &str, hint: impl Into<String>) {
        self.out.add(&node.span, format!("`{}` {problem}", node.key), Some(hint.into()));
    }

    fn refuse_key(&mut self, node: &Node, problem: &str, hint: impl Into<String>) {
        self.out.add(&node.key_span, format!("`{}` {problem}", node.key), Some(hint.into()));
    }

    fn missing(&mut self, span: Option<Range<usize>>, message: &str, hint: &str) {
        self.out.add_missing(span, message.to_owned(), Some(hint.to_owned()));
    }

    fn name(&mut self, raw: &raw::File, environment: &str) {
        let Some(app) = &raw.app else {
            return self.missing(None, "`app` is missing", "add the app's name: app = \"shop\"");
        };
        if AppName::on_host(&app.0, environment).is_ok() {
            return;
        }
        let key = format!("environments.{environment}");
        let message = format!("`{key}` makes the name `{}-{environment}`, which is none", app.0);
        let hint = "together at most 40 lower-case letters, digits and hyphens";
        let span = self.tree.at(["app"]).map(|node| node.span.clone());
        // Any node of the layer shows where the environment stands; an empty one has none.
        let span = layer_span(self.tree, environment).or(span);
        self.out.add(&span.unwrap_or(0..0), message, Some(hint.to_owned()));
    }

    fn env(&mut self) {
        for (name, node) in self.at(&["env"]).and_then(Node::table).into_iter().flatten() {
            if name == "PORT" || name.starts_with("ALCEDO_") {
                self.refuse_key(node, "is set by alcedo for each slot", "choose another name");
            } else if !is_variable(name) {
                let hint = "letters, digits and `_`, no digit first";
                self.refuse_key(node, "is not a variable's name", hint);
            } else if text(node).is_some_and(|text| text.contains('\0')) {
                self.refuse(node, "has a NUL character", "no variable can have one");
            } else if text(node).is_some_and(|text| text.len() > ENV_BYTES_MAX) {
                self.refuse(node, "is longer than 128 KiB", "put it into a file of [shared]");
            }
        }
    }

    /// Nothing shared lies inside another shared thing, and what is shared is writable anyway. A writable directory
    /// with something shared in it is fine: Laravel's `storage` with its `storage/app`.
    fn shared(&mut self) {
        let mut shared: Vec<(PathBuf, &Node)> = Vec::new();
        for (node, path) in
            self.paths(&["shared", "dirs"]).into_iter().chain(self.paths(&["shared", "files"]))
        {
            let other = shared.iter().find(|(p, _)| path.starts_with(p) || p.starts_with(&path));
            match other {
                Some((other, there)) => self.collide(node, &path, other, there),
                None => shared.push((path, node)),
            }
        }
        let mut writable: Vec<(PathBuf, &Node)> = Vec::new();
        for (node, path) in self.paths(&["release", "writable"]) {
            let in_shared = shared.iter().find(|(p, _)| path.starts_with(p));
            match in_shared.or_else(|| writable.iter().find(|(p, _)| *p == path)) {
                Some((other, there)) => self.collide(node, &path, other, there),
                None => writable.push((path, node)),
            }
        }
    }

    /// The paths in a list, normalised; the release itself is refused.
    fn paths(&mut self, list: &[&str]) -> Vec<(&'a Node, PathBuf)> {
        let mut paths = Vec::new();
        for (node, text) in self.texts(list) {
            match InsidePath::parse(text) {
                Ok(path) if path == Path::new(".") => {
                    self.refuse(node, "has the whole release", "name files or directories in it");
                }
                Ok(path) => paths.push((node, path)),
                // `check` has refused it.
                Err(_) => {}
            }
        }
        paths
    }

    fn collide(&mut self, node: &Node, path: &Path, other: &Path, there: &Node) {
        let relation = if path == other {
            "which is there already".to_owned()
        } else if path.starts_with(other) {
            format!("which lies in `{}`", other.display())
        } else {
            format!("in which `{}` lies", other.display())
        };
        let problem = format!("has `{}`, {relation}", path.display());
        self.refuse(node, &problem, format!("`{}` has the other", there.key));
    }

    fn router(&mut self, router: Option<&raw::Router>) {
        let Some(router) = router else { return };
        self.router_kind(router);
        let mut seen: Vec<&str> = Vec::new();
        for list in ["domains", "aliases"] {
            for (node, domain) in self.texts(&["router", list]) {
                if seen.contains(&domain) {
                    self.refuse(
                        node,
                        &format!("has `{domain}`, which is there already"),
                        "once is enough",
                    );
                }
                seen.push(domain);
            }
        }
        let has_no_domain = router.domains.as_ref().is_none_or(Vec::is_empty);
        if let (true, Some(node)) = (has_no_domain, self.at(&["router", "aliases"])) {
            let message = format!("`{}` go to the first domain, but there is none", node.key);
            self.missing(Some(node.key_span.clone()), &message, "set `router.domains`");
        }
        let mut seen: Vec<&str> = Vec::new();
        for (node, listen) in self.texts(&["router", "listen"]) {
            if seen.contains(&listen) {
                self.refuse(node, &format!("has `{listen}` twice"), "once is enough");
            }
            seen.push(listen);
        }
    }

    /// A site that stays in front leads to one address that only this host reaches; root's own `setup` does it.
    fn adopt(&mut self, layer: &raw::Layer) {
        let Some(node) = self.at(&["router", "adopt"]) else { return };
        if self.at(&["router", "kind"]).and_then(text) == Some("nginx") {
            let hint = "leave router.kind out: your nginx stays, alcedo's proxy stands behind it";
            self.refuse_key(
                node,
                "keeps your own site, and router.kind = \"nginx\" writes one",
                hint,
            );
        }
        if layer.runner != Some(Runner::Systemd) {
            self.refuse_key(node, "is done by `setup`", "runner = \"systemd\"");
        }
        let listens = self.texts(&["router", "listen"]);
        let is_local = |listen: &str| listen.starts_with("127.") || listen.starts_with("[::1]");
        if !matches!(listens.as_slice(), [(_, one)] if is_local(one)) {
            let hint = "router.listen = [\"127.0.0.1:8080\"]";
            self.refuse_key(node, "wants one `listen` address that only this host reaches", hint);
        }
    }

    /// What only nginx has, and what TLS needs.
    fn router_kind(&mut self, router: &raw::Router) {
        let is_nginx = matches!(router.kind, Some(raw::RouterKind::Nginx));
        let has_tls = !matches!(router.tls, Some(raw::Tls::Word(raw::TlsWord::Off)));
        for (node, listen) in self.texts(&["router", "listen"]) {
            let is_443 = listen == "443" || listen.ends_with(":443");
            match (is_443, is_nginx, has_tls) {
                (true, false, _) => {
                    self.refuse(node, "has 443, but TLS is not in this version", "\"80\"?");
                }
                (true, true, false) => self.refuse(
                    node,
                    "has 443, but `router.tls` is \"off\"",
                    "\"keep\", or { cert, key }",
                ),
                (true, true, true) | (false, _, _) => {}
            }
        }
        if let (false, Some(node)) = (is_nginx, self.at(&["router", "form"])) {
            self.refuse_key(node, "says how nginx switches", "router.kind = \"nginx\"");
        }
        let services = self.at(&["services"]).and_then(Node::table).into_iter().flatten();
        for domains in services.filter_map(|(_, service)| service.at(["domains"])) {
            if is_nginx {
                let hint = "`routes` by path, or the embedded router";
                self.refuse_key(domains, "is not in this version for nginx", hint);
            }
        }
        let Some(node) = self.at(&["router", "tls"]) else { return };
        match (&router.tls, is_nginx) {
            (Some(raw::Tls::Word(raw::TlsWord::Keep) | raw::Tls::Files(_)), false) => {
                let hint = "this version: \"off\", or router.kind = \"nginx\"";
                self.refuse(node, "is nginx's; the embedded router has plain HTTP", hint);
            }
            (Some(raw::Tls::Files(files)), true) => self.tls_files(node, files),
            (Some(raw::Tls::Word(_)) | None, _) => {}
        }
    }

    fn tls_files(&mut self, node: &'a Node, files: &raw::TlsFiles) {
        if files.cert.is_none() || files.key.is_none() {
            let message = format!("`{}` has only one of `cert` and `key`", node.key);
            let hint = "tls = { cert = \"/etc/…\", key = \"/etc/…\" }";
            return self.missing(Some(node.span.clone()), &message, hint);
        }
        let is_plain = |c: char| c.is_alphanumeric() || "/._-+@".contains(c);
        for key in ["cert", "key"] {
            if let Some(file) = node.at([key])
                && text(file).is_some_and(|path| !path.chars().all(is_plain))
            {
                let hint = "letters, digits and / . _ - + @";
                self.refuse(file, "has characters that mean something to nginx", hint);
            }
        }
    }

    fn smoke(&mut self) {
        let Some(Node { value: Value::List(items), .. }) = self.at(&["smoke"]) else { return };
        for item in items {
            let has = |key| item.at([key]).is_some();
            match (has("path"), has("command")) {
                (true, true) => {
                    self.refuse(item, "has `path` and `command`", "two entries, each with one")
                }
                (false, false) => {
                    let (message, hint) =
                        ("`smoke` has an entry without `path` and `command`", "path = \"/v\"");
                    self.missing(Some(item.span.clone()), message, hint);
                }
                (true, false) | (false, true) => {}
            }
            if let (false, Some(expect)) = (has("path"), item.at(["expect"])) {
                self.refuse_key(
                    expect,
                    "says what `path` answers, but there is none",
                    "a command: exit status 0",
                );
            }
            self.pointers(item.at(["expect", "json"]));
        }
    }

    /// Keys of `expect.json` are JSON pointers.
    fn pointers(&mut self, json: Option<&Node>) {
        for (pointer, node) in json.and_then(Node::table).into_iter().flatten() {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                let hint = format!("\"/{}\"?", pointer.replace('.', "/"));
                self.refuse_key(node, "is not a JSON pointer", hint);
            }
        }
    }

    fn warmup(&mut self, warmup: Option<&raw::Warmup>) {
        let (Some(warmup), Some(node)) = (warmup, self.at(&["warmup"])) else { return };
        if warmup.paths.as_ref().is_none_or(Vec::is_empty) {
            let span = Some(node.key_span.clone());
            self.missing(span, "`warmup` has no `paths`", "paths = [\"/\"]");
        }
    }

    /// What only units can do is refused where there are none: nothing is accepted and ignored.
    fn systemd(&mut self, layer: &raw::Layer) {
        let zero = layer.systemd.as_ref().and_then(|systemd| systemd.watchdog.as_ref());
        if let (true, Some(node)) =
            (zero.is_some_and(|time| time.0.is_zero()), self.at(&["systemd", "watchdog"]))
        {
            self.refuse(node, "is \"0s\", which nobody can keep", "leave it out for none");
        }
        if layer.runner == Some(Runner::Systemd) {
            return;
        }
        let needs = "needs `runner = \"systemd\"`";
        let hint = "runner = \"systemd\", and then `alcedo setup`";
        if let Some(node) = self.at(&["systemd"]) {
            self.refuse_key(node, needs, hint);
        }
        for name in layer.services.iter().flatten().map(|(name, _)| name) {
            if let Some(node) = self.at(&["services", name, "limits"]) {
                self.refuse_key(node, needs, hint);
            }
        }
    }

    fn bake(&mut self, bake: Option<&raw::Bake>) {
        let Some(bake) = bake else { return };
        if bake.time.as_ref().is_none_or(|time| !time.0.is_zero()) {
            return;
        }
        for limit in ["max_error_rate", "max_failed_requests"] {
            if let Some(node) = self.at(&["bake", limit]) {
                self.refuse_key(
                    node,
                    "limits nothing: `bake.time` is \"0s\"",
                    "give `bake.time`, or leave it out",
                );
            }
        }
    }
}

fn text(node: &Node) -> Option<&str> {
    let Value::Text(text) = &node.value else { return None };
    Some(text)
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
}

/// The first place that comes from this environment.
fn layer_span(node: &Node, environment: &str) -> Option<Range<usize>> {
    let own = (node.layer.as_deref() == Some(environment)).then(|| node.key_span.clone());
    let below = node.table().into_iter().flatten().filter_map(|(_, n)| layer_span(n, environment));
    own.into_iter().chain(below).min_by_key(|span| span.start)
}

/// Complains about the name of a service.
fn refuse_name(rules: &mut Rules<'_>, name: &str, node: &Node) {
    let complaint = not_a_name(name);
    let message = format!("`{}` {}", node.key, complaint.problem);
    rules.out.add(&node.key_span, message, complaint.hint);
}
