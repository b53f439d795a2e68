//! The supervisor's ear: readiness, and listening descriptors that it keeps while the proxy is restarted.
//! systemd's protocol (`sd_notify(3)`): datagrams on `NOTIFY_SOCKET`, descriptors by `SCM_RIGHTS`.

use super::ListenAddress;
use rustix::net::{
    self, AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};

/// Where to tell; silent when nobody listens.
#[derive(Debug)]
pub(crate) struct Supervisor {
    socket: Option<(OwnedFd, SocketAddrUnix)>,
}

impl Supervisor {
    /// The one that `NOTIFY_SOCKET` names.
    pub(crate) fn from_env() -> Self {
        let Ok(path) = std::env::var("NOTIFY_SOCKET") else { return Self::silent() };
        match open(&path) {
            Ok(socket) => Self { socket: Some(socket) },
            Err(error) => {
                tracing::warn!(%error, path, "cannot reach the supervisor");
                Self::silent()
            }
        }
    }

    /// Nobody.
    pub(crate) fn silent() -> Self {
        Self { socket: None }
    }

    /// The proxy serves.
    pub(crate) fn ready(&self) {
        self.tell("READY=1\n", None);
    }

    /// The proxy comes to its end.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\n", None);
    }

    /// Keep this descriptor and pass it to the next start.
    pub(crate) fn keep(&self, address: ListenAddress, listener: &TcpListener) {
        self.tell(&format!("FDSTORE=1\nFDNAME={}\n", address.to_fd_name()), Some(listener));
    }

    /// Keep it no longer.
    pub(crate) fn release(&self, address: ListenAddress) {
        self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={}\n", address.to_fd_name()), None);
    }

    fn tell(&self, text: &str, listener: Option<&TcpListener>) {
        let Some((socket, address)) = &self.socket else { return };
        let descriptors: Vec<_> = listener.iter().map(|listener| listener.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        let text = [IoSlice::new(text.as_bytes())];
        let sent = net::sendmsg_addr(socket, address, &text, &mut control, SendFlags::NOSIGNAL);
        if let Err(error) = sent {
            tracing::warn!(%error, "cannot tell the supervisor");
        }
    }
}

fn open(path: &str) -> io::Result<(OwnedFd, SocketAddrUnix)> {
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(path)?,
    };
    let flags = SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    Ok((socket, address))
}
