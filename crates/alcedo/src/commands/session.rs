//! What every verb has: how it shows things, which app is meant, and the daemon.

use super::app::{self, App};
use crate::adapters::clock;
use crate::api::Failed;
use crate::cli::{Globals, When};
use crate::paths::{Keeper, Paths};
use crate::report::actions::Job;
use crate::report::ended::{Ended, exit};
use crate::report::fold::{NARROWEST, USUAL, WIDEST};
use crate::report::ink::{Color, Ink, Script};
use crate::report::live::Block;
use crate::report::status::Reader;
use crate::report::time::Zone;
use crate::report::{Form, Paper, Reporter};
use crate::supervise;
use crate::transport::ssh::{self, Keys};
use crate::transport::{CallError, Client, Door};
use crate::views::{AppView, StatusView};
use alcedo_core::HostAddress;
use alcedo_core::config::{RouterKind, Runner};
use alcedo_core::host::{HOST_FORMS, HostError, SshAddress};
use anyhow::Context;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::time::Duration;

/// Starting the daemon may take so long before it is tried again.
const START_LIMIT: Duration = Duration::from_secs(15);

/// One command line being worked off.
pub(crate) struct Session {
    pub(crate) globals: Globals,
    pub(crate) reporter: Reporter,
    /// What names the app, as it was typed: ` -a shop -e staging`.
    pub(crate) flags: String,
    /// What is done, as `alcedo host` on another machine hears it.
    pub(crate) verb: &'static str,
}

impl Session {
    /// For these flags.
    pub(crate) fn open(globals: Globals) -> Self {
        let flags = flags(&globals);
        let reporter = reporter(&globals);
        Self { globals, reporter, flags, verb: "status" }
    }

    /// For a command line that was refused before its flags were known.
    pub(crate) fn bare(args: &[OsString]) -> Self {
        let has = |flag: &str| args.iter().any(|arg| arg == flag);
        Self::open(Globals {
            json: has("--json"),
            no_color: has("--no-color"),
            plain: true,
            ..Globals::default()
        })
    }

    /// Whether output is for a program.
    pub(crate) fn json(&self) -> bool {
        self.globals.json
    }

    /// The app that is meant, with its configuration when there is a file.
    pub(crate) fn app(&self) -> anyhow::Result<App> {
        app::find(&self.globals)
    }

    /// The app that is meant, for verbs on the way back: an error in the file does not stand in the way.
    pub(crate) fn app_by_name(&self) -> anyhow::Result<App> {
        app::find_leniently(&self.globals)
    }

    /// A client of the daemon that has the app: this machine's, or that of `host`. Connects, and starts a daemon, when it
    /// is first needed.
    pub(crate) fn client(&self, app: Option<&App>) -> anyhow::Result<Client> {
        let door = match self.door(app, self.verb)? {
            Some(door) => door,
            None => here()?,
        };
        Client::new(door).context("start a runtime")
    }

    /// The way to `alcedo host VERB APP` on another machine; `None`: it is this one.
    pub(crate) fn door(&self, app: Option<&App>, verb: &str) -> anyhow::Result<Option<Door>> {
        let words = || {
            let name = app.map(|app| app.name.to_string());
            let fixed = ["alcedo", "host", verb].map(str::to_owned);
            fixed.into_iter().chain(name).collect::<Vec<_>>()
        };
        Ok(match self.machine(app)? {
            HostAddress::Local => None,
            HostAddress::Ssh(address) => {
                Some(Door::Program(ssh::program(address, words(), Keys::from_env())))
            }
            HostAddress::Exec(argv) => {
                let shown = HostAddress::Exec(argv.clone()).to_string();
                Some(Door::Program(ssh::other(shown, argv, words())))
            }
        })
    }

    /// The machine that was named on the command line or by `ALCEDO_HOST`, when it is another one; `setup` alone takes no
    /// notice of `host` in the file, whose account it makes.
    pub(crate) fn typed_machine(&self) -> anyhow::Result<Option<SshAddress>> {
        if self.globals.host.as_deref().is_none_or(str::is_empty) {
            return Ok(None);
        }
        match self.machine(None)? {
            HostAddress::Local => Ok(None),
            HostAddress::Ssh(address) => Ok(Some(address)),
            HostAddress::Exec(_) => Err(Failed::usage("setup needs a login, and `exec:` is none")
                .hint("alcedo setup --host root@HOST, or setup on the machine itself")
                .into()),
        }
    }

