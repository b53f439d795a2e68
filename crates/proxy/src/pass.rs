//! Passes: whoever shows one gets to a target that does not have the traffic. In memory alone, so a restart ends them.

use crate::live::LiveTarget;
use hyper::header::{self, HeaderMap, HeaderValue};
use std::sync::Arc;

/// Where a pass is changed into a cookie. Reserved on every domain.
pub(crate) const PATH: &str = "/.alcedo/preview/";
/// The cookie that carries it from then on.
const COOKIE: &str = "alcedo_preview=";
/// Passes of one service at once; the oldest goes first.
pub(crate) const PASSES_MAX: usize = 16;
/// Shortest accepted token: 128 bits in base 32 or better.
const TOKEN_CHARS_MIN: usize = 26;

/// One pass.
#[derive(Debug)]
pub(crate) struct Pass {
    token: String,
    pub(crate) live: Arc<LiveTarget>,
    /// When it ends, in milliseconds of the process.
    until_ms: u64,
}

impl Pass {
    /// `None`: the token could be guessed, or does not fit into a URL and a cookie as it is.
    pub(crate) fn new(token: &str, live: Arc<LiveTarget>, until_ms: u64) -> Option<Self> {
        let is_plain = token.bytes().all(|b| b.is_ascii_alphanumeric());
        let is_fine = is_plain && token.len() >= TOKEN_CHARS_MIN;
        is_fine.then(|| Self { token: token.to_owned(), live, until_ms })
    }

    /// Whether it is this one, in time that does not tell how much of it is right.
    pub(crate) fn is(&self, token: &str) -> bool {
        let (ours, theirs) = (self.token.as_bytes(), token.as_bytes());
        let differing = ours.iter().zip(theirs).fold(0, |seen, (a, b)| seen | (a ^ b));
        ours.len() == theirs.len() && differing == 0
    }

    pub(crate) fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.until_ms
    }

    /// The header that makes a browser show it from now on.
    pub(crate) fn cookie(&self, now_ms: u64) -> HeaderValue {
        let seconds = self.until_ms.saturating_sub(now_ms) / 1000;
        let token = &self.token;
        let text = format!("{COOKIE}{token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax");
        HeaderValue::try_from(text).expect("a token is letters and digits")
    }
}

/// The token that a request shows.
pub(crate) fn shown(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix(COOKIE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Address, Route, Target};

    fn live() -> Arc<LiveTarget> {
        let addresses = vec![Address::Tcp(([127, 0, 0, 1], 1).into())];
        let route = Route { domains: Vec::new(), prefix: "/".to_owned(), addresses };
        let target = Target { id: "t".to_owned(), labels: Vec::new(), routes: vec![route] };
        Arc::new(LiveTarget::new(&target, 1).unwrap())
    }

    #[test]
    fn token_that_could_be_guessed_or_does_not_fit_a_cookie_is_refused() {
        let long = "a".repeat(26);
        assert!(Pass::new(&long, live(), 1).is_some());
        assert!(Pass::new(&long[1..], live(), 1).is_none());
        assert!(Pass::new(&format!("{long}; Domain=x"), live(), 1).is_none());
    }

    #[test]
    fn pass_is_shown_among_other_cookies_and_only_whole() {
        let token = "a".repeat(26);
        let pass = Pass::new(&token, live(), 5_000).unwrap();
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; c=d"));
        assert_eq!(shown(&headers), None);
        let value = format!("e=f;alcedo_preview={token}; g=h");
        headers.append(header::COOKIE, HeaderValue::try_from(value).unwrap());
        assert!(pass.is(shown(&headers).unwrap()));
        assert!(!pass.is(&token[1..]) && !pass.is(&format!("{token}a")));
        assert!(!pass.is_over(4_999) && pass.is_over(5_000));
    }
}
