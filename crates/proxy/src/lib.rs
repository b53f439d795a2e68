//! Carries traffic: one process that listens, finds the service and its effective target for each request, and
//! forwards. It keeps serving whatever happens to everything else and boots from its own small state files alone.
//!
//! It knows services, targets and opaque labels. It never decides which target is right, never reads the
//! configuration of an app, and never closes a client's connection because a target changed.

mod access_log;
mod answer;
mod body;
mod cidr;
mod client_io;
mod conn;
pub mod control;
pub mod disk;
mod h1;
mod head;
mod hub;
pub mod listen;
mod live;
mod local;
mod options;
mod pages;
mod pass;
mod pool;
mod proxy;
mod shared;
pub mod state;
mod stats;
mod table;
mod tunnel;
mod upstream;
mod upstream_io;
mod websocket;
mod worker;

pub use options::{ClientLimits, Options};
pub use proxy::{Error, Proxy, run};
