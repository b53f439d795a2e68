//! A blocking client of a daemon, on this machine or on another one.
//!
//! Starts the daemon when there is none, says hello before anything else, and lives through the daemon's restarts and
//! the connection's.

use super::Lines;
use super::door::{Door, Sender};
use crate::adapters::clock;
use crate::api::{API_VERSION, ErrorBody, Failed, Hello};
use crate::files::Until;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

/// A daemon that does not answer is waited for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Whoever only reads is told sooner that it does not answer.
const PATIENCE_TO_READ: Duration = Duration::from_secs(15);
/// A line to another machine that broke is tried again for so long: a laptop changes its network.
const PATIENCE_FAR: Duration = Duration::from_secs(180);
/// One call may take so long; the daemon answers most within milliseconds, a plan asks the host first.
const CALL_LIMIT: Duration = Duration::from_secs(90);
/// A part of an upload may take so long, on a slow line.
const PART_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Connecting and the hello.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Between two tries, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];
/// The code of `alcedo host` for a daemon that does not answer.
const UNREACHED: &str = crate::host::UNREACHED;
/// Signals are looked at this often.
const LOOK: Duration = Duration::from_millis(100);

/// A daemon, and the way to it.
pub(crate) struct Client {
    runtime: Runtime,
    door: Door,
    patience: Duration,
    idle: RefCell<Option<Sender>>,
    hello: RefCell<Option<Hello>>,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The daemon said no.
    #[error("{}", .0.message)]
    Refused(Failed),
    /// Nobody answers.
    #[error("reach {whom}: {seen}")]
    Unreached {
        /// Which daemon, or which machine.
        whom: String,
        /// The last thing seen.
        seen: String,
        /// What to type.
        hint: Option<String>,
    },
    /// It speaks another version.
    #[error(
        "talk to {whom}: it is alcedo {theirs} and speaks version {api}; this is {ours} and speaks version {API_VERSION}"
    )]
    Version {
        /// Which daemon, or which machine.
        whom: String,
        /// Its program.
        theirs: String,
        /// Its protocol.
        api: u32,
        /// Ours.
        ours: &'static str,
    },
    /// It answered something else.
    #[error("read the daemon's answer to {call}: {seen}")]
    Unread {
        /// Method and path.
        call: String,
        /// What was wrong.
        seen: String,
    },
}

/// One try: the answer, a final no, or a connection that broke.
pub(super) enum Tried {
    Final(CallError),
    Broke(String),
}

