//! Drives the deploy machine: one thread and one inbox per app.
//!
//! Sees the world only through [`ports`]; never an adapter, a terminal or a page. The order is fixed in one function,
//! [`drive::Engine::append`] and its callers: intent durable → effect → result durable → shown.

pub(crate) mod actor;
pub(crate) mod drive;
pub(crate) mod facts;
pub(crate) mod feed;
pub(crate) mod guard;
pub(crate) mod observe;
pub(crate) mod order;
pub(crate) mod perform;
pub(crate) mod ports;
mod preview;
pub(crate) mod unwind;
pub(crate) mod words;

#[cfg(test)]
mod sim;
