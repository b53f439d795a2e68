//! A real OpenSSH server on a loopback port: its own configuration, host key and authorized keys, in one temporary
//! directory. Ends when the value is dropped.

use crate::home::{free_port, poll_until};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The server.
#[derive(Debug)]
pub struct Sshd {
    dir: tempfile::TempDir,
    child: Child,
    port: u16,
    user: String,
}

/// A key pair of a client.
#[derive(Debug, Clone)]
pub struct Key {
    /// The file with the private key.
    pub file: PathBuf,
    /// The private key.
    pub private: String,
    /// The public key, one line.
    pub public: String,
}

impl Sshd {
    /// Starts it; sessions get `env` besides their own.
    pub fn start(env: &[(&str, &str)]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("sshd").tempdir()?;
        let port = free_port()?;
        let user = user()?;
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").context("make /run/sshd")?;
        }
        keygen(&dir.path().join("host_key"), "host")?;
        fs::write(dir.path().join("authorized_keys"), "")?;
        let config = dir.path().join("sshd_config");
        fs::write(&config, configuration(dir.path(), port, env))?;
        let log = fs::File::create(dir.path().join("log"))?;
        let mut command = Command::new(program()?);
        command.args(["-D", "-e", "-f"]).arg(&config).stdin(Stdio::null());
        let child = command.stdout(log.try_clone()?).stderr(log).spawn().context("start sshd")?;
        let sshd = Self { dir, child, port, user };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let answers = || TcpStream::connect(address).ok().map(drop);
        poll_until(Duration::from_secs(20), answers)
            .with_context(|| format!("reach sshd: {}", sshd.log()))?;
        Ok(sshd)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `USER@127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.host_at(self.port)
    }

    /// The same through another port that leads to it.
    pub fn host_at(&self, port: u16) -> String {
        format!("{}@127.0.0.1:{port}", self.user)
    }

    /// What `ssh` takes before the command.
    pub fn arguments(&self, key: &Key) -> Vec<String> {
        self.arguments_at(key, self.port)
    }

    /// The same through another port that leads to it.
    pub fn arguments_at(&self, key: &Key, port: u16) -> Vec<String> {
        let known = self.dir.path().join(format!("known_hosts-{port}"));
        fs::write(&known, self.known_hosts_at(port)).expect("a temporary directory");
        let options = [
            format!("UserKnownHostsFile={}", known.display()),
            format!("IdentityFile={}", key.file.display()),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "BatchMode=yes".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
        ];
        let mut all = vec!["-F".to_owned(), "none".to_owned(), "-T".to_owned()];
        all.extend(options.into_iter().flat_map(|option| ["-o".to_owned(), option]));
        all.extend(["-p".to_owned(), port.to_string()]);
        all.push(format!("{}@127.0.0.1", self.user));
        all
    }

    /// The line of `known_hosts` for it.
    pub fn known_hosts(&self) -> String {
        self.known_hosts_at(self.port)
    }

    /// The same through another port that leads to it.
    pub fn known_hosts_at(&self, port: u16) -> String {
        let public = fs::read_to_string(self.dir.path().join("host_key.pub")).unwrap_or_default();
        let mut words = public.split_whitespace();
        let (kind, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        format!("[127.0.0.1]:{port} {kind} {key}\n")
    }

    /// A new key that is accepted, with `options` before it in `authorized_keys` (`restrict,command="…"`, or nothing).
    pub fn admit(&self, name: &str, options: &str) -> Result<Key> {
        let key = self.key(name)?;
        let space = if options.is_empty() { "" } else { " " };
        self.admit_line(&format!("{options}{space}{}", key.public))?;
        Ok(key)
    }

    /// A new key that nobody accepts.
    pub fn key(&self, name: &str) -> Result<Key> {
        let file = self.dir.path().join(name);
        keygen(&file, name)?;
        let read = |path: &Path| fs::read_to_string(path);
        let public = read(&file.with_extension("pub"))?.trim().to_owned();
        Ok(Key { private: read(&file)?, public, file })
    }

    /// One more line of `authorized_keys`.
    pub fn admit_line(&self, line: &str) -> Result<()> {
        let path = self.dir.path().join("authorized_keys");
        let before = fs::read_to_string(&path)?;
        Ok(fs::write(&path, format!("{before}{line}\n"))?)
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn configuration(dir: &Path, port: u16, env: &[(&str, &str)]) -> String {
    let at = |name: &str| dir.join(name).display().to_string();
    let env: Vec<String> = env.iter().map(|(name, value)| format!("\"{name}={value}\"")).collect();
    let set_env =
        if env.is_empty() { String::new() } else { format!("SetEnv {}\n", env.join(" ")) };
    format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
         StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\nPrintMotd no\nLogLevel VERBOSE\nMaxStartups 100\n{set_env}",
        at("host_key"),
        at("authorized_keys")
    )
}

/// It wants to be started by its whole path.
fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut all = std::env::split_paths(&path).chain(system).map(|dir| dir.join("sshd"));
    all.find(|file| file.is_file()).context("find sshd (Debian package openssh-server)")
}

fn keygen(file: &Path, comment: &str) -> Result<()> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"]).arg(file);
    let output = command.stdin(Stdio::null()).output().context("start ssh-keygen")?;
    ensure!(output.status.success(), "make a key: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn user() -> Result<String> {
    let output = Command::new("id").arg("-un").output().context("start id")?;
    let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if name.is_empty() {
        bail!("find the name of this user");
    }
    Ok(name)
}
