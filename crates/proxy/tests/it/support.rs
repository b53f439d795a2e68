//! A proxy on free ports, small backends and a client that sees every byte.

use alcedo_proxy::control::{Client, Observed};
use alcedo_proxy::state::{Address, Route, Structure, Target};
use alcedo_proxy::{Options, Proxy};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A running proxy with a directory of its own.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    proxy: Option<Proxy>,
}

impl Bench {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change)
    }

    pub(crate) fn start_in(dir: TempDir, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new(dir.path(), dir.path().join("control"));
        options.workers = Some(2);
        change(&mut options);
        let proxy = Some(Proxy::start(options).unwrap());
        Self { dir, proxy }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.dir.path().join("control"), LIMIT).unwrap()
    }

    /// Stops the proxy; the directory stays.
    pub(crate) fn stop(mut self) -> TempDir {
        self.proxy.take().unwrap().stop();
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    /// Configures `web` on a free port and switches it to the target; gives back where it is served.
    pub(crate) fn serve(&self, target: Target) -> SocketAddr {
        self.serve_as("web", anywhere(), target)
    }

    pub(crate) fn serve_as(
        &self,
        service: &str,
        structure: Structure,
        target: Target,
    ) -> SocketAddr {
        let mut client = self.client();
        let observed = client.configure(service, structure, LIMIT).unwrap();
        client.switch(service, observed.generation, &target.id.clone(), target, LIMIT).unwrap();
        address(&observed)
    }
}

/// Where a service is served.
pub(crate) fn address(observed: &Observed) -> SocketAddr {
    observed.listening[0].address.expect("it is listened on")
}

/// Every host on a free port of its own.
pub(crate) fn anywhere() -> Structure {
    Structure { listen: vec!["127.0.0.1:0".to_owned()], ..Structure::default() }
}

pub(crate) fn target(id: &str, address: SocketAddr) -> Target {
    Target {
        id: id.to_owned(),
        labels: vec![("X-Alcedo-Release".to_owned(), id.to_owned())],
        routes: vec![route("/", address)],
    }
}

pub(crate) fn route(prefix: &str, address: SocketAddr) -> Route {
    Route { domains: Vec::new(), prefix: prefix.to_owned(), addresses: vec![Address::Tcp(address)] }
}

/// Polls until `done` gives a value.
pub(crate) fn eventually<T>(what: &str, done: impl FnMut() -> Option<T>) -> T {
    let value = xtask::home::poll_until(LIMIT, done);
    value.unwrap_or_else(|| panic!("{what} did not happen within {LIMIT:?}"))
}

/// A message as it was on the wire.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    /// First line.
    pub(crate) start: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn path(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A connection that speaks HTTP/1.1 by hand.
pub(crate) struct Wire {
    pub(crate) stream: BufReader<TcpStream>,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Writes a request and reads its answer.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.write(request);
        self.read().expect("an answer")
    }

    pub(crate) fn get(&mut self, path: &str) -> Message {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: web.example\r\n\r\n"))
    }

    pub(crate) fn post(&mut self, path: &str, body: &str) -> Message {
        let length = body.len();
        self.ask(format!(
            "POST {path} HTTP/1.1\r\nHost: web.example\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// The head of the next message; `None` at the end of the connection.
    pub(crate) fn read_head(&mut self) -> Option<Message> {
        let mut message = Message { start: self.read_line()?, ..Message::default() };
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Some(message);
            }
            let (name, value) = line.split_once(':').expect("a header");
            message.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// The next message, whole; `None` when the connection ends before or within it.
    pub(crate) fn read(&mut self) -> Option<Message> {
        let mut message = self.read_head()?;
        if matches!(message.status(), 204 | 304 | 101) {
            return Some(message);
        }
        if message.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.read_chunk()? {
                message.body.extend(chunk);
            }
        } else if let Some(length) = message.header("content-length") {
            message.body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut message.body).ok()?;
        }
        Some(message)
    }

    /// One chunk; `Some(None)` for the last one.
    pub(crate) fn read_chunk(&mut self) -> Option<Option<Vec<u8>>> {
        let size = usize::from_str_radix(&self.read_line()?, 16).ok()?;
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk).ok()?;
        if size > 0 {
            self.read_line()?;
            return Some(Some(chunk));
        }
        while !self.read_line()?.is_empty() {}
        Some(None)
    }

    pub(crate) fn is_at_end(&mut self) -> bool {
        !matches!(self.stream.read(&mut [0]), Ok(1))
    }

    fn read_line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }
}

/// A server of one function, one thread a connection.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) requests: Arc<AtomicUsize>,
}

impl Backend {
    /// Calls `serve` for each connection.
    pub(crate) fn raw(serve: impl Fn(Wire) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let (counter, serve) = (connections.clone(), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                let (stream, serve) = (stream.unwrap(), serve.clone());
                std::thread::spawn(move || serve(Wire::new(stream)));
            }
        });
        Self { address, connections, requests }
    }

    /// Answers each request with status 200 and what `answer` says.
    pub(crate) fn new(answer: impl Fn(&Message) -> String + Send + Sync + 'static) -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        let backend = Self::raw(move |mut wire| {
            while let Some(request) = wire.read() {
                counter.fetch_add(1, Ordering::SeqCst);
                let body = answer(&request);
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
                if wire.stream.get_mut().write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
        Self { requests, ..backend }
    }

    /// Says its name.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::new(move |_| name.to_owned())
    }

    /// Says what it was asked.
    pub(crate) fn echo() -> Self {
        Self::new(|request| {
            let headers: Vec<String> =
                request.headers.iter().map(|(n, v)| format!("{n}: {v}")).collect();
            let body = String::from_utf8_lossy(&request.body);
            format!("{}\n{}\n\n{body}", request.start, headers.join("\n"))
        })
    }
}
