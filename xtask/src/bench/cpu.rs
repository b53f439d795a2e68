//! CPU per proxied request: alcedo, nginx with upstream keep-alive, nginx as in the posts, Caddy; in turn, in one run,
//! with equal logging. Then p99 at the same rate, open loop.

use super::peers::{self, Kind, Peer};
use super::proxy::{Proxy, target};
use super::sheet::{Sheet, Wanted, median};
use super::{Programs, wrk};
use anyhow::{Result, ensure};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use xtask::home::{Process, free_port, poll_until};
use xtask::load::{Dialect, Load, Shape, Target};

/// Where the proxies run when pinned, and where load and backend do.
const PROXY_CORE: u32 = 0;
const OTHER_CORE: u32 = 1;

pub(super) fn run(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    peers::install()?;
    let backend = Peer::start(Kind::Backend, None)?;
    let field = Field::start(programs, backend.address)?;
    let rounds = sheet.rounds(5, 2);
    let seconds = sheet.rounds(5, 2);
    field.warm_up()?;
    ensure!(
        field.alcedo.logs(),
        "log requests: alcedo proxy wrote no access log, so the comparison would be unfair"
    );
    let free = field.rounds(sheet, rounds, seconds, None)?;
    report(sheet, &free, "not pinned", rounds);
    for process in field.processes().iter().chain(&backend.processes()) {
        let is_backend = backend.processes().iter().any(|p| p.pid == process.pid);
        pin(process, if is_backend { OTHER_CORE } else { PROXY_CORE })?;
    }
    let pinned = field.rounds(sheet, rounds, seconds, Some(OTHER_CORE))?;
    report(sheet, &pinned, "pinned: proxy on one core, load and backend on the other", rounds);
    for process in field.processes().iter().chain(&backend.processes()) {
        unpin(process)?;
    }
    latency(sheet, &field)
}

/// The proxies, all in front of one backend. Order: alcedo, nginx, nginx as in the posts, Caddy.
struct Field {
    alcedo: Proxy,
    alcedo_address: SocketAddr,
    peers: Vec<Peer>,
}

/// One proxy's rounds.
#[derive(Debug, Default)]
struct Series {
    name: &'static str,
    us_per_request: Vec<f64>,
    per_second: Vec<f64>,
    requests: u64,
}

impl Field {
    fn start(programs: &Programs, backend: SocketAddr) -> Result<Self> {
        let alcedo_address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut alcedo = Proxy::start(programs)?;
        alcedo.serve("bench", alcedo_address, None, target("one", backend))?;
        let kinds = [Kind::Nginx, Kind::NginxAsInThePosts, Kind::Caddy];
        let peers = kinds.map(|kind| Peer::start(kind, Some(backend)));
        let peers = peers.into_iter().collect::<Result<_>>()?;
        Ok(Self { alcedo, alcedo_address, peers })
    }

    fn addresses(&self) -> Vec<(&'static str, SocketAddr, Vec<Process>)> {
        let mut all = vec![("alcedo", self.alcedo_address, vec![self.alcedo.process()])];
        for peer in &self.peers {
            let name = match peer.kind {
                Kind::Backend => "backend",
                Kind::Nginx => "nginx",
                Kind::NginxAsInThePosts => "nginx as in the posts",
                Kind::Caddy => "Caddy",
            };
            all.push((name, peer.address, peer.processes()));
        }
        all
    }

    fn processes(&self) -> Vec<Process> {
        self.addresses().into_iter().flat_map(|(_, _, processes)| processes).collect()
    }

    fn warm_up(&self) -> Result<()> {
        for (_, address, _) in self.addresses() {
            wrk::run(&format!("http://{address}/"), None, 1, None)?;
        }
        Ok(())
    }

    fn rounds(
        &self,
        sheet: &Sheet,
        rounds: u32,
        seconds: u32,
        core: Option<u32>,
    ) -> Result<Vec<Series>> {
        let all = self.addresses();
        let mut series: Vec<Series> =
            all.iter().map(|(name, ..)| Series { name, ..Series::default() }).collect();
        for round in 1..=rounds {
            for ((_, address, processes), series) in all.iter().zip(&mut series) {
                let before = cpu_us(processes);
                let done = wrk::run(&format!("http://{address}/"), None, seconds, core)?;
                let used = cpu_us(processes) - before;
                series.us_per_request.push(ratio(used, done.requests));
                series.per_second.push(done.per_second);
                series.requests += done.requests;
            }
            let words = series
                .iter()
                .map(|s| format!("{} {:.1}", s.name, s.us_per_request.last().unwrap_or(&0.0)));
            sheet.progress(&format!(
                "round {round} of {rounds}, µs/request: {}",
                words.collect::<Vec<_>>().join(", ")
            ));
        }
        Ok(series)
    }
}

