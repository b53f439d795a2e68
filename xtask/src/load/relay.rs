//! A user-space relay that adds a delay each way: the round trip between a user and a server. What is written while the
//! other side closes is on the wire, as in a real network.

use anyhow::Result;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Pieces on the wire at most, each way of each connection.
const ON_THE_WIRE_MAX: usize = 1_024;

/// A running relay; ends when dropped.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Relay {
    /// Listens on a port of its own and forwards to `upstream`, `delay` later each way.
    pub fn start(upstream: SocketAddr, delay: Duration) -> Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopping) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("relay".into()).spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async {
                tokio::select! {
                    () = accept(listener, upstream, delay) => {}
                    _ = stopping => {}
                }
            });
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn accept(listener: std::net::TcpListener, upstream: SocketAddr, delay: Duration) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        tokio::task::spawn_local(async move {
            let Ok(server) = TcpStream::connect(upstream).await else { return };
            client.set_nodelay(true).ok();
            server.set_nodelay(true).ok();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::task::spawn_local(one_way(from_client, to_server, delay));
            one_way(from_server, to_client, delay).await;
        });
    }
}

async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut wire) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WIRE_MAX);
    let reading = async move {
        loop {
            let mut piece = Vec::with_capacity(16 << 10);
            let read = from.read_buf(&mut piece).await.unwrap_or(0);
            // An empty piece is the end, and travels as long as the rest.
            if sender.send((Instant::now() + delay, piece)).await.is_err() || read == 0 {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = wire.recv().await {
            tokio::time::sleep_until(due).await;
            if piece.is_empty() || to.write_all(&piece).await.is_err() {
                break;
            }
        }
        to.shutdown().await.ok();
    };
    tokio::join!(reading, writing);
}
