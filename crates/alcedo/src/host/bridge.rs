//! Carries calls from stdin to the daemon's socket and answers back to stdout: HTTP/2 on one side, a fresh HTTP/1.1
//! connection for each call on the other. What is passed on is written anew from what was understood.

use super::rights::{Call, Rights};
use super::{UNREACHED, revive};
use crate::api::{ErrorBody, Failed};
use crate::paths::Paths;
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use tokio::net::UnixStream;

/// The largest call.
const CALL_BYTES_MAX: usize = 4 << 20;
/// Calls at the same time; a client has one and a stream or two.
const CALLS_MAX: u32 = 16;
/// Room for what is under way.
const WINDOW_BYTES: u32 = 8 << 20;
/// Variables that the app's processes inherit: this login's, not those of the machine that asks.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "USER", "TZ"];

type Body = Either<Incoming, Full<Bytes>>;

struct Bridge {
    rights: Rights,
    paths: Paths,
}

/// Serves until the client ends the connection.
pub(super) fn serve(rights: Rights, paths: &Paths) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bridge = Arc::new(Bridge { rights, paths: paths.clone() });
    let served = runtime.block_on(async {
        let io = TokioIo::new(tokio::io::join(tokio::io::stdin(), tokio::io::stdout()));
        let service = service_fn(move |request| {
            let bridge = bridge.clone();
            async move { Ok::<_, Infallible>(bridge.answer(request).await) }
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOW_BYTES);
        builder.initial_connection_window_size(WINDOW_BYTES);
        builder.max_concurrent_streams(CALLS_MAX);
        builder.serve_connection(io, service).await
    });
    // A read of stdin that waits for ever must not keep this process.
    runtime.shutdown_background();
    served.map_err(io::Error::other)
}

impl Bridge {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        self.pass_on(request).await.unwrap_or_else(|failed| refusal(&failed))
    }

    async fn pass_on(&self, request: Request<Incoming>) -> Result<Response<Body>, Failed> {
        let (head, body) = request.into_parts();
        let (path, query) = (head.uri.path(), head.uri.query());
        let call = self.rights.check_call(&head.method, path, query)?;
        let limit = if [Call::Basis, Call::Offer].contains(&call) {
            crate::upload::PACKED_BYTES_MAX
        } else if call == Call::Parts {
            crate::upload::part::PACKED_BYTES_MAX
        } else {
            CALL_BYTES_MAX
        };
        let body = Limited::new(body, limit).collect().await.map_err(|error| cut(&*error))?;
        let body = body.to_bytes();
        self.rights.check_body(call, &body)?;
        let body = if call == Call::Deploy || call == Call::Plan { at_home(&body)? } else { body };
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let request = Request::builder()
            .method(head.method)
            .uri(target)
            .header("host", "alcedo")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| {
                Failed::new("usage", format!("failed to read the call: {error}"), 2)
            })?;
        let response = self.ask(request).await?;
        let (head, body) = response.into_parts();
        let json = HeaderValue::from_static("application/json");
        let kind = head.headers.get(CONTENT_TYPE).cloned().unwrap_or(json);
        let mut response = Response::new(Either::Left(body));
        *response.status_mut() = head.status;
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(response)
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failed> {
        let stream = match UnixStream::connect(self.paths.daemon_socket()).await {
            Ok(stream) => stream,
            Err(_) => self.revived().await?,
        };
        let gone = |error: hyper::Error| unreached(&format!("the daemon ended over it: {error}"));
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(gone)?;
        tokio::spawn(async move {
            // Its end shows in the answer.
            let _ = connection.await;
        });
        sender.send_request(request).await.map_err(gone)
    }

    async fn revived(&self) -> Result<UnixStream, Failed> {
        let paths = self.paths.clone();
        let revived = tokio::task::spawn_blocking(move || revive(&paths)).await;
        match revived {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return Err(unreached(&why)),
            Err(error) => return Err(unreached(&error.to_string())),
        }
        let socket = self.paths.daemon_socket();
        UnixStream::connect(&socket)
            .await
            .map_err(|error| unreached(&format!("connect to {}: {error}", socket.display())))
    }
}

/// The call, with what its processes inherit from this machine.
fn at_home(body: &[u8]) -> Result<Bytes, Failed> {
    let read = |error: serde_json::Error| {
        Failed::new("usage", format!("failed to read the call: {error}"), 2)
    };
    let mut call: serde_json::Value = serde_json::from_slice(body).map_err(read)?;
    let inherit: BTreeMap<_, _> =
        INHERITED.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?))).collect();
    call["inherit"] = serde_json::to_value(inherit).map_err(read)?;
    Ok(serde_json::to_vec(&call).map_err(read)?.into())
}

fn unreached(seen: &str) -> Failed {
    Failed::new(UNREACHED, format!("failed to reach the daemon there: {seen}"), 6)
}

fn cut(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Failed {
    if error.is::<LengthLimitError>() {
        return Failed::new("usage", "the call is too long", 2);
    }
    Failed::new(UNREACHED, format!("failed to read the call: {error}"), 6)
}

fn refusal(failed: &Failed) -> Response<Body> {
    let status = match failed.code.as_str() {
        UNREACHED => StatusCode::SERVICE_UNAVAILABLE,
        "not-allowed" => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_REQUEST,
    };
    let body = serde_json::to_vec(&ErrorBody { error: failed.clone() }).unwrap_or_default();
    let mut response = Response::new(Either::Right(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
