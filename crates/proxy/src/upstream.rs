//! A connection to an upstream, driven by the task of the client whose request it carries.
//!
//! There is no task of its own: whoever waits for the answer polls the connection, so an answer costs no wake-up from
//! one task to another.

use crate::body::{BodyError, RequestBody};
use crate::h1::{self, AnswerError, AnswerHead, Framing, Part};
use crate::head;
use crate::live::UpstreamAddress;
use crate::state::Address;
use crate::upstream_io::UpstreamStream;
use bytes::{Bytes, BytesMut};
use hyper::Method;
use hyper::body::{Body, Frame};
use hyper::header::HeaderMap;
use std::io::{self, IoSlice, Write};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// For one attempt to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Pauses before the next attempt when nobody listens: the process may be starting again.
const REFUSED_PAUSES_MS: [u64; 5] = [20, 40, 80, 160, 320];
/// Bytes read at once: at first, and while a body fills it.
const READ_BYTES: usize = 4 << 10;
const READ_BYTES_MAX: usize = 64 << 10;

/// One connection.
pub(crate) struct Upstream {
    pub(crate) number: u32,
    pub(crate) idle_since_ms: u64,
    stream: UpstreamStream,
    sending: Outgoing,
    /// Received and not yet handed on.
    received: BytesMut,
    read_bytes: usize,
    framing: Framing,
    keeps_alive: bool,
}

/// A request on its way.
pub(crate) struct Outgoing {
    /// The head, or the line before a chunk. The head is kept until the answer begins, so that it can be sent again.
    lead: Vec<u8>,
    /// A part of the body.
    data: Bytes,
    /// The line end after a chunk.
    tail: &'static [u8],
    /// Of the three together.
    written: usize,
    body: RequestBody,
    is_chunked: bool,
    has_begun: bool,
    is_head: bool,
    is_done: bool,
}

/// Why a request has no answer.
pub(crate) enum SendFailure {
    /// Nothing of it was written: it may be sent again, whatever it is.
    Unwritten(Outgoing),
    /// The connection broke and the request may have been worked on; its head for the case that this does no harm.
    Broken(Vec<u8>, AnswerError),
}

impl Upstream {
    /// Connects, patiently while nobody listens.
    pub(crate) async fn connect(address: &UpstreamAddress) -> io::Result<Box<Self>> {
        let mut pauses = REFUSED_PAUSES_MS.iter();
        loop {
            let error = match connect_once(&address.address).await {
                Ok(stream) => return Ok(Self::new(stream, address.number)),
                Err(error) => error,
            };
            match pauses.next() {
                Some(pause) if is_absent(&error) => {
                    tokio::time::sleep(Duration::from_millis(*pause)).await;
                }
                _ => return Err(error),
            }
        }
    }

    /// Connects, once, for requests to come.
    pub(crate) async fn connect_ahead(address: &UpstreamAddress) -> io::Result<Box<Self>> {
        Ok(Self::new(connect_once(&address.address).await?, address.number))
    }

    /// Hands over a request; poll the answer with [`Self::poll_answer`].
    pub(crate) fn send(&mut self, outgoing: Outgoing) {
        self.sending = outgoing;
    }

