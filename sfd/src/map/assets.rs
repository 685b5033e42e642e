//! The files of the front end, which are part of the program.

use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use super::error::ApiError;

#[derive(RustEmbed)]
#[folder = "web/dist"]
struct Dist;

/// What a file is, by the end of its name.
fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, end)| end) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map" | "webmanifest") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("wasm") => "application/wasm",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Everything that is no request of the API.
pub(super) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = match uri.path() {
        "/" => "index.html",
        path => path.trim_start_matches('/'),
    };
    let is_api = uri.path() == "/api" || uri.path().starts_with("/api/");
    // A name is looked up as it is in a table of names: there is no directory to leave.
    let Some(file) = Dist::get(path).filter(|_| !is_api) else {
        return ApiError::not_found(format!("{}: there is no such thing here", uri.path())).into_response();
    };
    if method != Method::GET && method != Method::HEAD {
        let what = "only GET and HEAD: the map does not change anything";
        return ApiError::new(StatusCode::METHOD_NOT_ALLOWED, what).into_response();
    }
    let hash = file.metadata.sha256_hash();
    let tag = format!("\"{}\"", super::events::hex(&hash[..16]));
    // Names of built files hold a hash of their contents.
    let keep = if path.starts_with("assets/") {
        "private, max-age=31536000, immutable"
    } else {
        "private, no-cache"
    };
    let has = headers.get(header::IF_NONE_MATCH).is_some_and(|had| had.as_bytes() == tag.as_bytes());
    let about = [
        (header::CONTENT_TYPE, media_type(path).to_owned()),
        (header::ETAG, tag),
        (header::CACHE_CONTROL, keep.to_owned()),
    ];
    if has { (StatusCode::NOT_MODIFIED, about).into_response() } else { (about, file.data).into_response() }
}
