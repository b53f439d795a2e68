//! One shell command on another machine, over the same `ssh` as everything else, with something for it to read. Only
//! `setup` needs a login: whatever comes later speaks to `alcedo host`.

use super::program::{SECRET, Silence};
use super::ssh::{self, Keys};
use crate::adapters::clock;
use crate::adapters::exec::{Exit, Pipes, start_piped};
use crate::api::Failed;
use alcedo_core::host::SshAddress;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// An upload of a program over a slow line, or all that `setup` does.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// Its end is looked for this often once it has stopped talking.
const LOOK: Duration = Duration::from_millis(20);
/// `ssh`'s own exit status for "there was no command".
const NOT_THERE: Exit = Exit::Status(255);

/// What it wrote: data, or words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// A line on stdout.
    Data(String),
    /// A line on stderr.
    Words(String),
}

/// Runs `script` there; each line is told as it comes.
///
/// # Errors
/// When the machine is not reached. How the script ended is no error here.
pub(crate) fn run(
    address: &SshAddress,
    script: &str,
    input: Option<File>,
    tell: &mut dyn FnMut(Said),
) -> Result<Exit, Failed> {
    let failed = |error: io::Error| {
        Failed::new("unreached", format!("failed to reach {address}: {error}"), 6)
    };
    let started =
        ssh::command(address, vec![script.to_owned()], &Keys::from_env()).map_err(failed)?;
    let (mut piped, pipes) = start_piped(&started.argv, &SECRET).map_err(failed)?;
    let Pipes { stdin, stdout, stderr } = pipes;
    // What cannot be written is seen by how it ends.
    std::thread::spawn(move || input.map(|mut input| io::copy(&mut input, &mut File::from(stdin))));
    let (lines, heard) = channel();
    read(stdout, Said::Data, lines.clone());
    read(stderr, Said::Words, lines);
    let deadline = clock::now().after(LIMIT);
    let mut complaint = String::new();
    while let Ok(said) = heard.recv_timeout(clock::left(deadline)) {
        if let Said::Words(line) = &said {
            complaint.push_str(line);
            complaint.push('\n');
        }
        tell(said);
    }
    let exit = loop {
        match piped.ended() {
            Some(exit) => break exit,
            None if clock::left(deadline).is_zero() => {
                let limit = LIMIT.as_secs() / 60;
                return Err(failed(io::Error::other(format!("not done after {limit} min"))));
            }
            None => std::thread::park_timeout(LOOK),
        }
    };
    drop(started);
    if exit == NOT_THERE {
        let reason = ssh::explain(address, &Silence { exit: Some(exit), complaint });
        let failed =
            Failed::new("unreached", format!("failed to reach {address}: {}", reason.seen), 6);
        return Err(match reason.hint {
            Some(hint) => failed.hint(hint),
            None => failed,
        });
    }
    Ok(exit)
}

fn read(from: OwnedFd, of: fn(String) -> Said, to: Sender<Said>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(File::from(from));
        let mut line = Vec::new();
        while reader.by_ref().take(1 << 20).read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            if to.send(of(text)).is_err() {
                return;
            }
            line.clear();
        }
    });
}
