//! Decides: config, plan, the deploy machine, the judge.
//!
//! Pure: no IO, no clock, no threads, no async. Time comes in as monotone milliseconds.

pub mod binding;
pub mod config;
pub mod deploy;
pub mod event;
pub mod facts;
pub mod host;
pub mod init;
pub mod judge;
pub mod lint;
pub mod names;
pub mod nginx;
pub mod plan;
pub mod planning;
pub mod probe;
pub mod release;
pub mod slot;
pub mod state;
pub mod step;
pub mod survey;
pub mod units;

pub use binding::{Binding, BindingId};
pub use host::HostAddress;
pub use names::{AppName, DeployId, ReleaseId, ServiceName};
pub use slot::Slot;
