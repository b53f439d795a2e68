//! A thread that carries traffic: its own event loop, its own view of the table, its own idle upstream connections.
//!
//! Everything here belongs to one thread; commands come through a channel.

use crate::access_log::{LogEntry, wall_clock_ms};
use crate::conn::{Conn, Phase};
use crate::live::LiveTarget;
use crate::local::LocalService;
use crate::options::ClientLimits;
use crate::pool::Pool;
use crate::shared::{Permit, Shared};
use crate::table::{Found, ListenerNumber, Rules, Table};
use crate::upstream::Upstream;
use hyper::server::conn::http1;
use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc};

/// How often connections are looked at while there are any.
const TICK: Duration = Duration::from_millis(100);
/// Upstreams that are connected to ahead of a switch, on each worker.
const EXPECT_MAX: usize = 8;
/// Bytes read at once by a tunnel.
const SCRATCH_BYTES: usize = 32 << 10;
/// Bytes of log lines collected before they are handed over.
const LOG_BLOCK_BYTES: usize = 32 << 10;
/// Largest head of a request, in bytes.
const HEAD_BYTES: usize = 32 << 10;
/// Most bytes of one connection held at once.
const BUFFER_BYTES: usize = 64 << 10;
/// While the process stops: idle clients may ask once more this long and are told to go.
const STOP_GRACE_MS: u64 = 2_000;
/// While the process stops: tunnels and event streams end within this time.
const STOP_STREAMS_MS: u64 = 10_000;
/// While the process stops: whatever is left is cut after this time.
const STOP_LIMIT_MS: u64 = 30_000;

/// What a worker is told.
pub(crate) enum Command {
    /// Serve this client.
    Serve(Client),
    /// The service is about to be switched from one target to the other: connect to it ahead.
    Expect(Arc<LiveTarget>, Arc<LiveTarget>),
    /// The target's drain began or ended: look at [`LiveTarget::drain_until_ms`].
    Drain(Arc<LiveTarget>),
    /// Come to the end.
    Stop,
}

/// A connection that was accepted.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) listener: ListenerNumber,
    pub(crate) permit: Permit,
}

/// Whom a request is for.
pub(crate) enum Match {
    Service(Rc<LocalService>),
    Alias(Arc<Rules>),
    Nothing,
    Unreadable,
}

/// The thread's things.
pub(crate) struct Worker {
    index: usize,
    shared: Arc<Shared>,
    http: http1::Builder,
    pool: Pool,
    table: RefCell<Arc<Table>>,
    table_epoch: Cell<u64>,
    services: RefCell<Vec<Option<Rc<LocalService>>>>,
    conns: RefCell<HashMap<u64, Rc<Conn>>>,
    next_conn: Cell<u64>,
    now_ms: Cell<u64>,
    stopping_since_ms: Cell<Option<u64>>,
    scratch: RefCell<Box<[u8]>>,
    log_block: RefCell<Vec<u8>>,
    wall_ms: Cell<u64>,
    has_work: Notify,
    has_ended: Notify,
}

/// Starts the thread with this number. It ends after [`Command::Stop`] when nothing is left.
pub(crate) fn start(
    index: usize,
    shared: Arc<Shared>,
) -> io::Result<(mpsc::UnboundedSender<Command>, JoinHandle<()>)> {
    let (sender, mut commands) = mpsc::unbounded_channel();
    let runtime_of_thread = move || {
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "cannot start an event loop"),
        };
        let worker = Rc::new(Worker::new(index, shared));
        runtime.block_on(worker.run(&mut commands));
    };
    let thread = std::thread::Builder::new().name(format!("worker-{index}"));
    Ok((sender, thread.spawn(runtime_of_thread)?))
}

impl Worker {
    fn new(index: usize, shared: Arc<Shared>) -> Self {
        let mut http = http1::Builder::new();
        http.header_read_timeout(None).max_buf_size(BUFFER_BYTES).max_header_size(HEAD_BYTES);
        Self {
            index,
            http,
            pool: Pool::default(),
            table: RefCell::default(),
            table_epoch: Cell::new(0),
            services: RefCell::default(),
            conns: RefCell::default(),
            next_conn: Cell::new(0),
            now_ms: Cell::new(shared.now_ms()),
            stopping_since_ms: Cell::new(None),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
            log_block: RefCell::default(),
            wall_ms: Cell::new(0),
            has_work: Notify::new(),
            has_ended: Notify::new(),
            shared,
        }
    }

