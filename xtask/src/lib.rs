//! The test kit behind `cargo xtask`: an app to deploy, load to put on it, a private home to do it in. End-to-end tests
//! and benchmarks use the same parts. Nothing here is part of the product.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's tool talks on its terminal"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "runs programs and reads clocks of its own"
)]

pub mod app;
pub mod home;
pub mod lab;
pub mod load;
pub mod nginx;
pub mod packages;
pub mod powercut;
pub mod sshd;

use std::io::Write;
use std::path::Path;

/// The root of the checkout that this was built from.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a directory of the workspace")
}

/// Bytes that no program can make smaller: always the same for the same seed.
pub fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// Says that a test cannot run here; `cargo xtask test` counts it. Not captured by the test harness.
pub fn skipped(reason: &str) {
    writeln!(std::io::stderr(), "SKIPPED: {reason}").ok();
}
