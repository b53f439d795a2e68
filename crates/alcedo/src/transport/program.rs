//! The way through a program: it is started, its first line says who is there, and then HTTP/2 goes over its stdin and
//! stdout. Everything it complains about is kept for the error.

use super::CallError;
use super::client::{Tried, broke};
use super::door::Sender;
use crate::adapters::exec::{Exit, Piped, Pipes, start_piped};
use crate::host::greeting::{self, Greeting};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::cell::{Cell, RefCell};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;

/// Until the first line: a jump host and a slow login.
const GREETING_LIMIT: Duration = Duration::from_secs(40);
/// A program whose stdout ended may take so long for its end.
const END_LIMIT: Duration = Duration::from_secs(2);
/// Lines that a login shell may print before ours.
const NOISE_LINES_MAX: usize = 200;
/// The longest of them.
const NOISE_BYTES_MAX: usize = 16 << 10;
/// Of what it complains, the last so many bytes are kept.
const COMPLAINT_BYTES: usize = 4 << 10;
/// Room for what is under way, so that a long line between us is filled.
const WINDOW_BYTES: u32 = 8 << 20;
/// For the client alone; no program gets it.
pub(super) const SECRET: [&str; 2] = ["ALCEDO_SSH_KEY", "ALCEDO_KNOWN_HOSTS"];

/// What is started, with what must stay until it has connected.
pub(crate) struct Started {
    /// Program and arguments, at least one.
    pub(crate) argv: Vec<String>,
    /// Temporary files that it reads.
    pub(crate) _files: Vec<tempfile::NamedTempFile>,
}

/// Why there is no connection, in the words of whoever knows the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    /// What was seen.
    pub(crate) seen: String,
    /// What to type.
    pub(crate) hint: Option<String>,
    /// Trying again could help.
    pub(crate) passing: Passing,
}

/// Whether a failure could go by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passing {
    /// A line that is down, a host that boots.
    Maybe,
    /// A key that is not accepted, a program that is missing.
    Never,
}

/// How it ended without having said who is there.
pub(crate) struct Silence {
    /// Its end; `None`: it still ran.
    pub(crate) exit: Option<Exit>,
    /// What it complained.
    pub(crate) complaint: String,
}

/// Its stdout and stdin.
pub(super) type Line = tokio::io::Join<BufReader<pipe::Receiver>, pipe::Sender>;

type Start = Box<dyn Fn() -> io::Result<Started>>;
type Explain = Box<dyn Fn(&Silence) -> Reason>;

/// A program that leads to another machine.
pub(crate) struct Program {
    machine: String,
    start: Start,
    explain: Explain,
    running: RefCell<Option<Piped>>,
    was_there: Cell<bool>,
}

impl Program {
    /// One that leads to `machine` (as it is shown). `start` says what is started, each time; `explain` what its silence
    /// means.
    pub(crate) fn new(machine: String, start: Start, explain: Explain) -> Self {
        Self { machine, start, explain, running: RefCell::new(None), was_there: Cell::new(false) }
    }

    /// The machine, as it is shown.
    pub(super) fn machine(&self) -> &str {
        &self.machine
    }

    /// Starts it and returns the connection with what the other end said first. What was running is ended.
    pub(super) async fn connect(&self) -> Result<(Sender, Greeting), Tried> {
        let (io, greeting) = self.open().await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOW_BYTES);
        builder.initial_connection_window_size(WINDOW_BYTES);
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await.map_err(broke)?;
        tokio::spawn(async move {
            // Its end shows in the requests on it.
            let _ = connection.await;
        });
        Ok((Sender::Many(sender), greeting))
    }

    /// Starts it and returns what comes after its greeting as it is.
    pub(super) async fn raw(&self) -> io::Result<Line> {
        match self.open().await {
            Ok((_, Greeting { refused: Some(failed), .. })) => {
                Err(io::Error::other(failed.message))
            }
            Ok((line, _)) => Ok(line),
            Err(Tried::Broke(seen)) => Err(io::Error::other(seen)),
            Err(Tried::Final(error)) => Err(io::Error::other(error)),
        }
    }

    async fn open(&self) -> Result<(Line, Greeting), Tried> {
        let started = (self.start)().map_err(|error| self.unreachable(error.to_string()))?;
        let name = started.argv.first().cloned().unwrap_or_default();
        let (piped, pipes) = start_piped(&started.argv, &SECRET)
            .map_err(|error| self.unreachable(format!("start `{name}`: {error}")))?;
        self.running.replace(Some(piped));
        let Pipes { stdin, stdout, stderr } = pipes;
        let complaint = collect(pipe::Receiver::from_owned_fd(stderr).map_err(broke)?);
        let mut reader = BufReader::new(pipe::Receiver::from_owned_fd(stdout).map_err(broke)?);
        let first = tokio::time::timeout(GREETING_LIMIT, greeted(&mut reader)).await;
        drop(started);
        let greeting = match first {
            Ok(Ok(Some(greeting))) => greeting,
            Ok(Ok(None) | Err(_)) | Err(_) => return Err(self.silent(complaint).await),
        };
        self.was_there.set(true);
        let writer = pipe::Sender::from_owned_fd(stdin).map_err(broke)?;
        Ok((tokio::io::join(reader, writer), greeting))
    }

    async fn silent(&self, complaint: Complaint) -> Tried {
        let exit = self.end_of_it().await;
        // Its end can be seen before its last words are read; whoever it left behind may keep the pipe.
        let _ = tokio::time::timeout(END_LIMIT, complaint.reads).await;
        let bytes = complaint.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let complaint = String::from_utf8_lossy(&bytes).trim().to_owned();
        let Reason { seen, hint, passing } = (self.explain)(&Silence { exit, complaint });
        if passing == Passing::Maybe && self.was_there.get() {
            return Tried::Broke(seen);
        }
        Tried::Final(CallError::Unreached { whom: self.machine.clone(), seen, hint })
    }

    async fn end_of_it(&self) -> Option<Exit> {
        const LOOK: Duration = Duration::from_millis(20);
        let looks = END_LIMIT.as_millis() / LOOK.as_millis();
        for _ in 0..looks {
            let ended = self.running.borrow_mut().as_mut().and_then(Piped::ended);
            if ended.is_some() {
                return ended;
            }
            tokio::time::sleep(LOOK).await;
        }
        None
    }

    fn unreachable(&self, seen: String) -> Tried {
        Tried::Final(CallError::Unreached { whom: self.machine.clone(), seen, hint: None })
    }
}

/// The line that says who is there; what a login shell prints before it is passed over.
async fn greeted(reader: &mut BufReader<pipe::Receiver>) -> io::Result<Option<Greeting>> {
    for _ in 0..NOISE_LINES_MAX {
        let mut line = Vec::new();
        let limit = NOISE_BYTES_MAX as u64;
        if (&mut *reader).take(limit).read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        if let Some(greeting) = greeting::read(&line) {
            return Ok(Some(greeting));
        }
    }
    Ok(None)
}

/// Keeps the last of what it complains, until its end.
fn collect(mut from: pipe::Receiver) -> Complaint {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let into = kept.clone();
    let reads = tokio::spawn(async move {
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let mut all = into.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend_from_slice(&buffer[..count]);
            let over = all.len().saturating_sub(COMPLAINT_BYTES);
            all.drain(..over);
        }
    });
    Complaint { kept, reads }
}

/// What it complains, while it is read.
struct Complaint {
    kept: Arc<Mutex<Vec<u8>>>,
    reads: tokio::task::JoinHandle<()>,
}