    /// Reads the clock for the thread.
    pub(crate) fn clock(&self) -> Instant {
        let now = Instant::now();
        self.now_ms.set(self.shared.ms_at(now));
        now
    }

    /// Milliseconds of the process when the clock was read last, at most a tick ago while there are connections.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    pub(crate) fn limits(&self) -> &ClientLimits {
        &self.shared.options.client_limits
    }

    /// How long a connection may stay idle now.
    pub(crate) fn idle_limit_ms(&self) -> u64 {
        if self.is_stopping() { STOP_GRACE_MS } else { self.limits().idle_ms }
    }

    pub(crate) fn http(&self) -> &http1::Builder {
        &self.http
    }

    /// Memory for one read; used up before the next.
    pub(crate) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping_since_ms.get().is_some()
    }

    /// Requests that may be under way to one target on this thread.
    pub(crate) fn in_flight_share(&self) -> u64 {
        self.shared.options.max_in_flight.div_ceil(self.shared.workers) as u64
    }

    /// Whom a request is for.
    pub(crate) fn find(&self, listener: ListenerNumber, host: &str, path: &str) -> Match {
        if self.shared.table_epoch() != self.table_epoch.get() {
            self.refresh();
        }
        let table = self.table.borrow();
        match table.find(listener, host, path) {
            Found::Service(entry) => {
                let mut services = self.services.borrow_mut();
                let make = || Rc::new(LocalService::new(&table, entry, self.index));
                Match::Service(services[entry].get_or_insert_with(make).clone())
            }
            Found::Alias(entry) => Match::Alias(table.entries[entry].rules.clone()),
            Found::Nothing if table.is_incomplete => Match::Unreadable,
            Found::Nothing => Match::Nothing,
        }
    }

    /// An idle connection to the upstream; see [`Pool::take`].
    pub(crate) fn take_idle(&self, number: u32, only_trusted: bool) -> Option<Box<Upstream>> {
        self.pool.take(number, self.now_ms(), only_trusted)
    }

    /// Keeps a connection for the next request.
    pub(crate) fn keep(&self, upstream: Box<Upstream>) {
        self.pool.put(upstream, self.now_ms());
    }

    pub(crate) fn logs(&self) -> bool {
        self.shared.logs()
    }

    /// Logs a request that has ended.
    pub(crate) fn log(&self, entry: LogEntry) {
        let mut block = self.log_block.borrow_mut();
        entry.write(Instant::now(), self.wall_ms.get(), &mut block);
        if block.len() >= LOG_BLOCK_BYTES {
            self.shared.log(std::mem::take(&mut block));
        }
    }

    async fn run(self: Rc<Self>, commands: &mut mpsc::UnboundedReceiver<Command>) {
        tokio::task::spawn_local(self.clone().tick_while_needed());
        loop {
            let command = tokio::select! {
                command = commands.recv() => command,
                () = self.has_ended.notified() => return,
            };
            match command {
                Some(Command::Serve(client)) => self.clone().serve(client),
                Some(Command::Expect(from, to)) => self.clone().expect(&from, &to),
                Some(Command::Drain(target)) => self.drain(&target),
                Some(Command::Stop) | None => self.stop(),
            }
            self.has_work.notify_one();
        }
    }

    fn serve(self: Rc<Self>, client: Client) {
        self.clock();
        let Client { stream, peer, listener, permit } = client;
        let stream = match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%error, "cannot watch a connection"),
        };
        let number = self.next_conn.get();
        self.next_conn.set(number + 1);
        let conn = Rc::new(Conn::new(self.clone(), peer, listener));
        self.conns.borrow_mut().insert(number, conn.clone());
        tokio::task::spawn_local(async move {
            let _gone = Gone { worker: self, number, _permit: permit };
            conn.serve(stream).await;
        });
    }

    /// One connection to each upstream of the next target, so that its first request need not wait for one. Only when
    /// those of the present one keep connections: a server that answers one connection after the other would be held
    /// up by one on which nothing is asked.
    fn expect(self: Rc<Self>, from: &LiveTarget, to: &LiveTarget) {
        self.clock();
        let now = self.now_ms();
        let upstreams = |target: &LiveTarget| {
            target.routes.iter().flat_map(|route| route.upstreams.clone()).collect::<Vec<_>>()
        };
        if !upstreams(from).iter().any(|upstream| self.pool.keeps(upstream.number, now)) {
            return;
        }
        for upstream in upstreams(to).into_iter().take(EXPECT_MAX) {
            let worker = self.clone();
            tokio::task::spawn_local(async move {
                // Whoever needs it and finds none connects by itself, and says what is wrong.
                if let Ok(connection) = Upstream::connect_ahead(&upstream).await {
                    worker.keep(connection);
                }
            });
        }
    }

    fn drain(&self, target: &Arc<LiveTarget>) {
        self.clock();
        let address = Arc::as_ptr(target).addr();
        let conns = self.conns.borrow();
        let concerned: Vec<&Rc<Conn>> =
            conns.values().filter(|conn| conn.is_long_lived_on(address)).collect();
        match target.drain_until_ms() {
            Some(until) => self.spread(&concerned, until),
            None => concerned.iter().for_each(|conn| conn.end_at(None)),
        }
    }

    /// The first half of the time nobody is closed; in the second, one after the other, so that the clients do not all
    /// connect again at once.
    fn spread(&self, conns: &[&Rc<Conn>], until_ms: u64) {
        let now = self.now_ms();
        let half = until_ms.saturating_sub(now) / 2;
        for (turn, conn) in conns.iter().enumerate() {
            let offset = half * (turn as u64 + 1) / conns.len() as u64;
            conn.end_at(Some(now + half + offset));
        }
    }

    fn stop(&self) {
        self.clock();
        if self.is_stopping() {
            return;
        }
        let now = self.now_ms();
        self.stopping_since_ms.set(Some(now));
        let conns = self.conns.borrow();
        let long_lived: Vec<&Rc<Conn>> = conns.values().filter(|c| c.is_long_lived()).collect();
        self.spread(&long_lived, now + STOP_STREAMS_MS);
        for conn in conns.values().filter(|conn| conn.phase() == Phase::Idle) {
            conn.enter(Phase::Idle, STOP_GRACE_MS);
        }
    }

    async fn tick_while_needed(self: Rc<Self>) {
        loop {
            if !self.is_needed() {
                self.has_work.notified().await;
                continue;
            }
            self.tick();
            if self.is_stopping() && self.conns.borrow().is_empty() {
                self.flush_log();
                return self.has_ended.notify_one();
            }
            tokio::time::sleep(TICK).await;
        }
    }

    fn is_needed(&self) -> bool {
        !self.conns.borrow().is_empty()
            || !self.pool.is_empty()
            || !self.log_block.borrow().is_empty()
            || self.is_stopping()
    }

    fn tick(&self) {
        self.clock();
        let now = self.now_ms();
        let stopping_for = self.stopping_since_ms.get().map(|since| now.saturating_sub(since));
        for conn in self.conns.borrow().values() {
            conn.tick(now);
            if stopping_for.is_some_and(|for_ms| for_ms > STOP_LIMIT_MS) {
                conn.cut();
            }
        }
        self.pool.sweep(now);
        if self.logs() {
            self.wall_ms.set(wall_clock_ms());
            self.flush_log();
        }
    }

    fn flush_log(&self) {
        let block = std::mem::take(&mut *self.log_block.borrow_mut());
        if !block.is_empty() {
            self.shared.log(block);
        }
    }

    fn refresh(&self) {
        let (epoch, table) = self.shared.table();
        *self.services.borrow_mut() = vec![None; table.entries.len()];
        *self.table.borrow_mut() = table;
        self.table_epoch.set(epoch);
    }
}

/// Takes a connection out of the worker's list when its task ends, however it ends.
struct Gone {
    worker: Rc<Worker>,
    number: u64,
    _permit: Permit,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.worker.conns.borrow_mut().remove(&self.number);
    }
}
