//! The head of a request on its way through: what is read from it, what is left out, what is set.

use crate::cidr::Cidr;
use crate::conn::Conn;
use crate::h1::write_header;
use crate::pages::Page;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Uri, Version};
use std::borrow::Cow;
use std::net::IpAddr;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_PREFIX: &str = "x-forwarded-";
/// Labels are ours to set.
pub(crate) const LABEL_PREFIX: &str = "x-alcedo-";

/// What one pass over a request's headers found.
#[derive(Default)]
pub(crate) struct Seen<'p> {
    /// Lower case, without port.
    pub(crate) host: Cow<'p, str>,
    /// Asks for another protocol, with nothing that makes that doubtful.
    pub(crate) wants_upgrade: bool,
    /// It is `websocket`.
    pub(crate) is_websocket: bool,
    host_header: Option<&'p HeaderValue>,
    upgrade: Option<&'p HeaderValue>,
    has_transfer_encoding: bool,
    has_te_trailers: bool,
    has_forwarded: bool,
    says_upgrade: bool,
    /// Named by `Connection`: only for this hop.
    named: Vec<HeaderName>,
}

/// Makes the target of the request origin-form and its Host agree with it.
pub(crate) fn make_origin_form(parts: &mut Parts) -> Result<(), Page> {
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Page::MethodNotAllowed);
    }
    let Some(authority) = parts.uri.authority() else {
        let is_origin = parts.uri.path().starts_with('/');
        let is_asterisk = parts.uri.path() == "*" && parts.method == Method::OPTIONS;
        return if is_origin || is_asterisk { Ok(()) } else { Err(Page::BadRequest) };
    };
    if authority.as_str().contains('@') {
        return Err(Page::BadRequest);
    }
    let host = HeaderValue::try_from(authority.as_str()).map_err(|_| Page::BadRequest)?;
    let path = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    parts.headers.insert(header::HOST, host);
    Ok(())
}

/// Reads the head of a request. Ambiguous ones are refused.
pub(crate) fn read(parts: &Parts) -> Result<Seen<'_>, Page> {
    let mut seen = Seen::default();
    for (name, value) in &parts.headers {
        seen.note(name, value)?;
    }
    seen.host = match seen.host_header {
        Some(value) => host_name(value)?,
        None if parts.version == Version::HTTP_10 => Cow::Borrowed(""),
        None => return Err(Page::BadRequest),
    };
    if let Some(protocol) = seen.upgrade.map(HeaderValue::as_bytes)
        && seen.says_upgrade
        && parts.version == Version::HTTP_11
    {
        seen.is_websocket = protocol.eq_ignore_ascii_case(b"websocket");
        // HTTP/2 inside a tunnel would pass by everything that is done here; the header may be a list.
        let is_h2c = |offered: &[u8]| {
            offered.trim_ascii().get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"h2c"))
        };
        seen.wants_upgrade = !protocol.split(|byte| *byte == b',').any(is_h2c);
    }
    Ok(seen)
}

