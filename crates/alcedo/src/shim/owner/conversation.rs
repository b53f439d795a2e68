//! Who talks to the shim: a bounded number of connections, each with a bounded line, none of which can hold it up.

use crate::shim::files::{ShimDir, State};
use crate::shim::protocol::{LINE_BYTES_MAX, Reply, Request, Verb};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

/// More connections close the oldest one.
const OPEN_MAX: usize = 16;

/// What changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Stop,
    Restart,
}

/// The listening socket and who is connected.
#[derive(Debug)]
pub(super) struct Conversations {
    listener: UnixListener,
    open: Vec<Conversation>,
}

#[derive(Debug)]
struct Conversation {
    stream: UnixStream,
    line: Vec<u8>,
    /// It gets an answer when the stop or restart is through.
    is_waiting: bool,
}

impl Conversations {
    /// Listens in `dir`, replacing the socket of an earlier shim.
    pub(super) fn listen(dir: &ShimDir) -> io::Result<Self> {
        let path = dir.file("ctl.sock");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, open: Vec::new() })
    }

    /// Readable when there is something to [`Self::receive`]; the order counts.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let open = self.open.iter().map(|conversation| conversation.stream.as_fd());
        std::iter::once(self.listener.as_fd()).chain(open)
    }

    /// Reads what is there on the `ready` descriptors, answers questions, and gives the wishes.
    pub(super) fn receive(&mut self, ready: &[bool], state: &State) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let mut index = 0;
        self.open.retain_mut(|conversation| {
            index += 1;
            !ready.get(index).is_some_and(|r| *r) || conversation.receive(state, &mut wishes)
        });
        if ready.first().is_some_and(|r| *r) {
            self.accept();
        }
        wishes
    }

    /// Answers everybody who waits.
    pub(super) fn answer_all(&mut self, reply: &Reply) {
        for conversation in self.open.iter_mut().filter(|c| c.is_waiting) {
            conversation.is_waiting = false;
            conversation.answer(reply);
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.open.len() >= OPEN_MAX {
                self.open.remove(0);
            }
            self.open.push(Conversation { stream, line: Vec::new(), is_waiting: false });
        }
    }
}

impl Conversation {
    /// False when it is over.
    fn receive(&mut self, state: &State, wishes: &mut Vec<Wish>) -> bool {
        let mut buffer = [0; 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => self.line.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
            if self.line.len() as u64 > LINE_BYTES_MAX {
                return false;
            }
        }
        while let Some(end) = self.line.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            wishes.extend(self.hear(&line, state));
        }
        true
    }

    fn hear(&mut self, line: &[u8], state: &State) -> Option<Wish> {
        let verb = serde_json::from_slice::<Request>(line).map_err(|error| error.to_string());
        let verb = verb.and_then(|request| {
            let known = Verb::ALL.into_iter().find(|verb| verb.as_str() == request.verb);
            known.ok_or_else(|| format!("{:?} is not a verb of this shim", request.verb))
        });
        let wish = match verb {
            Ok(Verb::Hello | Verb::State) => None,
            Ok(Verb::Stop) => Some(Wish::Stop),
            Ok(Verb::Restart) => Some(Wish::Restart),
            Err(text) => {
                self.answer(&Reply::new(None, Some(text)));
                return None;
            }
        };
        match wish {
            None => self.answer(&Reply::new(Some(state.clone()), None)),
            Some(_) => self.is_waiting = true,
        }
        wish
    }

    /// Who does not read the few bytes of an answer loses it.
    fn answer(&mut self, reply: &Reply) {
        let _ = self.stream.write_all(&reply.line());
    }
}