    /// Sends what can be sent and looks for the head of the answer. `headers` gives its memory.
    pub(crate) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        method: &Method,
        headers: &mut HeaderMap,
    ) -> Poll<Result<AnswerHead, SendFailure>> {
        // An upstream may answer before it has read all, and close: what it said counts, not that we could not go on.
        let sent = self.poll_send(cx);
        loop {
            match h1::take_head(&mut self.received, method, headers) {
                Ok(Some(mut head)) => {
                    self.framing = std::mem::replace(&mut head.framing, Framing::Empty);
                    self.keeps_alive = head.keeps_alive;
                    return Poll::Ready(Ok(head));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(self.fail(error))),
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) => {
                    let error = match sent {
                        Poll::Ready(Err(error)) => error.into(),
                        Poll::Ready(Ok(())) | Poll::Pending => AnswerError::Truncated,
                    };
                    return Poll::Ready(Err(self.fail(error)));
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(self.fail(error.into()))),
            }
        }
    }

    /// Goes on sending, and looks for the next part of the answer's body; `None` when it is whole.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if !self.sending.is_done {
            let _ = self.poll_send(cx);
        }
        loop {
            match self.framing.take(&mut self.received) {
                Ok(Part::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Part::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Part::End) => return Poll::Ready(None),
                Ok(Part::More) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) if self.framing == Framing::Close => self.framing = Framing::Empty,
                Ok(0) => return Poll::Ready(Some(Err(AnswerError::Truncated))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// Whether the whole answer was handed on.
    pub(crate) fn is_answered(&self) -> bool {
        self.framing == Framing::Empty
    }

    /// Bytes left of an answer whose length is known.
    pub(crate) fn length_left(&self) -> Option<u64> {
        match &self.framing {
            Framing::Empty => Some(0),
            Framing::Length(left) => Some(*left),
            Framing::Chunked(_) | Framing::Close => None,
        }
    }

    /// Whether another request can follow.
    pub(crate) fn can_be_kept(&self) -> bool {
        self.keeps_alive && self.is_answered() && self.sending.is_done && self.received.is_empty()
    }

    /// Makes an idle connection small.
    pub(crate) fn rest(&mut self) {
        if self.read_bytes > READ_BYTES {
            self.received = BytesMut::new();
            self.read_bytes = READ_BYTES;
        }
    }

    /// Memory for the head of the next request, empty.
    pub(crate) fn take_lead(&mut self) -> Vec<u8> {
        let mut lead = std::mem::take(&mut self.sending.lead);
        lead.clear();
        lead
    }

    /// Whether the idle connection is open and silent as far as this host can know: the socket itself is asked, not
    /// what the event loop saw last. On loopback the end of a process or its close is seen at once, so that what must
    /// not be sent twice is not written to a connection that is gone; bytes that nobody asked for (a body after an
    /// answer that has none) are not taken for the next answer. A third of a microsecond.
    pub(crate) fn is_open(&self) -> bool {
        self.stream.is_silent()
    }

    /// After an answer 101: the socket, and what came after the answer.
    pub(crate) fn into_raw(self) -> (UpstreamStream, Bytes) {
        (self.stream, self.received.freeze())
    }

    fn new(stream: UpstreamStream, number: u32) -> Box<Self> {
        Box::new(Self {
            number,
            idle_since_ms: 0,
            stream,
            sending: Outgoing::nothing(),
            received: BytesMut::new(),
            read_bytes: READ_BYTES,
            framing: Framing::Empty,
            keeps_alive: false,
        })
    }

    fn fail(&mut self, error: AnswerError) -> SendFailure {
        let sending = std::mem::replace(&mut self.sending, Outgoing::nothing());
        if sending.is_head && sending.written == 0 {
            return SendFailure::Unwritten(sending);
        }
        SendFailure::Broken(sending.lead, error)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.received.reserve(self.read_bytes);
        let room = self.received.capacity() - self.received.len();
        let count = {
            let reading = pin!(self.stream.read_buf(&mut self.received));
            ready!(reading.poll(cx))?
        };
        if count >= room && self.read_bytes < READ_BYTES_MAX {
            self.read_bytes *= 2;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sending = &mut self.sending;
        loop {
            // The first part of the body goes out with the head when it is there already.
            if !sending.has_begun || sending.is_written() {
                match sending.poll_next(cx) {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return Poll::Ready(Ok(())),
                    Poll::Pending if sending.is_written() => return Poll::Pending,
                    Poll::Pending => sending.has_begun = true,
                }
            }
            while !sending.is_written() {
                let count = ready!(sending.poll_write(cx, &mut self.stream))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
            }
        }
    }
}

impl Outgoing {
    /// A request with its whole head; `is_chunked`: the head says so, because the body has no length.
    pub(crate) fn new(head: Vec<u8>, body: RequestBody, is_chunked: bool) -> Self {
        Self { lead: head, body, is_chunked, is_done: false, ..Self::nothing() }
    }

    fn nothing() -> Self {
        Self {
            lead: Vec::new(),
            data: Bytes::new(),
            tail: b"",
            written: 0,
            body: RequestBody::Empty,
            is_chunked: false,
            has_begun: false,
            is_head: true,
            is_done: true,
        }
    }

    fn length(&self) -> usize {
        self.lead.len() + self.data.len() + self.tail.len()
    }

    fn is_written(&self) -> bool {
        self.is_done || self.written == self.length()
    }

    /// Loads the next part; `false`: all is sent.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if matches!(self.body, RequestBody::Empty) {
            self.has_begun = true;
            self.is_done |= self.written == self.length();
            return Poll::Ready(!self.is_done);
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => Some(frame),
            // The connection's expiry says what it was; the upstream must not take this for the end.
            Some(Err(BodyError::Client(_) | BodyError::TooLarge | BodyError::Upstream(_))) => {
                return Poll::Pending;
            }
            None => None,
        };
        if self.has_begun {
            self.lead.clear();
            self.is_head = false;
            (self.written, self.data, self.tail) = (0, Bytes::new(), b"");
        }
        self.has_begun = true;
        self.load(frame);
        Poll::Ready(!self.is_done)
    }

    fn load(&mut self, frame: Option<Frame<Bytes>>) {
        let frame = match frame.map(Frame::into_data) {
            Some(Ok(data)) => {
                if self.is_chunked && !data.is_empty() {
                    let _ = write!(self.lead, "{:x}\r\n", data.len());
                    self.tail = b"\r\n";
                }
                self.data = data;
                return;
            }
            Some(Err(frame)) => frame.into_trailers().ok(),
            None => None,
        };
        self.body = RequestBody::Empty;
        if self.is_chunked {
            self.lead.extend_from_slice(b"0\r\n");
            let trailers = frame.iter().flatten();
            for (name, value) in trailers.filter(|(name, _)| head::passes_as_trailer(name)) {
                h1::write_header(&mut self.lead, name, value);
            }
            self.lead.extend_from_slice(b"\r\n");
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut UpstreamStream,
    ) -> Poll<io::Result<usize>> {
        let mut skip = self.written;
        let mut slices = [IoSlice::new(b""); 3];
        for (slice, part) in slices.iter_mut().zip([&self.lead[..], &self.data, self.tail]) {
            let skipped = skip.min(part.len());
            skip -= skipped;
            *slice = IoSlice::new(&part[skipped..]);
        }
        let stream = Pin::new(stream);
        let count = if self.data.is_empty() && self.tail.is_empty() {
            ready!(stream.poll_write(cx, &slices[0]))?
        } else {
            ready!(stream.poll_write_vectored(cx, &slices))?
        };
        self.written += count;
        Poll::Ready(Ok(count))
    }
}

async fn connect_once(address: &Address) -> io::Result<UpstreamStream> {
    let connecting = async {
        Ok(match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                UpstreamStream::Tcp(stream)
            }
            Address::Unix(path) => UpstreamStream::Unix(UnixStream::connect(path).await?),
        })
    };
    tokio::time::timeout(CONNECT_LIMIT, connecting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Nobody listens (`EAGAIN`: the backlog of a Unix socket is full).
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound | io::ErrorKind::WouldBlock
    )
}
