//! One client connection: writes a request, reads an answer. Knows HTTP/1.1 as far as servers answer it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A keep-alive connection.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) release: Option<String>,
    pub(super) body: Vec<u8>,
    /// Whether the connection can carry another request.
    pub(super) keeps: bool,
}

struct Head {
    length: usize,
    status: u16,
    release: Option<String>,
    body_bytes: Option<usize>,
    is_chunked: bool,
    keeps: bool,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> Result<Self, String> {
        let stream =
            TcpStream::connect(address).await.map_err(|e| format!("connect: {}", e.kind()))?;
        stream.set_nodelay(true).ok();
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Whether nothing was closed or sent while nobody asked.
    pub(super) fn is_usable(&self) -> bool {
        let mut byte = [0];
        matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// One attempt. An error is a loss, in words.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> Result<Answer, String> {
        self.stream.write_all(request).await.map_err(|e| format!("write: {}", e.kind()))?;
        self.buffer.clear();
        let head = self.head().await?;
        let body = if head.is_chunked {
            self.chunked(head.length).await?
        } else if let Some(bytes) = head.body_bytes {
            self.fill(head.length + bytes).await?;
            self.buffer[head.length..head.length + bytes].to_vec()
        } else {
            while self.more().await? {}
            self.buffer[head.length..].to_vec()
        };
        let keeps = head.keeps && (head.is_chunked || head.body_bytes.is_some());
        Ok(Answer { status: head.status, release: head.release, body, keeps })
    }

    async fn head(&mut self) -> Result<Head, String> {
        loop {
            if let Some(head) = parse(&self.buffer)? {
                return Ok(head);
            }
            if !self.more().await? {
                let kind = if self.buffer.is_empty() {
                    "closed before the answer"
                } else {
                    "closed in the head"
                };
                return Err(kind.to_owned());
            }
        }
    }

    async fn chunked(&mut self, mut at: usize) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let (line, size) = match httparse::parse_chunk_size(&self.buffer[at..]) {
                Ok(httparse::Status::Complete((line, size))) => (line, size),
                Ok(httparse::Status::Partial) => {
                    let length = self.buffer.len() + 1;
                    self.fill(length).await?;
                    continue;
                }
                Err(_) => return Err("chunk size is not one".to_owned()),
            };
            let size = usize::try_from(size).map_err(|_| "chunk too large".to_owned())?;
            at += line;
            // The last chunk is followed by an empty line: no server here sends trailers.
            self.fill(at + size + 2).await?;
            body.extend_from_slice(&self.buffer[at..at + size]);
            at += size + 2;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn fill(&mut self, length: usize) -> Result<(), String> {
        while self.buffer.len() < length {
            if !self.more().await? {
                return Err("closed in the body".to_owned());
            }
        }
        Ok(())
    }

    async fn more(&mut self) -> Result<bool, String> {
        if self.buffer.len() > ANSWER_BYTES_MAX {
            return Err("answer too large".to_owned());
        }
        let read = self.stream.read_buf(&mut self.buffer).await;
        Ok(read.map_err(|e| format!("read: {}", e.kind()))? > 0)
    }
}

fn parse(bytes: &[u8]) -> Result<Option<Head>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("not HTTP: {error}")),
    };
    let value = |name: &str| {
        let header = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
        header.map(|h| String::from_utf8_lossy(h.value).into_owned())
    };
    let body_bytes = value("content-length").map(|text| text.trim().parse());
    Ok(Some(Head {
        length,
        status: response.code.unwrap_or(0),
        release: value("x-alcedo-release"),
        body_bytes: body_bytes
            .transpose()
            .map_err(|_| "content-length is not a number".to_owned())?,
        is_chunked: value("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")),
        keeps: !value("connection").is_some_and(|v| v.eq_ignore_ascii_case("close")),
    }))
}
