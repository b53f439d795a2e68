//! The listening sockets of the process: passed by the supervisor, or bound here when a structure asks for them.

use super::bind::{FALLBACK, bind};
use super::{Acceptor, ListenAddress, Supervisor};
use crate::control::wire::Listening;
use crate::table::ListenerNumber;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};

/// All of them.
#[derive(Debug)]
pub(crate) struct Listeners {
    acceptor: Acceptor,
    supervisor: Supervisor,
    sockets: Vec<Socket>,
    /// What was asked for and where it is served.
    asked: BTreeMap<ListenAddress, Result<Served, String>>,
    next_number: ListenerNumber,
}

#[derive(Debug)]
struct Socket {
    number: ListenerNumber,
    address: ListenAddress,
    bound: SocketAddr,
    /// Stays open whether a service asks for it or not.
    is_fixed: bool,
}

#[derive(Debug, Clone)]
struct Served {
    number: ListenerNumber,
    bound: SocketAddr,
    /// Why it is served elsewhere.
    fallback: Option<String>,
}

impl Listeners {
    /// Takes what the supervisor passed.
    pub(crate) fn new(
        acceptor: Acceptor,
        supervisor: Supervisor,
        passed: Vec<(Option<String>, TcpListener)>,
    ) -> io::Result<Self> {
        let mut listeners = Self {
            acceptor,
            supervisor,
            sockets: Vec::new(),
            asked: BTreeMap::new(),
            next_number: 0,
        };
        for (name, listener) in passed {
            let bound = listener.local_addr()?;
            let named = name.as_deref().and_then(ListenAddress::from_fd_name);
            let plain = match bound.ip().is_unspecified() {
                true => ListenAddress::Any(bound.port()),
                false => ListenAddress::One(bound),
            };
            // A name is believed when the socket bears it out, or for port 0, which the kernel chose.
            let address = named
                .filter(|n| n.fits(bound) || matches!(n, ListenAddress::One(a) if a.port() == 0))
                .unwrap_or(plain);
            // One that we gave away to be kept is ours to give up; one of a socket unit is not.
            listeners.add(address, listener, named.is_none())?;
        }
        Ok(listeners)
    }

    /// The number of the socket for an address, bound now if it is not yet.
    pub(crate) fn open(&mut self, address: ListenAddress) -> io::Result<ListenerNumber> {
        if let Some(Ok(served)) = self.asked.get(&address) {
            return Ok(served.number);
        }
        let served = self.serve(address);
        let number = served.as_ref().map(|served| served.number).ok();
        let told = served.as_ref().map_err(ToString::to_string).cloned();
        self.asked.insert(address, told);
        match served {
            Ok(_) => Ok(number.expect("it was just served")),
            Err(error) => Err(error),
        }
    }

    /// The number of the socket for an address that was opened.
    pub(crate) fn number(&self, address: ListenAddress) -> Option<ListenerNumber> {
        Some(self.asked.get(&address)?.as_ref().ok()?.number)
    }

    /// Closes the sockets that nobody asks for any more.
    pub(crate) fn keep_only(&mut self, wanted: &[ListenAddress]) {
        self.asked.retain(|address, _| wanted.contains(address));
        let used: Vec<ListenerNumber> =
            self.asked.values().flatten().map(|served| served.number).collect();
        let (acceptor, supervisor) = (&self.acceptor, &self.supervisor);
        self.sockets.retain(|socket| {
            let is_kept = socket.is_fixed || used.contains(&socket.number);
            if !is_kept {
                acceptor.remove(socket.number);
                supervisor.release(socket.address);
            }
            is_kept
        });
    }

    /// Whether something asked for is not served.
    pub(crate) fn missing(&self) -> Vec<ListenAddress> {
        let failed = self.asked.iter().filter(|(_, served)| served.is_err());
        failed.map(|(address, _)| *address).collect()
    }

    /// Where an address is served.
    pub(crate) fn tell(&self, address: ListenAddress) -> Listening {
        let asked = address.to_string();
        match self.asked.get(&address) {
            Some(Ok(served)) => Listening {
                asked,
                address: Some(served.bound),
                fallback: served.fallback.is_some(),
                problem: served.fallback.clone(),
            },
            Some(Err(problem)) => {
                Listening { asked, address: None, fallback: false, problem: Some(problem.clone()) }
            }
            None => Listening { asked, address: None, fallback: false, problem: None },
        }
    }

    /// Where everything is served, passed sockets that nobody asked for included.
    pub(crate) fn tell_all(&self) -> Vec<Listening> {
        let mut told: Vec<Listening> = self.asked.keys().map(|a| self.tell(*a)).collect();
        let is_used = |number| self.asked.values().flatten().any(|served| served.number == number);
        for socket in self.sockets.iter().filter(|socket| !is_used(socket.number)) {
            told.push(Listening {
                asked: socket.address.to_string(),
                address: Some(socket.bound),
                fallback: false,
                problem: Some("passed by the supervisor, asked for by no service".to_owned()),
            });
        }
        told
    }

    /// Accepts no more; what has been accepted by the kernel is still served.
    pub(crate) fn stop(&self) {
        self.supervisor.stopping();
        for socket in &self.sockets {
            self.acceptor.remove(socket.number);
        }
    }

    /// The process serves.
    pub(crate) fn ready(&self) {
        self.supervisor.ready();
    }

    fn serve(&mut self, address: ListenAddress) -> io::Result<Served> {
        if let Some(served) = self.find(address) {
            return Ok(served);
        }
        let error = match bind(address) {
            Ok(listener) => return self.add_bound(address, listener),
            Err(error) => error,
        };
        if error.kind() != io::ErrorKind::PermissionDenied {
            return Err(error);
        }
        let fallback = ListenAddress::One(FALLBACK);
        let mut served = match self.find(fallback) {
            Some(served) => served,
            None => self.add_bound(fallback, bind(fallback)?)?,
        };
        let reason = format!("port {address} is not permitted for this user; served on {FALLBACK}");
        tracing::warn!(asked = %address, served = %FALLBACK, "{reason}");
        served.fallback = Some(reason);
        Ok(served)
    }

    fn find(&self, address: ListenAddress) -> Option<Served> {
        let socket = self.sockets.iter().find(|socket| socket.address == address)?;
        Some(Served { number: socket.number, bound: socket.bound, fallback: None })
    }

    fn add_bound(&mut self, address: ListenAddress, listener: TcpListener) -> io::Result<Served> {
        self.supervisor.keep(address, &listener);
        self.add(address, listener, false)
    }

    fn add(
        &mut self,
        address: ListenAddress,
        listener: TcpListener,
        is_fixed: bool,
    ) -> io::Result<Served> {
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        let number = self.next_number;
        self.next_number += 1;
        self.acceptor.add(number, listener);
        self.sockets.push(Socket { number, address, bound, is_fixed });
        Ok(Served { number, bound, fallback: None })
    }
}