/// Writes the head that the upstream gets: nothing that is only for this hop, no labels, and the truth about where the
/// request comes from.
pub(crate) fn write(
    out: &mut Vec<u8>,
    parts: &Parts,
    seen: &Seen<'_>,
    conn: &Conn,
    trusted: &[Cidr],
    is_chunked: bool,
) {
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(parts.uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if seen.host_header.is_none() {
        out.extend_from_slice(b"host: localhost\r\n");
    }
    let is_believed = seen.has_forwarded && is_trusted(conn.peer.ip(), trusted);
    for (name, value) in &parts.headers {
        let passes = match fate(name) {
            Fate::Pass => seen.named.is_empty() || !seen.named.contains(name),
            Fate::Drop => false,
            Fate::Forwarded => is_believed && *name != X_FORWARDED_FOR && *name != X_REAL_IP,
        };
        if passes {
            write_header(out, name, value);
        }
    }
    if is_believed {
        write_forwarded_on(out, &parts.headers, conn, trusted);
    } else {
        write_forwarded(out, seen, conn);
    }
    if seen.has_te_trailers {
        out.extend_from_slice(b"te: trailers\r\n");
    }
    if is_chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if let Some(protocol) = seen.upgrade.filter(|_| seen.wants_upgrade) {
        out.extend_from_slice(b"connection: upgrade\r\n");
        write_header(out, &header::UPGRADE, protocol);
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether a request's trailer is passed on: not what a head would not have passed, and no framing or routing, which
/// come too late there (RFC 9110, section 6.5.1).
pub(crate) fn passes_as_trailer(name: &HeaderName) -> bool {
    matches!(fate(name), Fate::Pass)
        && *name != header::CONTENT_LENGTH
        && *name != header::HOST
        && *name != header::AUTHORIZATION
        && *name != header::COOKIE
}

/// Only for one hop.
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
        || *name == header::PROXY_AUTHORIZATION
        || *name == header::PROXY_AUTHENTICATE
}

/// What becomes of a request's header.
enum Fate {
    Pass,
    Drop,
    /// It says where the request comes from.
    Forwarded,
}

fn fate(name: &HeaderName) -> Fate {
    let text = name.as_str();
    match text.as_bytes()[0] {
        b'c' if *name == header::CONNECTION => Fate::Drop,
        b'e' if *name == header::EXPECT => Fate::Drop,
        b'k' | b'p' if is_hop_by_hop(name) => Fate::Drop,
        b't' if *name == header::TE || *name == header::TRANSFER_ENCODING => Fate::Drop,
        b'u' if *name == header::UPGRADE => Fate::Drop,
        b'f' if *name == header::FORWARDED => Fate::Forwarded,
        b'x' if text.starts_with(LABEL_PREFIX) => Fate::Drop,
        b'x' if text.starts_with(FORWARDED_PREFIX) || *name == X_REAL_IP => Fate::Forwarded,
        _ if text.contains('_') => fate_with_underscore(text),
        _ => Fate::Pass,
    }
}

/// A header with an underscore is the same variable as one with a hyphen to a CGI-like application.
fn fate_with_underscore(text: &str) -> Fate {
    let text = text.replace('_', "-");
    let is_ours = text.starts_with(LABEL_PREFIX)
        || text.starts_with(FORWARDED_PREFIX)
        || matches!(text.as_str(), "x-real-ip" | "content-length" | "transfer-encoding");
    if is_ours { Fate::Drop } else { Fate::Pass }
}

impl<'p> Seen<'p> {
    fn note(&mut self, name: &HeaderName, value: &'p HeaderValue) -> Result<(), Page> {
        match name.as_str().as_bytes()[0] {
            b'h' if *name == header::HOST && self.host_header.replace(value).is_some() => {
                return Err(Page::BadRequest);
            }
            b'c' if *name == header::CONNECTION => self.note_connection(value),
            b't' if *name == header::TRANSFER_ENCODING => {
                if !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    return Err(Page::NotImplemented);
                }
                if std::mem::replace(&mut self.has_transfer_encoding, true) {
                    return Err(Page::BadRequest);
                }
            }
            b't' if *name == header::TE => self.has_te_trailers |= has_token(value, b"trailers"),
            b'u' if *name == header::UPGRADE => self.upgrade = Some(value),
            b'f' if *name == header::FORWARDED => self.has_forwarded = true,
            b'x' => {
                let text = name.as_str();
                self.has_forwarded |= text.starts_with(FORWARDED_PREFIX) || *name == X_REAL_IP;
            }
            _ => {}
        }
        Ok(())
    }

    fn note_connection(&mut self, value: &HeaderValue) {
        for token in tokens(value) {
            if token.eq_ignore_ascii_case(b"upgrade") {
                self.says_upgrade = true;
            } else if !token.eq_ignore_ascii_case(b"keep-alive")
                && !token.eq_ignore_ascii_case(b"close")
                && let Ok(name) = HeaderName::from_bytes(token)
                && !is_end_to_end(&name)
            {
                self.named.push(name);
            }
        }
    }
}

/// Cannot be made to vanish by naming them in `Connection`.
fn is_end_to_end(name: &HeaderName) -> bool {
    [
        header::HOST,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::AUTHORIZATION,
        header::COOKIE,
        header::TRAILER,
    ]
    .contains(name)
}

/// The host in lower case, without port and closing dot.
fn host_name(value: &HeaderValue) -> Result<Cow<'_, str>, Page> {
    let text = value.to_str().map_err(|_| Page::BadRequest)?;
    let is_valid = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if text.len() > 300 || !text.bytes().all(is_valid) {
        return Err(Page::BadRequest);
    }
    let name = match text.rfind(':') {
        Some(colon) if !text[colon..].contains(']') => {
            if !text[colon + 1..].bytes().all(|b| b.is_ascii_digit()) {
                return Err(Page::BadRequest);
            }
            &text[..colon]
        }
        _ => text,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Ok(Cow::Owned(name.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(name))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

fn has_token(value: &HeaderValue, token: &[u8]) -> bool {
    tokens(value).any(|t| t.eq_ignore_ascii_case(token))
}

fn write_forwarded(out: &mut Vec<u8>, seen: &Seen<'_>, conn: &Conn) {
    write_header(out, &X_FORWARDED_FOR, &conn.peer_text);
    write_header(out, &X_REAL_IP, &conn.peer_text);
    out.extend_from_slice(b"x-forwarded-proto: http\r\n");
    if let Some(host) = seen.host_header {
        write_header(out, &X_FORWARDED_HOST, host);
    }
}

/// A trusted proxy's words stay and its own address is added. The client is the last address that nobody trusted has.
fn write_forwarded_on(out: &mut Vec<u8>, headers: &HeaderMap, conn: &Conn, trusted: &[Cidr]) {
    let values = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let hops = values.flat_map(|value| value.split(',')).map(str::trim).filter(|h| !h.is_empty());
    let mut hops: Vec<&str> = hops.collect();
    // A proxy that tells the client's address in this header alone, as many hand-made sites do.
    if hops.is_empty() {
        let real = headers.get(X_REAL_IP).and_then(|value| value.to_str().ok()).map(str::trim);
        hops.extend(real.filter(|ip| ip.parse::<IpAddr>().is_ok()));
    }
    let is_known = |hop: &&str| hop.parse().is_ok_and(|ip| is_trusted(ip, trusted));
    let client = hops.iter().rev().find(|hop| !is_known(hop)).or(hops.first()).copied();
    let peer = conn.peer_text.to_str().unwrap_or_default();
    hops.push(peer);
    let mut write = |name: &HeaderName, value: &str| {
        let line = [name.as_str(), ": ", value, "\r\n"];
        line.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    };
    write(&X_FORWARDED_FOR, &hops.join(", "));
    write(&X_REAL_IP, client.unwrap_or(peer));
    if !headers.contains_key(X_FORWARDED_PROTO) {
        write(&X_FORWARDED_PROTO, "http");
    }
    if let (false, Some(host)) = (headers.contains_key(X_FORWARDED_HOST), headers.get(header::HOST))
    {
        write(&X_FORWARDED_HOST, host.to_str().unwrap_or_default());
    }
}

fn is_trusted(ip: IpAddr, trusted: &[Cidr]) -> bool {
    trusted.iter().any(|range| range.contains(ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn host(text: &str) -> Result<String, Page> {
        host_name(&HeaderValue::from_str(text).unwrap()).map(Cow::into_owned)
    }

    #[test]
    fn host_is_lower_case_without_port_and_dot() {
        assert_eq!(host("Shop.Example.:8080").unwrap(), "shop.example");
        assert_eq!(host("[::1]:8080").unwrap(), "[::1]");
        assert_eq!(host("[::1]").unwrap(), "[::1]");
        for bad in ["a b", "a/b", "a:80x", "user@host", "a,b"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ambiguous_heads_are_refused() {
        let read_one = |request: hyper::http::request::Builder| {
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            make_origin_form(&mut parts)?;
            read(&parts).map(|seen| seen.host.into_owned())
        };
        let get = || Request::builder().uri("/");
        assert_eq!(read_one(get().header("host", "a")), Ok("a".to_owned()));
        assert_eq!(read_one(get()), Err(Page::BadRequest));
        assert_eq!(read_one(get().header("host", "a").header("host", "b")), Err(Page::BadRequest));
        let gzip = get().header("host", "a").header("transfer-encoding", "gzip, chunked");
        assert_eq!(read_one(gzip), Err(Page::NotImplemented));
        let absolute = Request::builder().uri("http://b.example/x").header("host", "a");
        assert_eq!(read_one(absolute), Ok("b.example".to_owned()));
        let trace = get().method("TRACE").header("host", "a");
        assert_eq!(read_one(trace), Err(Page::MethodNotAllowed));
    }
}
