//! `check --bundle FILE`: what somebody who helps wants to see, in one text file. Secrets are left out before anything is
//! written: values of settings never come along, only their names.

use crate::adapters::router_nginx::{Hold, Nginx};
use crate::adopt;
use alcedo_core::lint::Finding;
use std::fmt::Write as _;
use std::fs;

/// Words in names whose values nobody needs to see.
const SECRETS: [&str; 10] =
    ["key", "secret", "password", "passwd", "token", "auth", "credential", "dsn", "cookie", "_url"];
const HIDDEN: &str = "[left out]";

/// The text: findings, versions, units and sites of this host, and the configuration.
pub(crate) fn bundle(findings: &[Finding], config: Option<&str>, at: &str) -> String {
    let mut text = String::new();
    let findings = serde_json::to_string_pretty(findings).unwrap_or_default();
    // Our own words, about places and names alone.
    let _ = writeln!(text, "== findings\n{findings}\n");
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
    part("alcedo.toml", config.unwrap_or("none"));
    let nginx = Nginx::new(None, Hold::Whole);
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
    let lower = hidden.to_ascii_lowercase();
    // It may hold anything.
    if lower.trim_start().starts_with("environment=") {
        return format!("Environment={HIDDEN}");
    }
    let Some(at) = SECRETS.iter().filter_map(|word| lower.find(word)).min() else { return hidden };
    let is_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    let end = hidden[at..].find(|c| !is_name(c)).map_or(hidden.len(), |length| at + length);
    let value = hidden[end..].trim_start_matches([' ', '=', ':', '"', '\'']);
    // Where a secret lies, and nginx's variables, are none.
    if value.is_empty() || value.starts_with(['/', '$', ';']) {
        return hidden;
    }
    format!("{} {HIDDEN}", &hidden[..end])
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
