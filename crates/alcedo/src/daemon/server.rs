//! The API's socket: peers checked, calls turned into mail, answers turned into JSON. No decisions.

use super::host::Host;
use super::{check, events, logs, status, tables, upload};
use crate::api::*;
use crate::engine::actor::{Handle, Mail, Reply};
use crate::paths::Keeper;
use alcedo_core::AppName;
use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::PermissionsExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

/// Largest call: a configuration file and what belongs to it.
const CALL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Serves until SIGTERM or SIGINT.
pub(super) async fn serve(socket: &std::path::Path, host: Host) -> std::io::Result<()> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    let keeper = host.paths().keeper;
    // Where `setup` prepared the host, members of the daemon's group are let in by the file's mode.
    let mode = match keeper {
        Keeper::User => 0o600,
        Keeper::System => 0o660,
    };
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(mode))?;
    tracing::info!(socket = %socket.display(), "serving");
    let app = routes(host);
    axum::serve(Peers(listener, keeper), app).with_graceful_shutdown(ended()).await
}

async fn ended() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    // Followers hold their connections for as long as a deploy takes: nobody waits for them.
    tokio::spawn(async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        std::process::exit(0);
    });
}

/// Accepts only the daemon's own user and root; on a prepared host whoever could open the socket.
struct Peers(UnixListener, Keeper);

impl axum::serve::Listener for Peers {
    type Io = UnixStream;
    type Addr = ();

    async fn accept(&mut self) -> (UnixStream, ()) {
        let own = rustix::process::geteuid().as_raw();
        loop {
            match self.0.accept().await {
                Ok((stream, _))
                    if self.1 == Keeper::System
                        || stream
                            .peer_cred()
                            .is_ok_and(|peer| peer.uid() == own || peer.uid() == 0) =>
                {
                    return (stream, ());
                }
                Ok(_) => tracing::warn!("a peer of another user was refused"),
                Err(error) => {
                    tracing::warn!("failed to accept a connection: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<()> {
        Ok(())
    }
}

fn routes(host: Host) -> Router {
    Router::new()
        .route("/v1/hello", get(hello))
        .route("/v1/status", get(show_status))
        .route("/v1/apps/{app}/plan", post(plan))
        .route("/v1/apps/{app}/entries", post(entries))
        .route("/v1/apps/{app}/deploy", post(deploy))
        .route("/v1/apps/{app}/rollback", post(rollback))
        .route("/v1/apps/{app}/promote", post(promote))
        .route("/v1/apps/{app}/abort", post(abort))
        .route("/v1/apps/{app}/resolve", post(resolve))
        .route("/v1/apps/{app}/retire", post(retire))
        .route("/v1/apps/{app}/pin", post(pin))
        .route("/v1/apps/{app}/preview", post(preview))
        .route("/v1/apps/{app}/prune", post(prune))
        .route("/v1/apps/{app}/events", get(follow))
        .route("/v1/apps/{app}/history", get(history))
        .route("/v1/apps/{app}/releases", get(releases))
        .route("/v1/apps/{app}/logs", get(show_logs))
        .route("/v1/apps/{app}/config", get(config))
        .route("/v1/apps/{app}/check", get(examine))
        .layer(axum::extract::DefaultBodyLimit::max(CALL_BYTES_MAX))
        .merge(upload::routes())
        .with_state(host)
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = match self.exit {
            2 => StatusCode::BAD_REQUEST,
            4 | 5 => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(ErrorBody { error: self })).into_response()
    }
}

type Answer<T> = Result<Json<T>, Failed>;

async fn hello() -> Json<Hello> {
    let uname = rustix::system::uname();
    Json(Hello {
        api: API_VERSION,
        alcedo: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        host: uname.nodename().to_string_lossy().into_owned(),
        machine: Some(alcedo_core::release::Machine::HERE.to_string()),
    })
}

/// Runs something that may wait for other processes, away from the sockets.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failed> + Send + 'static,
) -> Result<T, Failed> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(Failed::new("internal", format!("the call ended early: {error}"), 1))
    })
}

fn named(app: &str) -> Result<AppName, Failed> {
    AppName::new(app).map_err(|error| Failed::usage(format!("failed to {error}")))
}

/// Sends mail to the app's engine and waits for the answer.
async fn ask<T>(
    host: &Host,
    app: &str,
    make: bool,
    mail: impl FnOnce(Reply<T>) -> Mail,
) -> Result<T, Failed> {
    let app = named(app)?;
    let handle = host.app(&app, make)?;
    ask_handle(&handle, mail).await
}

async fn ask_handle<T>(handle: &Handle, mail: impl FnOnce(Reply<T>) -> Mail) -> Result<T, Failed> {
    let (reply, answer) = oneshot::channel();
    handle.send(mail(reply));
    let ended =
        |_| Failed::new("internal", "the app's engine has ended; the daemon's log says why", 1);
    answer.await.map_err(ended)?
}

#[derive(Deserialize)]
struct StatusQuery {
    app: Option<String>,
}

async fn show_status(
    State(host): State<Host>,
    Query(query): Query<StatusQuery>,
) -> Answer<serde_json::Value> {
    let app = query.app.as_deref().map(named).transpose()?;
    aside(move || status::status(&host, app.as_ref())).await.map(Json)
}

async fn plan(
    State(host): State<Host>,
    Path(app): Path<String>,
    Json(call): Json<DeployCall>,
) -> Answer<serde_json::Value> {
    let before = host.app(&named(&app)?, true)?.feed.state();
    let ordered = ask(&host, &app, true, |reply| Mail::Plan(Box::new(call), reply)).await?;
    Ok(Json(tables::plan(&ordered, &before)))
}

