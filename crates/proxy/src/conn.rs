//! One connection of a client: how far it is, what it may still take, and what its owner is told by the worker's tick.
//!
//! No timer of its own: the worker looks at every connection ten times a second and wakes those whose time is up.

use crate::answer::answer;
use crate::client_io::ClientIo;
use crate::local::Ticket;
use crate::table::ListenerNumber;
use crate::tunnel::Tunnel;
use crate::worker::Worker;
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// A time that does not come.
const NEVER: u64 = u64::MAX;
/// How long a client may take to read a last answer after which we close.
const LINGER_MS: u64 = 2_000;
/// How much it may send meanwhile, in bytes.
const LINGER_BYTES: usize = 4 << 20;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between requests.
    Idle,
    /// A part of a request's head is there.
    Head,
    /// The request is with the upstream, which has not answered yet.
    Waiting,
    /// The upstream waits for the request's body.
    Uploading,
    /// The answer is on its way.
    Answering,
    /// The answer is an event stream.
    Streaming,
    /// Both ends talk another protocol.
    Tunnel,
    /// All is answered; the client may still be sending.
    Lingering,
}

/// Why a request's own limits ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// The upstream did not begin its answer in time.
    FirstByte,
    /// The client did not go on with the request's body.
    Upload,
    /// The client's body is larger than allowed.
    TooLarge,
    /// The client's body broke off or is malformed.
    BrokenBody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    None,
    CloseWhenIdle,
    Cut,
}

/// One connection.
pub(crate) struct Conn {
    pub(crate) worker: Rc<Worker>,
    pub(crate) peer: SocketAddr,
    pub(crate) peer_text: HeaderValue,
    pub(crate) listener: ListenerNumber,
    phase: Cell<Phase>,
    deadline_ms: Cell<u64>,
    write_deadline_ms: Cell<u64>,
    write_window: Cell<usize>,
    signal: Cell<Signal>,
    expiry: Cell<Option<Expiry>>,
    /// A tunnel or event stream is to end.
    is_ending: Cell<bool>,
    saw_end_of_input: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    tunnel: RefCell<Option<Box<Tunnel>>>,
    /// The target of a tunnel or event stream, by the address of its shared part.
    long_lived_on: Cell<usize>,
    /// Memory of the last request's headers, for those of the next answer.
    memory: Cell<HeaderMap>,
}

impl Conn {
    pub(crate) fn new(worker: Rc<Worker>, peer: SocketAddr, listener: ListenerNumber) -> Self {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let idle_until = worker.now_ms() + worker.limits().idle_ms;
        Self {
            peer_text: HeaderValue::try_from(peer.ip().to_string()).expect("an address is ASCII"),
            worker,
            peer,
            listener,
            phase: Cell::new(Phase::Idle),
            deadline_ms: Cell::new(idle_until),
            write_deadline_ms: Cell::new(NEVER),
            write_window: Cell::new(0),
            signal: Cell::new(Signal::None),
            expiry: Cell::new(None),
            is_ending: Cell::new(false),
            saw_end_of_input: Cell::new(false),
            waker: RefCell::new(None),
            tunnel: RefCell::new(None),
            long_lived_on: Cell::new(0),
            memory: Cell::default(),
        }
    }

    /// Serves the connection to its end.
    pub(crate) async fn serve(self: Rc<Self>, stream: TcpStream) {
        let Some((io, read_already)) = self.clone().serve_http(stream).await else {
            return;
        };
        let tunnel = self.tunnel.borrow_mut().take();
        match tunnel {
            Some(tunnel) => tunnel.run(&self, io, read_already).await,
            None => self.linger(io).await,
        }
    }

