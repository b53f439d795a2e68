//! A blocking client of the control socket. One connection, used for many calls; a call that failed leaves it unusable.

use super::wire::{
    Drained, Failure, Hello, LINE_BYTES_MAX, Observed, Reply, Request, Status, Switched,
    TargetTraffic, WIRE_VERSION,
};
use crate::state::{DrainLimits, Structure, Target};
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket: the proxy does not run.
    #[error("reach the proxy on {path}")]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke or the deadline passed: whether it was done is not known.
    #[error("get an answer from the proxy")]
    Broken(#[source] io::Error),
    /// The proxy speaks other words.
    #[error("talk to the proxy: it speaks control version {0}, this program {WIRE_VERSION}")]
    Version(u32),
    /// The proxy said no.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// A connection to the proxy.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    hello: Hello,
}

impl Client {
    /// Connects and says hello, both within `limit`.
    pub fn connect(path: &Path, limit: Duration) -> Result<Self, ClientError> {
        let unreachable = |source| ClientError::Unreachable { path: path.to_owned(), source };
        let stream = UnixStream::connect(path).map_err(unreachable)?;
        let hello = Hello { version: 0, program: String::new(), pid: 0 };
        let mut client = Self { stream: BufReader::new(stream), hello };
        client.hello = client.call(&Request::Hello { version: WIRE_VERSION }, limit)?;
        if client.hello.version != WIRE_VERSION {
            return Err(ClientError::Version(client.hello.version));
        }
        Ok(client)
    }

    /// Who answers.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// See [`Request::Configure`].
    pub fn configure(
        &mut self,
        service: &str,
        structure: Structure,
        limit: Duration,
    ) -> Result<Observed, ClientError> {
        self.call(&Request::Configure { service: service.to_owned(), structure }, limit)
    }

    /// See [`Request::Switch`].
    pub fn switch(
        &mut self,
        service: &str,
        expected_generation: u64,
        operation: &str,
        target: Target,
        limit: Duration,
    ) -> Result<Switched, ClientError> {
        let (service, operation) = (service.to_owned(), operation.to_owned());
        self.call(&Request::Switch { service, expected_generation, operation, target }, limit)
    }

    /// See [`Request::Observe`].
    pub fn observe(
        &mut self,
        service: &str,
        limit: Duration,
    ) -> Result<Option<Observed>, ClientError> {
        self.call(&Request::Observe { service: service.to_owned() }, limit)
    }

    /// See [`Request::List`].
    pub fn list(&mut self, limit: Duration) -> Result<Vec<Observed>, ClientError> {
        self.call(&Request::List, limit)
    }

    /// See [`Request::Traffic`].
    pub fn traffic(
        &mut self,
        service: &str,
        limit: Duration,
    ) -> Result<Vec<TargetTraffic>, ClientError> {
        self.call(&Request::Traffic { service: service.to_owned() }, limit)
    }

    /// See [`Request::Drain`].
    pub fn drain(
        &mut self,
        service: &str,
        target: &str,
        limits: Option<DrainLimits>,
        limit: Duration,
    ) -> Result<Drained, ClientError> {
        let (service, target) = (service.to_owned(), target.to_owned());
        self.call(&Request::Drain { service, target, limits }, limit)
    }

    /// See [`Request::Admit`].
    pub fn admit(
        &mut self,
        service: &str,
        target: Target,
        token: &str,
        lifetime_s: u64,
        limit: Duration,
    ) -> Result<(), ClientError> {
        let (service, token) = (service.to_owned(), token.to_owned());
        self.call(&Request::Admit { service, target, token, lifetime_s }, limit)
    }

    /// See [`Request::EndPasses`].
    pub fn end_passes(&mut self, service: &str, limit: Duration) -> Result<(), ClientError> {
        self.call(&Request::EndPasses { service: service.to_owned() }, limit)
    }

    /// See [`Request::Maintenance`].
    pub fn maintenance(
        &mut self,
        service: &str,
        on: bool,
        limit: Duration,
    ) -> Result<Observed, ClientError> {
        self.call(&Request::Maintenance { service: service.to_owned(), on }, limit)
    }

    /// See [`Request::Forget`].
    pub fn forget(&mut self, service: &str, limit: Duration) -> Result<(), ClientError> {
        self.call(&Request::Forget { service: service.to_owned() }, limit)
    }

    /// See [`Request::Status`].
    pub fn status(&mut self, limit: Duration) -> Result<Status, ClientError> {
        self.call(&Request::Status, limit)
    }

    fn call<T: DeserializeOwned>(
        &mut self,
        request: &Request,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let line = self.exchange(request, limit).map_err(ClientError::Broken)?;
        let reply = serde_json::from_slice(&line);
        match reply.map_err(|error| ClientError::Broken(error.into()))? {
            Reply::Ok(value) => Ok(value),
            Reply::Failed(failure) => Err(failure.into()),
        }
    }

    fn exchange(&mut self, request: &Request, limit: Duration) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + limit;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_ref().set_write_timeout(Some(limit.max(Duration::from_millis(1))))?;
        self.stream.get_mut().write_all(&line)?;
        line.clear();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.get_ref().set_read_timeout(Some(left))?;
            let room = (LINE_BYTES_MAX - line.len()) as u64;
            match (&mut self.stream).take(room).read_until(b'\n', &mut line) {
                Ok(_) if line.ends_with(b"\n") => return Ok(line),
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
    }
}
