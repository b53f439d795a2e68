//! The proxy over real sockets: in this process with [`support::Bench`], as a process of its own in `process`.

#![expect(clippy::unwrap_used, reason = "these are tests")]
#![expect(clippy::disallowed_methods, reason = "a proxy is started as a process of its own")]

mod control;
mod drain;
mod forward;
mod limits;
mod preview;
mod process;
mod routing;
mod smuggling;
mod state;
mod support;
mod switch;
mod upgrade;
