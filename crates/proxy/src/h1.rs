//! HTTP/1.1 towards upstreams: the head of a request as bytes, the head of an answer, chunked framing.
//!
//! Clients are spoken to by hyper's server, which is strict about what it reads. Towards the upstream the request goes
//! out in exactly one framing, written here; an answer whose framing is doubtful is an error and its connection is not
//! used again. Parsing is httparse's, as in hyper.

use bytes::{Buf, Bytes, BytesMut};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

/// Largest head of an answer, and largest trailers, in bytes.
pub(crate) const HEAD_BYTES: usize = 60 << 10;
/// Most headers of an answer.
const HEADERS_MAX: usize = 100;
/// Longest line with the size of a chunk, in bytes.
const SIZE_LINE_BYTES: usize = 4 << 10;

/// Why an answer cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("read the head of the answer")]
    Head(#[from] httparse::Error),
    #[error("read the head of the answer: it is too large")]
    TooLarge,
    #[error("read the answer: its length is ambiguous")]
    Framing,
    #[error("read the answer: a chunk is malformed")]
    Chunk,
    #[error("read the answer: the connection ended within it")]
    Truncated,
    #[error("read the answer")]
    Io(#[from] std::io::Error),
}

/// How the end of a body is known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none (left).
    Empty,
    /// Bytes left, more than none.
    Length(u64),
    /// See [`Chunked`].
    Chunked(Chunked),
    /// It ends with the connection.
    Close,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct AnswerHead {
    pub(crate) status: StatusCode,
    /// Without those that are only for this hop, and without labels.
    pub(crate) headers: HeaderMap,
    pub(crate) framing: Framing,
    /// The connection may be used again after the body.
    pub(crate) keeps_alive: bool,
}

/// Takes a head from the front of `buffer`; `None`: it is not all there. Interim answers (1xx) are taken and thrown
/// away, 101 is not interim. `headers` gives its memory.
pub(crate) fn take_head(
    buffer: &mut BytesMut,
    method: &Method,
    headers: &mut HeaderMap,
) -> Result<Option<AnswerHead>, AnswerError> {
    loop {
        let Some((head, length)) = parse_head(buffer, method, headers)? else {
            return if buffer.len() > HEAD_BYTES { Err(AnswerError::TooLarge) } else { Ok(None) };
        };
        if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some(head));
        }
        debug_assert!(length > 0);
        *headers = head.headers;
        headers.clear();
    }
}

fn parse_head(
    buffer: &mut BytesMut,
    method: &Method,
    memory: &mut HeaderMap,
) -> Result<Option<(AnswerHead, usize)>, AnswerError> {
    let mut raw = [const { std::mem::MaybeUninit::uninit() }; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut answer,
        buffer,
        &mut raw,
    )?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let status =
        StatusCode::from_u16(answer.code.unwrap_or(0)).map_err(|_| AnswerError::Framing)?;
    let is_http_11 = answer.version == Some(1);
    // Where each header lies, so that the buffer can be taken while it is not borrowed any more.
    let base = buffer.as_ptr().addr();
    let mut spans = [Span::default(); HEADERS_MAX];
    let count = answer.headers.len();
    for (span, header) in spans.iter_mut().zip(answer.headers.iter()) {
        *span = Span::of(base, header)?;
    }
    let bytes = buffer.split_to(length).freeze();
    let mut reading = Reading { headers: std::mem::take(memory), ..Reading::default() };
    reading.headers.reserve(count);
    for span in &spans[..count] {
        let name = HeaderName::from_bytes(&bytes[span.name.0.into()..span.name.1.into()]);
        let value = bytes.slice(usize::from(span.value.0)..span.value.1.into());
        let value = HeaderValue::from_maybe_shared(value);
        reading.take(
            name.map_err(|_| httparse::Error::HeaderName)?,
            value.map_err(|_| httparse::Error::HeaderValue)?,
        )?;
    }
    Ok(Some((reading.finish(status, method, is_http_11)?, length)))
}

/// Starts and ends of a header within its head.
#[derive(Clone, Copy, Default)]
struct Span {
    name: (u16, u16),
    value: (u16, u16),
}

impl Span {
    fn of(base: usize, header: &httparse::Header<'_>) -> Result<Self, AnswerError> {
        let at = |part: &[u8]| match part.is_empty() {
            // It may point anywhere.
            true => Some((0, 0)),
            false => {
                let start = part.as_ptr().addr().wrapping_sub(base);
                Some((u16::try_from(start).ok()?, u16::try_from(start + part.len()).ok()?))
            }
        };
        let (name, value) = (at(header.name.as_bytes()), at(header.value));
        name.zip(value).map(|(name, value)| Self { name, value }).ok_or(AnswerError::TooLarge)
    }
}

