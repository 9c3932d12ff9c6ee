//! Who may come in: by where a request comes from, by the page that sends it, and by who it says
//! it is for.
//!
//! There are three questions, and they are separate. *Access* asks whether this deployment is open
//! at all. *Origin* asks which page's script is calling, because a browser lets any page open a
//! WebSocket anywhere. *Client address* asks who is counted, which behind a proxy is not the TCP
//! peer. None of them is authentication: what they protect is given to anybody they let through.

use std::net::IpAddr;

use axum::http::header::{FORWARDED, HOST, ORIGIN};
use axum::http::{HeaderMap, Version};
use ipnet::IpNet;

/// Whether the page, the relay and the credentials endpoint are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `demo = true`: to all. Pages of other origins still need to be listed.
    Everybody,
    /// `demo` not set: to this very machine, which is how one tries it out.
    Local,
    /// `demo = false`: to nobody.
    Nobody,
}

impl Access {
    /// The rule that the key `demo` asks for.
    #[must_use]
    pub fn from_demo(demo: Option<bool>) -> Self {
        match demo {
            Some(true) => Self::Everybody,
            Some(false) => Self::Nobody,
            None => Self::Local,
        }
    }

    /// Whether a request from `tcp_peer` may pass.
    ///
    /// # Errors
    ///
    /// A sentence that says how the operator can open what is closed.
    pub fn check(
        self,
        tcp_peer: IpAddr,
        version: Version,
        headers: &HeaderMap,
    ) -> Result<(), &'static str> {
        match self {
            Self::Everybody => Ok(()),
            Self::Nobody => Err(
                "closed by demo = false under [signalling]; set demo = true to open this to all",
            ),
            Self::Local if is_local(tcp_peer, version, headers) => Ok(()),
            Self::Local => Err("open to this machine only, as http://localhost; \
                set demo = true under [signalling] to open this to all"),
        }
    }
}

/// A loopback connection is not enough. A proxy on this machine also comes from loopback, so
/// nothing may say that the request was passed on; and a page whose name was re-bound to 127.0.0.1
/// does, so the name asked for must be local too. A proxy that is told nothing else says nothing of
/// itself and asks for the name by which it knows us, `localhost`; but it does so in HTTP/1.0,
/// which no browser speaks.
fn is_local(tcp_peer: IpAddr, version: Version, headers: &HeaderMap) -> bool {
    let passed_on = headers.contains_key(FORWARDED)
        || ["x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"]
            .iter()
            .any(|name| headers.contains_key(*name));
    let host = header_text(headers, HOST.as_str()).and_then(host_part);
    let local_host = host.is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    });
    let by_browser = version == Version::HTTP_11;
    tcp_peer.to_canonical().is_loopback() && by_browser && !passed_on && local_host
}

/// Which pages a request may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// No browser page: nothing said `Origin`.
    Native,
    /// The page that this server serves.
    SameOrigin,
    /// A page of an origin on the list.
    Listed,
}

/// Says which kind of page sends a request.
///
/// # Errors
///
/// When it comes from a page of another origin that is not in `listed`.
pub fn caller(headers: &HeaderMap, listed: &[String]) -> Result<Caller, &'static str> {
    let refusal = "this origin is not listed in origins under [signalling]";
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else { return Ok(Caller::Native) };
    let origin = origin.to_str().map_err(|_| refusal)?;
    if origins.next().is_some() {
        return Err(refusal);
    }
    if listed.iter().any(|one| one.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
        return Ok(Caller::Listed);
    }
    let host = header_text(headers, HOST.as_str()).unwrap_or_default();
    let same = match origin.split_once("://") {
        Some((scheme @ ("http" | "https"), authority)) => without_default_port(scheme, authority)
            .eq_ignore_ascii_case(without_default_port(scheme, host)),
        // "null", of sandboxed pages and files, is nobody's origin.
        _ => false,
    };
    if same && !host.is_empty() { Ok(Caller::SameOrigin) } else { Err(refusal) }
}

fn without_default_port<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let port = if scheme == "https" { ":443" } else { ":80" };
    authority.strip_suffix(port).unwrap_or(authority)
}

/// Who a request is counted for: the TCP peer, or, if that is one of our own proxies, the last
/// address in `X-Forwarded-For` that is none. What stands before that one a stranger wrote.
#[must_use]
pub fn client_address(tcp_peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let trusted = |ip: IpAddr| proxies.iter().any(|net| net.contains(&ip));
    let mut client = tcp_peer.to_canonical();
    if !trusted(client) {
        return client;
    }
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let hops = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.rsplit(','));
    for hop in hops {
        let Ok(ip) = hop.trim().parse::<IpAddr>() else { break };
        client = ip.to_canonical();
        if !trusted(client) {
            break;
        }
    }
    client
}

/// The host in a `Host` header, without its port; an IPv6 address keeps its brackets. `None` if it
/// has characters that no host has: the answer is written into URLs.
#[must_use]
pub fn host_part(host: &str) -> Option<&str> {
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return port_is_fine.then(|| &host[..address.len() + 2]);
    }
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let name_is_fine = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    (name_is_fine && is_port(port)).then_some(name)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

