//! Accepts connections and deals them to the workers: the next one goes to the worker with the fewest.

use crate::shared::Shared;
use crate::table::ListenerNumber;
use crate::worker::{Client, Command};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Duration;
use tokio::sync::mpsc;

/// Connections taken from one socket before others have their turn.
const BATCH: usize = 64;
/// Pause when the process has no descriptors left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);
/// What a connection too many gets.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\n\
    content-length: 55\r\nretry-after: 1\r\nconnection: close\r\n\r\n\
    503 Busy: Too many connections. Try again in a moment.\n";

/// Tells the accepting thread.
#[derive(Debug, Clone)]
pub(crate) struct Acceptor {
    orders: Sender<Order>,
    bell: Arc<OwnedFd>,
}

#[derive(Debug)]
enum Order {
    Add(ListenerNumber, TcpListener),
    Remove(ListenerNumber),
    Answer(Sender<()>),
}

impl Acceptor {
    /// Accepts on the socket (which does not block) from now on.
    pub(crate) fn add(&self, number: ListenerNumber, listener: TcpListener) {
        self.tell(Order::Add(number, listener));
    }

    /// Takes what waits on the socket and closes it.
    pub(crate) fn remove(&self, number: ListenerNumber) {
        self.tell(Order::Remove(number));
    }

    /// Returns when every order before this one was obeyed.
    pub(crate) fn wait_until_obeyed(&self) {
        let (answer, answered) = channel();
        self.tell(Order::Answer(answer));
        let _ = answered.recv();
    }

    fn tell(&self, order: Order) {
        // The thread ends only with the process; a full bell rings already.
        let _ = self.orders.send(order);
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

/// Makes the accepting thread, not yet started: what is added meanwhile waits, so that no connection is taken before
/// there is an answer for it.
pub(crate) fn prepare(
    shared: Arc<Shared>,
    workers: Vec<mpsc::UnboundedSender<Command>>,
) -> io::Result<(Acceptor, Accepting)> {
    let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (sender, orders) = channel();
    let acceptor = Acceptor { orders: sender, bell: bell.clone() };
    let dealer = Dealer { shared, workers, turn: 0 };
    Ok((acceptor, Accepting { bell, orders, open: BTreeMap::new(), dealer }))
}

/// The thread's things.
pub(crate) struct Accepting {
    bell: Arc<OwnedFd>,
    orders: Receiver<Order>,
    open: BTreeMap<ListenerNumber, TcpListener>,
    dealer: Dealer,
}

impl Accepting {
    /// Starts the thread. It ends when the last [`Acceptor`] is gone and the bell was rung.
    pub(crate) fn start(mut self) -> io::Result<()> {
        std::thread::Builder::new().name("accept".to_owned()).spawn(move || self.run())?;
        Ok(())
    }

    fn run(&mut self) {
        loop {
            let is_exhausted = match self.wait() {
                Ok(ready) => ready.into_iter().any(|number| self.take(number, BATCH)),
                Err(error) => {
                    tracing::error!(%error, "cannot wait for connections");
                    true
                }
            };
            if is_exhausted {
                std::thread::sleep(EXHAUSTED_PAUSE);
            }
            let _ = rustix::io::read(&self.bell, &mut [0_u8; 8]);
            loop {
                match self.orders.try_recv() {
                    Ok(order) => self.obey(order),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
        }
    }

    /// The sockets on which connections wait; empty when the bell rang.
    fn wait(&self) -> io::Result<Vec<ListenerNumber>> {
        let mut watched = vec![PollFd::new(&self.bell, PollFlags::IN)];
        watched.extend(self.open.values().map(|listener| PollFd::new(listener, PollFlags::IN)));
        match poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = self.open.keys().zip(&watched[1..]);
        Ok(ready.filter(|(_, fd)| !fd.revents().is_empty()).map(|(number, _)| *number).collect())
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Add(number, listener) => drop(self.open.insert(number, listener)),
            Order::Remove(number) => {
                self.take(number, usize::MAX);
                self.open.remove(&number);
            }
            Order::Answer(answer) => drop(answer.send(())),
        }
    }

    /// Deals what waits on a socket; whether the process has run out of something.
    fn take(&mut self, number: ListenerNumber, max: usize) -> bool {
        let Some(listener) = self.open.get(&number) else { return false };
        for _ in 0..max {
            match listener.accept() {
                Ok((stream, peer)) => self.dealer.deal(number, stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    return true;
                }
            }
        }
        false
    }
}

/// The client was faster in going than we in accepting.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

struct Dealer {
    shared: Arc<Shared>,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    turn: usize,
}

impl Dealer {
    fn deal(&mut self, listener: ListenerNumber, stream: TcpStream, peer: SocketAddr) {
        if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
            return;
        }
        self.turn = (self.turn + 1) % self.workers.len();
        let Some(permit) = self.shared.admit(self.turn) else {
            let _ = (&stream).write_all(BUSY);
            return;
        };
        let worker = &self.workers[permit.worker()];
        let _ = worker.send(Command::Serve(Client { stream, peer, listener, permit }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(BUSY).unwrap();
        assert_eq!(text.split_once("\r\n\r\n").unwrap().1.len(), 55);
    }
}
