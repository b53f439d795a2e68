//! Runs `release.prepare` in a fetched release: with a limit, its output kept, and nothing of it left behind.

use crate::adapters::clock;
use crate::adapters::exec::{self, Environment, ExecError, Exit, Output, Program};
use crate::engine::ports::{Call, EffectError, PrepareOrder};
use crate::files::FilesError;

/// Output kept of one run.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// Lines shown when it fails.
const LINES_SHOWN: usize = 20;

/// See [`crate::engine::ports::Releases::prepare`].
pub(super) fn prepare(order: &PrepareOrder, call: &Call<'_>) -> Result<(), EffectError> {
    if !order.instance.is_dir() {
        let what = format!("prepare {}", order.instance.display());
        return Err(FilesError::refused(what, "it was not fetched").into());
    }
    if let Some(home) = order.env.get("HOME") {
        // Tools keep their caches there; one that cannot says so itself.
        let _ = std::fs::create_dir(home);
    }
    let program = Program {
        argv: exec::shell(&order.command),
        env: Environment::Exactly(order.env.clone()),
        dir: order.instance.clone(),
        output: Output::File { path: order.log.clone(), limit_bytes: LOG_BYTES_MAX },
    };
    let deadline = clock::now().after(order.timeout).min(call.deadline);
    let limited = Call { deadline, cancel: call.cancel, progress: call.progress };
    let failed = |seen: String, detail: String| EffectError::Failed {
        what: format!("prepare: `{}` {seen}", order.command),
        detail,
        hint: Some(format!("its whole output is in {}", order.log.display())),
    };
    match exec::run(&program, &limited) {
        Ok(ended) if ended.exit == Exit::Status(0) => Ok(()),
        Ok(ended) => {
            Err(failed(format!("ended with {}", ended.exit), ended.last_lines(LINES_SHOWN)))
        }
        Err(ExecError::TimedOut { limit_s, tail, .. }) => {
            Err(failed(format!("was killed at its time limit of {limit_s} s"), tail))
        }
        Err(error) => Err(error.into()),
    }
}
