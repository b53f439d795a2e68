//! `cargo xtask test`: every tier in turn, one sum at the end. CI calls exactly this, and there nothing may be skipped.

mod runner;

use anyhow::Result;
use clap::Args;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use xtask::packages::{self, Tool};

/// All tiers together take no longer than this.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// What the tests want on the machine.
const TOOLS: &[Tool] = &[
    Tool { program: "git", package: "git", needed_for: "releases made from a git ref" },
    Tool { program: "python3-venv", package: "python3-venv", needed_for: "examples/fastapi" },
    Tool { program: "go", package: "golang-go", needed_for: "examples/go" },
    Tool { program: "php", package: "php-cli", needed_for: "examples/php" },
    Tool { program: "php-fpm8.2", package: "php8.2-fpm", needed_for: "php-fpm" },
    Tool { program: "nginx", package: "nginx-light", needed_for: "the nginx router" },
    Tool { program: "node", package: "nodejs", needed_for: "examples/node" },
    Tool { program: "sshd", package: "openssh-server", needed_for: "deploys over SSH" },
    Tool { program: "ssh", package: "openssh-client", needed_for: "deploys over SSH" },
    Tool {
        program: "mkfs.xfs",
        package: "xfsprogs",
        needed_for: "reflinks and power cuts of the release store",
    },
];

/// `cargo xtask test`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only tests whose name contains this; no formatting, no lints.
    filter: Option<String>,
}

/// Runs the tiers; success when nothing failed and, with `CI=true`, nothing was skipped.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let deadline = Instant::now() + LIMIT;
    for missing in packages::ensure(&[TOOLS, xtask::lab::TOOLS].concat()) {
        println!(
            "missing: {} (Debian package {}), so tests of {} are skipped",
            missing.program, missing.package, missing.needed_for
        );
    }
    let mut sum = runner::Sum::default();
    if options.filter.is_none() {
        runner::check(&mut sum, "formatting", &mut cargo(&["fmt", "--all", "--check"]), deadline)?;
        let lints = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
        runner::check(&mut sum, "lints", &mut cargo(&lints), deadline)?;
    }
    // The end-to-end tests run the binaries, which `cargo test` alone does not make.
    runner::check(&mut sum, "build", &mut cargo(&["build", "--quiet", "--workspace"]), deadline)?;
    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    tests.args(&options.filter);
    runner::tests(&mut sum, "tests", &mut tests, deadline)?;
    println!("\n{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    let is_good = sum.failed == 0 && (sum.skipped == 0 || !is_ci);
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(xtask::repository()).env("CARGO_TERM_COLOR", "never");
    command
}
