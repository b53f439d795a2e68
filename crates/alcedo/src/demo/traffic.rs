//! Steady traffic for `alcedo demo`: keep-alive connections, each request counted, none repeated.

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Connections that are kept open.
const CONNECTIONS: usize = 16;
/// Pause of a connection between two requests: about 16 × 100 requests a second.
const PAUSE: Duration = Duration::from_millis(10);
/// A request without a whole answer by then is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was seen, by release.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Requests sent.
    pub(super) requests: u64,
    /// Answers other than 200, by the release that gave them.
    pub(super) errors: BTreeMap<String, u64>,
    /// Requests without any answer.
    pub(super) lost: u64,
}

/// Traffic that goes on until it is stopped.
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Traffic {
    /// Starts it.
    pub(super) fn start(to: SocketAddr) -> std::io::Result<Self> {
        let (stop, seen) =
            (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let (its_stop, its_seen) = (stop.clone(), seen.clone());
        let thread = std::thread::Builder::new()
            .name("demo traffic".to_owned())
            .spawn(move || run(to, &its_stop, &its_seen))?;
        Ok(Self { stop, seen, thread })
    }

    /// Lets every request end, then tells what was seen.
    pub(super) fn finish(self) -> Seen {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().ok();
        let seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.clone()
    }
}

fn run(to: SocketAddr, stop: &Arc<AtomicBool>, seen: &Arc<Mutex<Seen>>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            clients.spawn(client(to, stop.clone(), seen.clone()));
        }
        clients.join_all().await;
    });
    Ok(())
}

async fn client(to: SocketAddr, stop: Arc<AtomicBool>, seen: Arc<Mutex<Seen>>) {
    let mut connection = None;
    while !stop.load(Ordering::SeqCst) {
        let answer = tokio::time::timeout(PATIENCE, ask(to, &mut connection)).await;
        note(&seen, answer.ok().and_then(Result::ok));
        tokio::time::sleep(PAUSE).await;
    }
}

fn note(seen: &Mutex<Seen>, answer: Option<(StatusCode, String)>) {
    let mut seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    seen.requests += 1;
    match answer {
        Some((StatusCode::OK, _)) => {}
        Some((_, release)) => *seen.errors.entry(release).or_default() += 1,
        None => seen.lost += 1,
    }
}

type Connection = Option<SendRequest<Empty<Bytes>>>;

async fn ask(to: SocketAddr, connection: &mut Connection) -> anyhow::Result<(StatusCode, String)> {
    let mut sender = match connection.take() {
        Some(sender) if !sender.is_closed() => sender,
        _ => open(to).await?,
    };
    if sender.ready().await.is_err() {
        // Closed while it was idle, and noticed before anything was written: nothing is lost.
        sender = open(to).await?;
        sender.ready().await?;
    }
    let request = Request::get("/").header("host", to.to_string()).body(Empty::new())?;
    let response = sender.send_request(request).await?;
    let release = response
        .headers()
        .get("x-alcedo-release")
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let status = response.status();
    response.into_body().collect().await?;
    *connection = Some(sender);
    Ok((status, release))
}

async fn open(to: SocketAddr) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let stream = tokio::net::TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}
