//! End to end: the real binary in a private home, real apps, load on them all the while. Every test says what the user
//! sees (exit status, words, the next command to type) and that the live version serves throughout.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests fail by panicking and start programs themselves"
)]

mod adopt;
mod app;
mod bakes;
mod clients;
mod crashes;
mod examples;
mod hosts;
mod init;
mod losses;
mod nginx;
mod powercut;
mod preview;
mod releases;
mod setup_far;
mod ssh;
mod starts;
mod systemd;
mod systemd_nginx;
mod systemd_php;
mod traffic;
