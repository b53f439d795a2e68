//! The one binary: CLI, engine, adapters, transport, daemon.

mod adapters;
mod adopt;
mod api;
mod cli;
mod commands;
mod daemon;
mod demo;
mod diff;
mod engine;
mod files;
mod host;
mod init;
mod paths;
mod process_table;
mod report;
mod setup;
mod setup_user;
mod shim;
mod source;
mod supervise;
mod survey;
mod transport;
mod upload;
mod views;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let verb = args.next();
    // Before anything else: a shim lives as long as its app and has to stay small.
    if verb.as_ref().is_some_and(|verb| verb == "shim") {
        return shim::main(args);
    }
    // Only a unit has a credential; for people `exec` is a word of other tools.
    let is_unit = std::env::var_os("CREDENTIALS_DIRECTORY").is_some();
    if is_unit && verb.is_some_and(|verb| verb == "exec") {
        return adapters::runner_systemd::exec_main(args);
    }
    commands::main(std::env::args_os())
}
