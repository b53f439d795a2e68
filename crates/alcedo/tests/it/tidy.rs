//! The laws of the tree (ARCHITECTURE.md): who may import whom, how long a file may be, what exists.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

/// Every Rust file below a directory, with its text.
fn sources(below: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(below)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                found.push((path.strip_prefix(root()).expect("inside").to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "nothing below {below}");
    found
}

/// Lines of code (not of comments) that contain one of the words.
fn lines_with(files: &[(PathBuf, String)], words: &[&str]) -> Vec<String> {
    let code = |line: &&str| !line.trim_start().starts_with("//");
    let hit = |line: &&str| words.iter().any(|w| line.contains(w));
    let of_file = |(path, text): &(PathBuf, String)| {
        text.lines()
            .filter(code)
            .filter(hit)
            .map(|l| format!("{}: {}", path.display(), l.trim()))
            .collect::<Vec<_>>()
    };
    files.iter().flat_map(of_file).collect()
}

fn none(found: Vec<String>, law: &str) {
    assert!(found.is_empty(), "{law}:\n{}", found.join("\n"));
}

#[test]
fn core_imports_no_other_crate_of_ours_and_does_nothing() {
    let words = [
        "alcedo_proxy",
        "tokio::",
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "std::process",
        "std::thread",
    ];
    none(lines_with(&sources("crates/core/src"), &words), "core decides and does nothing");
}

#[test]
fn proxy_never_heard_of_core_or_of_deploys() {
    let files = sources("crates/proxy/src");
    none(lines_with(&files, &["alcedo_core"]), "proxy never imports core");
    let told = |(path, text): &(PathBuf, String)| {
        let lower = text.to_lowercase();
        let words = lower.split(|c: char| !c.is_ascii_alphanumeric());
        let bad: Vec<_> = words
            .filter(|w| ["deploy", "deploys", "slot", "slots", "blue", "green"].contains(w))
            .collect();
        (!bad.is_empty()).then(|| format!("{}: {bad:?}", path.display()))
    };
    none(
        files.iter().filter_map(told).collect(),
        "proxy knows services, targets and opaque labels",
    );
}

#[test]
fn engine_sees_ports_only() {
    let words = [
        "crate::adapters",
        "crate::daemon",
        "crate::report",
        "crate::commands",
        "crate::transport",
        "crate::shim",
    ];
    none(
        lines_with(&sources("crates/alcedo/src/engine"), &words),
        "engine sees the world through ports",
    );
}

#[test]
fn report_sees_events_only() {
    let words = [
        "crate::engine::drive",
        "crate::engine::actor",
        "crate::adapters::runner",
        "crate::daemon",
    ];
    none(
        lines_with(&sources("crates/alcedo/src/report"), &words),
        "report shows events and does nothing",
    );
}

#[test]
fn commands_reach_hosts_through_transport() {
    let words = [
        "crate::engine::drive",
        "crate::engine::actor",
        "EmbeddedRouter",
        "SqliteJournal",
        "ProcessRunner",
    ];
    none(
        lines_with(&sources("crates/alcedo/src/commands"), &words),
        "commands reach hosts through transport",
    );
}

#[test]
fn programs_are_started_in_one_file_and_clocks_read_in_one() {
    let files: Vec<_> = sources("crates/alcedo/src")
        .into_iter()
        .filter(|(path, _)| !path.to_string_lossy().contains("tests"))
        .collect();
    let besides = |name: &str| -> Vec<_> {
        files.iter().filter(|(path, _)| !path.to_string_lossy().contains(name)).cloned().collect()
    };
    none(
        lines_with(&besides("adapters/exec"), &["process::Command"]),
        "programs are started in adapters/exec",
    );
    let clocks = ["SystemTime::now", "Timestamp::now", "Zoned::now"];
    none(
        lines_with(&besides("adapters/clock"), &clocks),
        "the wall clock is read in adapters/clock",
    );
}

#[test]
fn no_file_is_too_long() {
    let too_long = |(path, text): &(PathBuf, String)| {
        let lines = text.lines().count();
        (lines > 600).then(|| format!("{}: {lines} lines", path.display()))
    };
    let files = ["crates", "xtask/src"].map(sources).concat();
    // The simulator's host implements every port in one place, on purpose.
    none(files.iter().filter_map(too_long).collect(), "a file has at most 600 lines");
}

#[test]
fn every_page_that_is_named_exists() {
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "docs/guide/first-deploy.md",
        "docs/guide/configuration.md",
    ] {
        let text =
            fs::read_to_string(root().join(page)).unwrap_or_else(|_| panic!("{page} is missing"));
        let base = root().join(page).parent().expect("a directory").to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let missing: Vec<_> = links
            .filter(|l| !l.starts_with("http") && !l.starts_with('#'))
            .filter(|l| !base.join(l.split('#').next().unwrap_or(l)).exists())
            .collect();
        assert!(missing.is_empty(), "{page} names {missing:?}");
    }
}
