//! A private nginx with Debian's layout in one temporary directory: its own main file, pid file and logs, on loopback
//! ports only. Ends when dropped; never touches the host's own.

use anyhow::{Context, Result, ensure};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::home::{free_port, poll_until};
use crate::packages::{self, Tool};

/// One running.
#[derive(Debug)]
pub struct Nginx {
    dir: tempfile::TempDir,
    child: Child,
}

impl Nginx {
    /// Starts it; installs what is missing where that is possible.
    pub fn start() -> Result<Self> {
        let tool =
            Tool { program: "nginx", package: "nginx-light", needed_for: "the nginx router" };
        ensure!(packages::ensure(&[tool]).is_empty(), "find nginx (Debian package nginx-light)");
        let dir = tempfile::Builder::new().prefix("ngx").tempdir()?;
        // Its workers are another user.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
        for name in ["sites-available", "sites-enabled", "conf.d"] {
            std::fs::create_dir(dir.path().join(name))?;
        }
        std::fs::write(dir.path().join("nginx.conf"), main_file(dir.path(), free_port()?))?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(dir.path().join("nginx.conf")).args(["-g", "daemon off;"]);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("start nginx")?;
        let nginx = Self { dir, child };
        let pid = poll_until(Duration::from_secs(15), || {
            let text = std::fs::read_to_string(nginx.dir().join("nginx.pid")).ok()?;
            text.trim().parse::<u32>().ok()
        });
        pid.with_context(|| format!("see nginx start: {}", nginx.errors()))?;
        Ok(nginx)
    }

    /// Its directory, with `sites-enabled` and the like.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The main file.
    pub fn conf(&self) -> PathBuf {
        self.dir().join("nginx.conf")
    }

    /// Its error log.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.dir().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Not KILL first: a killed master leaves its workers behind.
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        let ended = poll_until(Duration::from_secs(5), || self.child.try_wait().ok().flatten());
        if ended.is_none() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

fn main_file(dir: &Path, port: u16) -> String {
    let user = if rustix::process::geteuid().is_root() { "user nobody nogroup;" } else { "" };
    format!(
        "{user}
worker_processes 2;
pid {dir}/nginx.pid;
error_log {dir}/error.log notice;
events {{ worker_connections 2048; }}
http {{
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
    access_log {dir}/access.log;
    keepalive_requests 1000000000;
    server {{ listen 127.0.0.1:{port}; }}
    include {dir}/conf.d/*.conf;
    include {dir}/sites-enabled/*;
}}
",
        dir = dir.display()
    )
}
