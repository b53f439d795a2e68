//! How the proxy is told what to do: newline-delimited JSON on a Unix socket of mode 0600; peers of another user than
//! its own (and not root) are refused. The words are in [`wire`]; [`Client`] speaks them, blocking and with deadlines.

mod client;
pub(crate) mod server;
pub mod wire;

pub use client::{Client, ClientError};
pub use wire::{
    Drained, Failure, FailureKind, Hello, Listening, Observed, Request, Status, Switched,
    TargetTraffic, WIRE_VERSION,
};
