//! Services: each can be started, each request has exactly one, each port is one process's.

use super::{Rules, refuse_name};
use crate::config::model::Runner;
use crate::config::raw;
use crate::config::syntax::Text;
use crate::config::tree::{Node, Value};
use crate::names::ServiceName;
use std::collections::BTreeMap;
use std::time::Duration;

/// Domain and route that a service takes: `None` is "all others".
type Claim<'a> = (Option<&'a str>, Option<&'a str>);
type Claims<'a> = BTreeMap<Claim<'a>, &'a Node>;

impl<'a> Rules<'a> {
    pub(super) fn services(&mut self, layer: &raw::Layer) {
        let services = layer.services.iter().flatten();
        if layer.services.as_ref().is_none_or(|services| services.is_empty()) {
            let hint = "add [web] with its command: web.command = \"bin/app --port {port}\"";
            return self.missing(None, "nothing says how the app is started", hint);
        }
        for (name, service) in services {
            let Some(node) = self.at(&["services", name]) else { continue };
            if ServiceName::new(name).is_err() {
                refuse_name(self, name, node);
            }
            match (&service.php_fpm, node.at(["php_fpm"])) {
                (Some(pool), Some(at)) => self.php_fpm(pool, at, node, layer),
                (None, _) | (_, None) if service.command.is_none() => {
                    let message = format!("`{}` has no `command`", node.key);
                    let hint = "command = \"bin/app --port {port}\"";
                    self.missing(Some(node.key_span.clone()), &message, hint);
                }
                (None, _) | (_, None) => {}
            }
            if let (Some(ports), Some(node)) = (&service.ports, node.at(["ports"])) {
                self.both_ports(ports, node);
            }
            if let (Some(health), Some(node)) = (&service.health, node.at(["health"])) {
                self.health(health, node);
            }
        }
        self.distinct_ports();
        self.claims();
    }

    /// A pool is started by us, listens where we say, and speaks FastCGI.
    fn php_fpm(&mut self, pool: &raw::PhpFpm, at: &'a Node, service: &'a Node, layer: &raw::Layer) {
        if pool.root.is_none() {
            let message = format!("`{}` has no `root`", at.key);
            self.missing(Some(at.key_span.clone()), &message, "root = \"public\"");
        }
        if let Some(command) = service.at(["command"]) {
            let problem = format!("stands beside `{}`, which is started by itself", at.key);
            self.refuse_key(command, &problem, "one of the two");
        }
        let kind = layer.router.as_ref().and_then(|router| router.kind.as_ref());
        match kind {
            Some(raw::RouterKind::Nginx) => {}
            None | Some(raw::RouterKind::Embedded) => {
                let problem = "needs a router that speaks FastCGI, and `router.kind` is `embedded`";
                self.refuse_key(at, problem, "router.kind = \"nginx\"");
            }
        }
        if let (Some(ports), Some(Runner::Systemd)) = (service.at(["ports"]), layer.runner) {
            let problem = "is of no use: with `runner = \"systemd\"` a pool listens on a socket";
            self.refuse_key(ports, problem, "leave it out");
        }
    }

    /// The services as they stand in the file: of two that collide, the later one is shown.
    fn in_file_order(&self) -> Vec<(&'a str, &'a Node)> {
        let services = self.at(&["services"]).and_then(Node::table).into_iter().flatten();
        let mut services: Vec<_> = services.map(|(name, node)| (name.as_str(), node)).collect();
        services.sort_by_key(|(_, node)| node.key_span.start);
        services
    }

    fn both_ports(&mut self, ports: &raw::SlotPorts, node: &Node) {
        for (slot, port) in [("blue", ports.blue), ("green", ports.green)] {
            if port.is_none() {
                let message = format!("`{}` has no `{slot}`", node.key);
                let hint = "{ blue = 9001, green = 9002 }, or neither";
                self.missing(Some(node.key_span.clone()), &message, hint);
            }
        }
    }

    /// One port is one process's in one slot, and the router's listeners are nobody else's (S0-3, S1-4).
    fn distinct_ports(&mut self) {
        let mut seen: Vec<(i64, String)> = self
            .texts(&["router", "listen"])
            .into_iter()
            .filter_map(|(node, listen)| {
                let port = listen.rsplit(':').next()?.parse().ok()?;
                Some((port, node.key.clone()))
            })
            .collect();
        if seen.is_empty() {
            let has_domains = !self.texts(&["router", "domains"]).is_empty();
            seen.push((if has_domains { 80 } else { 8080 }, "router.listen".to_owned()));
        }
        for (_, service) in self.in_file_order() {
            for slot in ["blue", "green", "debug"] {
                let Some(node) = service.at(["ports", slot]) else { continue };
                let Value::Integer(port) = node.value else { continue };
                match seen.iter().find(|(taken, _)| *taken == port) {
                    Some((_, key)) => {
                        let problem = format!("is {port}, the same as `{key}`");
                        self.refuse(node, &problem, "each process of each slot has its own port");
                    }
                    None => seen.push((port, node.key.clone())),
                }
            }
        }
    }

