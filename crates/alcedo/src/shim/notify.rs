//! Receives what daemon and proxy say by systemd's protocol (sd_notify(3)): `READY=1`, and descriptors to keep
//! (`FDSTORE=1`, `FDNAME=…`), which the next start gets as `LISTEN_FDS`. So a listening socket outlives its proxy:
//! clients wait in its queue instead of being refused.

use rustix::fs::fstat;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Kept at most; more are closed.
const KEPT_MAX: usize = 128;
/// Longest message looked at, in bytes.
const MESSAGE_BYTES: usize = 4096;
/// The kernel passes at most this many descriptors with one message (`SCM_MAX_FD`).
const DESCRIPTORS_PER_MESSAGE: usize = 253;

/// The socket behind `NOTIFY_SOCKET`, and what was given to keep.
#[derive(Debug)]
pub(super) struct Notify {
    socket: UnixDatagram,
    kept: Vec<(String, OwnedFd)>,
}

/// What a message said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// `READY=1`.
    pub(super) ready: bool,
}

impl Notify {
    /// Binds the socket, replacing that of an earlier shim.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let _ = std::fs::remove_file(path);
        let socket = UnixDatagram::bind(path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, kept: Vec::new() })
    }

    /// Readable when there is a message.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Copies of the kept descriptors, for the next start.
    pub(super) fn kept(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        self.kept.iter().map(|(name, fd)| Ok((name.clone(), fd.try_clone()?))).collect()
    }

    /// Takes every message that is there.
    pub(super) fn receive(&mut self) -> Heard {
        let mut heard = Heard::default();
        while let Ok((text, descriptors)) = self.next() {
            let message = Message::parse(&text);
            heard.ready |= message.ready;
            if message.remove {
                self.kept.retain(|(name, _)| *name != message.name);
            }
            if message.store {
                descriptors.into_iter().for_each(|fd| self.keep(&message.name, fd));
            }
        }
        heard
    }

    fn next(&self) -> io::Result<(String, Vec<OwnedFd>)> {
        let mut bytes = [0; MESSAGE_BYTES];
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_MESSAGE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let length = recvmsg(&self.socket, &mut parts, &mut control, flags)?.bytes;
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                descriptors.extend(fds);
            }
        }
        let text = bytes.get(..length).unwrap_or_default();
        Ok((String::from_utf8_lossy(text).into_owned(), descriptors))
    }

    fn keep(&mut self, name: &str, descriptor: OwnedFd) {
        let is_known = self.kept.iter().any(|(n, kept)| n == name && is_same(kept, &descriptor));
        if !is_known && self.kept.len() < KEPT_MAX {
            self.kept.push((name.to_owned(), descriptor));
        }
    }
}

/// A proxy that was given its listeners back stores them again.
fn is_same(a: &OwnedFd, b: &OwnedFd) -> bool {
    match (fstat(a), fstat(b)) {
        (Ok(a), Ok(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino),
        (Ok(_), Err(_)) | (Err(_), Ok(_) | Err(_)) => false,
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    ready: bool,
    store: bool,
    remove: bool,
    name: String,
}

impl Message {
    fn parse(text: &str) -> Self {
        let mut message = Self { name: "stored".to_owned(), ..Self::default() };
        for line in text.lines() {
            match line.split_once('=') {
                Some(("READY", "1")) => message.ready = true,
                Some(("FDSTORE", "1")) => message.store = true,
                Some(("FDSTOREREMOVE", "1")) => message.remove = true,
                Some(("FDNAME", name)) if is_name(name) => name.clone_into(&mut message.name),
                Some(_) | None => {}
            }
        }
        message
    }
}

/// As sd_pid_notify_with_fds(3) has it: printable, no colon (that separates names), at most 255 bytes.
fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_systemd_reads_them() {
        let message = Message::parse("READY=1\nSTATUS=fine\nFDSTORE=1\nFDNAME=http:80\n");
        assert!(message.ready && message.store && !message.remove);
        assert_eq!(message.name, "stored", "a colon would split LISTEN_FDNAMES");
        assert_eq!(Message::parse("FDSTORE=1\nFDNAME=127.0.0.1.8080").name, "127.0.0.1.8080");
    }

    #[test]
    fn the_same_descriptor_is_kept_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut notify = Notify::bind(&dir.path().join("notify.sock")).unwrap();
        let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        notify.keep("a", file.try_clone().unwrap());
        notify.keep("a", file.try_clone().unwrap());
        notify.keep("b", file);
        assert_eq!(notify.kept().unwrap().len(), 2);
    }
}