    /// Remembers whom to wake.
    pub(crate) fn park(&self, waker: &Waker) {
        let mut parked = self.waker.borrow_mut();
        if !parked.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *parked = Some(waker.clone());
        }
    }

    /// Looks whose time is up.
    pub(crate) fn tick(&self, now_ms: u64) {
        if now_ms >= self.write_deadline_ms.get() {
            self.tell(Signal::Cut);
        }
        if now_ms < self.deadline_ms.get() {
            return;
        }
        self.deadline_ms.set(NEVER);
        match self.phase.get() {
            Phase::Idle => self.tell(Signal::CloseWhenIdle),
            Phase::Head | Phase::Lingering => self.tell(Signal::Cut),
            Phase::Waiting => self.expire(Expiry::FirstByte),
            Phase::Uploading => self.expire(Expiry::Upload),
            Phase::Answering => {}
            Phase::Streaming | Phase::Tunnel => {
                self.is_ending.set(true);
                self.wake();
            }
        }
    }

    /// Closes it whatever it does.
    pub(crate) fn cut(&self) {
        self.tell(Signal::Cut);
    }

    /// Whether it was told to [`Self::cut`].
    pub(crate) fn is_cut(&self) -> bool {
        self.signal.get() == Signal::Cut
    }

    /// How far it is.
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Bytes of the client arrived.
    pub(crate) fn has_read(&self, count: usize) {
        if count == 0 {
            self.saw_end_of_input.set(true);
        } else if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head, self.worker.limits().head_ms);
        }
    }

    /// The client took `count` of `offered` bytes.
    pub(crate) fn has_written(&self, count: usize, offered: usize) {
        if self.write_deadline_ms.get() == NEVER {
            return;
        }
        self.write_window.set(self.write_window.get() + count);
        if count >= offered || self.write_window.get() >= 16 << 10 {
            self.write_deadline_ms.set(NEVER);
        }
    }

    /// The client takes nothing now.
    pub(crate) fn cannot_write(&self) {
        if self.write_deadline_ms.get() == NEVER {
            self.write_window.set(0);
            self.write_deadline_ms.set(self.worker.now_ms() + self.worker.limits().download_ms);
        }
    }

    /// A request begins.
    pub(crate) fn begin_request(&self) {
        self.expiry.set(None);
        self.phase.set(Phase::Waiting);
        self.deadline_ms.set(NEVER);
    }

    /// The upstream has this long to begin its answer.
    pub(crate) fn wait_for_upstream(&self, limit_ms: u64) {
        self.enter(Phase::Waiting, limit_ms);
    }

    /// The client has this long to go on with its body.
    pub(crate) fn wait_for_upload(&self) {
        self.enter(Phase::Uploading, self.worker.limits().upload_ms);
    }

    /// The answer begins.
    pub(crate) fn begin_answer(&self) {
        self.phase.set(Phase::Answering);
        self.deadline_ms.set(NEVER);
    }

    /// The answer goes on until somebody ends it.
    pub(crate) fn become_long_lived(&self, phase: Phase, ticket: &Ticket) {
        self.phase.set(phase);
        self.is_ending.set(false);
        self.long_lived_on.set(ticket.target_address());
        self.deadline_ms.set(ticket.drain_until_ms().unwrap_or(NEVER));
    }

    /// Whether it is a tunnel or event stream on the target.
    pub(crate) fn is_long_lived_on(&self, target_address: usize) -> bool {
        self.long_lived_on.get() == target_address
            && matches!(self.phase.get(), Phase::Streaming | Phase::Tunnel)
    }

    /// Whether it is a tunnel or event stream.
    pub(crate) fn is_long_lived(&self) -> bool {
        matches!(self.phase.get(), Phase::Streaming | Phase::Tunnel)
    }

    /// When its tunnel or event stream is ended; `None`: not.
    pub(crate) fn end_at(&self, at_ms: Option<u64>) {
        self.deadline_ms.set(at_ms.unwrap_or(NEVER));
    }

    /// Whether its tunnel or event stream is to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.get()
    }

    /// The answer ended.
    pub(crate) fn end_request(&self) {
        if matches!(self.phase.get(), Phase::Tunnel | Phase::Lingering) {
            return;
        }
        self.long_lived_on.set(0);
        self.enter(Phase::Idle, self.worker.idle_limit_ms());
    }

    /// Why the request's limits ended it.
    pub(crate) fn expiry(&self) -> Option<Expiry> {
        self.expiry.get()
    }

    /// Ends the request; the first reason counts.
    pub(crate) fn expire(&self, expiry: Expiry) {
        if self.expiry.get().is_none() {
            self.expiry.set(Some(expiry));
        }
        match self.phase.get() {
            // Too late for a page.
            Phase::Answering | Phase::Streaming => self.tell(Signal::Cut),
            Phase::Idle
            | Phase::Head
            | Phase::Waiting
            | Phase::Uploading
            | Phase::Tunnel
            | Phase::Lingering => self.wake(),
        }
    }

    /// Memory for headers, empty.
    pub(crate) fn take_memory(&self) -> HeaderMap {
        self.memory.take()
    }

    /// Keeps the memory of headers that are not needed any more.
    pub(crate) fn keep_memory(&self, mut headers: HeaderMap) {
        headers.clear();
        self.memory.set(headers);
    }

    /// What runs on the connection once the answer 101 is out.
    pub(crate) fn set_tunnel(&self, tunnel: Box<Tunnel>) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }

    /// The tick looks at it again in this long.
    pub(crate) fn enter(&self, phase: Phase, limit_ms: u64) {
        self.phase.set(phase);
        self.deadline_ms.set(self.worker.now_ms().saturating_add(limit_ms));
    }

    /// `None`: it was cut.
    async fn serve_http(self: Rc<Self>, stream: TcpStream) -> Option<(ClientIo, Bytes)> {
        let io = TokioIo::new(ClientIo::new(stream, self.clone()));
        let own = self.clone();
        let service = service_fn(move |request| answer(own.clone(), request));
        let mut http = self.worker.http().serve_connection(io, service);
        let is_cut = poll_fn(|cx| {
            self.park(cx.waker());
            match self.signal.get() {
                Signal::None => {}
                Signal::CloseWhenIdle => {
                    self.signal.set(Signal::None);
                    Pin::new(&mut http).graceful_shutdown();
                }
                Signal::Cut => return Poll::Ready(true),
            }
            // An error is the client's: malformed (answered 400 by then) or gone.
            Pin::new(&mut http).poll(cx).map(|_| false)
        });
        if is_cut.await {
            return None;
        }
        let parts = http.into_parts();
        Some((parts.io.into_inner(), parts.read_buf))
    }

    /// Closing with bytes unread would reset the connection and could cost the client our last answer: the write side
    /// is closed first and what still comes is thrown away.
    pub(crate) async fn linger(&self, mut io: ClientIo) {
        self.enter(Phase::Lingering, LINGER_MS);
        let mut left = LINGER_BYTES;
        if self.saw_end_of_input.get() || io.shutdown().await.is_err() {
            return;
        }
        poll_fn(|cx| {
            self.park(cx.waker());
            loop {
                let mut scratch = self.worker.scratch();
                let mut buffer = ReadBuf::new(&mut scratch);
                if self.is_cut() || left == 0 {
                    return Poll::Ready(());
                }
                match Pin::new(&mut io).poll_read(cx, &mut buffer) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                        left = left.saturating_sub(buffer.filled().len());
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                }
            }
        })
        .await;
    }

    fn tell(&self, signal: Signal) {
        if self.signal.get() != Signal::Cut {
            self.signal.set(signal);
        }
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}