    /// Each request has exactly one service.
    fn claims(&mut self) {
        let mut claims = Claims::new();
        for (name, service) in self.in_file_order() {
            let routes = self.texts(&["services", name, "routes"]);
            let domains = self.texts(&["services", name, "domains"]);
            let routes = or_all(
                routes.into_iter().map(|(n, text)| (n, text.trim_end_matches('/'))),
                service,
            );
            let domains: Vec<_> = or_all(domains.into_iter(), service);
            for (_, domain) in &domains {
                for (node, route) in &routes {
                    self.claim(&mut claims, (*domain, *route), node);
                }
            }
        }
        self.everything_goes_somewhere(&claims);
    }

    fn claim(&mut self, claims: &mut Claims<'a>, claim: Claim<'a>, node: &'a Node) {
        let Some(other) = claims.get(&claim) else {
            claims.insert(claim, node);
            return;
        };
        let on = claim.0.map(|domain| format!(" on {domain}")).unwrap_or_default();
        match claim.1 {
            Some(route) => {
                let hint = format!("`{}` has it already{on}", other.key);
                self.refuse(node, &format!("has `{route}`, which is taken"), hint);
            }
            None => {
                let problem = format!("has no `routes`, and neither has `{}`{on}", other.key);
                self.refuse_key(
                    node,
                    &problem,
                    "exactly one service has none: routes = [\"/api\"]",
                );
            }
        }
    }

    /// Each domain has a service for what no route takes: its own, or that of the app's domains.
    fn everything_goes_somewhere(&mut self, claims: &Claims<'a>) {
        let takes_rest = |domain| claims.contains_key(&(domain, None));
        if takes_rest(None) {
            return;
        }
        let open = claims.iter().find(|((domain, _), _)| !takes_rest(*domain));
        if let Some(((domain, _), node)) = open {
            let on = domain.map(|domain| format!(" on {domain}")).unwrap_or_default();
            let message = format!("every service has `routes`: nothing takes the other paths{on}");
            let hint = "leave `routes` out of one service";
            self.missing(Some(node.span.clone()), &message, hint);
        }
    }

    fn health(&mut self, health: &raw::Health, node: &'a Node) {
        let has_tcp = health.tcp == Some(true);
        let kinds = [
            ("path", health.path.is_some()),
            ("tcp", has_tcp),
            ("command", health.command.is_some()),
        ];
        let kinds: Vec<&str> =
            kinds.iter().filter(|(_, given)| *given).map(|(kind, _)| *kind).collect();
        match kinds.as_slice() {
            [] => self.no_readiness(node),
            [_] => {}
            [first, second, ..] => {
                let problem = format!("has `{first}` and `{second}`");
                self.refuse_key(node, &problem, "one of `path`, `tcp`, `command`");
            }
        }
        for key in ["host", "release", "expect"] {
            if let (Some(child), [kind]) = (node.at([key]), kinds.as_slice())
                && *kind != "path"
            {
                self.refuse_key(
                    child,
                    "is about an answer, but nothing is asked",
                    "it goes with `health.path`",
                );
            }
        }
        self.pointers(node.at(["expect", "json"]));
        self.times(health, node);
    }

    fn no_readiness(&mut self, node: &Node) {
        let says_more = node.table().is_some_and(|table| table.keys().any(|key| key != "tcp"));
        if says_more {
            let message = format!("`{}` does not say what is asked", node.key);
            let hint = "path = \"/healthz\", or tcp = true";
            self.missing(Some(node.key_span.clone()), &message, hint);
        }
    }

    fn times(&mut self, health: &raw::Health, node: &'a Node) {
        let given = [
            ("interval", &health.interval, Duration::from_millis(200)),
            ("timeout", &health.timeout, Duration::from_secs(1)),
            ("deadline", &health.deadline, Duration::from_secs(60)),
        ];
        let time = |(_, text, default): &(&str, &Option<Text<_>>, Duration)| {
            text.as_ref().map_or(*default, |text| text.0)
        };
        let [interval, timeout, deadline] = given.each_ref().map(time);
        for (key, text, _) in given {
            if let (true, Some(node)) =
                (text.as_ref().is_some_and(|t| t.0.is_zero()), node.at([key]))
            {
                self.refuse(node, "is \"0s\", which leaves no time at all", "more than zero");
                return;
            }
        }
        let culprit = |key: &str| node.at([key]).or_else(|| node.at(["deadline"]));
        let rounds = interval.saturating_mul(health.healthy_after.unwrap_or(2).saturating_sub(1));
        for (key, needed, problem) in [
            ("interval", interval, "is longer than `deadline`: it would be asked once"),
            (
                "timeout",
                if health.timeout.is_some() { timeout } else { Duration::ZERO },
                "is longer than `deadline`",
            ),
            ("healthy_after", rounds, "times `interval` is longer than `deadline`"),
        ] {
            if let (true, Some(node)) = (needed > deadline, culprit(key)) {
                let problem = if node.key.ends_with("deadline") {
                    format!("is shorter than `{key}` needs")
                } else {
                    problem.to_owned()
                };
                self.refuse(node, &problem, "a longer `deadline`, or less of the other");
                return;
            }
        }
    }
}

/// The items, or the owner itself with "all others" when there are none.
fn or_all<'a>(
    items: impl Iterator<Item = (&'a Node, &'a str)>,
    owner: &'a Node,
) -> Vec<(&'a Node, Option<&'a str>)> {
    let items: Vec<_> = items.map(|(node, text)| (node, Some(text))).collect();
    if items.is_empty() { vec![(owner, None)] } else { items }
}
