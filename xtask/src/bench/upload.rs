//! What an upload costs, beside `rsync -az` over the same SSH, in one run. Both in turn, both against the same older
//! version on the other side, every byte of both directions counted by a relay in between.

use super::Programs;
use super::sheet::{Sheet, Wanted, median};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use xtask::home::{Home, free_port};
use xtask::noise;
use xtask::packages::{self, Tool};
use xtask::sshd::{Key, Sshd};

const TOOLS: [Tool; 3] = [
    Tool { program: "sshd", package: "openssh-server", needed_for: "bench upload" },
    Tool { program: "rsync", package: "rsync", needed_for: "bench upload" },
    Tool { program: "zstd", package: "zstd", needed_for: "bench upload" },
];
/// Files of the tree, each of about 100 KB: 200 MB.
const FILES: u64 = 2_000;
const FILE_BYTES: usize = 100_000;
const BINARY_BYTES: usize = 50_000_000;

pub(super) fn run(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    let missing = packages::ensure(&TOOLS);
    ensure!(missing.is_empty(), "find {missing:?}");
    tree(programs, sheet)?;
    binary(programs, sheet)
}

fn tree(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    let files = if sheet.quick { FILES / 4 } else { FILES };
    let line = Line::new(programs)?;
    for n in 0..files {
        let dir = line.source().join(format!("dir-{}", n / 50));
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join(format!("file-{n}.js")), text(n, FILE_BYTES))?;
    }
    sheet.progress("first upload, first rsync");
    line.alcedo()?;
    line.rsync()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=u64::from(sheet.rounds(5, 2)) {
        change(&line.source(), round, files)?;
        let both = [line.alcedo()?, line.rsync()?];
        sheet.progress(&format!("round {round}: {} and {} bytes", both[0].bytes, both[1].bytes));
        let [a, b] = both;
        ours.push(a);
        theirs.push(b);
    }
    let n = ours.len() as u64;
    let how = format!(
        "{files} files of 100 KB, 1 % changed each round: half of these a line in the middle, half all of it; rsync -az to a \
         directory with the version before; bytes of both directions below SSH, time from the command to the last byte there"
    );
    let bytes = |all: &[Cost]| median(&all.iter().map(|c| to_f64(c.bytes)).collect::<Vec<_>>());
    let took =
        |all: &[Cost]| median(&all.iter().map(|c| c.took.as_secs_f64() * 1e3).collect::<Vec<_>>());
    let kb = |bytes: f64| bytes / 1e3;
    sheet.put("rsync -az, bytes", kb(bytes(&theirs)), "kB", Wanted::Shown, n, &how);
    let limit = kb(bytes(&theirs)) * 1.1;
    sheet.put("upload, bytes", kb(bytes(&ours)), "kB", Wanted::AtMost(limit), n, &how);
    sheet.put("rsync -az, time", took(&theirs), "ms", Wanted::Shown, n, &how);
    sheet.put("upload, time", took(&ours), "ms", Wanted::AtMost(took(&theirs)), n, &how);
    Ok(())
}

