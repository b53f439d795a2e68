//! A stream of lines from the daemon, read with a limit on each wait.

use super::Client;
use super::door::Sender;
use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::Duration;

/// The longest line that is read: a record with its whole plan is far below.
const LINE_BYTES_MAX: usize = 8 << 20;

/// An open stream.
pub(crate) struct Lines<'a> {
    local: &'a Client,
    /// Dropped, it would close the connection.
    _sender: Sender,
    body: Incoming,
    buffer: BytesMut,
    ended: bool,
}

/// What came within a wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A line, without its end.
    Line(String),
    /// Nothing yet.
    Quiet,
    /// The daemon has said everything.
    Over,
    /// The connection broke.
    Broke(String),
}

impl<'a> Lines<'a> {
    pub(super) fn new(local: &'a Client, sender: Sender, body: Incoming) -> Self {
        Self { local, _sender: sender, body, buffer: BytesMut::new(), ended: false }
    }

    /// The next line, waited for at most so long.
    pub(crate) fn next(&mut self, wait: Duration) -> Next {
        loop {
            if let Some(line) = self.buffered() {
                return Next::Line(line);
            }
            if self.ended {
                return Next::Over;
            }
            // Dropping the future loses nothing: a frame is either still in the connection or returned.
            let frame =
                self.local.block_on(async { tokio::time::timeout(wait, self.body.frame()).await });
            match frame {
                Err(_) => return Next::Quiet,
                Ok(None) => self.ended = true,
                Ok(Some(Err(error))) => return Next::Broke(error.to_string()),
                Ok(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                    if self.buffer.len() > LINE_BYTES_MAX {
                        return Next::Broke("a line without an end".to_owned());
                    }
                }
            }
        }
    }

    fn buffered(&mut self) -> Option<String> {
        let end = self.buffer.iter().position(|b| *b == b'\n')?;
        let line = self.buffer.split_to(end);
        self.buffer.advance(1);
        Some(String::from_utf8_lossy(&line).into_owned())
    }
}
