//! The other proxies, real ones from Debian, with the configuration that people run and the same access log: one line a
//! request. And the backend behind all of them, nginx that answers by itself.

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use xtask::home::{Process, free_port, poll_until};
use xtask::packages::{self, Tool};

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Answers 200 by itself.
    Backend,
    /// nginx with upstream keep-alive.
    Nginx,
    /// nginx as in the posts: `proxy_pass` and two headers, a connection for every request.
    NginxAsInThePosts,
    /// Caddy's `reverse_proxy`.
    Caddy,
}

/// One running; ends when dropped.
pub(super) struct Peer {
    pub(super) kind: Kind,
    pub(super) address: SocketAddr,
    child: Child,
    _dir: tempfile::TempDir,
}

/// Installs what is missing.
pub(super) fn install() -> Result<()> {
    let tools =
        [("nginx", "nginx-light"), ("caddy", "caddy"), ("wrk", "wrk"), ("taskset", "util-linux")];
    let tools =
        tools.map(|(program, package)| Tool { program, package, needed_for: "the comparison" });
    let missing = packages::ensure(&tools);
    anyhow::ensure!(
        missing.is_empty(),
        "find {}",
        missing.iter().map(|t| t.package).collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

impl Peer {
    /// Starts one in front of `backend` and waits until it listens.
    pub(super) fn start(kind: Kind, backend: Option<SocketAddr>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut command = match kind {
            Kind::Backend => nginx(dir.path(), &backend_config(address))?,
            Kind::Nginx => {
                nginx(dir.path(), &proxy_config(address, backend.context("a backend")?, true))?
            }
            Kind::NginxAsInThePosts => {
                nginx(dir.path(), &proxy_config(address, backend.context("a backend")?, false))?
            }
            Kind::Caddy => caddy(dir.path(), address, backend.context("a backend")?)?,
        };
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.with_context(|| format!("start {kind:?}"))?;
        let peer = Self { kind, address, child, _dir: dir };
        let listens =
            poll_until(Duration::from_secs(15), || std::net::TcpStream::connect(address).ok());
        listens.with_context(|| format!("reach {kind:?} on {address}"))?;
        Ok(peer)
    }

    /// Master and workers.
    pub(super) fn processes(&self) -> Vec<Process> {
        family(self.child.id().cast_signed())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for process in self.processes() {
            process.kill();
        }
        self.child.wait().ok();
    }
}

/// A process and its children.
pub(super) fn family(pid: i32) -> Vec<Process> {
    let children =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    let all = std::iter::once(pid).chain(children);
    all.map(|pid| Process { pid, parent: 0, arguments: Vec::new() }).collect()
}

fn nginx(dir: &Path, http: &str) -> Result<Command> {
    // One worker a core, as alcedo has one runtime a core.
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get().min(4));
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let text = format!(
        "daemon off; {user} pid {dir}/pid; error_log {dir}/error.log;
worker_processes {workers}; worker_rlimit_nofile 65536;
events {{ worker_connections 4096; }}
http {{
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  keepalive_requests 1000000000;
{http}
}}
",
        dir = dir.display()
    );
    let file = dir.join("nginx.conf");
    std::fs::write(&file, text)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(dir).arg("-e").arg(dir.join("error.log")).arg("-c").arg(file);
    // Debian has it in /usr/sbin, which an ordinary user's PATH lacks.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    Ok(command)
}

fn backend_config(address: SocketAddr) -> String {
    format!(
        "  access_log off;
  server {{ listen {address} backlog=4096; location / {{ default_type text/plain; return 200 \"hello from the app\\n\"; }} }}"
    )
}

fn proxy_config(address: SocketAddr, backend: SocketAddr, keeps: bool) -> String {
    let (keepalive, headers) = if keeps {
        (
            "keepalive 64; keepalive_requests 1000000000;",
            "proxy_http_version 1.1; proxy_set_header Connection \"\";",
        )
    } else {
        ("", "")
    };
    format!(
        "  access_log access.log;
  upstream app {{ server {backend}; {keepalive} }}
  server {{
    listen {address} backlog=4096;
    location / {{
      proxy_pass http://app; {headers}
      proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}"
    )
}

fn caddy(dir: &Path, address: SocketAddr, backend: SocketAddr) -> Result<Command> {
    let text = format!(
        "{{
  admin off
  auto_https off
}}
http://:{port} {{
  bind 127.0.0.1
  log {{
    output file {dir}/access.log
  }}
  reverse_proxy {backend}
}}
",
        port = address.port(),
        dir = dir.display()
    );
    let file = dir.join("Caddyfile");
    std::fs::write(&file, text)?;
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
    command.env("XDG_DATA_HOME", dir).env("XDG_CONFIG_HOME", dir);
    Ok(command)
}