    /// Where it is done: `--host` and `ALCEDO_HOST`, else `host` of the file, else here.
    fn machine(&self, app: Option<&App>) -> anyhow::Result<HostAddress> {
        let typed = self.globals.host.as_deref().filter(|host| !host.is_empty());
        if let Some(typed) = typed {
            return HostAddress::parse(typed).map_err(|error| not_a_host(&error).into());
        }
        match app {
            Some(app) => app.host(),
            None => Ok(HostAddress::Local),
        }
    }

    /// Whether it is done on this machine.
    pub(crate) fn is_here(&self, app: Option<&App>) -> bool {
        matches!(self.machine(app), Ok(HostAddress::Local))
    }

    /// Where, before anything happens.
    pub(crate) fn header(&mut self, app: &App) {
        let host = self.machine_name(Some(app));
        let loaded = app.file.as_ref().and_then(|file| file.loaded.as_ref());
        let parts = loaded.map(|loaded| {
            let runner = match loaded.config.runner {
                Runner::Process => "process",
                Runner::Systemd => "systemd",
            };
            let router = match loaded.config.router.kind {
                RouterKind::Embedded => "embedded router",
                RouterKind::Nginx { .. } => "nginx",
            };
            format!(" · {runner}, {router}")
        });
        let parts = parts.unwrap_or_default();
        self.reporter.words(&format!("{} · {} · {host}{parts}", app.app, app.environment));
    }

    /// The machine as people are told it.
    pub(crate) fn machine_name(&self, app: Option<&App>) -> String {
        match self.machine(app) {
            Ok(HostAddress::Local) | Err(_) => host_name(),
            Ok(far @ (HostAddress::Ssh(_) | HostAddress::Exec(_))) => far.to_string(),
        }
    }

    /// How this reader sees tables.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { zone: &self.reporter.zone, width: self.reporter.width, flags: &self.flags }
    }

    /// Lines of data on stdout. A closed pipe ends the command quietly.
    pub(crate) fn print(&mut self, lines: &[String]) {
        for line in lines {
            if self.reporter.data(line).is_err() {
                return;
            }
        }
    }

    /// One JSON value on stdout.
    pub(crate) fn print_json(&mut self, value: &impl serde::Serialize) {
        let text = serde_json::to_string(value).unwrap_or_default();
        let _ = self.reporter.raw(&text);
    }

    /// An error.
    pub(crate) fn refuse(&mut self, failed: &Failed) {
        let flags = self.flags.clone();
        let mut failed = localized(failed, &self.reporter.zone);
        // `status` would answer with itself: this directory's app was never deployed.
        if failed.message.starts_with("no app called") && self.globals.app.is_none() {
            failed.hint = Some("alcedo deploy".to_owned());
        }
        self.reporter.error(&failed, &flags);
    }

    /// The last words of a call that was refused: what is live, as after everything else.
    pub(crate) fn nothing_was_done(&mut self, failed: &Failed) {
        let live = if ["config", "unreached", "version"].contains(&failed.code.as_str()) {
            None
        } else {
            self.live_now()
        };
        match &live {
            Some((slot, release)) => {
                self.reporter.words(&format!("Live: {slot} {release}, unchanged"))
            }
            None if failed.exit == exit::USAGE => self.reporter.words("Nothing was done."),
            None => {}
        }
        let mut ended = Ended::refused(failed.exit);
        ended.active = live.as_ref().map(|(slot, _)| *slot);
        ended.release = live.map(|(_, release)| release);
        self.last_line(&ended);
    }

    /// Slot and release, as far as that can be found out.
    pub(crate) fn live_now(&self) -> Option<(alcedo_core::Slot, String)> {
        let app = self.app_by_name().ok()?;
        let (view, _) = status_of(&self.client(Some(&app)).ok()?, &app).ok()??;
        Some((view.live_slot()?, view.live_release()?.to_owned()))
    }

    /// The last line of `--json`.
    pub(crate) fn last_line(&mut self, ended: &Ended) {
        if self.json() {
            self.print_json(ended);
        }
    }
}

/// This machine's daemon.
fn here() -> anyhow::Result<Door> {
    let paths = Paths::prepare()?;
    let exe = std::env::current_exe().context("find this program")?;
    let path = paths.daemon_socket();
    let revive = move || {
        if paths.keeper == Keeper::System {
            return Err("alcedo.service keeps it running: systemctl status alcedo".to_owned());
        }
        let started = supervise::ensure_running(&paths, &exe, START_LIMIT);
        started.map_err(|error| crate::engine::order::chain(&error))
    };
    Ok(Door::Socket { path, revive: Box::new(revive) })
}