fn binary(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    let line = Line::new(programs)?;
    let path = line.source().join("app.bin");
    // Half of it packs, as machine code does.
    let mut bytes = noise(7, BINARY_BYTES / 2);
    bytes.extend(text(9, BINARY_BYTES / 2));
    std::fs::write(&path, &bytes)?;
    line.alcedo()?;
    line.rsync()?;
    bytes[10_000_000] ^= 0xff;
    bytes.splice(20_000_000..20_000_000, *b"a few more bytes");
    std::fs::write(&path, &bytes)?;
    let packed = Command::new("zstd").args(["-3", "-q", "-c"]).arg(&path).output()?.stdout.len();
    let (ours, theirs) = (line.alcedo()?, line.rsync()?);
    let how = "50 MB, one byte changed and sixteen put in; zstd -3 of the file";
    let kb = |bytes: u64| to_f64(bytes) / 1e3;
    sheet.put("50 MB binary, its zstd size", kb(packed as u64), "kB", Wanted::Shown, 1, how);
    sheet.put("50 MB binary, rsync -az, bytes", kb(theirs.bytes), "kB", Wanted::Shown, 1, how);
    let wanted = Wanted::AtMost(kb(packed as u64));
    sheet.put("50 MB binary, upload, bytes", kb(ours.bytes), "kB", wanted, 1, how);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn to_f64(count: u64) -> f64 {
    count as f64
}

/// What one transfer took.
#[derive(Debug, Clone, Copy)]
struct Cost {
    bytes: u64,
    took: Duration,
}

/// A host behind an SSH server, and a relay that counts.
struct Line {
    client: Home,
    host: Home,
    sshd: Sshd,
    key: Key,
    relay: Counter,
    app: PathBuf,
}

impl Line {
    fn new(programs: &Programs) -> Result<Self> {
        let (client, host) = (Home::new(&programs.alcedo)?, Home::new(&programs.alcedo)?);
        let bin = programs.alcedo.parent().context("find the programs")?;
        let path = format!("{}:/usr/bin:/bin", bin.display());
        let home = host.path().display().to_string();
        let sshd = Sshd::start(&[("ALCEDO_HOME", &home), ("PATH", &path)])?;
        let key = sshd.admit("bench", "")?;
        let relay = Counter::start(sshd.port())?;
        let app = client.path().join("app");
        std::fs::create_dir_all(app.join("src"))?;
        let text = format!(
            "app = \"bench\"\nrelease.source = \"src\"\nweb.command = \"{} app --port {{port}} --release {{release}}\"\n\
             health.path = \"/healthz\"\nbake.time = \"0s\"\nrouter.listen = [\"127.0.0.1:{}\"]\n",
            programs.xtask.display(),
            free_port()?
        );
        std::fs::write(app.join("alcedo.toml"), text)?;
        Ok(Self { client, host, sshd, key, relay, app })
    }

    fn source(&self) -> PathBuf {
        self.app.join("src")
    }

    /// A deploy; its cost is that until the host has every file.
    fn alcedo(&self) -> Result<Cost> {
        let mut command = self.client.command(&self.app, &["deploy", "--json"]);
        command.env("ALCEDO_HOST", self.sshd.host_at(self.relay.port));
        command.env("ALCEDO_SSH_KEY", &self.key.private);
        command.env("ALCEDO_KNOWN_HOSTS", self.sshd.known_hosts_at(self.relay.port));
        let before = self.relay.bytes();
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut cost = None;
        let stdout = child.stdout.take().context("read its output")?;
        for line in BufReader::new(stdout).lines() {
            let value: serde_json::Value = serde_json::from_str(&line?)?;
            let is_sent = value["event"] == "step-done" && value["step"] == "fetch";
            if is_sent && cost.is_none() {
                cost = Some(Cost { bytes: self.relay.bytes() - before, took: begun.elapsed() });
            }
        }
        let mut words = String::new();
        child.stderr.take().context("read its words")?.read_to_string(&mut words)?;
        ensure!(child.wait()?.success(), "deploy: {words}");
        cost.context("see the upload's end")
    }

    fn rsync(&self) -> Result<Cost> {
        let mut ssh = self.sshd.arguments_at(&self.key, self.relay.port);
        let login = ssh.pop().context("a login")?;
        let to = self.host.path().join("rsynced");
        let before = self.relay.bytes();
        let begun = Instant::now();
        let mut command = Command::new("rsync");
        command.args(["-az", "--delete", "-e"]).arg(format!("ssh {}", ssh.join(" ")));
        command.arg(format!("{}/", self.source().display()));
        command.arg(format!("{login}:{}/", to.display())).stdin(Stdio::null());
        let output = command.output().context("start rsync")?;
        if !output.status.success() {
            bail!("rsync: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(Cost { bytes: self.relay.bytes() - before, took: begun.elapsed() })
    }
}

/// Text that packs as source code does.
fn text(seed: u64, bytes: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "function",
        "return",
        "const",
        "value",
        "=>",
        "{",
        "}",
        "(state)",
        "await",
        "import",
        "export",
        "null",
        "===",
        "items.map",
        "length",
        ";",
    ];
    let mut out = Vec::with_capacity(bytes + 32);
    for pair in noise(seed + 1_000, bytes).chunks(2) {
        if out.len() >= bytes {
            break;
        }
        out.extend(WORDS[usize::from(pair[0] % 16)].as_bytes());
        if pair[0] > 200 {
            out.extend(format!("_{:x}{:x}\n", pair[0], pair.last().unwrap_or(&0)).bytes());
        }
        out.push(b' ');
    }
    out.truncate(bytes);
    out
}

/// 1 % of the files: every second one a line, the others all of it.
fn change(source: &Path, round: u64, files: u64) -> Result<()> {
    for n in 0..files / 100 {
        let number = (n * 97 + round * 31) % files;
        let path = source.join(format!("dir-{}/file-{number}.js", number / 50));
        let mut content = std::fs::read(&path)?;
        if n % 2 == 0 {
            let at = content.len() / 2;
            content.splice(at..at, format!("// round {round}, change {n}\n").bytes());
        } else {
            content = text(round * 100_000 + n, FILE_BYTES);
        }
        std::fs::write(&path, content)?;
    }
    Ok(())
}

/// Forwards to a port of this machine and counts the bytes of both directions.
struct Counter {
    port: u16,
    bytes: Arc<AtomicU64>,
}

impl Counter {
    fn start(to: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = bytes.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, to)))
                else {
                    continue;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                    let counted = counted.clone();
                    std::thread::spawn(move || forward(from, to, &counted));
                }
            }
        });
        Ok(Self { port, bytes })
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, counted: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    from.set_nodelay(true).ok();
    to.set_nodelay(true).ok();
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        counted.fetch_add(count as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}
