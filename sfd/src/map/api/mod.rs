//! The requests: what each may ask, and what it gets. Described for programs in `openapi.json`.

mod artifacts;
mod bricks;
mod history;
mod stream;
mod tile;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

pub(super) use bricks::document as bricks_document;

use super::App;
use super::error::ApiError;
use super::infinite;

/// Labels in an answer, at most.
pub(super) const LABELS_MAX: usize = 2000;
/// Lines of history in an answer, at most.
pub(super) const HISTORY_MAX: usize = 1000;
/// Bytes of contents in an answer, at most: what a block holds.
pub(super) const CONTENT_MAX: usize = 64 << 10;
/// Artifacts in an answer about a directory or a search, at most.
pub(super) const SHORT_MAX: usize = 1000;
/// Bytes of a request's body: no request has one.
const BODY_BYTES_MAX: usize = 1024;
/// How long an answer may take. Colouring the coarsest tile of a full brick of the largest order for the first time takes
/// some seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn router(app: Arc<App>) -> Router {
    let router = Router::new()
        .route("/api/bricks", get(bricks::bricks))
        .route("/api/palette", get(bricks::palette))
        .route("/api/status", get(bricks::status))
        .route("/api/openapi.json", get(openapi))
        .route("/api/bricks/{name}/tile/{z}/{x}/{y}", get(tile::tile))
        .route("/api/bricks/{name}/nodes", get(tile::nodes))
        .route("/api/bricks/{name}/labels", get(bricks::labels))
        .route("/api/bricks/{name}/at", get(artifacts::at))
        .route("/api/bricks/{name}/artifact", get(artifacts::artifact))
        .route("/api/bricks/{name}/content", get(artifacts::content))
        .route("/api/bricks/{name}/children", get(artifacts::children))
        .route("/api/search", get(artifacts::search))
        .route("/api/history", get(history::history))
        .route("/api/events", get(stream::events))
        .route("/builder/map/manifest.json", get(infinite::file))
        .route("/builder/queue/{name}", get(infinite::file))
        .route("/builder/processed/{name}", get(infinite::file))
        .route("/builder/ws", get(infinite::socket))
        .fallback(super::assets::serve)
        .method_not_allowed_fallback(wrong_method);
    router
        .layer(CompressionLayer::new().gzip(true))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_WITHIN))
        .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn(refuse_body))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), super::access::guard))
        .with_state(app)
}

async fn wrong_method() -> Response {
    let error =
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD: the map does not change anything");
    error.into_response()
}

/// A body of known length that is too long is refused before anything is done. (One of unknown length is not read.)
async fn refuse_body(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let len =
        request.headers().get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    if len.is_some_and(|len| len > BODY_BYTES_MAX as u64) {
        let what = format!("a body of {} bytes; no request has one", len.unwrap_or(0));
        return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, what).into_response();
    }
    next.run(request).await
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("../openapi.json"))
}

/// A request's parameters. What is wrong with them is told as any other error.
struct Ask<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Ask<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(wanted)) => Ok(Self(wanted)),
            Err(error) => Err(ApiError::bad(format!("{}: {}", parts.uri.path(), error.body_text()))),
        }
    }
}

/// Parts of a path, such as the name of a brick.
struct At<T>(T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(error) => Err(ApiError::bad(format!("{}: {}", parts.uri.path(), error.body_text()))),
        }
    }
}

/// A path as a parameter: as text, or exactly, in base64.
#[derive(Debug, Default, Deserialize)]
struct PathAsked {
    path: Option<String>,
    path_bytes: Option<String>,
}

impl PathAsked {
    /// The path, if one was asked for.
    fn get(self) -> Result<Option<Vec<u8>>, ApiError> {
        let path = match (self.path, self.path_bytes) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(ApiError::bad("path and path_bytes: one of them is enough")),
            (Some(path), None) => path.into_bytes(),
            (None, Some(bytes)) => {
                BASE64.decode(&bytes).map_err(|error| ApiError::bad(format!("path_bytes: {error}")))?
            }
        };
        if !path.starts_with(b"/") || path.contains(&0) {
            let what = format!("path {:?}: not an absolute path", String::from_utf8_lossy(&path));
            return Err(ApiError::bad(what));
        }
        Ok(Some(path))
    }

    fn must(self) -> Result<Vec<u8>, ApiError> {
        self.get()?.ok_or_else(|| ApiError::bad("path or path_bytes: missing"))
    }
}

type TheApp = State<Arc<App>>;

/// At most `max`, and `default` unless something else was asked for.
fn limit(asked: Option<u32>, default: usize, max: usize) -> usize {
    asked.map_or(default, |asked| asked as usize).min(max)
}
