//! Asks slots and the public address: one request (HTTP; a pool of php-fpm FastCGI), one connection, one command, who
//! listens.
//!
//! Never tries twice, never follows a redirect, never decides: policy is core's.

mod fastcgi;
mod listeners;

use crate::adapters::clock;
use crate::adapters::exec::{self, Environment, Exit, Output, Program};
use crate::engine::ports::{Answer, Call, Cancel, EffectError, Get, Listener, Probe};
use alcedo_core::binding::{Address, Binding};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Longest body that is kept.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How often the cancel flag is looked at.
const TICK: Duration = Duration::from_millis(50);
/// What is kept of a command's output, and how much of that is shown.
const OUTPUT_BYTES: usize = 16 * 1024;
const OUTPUT_LINES: usize = 10;

/// Probes over sockets of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HttpProbe;

impl Probe for HttpProbe {
    fn get(&self, request: &Get, call: &Call<'_>) -> Result<Answer, String> {
        let limit = request.timeout.min(clock::left(call.deadline));
        within(limit, call.cancel, get(request)).map_err(|failure| match failure {
            Failure::TimedOut => format!("no answer within {}", seconds(limit)),
            Failure::Cancelled => "cancelled".to_owned(),
            Failure::Text(text) => text,
        })
    }

    fn connect(&self, address: &Address, call: &Call<'_>) -> Result<(), String> {
        let limit = clock::left(call.deadline);
        within(limit, call.cancel, open(address)).map(drop).map_err(|failure| match failure {
            Failure::TimedOut => format!("no connection within {}", seconds(limit)),
            Failure::Cancelled => "cancelled".to_owned(),
            Failure::Text(text) => text,
        })
    }

    fn command(&self, command: &str, binding: &Binding, call: &Call<'_>) -> Result<(), String> {
        let program = Program {
            argv: exec::shell(command),
            env: Environment::Exactly(
                binding.processes.first().map(|p| p.env.clone()).unwrap_or_default(),
            ),
            dir: binding.instance.clone(),
            output: Output::Kept { limit_bytes: OUTPUT_BYTES },
        };
        let ended = exec::run(&program, call).map_err(|error| chain(&error))?;
        match (ended.exit, ended.last_lines(OUTPUT_LINES)) {
            (Exit::Status(0), _) => Ok(()),
            (exit, lines) if lines.is_empty() => Err(exit.to_string()),
            (exit, lines) => Err(format!("{exit}\n{lines}")),
        }
    }

    fn listeners(&self, address: &Address) -> Result<Vec<Listener>, EffectError> {
        listeners::on(address)
            .map_err(|error| EffectError::failed(format!("see who listens on {address}"), error))
    }
}

enum Failure {
    TimedOut,
    Cancelled,
    Text(String),
}

/// Runs one question to its end on a runtime of its own: the engine's thread waits, and nothing is left behind.
fn within<T>(
    limit: Duration,
    cancel: &Cancel,
    question: impl Future<Output = Result<T, String>>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Text(format!("no runtime: {error}")))?;
    let cancelled = async {
        while !cancel.is_cancelled() {
            tokio::time::sleep(TICK).await;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            biased;
            answer = question => answer.map_err(Failure::Text),
            () = tokio::time::sleep(limit) => Err(Failure::TimedOut),
            () = cancelled => Err(Failure::Cancelled),
        }
    })
}

/// A connection of either kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn open(address: &Address) -> Result<Box<dyn Stream>, String> {
    let stream: io::Result<Box<dyn Stream>> = match address {
        Address::Tcp(address) => TcpStream::connect(address).await.map(|s| Box::new(s) as _),
        Address::Unix(path) => UnixStream::connect(path).await.map(|s| Box::new(s) as _),
    };
    stream.map_err(|error| reason(&error).unwrap_or_else(|| error.to_string()))
}

async fn get(request: &Get) -> Result<Answer, String> {
    if let Some(root) = &request.root {
        return fastcgi::get(open(&request.address).await?, request, root).await;
    }
    let message = message(request)?;
    let stream = open(&request.address).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| chain(&error))?;
    let answer = async {
        let answer = sender.send_request(message).await.map_err(|error| explain(&error))?;
        let (head, body) = answer.into_parts();
        let headers = head.headers.iter().map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        let headers = headers.collect();
        let body = first_bytes(body).await.map_err(|error| explain(&error))?;
        Ok(Answer { status: head.status.as_u16(), headers, body })
    };
    tokio::pin!(answer, connection);
    let mut is_open = true;
    loop {
        // The connection does the work; when it ends first, the answer still holds what had arrived.
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            _ = &mut connection, if is_open => is_open = false,
        }
    }
}

fn message(request: &Get) -> Result<Request<Empty<Bytes>>, String> {
    let mut builder = Request::get(&request.path).header(hyper::header::HOST, &request.host);
    let is_named = request.headers.keys().any(|name| name.eq_ignore_ascii_case("user-agent"));
    if !is_named {
        builder = builder
            .header(hyper::header::USER_AGENT, concat!("alcedo/", env!("CARGO_PKG_VERSION")));
    }
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    builder.body(Empty::new()).map_err(|error| format!("not a request: {}", chain(&error)))
}

async fn first_bytes(mut body: Incoming) -> hyper::Result<Vec<u8>> {
    let mut kept = Vec::new();
    while kept.len() < BODY_BYTES_MAX {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame?.into_data() {
            let fits = data.len().min(BODY_BYTES_MAX - kept.len());
            kept.extend_from_slice(&data[..fits]);
        }
    }
    Ok(kept)
}

/// The words people know from `curl`, without numbers.
fn explain(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "closed the connection without a whole answer".to_owned();
    }
    if error.is_parse() {
        return format!("does not speak HTTP: {error}");
    }
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    source.and_then(reason).unwrap_or_else(|| chain(error))
}

fn reason(error: &io::Error) -> Option<String> {
    let known = [
        (io::ErrorKind::ConnectionRefused, "connection refused"),
        (io::ErrorKind::ConnectionReset, "connection reset"),
        (io::ErrorKind::BrokenPipe, "connection reset"),
        (io::ErrorKind::NotFound, "no socket there"),
        (io::ErrorKind::PermissionDenied, "permission denied"),
    ];
    let found = known.iter().find(|(kind, _)| *kind == error.kind());
    found.map(|(_, text)| (*text).to_owned())
}

fn seconds(limit: Duration) -> String {
    if limit.subsec_millis() == 0 {
        format!("{} s", limit.as_secs())
    } else {
        format!("{:.1} s", limit.as_secs_f64())
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
