//! `alcedo proxy` alone, as a child, with its control socket: what the benches of the data plane measure.

use super::Programs;
use alcedo_proxy::control::Client;
use alcedo_proxy::state::{Address, Route, Structure, Target};
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use xtask::home::{Home, Process, poll_until};

/// For one control call.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// A running proxy; ends when dropped.
pub(super) struct Proxy {
    pub(super) home: Home,
    pub(super) client: Client,
    child: Child,
    access_log: PathBuf,
}

impl Proxy {
    /// Starts one in a home of its own and waits until it takes commands.
    pub(super) fn start(programs: &Programs) -> Result<Self> {
        let home = Home::new(&programs.alcedo)?;
        let access_log = home.path().join("access.log");
        let mut command: Command = home.command(home.path(), &["proxy"]);
        command.env("ALCEDO_ACCESS_LOG", &access_log);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let socket = home.path().join("run/proxy.sock");
        let client = poll_until(LIMIT, || Client::connect(&socket, LIMIT).ok());
        let client = client.context("reach the proxy on its control socket")?;
        Ok(Self { home, client, child, access_log })
    }

    /// A service on `listen`, for `domain` or for every host, that goes to `target`.
    pub(super) fn serve(
        &mut self,
        service: &str,
        listen: SocketAddr,
        domain: Option<&str>,
        target: Target,
    ) -> Result<()> {
        let structure = Structure {
            domains: domain.map(str::to_owned).into_iter().collect(),
            listen: vec![listen.to_string()],
            ..Structure::default()
        };
        let observed = self.client.configure(service, structure, LIMIT)?;
        self.client.switch(service, observed.generation, "begin", target, LIMIT)?;
        Ok(())
    }

    /// Its process.
    pub(super) fn process(&self) -> Process {
        let pid = self.child.id().cast_signed();
        Process { pid, parent: 0, arguments: Vec::new() }
    }

    /// Whether requests were logged: the peers log too.
    pub(super) fn logs(&self) -> bool {
        poll_until(LIMIT, || std::fs::metadata(&self.access_log).ok().filter(|meta| meta.len() > 0))
            .is_some()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Every path of every host goes to one address.
pub(super) fn target(id: &str, address: SocketAddr) -> Target {
    Target {
        id: id.to_owned(),
        labels: vec![
            ("X-Alcedo-Release".to_owned(), id.to_owned()),
            ("X-Alcedo-Slot".to_owned(), "blue".to_owned()),
        ],
        routes: vec![Route {
            domains: Vec::new(),
            prefix: "/".to_owned(),
            addresses: vec![Address::Tcp(address)],
        }],
    }
}
