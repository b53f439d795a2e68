//! The web app of `alcedo demo`: a real process that answers with the version it finds in its release.
//!
//! `VERSION` names it; a file `BROKEN` makes every third answer a 500, as a bug would.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

/// What the release in the working directory says.
struct Version {
    name: String,
    broken: bool,
    answered: Cell<u32>,
}

/// Serves on `127.0.0.1:port` until SIGTERM.
pub(crate) fn serve(port: u16) -> std::io::Result<()> {
    let name = std::fs::read_to_string("VERSION")?.trim().to_owned();
    let version = Rc::new(Version {
        name,
        broken: std::path::Path::new("BROKEN").exists(),
        answered: Cell::new(0),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, accept(port, version))
}

async fn accept(port: u16, version: Rc<Version>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = terminate.recv() => return Ok(()),
        };
        let version = version.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| answer(request, version.clone()));
            // A client that goes away ends its connection and nothing else.
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
        });
    }
}

#[expect(clippy::unused_async, reason = "hyper's services are async")]
async fn answer(
    request: Request<hyper::body::Incoming>,
    version: Rc<Version>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let number = version.answered.get().wrapping_add(1);
    version.answered.set(number);
    let healthy = request.uri().path() == "/healthz";
    let fails = version.broken && !healthy && number.is_multiple_of(3);
    let status = if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    let body = match (healthy, fails) {
        (true, _) => format!("{{\"status\":\"ok\",\"version\":\"{}\"}}\n", version.name),
        (false, true) => "internal error: the bug of this version\n".to_owned(),
        (false, false) => format!("Hello from version {}\n", version.name),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    Ok(response)
}