/// Appends `name: value` and a line end.
pub(crate) fn write_header(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Headers of an answer, one after the other.
#[derive(Default)]
struct Reading {
    headers: HeaderMap,
    length: Option<u64>,
    is_chunked: bool,
    says_close: bool,
    says_keep_alive: bool,
    /// Named by `Connection`.
    named: Vec<HeaderName>,
}

impl Reading {
    fn take(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), AnswerError> {
        match name.as_str().as_bytes()[0] {
            b'c' if name == header::CONTENT_LENGTH => {
                let length = parse_length(value.as_bytes()).ok_or(AnswerError::Framing)?;
                if self.length.replace(length).is_some_and(|earlier| earlier != length) {
                    return Err(AnswerError::Framing);
                }
                self.headers.insert(name, value);
            }
            b'c' if name == header::CONNECTION => self.note_connection(&value),
            b't' if name == header::TRANSFER_ENCODING => {
                if self.is_chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    return Err(AnswerError::Framing);
                }
                self.is_chunked = true;
            }
            b'k' | b'p' if crate::head::is_hop_by_hop(&name) => {}
            b'x' if name.as_str().starts_with(crate::head::LABEL_PREFIX) => {}
            _ => drop(self.headers.append(name, value)),
        }
        Ok(())
    }

    fn note_connection(&mut self, value: &HeaderValue) {
        for token in value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"close") {
                self.says_close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.says_keep_alive = true;
            } else if !token.eq_ignore_ascii_case(b"upgrade") {
                self.named.extend(HeaderName::from_bytes(token));
            }
        }
    }

    /// RFC 9112, section 6.3.
    fn finish(
        mut self,
        status: StatusCode,
        method: &Method,
        is_http_11: bool,
    ) -> Result<AnswerHead, AnswerError> {
        if self.is_chunked && (self.length.is_some() || !is_http_11) {
            return Err(AnswerError::Framing);
        }
        for name in &self.named {
            if *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE {
                self.headers.remove(name);
            }
        }
        if status != StatusCode::SWITCHING_PROTOCOLS {
            self.headers.remove(header::UPGRADE);
        }
        let has_no_body = *method == Method::HEAD
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        let framing = match self.length {
            _ if has_no_body => Framing::Empty,
            _ if self.is_chunked => Framing::Chunked(Chunked::default()),
            Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length),
            None => Framing::Close,
        };
        let keeps_alive = !self.says_close
            && (is_http_11 || self.says_keep_alive)
            && framing != Framing::Close
            && status != StatusCode::SWITCHING_PROTOCOLS;
        Ok(AnswerHead { status, headers: self.headers, framing, keeps_alive })
    }
}

/// Digits only: no sign, no list, no space.
fn parse_length(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.len() < 20 && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

/// A part of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
    /// The body is whole.
    End,
    /// More bytes are needed.
    More,
}

impl Framing {
    /// Takes what is there of the body from the front of `buffer`.
    pub(crate) fn take(&mut self, buffer: &mut BytesMut) -> Result<Part, AnswerError> {
        match self {
            Self::Empty => Ok(Part::End),
            Self::Length(_) | Self::Close if buffer.is_empty() => Ok(Part::More),
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                *left -= count as u64;
                if *left == 0 {
                    *self = Self::Empty;
                }
                Ok(Part::Data(buffer.split_to(count).freeze()))
            }
            Self::Close => Ok(Part::Data(buffer.split().freeze())),
            Self::Chunked(chunked) => {
                let part = chunked.take(buffer)?;
                if matches!(part, Part::End | Part::Trailers(_)) {
                    *self = Self::Empty;
                }
                Ok(part)
            }
        }
    }
}

/// Where in a chunked body we are (RFC 9112, section 7.1).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Chunked {
    /// Before a line with a size.
    #[default]
    Size,
    /// Within the data of a chunk, with this many bytes left.
    Data(u64),
    /// Before the line end after the data.
    DataEnd,
    /// After the last chunk.
    Trailers,
}

impl Chunked {
    fn take(&mut self, buffer: &mut BytesMut) -> Result<Part, AnswerError> {
        loop {
            match self {
                Self::Size => match take_size(buffer)? {
                    None => return Ok(Part::More),
                    Some(0) => *self = Self::Trailers,
                    Some(size) => *self = Self::Data(size),
                },
                Self::Data(_) if buffer.is_empty() => return Ok(Part::More),
                Self::Data(left) => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                    *left -= count as u64;
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(Part::Data(buffer.split_to(count).freeze()));
                }
                Self::DataEnd if buffer.len() < 2 => return Ok(Part::More),
                Self::DataEnd => {
                    if !buffer.starts_with(b"\r\n") {
                        return Err(AnswerError::Chunk);
                    }
                    buffer.advance(2);
                    *self = Self::Size;
                }
                Self::Trailers => return take_trailers(buffer),
            }
        }
    }
}

