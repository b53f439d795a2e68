//! Listening descriptors: what an address is called, where descriptors come from, and who keeps them over a restart.
//!
//! There is one descriptor for each address, never `SO_REUSEPORT`: closing one of several would reset the connections
//! that wait on it.

mod accept;
mod bind;
mod name;
mod notify;
mod set;

pub(crate) use accept::{Acceptor, prepare as prepare_acceptor};
pub use name::{ListenAddress, ListenAddressError};
pub(crate) use notify::Supervisor;
pub(crate) use set::Listeners;
