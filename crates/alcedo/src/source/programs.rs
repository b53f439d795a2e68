//! Runs builds and git with [`crate::adapters::exec`].

use super::{Task, TaskEnd};
use crate::adapters::exec::{self, Environment, Exit, Output, Program};
use crate::engine::ports::{Call, EffectError};
use std::collections::BTreeMap;

/// Output of a build that is kept for its failure, and what git may answer.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// What a build does not see: the key to the hosts is for `ssh` alone.
const NOT_INHERITED: [&str; 2] = ["ALCEDO_SSH_KEY", "ALCEDO_KNOWN_HOSTS"];

/// Runs a build or git. The environment is inherited: it is the user's own shell that would run it.
pub(crate) fn run(task: &Task, call: &Call<'_>) -> Result<TaskEnd, EffectError> {
    let mut env: BTreeMap<String, String> = std::env::vars().collect();
    env.retain(|name, _| !NOT_INHERITED.contains(&name.as_str()));
    env.extend(task.env.clone());
    let program = Program {
        argv: task.argv.clone(),
        env: Environment::Exactly(env),
        dir: task.dir.clone(),
        output: Output::Kept { limit_bytes: OUTPUT_BYTES_MAX },
    };
    let ended = exec::run(&program, call)?;
    let failure = (ended.exit != Exit::Status(0)).then(|| ended.exit.to_string());
    Ok(TaskEnd { failure, output: String::from_utf8_lossy(&ended.output).into_owned() })
}
