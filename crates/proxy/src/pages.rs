//! What clients see when there is no answer from the service: what happened, and nothing of the inside.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderValue;

/// A page of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// The request is malformed or ambiguous.
    BadRequest,
    /// No service for this host and path.
    NotFound,
    /// `CONNECT` and `TRACE`.
    MethodNotAllowed,
    /// The client did not send its body in time.
    RequestTimeout,
    /// The body is larger than the service takes.
    TooLarge,
    /// A transfer encoding other than chunked.
    NotImplemented,
    /// The service does not accept connections, or broke off before it answered.
    BadGateway,
    /// The service has no target.
    NoTarget,
    /// A state file could not be read.
    Unreadable,
    /// Too much is under way.
    Busy,
    /// Maintenance is on.
    Maintenance,
    /// The service did not begin to answer in time.
    GatewayTimeout,
}

impl Page {
    /// Its status.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::NoTarget | Self::Unreadable | Self::Busy | Self::Maintenance => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// When to try again, in seconds.
    pub(crate) fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::Busy => Some(1),
            Self::NoTarget => Some(5),
            Self::Maintenance | Self::Unreadable => Some(30),
            Self::BadRequest
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::RequestTimeout
            | Self::TooLarge
            | Self::NotImplemented
            | Self::BadGateway
            | Self::GatewayTimeout => None,
        }
    }

    /// The connection cannot be used after it: what the client still sends has no known end.
    pub(crate) fn closes(self) -> bool {
        matches!(
            self,
            Self::BadRequest | Self::RequestTimeout | Self::TooLarge | Self::NotImplemented
        )
    }

    /// Content type and body in what the client likes best: HTML, JSON or plain text.
    pub(crate) fn render(self, accept: Option<&HeaderValue>) -> (&'static str, Bytes) {
        let (title, text) = (self.title(), self.text());
        let status = self.status().as_u16();
        let accept = accept.and_then(|value| value.to_str().ok()).unwrap_or_default();
        if accept.contains("text/html") {
            let page = format!(
                "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
                 <meta name=\"viewport\" content=\"width=device-width\">\n\
                 <title>{title}</title>\n<style>body{{font:1.1rem/1.5 system-ui,sans-serif;\
                 max-width:34rem;margin:20vh auto 0;padding:0 1rem;color-scheme:light dark}}\
                 small{{opacity:.6}}</style>\n<h1>{title}</h1>\n<p>{text}</p>\n<small>{status}</small>\n"
            );
            ("text/html; charset=utf-8", page.into())
        } else if accept.contains("json") {
            let page =
                format!("{{\"status\":{status},\"error\":\"{title}\",\"detail\":\"{text}\"}}\n");
            ("application/json", page.into())
        } else {
            ("text/plain; charset=utf-8", format!("{status} {title}: {text}\n").into())
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad request",
            Self::NotFound => "Nothing here",
            Self::MethodNotAllowed => "Method not allowed",
            Self::RequestTimeout => "Request timed out",
            Self::TooLarge => "Too large",
            Self::NotImplemented => "Not implemented",
            Self::BadGateway => "No answer",
            Self::NoTarget => "Not ready yet",
            Self::Unreadable => "Not available",
            Self::Busy => "Busy",
            Self::Maintenance => "Maintenance",
            Self::GatewayTimeout => "No answer in time",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::BadRequest => "The request is malformed or ambiguous.",
            Self::NotFound => "No service answers for this address.",
            Self::MethodNotAllowed => "This method is not passed on.",
            Self::RequestTimeout => "The body of the request did not arrive in time.",
            Self::TooLarge => "The body of the request is larger than this service takes.",
            Self::NotImplemented => "Only the transfer encoding chunked is understood.",
            Self::BadGateway => {
                "The service did not answer. It may be starting; try again shortly."
            }
            Self::NoTarget => "This service has nothing to answer with yet.",
            Self::Unreadable => "The settings of this service could not be read.",
            Self::Busy => "Too many requests are under way. Try again in a moment.",
            Self::Maintenance => "The service is being worked on and will be back soon.",
            Self::GatewayTimeout => "The service took too long to begin its answer.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_comes_as_the_client_likes_it() {
        let render =
            |accept: &'static str| Page::BadGateway.render(Some(&HeaderValue::from_static(accept)));
        assert!(render("text/html,*/*").0.starts_with("text/html"));
        let (kind, body) = render("application/json");
        assert_eq!(kind, "application/json");
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["status"], 502);
        assert!(Page::BadGateway.render(None).0.starts_with("text/plain"));
    }
}
