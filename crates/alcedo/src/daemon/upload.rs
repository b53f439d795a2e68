//! Takes releases from other machines. Files only: nothing is planned or deployed here.

use super::host::Host;
use crate::adapters::releases::ReleaseStore;
use crate::api::upload::{BasisCall, Got, Offer};
use crate::api::{ConfigText, Failed};
use crate::upload::{packed, part, unpacked};
use alcedo_core::AppName;
use alcedo_core::config::{self, Input};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;

/// The calls of `api/upload.rs`.
pub(super) fn routes() -> Router<Host> {
    let lists = Router::new()
        .route("/v1/apps/{app}/basis", post(basis))
        .route("/v1/apps/{app}/offer", post(offer))
        .layer(DefaultBodyLimit::max(crate::upload::PACKED_BYTES_MAX));
    let parts = Router::new()
        .route("/v1/apps/{app}/parts/{hash}", put(take))
        .layer(DefaultBodyLimit::max(part::PACKED_BYTES_MAX));
    lists.merge(parts)
}

async fn basis(
    State(host): State<Host>,
    Path(app): Path<String>,
    body: Bytes,
) -> Result<Response, Failed> {
    super::server::aside(move || {
        let call: BasisCall = read(&body)?;
        let root = root(&host, &app, &call.config)?;
        answer(&ReleaseStore::new().basis(&root, call.groups).map_err(Failed::effect)?)
    })
    .await
}

async fn offer(
    State(host): State<Host>,
    Path(app): Path<String>,
    body: Bytes,
) -> Result<Response, Failed> {
    super::server::aside(move || {
        let offer: Offer = read(&body)?;
        let root = root(&host, &app, &offer.config)?;
        let lacks = ReleaseStore::new().offer(&root, &offer).map_err(Failed::effect)?;
        host.note_upload(&app, &offer.hash, root);
        answer(&lacks)
    })
    .await
}

async fn take(
    State(host): State<Host>,
    Path((app, hash)): Path<(String, String)>,
    body: Bytes,
) -> Result<axum::Json<Got>, Failed> {
    super::server::aside(move || {
        // A daemon that was started since knows nothing of the offer.
        let Some(root) = host.upload(&app, &hash) else {
            return Ok(axum::Json(Got { whole: 0, again: true }));
        };
        let got = ReleaseStore::new().take_part(&root, &hash, &body).map_err(Failed::effect)?;
        Ok(axum::Json(got))
    })
    .await
}

/// Where the app's releases are, by the configuration that a deploy would have.
fn root(host: &Host, app: &str, typed: &ConfigText) -> Result<PathBuf, Failed> {
    let app = AppName::new(app).map_err(|error| Failed::usage(format!("failed to {error}")))?;
    let input =
        Input { text: &typed.text, file: &typed.file, environment: typed.environment.as_deref() };
    let loaded = config::load(input).map_err(|errors| Failed::config(&errors))?;
    let named = AppName::on_host(&loaded.config.app, &loaded.config.environment);
    if named.as_ref() != Ok(&app) {
        return Err(Failed::usage(format!("the configuration is not that of {app}")));
    }
    Ok(host.places().root(&app, &loaded.config))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failed> {
    unpacked(body).map_err(|error| {
        Failed::new("damaged", format!("failed to read the call: it came damaged: {error}"), 1)
    })
}

fn answer(value: &impl Serialize) -> Result<Response, Failed> {
    let body = packed(value)
        .map_err(|error| Failed::new("failed", format!("failed to pack the answer: {error}"), 1))?;
    Ok(([("content-type", "application/zstd")], body).into_response())
}
