//! The real binary, real processes, real sockets; one test binary for all of it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests fail by panicking, start programs themselves, and show what they measured"
)]

mod bench;
mod shim;
mod shim_descriptors;
mod tidy;