fn report(sheet: &mut Sheet, series: &[Series], pinning: &str, rounds: u32) {
    let how = format!(
        "wrk -t1 -c64 over keep-alive to each in turn, {rounds} rounds, {pinning}; user and system time of the proxy's own processes from /proc/PID/stat; access log on for all; median"
    );
    let first_word = pinning.split(':').next().unwrap_or(pinning);
    for one in series {
        let figure = format!("{} CPU per request, {first_word}", one.name);
        sheet.put(&figure, median(&one.us_per_request), "µs", Wanted::Shown, one.requests, &how);
    }
    let [alcedo, nginx, posts, caddy] = series else { return };
    for (peer, limit) in [(nginx, 1.2), (posts, 0.4), (caddy, 0.3)] {
        // Each round's own ratio: what disturbs a round disturbs both.
        let pairs = alcedo.us_per_request.iter().zip(&peer.us_per_request);
        let ratios: Vec<f64> = pairs.map(|(ours, theirs)| ours / theirs).collect();
        let figure = format!("alcedo / {} CPU per request, {first_word}", peer.name);
        sheet.put(
            &figure,
            median(&ratios),
            "×",
            Wanted::AtMost(limit),
            alcedo.requests + peer.requests,
            &how,
        );
    }
}

/// What one client of ours gets through nginx at most, in requests a second. wrk costs less than the open-loop client:
/// half of wrk's rate would measure how long that client's own queue is.
fn maximum(nginx: SocketAddr, seconds: u64) -> Result<f64> {
    let target = Target { address: nginx, host: "bench".to_owned(), dialect: Dialect::Any };
    let since = Instant::now();
    let load = Load::start(target, Shape::Closed { connections: 64, slow: 0 })?;
    std::thread::sleep(Duration::from_secs(seconds));
    let tally = load.stop()?;
    Ok(f64::from(u32::try_from(tally.ok)?) / since.elapsed().as_secs_f64())
}

fn latency(sheet: &mut Sheet, field: &Field) -> Result<()> {
    let rounds = sheet.rounds(5, 2);
    let seconds = u64::from(sheet.rounds(10, 4));
    let all = field.addresses();
    let per_second = maximum(all[1].1, seconds)? / 2.0;
    let mut p99: Vec<Vec<f64>> = vec![Vec::new(); 2];
    let mut answered = 0;
    for _ in 0..rounds {
        for ((_, address, _), p99) in all.iter().take(2).zip(&mut p99) {
            let target =
                Target { address: *address, host: "bench".to_owned(), dialect: Dialect::Any };
            let load = Load::start(target, Shape::Open { per_second, connections: 64 })?;
            std::thread::sleep(Duration::from_secs(seconds));
            let tally = load.stop()?;
            ensure!(tally.lost == 0, "lose nothing: {}", tally.losses_in_words());
            answered += tally.ok;
            p99.push(tally.latency_ms(0.99));
        }
    }
    let how = format!(
        "open loop (Poisson) at {per_second:.0} requests/s, half of what the same client gets through nginx in a closed loop in this run, 64 connections, from the intended time of sending; {rounds} rounds of {seconds} s in turn; median of the rounds"
    );
    let (ours, theirs) = (median(&p99[0]), median(&p99[1]));
    sheet.put("alcedo p99 at half of nginx's maximum", ours, "ms", Wanted::Shown, answered, &how);
    sheet.put("nginx p99 at half of nginx's maximum", theirs, "ms", Wanted::Shown, answered, &how);
    sheet.put("alcedo / nginx p99", ours / theirs, "×", Wanted::AtMost(1.25), answered, &how);
    Ok(())
}

/// CPU time of all of them so far, in microseconds.
pub(super) fn cpu_us(processes: &[Process]) -> u64 {
    processes.iter().map(Process::cpu_us).sum()
}

/// `us / requests`.
#[expect(clippy::cast_precision_loss, reason = "both are far below 2^52")]
pub(super) fn ratio(us: u64, requests: u64) -> f64 {
    us as f64 / requests.max(1) as f64
}

fn pin(process: &Process, core: u32) -> Result<()> {
    taskset(process, &core.to_string())
}

fn unpin(process: &Process) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    taskset(process, &format!("0-{}", cores - 1))
}

fn taskset(process: &Process, cores: &str) -> Result<()> {
    let mut command = Command::new("taskset");
    command.args(["-a", "-c", "-p", cores, &process.pid.to_string()]).stdout(Stdio::null());
    let status = poll_until(Duration::from_secs(1), || {
        command.status().ok().filter(std::process::ExitStatus::success)
    });
    ensure!(status.is_some(), "pin process {}", process.pid);
    Ok(())
}
