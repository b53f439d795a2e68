//! `cargo xtask bench NAME`: measures and says how. Numbers in `docs/benchmarks.md` come from here and from nowhere else.

mod cpu;
mod crash;
mod footprint;
mod growth;
mod hardening;
mod lost;
mod nginx;
mod page;
mod peers;
mod powercut;
mod proxy;
mod rig;
mod sheet;
mod switch;
mod upload;
mod wrk;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use sheet::Sheet;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// `cargo xtask bench`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What is measured.
    name: Name,
    /// In about a minute, with fewer rounds.
    #[arg(long)]
    quick: bool,
    /// One object a line.
    #[arg(long)]
    json: bool,
    /// Puts the figures into docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Crashes at every step, simulated and real.
    Crash,
    /// Requests lost over deploys.
    Lost,
    /// Times of switch, rollback and deploy.
    Switch,
    /// CPU per proxied request beside nginx and Caddy.
    Cpu,
    /// Memory, idle CPU, start and size.
    Footprint,
    /// One proxy with a thousand services.
    Growth,
    /// All of these.
    All,
    /// Requests lost over deploys behind nginx, by flag and by reload.
    LostNginx,
    /// Times of rollback and deploy behind nginx.
    RollbackNginx,
    /// A release over SSH beside rsync.
    Upload,
    /// Power cuts at every step of a deploy; boots hosts of the lab, so not part of `all`.
    Powercut,
    /// Scores of the units that `setup` writes; boots a host of the lab, so not part of `all`.
    Hardening,
}

/// Set for the optimized program that does the measuring.
const MEASURING: &str = "XTASK_BENCH_MEASURES";

/// The programs that are measured.
#[derive(Debug, Clone)]
struct Programs {
    alcedo: PathBuf,
    xtask: PathBuf,
}

/// Measures. Success means measured; whether a figure is as wanted stands beside it.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let benches = benches(options.name)?;
    if std::env::var_os(MEASURING).is_none() {
        return Err(measure_with_optimized_program()?);
    }
    let programs = Programs::find()?;
    let mut sheet = Sheet::new(options.quick, options.json);
    for (name, bench) in benches {
        sheet.begin(name);
        bench(&programs, &mut sheet).with_context(|| format!("measure {name}"))?;
        sheet.end();
    }
    if options.write {
        page::write(&sheet)?;
    }
    Ok(ExitCode::SUCCESS)
}

type Bench = fn(&Programs, &mut Sheet) -> Result<()>;

const ALL: [(&str, Bench); 11] = [
    ("crash", crash::run),
    ("lost", lost::run),
    ("switch", switch::run),
    ("cpu", cpu::run),
    ("footprint", footprint::run),
    ("growth", growth::run),
    ("lost-nginx", nginx::lost),
    ("rollback-nginx", nginx::rollback),
    ("upload", upload::run),
    ("powercut", powercut::run),
    ("hardening", hardening::run),
];

fn benches(name: Name) -> Result<Vec<(&'static str, Bench)>> {
    let one = |wanted: &str| ALL.into_iter().filter(|(name, _)| *name == wanted).collect();
    Ok(match name {
        Name::All => ALL.to_vec(),
        Name::Crash => one("crash"),
        Name::Lost => one("lost"),
        Name::Switch => one("switch"),
        Name::Cpu => one("cpu"),
        Name::Footprint => one("footprint"),
        Name::Growth => one("growth"),
        Name::LostNginx => one("lost-nginx"),
        Name::RollbackNginx => one("rollback-nginx"),
        Name::Upload => one("upload"),
        Name::Hardening => one("hardening"),
        Name::Powercut => one("powercut"),
    })
}

/// Returns only with an error: the optimized `xtask` takes this process over.
fn measure_with_optimized_program() -> Result<anyhow::Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--quiet", "-p", "alcedo", "-p", "xtask"]);
    ensure!(build.current_dir(xtask::repository()).status()?.success(), "build the programs");
    let program = target_dir().join("release/xtask");
    let mut measure = Command::new(&program);
    let error = measure.args(std::env::args_os().skip(1)).env(MEASURING, "1").exec();
    Ok(anyhow::Error::new(error).context(format!("start {}", program.display())))
}

fn target_dir() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    set.unwrap_or_else(|| xtask::repository().join("target"))
}

impl Programs {
    fn find() -> Result<Self> {
        let release = target_dir().join("release");
        let programs = Self { alcedo: release.join("alcedo"), xtask: release.join("xtask") };
        for program in [&programs.alcedo, &programs.xtask] {
            ensure!(program.is_file(), "find {}", program.display());
        }
        Ok(programs)
    }
}
