//! Who may ask, and what every answer says to the browser.
//!
//! Contents of /etc are private, and other users of the host, and every page in somebody's browser, can reach a port on
//! loopback. So: a token that is new with every start; `Host` must be this server's (a name that was made to resolve to
//! 127.0.0.1 is refused), `Origin`, where there is one, too; and no answer may be framed, embedded, or run anything else.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::App;
use super::counters::Counters;
use super::error::ApiError;

/// Bytes of a request's address: paths of 4 KiB in base64 fit, percent-encoded ones mostly.
const URI_BYTES_MAX: usize = 8 << 10;
/// Bytes of a request's headers: a browser's are about 1 KiB.
const HEADER_BYTES_MAX: usize = 16 << 10;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
                      connect-src 'self'; worker-src 'self' blob:; font-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// A page that leads to the map.
const ONWARD: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>SFD map</title>\
    <meta http-equiv=refresh content=\"0; url=/\"><a href=\"/\">SFD map</a></html>";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// A secret that a client must know. Compared in constant time, never logged.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(...)")
    }
}

impl Token {
    /// A new one: 256 random bits.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(super::events::hex(&bytes).into()))
    }

    /// As it is in an address.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    fn is(&self, said: &str) -> bool {
        self.0.as_bytes().ct_eq(said.as_bytes()).into()
    }
}

/// What is compared with a request.
#[derive(Debug)]
pub(super) struct Access {
    token: Token,
    cookie: String,
    port: u16,
    bound: IpAddr,
}

impl Access {
    pub(super) fn new(token: Token, bound: SocketAddr) -> Self {
        Self { token, cookie: format!("sfd_token_{}", bound.port()), port: bound.port(), bound: bound.ip() }
    }

    /// The address to open in a browser, with the token.
    pub(super) fn url(&self) -> String {
        format!("{}?token={}", self.address(), self.token.text())
    }

    /// The same without it.
    pub(super) fn address(&self) -> String {
        let host = match self.bound {
            ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
            IpAddr::V6(ip) => format!("[{ip}]"),
            IpAddr::V4(ip) => ip.to_string(),
        };
        format!("http://{host}:{}/", self.port)
    }

    /// Whether a `Host` is this server. Names other than localhost never are: whoever owns a name decides where it leads.
    fn is_host(&self, host: &str) -> bool {
        let Some((name, port)) = host.rsplit_once(':') else { return false };
        if port != self.port.to_string() {
            return false;
        }
        if name.eq_ignore_ascii_case("localhost") {
            return self.bound.is_loopback() || self.bound.is_unspecified();
        }
        let ip = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        match ip.parse::<IpAddr>() {
            Ok(ip) => ip == self.bound || self.bound.is_unspecified(),
            Err(_) => false,
        }
    }

    fn check_headers(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
        let path_and_query = uri.path_and_query().map_or(0, |text| text.as_str().len());
        if path_and_query > URI_BYTES_MAX {
            let what = format!("an address of {path_and_query} bytes; at most {URI_BYTES_MAX} are read");
            return Err(ApiError::new(StatusCode::URI_TOO_LONG, what));
        }
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if bytes > HEADER_BYTES_MAX {
            let what = format!("headers of {bytes} bytes; at most {HEADER_BYTES_MAX} are read");
            return Err(ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, what));
        }
        let text = |name: HeaderName| -> Result<Option<&str>, ApiError> {
            let mut values = headers.get_all(&name).iter();
            let value = values.next().map(HeaderValue::to_str).transpose();
            match (value, values.next()) {
                (Ok(value), None) => Ok(value),
                _ => Err(ApiError::bad(format!("{name}: not one line of ASCII"))),
            }
        };
        let foreign = || {
            let what = "Host: this server is not called so; open the address that `sfd map` prints";
            ApiError::new(StatusCode::MISDIRECTED_REQUEST, what)
        };
        let host = text(header::HOST)?.ok_or_else(|| ApiError::bad("Host: missing"))?;
        if !self.is_host(host) || uri.authority().is_some_and(|authority| authority.as_str() != host) {
            return Err(foreign());
        }
        if let Some(origin) = text(header::ORIGIN)?
            && !origin.strip_prefix("http://").is_some_and(|origin| origin.eq_ignore_ascii_case(host))
        {
            return Err(ApiError::forbidden("Origin: another page may not ask this server"));
        }
        let site = text(HeaderName::from_static("sec-fetch-site"))?;
        if matches!(site, Some("cross-site" | "same-site")) && uri.path() != "/" {
            return Err(ApiError::forbidden("Sec-Fetch-Site: another page may not ask this server"));
        }
        Ok(())
    }

    fn knows_token(&self, headers: &HeaderMap) -> bool {
        let bearer = headers
            .get_all(header::AUTHORIZATION)
            .iter()
            .filter_map(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let cookie = pairs.filter(|(name, _)| *name == self.cookie).map(|(_, value)| value);
        // Every candidate is compared to its end: how many there are is no secret.
        bearer.chain(cookie).fold(false, |known, said| self.token.is(said) | known)
    }

    /// The first visit, with the token in the address: it becomes a cookie, and leaves the address.
    fn first_visit(&self, request: &Request) -> Option<Response> {
        let uri = request.uri();
        if *request.method() != Method::GET || uri.path() != "/" {
            return None;
        }
        let said = uri.query()?.split('&').find_map(|pair| pair.strip_prefix("token="))?;
        if !self.token.is(said) {
            return Some(refuse_page());
        }
        let cookie = format!("{}={}; HttpOnly; SameSite=Strict; Path=/", self.cookie, self.token.text());
        let cookie = (header::SET_COOKIE, cookie);
        let site = request.headers().get("sec-fetch-site").map(HeaderValue::as_bytes);
        if matches!(site, None | Some(b"none" | b"same-origin")) {
            return Some(
                (StatusCode::SEE_OTHER, [(header::LOCATION, "/".to_owned()), cookie]).into_response(),
            );
        }
        // A browser that was sent here by another page (the file that `sfd map` opens) does not give a strict cookie to
        // what it is redirected to. This page is ours, and what it leads to gets it.
        let html = (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned());
        Some((StatusCode::OK, [html, cookie], ONWARD).into_response())
    }
}

