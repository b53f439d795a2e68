//! The access log: one JSON line a request. A worker collects lines and hands them over in blocks; when the writer is
//! behind they are dropped and counted, because a full disk must not hold up an answer.

use crate::conn::Conn;
use crate::local::{LocalService, LocalTarget};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Uri};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Blocks that may wait for the writer.
const BLOCKS_MAX: usize = 64;

/// What a line will say.
pub(crate) struct LogEntry {
    begun: Instant,
    client: IpAddr,
    method: Method,
    host: Option<HeaderValue>,
    uri: Uri,
    service: Option<Rc<LocalService>>,
    target: Option<Rc<LocalTarget>>,
    status: u16,
    first_byte_us: u64,
    /// Of the answer's body.
    pub(crate) bytes: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    time_ms: u64,
    client: IpAddr,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    status: u16,
    bytes: u64,
    first_byte_us: u64,
    total_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
}

impl LogEntry {
    pub(crate) fn new(conn: &Conn, parts: &Parts, begun: Instant) -> Self {
        Self {
            begun,
            client: conn.peer.ip(),
            method: parts.method.clone(),
            host: parts.headers.get(header::HOST).cloned(),
            uri: parts.uri.clone(),
            service: None,
            target: None,
            status: 0,
            first_byte_us: 0,
            bytes: 0,
        }
    }

    /// Who answers it.
    pub(crate) fn found(&mut self, service: &Rc<LocalService>, target: &Rc<LocalTarget>) {
        self.service = Some(service.clone());
        self.target = Some(target.clone());
    }

    /// The answer began.
    pub(crate) fn answered(&mut self, status: StatusCode, first_byte_us: u64) {
        self.status = status.as_u16();
        self.first_byte_us = first_byte_us;
    }

    /// The proxy itself answers.
    pub(crate) fn refused(&mut self, status: StatusCode) {
        let elapsed_us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.answered(status, elapsed_us);
    }

    /// Appends the line.
    pub(crate) fn write(&self, now: Instant, wall_ms: u64, buffer: &mut Vec<u8>) {
        let total = now.saturating_duration_since(self.begun);
        let line = Line {
            time_ms: wall_ms,
            client: self.client,
            method: self.method.as_str(),
            host: self.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default(),
            path: self.uri.path_and_query().map_or("", |path| path.as_str()),
            status: self.status,
            bytes: self.bytes,
            first_byte_us: self.first_byte_us,
            total_us: u64::try_from(total.as_micros()).unwrap_or(u64::MAX),
            service: self.service.as_ref().map(|service| service.name.as_str()),
            target: self.target.as_ref().map(|target| target.live.id.as_str()),
        };
        if serde_json::to_writer(&mut *buffer, &line).is_ok() {
            buffer.push(b'\n');
        }
    }
}

/// Milliseconds since 1970, for people; nothing is decided by it.
pub(crate) fn wall_clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Starts the writer. It ends when the last sender is gone.
pub(crate) fn start(path: &Path, size_max: u64) -> io::Result<SyncSender<Vec<u8>>> {
    let (sender, blocks) = sync_channel(BLOCKS_MAX);
    let mut log = LogFile::open(path.to_owned(), size_max)?;
    std::thread::Builder::new().name("access-log".to_owned()).spawn(move || log.run(&blocks))?;
    Ok(sender)
}

struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    size_max: u64,
}

impl LogFile {
    fn open(path: PathBuf, size_max: u64) -> io::Result<Self> {
        // Paths with their queries are nobody else's business.
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size, size_max })
    }

    fn run(&mut self, blocks: &Receiver<Vec<u8>>) {
        while let Ok(block) = blocks.recv() {
            if let Err(error) = self.append(&block) {
                tracing::warn!(%error, path = %self.path.display(), "cannot write the access log");
            }
        }
    }

    fn append(&mut self, block: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + block.len() as u64 > self.size_max {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            std::fs::rename(&self.path, older)?;
            match Self::open(self.path.clone(), self.size_max) {
                Ok(fresh) => *self = fresh,
                Err(error) => {
                    // The older file takes the next block, too, and then this is tried again.
                    self.size = 0;
                    tracing::warn!(%error, path = %self.path.display(), "cannot reopen the access log");
                }
            }
        }
        self.size += block.len() as u64;
        self.file.write_all(block)
    }
}
