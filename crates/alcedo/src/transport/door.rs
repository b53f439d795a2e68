//! Which way leads to a daemon, and one connection through it.

use super::program::Program;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use std::path::PathBuf;

/// Makes a daemon run when none does; says why not.
pub(crate) type Revive = Box<dyn Fn() -> Result<(), String>>;

/// A way to a daemon.
pub(crate) enum Door {
    /// This machine's.
    Socket {
        /// Where it listens.
        path: PathBuf,
        /// Starts it.
        revive: Revive,
    },
    /// Another machine's: a program whose stdin and stdout are those of `alcedo host` there.
    Program(Program),
}

impl Door {
    /// Who is behind it, for messages.
    pub(super) fn whom(&self) -> String {
        match self {
            Self::Socket { path, .. } => format!("the daemon at {}", path.display()),
            Self::Program(program) => program.machine().to_owned(),
        }
    }
}

/// An open connection: HTTP/1.1 on a socket, one call at a time; HTTP/2 through a program, which is too slow to start for
/// each stream.
pub(super) enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Many(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_closed(),
            Self::Many(sender) => sender.is_closed(),
        }
    }

    pub(super) async fn ready(&mut self) -> hyper::Result<()> {
        match self {
            Self::One(sender) => sender.ready().await,
            Self::Many(sender) => sender.ready().await,
        }
    }

    pub(super) async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::One(sender) => sender.send_request(request).await,
            Self::Many(sender) => {
                // HTTP/2 wants it whole; the authority means nothing.
                if let Ok(whole) = format!("http://alcedo{}", request.uri()).parse() {
                    *request.uri_mut() = whole;
                }
                sender.send_request(request).await
            }
        }
    }

    /// The same connection once more, where it carries several calls.
    pub(super) fn shared(&self) -> Option<Self> {
        match self {
            Self::One(_) => None,
            Self::Many(sender) => Some(Self::Many(sender.clone())),
        }
    }
}
