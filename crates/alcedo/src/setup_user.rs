//! Makes daemon and proxy start at boot without root: a systemd user unit where a user manager answers (with linger,
//! so that it runs without a login), else a line in the user's crontab, else it says what is missing.
//!
//! Touches nothing but `alcedo.service` in the user's own unit directory and its own, marked line of the crontab.

mod crontab;
mod stop;
mod unit;

pub(crate) use stop::stop_everything;

use crate::adapters::exec::{self, Ended, ExecError, Exit};
use std::env;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// For each of the programs that are asked.
const LIMIT: Duration = Duration::from_secs(15);

/// How it is started at boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Boot {
    /// By the user's systemd.
    Unit {
        /// The unit's file.
        file: PathBuf,
        /// False: it starts only at the first login; what to type about it stands in the text.
        lingers: bool,
    },
    /// By cron.
    Crontab {
        /// False: there is no sign of a running cron.
        runs: bool,
    },
    /// Not at all.
    Nothing {
        /// What is missing.
        why: String,
    },
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit { file, lingers: true } => {
                write!(f, "starts at boot by systemd: {}", file.display())
            }
            Self::Unit { file, lingers: false } => write!(
                f,
                "starts at the first login by systemd: {}; to start at boot, type `sudo loginctl enable-linger $USER`",
                file.display()
            ),
            Self::Crontab { runs: true } => write!(f, "starts at boot by a line in your crontab"),
            Self::Crontab { runs: false } => write!(
                f,
                "starts at boot by a line in your crontab, but no cron seems to run on this machine"
            ),
            Self::Nothing { why } => write!(f, "does not start at boot: {why}"),
        }
    }
}

/// Why boot could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    /// There is nowhere to put a unit.
    #[error(
        "find the directory for user units: neither XDG_CONFIG_HOME nor HOME is an absolute path"
    )]
    NoHome,
    /// A file of ours cannot be written or removed.
    #[error("change {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program did not run.
    #[error("set up the start at boot")]
    Exec(#[from] ExecError),
    /// A program ran and refused.
    #[error("run `{command}`: {exit}: {output}")]
    Refused {
        /// As typed.
        command: String,
        /// How it ended.
        exit: Exit,
        /// What it said.
        output: String,
    },
}

/// Sets up the start of `<exe> daemon --boot` at boot.
#[derive(Debug, Clone)]
pub(crate) struct SetupUser {
    exe: PathBuf,
    /// `ALCEDO_HOME`, when alcedo's directories are not the usual ones.
    home: Option<PathBuf>,
    units: Option<PathBuf>,
    tools: Tools,
}

/// The programs that are asked.
#[derive(Debug, Clone)]
struct Tools {
    systemctl: String,
    loginctl: String,
    crontab: String,
}

impl SetupUser {
    /// For this user, with the alcedo binary to start.
    pub(crate) fn new(exe: PathBuf) -> Self {
        let var = |name: &str| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let config = var("XDG_CONFIG_HOME").or_else(|| Some(var("HOME")?.join(".config")));
        Self {
            exe,
            home: var("ALCEDO_HOME"),
            units: config.map(|config| config.join("systemd/user")),
            tools: Tools {
                systemctl: "systemctl".into(),
                loginctl: "loginctl".into(),
                crontab: "crontab".into(),
            },
        }
    }

    /// Sets it up by the best means there is, and removes the other.
    pub(crate) fn install(&self) -> Result<Boot, BootError> {
        if self.has_user_manager() {
            self.install_unit()?;
            self.remove_line()?;
        } else if self.has_crontab() {
            self.remove_unit()?;
            self.install_line()?;
        }
        self.describe()
    }

    /// Undoes it; what runs goes on.
    pub(crate) fn remove(&self) -> Result<(), BootError> {
        self.remove_unit()?;
        self.remove_line()
    }

    /// How it stands now.
    pub(crate) fn describe(&self) -> Result<Boot, BootError> {
        let file = self.unit_file()?;
        if file.exists() && self.has_user_manager() {
            return Ok(Boot::Unit { file, lingers: self.lingers() });
        }
        if self.has_crontab() && crontab::has_line(&self.read_crontab()?) {
            return Ok(Boot::Crontab { runs: crontab::has_cron() });
        }
        let why = match (self.has_user_manager(), self.has_crontab()) {
            (true, _) | (_, true) => "not set up, type `alcedo setup --user`",
            (false, false) => {
                "this machine has neither a systemd that answers `systemctl --user` nor `crontab`; \
                 have `alcedo daemon --boot` run by whatever starts programs here"
            }
        };
        Ok(Boot::Nothing { why: why.to_owned() })
    }

