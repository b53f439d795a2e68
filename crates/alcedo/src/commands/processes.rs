//! alcedo's own processes. They log to stderr; their shim, or systemd, keeps it.

use crate::cli::{DemoAppArgs, ProcessArgs};
use crate::engine::order::chain;
use crate::paths::Paths;
use crate::report::ended::exit;
use crate::{daemon as engine, demo, supervise};
use std::time::Duration;

/// After a boot the disk may be slow.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// `daemon`; with `--boot` it starts daemon and proxy under their shims and returns.
pub(crate) fn daemon(args: &ProcessArgs) -> u8 {
    log();
    let done = Paths::prepare().map_err(|error| chain(&error)).and_then(|paths| {
        if !args.boot {
            return engine::run(&paths).map_err(|error| chain(&error));
        }
        let exe = std::env::current_exe().map_err(|error| error.to_string())?;
        supervise::ensure_running(&paths, &exe, BOOT_LIMIT).map_err(|error| chain(&error))
    });
    told(done)
}

/// `proxy`. With `ALCEDO_ACCESS_LOG=FILE` it logs each request there, one JSON line each.
pub(crate) fn proxy(_args: &ProcessArgs) -> u8 {
    log();
    let done = Paths::prepare().map_err(|error| chain(&error)).and_then(|paths| {
        let mut options =
            alcedo_proxy::Options::new(paths.state.join("proxy"), paths.proxy_socket());
        options.access_log = std::env::var_os("ALCEDO_ACCESS_LOG").map(Into::into);
        alcedo_proxy::run(options).map_err(|error| chain(&error))
    });
    told(done)
}

/// `demo-app`.
pub(crate) fn demo_app(args: &DemoAppArgs) -> u8 {
    log();
    told(demo::app::serve(args.port).map_err(|error| error.to_string()))
}

fn log() {
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("ALCEDO_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .with_ansi(false)
        .init();
}

fn told(done: Result<(), String>) -> u8 {
    match done {
        Ok(()) => exit::DONE,
        Err(error) => {
            tracing::error!("failed to {error}");
            exit::FAILED
        }
    }
}
