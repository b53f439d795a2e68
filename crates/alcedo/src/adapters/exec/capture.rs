//! Takes a program's output from its pipe, keeps what the limit allows and lets the rest go, so that a program that
//! writes without end neither fills the disk nor waits for us.

use super::{ExecError, Output};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Write};

/// Kept in memory beside a file, for error messages.
const TAIL_BYTES: usize = 4096;
/// Taken in one go, so that a flood cannot keep us from looking at the clock.
const ROUND_BYTES: usize = 1 << 20;

/// Where output ends up.
pub(super) struct Sink {
    tail: VecDeque<u8>,
    tail_limit: usize,
    file: Option<(File, u64)>,
    left_out_bytes: u64,
}

impl Sink {
    /// Opens what `output` asks for.
    pub(super) fn open(output: &Output) -> Result<Self, ExecError> {
        let (tail_limit, file) = match output {
            Output::Kept { limit_bytes } => (*limit_bytes, None),
            Output::File { path, limit_bytes } => {
                let open = || {
                    path.parent().map_or(Ok(()), fs::create_dir_all)?;
                    File::options().create(true).append(true).open(path)
                };
                let wrap = |source| ExecError::OutputFile { path: path.clone(), source };
                (TAIL_BYTES, Some((open().map_err(wrap)?, *limit_bytes)))
            }
        };
        Ok(Self { tail: VecDeque::new(), tail_limit, file, left_out_bytes: 0 })
    }

    /// Takes what is there now; false when nobody has the other end any more.
    pub(super) fn take_from(&mut self, mut pipe: impl Read) -> io::Result<bool> {
        let mut buffer = [0; 64 * 1024];
        let mut taken = 0;
        while taken < ROUND_BYTES {
            match pipe.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.keep(&buffer[..count]);
                    taken += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Says in the file what was left out and gives the last bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if let (Some((file, _)), 1..) = (&mut self.file, self.left_out_bytes) {
            // A full disk must not turn a finished program into a failed one.
            let _ = writeln!(file, "\n-- {} bytes more were left out --", self.left_out_bytes);
        }
        self.tail.into()
    }

    fn keep(&mut self, bytes: &[u8]) {
        let last = &bytes[bytes.len().saturating_sub(self.tail_limit)..];
        let over = (self.tail.len() + last.len()).saturating_sub(self.tail_limit);
        self.tail.drain(..over);
        self.tail.extend(last);
        let Some((file, left)) = &mut self.file else { return };
        let fits = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
        let written = file.write_all(&bytes[..fits]).map_or(0, |()| fits);
        *left -= written as u64;
        self.left_out_bytes += (bytes.len() - written) as u64;
    }
}
