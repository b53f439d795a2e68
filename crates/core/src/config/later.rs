//! What `alcedo.toml` will know and this version does not: refused by name, so that nothing is accepted and ignored.

/// A key that is not in this version, and what this version does instead.
pub(super) struct Later {
    /// Dotted; `*` is any name. `web.…` stands for `services.*.…` too, and all of them for every environment.
    pub(super) key: &'static str,
    pub(super) instead: Option<&'static str>,
}

const fn later(key: &'static str, instead: &'static str) -> Later {
    Later { key, instead: Some(instead) }
}

const fn later_alone(key: &'static str) -> Later {
    Later { key, instead: None }
}

const PLAIN: &str = "plain values in [env], files in [shared]";

/// Keys of later versions.
pub(super) const KEYS: &[Later] = &[
    later("hosts", "`host` is one machine for everything"),
    later("release.image", "`release.build` and `release.source` make a release"),
    later("secrets", PLAIN),
    later("env.*.secret", PLAIN),
    later("web.container_port", "`web.command` starts a server"),
    later("web.service", "`web.command` starts a server"),
    later_alone("web.ports.debug"),
    later_alone("preview"),
    later_alone("workers"),
    later("migrate", "`release.prepare` runs before the new release starts"),
    later_alone("gates"),
    later_alone("hooks"),
    later_alone("notify"),
    later_alone("assets"),
    later_alone("compose"),
];

/// Values of later versions, for keys that this one knows.
pub(super) const VALUES: &[(&str, &[&str])] = &[
    ("runner", &["compose"]),
    ("router.kind", &["haproxy", "caddy", "traefik"]),
    ("router.tls", &["acme"]),
    ("web.no_room", &["hold"]),
];

/// The entry for a key, given as a path without its environment.
pub(super) fn key(path: &[String]) -> Option<&'static Later> {
    KEYS.iter().find(|later| matches(later.key, path))
}

/// Whether a later version accepts this value there.
pub(super) fn has_value(path: &[String], value: &str) -> bool {
    values(path).any(|later| later == value)
}

/// What later versions accept there.
pub(super) fn values(path: &[String]) -> impl Iterator<Item = &'static str> {
    let here = VALUES.iter().find(|(key, _)| matches(key, path));
    here.map_or(&[][..], |(_, values)| *values).iter().copied()
}

fn matches(pattern: &str, path: &[String]) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let path = as_web(path);
    pattern.len() == path.len() && pattern.iter().zip(&path).all(|(p, key)| *p == "*" || p == key)
}

/// `services.api.command` as `web.command`.
fn as_web(path: &[String]) -> Vec<&str> {
    let keys = path.iter().map(String::as_str);
    match path {
        [services, _, ..] if services == "services" => {
            ["web"].into_iter().chain(keys.skip(2)).collect()
        }
        _ => keys.collect(),
    }
}