impl Client {
    /// A client of the daemon behind `door`; connects when it is first needed.
    ///
    /// # Errors
    /// When this process cannot have a runtime (no descriptors left).
    pub(crate) fn new(door: Door) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let patience = match &door {
            Door::Socket { .. } => PATIENCE,
            Door::Program(_) => PATIENCE_FAR,
        };
        Ok(Self { runtime, door, patience, idle: RefCell::new(None), hello: RefCell::new(None) })
    }

    /// Waits at most so long for a daemon that does not answer.
    #[cfg(test)]
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether the daemon is on another machine: its files are not ours.
    pub(crate) fn is_far(&self) -> bool {
        matches!(self.door, Door::Program(_))
    }

    /// Reads.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        let near = matches!(self.door, Door::Socket { .. });
        let patience = if near { self.patience.min(PATIENCE_TO_READ) } else { self.patience };
        let limit = if near { PATIENCE_TO_READ } else { CALL_LIMIT };
        let once = || self.once(&Method::GET, path, Bytes::new(), limit);
        parsed(&self.patiently(patience, once)?, "GET", path)
    }

    /// Asks for something to be done.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        let body = serde_json::to_vec(body)
            .expect("the words of the API have no map with non-string keys");
        self.call(&Method::POST, path, body.into())
    }

    /// Opens a stream of lines; tries as long as any call.
    pub(crate) fn lines(&self, path: &str) -> Result<Lines<'_>, CallError> {
        self.patiently(self.patience, || self.open_lines(path))
    }

    /// Reads, without waiting for a daemon that is away.
    pub(crate) fn get_once<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        let answer = self.once(&Method::GET, path, Bytes::new(), CALL_LIMIT);
        parsed(&answer.map_err(|tried| self.given_up(tried))?, "GET", path)
    }

    /// Opens a stream of lines, without waiting for a daemon that is away.
    pub(crate) fn lines_once(&self, path: &str) -> Result<Lines<'_>, CallError> {
        self.open_lines(path).map_err(|tried| self.given_up(tried))
    }

    fn given_up(&self, tried: Tried) -> CallError {
        match tried {
            Tried::Final(error) => error,
            Tried::Broke(seen) => self.unreached(seen),
        }
    }

    /// Opens a stream of lines, once.
    pub(super) fn open_lines(&self, path: &str) -> Result<Lines<'_>, Tried> {
        self.runtime.block_on(async {
            let mut sender = self.own_sender().await?;
            let get = sender.send(request(&Method::GET, path, Bytes::new()));
            let response = limited(CALL_LIMIT, get).await?;
            match response.status() {
                StatusCode::OK => Ok(Lines::new(self, sender, response.into_body())),
                _ => Err(refusal(path, response).await),
            }
        })
    }

    /// Sends bytes and returns bytes, tried as long as any call.
    pub(super) fn post_bytes(&self, path: &str, body: Bytes) -> Result<Bytes, CallError> {
        self.patiently(self.patience, || self.once(&Method::POST, path, body.clone(), CALL_LIMIT))
    }

    /// Sends a part of something long, once, unless `until` says to stop: `Ok(None)`.
    pub(super) fn put_part<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Bytes,
        until: &Until,
    ) -> Result<Option<T>, Tried> {
        let put = async {
            let send = self.exchange(&Method::PUT, path, body, PART_LIMIT);
            tokio::select! {
                answer = send => answer.map(Some),
                () = stopped(until) => Ok(None),
            }
        };
        let answer = self.runtime.block_on(put)?;
        let read = |answer: Bytes| parsed(&answer, "PUT", path).map_err(Tried::Final);
        answer.map(read).transpose()
    }

    /// Who is there; says hello when nobody did yet.
    pub(crate) fn hello(&self) -> Result<Hello, CallError> {
        if let Some(hello) = self.hello.borrow().clone() {
            return Ok(hello);
        }
        self.get("/v1/hello")
    }

    /// Runs something of the transport on this client's runtime.
    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Waits between two tries.
    pub(super) fn pause(&self, tries: u32) {
        let pause = PAUSES[0].saturating_mul(1 << tries.min(8)).min(PAUSES[1]);
        self.runtime.block_on(async { tokio::time::sleep(pause).await });
    }

    /// Makes sure that a daemon runs.
    pub(super) fn revive(&self) -> Result<(), String> {
        match &self.door {
            Door::Socket { revive, .. } => revive(),
            // `alcedo host` does that there.
            Door::Program(_) => Ok(()),
        }
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, CallError> {
        let answer =
            self.patiently(self.patience, || self.once(method, path, body.clone(), CALL_LIMIT))?;
        parsed(&answer, method.as_str(), path)
    }

    fn patiently<T>(
        &self,
        patience: Duration,
        attempt: impl Fn() -> Result<T, Tried>,
    ) -> Result<T, CallError> {
        let begun = clock::now();
        for tries in 0.. {
            let mut seen = match attempt() {
                Ok(answer) => return Ok(answer),
                Err(Tried::Final(error)) => return Err(error),
                Err(Tried::Broke(seen)) => seen,
            };
            if let Err(why) = self.revive() {
                seen = why;
            }
            if clock::now().since(begun) >= patience {
                return Err(self.unreached(seen));
            }
            self.pause(tries);
        }
        Err(self.unreached("tried too often".to_owned()))
    }

    pub(super) fn unreached(&self, seen: String) -> CallError {
        CallError::Unreached { whom: self.door.whom(), seen, hint: None }
    }

    fn once(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, Tried> {
        self.runtime.block_on(self.exchange(method, path, body, limit))
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, Tried> {
        let mut sender = self.any_sender().await?;
        let send = async {
            sender.ready().await?;
            sender.send(request(method, path, body)).await
        };
        let response = limited(limit, send).await?;
        if !response.status().is_success() {
            return Err(refusal(path, response).await);
        }
        let answer = collected(response).await?;
        *self.idle.borrow_mut() = Some(sender);
        Ok(answer)
    }

    /// A connection that is there, else a fresh one.
    async fn any_sender(&self) -> Result<Sender, Tried> {
        let kept = self.idle.borrow_mut().take().filter(|sender| !sender.is_closed());
        let sender = match kept {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        *self.idle.borrow_mut() = sender.shared();
        Ok(sender)
    }

    /// A connection that nobody else waits for: on a socket a fresh one.
    async fn own_sender(&self) -> Result<Sender, Tried> {
        match &self.door {
            Door::Socket { .. } => self.connect().await,
            Door::Program(_) => self.any_sender().await,
        }
    }

    /// A fresh connection that has said hello.
    async fn connect(&self) -> Result<Sender, Tried> {
        let mut sender = match &self.door {
            Door::Socket { path, .. } => in_time(through_socket(path)).await?,
            Door::Program(program) => {
                let (sender, greeting) = program.connect().await?;
                if let Some(failed) = greeting.refused {
                    return Err(Tried::Final(CallError::Refused(failed)));
                }
                self.check_version(greeting.api, &greeting.alcedo)?;
                sender
            }
        };
        let asked = sender.send(request(&Method::GET, "/v1/hello", Bytes::new()));
        let response = in_time(async { asked.await.map_err(broke) }).await?;
        if !response.status().is_success() {
            return Err(refusal("/v1/hello", response).await);
        }
        let answer = collected(response).await?;
        let hello: Hello = parsed(&answer, "GET", "/v1/hello").map_err(Tried::Final)?;
        self.check_version(hello.api, &hello.alcedo)?;
        *self.hello.borrow_mut() = Some(hello);
        sender.ready().await.map_err(broke)?;
        Ok(sender)
    }

    fn check_version(&self, api: u32, alcedo: &str) -> Result<(), Tried> {
        if api == API_VERSION {
            return Ok(());
        }
        Err(Tried::Final(CallError::Version {
            whom: self.door.whom(),
            theirs: alcedo.to_owned(),
            api,
            ours: env!("CARGO_PKG_VERSION"),
        }))
    }
}

async fn through_socket(path: &Path) -> Result<Sender, Tried> {
    let stream = UnixStream::connect(path).await.map_err(broke)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
    tokio::spawn(async move {
        // Its end shows in the requests on it.
        let _ = connection.await;
    });
    Ok(Sender::One(sender))
}

async fn in_time<T>(connecting: impl Future<Output = Result<T, Tried>>) -> Result<T, Tried> {
    tokio::time::timeout(CONNECT_LIMIT, connecting)
        .await
        .unwrap_or_else(|_| Err(Tried::Broke("it takes connections and says nothing".to_owned())))
}

async fn stopped(until: &Until) {
    while until.check().is_ok() {
        tokio::time::sleep(LOOK).await;
    }
}

fn parsed<T: DeserializeOwned>(answer: &[u8], method: &str, path: &str) -> Result<T, CallError> {
    serde_json::from_slice(answer).map_err(|error| CallError::Unread {
        call: format!("{method} {path}"),
        seen: error.to_string(),
    })
}

fn request(method: &Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "alcedo")
        .header("content-type", "application/json")
        .body(Full::new(body))
        .expect("paths are percent-encoded where they are made")
}

async fn limited(
    limit: Duration,
    sending: impl Future<Output = hyper::Result<Response<Incoming>>>,
) -> Result<Response<Incoming>, Tried> {
    match tokio::time::timeout(limit, sending).await {
        Ok(answer) => answer.map_err(broke),
        Err(_) => Err(Tried::Broke(format!("no answer within {} s", limit.as_secs()))),
    }
}

async fn collected(response: Response<Incoming>) -> Result<Bytes, Tried> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
    match tokio::time::timeout(CALL_LIMIT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(Tried::Broke(error.to_string())),
        Err(_) => Err(Tried::Broke(format!("half an answer within {} s", CALL_LIMIT.as_secs()))),
    }
}

async fn refusal(path: &str, response: Response<Incoming>) -> Tried {
    let status = response.status();
    let body = collected(response).await.unwrap_or_default();
    match serde_json::from_slice::<ErrorBody>(&body) {
        // `alcedo host` lost its daemon, and starts it again.
        Ok(body) if body.error.code == UNREACHED => Tried::Broke(body.error.message),
        Ok(body) => Tried::Final(CallError::Refused(body.error)),
        Err(_) => {
            // Not one of our own errors: a daemon of another build says what it did not understand.
            let text = String::from_utf8_lossy(&body);
            let seen = format!("{status}: {}", text.lines().next().unwrap_or_default());
            Tried::Final(CallError::Unread { call: path.to_owned(), seen })
        }
    }
}

pub(super) fn broke(error: impl std::error::Error) -> Tried {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Tried::Broke(text)
}
