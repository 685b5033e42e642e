//! Where a server is, and whether that is on this host.

use std::net::{IpAddr, SocketAddr};

use reqwest::Url;

use super::AskError;

/// A server's address with the network addresses behind its name, as they were when it was checked.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// Without a path.
    pub(super) base: Url,
    /// As shown.
    pub(super) shown: String,
    /// Host name as in the URL.
    pub(super) host: String,
    /// What the name means; never empty. Only these are connected to.
    pub(super) addresses: Vec<SocketAddr>,
}

/// Whether this can be the address of a server.
///
/// # Errors
/// Why not, naming it.
pub fn check_url(url: &str) -> Result<(), AskError> {
    parse(url).map(drop)
}

/// The address without `/`, and without the `/v1` that many programs want to have.
fn parse(text: &str) -> Result<(Url, String), AskError> {
    let wrong = |why: &str| AskError::Address { url: hidden(text), why: why.to_owned() };
    let mut url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("a password does not belong in an address; the file llm_api_key_file is for it"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("what follows ? or # has no meaning here"));
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    if host.is_empty() {
        return Err(wrong("no host"));
    }
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path).to_owned();
    url.set_path(&path);
    Ok((url, host))
}

/// An address without what stands before `@`.
fn hidden(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(from), Some(to)) if from < to => format!("{}://...{}", &text[..from], &text[to..]),
        _ => text.to_owned(),
    }
}

impl Endpoint {
    /// Looks its name up, and refuses it unless every address it has is of this host or `allow_remote` is set.
    pub(super) async fn find(text: &str, allow_remote: bool) -> Result<Self, AskError> {
        let (base, host) = parse(text)?;
        let shown = base.as_str().trim_end_matches('/').to_owned();
        let port = base.port_or_known_default().unwrap_or(80);
        // The brackets of an IPv6 address belong to the URL, not to the name.
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let unreachable = |why: String| AskError::Unreachable { endpoint: shown.clone(), why };
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name, port))
            .await
            .map_err(|error| unreachable(format!("{name}: {error}")))?
            .collect();
        if addresses.is_empty() {
            return Err(unreachable(format!("{name} has no address")));
        }
        if let Some(other) = addresses.iter().find(|address| !is_here(address.ip()))
            && !allow_remote
        {
            return Err(AskError::Refused { endpoint: shown, address: other.ip().to_string() });
        }
        Ok(Self { base, shown, host, addresses })
    }
}

/// Whether an address is a loopback one.
fn is_here(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        let base = |text: &str| parse(text).map(|(url, _)| url.to_string());
        assert_eq!(base("http://127.0.0.1:1234/v1/").unwrap(), "http://127.0.0.1:1234/");
        assert_eq!(base("https://models.example/llm/v1").unwrap(), "https://models.example/llm");
        for (text, why) in [
            ("ollama", "relative URL"),
            ("ftp://127.0.0.1", "neither http"),
            ("127.0.0.1:11434", "relative URL"),
            ("http://127.0.0.1/?key=1", "no meaning"),
            ("http://u:secret@127.0.0.1", "llm_api_key_file"),
            ("http://", "empty host"),
        ] {
            let error = check_url(text).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn only_this_host_is_asked_unless_others_are_allowed() {
        for text in
            ["http://127.0.0.1:9", "http://[::1]:9", "http://localhost", "http://[::ffff:127.0.0.1]:9"]
        {
            assert!(Endpoint::find(text, false).await.is_ok(), "{text}");
        }
        for text in [
            "http://192.0.2.1",
            "https://192.0.2.1",
            "http://[2001:db8::1]",
            "http://0.0.0.0",
            "http://2130706433.1",
        ] {
            let error = Endpoint::find(text, false).await.unwrap_err();
            assert!(!matches!(error, AskError::Busy { .. }), "{error}");
            if matches!(error, AskError::Refused { .. }) {
                assert!(error.to_string().contains("--allow-remote-llm"), "{error}");
            }
        }
        let error = Endpoint::find("http://192.0.2.1", false).await.unwrap_err();
        assert!(matches!(error, AskError::Refused { .. }), "{error}");
        assert!(Endpoint::find("http://192.0.2.1", true).await.is_ok());
    }
}
