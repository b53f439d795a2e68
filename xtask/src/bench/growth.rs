//! What a thousand services cost: switch (with its durable write) and CPU per request, beside a proxy with one service.

use super::cpu::{cpu_us, ratio};
use super::peers::{self, Kind, Peer};
use super::proxy::{LIMIT, Proxy, target};
use super::sheet::{Sheet, Wanted, median};
use super::{Programs, wrk};
use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;
use xtask::home::free_port;

const MANY: u32 = 1_000;
/// The service in the middle is the one that is measured.
const MEASURED: u32 = MANY / 2;

pub(super) fn run(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    peers::install()?;
    let backend = Peer::start(Kind::Backend, None)?;
    let mut one = Side::start(programs, backend.address, MEASURED..=MEASURED)?;
    sheet.progress("a proxy gets 1,000 services");
    let mut many = Side::start(programs, backend.address, 1..=MANY)?;
    let rounds = sheet.rounds(7, 3);
    let seconds = sheet.rounds(5, 2);
    let switches = sheet.rounds(100, 30);
    for round in 1..=rounds {
        for side in [&mut one, &mut many] {
            side.requests(seconds)?;
            side.switches(switches, backend.address)?;
        }
        sheet.progress(&format!("round {round} of {rounds}"));
    }
    let switches = u64::from(switches * rounds);
    let how = "wall time of the control call, durable write included; two proxies in turn, median";
    sheet.put("switch with 1 service", median(&one.switch_us), "µs", Wanted::Shown, switches, how);
    sheet.put(
        "switch with 1,000 services",
        median(&many.switch_us),
        "µs",
        Wanted::Shown,
        switches,
        how,
    );
    let share = median(&many.switch_us) / median(&one.switch_us);
    sheet.put("switch, 1,000 services / 1", share, "×", Wanted::AtMost(1.1), switches, how);
    let how = format!(
        "wrk -t1 -c64 over keep-alive to both in turn, {rounds} rounds of {seconds} s; /proc/PID/stat; median"
    );
    sheet.put(
        "CPU per request with 1 service",
        median(&one.us_per_request),
        "µs",
        Wanted::Shown,
        one.answered,
        &how,
    );
    sheet.put(
        "CPU per request with 1,000 services",
        median(&many.us_per_request),
        "µs",
        Wanted::Shown,
        many.answered,
        &how,
    );
    let pairs = many.us_per_request.iter().zip(&one.us_per_request);
    let share: Vec<f64> = pairs.map(|(many, one)| many / one).collect();
    sheet.put(
        "CPU per request, 1,000 services / 1",
        median(&share),
        "×",
        Wanted::AtMost(1.1),
        one.answered + many.answered,
        &how,
    );
    Ok(())
}

struct Side {
    proxy: Proxy,
    listen: SocketAddr,
    generation: u64,
    switch_us: Vec<f64>,
    us_per_request: Vec<f64>,
    answered: u64,
}

impl Side {
    fn start(
        programs: &Programs,
        backend: SocketAddr,
        services: std::ops::RangeInclusive<u32>,
    ) -> Result<Self> {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut proxy = Proxy::start(programs)?;
        for number in services {
            proxy.serve(&name(number), listen, Some(&domain(number)), target("one", backend))?;
        }
        Ok(Self {
            proxy,
            listen,
            generation: 1,
            switch_us: Vec::new(),
            us_per_request: Vec::new(),
            answered: 0,
        })
    }

    fn requests(&mut self, seconds: u32) -> Result<()> {
        let process = [self.proxy.process()];
        let before = cpu_us(&process);
        let done =
            wrk::run(&format!("http://{}/", self.listen), Some(&domain(MEASURED)), seconds, None)?;
        self.us_per_request.push(ratio(cpu_us(&process) - before, done.requests));
        self.answered += done.requests;
        Ok(())
    }

    fn switches(&mut self, count: u32, backend: SocketAddr) -> Result<()> {
        for _ in 0..count {
            let generation = self.generation;
            let to = target(if generation.is_multiple_of(2) { "one" } else { "two" }, backend);
            let since = Instant::now();
            let switched = self.proxy.client.switch(
                &name(MEASURED),
                generation,
                &format!("op-{generation}"),
                to,
                LIMIT,
            );
            self.switch_us.push(since.elapsed().as_secs_f64() * 1e6);
            self.generation = switched.context("switch")?.generation;
        }
        Ok(())
    }
}

fn name(number: u32) -> String {
    format!("s{number}")
}

fn domain(number: u32) -> String {
    format!("s{number}.example")
}