/// A text that names no machine.
pub(crate) fn not_a_host(error: &HostError) -> Failed {
    Failed::usage(format!("failed to {error}")).hint(HOST_FORMS)
}

/// The app's status, `None` when the host does not know it yet.
///
/// # Errors
/// When the daemon cannot be asked.
pub(crate) fn status_of(
    client: &Client,
    app: &App,
) -> anyhow::Result<Option<(AppView, StatusView)>> {
    match client.get::<StatusView>(&format!("/v1/status?app={}", app.name)) {
        Ok(status) => Ok(status.apps.first().cloned().map(|app| (app, status))),
        Err(CallError::Refused(failed)) if failed.exit == 2 => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The wall clock, RFC 3339 UTC.
pub(crate) fn wall() -> String {
    clock::wall()
}

/// The name of this machine.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Who asks: `ALCEDO_BY`, else the CI's actor, else the user.
pub(crate) fn by() -> String {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(by) = var("ALCEDO_BY") {
        return by;
    }
    if let Some(actor) = var("GITHUB_ACTOR") {
        return match var("GITHUB_RUN_ID") {
            Some(run) => format!("{actor} (GitHub run {run})"),
            None => format!("{actor} (GitHub)"),
        };
    }
    let user = var("GITLAB_USER_LOGIN").or_else(|| var("USER")).or_else(|| var("LOGNAME"));
    user.unwrap_or_else(|| crate::setup::accounts::name(rustix::process::geteuid().as_raw()))
}

/// Unique to a call: this process, this moment, this number.
pub(crate) fn operation() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let number = CALLS.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{}-{number}", clock::boot_id(), std::process::id(), clock::now().0)
}

fn reporter(globals: &Globals) -> Reporter {
    let var = |name: &str| std::env::var(name).ok();
    let terminal = io::stderr().is_terminal();
    let flag = match (globals.no_color, globals.color) {
        (true, _) | (false, When::Never) => Some(Color::Off),
        (false, When::Always) => Some(Color::On),
        (false, When::Auto) => None,
    };
    let redraws = terminal
        && !globals.plain
        && var("TERM").is_none_or(|term| term != "dumb" && !term.is_empty());
    let form = match (globals.json, var("GITHUB_ACTIONS").as_deref()) {
        (true, _) => Form::Json,
        (false, Some("true")) => Form::Actions(Job::default()),
        (false, _) if redraws => Form::Live(Block::default()),
        (false, _) => Form::Lines,
    };
    Reporter {
        form,
        ink: Ink { color: Color::choose(flag, terminal, &var), script: Script::choose(&var) },
        width: width(terminal),
        zone: Zone::local(),
        paper: Paper { data: Box::new(io::stdout()), words: Box::new(io::stderr()) },
        lost: None,
    }
}

/// The terminal's, within what is readable.
fn width(terminal: bool) -> usize {
    let size = terminal.then(|| rustix::termios::tcgetwinsize(io::stderr()).ok()).flatten();
    match size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0) {
        Some(columns) => columns.clamp(NARROWEST, WIDEST),
        None => USUAL,
    }
}

/// Only what was needed to name the app.
fn flags(globals: &Globals) -> String {
    let mut flags = String::new();
    let mut add = |flag: &str, value: Option<String>| {
        if let Some(value) = value {
            flags.push_str(&format!(" {flag} {}", shell_words::quote(&value)));
        }
    };
    let shown = |path: &std::path::PathBuf| path.display().to_string();
    add("-C", globals.app_dir.as_ref().map(shown));
    add("-c", globals.file.as_ref().map(shown));
    // From the environment, they are there the next time as well.
    let not_from = |name: &str, value: &Option<String>| {
        value.clone().filter(|v| std::env::var(name).ok().as_ref() != Some(v))
    };
    add("-a", not_from("ALCEDO_APP", &globals.app));
    add("-e", not_from("ALCEDO_ENVIRONMENT", &globals.environment));
    add("--host", not_from("ALCEDO_HOST", &globals.host));
    flags
}

/// Times in the daemon's sentences are UTC; people read their own.
pub(super) fn localized(failed: &Failed, zone: &Zone) -> Failed {
    let word = |word: &str| {
        let bare = word.trim_end_matches([':', ',', '.']);
        match bare.parse::<jiff::Timestamp>() {
            Ok(_) if bare.len() >= 20 => format!("{}{}", zone.minute(bare), &word[bare.len()..]),
            Ok(_) | Err(_) => word.to_owned(),
        }
    };
    let message = failed.message.split(' ').map(word).collect::<Vec<_>>().join(" ");
    Failed { message, ..failed.clone() }
}
