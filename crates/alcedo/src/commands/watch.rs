//! `status --watch`: redrawn every second on a terminal, where B goes back and P accepts; else a line for each change.

use super::app::App;
use super::session::{Session, by, operation};
use super::signals::Signals;
use super::status::exit_code;
use crate::adapters::clock;
use crate::api::{Accepted, Failed, RollbackCall, VerbCall};
use crate::report::ended::exit;
use crate::report::watch;
use crate::transport::{CallError, Client};
use crate::views::{AppView, StatusView};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use std::io::{self, IsTerminal, Read};
use std::time::Duration;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Runs until `q`, Ctrl-C, or the reader's end.
pub(crate) fn run(session: &mut Session, client: &Client, app: Option<&App>) -> anyhow::Result<u8> {
    let Some(app) = app else {
        return Err(Failed::usage("--watch shows one app")
            .hint("alcedo status --watch -a APP")
            .into());
    };
    let signals = Signals::catch()?;
    let terminal = io::stdin().is_terminal()
        && io::stdout().is_terminal()
        && !session.globals.plain
        && !session.json();
    let keys = if terminal { Some(Keys::read()?) } else { None };
    let mut watched =
        Watched { session, client, app, before: None, said: String::new(), note: String::new() };
    let code = watched.until_the_end(&signals, keys.as_ref())?;
    let last = watched.before.take();
    // The page goes first, so that the last line stays on the screen.
    drop(keys);
    let live = last.as_ref().and_then(|status| status.apps.first());
    if let Some((slot, release)) =
        live.and_then(|view| Some((view.live_slot()?, view.live_release()?)))
    {
        session.reporter.words(&format!("Live: {slot} {release}"));
    }
    Ok(code)
}

struct Watched<'a> {
    session: &'a mut Session,
    client: &'a Client,
    app: &'a App,
    before: Option<StatusView>,
    said: String,
    note: String,
}

impl Watched<'_> {
    fn until_the_end(&mut self, signals: &Signals, keys: Option<&Keys>) -> anyhow::Result<u8> {
        loop {
            let now: StatusView = self.client.get(&format!("/v1/status?app={}", self.app.name))?;
            let Some(view) = now.apps.first().cloned() else { return Ok(exit::FAILED) };
            match keys {
                Some(_) => self.draw(&view, &now),
                None if !self.say(&view, &now) => return Ok(exit::DONE),
                None => {}
            }
            let code = exit_code(&now);
            self.before = Some(now);
            let deadline = clock::now().after(EVERY);
            while clock::now() < deadline {
                if signals.take() {
                    return Ok(exit::INTERRUPTED);
                }
                match keys.and_then(|keys| keys.next(Duration::from_millis(100))) {
                    Some(b'q') => return Ok(code),
                    Some(b'B') => self.note = self.go_back(),
                    Some(b'P') => self.note = self.accept(),
                    Some(_) => {}
                    None if keys.is_none() => std::thread::park_timeout(Duration::from_millis(100)),
                    None => {}
                }
            }
        }
    }

    fn draw(&mut self, view: &AppView, now: &StatusView) {
        let reader = self.session.reader();
        let mut lines = watch::page(view, now, self.before.as_ref(), &reader);
        if !self.note.is_empty() {
            lines.extend([String::new(), format!("  {}", self.note)]);
        }
        let ink = self.session.reporter.ink;
        let text = lines
            .iter()
            .map(|line| format!("{}\x1b[K", ink.text(line)))
            .collect::<Vec<_>>()
            .join("\r\n");
        let _ = write!(self.session.reporter.paper.data, "\x1b[H{text}\x1b[J");
        let _ = self.session.reporter.paper.data.flush();
    }

    /// False when nobody reads any more.
    fn say(&mut self, view: &AppView, now: &StatusView) -> bool {
        let line = if self.session.json() {
            serde_json::to_string(view).unwrap_or_default()
        } else {
            watch::line(view, now, &self.session.reader())
        };
        if line == self.said {
            return true;
        }
        self.said.clone_from(&line);
        if self.session.json() {
            return self
                .session
                .reporter
                .raw(&serde_json::to_string(now).unwrap_or_default())
                .is_ok();
        }
        let at = self.session.reporter.zone.clock(&now.at);
        self.session.reporter.data(&format!("{at}  {line}")).is_ok()
    }

    fn go_back(&self) -> String {
        let call = RollbackCall { operation: operation(), release: None, by: by(), config: None };
        self.asked(
            "going back",
            self.client.post(&format!("/v1/apps/{}/rollback", self.app.name), &call),
        )
    }

    fn accept(&self) -> String {
        let call = VerbCall {
            operation: operation(),
            by: by(),
            slot: None,
            now: true,
            before_switch: false,
        };
        self.asked(
            "accepted",
            self.client.post(&format!("/v1/apps/{}/promote", self.app.name), &call),
        )
    }

    fn asked(&self, what: &str, answer: Result<Accepted, CallError>) -> String {
        match answer {
            Ok(accepted) => accepted.text.unwrap_or_else(|| what.to_owned()),
            Err(CallError::Refused(failed)) => match failed.hint {
                Some(hint) => format!("{}: {hint}", failed.message),
                None => failed.message,
            },
            Err(error) => format!("failed to {error}"),
        }
    }
}

/// Single keys from the terminal. Dropped, the terminal is as it was.
struct Keys {
    before: Termios,
}

impl Keys {
    fn read() -> anyhow::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut single = before.clone();
        // Ctrl-C stays a signal, so that it works even when nothing is drawn any more.
        single.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        single.special_codes[SpecialCodeIndex::VMIN] = 0;
        single.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&stdin, OptionalActions::Now, &single)?;
        let _ = io::Write::write_all(&mut io::stdout(), b"\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J");
        Ok(Self { before })
    }

    fn next(&self, wait: Duration) -> Option<u8> {
        let stdin = io::stdin();
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        if poll(&mut fds, Some(&wait)).ok()? == 0 {
            return None;
        }
        let mut byte = [0];
        match stdin.lock().read(&mut byte) {
            Ok(1) => Some(byte[0]),
            // The terminal is gone.
            Ok(_) | Err(_) => Some(b'q'),
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
        let mut out = io::stdout();
        let _ = io::Write::write_all(&mut out, b"\x1b[?25h\x1b[?1049l");
        let _ = io::Write::flush(&mut out);
    }
}
