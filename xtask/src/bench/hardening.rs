//! What `systemd-analyze security` says of the units that `setup` writes, on a host of the lab.

use super::Programs;
use super::sheet::{Sheet, Wanted};
use anyhow::{Context, Result, bail, ensure};
use xtask::lab::{self, Host};

const CONFIG: &str = "app = \"web\"
runner = \"systemd\"
systemd.hardening = \"strict\"
release.source = \"src\"
web.command = \"/opt/xtask app --port {port} --release {release}\"
health.path = \"/healthz\"
health.release = \"json:/release\"
bake.time = \"0s\"
router.listen = [\"127.0.0.1:8080\"]
";

pub(super) fn run(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    if let Some(missing) = lab::missing() {
        bail!("boot a host: {missing}");
    }
    sheet.progress("a host boots");
    let host = Host::boot("hardening")?;
    host.put(&programs.alcedo, "/opt/alcedo", 0o755)?;
    host.put(&programs.xtask, "/opt/xtask", 0o755)?;
    host.write("/opt/web/alcedo.toml", CONFIG)?;
    host.write("/opt/web/src/version", "one")?;
    host.must(&["/opt/alcedo", "-C", "/opt/web", "setup"])?;
    // Scores of what works: the strict app is deployed and serves.
    host.must(&["alcedo", "-C", "/opt/web", "deploy"])?;
    for (unit, figure, wanted) in [
        ("alcedo-proxy.service", "proxy", 2.0),
        ("alcedo.service", "daemon", 3.5),
        ("web@blue.service", "app, hardening = \"strict\"", 3.0),
    ] {
        let value = score(&host, unit)?;
        let how = "systemd-analyze security on Debian 12 while it serves; 0 is closed, 10 is open";
        sheet.put(figure, value, "of 10", Wanted::AtMost(wanted), 1, how);
    }
    for hardening in ["basic", "none"] {
        let config = CONFIG.replace("strict", hardening);
        host.write("/opt/web/alcedo.toml", &config)?;
        host.must(&["/opt/alcedo", "-C", "/opt/web", "setup"])?;
        let value = score(&host, "web@blue.service")?;
        let figure = format!("app, hardening = \"{hardening}\"");
        sheet.put(&figure, value, "of 10", Wanted::Shown, 1, "the same, for comparison");
    }
    Ok(())
}

fn score(host: &Host, unit: &str) -> Result<f64> {
    let said = host.run(&["systemd-analyze", "security", "--no-pager", unit])?.stdout;
    let line = said.lines().rfind(|line| line.contains("Overall exposure level"));
    let line = line.with_context(|| format!("read the score of {unit}: {said}"))?;
    let rest = line.split_once(": ").map_or("", |(_, rest)| rest);
    let number = rest.split_whitespace().next().unwrap_or_default();
    let value: f64 = number.parse().with_context(|| format!("read the score in {line:?}"))?;
    ensure!((0.0..=10.0).contains(&value), "read the score in {line:?}");
    Ok(value)
}
