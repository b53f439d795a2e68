//! The nginx of this host: found by its configuration and its pid file, asked with `nginx -T`, tested with `nginx -t`,
//! told to reload by a signal to its master; on a prepared host, by systemd. What may be done to it is its [`Hold`].

use crate::adapters::clock;
use crate::adapters::exec::{self, Ended, Environment, Exit, Output, Program};
use crate::adapters::runner_systemd::Bus;
use crate::engine::ports::{Call, Cancel, EffectError};
use crate::files::{Ids, as_owner};
use crate::process_table::Identity;
use alcedo_core::AppName;
use alcedo_core::nginx::{Dump, Place, parse_dump};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For `nginx -t` and `-T`: a resolver that does not answer can make them slow.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest configuration that is read.
const DUMP_BYTES: usize = 16 << 20;
/// Where the program is looked for besides `PATH`: Debian has it outside an ordinary user's.
const DIRS: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/local/nginx/sbin"];

/// Debian's unit of nginx, which a prepared host reloads it by.
pub(crate) const UNIT: &str = "nginx.service";
/// A reload is a signal, a start of a unit that moves one file; a busy systemd takes longer.
const JOB_LIMIT: Duration = Duration::from_secs(20);

/// An nginx that may or may not run.
#[derive(Debug, Clone)]
pub(crate) struct Nginx {
    /// Another main file than the compiled-in one.
    conf: Option<PathBuf>,
    hold: Hold,
}

/// What this process may do to nginx and to alcedo's directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// All of it, by itself.
    Whole,
    /// The daemon of a prepared host: sites are `setup`'s, and systemd reloads nginx for it.
    Units,
    /// `setup` as root: sites are its own, alcedo's directories are this user's.
    Root(Ids),
}

/// The unit that puts an app's access log aside and has nginx begin a new one.
pub(crate) fn rotation_unit(app: &AppName) -> String {
    format!("alcedo-nginx-{app}.service")
}

/// The master process.
#[derive(Debug, Clone)]
pub(crate) struct Master {
    identity: Identity,
}

/// Why a configuration does not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    /// What nginx said, the `[emerg]` line first.
    pub(crate) text: String,
    /// The place that it named.
    pub(crate) place: Option<Place>,
}

impl Nginx {
    /// The host's own, or the one with the main file `conf`.
    pub(crate) fn new(conf: Option<PathBuf>, hold: Hold) -> Self {
        Self { conf, hold }
    }

    /// What this process may do.
    pub(crate) fn hold(&self) -> Hold {
        self.hold
    }

    /// Does what is done in alcedo's own directories, with the rights of whom they belong to.
    pub(crate) fn own<T: Send>(
        &self,
        act: impl FnOnce() -> Result<T, EffectError> + Send,
    ) -> Result<T, EffectError> {
        match self.hold {
            Hold::Whole | Hold::Units => act(),
            Hold::Root(ids) => as_owner(ids, act)
                .map_err(|error| EffectError::failed("become the user alcedo", error))?,
        }
    }

    /// Everything that it would read now. An error names the site that is broken.
    pub(crate) fn dump(&self) -> Result<(Dump, String), EffectError> {
        let ended = self.run(&["-T"])?;
        if ended.exit != Exit::Status(0) {
            return Err(broken(&ended).error("read nginx's configuration"));
        }
        let text = String::from_utf8_lossy(&ended.output).into_owned();
        let dump = parse_dump(&text)
            .map_err(|error| EffectError::failed("read nginx's configuration", error))?;
        Ok((dump, text))
    }

    /// `nginx -t`. Only root may read all that nginx reads: on a prepared host the reload itself is the test.
    pub(crate) fn test(&self) -> Result<Result<(), Broken>, EffectError> {
        if self.hold == Hold::Units {
            return Ok(Ok(()));
        }
        let ended = self.run(&["-t"])?;
        Ok(if ended.exit == Exit::Status(0) { Ok(()) } else { Err(broken(&ended)) })
    }

    /// Has the running one read its configuration anew; says nothing about what comes of it.
    pub(crate) fn reload(&self, pid_file: &Path) -> Result<(), EffectError> {
        match self.hold {
            Hold::Whole | Hold::Root(_) => Master::of(pid_file)?.reload(),
            Hold::Units => job(|bus, call| bus.reload(UNIT, call)),
        }
    }

    /// Puts an app's access log aside and has nginx begin a new one.
    pub(crate) fn rotate(
        &self,
        app: &AppName,
        log: &Path,
        pid_file: &Path,
    ) -> Result<(), EffectError> {
        match self.hold {
            Hold::Whole | Hold::Root(_) => {
                let master = Master::of(pid_file)?;
                super::access_log::rename(log).map_err(|error| {
                    EffectError::failed(format!("rename {}", log.display()), error)
                })?;
                master.reopen()
            }
            Hold::Units => job(|bus, call| bus.start(&[rotation_unit(app)], call)),
        }
    }

    /// `nginx -V`: version and compiled-in paths.
    pub(crate) fn about(&self) -> Result<String, EffectError> {
        let ended = self.run(&["-V"])?;
        Ok(String::from_utf8_lossy(&ended.output).into_owned())
    }

    /// Where its main file is.
    pub(crate) fn dir(&self, about: &str) -> PathBuf {
        let compiled = about.split_whitespace().find_map(|w| w.strip_prefix("--conf-path="));
        let conf = self.conf.clone().or_else(|| compiled.map(PathBuf::from));
        let conf = conf.unwrap_or_else(|| "/etc/nginx/nginx.conf".into());
        conf.parent().unwrap_or(Path::new("/")).to_owned()
    }