fn take_size(buffer: &mut BytesMut) -> Result<Option<u64>, AnswerError> {
    let Some(end) = buffer.iter().take(SIZE_LINE_BYTES).position(|b| *b == b'\n') else {
        return if buffer.len() < SIZE_LINE_BYTES { Ok(None) } else { Err(AnswerError::Chunk) };
    };
    let line = buffer.split_to(end + 1);
    let line = line.strip_suffix(b"\r\n").ok_or(AnswerError::Chunk)?;
    let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii_end();
    let is_hex = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_hex).ok_or(AnswerError::Chunk)?;
    u64::from_str_radix(text, 16).map(Some).map_err(|_| AnswerError::Chunk)
}

fn take_trailers(buffer: &mut BytesMut) -> Result<Part, AnswerError> {
    if buffer.starts_with(b"\r\n") {
        buffer.advance(2);
        return Ok(Part::End);
    }
    let mut raw = [httparse::EMPTY_HEADER; 32];
    match httparse::parse_headers(buffer, &mut raw)? {
        httparse::Status::Partial if buffer.len() > HEAD_BYTES => Err(AnswerError::TooLarge),
        httparse::Status::Partial => Ok(Part::More),
        httparse::Status::Complete((length, headers)) => {
            let mut trailers = HeaderMap::with_capacity(headers.len());
            for trailer in headers {
                let name = HeaderName::from_bytes(trailer.name.as_bytes());
                let value = HeaderValue::from_bytes(trailer.value);
                if let (Ok(name), Ok(value)) = (name, value) {
                    trailers.append(name, value);
                }
            }
            buffer.advance(length);
            Ok(Part::Trailers(trailers))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<AnswerHead>, AnswerError> {
        head_for(text, &Method::GET)
    }

    fn head_for(text: &str, method: &Method) -> Result<Option<AnswerHead>, AnswerError> {
        take_head(&mut BytesMut::from(text), method, &mut HeaderMap::new())
    }

    #[test]
    fn length_of_an_answer_follows_the_rules() {
        let framing = |text: &str| head(text).unwrap().unwrap().framing;
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"), Framing::Length(3));
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Framing::Empty);
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n"), Framing::Close);
        assert_eq!(framing("HTTP/1.1 304 X\r\nContent-Length: 3\r\n\r\n"), Framing::Empty);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";
        assert_eq!(framing(chunked), Framing::Chunked(Chunked::Size));
        assert_eq!(head_for(chunked, &Method::HEAD).unwrap().unwrap().framing, Framing::Empty);
    }

    #[test]
    fn doubtful_answers_are_errors() {
        for headers in [
            "Content-Length: 3\r\nContent-Length: 4",
            "Content-Length: +3",
            "Content-Length: 3, 3",
            "Content-Length: 99999999999999999999999",
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        ] {
            let answer = head(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n"));
            assert!(answer.is_err(), "{headers}: {answer:?}");
        }
        assert!(head("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(head("SSH-2.0-OpenSSH\r\n\r\n").is_err());
    }

    #[test]
    fn interim_answers_are_passed_over() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n";
        let head = head(text).unwrap().unwrap();
        assert_eq!((head.status.as_u16(), head.headers.len()), (200, 1));
    }

    #[test]
    fn chunked_body_is_the_same_however_it_is_cut() {
        let whole = b"3\r\nabc\r\nA;name=value\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nrest";
        for step in 1..=whole.len() {
            let (mut buffer, mut body, mut trailers) = (BytesMut::new(), Vec::new(), None);
            let mut framing = Framing::Chunked(Chunked::default());
            for piece in whole.chunks(step) {
                buffer.extend_from_slice(piece);
                loop {
                    match framing.take(&mut buffer).unwrap() {
                        Part::Data(data) => body.extend(data),
                        Part::Trailers(map) => trailers = Some(map),
                        Part::End | Part::More => break,
                    }
                }
            }
            assert_eq!(body, b"abc0123456789");
            assert_eq!(trailers.unwrap()["x-sum"], "1");
            assert_eq!(&buffer[..], b"rest");
        }
    }

    #[test]
    fn malformed_chunks_are_errors() {
        for text in
            ["x\r\n", "\r\n", "1\nab", "1\r\nabc", "-1\r\n", "1 1\r\n", "ffffffffffffffff\r\n"]
        {
            let mut buffer = BytesMut::from(text);
            let mut framing = Framing::Chunked(Chunked::default());
            let mut take = || loop {
                match framing.take(&mut buffer) {
                    Ok(Part::Data(_)) => {}
                    other => return other,
                }
            };
            assert!(take().is_err(), "{text:?}");
        }
    }
}
