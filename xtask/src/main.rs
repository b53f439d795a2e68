//! `cargo xtask`: developer commands. `test` runs every tier, `bench` reproduces the figures.
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

mod bench;
mod hosts;
mod test;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what the tests need (as root, with apt) and runs every tier.
    Test(test::Options),
    /// Reproduces a table of figures.
    Bench(bench::Options),
    /// Hosts of the lab, by hand.
    #[command(subcommand)]
    Lab(hosts::Task),
    /// The app under test.
    #[command(hide = true)]
    App(xtask::app::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Task::Test(options) => test::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Lab(task) => hosts::run(&task),
        Task::App(options) => xtask::app::run(options).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("failed to {error:#}");
        ExitCode::FAILURE
    })
}
