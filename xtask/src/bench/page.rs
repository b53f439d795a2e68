//! `docs/benchmarks.md`: written from figures, never by hand. A bench that was not run keeps its section.

use super::sheet::{Figure, Sheet, number};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt::Write;

const HEAD: &str = "# Benchmarks

Written by `cargo xtask bench NAME --write`; never edited by hand. `cargo xtask bench NAME` repeats a table here, on any
machine. Ratios and CPU per request hold better than rates; every row says how it was measured.
";

/// Replaces the sections of the benches that were run.
pub(super) fn write(sheet: &Sheet) -> Result<()> {
    let path = xtask::repository().join("docs/benchmarks.md");
    let mut sections = sections(&std::fs::read_to_string(&path).unwrap_or_default());
    let machine = machine();
    for (bench, _) in super::ALL {
        let figures: Vec<&Figure> =
            sheet.figures.iter().filter(|figure| figure.bench == bench).collect();
        if !figures.is_empty() {
            sections.insert(bench.to_owned(), section(&figures, &machine, sheet.quick));
        }
    }
    let mut text = HEAD.to_owned();
    for (bench, _) in super::ALL {
        if let Some(section) = sections.get(bench) {
            write!(text, "\n## {bench}\n{section}").context("write to memory")?;
        }
    }
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

fn sections(text: &str) -> BTreeMap<String, String> {
    let parts = text.split("\n## ").skip(1).filter_map(|part| part.split_once('\n'));
    parts
        .map(|(name, body)| (name.to_owned(), format!("{}\n", body.trim_end_matches('\n'))))
        .collect()
}

fn section(figures: &[&Figure], machine: &str, quick: bool) -> String {
    let mut text =
        format!("\n{machine}{}\n\n", if quick { " Quick run: fewer rounds." } else { "" });
    text.push_str("| figure | measured | wanted | | n | how |\n|---|---:|---|---|---:|---|\n");
    for figure in figures {
        let met = match (figure.wanted.as_str(), figure.met) {
            ("-", _) => "",
            (_, true) => "met",
            (_, false) => "**missed**",
        };
        let measured = format!("{} {}", number(figure.value), figure.unit);
        text.push_str(&format!(
            "| {} | {} | {} | {met} | {} | {} |\n",
            figure.figure,
            measured.trim(),
            figure.wanted,
            figure.n,
            figure.how
        ));
    }
    text
}

/// What it was measured on, without its name.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cpu = cpu.trim_start_matches(['\t', ' ', ':']);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim().split('-').next().unwrap_or_default().to_owned();
    format!("Measured on {cores} cores ({cpu}), Linux {kernel}.")
}