    fn unit_file(&self) -> Result<PathBuf, BootError> {
        let units = self.units.as_ref().ok_or(BootError::NoHome)?;
        Ok(units.join(unit::NAME))
    }

    fn has_user_manager(&self) -> bool {
        let asked = self.run(&self.tools.systemctl, &["--user", "is-system-running"]);
        // Its exit status tells health, not presence: a machine with one failed unit is "degraded".
        asked.is_ok_and(|ended| {
            matches!(
                ended.last_lines(1).trim(),
                "running" | "degraded" | "starting" | "initializing" | "maintenance"
            )
        })
    }

    fn install_unit(&self) -> Result<(), BootError> {
        let path = self.unit_file()?;
        unit::write(&path, &unit::text(&self.exe, self.home.as_deref()))
            .map_err(|source| BootError::File { path, source })?;
        self.run_whole(&self.tools.systemctl, &["--user", "daemon-reload"])?;
        self.run_whole(&self.tools.systemctl, &["--user", "enable", unit::NAME])?;
        if !self.lingers() {
            // Some machines leave this to root: then `describe` says so.
            let _ = self.run(&self.tools.loginctl, &["enable-linger"]);
        }
        Ok(())
    }

    fn remove_unit(&self) -> Result<(), BootError> {
        let path = self.unit_file()?;
        if !path.exists() {
            return Ok(());
        }
        let has_manager = self.has_user_manager();
        if has_manager {
            self.run_whole(&self.tools.systemctl, &["--user", "disable", unit::NAME])?;
        }
        unit::remove(&path).map_err(|source| BootError::File { path, source })?;
        if has_manager {
            self.run_whole(&self.tools.systemctl, &["--user", "daemon-reload"])?;
        }
        Ok(())
    }

    fn lingers(&self) -> bool {
        let own = rustix::process::geteuid().as_raw().to_string();
        let asked = self.run(&self.tools.loginctl, &["show-user", &own, "--property=Linger"]);
        asked.is_ok_and(|ended| ended.last_lines(1).trim() == "Linger=yes")
    }

    fn has_crontab(&self) -> bool {
        // With or without a table: it runs, and is not forbidden to this user.
        self.read_crontab().is_ok()
    }

    fn read_crontab(&self) -> Result<String, BootError> {
        let args = ["-l"];
        let ended = self.run(&self.tools.crontab, &args)?;
        let text = String::from_utf8_lossy(&ended.output).into_owned();
        if ended.exit == Exit::Status(0) {
            return Ok(text);
        }
        if text.starts_with("no crontab for") {
            return Ok(String::new());
        }
        Err(refused(&self.tools.crontab, &args, ended.exit, &ended))
    }

    fn install_line(&self) -> Result<(), BootError> {
        let line = crontab::line(&self.exe, self.home.as_deref());
        let old = self.read_crontab()?;
        self.write_crontab(&old, &crontab::with_line(&old, &line))
    }

    fn remove_line(&self) -> Result<(), BootError> {
        let Ok(old) = self.read_crontab() else { return Ok(()) };
        self.write_crontab(&old, &crontab::without_line(&old))
    }

    fn write_crontab(&self, old: &str, new: &str) -> Result<(), BootError> {
        if old == new {
            return Ok(());
        }
        let wrap = |source| BootError::File { path: env::temp_dir(), source };
        let file = tempfile::NamedTempFile::new().map_err(wrap)?;
        std::fs::write(file.path(), new).map_err(wrap)?;
        self.run_whole(&self.tools.crontab, &[&file.path().display().to_string()])
    }

    fn run_whole(&self, program: &str, args: &[&str]) -> Result<(), BootError> {
        let ended = self.run(program, args)?;
        if ended.exit == Exit::Status(0) {
            return Ok(());
        }
        Err(refused(program, args, ended.exit, &ended))
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<Ended, ExecError> {
        let argv = std::iter::once(program).chain(args.iter().copied()).map(str::to_owned);
        exec::run_simply(argv.collect(), LIMIT)
    }
}

fn refused(program: &str, args: &[&str], exit: Exit, ended: &Ended) -> BootError {
    let command = format!("{program} {}", args.join(" "));
    BootError::Refused { command, exit, output: ended.last_lines(3) }
}

#[cfg(test)]
mod tests;