    /// The pid file, from the configuration or compiled in.
    pub(crate) fn pid_file(&self, dump: &Dump) -> Result<PathBuf, EffectError> {
        if let Some(path) = dump.main_arg("pid") {
            return Ok(Path::new("/").join(path));
        }
        let about = self.about()?;
        let compiled = about.split_whitespace().find_map(|w| w.strip_prefix("--pid-path="));
        Ok(compiled.map_or_else(|| "/run/nginx.pid".into(), PathBuf::from))
    }

    fn run(&self, args: &[&str]) -> Result<Ended, EffectError> {
        let mut argv = vec![program().display().to_string()];
        if let Some(conf) = &self.conf {
            argv.extend(["-c".to_owned(), conf.display().to_string()]);
        }
        argv.extend(args.iter().map(|arg| (*arg).to_owned()));
        let program = Program {
            argv,
            env: Environment::Inherited,
            dir: "/".into(),
            output: Output::Kept { limit_bytes: DUMP_BYTES },
        };
        let call = Call {
            deadline: clock::now().after(LIMIT),
            cancel: &Cancel::default(),
            progress: &|_| {},
        };
        exec::run(&program, &call).map_err(|error| {
            if let exec::ExecError::Start { source, .. } = &error {
                return EffectError::Failed {
                    what: "start nginx".to_owned(),
                    detail: source.to_string(),
                    hint: Some("apt-get install nginx".to_owned()),
                };
            }
            error.into()
        })
    }
}

fn job(act: impl FnOnce(&Bus, &Call<'_>) -> Result<(), EffectError>) -> Result<(), EffectError> {
    let never = Cancel::default();
    let deadline = clock::now().after(JOB_LIMIT);
    act(&Bus::open(deadline)?, &Call { deadline, cancel: &never, progress: &|_| {} })
}

impl Master {
    /// The one whose pid stands in the file.
    pub(crate) fn of(pid_file: &Path) -> Result<Self, EffectError> {
        let not_running = |detail: String| EffectError::Failed {
            what: "find the running nginx".to_owned(),
            detail,
            hint: Some("systemctl start nginx".to_owned()),
        };
        let text = fs::read_to_string(pid_file)
            .map_err(|error| not_running(format!("{}: {error}", pid_file.display())))?;
        let pid: u32 = text.trim().parse().map_err(|_| {
            not_running(format!("{} holds {:?}, not a pid", pid_file.display(), text.trim()))
        })?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let is_nginx = command.starts_with(b"nginx: master");
        let identity = Identity::of(pid).filter(|_| is_nginx).ok_or_else(|| {
            not_running(format!("pid {pid} of {} is not nginx's", pid_file.display()))
        })?;
        Ok(Self { identity })
    }

    /// Reads the configuration anew; returns when the signal is sent, which says nothing about what came of it.
    pub(crate) fn reload(&self) -> Result<(), EffectError> {
        self.signal(Signal::HUP, "reload nginx")
    }

    /// Opens its log files anew.
    fn reopen(&self) -> Result<(), EffectError> {
        self.signal(Signal::USR1, "make nginx open its logs anew")
    }

    /// Workers that take connections: those that a reload has told to end are left out.
    pub(crate) fn workers(&self) -> std::collections::BTreeSet<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.identity.pid);
        let children = fs::read_to_string(children).unwrap_or_default();
        let takes = |pid: &u32| {
            let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let title = String::from_utf8_lossy(&title).into_owned();
            title.starts_with("nginx: worker process") && !title.contains("shutting down")
        };
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(takes).collect()
    }

    /// The user that its workers run as.
    pub(crate) fn worker_user(&self) -> String {
        let children = format!("/proc/{0}/task/{0}/children", self.identity.pid);
        let children = fs::read_to_string(children).unwrap_or_default();
        let worker = children.split_whitespace().next().unwrap_or("").to_owned();
        let uid = fs::metadata(format!("/proc/{worker}")).map(|meta| meta.uid());
        uid.map_or_else(|_| "nginx's user".to_owned(), |uid| format!("user {uid}"))
    }

    fn signal(&self, signal: Signal, what: &str) -> Result<(), EffectError> {
        if self.identity.signal(signal) {
            return Ok(());
        }
        Err(EffectError::Failed {
            what: what.to_owned(),
            detail: format!("pid {} takes no signal from this user", self.identity.pid),
            hint: Some("alcedo setup".to_owned()),
        })
    }
}

impl Broken {
    /// As an error, with the place to mend.
    pub(crate) fn error(&self, what: &str) -> EffectError {
        let hint = self.place.as_ref().map(|place| format!("mend {place}, then: nginx -t"));
        EffectError::Failed {
            what: match &self.place {
                Some(place) => format!("{what}: {place} is broken"),
                None => what.to_owned(),
            },
            detail: self.text.clone(),
            hint,
        }
    }
}

fn broken(ended: &Ended) -> Broken {
    let text = String::from_utf8_lossy(&ended.output).into_owned();
    let worst = text.lines().filter(|l| l.contains("[emerg]") || l.contains("[crit]"));
    let lines: Vec<&str> = worst.collect();
    let text = if lines.is_empty() { ended.last_lines(10) } else { lines.join("\n") };
    let place = text.lines().find_map(place_of);
    Broken { text, place }
}

/// `… in /etc/nginx/sites-enabled/shop:12`
fn place_of(line: &str) -> Option<Place> {
    let (_, place) = line.trim().rsplit_once(" in ")?;
    let (file, line) = place.rsplit_once(':')?;
    Some(Place { file: file.into(), line: line.parse().ok()? })
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(DIRS.map(PathBuf::from));
    let mut found = dirs.map(|dir| dir.join("nginx")).filter(|file| file.is_file());
    found.next().unwrap_or_else(|| "nginx".into())
}
