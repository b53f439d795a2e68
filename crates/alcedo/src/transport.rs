//! How the command line reaches a daemon: this machine's by its unix socket, another machine's over the stdin and stdout
//! of `alcedo host` there, which the system's `ssh` or any other program leads to.
//!
//! A lost connection cancels nothing and is tried again within limits: calls that change something carry an operation
//! id, so that a repeated one returns the recorded result.

mod client;
mod door;
mod follow;
mod lines;
pub(crate) mod login;
mod program;
pub(crate) mod ssh;
mod tunnel;
mod upload;

pub(crate) use client::{CallError, Client};
pub(crate) use door::Door;
pub(crate) use follow::{Follow, Heard};
pub(crate) use lines::{Lines, Next};
pub(crate) use tunnel::{Tunnel, to_slot};
pub(crate) use upload::{SendError, Sending, Told, send, tell};

#[cfg(test)]
mod tests;