/// A header that is there once and is text.
pub(super) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: &str = "127.0.0.1";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn local(peer: &str, lines: &[(&'static str, &str)]) -> bool {
        let version = Version::HTTP_11;
        Access::Local.check(peer.parse().unwrap(), version, &headers(lines)).is_ok()
    }

    #[test]
    fn local_means_the_connection_the_name_and_no_proxy_between() {
        assert!(local(LOOPBACK, &[("host", "localhost:8080")]));
        assert!(local(LOOPBACK, &[("host", "127.0.0.1:8080")]));
        assert!(local("::1", &[("host", "[::1]:8080")]));
        assert!(local("::ffff:127.0.0.1", &[("host", "LOCALHOST")]));
        assert!(!local("192.0.2.1", &[("host", "localhost")]), "not from here");
        assert!(!local(LOOPBACK, &[("host", "evil.example")]), "a name re-bound to here");
        assert!(!local(LOOPBACK, &[]), "no name at all");
        assert!(!local(LOOPBACK, &[("host", "localhost"), ("host", "evil.example")]));
        for header in ["x-forwarded-for", "forwarded", "x-real-ip", "via", "x-forwarded-host"] {
            assert!(!local(LOOPBACK, &[("host", "localhost"), (header, "127.0.0.1")]), "{header}");
        }
    }

    #[test]
    fn a_proxy_that_says_nothing_of_itself_is_not_local() {
        // What `proxy_pass http://localhost:8080;` and nothing else makes of any request.
        let bare = headers(&[("host", "localhost:8080"), ("connection", "close")]);
        let ask = |access: Access, version| access.check(LOOPBACK.parse().unwrap(), version, &bare);
        assert!(ask(Access::Local, Version::HTTP_10).is_err());
        assert!(ask(Access::Local, Version::HTTP_09).is_err());
        assert!(ask(Access::Local, Version::HTTP_11).is_ok());
        assert!(ask(Access::Everybody, Version::HTTP_10).is_ok());
    }

    #[test]
    fn demo_opens_to_all_or_closes_to_all() {
        let (here, there) = (headers(&[("host", "localhost")]), headers(&[("host", "h.example")]));
        let v = Version::HTTP_11;
        let (loopback, far) = (LOOPBACK.parse().unwrap(), "192.0.2.1".parse().unwrap());
        assert!(Access::from_demo(Some(true)).check(far, v, &there).is_ok());
        assert!(Access::from_demo(Some(false)).check(loopback, v, &here).is_err());
        assert!(Access::from_demo(None).check(loopback, v, &here).is_ok());
        assert!(Access::from_demo(None).check(far, v, &there).unwrap_err().contains("demo = true"));
    }

    #[test]
    fn a_page_is_ours_or_listed_or_refused() {
        let listed = ["https://app.example".to_owned()];
        let ask = |origin: &str, host: &str| {
            caller(&headers(&[("host", host), ("origin", origin)]), &listed).ok()
        };
        assert_eq!(ask("https://app.example", "turn.example"), Some(Caller::Listed));
        assert_eq!(ask("http://turn.example:8080", "turn.example:8080"), Some(Caller::SameOrigin));
        assert_eq!(ask("https://turn.example", "turn.example:443"), Some(Caller::SameOrigin));
        assert_eq!(ask("http://turn.example:8080", "turn.example:8081"), None);
        assert_eq!(ask("https://app.example.evil.example", "turn.example"), None);
        assert_eq!(ask("null", "null"), None);
        assert_eq!(ask("http://", ""), None);
        assert_eq!(caller(&headers(&[("host", "h")]), &listed), Ok(Caller::Native));
        let two = headers(&[("host", "h"), ("origin", "http://h"), ("origin", "http://evil")]);
        assert!(caller(&two, &[]).is_err());
    }

    #[test]
    fn only_our_own_proxies_say_who_the_client_is() {
        let proxies = ["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        let ask = |peer: &str, forwarded: &str| {
            let headers = headers(&[("x-forwarded-for", forwarded)]);
            client_address(peer.parse().unwrap(), &headers, &proxies).to_string()
        };
        assert_eq!(ask("192.0.2.9", "198.51.100.1"), "192.0.2.9", "a stranger's header");
        assert_eq!(ask("127.0.0.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(ask("127.0.0.1", "6.6.6.6, 198.51.100.1, 10.1.1.1"), "198.51.100.1");
        assert_eq!(ask("127.0.0.1", "nonsense"), "127.0.0.1");
        assert_eq!(ask("::ffff:127.0.0.1", "2001:db8::1"), "2001:db8::1");
    }

    #[test]
    fn the_host_is_taken_out_of_the_header_or_refused() {
        for (header, host) in [
            ("turn.example", Some("turn.example")),
            ("turn.example:8080", Some("turn.example")),
            ("192.0.2.1:80", Some("192.0.2.1")),
            ("[2001:db8::1]:80", Some("[2001:db8::1]")),
            ("[::1]", Some("[::1]")),
            ("", None),
            (":80", None),
            ("2001:db8::1", None),
            ("[::1]x", None),
            ("[h]:80", None),
            ("h:99999", None),
            ("h?transport=udp", None),
            ("h,turn:evil.example", None),
        ] {
            assert_eq!(host_part(header), host, "{header}");
        }
    }
}
