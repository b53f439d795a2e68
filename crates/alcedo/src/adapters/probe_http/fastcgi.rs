//! One GET to a pool of php-fpm, as nginx would send it: FastCGI 1.0 (the specification of 1996, which is all there is), one
//! request on a connection of its own.

use super::Stream;
use crate::engine::ports::{Answer, Get};
use std::collections::BTreeMap;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const VERSION: u8 = 1;
const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;
/// The only request on its connection.
const REQUEST: u16 = 1;
const RESPONDER: u8 = 1;
/// The rest of an answer that is longer is not waited for.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Asks over an open connection. Everything but a script of its own is `index.php`'s, as in the site.
pub(super) async fn get(
    mut stream: Box<dyn Stream>,
    request: &Get,
    root: &Path,
) -> Result<Answer, String> {
    let gone = |error: std::io::Error| {
        super::reason(&error).unwrap_or_else(|| format!("closed the connection: {error}"))
    };
    stream.write_all(&message(request, root)).await.map_err(gone)?;
    let mut answer = Vec::new();
    let mut errors = Vec::new();
    while answer.len() < ANSWER_BYTES_MAX {
        let mut head = [0; 8];
        if stream.read_exact(&mut head).await.is_err() {
            break;
        }
        if head[0] != VERSION {
            return Err("does not speak FastCGI".to_owned());
        }
        let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
        let mut content = vec![0; length + usize::from(head[6])];
        stream.read_exact(&mut content).await.map_err(gone)?;
        content.truncate(length);
        match head[1] {
            STDOUT => answer.extend(content),
            STDERR => errors.extend(content),
            END_REQUEST => break,
            // Answers to questions that were not asked.
            _ => {}
        }
    }
    parse(&answer).ok_or_else(|| match String::from_utf8_lossy(&errors).trim() {
        "" => "closed the connection without a whole answer".to_owned(),
        said => format!("answered nothing and said: {said}"),
    })
}

fn message(request: &Get, root: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    record(&mut bytes, BEGIN_REQUEST, &[0, RESPONDER, 0, 0, 0, 0, 0, 0]);
    let mut params = Vec::new();
    for (name, value) in params_of(request, root) {
        length(&mut params, name.len());
        length(&mut params, value.len());
        params.extend(name.bytes());
        params.extend(value.bytes());
    }
    for part in params.chunks(usize::from(u16::MAX)) {
        record(&mut bytes, PARAMS, part);
    }
    record(&mut bytes, PARAMS, &[]);
    record(&mut bytes, STDIN, &[]);
    bytes
}

fn params_of(request: &Get, root: &Path) -> BTreeMap<String, String> {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let script = if path.ends_with(".php") { path } else { "/index.php" };
    let root = root.display();
    let fixed = [
        ("GATEWAY_INTERFACE", "CGI/1.1".to_owned()),
        ("REQUEST_METHOD", "GET".to_owned()),
        ("REQUEST_URI", request.path.clone()),
        ("DOCUMENT_URI", script.to_owned()),
        ("DOCUMENT_ROOT", root.to_string()),
        ("SCRIPT_NAME", script.to_owned()),
        ("SCRIPT_FILENAME", format!("{root}{script}")),
        ("QUERY_STRING", query.to_owned()),
        ("CONTENT_LENGTH", String::new()),
        ("SERVER_PROTOCOL", "HTTP/1.1".to_owned()),
        ("SERVER_SOFTWARE", concat!("alcedo/", env!("CARGO_PKG_VERSION")).to_owned()),
        ("SERVER_NAME", request.host.clone()),
        ("SERVER_PORT", "80".to_owned()),
        ("REMOTE_ADDR", "127.0.0.1".to_owned()),
        ("REDIRECT_STATUS", "200".to_owned()),
        ("HTTP_HOST", request.host.clone()),
        ("HTTP_USER_AGENT", concat!("alcedo/", env!("CARGO_PKG_VERSION")).to_owned()),
    ];
    let mut params: BTreeMap<String, String> =
        fixed.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    params.extend(request.headers.iter().map(|(name, value)| {
        (format!("HTTP_{}", name.to_ascii_uppercase().replace('-', "_")), value.clone())
    }));
    params
}

/// Content of at most 65,535 bytes.
fn record(bytes: &mut Vec<u8>, kind: u8, content: &[u8]) {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let id = REQUEST.to_be_bytes();
    bytes.extend([VERSION, kind, id[0], id[1], length[0], length[1], 0, 0]);
    bytes.extend(content);
}

/// One byte up to 127, else four with the highest bit set.
fn length(bytes: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => bytes.push(short),
        Ok(_) | Err(_) => {
            let long = u32::try_from(length).unwrap_or(0x7fff_ffff) | 0x8000_0000;
            bytes.extend(long.to_be_bytes());
        }
    }
}

/// Headers, an empty line, a body; the status is a header.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let (at, skip) = [&b"\r\n\r\n"[..], b"\n\n"]
        .iter()
        .filter_map(|end| Some((bytes.windows(end.len()).position(|w| w == *end)?, end.len())))
        .min()?;
    let head = String::from_utf8_lossy(&bytes[..at]);
    let headers: BTreeMap<String, String> = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let status = match headers.get("status") {
        Some(status) => status.split_whitespace().next()?.parse().ok()?,
        None if headers.contains_key("location") => 302,
        None => 200,
    };
    Some(Answer { status, headers, body: bytes[at + skip..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_header_and_its_absence_is_200() {
        let answer = parse(b"Status: 503 Down\r\nX-Release: r1\r\n\r\nlater\n\nmore").unwrap();
        assert_eq!((answer.status, answer.headers["x-release"].as_str()), (503, "r1"));
        assert_eq!(answer.body, b"later\n\nmore");
        assert_eq!(parse(b"Content-type: text/html\n\nok").unwrap().status, 200);
        assert_eq!(parse(b"Location: /login\r\n\r\n").unwrap().status, 302);
        assert!(parse(b"nothing").is_none());
    }

    #[test]
    fn lengths_above_127_have_four_bytes() {
        let of = |n: usize| {
            let mut bytes = Vec::new();
            length(&mut bytes, n);
            bytes
        };
        assert_eq!(of(127), [127]);
        assert_eq!(of(128), [0x80, 0, 0, 128]);
        assert_eq!(of(70_000), [0x80, 1, 0x11, 0x70]);
    }

    #[test]
    fn paths_without_a_script_are_index_php_s() {
        let request = Get {
            address: alcedo_core::binding::Address::Unix("/s".into()),
            path: "/up?full=1".into(),
            host: "shop".into(),
            headers: [("x-forwarded-proto".to_owned(), "http".to_owned())].into(),
            timeout: std::time::Duration::from_secs(1),
            root: None,
        };
        let params = params_of(&request, Path::new("/srv/shop/releases/r1/public"));
        assert_eq!(params["SCRIPT_FILENAME"], "/srv/shop/releases/r1/public/index.php");
        assert_eq!(params["REQUEST_URI"], "/up?full=1");
        assert_eq!(params["QUERY_STRING"], "full=1");
        assert_eq!(params["HTTP_X_FORWARDED_PROTO"], "http");
    }
}
