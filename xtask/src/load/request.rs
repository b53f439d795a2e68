//! What is asked, and whether the answer is the one to this very request.

use super::Target;
use super::connection::Answer;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whose words are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `xtask app`: every answer repeats the request's number.
    Kit,
    /// The apps of `examples/`: `GET /` says hello, `POST /orders` says how many bytes it took.
    Example,
    /// Any server: `GET /` with 200.
    Any,
}

/// One request, ready to be written.
pub(super) struct Request {
    pub(super) bytes: Vec<u8>,
    id: u64,
    body_bytes: Option<usize>,
    body_sum: u64,
}

/// What a correct answer tells.
pub(super) struct Told {
    pub(super) release: String,
    pub(super) at_ns: u64,
}

impl Request {
    /// A GET or, two times in five, a POST with a body.
    pub(super) fn mixed(target: &Target) -> Self {
        if target.dialect != Dialect::Any && fastrand::u8(0..5) < 2 {
            Self::post(target)
        } else {
            Self::get(target)
        }
    }

    /// A GET whose answer takes 10 to 40 ms where the app offers that.
    pub(super) fn slow(target: &Target) -> Self {
        match target.dialect {
            Dialect::Kit => Self::get_path(target, &format!("/slow?ms={}", fastrand::u8(10..40))),
            Dialect::Example | Dialect::Any => Self::get(target),
        }
    }

    /// Its number when it is a POST.
    pub(super) fn post_id(&self) -> Option<u64> {
        self.body_bytes.map(|_| self.id)
    }

    /// What the answer tells, or why it is not the right one.
    pub(super) fn check(&self, dialect: Dialect, answer: &Answer) -> Result<Told, String> {
        if answer.status != 200 {
            return Err(format!("status {}", answer.status));
        }
        let body = String::from_utf8_lossy(&answer.body);
        let words: Vec<&str> = body.split_whitespace().collect();
        let number = |n: usize| words.get(n).and_then(|word| word.parse::<u64>().ok());
        let (is_right, said, at_ns) = match dialect {
            Dialect::Kit => {
                let took = self.body_bytes.map(|bytes| (Some(bytes as u64), Some(self.body_sum)));
                let echo = took.is_none_or(|took| took == (number(3), number(4)));
                (number(1) == Some(self.id) && echo, words.first().copied(), number(2).unwrap_or(0))
            }
            Dialect::Example => {
                let wanted = self.body_bytes.map(|bytes| format!("\"accepted_bytes\":{bytes}"));
                let wanted = wanted.unwrap_or_else(|| "hello".to_owned());
                (body.replace(": ", ":").contains(&wanted), None, 0)
            }
            Dialect::Any => (true, None, 0),
        };
        if !is_right {
            return Err("wrong answer".to_owned());
        }
        let release = answer.release.clone().or(said.map(str::to_owned));
        Ok(Told { release: release.unwrap_or_default(), at_ns })
    }

    fn get(target: &Target) -> Self {
        Self::get_path(target, "/?")
    }

    fn get_path(target: &Target, path: &str) -> Self {
        let id = next_id();
        let bytes = format!("GET {path}&n={id} HTTP/1.1\r\nHost: {}\r\n\r\n", target.host);
        Self { bytes: bytes.into_bytes(), id, body_bytes: None, body_sum: 0 }
    }

    fn post(target: &Target) -> Self {
        let id = next_id();
        let length = fastrand::usize(1..4096);
        let body = vec![fastrand::u8(b'a'..=b'z'); length];
        let mut bytes = format!(
            "POST /orders?n={id} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n",
            target.host
        )
        .into_bytes();
        bytes.extend_from_slice(&body);
        let body_sum = body.iter().map(|byte| u64::from(*byte)).sum();
        Self { bytes, id, body_bytes: Some(length), body_sum }
    }
}

/// Unique within this process, and with high probability on the machine while a run lasts.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let base = u64::from(std::process::id()) << 40;
    base + NEXT.fetch_add(1, Ordering::Relaxed)
}
