//! A port of this machine that leads to a slot: straight, or through a program whose stdin and stdout are the slot's.

use super::door::Door;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

/// Whoever wants it to end is asked this often.
const LOOK: Duration = Duration::from_millis(100);
/// Connections at the same time.
const CONNECTIONS_MAX: usize = 64;

/// An open port, on loopback alone.
pub(crate) struct Tunnel {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
}

impl Tunnel {
    /// Takes a free port.
    pub(crate) fn open() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        Ok(Self { runtime, listener, address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Carries every connection until `ends`: each through a program of its own that `through` makes, or, without one,
    /// to `address` on this machine (see [`to_slot`]).
    pub(crate) fn serve(
        self,
        address: &str,
        through: impl Fn() -> anyhow::Result<Option<Door>>,
        ends: impl Fn() -> bool,
    ) -> anyhow::Result<()> {
        let room = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
        let carrying = LocalSet::new();
        let listener = self.listener;
        self.runtime.block_on(carrying.run_until(async {
            while !ends() {
                let Ok(accepted) = tokio::time::timeout(LOOK, listener.accept()).await else {
                    continue;
                };
                let (stream, _) = accepted?;
                let Ok(place) = room.clone().try_acquire_owned() else { continue };
                let (door, address) = (through()?, address.to_owned());
                tokio::task::spawn_local(async move {
                    let _place = place;
                    if let Err(error) = carry(stream, door, &address).await {
                        tracing::debug!(%error, "a connection through the tunnel broke");
                    }
                });
            }
            Ok(())
        }))
    }
}

async fn carry(stream: TcpStream, door: Option<Door>, address: &str) -> io::Result<()> {
    match door {
        Some(Door::Program(program)) => {
            let line = program.raw().await?;
            join(stream, line).await
        }
        Some(Door::Socket { .. }) | None => to_slot(stream, address).await,
    }
}

/// Carries one connection to `address` on this machine: `127.0.0.1:20110`, or `unix:` and the path of a socket.
pub(crate) async fn to_slot(
    one: impl AsyncRead + AsyncWrite + Unpin,
    address: &str,
) -> io::Result<()> {
    match address.strip_prefix("unix:") {
        Some(path) => join(one, UnixStream::connect(path).await?).await,
        None => join(one, TcpStream::connect(address).await?).await,
    }
}

/// Both ways, until the slot has nothing more to say: stdin and stdout cannot be closed one by one, so its end is the end.
async fn join(
    client: impl AsyncRead + AsyncWrite + Unpin,
    slot: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    let (mut asks, mut hears) = tokio::io::split(client);
    let (mut answers, mut gets) = tokio::io::split(slot);
    let forth = async {
        tokio::io::copy(&mut asks, &mut gets).await?;
        gets.shutdown().await?;
        std::future::pending().await
    };
    let back = async {
        tokio::io::copy(&mut answers, &mut hears).await?;
        hears.shutdown().await
    };
    tokio::select! {
        broken = forth => broken,
        ended = back => ended,
    }
}
