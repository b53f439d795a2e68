//! Programs that tests and peers of the benchmarks need. As root with apt, what is missing is installed; otherwise it is
//! named. Never starts a service.

use std::path::Path;
use std::process::{Command, Stdio};

/// A program and where Debian has it.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Name in `PATH`.
    pub program: &'static str,
    /// Debian package.
    pub package: &'static str,
    /// What is skipped without it.
    pub needed_for: &'static str,
}

/// Installs what is missing if that is possible; returns what is missing still.
pub fn ensure(tools: &[Tool]) -> Vec<Tool> {
    let missing: Vec<Tool> = tools.iter().copied().filter(|tool| !is_there(tool.program)).collect();
    if missing.is_empty() || !rustix::process::geteuid().is_root() || find("apt-get").is_none() {
        return missing;
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    println!("installing {}", packages.join(" "));
    for _ in 0..3 {
        let install = ["install", "-y", "-qq", "--no-install-recommends"];
        if apt(&["update", "-qq"]) && apt(&[&install[..], &packages].concat()) {
            break;
        }
    }
    missing.into_iter().filter(|tool| !is_there(tool.program)).collect()
}

/// Whether the program can be started.
pub fn is_there(program: &str) -> bool {
    // Debian ships `python3 -m venv` without the part that makes it work.
    if program == "python3-venv" {
        let mut command = Command::new("python3");
        command.args(["-c", "import ensurepip, venv"]).stdin(Stdio::null());
        return command.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    }
    find(program).is_some()
}

fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    let system = ["/usr/sbin", "/sbin"].map(Path::new).map(Path::to_owned);
    let all = std::env::split_paths(&path).chain(system);
    all.map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn apt(arguments: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    // RUNLEVEL=1: packages that bring a service do not start it.
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
