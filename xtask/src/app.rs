//! The app under test: a small web server that says which release answers, keeps count of every POST in a file that
//! outlives it, and can misbehave in each of the ways that a deploy has to survive. Never used by the product itself.

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// `xtask app`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// What it says it is.
    #[arg(long, default_value = "none")]
    release: String,
    /// Directory of the record: `app-<pid>.log`.
    #[arg(long, env = "APP_LOG_DIR")]
    log_dir: Option<PathBuf>,
    /// Runs and never listens.
    #[arg(long)]
    never_listen: bool,
    /// Listens after this many milliseconds.
    #[arg(long, default_value_t = 0)]
    late_ms: u64,
    /// Listens on a free port instead of the one it was given.
    #[arg(long)]
    other_port: bool,
    /// Listens on every address.
    #[arg(long)]
    all_addresses: bool,
    /// Status of the health answer.
    #[arg(long, default_value_t = 200)]
    health_status: u16,
    /// Every n-th answer but health's is a 500; 0: none.
    #[arg(long, default_value_t = 0)]
    fail_every: u64,
    /// Exits with status 7 at the n-th request that is not for health; 0: never.
    #[arg(long, default_value_t = 0)]
    exit_at: u64,
    /// Does not end on TERM.
    #[arg(long)]
    ignore_term: bool,
    /// Writes lines to its output without pause.
    #[arg(long)]
    flood: bool,
}

/// Serves until TERM (then what is in flight is answered first) or for ever.
pub fn run(options: Options) -> Result<()> {
    let record = Record::open(&options)?;
    record.line(&format!("spawned {} {}", now_ns(), options.release));
    if options.flood {
        std::thread::spawn(flood);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let app = Rc::new(App { options, record, in_flight: Cell::new(0), requests: Cell::new(0) });
    tokio::task::LocalSet::new().block_on(&runtime, serve(app))
}

/// Monotonic clock of this machine, shared by all its processes, in nanoseconds.
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

struct App {
    options: Options,
    record: Record,
    in_flight: Cell<u64>,
    requests: Cell<u64>,
}

async fn serve(app: Rc<App>) -> Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    if app.options.never_listen {
        term.recv().await;
        return Ok(());
    }
    tokio::time::sleep(Duration::from_millis(app.options.late_ms)).await;
    let ip = if app.options.all_addresses { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    let port = if app.options.other_port { 0 } else { app.options.port };
    let address = SocketAddr::from((ip, port));
    let listener = TcpListener::bind(address).await.with_context(|| format!("listen {address}"))?;
    let (stop, stopping) = tokio::sync::watch::channel(false);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                stream.set_nodelay(true).ok();
                tokio::task::spawn_local(connection(app.clone(), stream, stopping.clone()));
            }
            _ = term.recv() => {
                app.record.line(&format!("term {} {}", now_ns(), app.in_flight.get()));
                if !app.options.ignore_term { break }
            }
        }
    }
    drop((listener, stopping));
    stop.send(true).ok();
    let ended = tokio::time::timeout(Duration::from_secs(10), stop.closed()).await;
    ended.context("requests still in flight after 10 s")
}

async fn connection(
    app: Rc<App>,
    stream: tokio::net::TcpStream,
    mut stopping: tokio::sync::watch::Receiver<bool>,
) {
    let service = hyper::service::service_fn(|request| answer(app.clone(), request));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = stopping.wait_for(|stop| *stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await.ok();
        }
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(app: Rc<App>, request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    app.in_flight.set(app.in_flight.get() + 1);
    let result = route(&app, request).await;
    app.in_flight.set(app.in_flight.get() - 1);
    result
}

async fn route(app: &App, request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let at = now_ns();
    let release = &app.options.release;
    if request.uri().path() == "/healthz" {
        app.record.once("healthy", at);
        return Ok(health(app));
    }
    app.record.once("first", at);
    app.requests.set(app.requests.get() + 1);
    if app.options.exit_at != 0 && app.requests.get() >= app.options.exit_at {
        std::process::exit(7);
    }
    if app.options.fail_every != 0 && app.requests.get().is_multiple_of(app.options.fail_every) {
        return Ok(text(StatusCode::INTERNAL_SERVER_ERROR, "broken on purpose\n".to_owned()));
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let nonce = parameter(&query, "n").to_owned();
    if request.method() == Method::POST {
        let body = request.into_body().collect().await?.to_bytes();
        app.record.line(&format!("post {nonce}"));
        let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
        return Ok(text(StatusCode::OK, format!("{release} {nonce} {at} {} {sum}\n", body.len())));
    }
    if let Ok(ms) = parameter(&query, "ms").parse() {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    Ok(text(StatusCode::OK, format!("{release} {nonce} {at}\n")))
}

fn health(app: &App) -> Answer {
    let status = StatusCode::from_u16(app.options.health_status).unwrap_or(StatusCode::OK);
    let body = serde_json::json!({ "status": "ok", "release": app.options.release });
    let mut answer = text(status, body.to_string());
    if status.is_redirection() {
        let location = hyper::header::HeaderValue::from_static("/login");
        answer.headers_mut().insert(hyper::header::LOCATION, location);
    }
    answer
}

fn text(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer
}

fn parameter<'a>(query: &'a str, name: &str) -> &'a str {
    let values = query.split('&').filter_map(|pair| pair.split_once('='));
    values.filter(|(key, _)| *key == name).map(|(_, value)| value).next().unwrap_or_default()
}

fn flood() {
    let line = "a line that nobody asked for, again and again and again and again\n".repeat(64);
    while std::io::stdout().write_all(line.as_bytes()).is_ok() {}
}

/// What the app did, for whoever counts afterwards: one line a fact, in a file per process.
struct Record {
    file: Option<File>,
    said: RefCell<Vec<&'static str>>,
}

impl Record {
    fn open(options: &Options) -> Result<Self> {
        let Some(dir) = &options.log_dir else {
            return Ok(Self { file: None, said: RefCell::default() });
        };
        let path = dir.join(format!("app-{}.log", std::process::id()));
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        Ok(Self { file: Some(file), said: RefCell::default() })
    }

    fn line(&self, text: &str) {
        if let Some(mut file) = self.file.as_ref() {
            // One write a line: lines of processes that are killed are whole or absent.
            file.write_all(format!("{text}\n").as_bytes()).ok();
        }
    }

    fn once(&self, word: &'static str, at: u64) {
        if !self.said.borrow().contains(&word) {
            self.said.borrow_mut().push(word);
            self.line(&format!("{word} {at}"));
        }
    }
}
