//! What is said on a shim's `ctl.sock`: one JSON object a line each way, any number on one connection.
//!
//! Frozen as version 1: a shim may be years older than who asks. Verbs and fields are only added; unknown fields are
//! ignored, an unknown verb is answered with an error and changes nothing.

use super::files::{ShimDir, State, VERSION};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest line either way, in bytes.
pub(super) const LINE_BYTES_MAX: u64 = 64 * 1024;

/// A question.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Request {
    /// A [`Verb`]; a text here, so that an unknown one can be named in the answer.
    pub(super) verb: String,
}

/// What a shim can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Who are you?
    Hello,
    /// What does your child do?
    State,
    /// Stop it; answered when nothing of it runs any more. The shim ends afterwards.
    Stop,
    /// Stop it and start it again with the spec as it now stands; answered when it was started. Supervised only.
    Restart,
}

impl Verb {
    /// Every verb.
    pub(super) const ALL: [Self; 4] = [Self::Hello, Self::State, Self::Stop, Self::Restart];

    /// As it goes over the wire.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::State => "state",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// See [`VERSION`].
    pub(crate) version: u32,
    /// The shim's pid.
    pub(crate) shim: u32,
    /// The shim's alcedo.
    #[serde(default)]
    pub(crate) alcedo: String,
    /// Why it did not do as asked.
    #[serde(default)]
    pub(crate) error: Option<String>,
    /// How its child is.
    #[serde(default)]
    pub(crate) state: Option<State>,
}

impl Reply {
    /// With the child's state, or why there is none.
    pub(super) fn new(state: Option<State>, error: Option<String>) -> Self {
        Self {
            version: VERSION,
            shim: std::process::id(),
            alcedo: env!("CARGO_PKG_VERSION").to_owned(),
            error,
            state,
        }
    }

    /// As one line.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("plain data becomes JSON");
        line.push(b'\n');
        line
    }
}

/// Why a shim did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// Nobody listens there, or not any more.
    #[error("reach a shim in {0}: none runs")]
    NoShim(String),
    /// It did not answer in time, or not in a way that can be read.
    #[error("get an answer from the shim in {dir}")]
    NoAnswer {
        /// Its directory.
        dir: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Asks the shim in `dir`.
pub(crate) fn ask(dir: &Path, verb: Verb, limit: Duration) -> Result<Reply, AskError> {
    let dir_text = dir.display().to_string();
    connect(dir).and_then(|mut stream| exchange(&mut stream, verb, limit)).map_err(|source| {
        if HANGS_UP.contains(&source.kind()) {
            return AskError::NoShim(dir_text.clone());
        }
        AskError::NoAnswer { dir: dir_text, source }
    })
}

/// How it looks when nobody is there, or it ends while it is asked.
const HANGS_UP: [io::ErrorKind; 5] = [
    io::ErrorKind::NotFound,
    io::ErrorKind::ConnectionRefused,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::BrokenPipe,
    io::ErrorKind::UnexpectedEof,
];

fn connect(dir: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(ShimDir::open(dir)?.file("ctl.sock"))
}

fn exchange(stream: &mut UnixStream, verb: Verb, limit: Duration) -> io::Result<Reply> {
    // Zero would mean no limit at all.
    let limit = limit.max(Duration::from_millis(1));
    stream.set_write_timeout(Some(limit))?;
    stream.set_read_timeout(Some(limit))?;
    let request = Request { verb: verb.as_str().to_owned() };
    let mut line = serde_json::to_vec(&request).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    read_reply(stream)
}

/// One reply from wherever a shim writes one.
pub(super) fn read_reply(stream: impl Read) -> io::Result<Reply> {
    let mut line = String::new();
    if BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_str(&line).map_err(io::Error::other)
}
