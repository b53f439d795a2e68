//! Runs one tier as a process group of its own, shows what matters of its output, and counts.

use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Counts over all tiers.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

/// A tier that is one test: it succeeds or not.
pub(super) fn check(
    sum: &mut Sum,
    name: &str,
    command: &mut Command,
    deadline: Instant,
) -> Result<()> {
    let ended = stream(name, command, deadline, |line| println!("  {line}"))?;
    if ended.is_good {
        sum.passed += 1;
    } else {
        sum.failed += 1;
    }
    println!(
        "{} {name}, {:.0} s",
        if ended.is_good { "ok  " } else { "FAIL" },
        ended.took.as_secs_f64()
    );
    Ok(())
}

/// A tier of tests: its `test result` lines are added up.
pub(super) fn tests(
    sum: &mut Sum,
    name: &str,
    command: &mut Command,
    deadline: Instant,
) -> Result<()> {
    let mut seen = Sum::default();
    let ended = stream(name, command, deadline, |line| {
        count(&mut seen, line);
        if is_worth_showing(line) {
            println!("  {line}");
        }
    })?;
    if !ended.is_good && seen.failed == 0 {
        // It did not build, or a test took the whole process with it.
        seen.failed = 1;
    }
    sum.passed += seen.passed.saturating_sub(seen.skipped);
    sum.failed += seen.failed;
    sum.skipped += seen.skipped;
    println!(
        "{} {name}, {:.0} s",
        if seen.failed == 0 { "ok  " } else { "FAIL" },
        ended.took.as_secs_f64()
    );
    Ok(())
}

struct Ended {
    is_good: bool,
    took: Duration,
}

fn stream(
    name: &str,
    command: &mut Command,
    deadline: Instant,
    mut line: impl FnMut(&str),
) -> Result<Ended> {
    let since = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().with_context(|| format!("start {name}"))?;
    let (sender, lines) = mpsc::sync_channel(1_024);
    for output in [reader(child.stdout.take()), reader(child.stderr.take())].into_iter().flatten() {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
    }
    drop(sender);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(text) => line(&text),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                line("the time limit is reached; it is ended");
                end(&child);
                break;
            }
        }
    }
    let is_good = child.wait()?.success();
    Ok(Ended { is_good, took: since.elapsed() })
}

fn reader(output: Option<impl Read + Send + 'static>) -> Option<Box<dyn Read + Send>> {
    output.map(|output| Box::new(output) as Box<dyn Read + Send>)
}

fn end(child: &Child) {
    let group = rustix::process::Pid::from_child(child);
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
}

/// `test result: ok. 12 passed; 0 failed; 1 ignored; …`, and `SKIPPED: reason` of a test that found a tool missing.
fn count(sum: &mut Sum, line: &str) {
    if line.contains("SKIPPED: ") {
        sum.skipped += 1;
    }
    let Some(result) = line.trim_start().strip_prefix("test result: ") else { return };
    let numbers = result.split(['.', ';']).filter_map(|part| part.trim().split_once(' '));
    for (number, word) in numbers {
        let number = number.parse().unwrap_or(0);
        match word {
            "passed" => sum.passed += number,
            "failed" => sum.failed += number,
            "ignored" => {
                sum.passed += number;
                sum.skipped += number;
            }
            _ => {}
        }
    }
}

fn is_worth_showing(line: &str) -> bool {
    let line = line.trim();
    let is_routine = line.ends_with("... ok")
        || line.starts_with("Compiling ")
        || line.starts_with("running ")
        || line.starts_with("test result: ok. 0 passed");
    !line.is_empty() && !is_routine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up_and_skips_are_not_passes() {
        let mut sum = Sum::default();
        count(
            &mut sum,
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out",
        );
        count(&mut sum, "SKIPPED: no php");
        count(&mut sum, "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured");
        assert_eq!((sum.passed, sum.failed, sum.skipped), (15, 1, 2));
    }
}
