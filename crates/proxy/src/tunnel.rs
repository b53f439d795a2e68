//! Two sockets that talk another protocol than HTTP. Bytes are passed on as they come.
//!
//! When its target's drain closes it, a WebSocket's client gets a close frame with code 1012 between two frames of the
//! server (a server in the middle of a frame gets a second to finish it) and two seconds to answer; the answer still
//! reaches the upstream. Any other protocol is cut.

use crate::client_io::ClientIo;
use crate::conn::Conn;
use crate::local::Ticket;
use crate::upstream_io::UpstreamStream;
use crate::websocket::{CLOSE_1012, Frames};
use bytes::Bytes;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// For the server to finish its frame.
const FRAME_LIMIT_MS: u64 = 1_000;
/// For the client to answer a close frame.
const CLOSE_LIMIT_MS: u64 = 2_000;
/// For the second direction once the first has ended.
const HALF_CLOSED_LIMIT_MS: u64 = 60_000;

/// A tunnel that has not begun.
pub(crate) struct Tunnel {
    upstream: UpstreamStream,
    /// What the upstream sent after its answer.
    first_down: Bytes,
    ticket: Ticket,
    is_websocket: bool,
}

impl Tunnel {
    pub(crate) fn new(
        (upstream, first_down): (UpstreamStream, Bytes),
        ticket: Ticket,
        is_websocket: bool,
    ) -> Self {
        Self { upstream, first_down, ticket, is_websocket }
    }

    /// Passes bytes until both directions have ended or the tunnel is closed.
    pub(crate) async fn run(self: Box<Self>, conn: &Rc<Conn>, client: ClientIo, first: Bytes) {
        // A client that vanished without a word is noticed by the kernel.
        let _ = rustix::net::sockopt::set_socket_keepalive(client.stream(), true);
        let mut open = OpenTunnel {
            conn: conn.clone(),
            client,
            upstream: self.upstream,
            up: Pipe::new(&first),
            down: Pipe::new(&self.first_down),
            is_websocket: self.is_websocket,
            ending: Ending::No,
        };
        poll_fn(|cx| open.poll(cx)).await;
        drop(self.ticket);
        conn.linger(open.client).await;
    }
}

struct OpenTunnel {
    conn: Rc<Conn>,
    client: ClientIo,
    upstream: UpstreamStream,
    up: Pipe,
    down: Pipe,
    is_websocket: bool,
    ending: Ending,
}

/// How far the end ordered by a drain is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// The server may finish its frame until this time.
    Frame(u64),
    /// The client may answer the close frame until this time.
    Answer(u64),
    /// One direction has ended by itself; the other may go on until this time.
    Half(u64),
}

impl OpenTunnel {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.conn.park(cx.waker());
        if self.conn.is_cut() || self.is_over() {
            return Poll::Ready(());
        }
        // Twice, so that a close frame is written in the turn that made it.
        for _ in 0..2 {
            let up = self.up.poll(cx, &self.conn, &mut self.client, &mut self.upstream);
            let down = self.poll_down(cx);
            if self.is_finished(&up, &down) {
                return Poll::Ready(());
            }
            if self.conn.is_ending() && self.go_on_ending().is_ready() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.ending, Ending::Answer(_)) {
            // Nothing of the server follows the close frame.
            return self.down.poll_write(cx, &mut self.client).map_ok(|()| ());
        }
        self.down.poll(cx, &self.conn, &mut self.upstream, &mut self.client)
    }

    fn is_finished(&mut self, up: &Poll<io::Result<()>>, down: &Poll<io::Result<()>>) -> bool {
        if matches!(up, Poll::Ready(Err(_))) || matches!(down, Poll::Ready(Err(_))) {
            return true;
        }
        if matches!(self.ending, Ending::Answer(_)) {
            let has_answered = self.up.frames.has_closed() && self.up.is_empty();
            return self.down.is_empty() && (has_answered || up.is_ready());
        }
        if up.is_ready() && down.is_ready() {
            return true;
        }
        if (up.is_ready() || down.is_ready()) && self.ending == Ending::No {
            self.ending = Ending::Half(self.limit(HALF_CLOSED_LIMIT_MS));
        }
        false
    }

    fn go_on_ending(&mut self) -> Poll<()> {
        if !self.is_websocket || self.down.frames.has_closed() && self.ending == Ending::No {
            return if self.is_websocket {
                self.ending = Ending::Half(self.limit(CLOSE_LIMIT_MS));
                Poll::Pending
            } else {
                Poll::Ready(())
            };
        }
        match self.ending {
            Ending::No | Ending::Frame(_) if self.down.is_between() => {
                self.down.rest.extend(CLOSE_1012);
                self.ending = Ending::Answer(self.limit(CLOSE_LIMIT_MS));
            }
            Ending::No => self.ending = Ending::Frame(self.limit(FRAME_LIMIT_MS)),
            // A drain that begins now must not put off the end that was set before.
            Ending::Frame(until) | Ending::Answer(until) | Ending::Half(until) => {
                self.conn.end_at(Some(until));
            }
        }
        Poll::Pending
    }

    /// The worker's tick looks again at that time.
    fn limit(&self, limit_ms: u64) -> u64 {
        let at = self.conn.worker.now_ms() + limit_ms;
        self.conn.end_at(Some(at));
        at
    }

    fn is_over(&self) -> bool {
        match self.ending {
            Ending::No => false,
            Ending::Frame(until) | Ending::Answer(until) | Ending::Half(until) => {
                self.conn.worker.now_ms() >= until
            }
        }
    }
}

/// One direction. Holds memory only for what the other side does not take at once.
struct Pipe {
    rest: Vec<u8>,
    written: usize,
    frames: Frames,
    has_ended: bool,
    is_shut: bool,
}

impl Pipe {
    fn new(first: &[u8]) -> Self {
        let mut frames = Frames::default();
        frames.pass(first);
        Self { rest: first.to_vec(), written: 0, frames, has_ended: false, is_shut: false }
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn is_between(&self) -> bool {
        self.is_empty() && self.frames.is_between()
    }

    /// Ready when the direction has ended and the other side knows it.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        conn: &Conn,
        from: &mut R,
        to: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            ready!(self.poll_write(cx, to))?;
            if self.has_ended {
                if !self.is_shut {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.is_shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            let mut scratch = conn.worker.scratch();
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer))?;
            self.take(cx, buffer.filled(), to)?;
        }
    }

    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        while self.written < self.rest.len() {
            let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.rest[self.written..]))?;
            self.written += count;
        }
        self.rest = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn take<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        to: &mut W,
    ) -> io::Result<()> {
        self.has_ended = bytes.is_empty();
        self.frames.pass(bytes);
        let mut left = bytes;
        while !left.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, left) {
                Poll::Ready(count) => left = &left[count?..],
                Poll::Pending => break,
            }
        }
        self.rest.extend(left);
        Ok(())
    }
}
