//! `check --bundle FILE`: what somebody who helps wants to see, in one text file. Secrets are left out before anything is
//! written: values of settings never come along, only their names.

use crate::adapters::router_nginx::Nginx;
use crate::adopt;
use alcedo_core::lint::Finding;
use std::fmt::Write as _;
use std::fs;

/// Words in names whose values nobody needs to see.
const SECRETS: [&str; 12] = [
    "key",
    "secret",
    "password",
    "passwd",
    "token",
    "auth",
    "credential",
    "dsn",
    "cookie",
    "private",
    "_url",
    "api",
];
const HIDDEN: &str = "[left out]";

/// The text: findings, versions, units and sites of this host, and the configuration.
pub(crate) fn bundle(findings: &[Finding], config: Option<&str>, at: &str) -> String {
    let mut text = String::new();
    let mut part = |title: &str, body: &str| {
        let _ = writeln!(text, "== {title}\n{}\n", cleaned(body).trim_end());
    };
    part("alcedo", &format!("version {}, {at}", env!("CARGO_PKG_VERSION")));
    for (title, file) in
        [("system", "/etc/os-release"), ("kernel", "/proc/version"), ("memory", "/proc/meminfo")]
    {
        let body = fs::read_to_string(file).unwrap_or_default();
        part(title, &body.lines().take(12).collect::<Vec<_>>().join("\n"));
    }
    part("findings", &serde_json::to_string_pretty(findings).unwrap_or_default());
    part("alcedo.toml", config.unwrap_or("none"));
    let nginx = Nginx::new(None);
    if let Ok(about) = nginx.about() {
        part("nginx -V", &about);
    }
    if let Ok((_, dump)) = nginx.dump() {
        part("nginx -T", &dump);
    }
    let mut files: Vec<_> = adopt::units().into_iter().map(|unit| unit.file).collect();
    files.dedup();
    for file in files {
        part(&file.display().to_string(), &fs::read_to_string(&file).unwrap_or_default());
    }
    text
}

/// Line by line: of what is called like a secret the value goes, and passwords in addresses.
fn cleaned(text: &str) -> String {
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn line(line: &str) -> String {
    let hidden = without_passwords(line);
    let lower = hidden.to_lowercase();
    // `Environment=` may hold anything; `ssl_certificate_key` and the like are paths, which help.
    if lower.trim_start().starts_with("environment=") {
        return format!("Environment={HIDDEN}");
    }
    let split = hidden.find(['=', ':']).or_else(|| {
        hidden.trim_start().find(' ').map(|at| at + hidden.len() - hidden.trim_start().len())
    });
    let Some(at) = split else { return hidden };
    let (name, value) = hidden.split_at(at + 1);
    let is_secret = SECRETS.iter().any(|word| name.to_lowercase().contains(word));
    let is_path = value.trim().starts_with('/');
    if is_secret && !is_path && !value.trim().is_empty() && !name.contains("finding") {
        return format!("{name} {HIDDEN}");
    }
    hidden
}

/// `postgres://user:password@host` without what is between.
fn without_passwords(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end =
            after.find(|c: char| c.is_whitespace() || "/\"'".contains(c)).unwrap_or(after.len());
        match after[..end].rfind('@') {
            Some(sign) => {
                out.push_str(HIDDEN);
                rest = &after[sign..];
            }
            None => rest = after,
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_left_in_a_report() {
        let text = "DATABASE_URL=postgres://shop:hunter2@db/shop\nAPP_KEY=base64:planted\nEnvironment=\"A=hunter2\"\nenv.STRIPE_SECRET = \"sk_planted\"\nproxy_set_header Authorization \"Basic hunter2\";\nhttps://u:hunter2@git.example/x\npassword: hunter2\n";
        let clean = cleaned(text);
        for planted in ["hunter2", "planted"] {
            assert!(!clean.contains(planted), "{clean}");
        }
        assert!(clean.contains("DATABASE_URL") && clean.contains("@git.example/x"), "{clean}");
    }

    #[test]
    fn what_helps_stays() {
        let text = "ssl_certificate_key /etc/letsencrypt/live/a/privkey.pem;\n    listen 80;\nExecStart=/srv/a --port 9001\nhealth.path = \"/healthz\"";
        assert_eq!(cleaned(text), text);
    }
}