async fn entries(
    State(host): State<Host>,
    Path(app): Path<String>,
    Json(call): Json<ConfigText>,
) -> Answer<Vec<alcedo_core::nginx::Upstream>> {
    ask(&host, &app, true, |reply| Mail::Entries(call, reply)).await.map(Json)
}

async fn deploy(
    State(host): State<Host>,
    Path(app): Path<String>,
    Json(call): Json<DeployCall>,
) -> Answer<Accepted> {
    ask(&host, &app, true, |reply| Mail::Deploy(Box::new(call), reply)).await.map(Json)
}

async fn rollback(
    State(host): State<Host>,
    Path(app): Path<String>,
    Json(call): Json<RollbackCall>,
) -> Answer<Accepted> {
    ask(&host, &app, false, |reply| Mail::Rollback(Box::new(call), reply)).await.map(Json)
}

async fn promote(
    State(host): State<Host>,
    Path(app): Path<String>,
    Json(call): Json<VerbCall>,
) -> Answer<Accepted> {
    ask(&host, &app, false, |reply| Mail::Promote(call, reply)).await.map(Json)
}

async fn abort(
    State(host): State<Host>,
    Path(app): Path<String>,
    Json(call): Json<VerbCall>,
) -> Answer<Accepted> {
    ask(&host, &app, false, |reply| Mail::Abort(call, reply)).await.map(Json)
}

async fn resolve(
    State(host): State<Host>,
    Path(app): Path<String>,
    Json(call): Json<VerbCall>,
) -> Answer<Accepted> {
    ask(&host, &app, false, |reply| Mail::Resolve(call, reply)).await.map(Json)
}

async fn retire(
    State(host): State<Host>,
    Path(app): Path<String>,
    Json(call): Json<VerbCall>,
) -> Answer<Accepted> {
    ask(&host, &app, false, |reply| Mail::Retire(call, reply)).await.map(Json)
}

async fn pin(
    State(host): State<Host>,
    Path(app): Path<String>,
    Json(call): Json<PinCall>,
) -> Answer<Accepted> {
    ask(&host, &app, false, |reply| Mail::Pin(call, reply)).await.map(Json)
}

async fn preview(
    State(host): State<Host>,
    Path(app): Path<String>,
    Json(call): Json<PreviewCall>,
) -> Answer<Preview> {
    ask(&host, &app, false, |reply| Mail::Preview(call, reply)).await.map(Json)
}

async fn prune(
    State(host): State<Host>,
    Path(app): Path<String>,
    Json(call): Json<PruneCall>,
) -> Answer<serde_json::Value> {
    let pruned = ask(&host, &app, false, |reply| Mail::Prune(call.dry_run, reply)).await?;
    Ok(Json(tables::pruned(&pruned)))
}

async fn history(State(host): State<Host>, Path(app): Path<String>) -> Answer<serde_json::Value> {
    let handle = host.app(&named(&app)?, false)?;
    Ok(Json(tables::history(&handle.feed.state(), &app)))
}

async fn releases(State(host): State<Host>, Path(app): Path<String>) -> Answer<serde_json::Value> {
    let app = named(&app)?;
    aside(move || tables::releases(&host, &app)).await.map(Json)
}

async fn config(State(host): State<Host>, Path(app): Path<String>) -> Answer<AppConfig> {
    let app = named(&app)?;
    let config = host
        .app(&app, false)?
        .feed
        .state()
        .config
        .as_ref()
        .map(|c| alcedo_core::config::Config::clone(c));
    let root = config.as_ref().map(|c| host.places().root(&app, c));
    Ok(Json(AppConfig { config, root }))
}

async fn examine(State(host): State<Host>, Path(app): Path<String>) -> Answer<serde_json::Value> {
    let app = named(&app)?;
    aside(move || check::check(&host, &app)).await.map(Json)
}

#[derive(Deserialize)]
pub(super) struct FollowQuery {
    pub(super) deploy: Option<String>,
    #[serde(default)]
    pub(super) since: u64,
    #[serde(default)]
    pub(super) follow: bool,
}

async fn follow(
    State(host): State<Host>,
    Path(app): Path<String>,
    Query(query): Query<FollowQuery>,
) -> Result<Response, Failed> {
    let handle = host.app(&named(&app)?, false)?;
    let world = host.world()?;
    Ok(lines(events::stream(handle.feed, world.journal, query)?))
}

async fn show_logs(
    State(host): State<Host>,
    Path(app): Path<String>,
    Query(query): Query<logs::LogQuery>,
) -> Result<Response, Failed> {
    let handle = host.app(&named(&app)?, false)?;
    let paths = host.paths().clone();
    Ok(lines(logs::stream(&handle.feed.state(), &paths, query)?))
}

/// A chunked answer of JSON lines from a bounded channel.
fn lines<T: Serialize + Send + 'static>(receiver: tokio::sync::mpsc::Receiver<T>) -> Response {
    ([("content-type", "application/x-ndjson")], Body::new(Lines(receiver))).into_response()
}

struct Lines<T>(tokio::sync::mpsc::Receiver<T>);

impl<T: Serialize> hyper::body::Body for Lines<T> {
    type Data = bytes::Bytes;
    type Error = serde_json::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, serde_json::Error>>> {
        self.0.poll_recv(context).map(|line| {
            let line = line?;
            let text = serde_json::to_vec(&line).map(|mut text| {
                text.push(b'\n');
                hyper::body::Frame::data(text.into())
            });
            Some(text)
        })
    }
}
