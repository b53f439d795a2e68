//! Bodies on their way through: nothing is copied and nothing is held back.

use crate::access_log::LogEntry;
use crate::conn::{Conn, Expiry, Phase};
use crate::h1::AnswerError;
use crate::local::Ticket;
use crate::upstream::Upstream;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Bytes of an upload that show that the client goes on.
const UPLOAD_WINDOW_BYTES: u64 = 1024;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("read the client's body")]
    Client(#[source] hyper::Error),
    #[error("read the client's body: it is too large")]
    TooLarge,
    #[error("read the upstream's body")]
    Upstream(#[source] AnswerError),
}

/// What goes to the upstream.
pub(crate) enum RequestBody {
    Empty,
    Client(ClientBody),
}

/// The client's body, counted.
pub(crate) struct ClientBody {
    incoming: Incoming,
    conn: Rc<Conn>,
    left_bytes: u64,
    timeout_ms: u64,
    window_bytes: u64,
    is_waiting: bool,
}

impl ClientBody {
    pub(crate) fn new(incoming: Incoming, conn: Rc<Conn>, max_bytes: u64, timeout_ms: u64) -> Self {
        let left_bytes = max_bytes;
        Self { incoming, conn, left_bytes, timeout_ms, window_bytes: 0, is_waiting: false }
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        let count = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(left) = self.left_bytes.checked_sub(count) else {
            self.conn.expire(Expiry::TooLarge);
            return Err(BodyError::TooLarge);
        };
        self.left_bytes = left;
        self.window_bytes += count;
        if self.window_bytes >= UPLOAD_WINDOW_BYTES || self.incoming.is_end_stream() {
            self.has_moved();
        }
        Ok(frame)
    }

    /// From here on the upstream has its full time again.
    fn has_moved(&mut self) {
        self.window_bytes = 0;
        self.is_waiting = false;
        if matches!(self.conn.phase(), Phase::Waiting | Phase::Uploading) {
            self.conn.wait_for_upstream(self.timeout_ms);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self::Client(body) = &mut *self else { return Poll::Ready(None) };
        match Pin::new(&mut body.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(body.take(frame))),
            Poll::Ready(Some(Err(error))) => {
                body.conn.expire(Expiry::BrokenBody);
                Poll::Ready(Some(Err(BodyError::Client(error))))
            }
            Poll::Ready(None) => {
                body.has_moved();
                Poll::Ready(None)
            }
            Poll::Pending => {
                if !body.is_waiting && body.conn.phase() == Phase::Waiting {
                    body.is_waiting = true;
                    body.conn.wait_for_upload();
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client(body) => body.incoming.size_hint(),
        }
    }
}

/// What goes to the client.
pub(crate) enum AnswerBody {
    /// A page of our own.
    Page(
        Option<Bytes>,
        #[expect(dead_code, reason = "ends the request when it is dropped")] PageEnd,
    ),
    /// The upstream's.
    Relay(Relay),
}

/// Ends the request when the page is out.
pub(crate) struct PageEnd(Option<(Rc<Conn>, Option<Box<LogEntry>>)>);

impl PageEnd {
    pub(crate) fn new(conn: Rc<Conn>, log: Option<Box<LogEntry>>) -> Self {
        Self(Some((conn, log)))
    }

    /// Of a page that is not shown.
    pub(crate) fn nothing() -> Self {
        Self(None)
    }
}

impl Drop for PageEnd {
    fn drop(&mut self) {
        let Some((conn, log)) = self.0.take() else { return };
        if let Some(entry) = log {
            conn.worker.log(*entry);
        }
        conn.end_request();
    }
}

/// An upstream's answer on its way to the client.
pub(crate) struct Relay {
    pub(crate) upstream: Option<Box<Upstream>>,
    pub(crate) ticket: Ticket,
    pub(crate) conn: Rc<Conn>,
    pub(crate) log: Option<Box<LogEntry>>,
    /// Set for an event stream: whether the last bytes were the end of an event.
    pub(crate) at_event_end: Option<bool>,
}

impl Relay {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(upstream) = &mut self.upstream else { return Poll::Ready(None) };
        // An event stream whose time is up ends between two events; the browser connects again by itself.
        if self.at_event_end == Some(true) && self.conn.is_ending() {
            self.upstream = None;
            return Poll::Ready(None);
        }
        match ready!(upstream.poll_body(cx)) {
            Some(Ok(frame)) => {
                self.note(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.upstream = None;
                self.ticket.target.shard().broke_off();
                Poll::Ready(Some(Err(BodyError::Upstream(error))))
            }
            None => Poll::Ready(None),
        }
    }

    fn note(&mut self, frame: &Frame<Bytes>) {
        let Some(data) = frame.data_ref() else { return };
        if let Some(log) = &mut self.log {
            log.bytes += data.len() as u64;
        }
        if let Some(at_end) = &mut self.at_event_end {
            *at_end = data.ends_with(b"\n\n") || data.ends_with(b"\r\n\r\n");
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Page(page, _) => Poll::Ready(page.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Relay(relay) => relay.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Page(page, _) => page.is_none(),
            Self::Relay(relay) => relay.upstream.as_ref().is_none_or(|u| u.is_answered()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let length = match self {
            Self::Page(page, _) => Some(page.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Relay(relay) => relay.upstream.as_ref().and_then(|u| u.length_left()),
        };
        length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(upstream) = self.upstream.take()
            && upstream.can_be_kept()
        {
            self.conn.worker.keep(upstream);
        }
        if let Some(entry) = self.log.take() {
            self.conn.worker.log(*entry);
        }
        self.conn.end_request();
    }
}
