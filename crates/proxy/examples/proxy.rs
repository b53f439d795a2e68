//! The proxy alone, for measurements and for tests that need a process: `proxy STATE_DIR CONTROL_SOCKET [ACCESS_LOG]`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(state_dir), Some(control_socket)) = (arguments.next(), arguments.next()) else {
        return ExitCode::from(2);
    };
    let mut options = alcedo_proxy::Options::new(state_dir, control_socket);
    options.access_log = arguments.next().map(Into::into);
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match alcedo_proxy::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("failed to {error}: {:?}", std::error::Error::source(&error));
            ExitCode::FAILURE
        }
    }
}