fn refuse_page() -> Response {
    const PAGE: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>SFD map</title>\
        <h1>This map is private</h1><p>On the host that it shows, run <code>sfd map</code> \
        and open the address that it prints.</p></html>";
    (StatusCode::UNAUTHORIZED, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response()
}

/// Lets a request through, or not; the answer gets its headers either way.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    Counters::count(&app.counters.requests);
    let is_api = request.uri().path().starts_with("/api/");
    let is_tile = is_api && request.uri().path().contains("/tile/");
    let mut response = match admit(&app.access, &request) {
        Ok(None) => next.run(request).await,
        Ok(Some(answer)) => {
            if answer.headers().contains_key(header::SET_COOKIE) {
                app.note_visit();
            }
            answer
        }
        Err(error) => error.into_response(),
    };
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        app.counters.refuse(status.as_u16());
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let is_kept = is_tile && (status.is_success() || status == StatusCode::NOT_MODIFIED);
    if (is_api && !is_kept) || !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// An answer to be given at once, if there is one.
fn admit(access: &Access, request: &Request) -> Result<Option<Response>, ApiError> {
    access.check_headers(request.headers(), request.uri())?;
    if let Some(answer) = access.first_visit(request) {
        return Ok(Some(answer));
    }
    if access.knows_token(request.headers()) {
        return Ok(None);
    }
    if request.uri().path().starts_with("/api/") {
        let what = "no token, or not the one of this run; run `sfd map`";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, what));
    }
    Ok(Some(refuse_page()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(bound: &str) -> Access {
        Access::new(Token("abc".into()), bound.parse().unwrap())
    }

    #[test]
    fn only_this_server_is_this_server() {
        let loopback = access("127.0.0.1:7317");
        for host in ["127.0.0.1:7317", "localhost:7317", "LOCALHOST:7317"] {
            assert!(loopback.is_host(host), "{host}");
        }
        for host in [
            "127.0.0.1",
            "127.0.0.1:80",
            "evil.example:7317",
            "127.0.0.1.evil.example:7317",
            "10.0.0.1:7317",
            ":7317",
            "",
            "localhost.:7317",
            "[::1]:7317",
        ] {
            assert!(!loopback.is_host(host), "{host}");
        }
        let all = access("0.0.0.0:7317");
        assert!(all.is_host("10.0.0.1:7317") && all.is_host("localhost:7317"));
        assert!(!all.is_host("host.example:7317"), "whoever owns the name decides where it leads");
        assert!(access("[::1]:7317").is_host("[::1]:7317"));
        assert_eq!(access("[::1]:7317").address(), "http://[::1]:7317/");
    }

    #[test]
    fn a_token_is_the_whole_token() {
        let token = Token("abc".into());
        assert!(token.is("abc"));
        for said in ["", "ab", "abcd", "abd", "ABC"] {
            assert!(!token.is(said), "{said}");
        }
        let (one, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert_eq!(one.text().len(), 64);
        assert!(!one.is(other.text()));
        assert!(!format!("{one:?}").contains(one.text()));
    }
}
