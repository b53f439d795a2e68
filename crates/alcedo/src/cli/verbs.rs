//! The flags of each verb, and the examples that its help begins with.

use super::span::span;
use alcedo_core::Slot;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

pub(super) const INIT: &str = "Examples:
  alcedo init                  alcedo.toml from a Procfile, package.json, go.mod …
  alcedo init --host deploy@vps.example
  sudo alcedo init --adopt     from a blue-green set-up that was made by hand on this host";

pub(super) const CHECK: &str = "Examples:
  alcedo check                 the config and this host
  alcedo check --local         the config alone
  alcedo check --json          findings for a program; exit 1 when one is an error
  alcedo check --bundle report.txt   a report to send, secrets left out";

pub(super) const PLAN: &str = "Examples:
  alcedo plan                  what `alcedo deploy` would do
  alcedo plan 4be1c07          the same for a kept release or a commit
  alcedo plan --json           for a program";

pub(super) const DEPLOY: &str = "Examples:
  alcedo deploy                build and ship what is here
  alcedo deploy --wait bake    return with the verdict: for CI
  alcedo deploy dist/api       ship this file or directory, without building
  alcedo deploy 4be1c07        a kept release, or a commit built in a clean checkout
  alcedo deploy active         the same code with new settings
  alcedo deploy --stage        stop before the switch; `alcedo promote` goes on";

pub(super) const PROMOTE: &str = "Examples:
  alcedo promote               switch to the staged release
  alcedo promote --now         accept the release that is being judged, without waiting";

pub(super) const ABORT: &str = "Examples:
  alcedo abort                 before the switch: stop the new slot; while judged: back to stable";

pub(super) const ROLLBACK: &str = "Examples:
  alcedo rollback              back to the previous good release
  alcedo rollback 9f3c21a      back to a kept release";

pub(super) const RESOLVE: &str = "Examples:
  alcedo resolve blue          blue is live: the router is pointed at it and the journal says so";

pub(super) const STATUS: &str = "Examples:
  alcedo status                this app; outside an app's directory, every app of this host
  alcedo status --watch        redrawn every second; B goes back, P accepts
  alcedo status --json         for a program; exit 0 only when healthy";

pub(super) const HISTORY: &str = "Examples:
  alcedo history               the deploys so far
  alcedo history d42           one of them again, step by step";

pub(super) const RELEASES: &str = "Examples:
  alcedo releases              what can be gone back to
  alcedo releases pin 4be1c07  keep it, however old it gets";

pub(super) const LOGS: &str = "Examples:
  alcedo logs                  the last 100 lines of the live slot
  alcedo logs -f               and what comes
  alcedo logs --slot green -n 500
  alcedo logs --release 4be1c07
  alcedo logs --deploy d42     what `prepare` wrote";

pub(super) const RETIRE: &str = "Examples:
  alcedo retire                stop the slot without traffic; rollback is then a start";

pub(super) const PRUNE: &str = "Examples:
  alcedo prune --dry-run       what would go, with sizes
  alcedo prune                 remove it";

pub(super) const CONFIG: &str = "Examples:
  alcedo config                every effective setting with its origin
  alcedo config -e staging     of another environment
  alcedo config --diff         against what the host runs";

pub(super) const SETUP: &str = "Examples:
  alcedo setup --dry-run       users, units and rules for this host and this app: the diff of each
  sudo alcedo setup            do it
  alcedo setup --host root@vps.example   the same there: brings this program, makes the account of `host`
  sudo alcedo setup --remove   take it back; releases and shared files stay
  alcedo setup --user --remove stop everything of yours; releases stay
  sudo alcedo setup --purge    these go as well; asks for the app's name
  alcedo setup --user          start daemon and proxy at boot, without root";

pub(super) const PREVIEW: &str = "Examples:
  alcedo preview               after alcedo deploy --stage: a link on your own domain
  alcedo preview --tunnel      the same on a port of this machine
  alcedo preview --off         no link is good any more";

pub(super) const DEMO: &str = "Examples:
  alcedo demo                  under two minutes; leaves nothing behind
  alcedo demo --keep           leave it running and print its addresses
  alcedo demo --stop DIR       stop what --keep left running
  alcedo demo --json           the figures for a program";

pub(super) const KEY: &str = "Examples:
  alcedo key ci                a key for CI: what goes to the host, and what into CI's secrets
  alcedo key ci --out ci_key   write it to ci_key and ci_key.pub instead of the terminal";

pub(super) const SCHEMA: &str = "Examples:
  alcedo schema > alcedo.schema.json";

pub(super) const COMPLETIONS: &str = "Examples:
  alcedo completions bash > ~/.local/share/bash-completion/completions/alcedo
  alcedo completions zsh > ~/.zfunc/_alcedo
  alcedo completions fish > ~/.config/fish/completions/alcedo.fish";

/// `init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Read the hand-made set-up of this host, and write what takes it over; changes nothing else
    #[arg(long)]
    pub(crate) adopt: bool,
}

/// `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The config alone, no host
    #[arg(long)]
    pub(crate) local: bool,
    /// Write a report to send: findings, versions, units and sites, without secrets
    #[arg(long, value_name = "FILE", conflicts_with = "local")]
    pub(crate) bundle: Option<std::path::PathBuf>,
}

/// `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Path, kept release, git ref; absent: build, and ship `release.source`
    pub(crate) source: Option<String>,
}

/// `deploy`.
#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags are what people type")]
pub(crate) struct DeployArgs {
    /// Path, kept release, git ref; absent: build, and ship `release.source`
    pub(crate) source: Option<String>,
    /// Stop before the switch
    #[arg(long)]
    pub(crate) stage: bool,
    /// Why; default: the commits since the live release
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Return when the switch is verified, or with the verdict
    #[arg(long, value_name = "UNTIL", default_value = "switch")]
    pub(crate) wait: Wait,
    /// Return as soon as the release is on the host
    #[arg(long, conflicts_with_all = ["wait", "follow"])]
    pub(crate) detach: bool,
    /// Join the deploy under way; never starts one
    #[arg(long, conflicts_with_all = ["source", "stage", "accept", "retry", "supersede", "plan", "note"])]
    pub(crate) follow: bool,
    /// Accept a "NOT zero-downtime because", by its id
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(crate) accept: Vec<String>,
    /// Wait for a lock, at most so long
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) wait_lock: Option<Duration>,
    /// Go back to stable first when another release is being judged
    #[arg(long)]
    pub(crate) supersede: bool,
    /// Although the release is marked bad
    #[arg(long)]
    pub(crate) retry: bool,
    /// Do exactly this plan, or refuse
    #[arg(long, value_name = "ID")]
    pub(crate) plan: Option<String>,
    /// Not in this version
    #[arg(long, hide = true, value_name = "REASON")]
    pub(crate) skip_gates: Option<String>,
}

/// Until when `deploy` waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// The switch is verified.
    #[default]
    Switch,
    /// The verdict.
    Bake,
}

/// `promote`.
#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    /// While it is judged: accept without waiting
    #[arg(long)]
    pub(crate) now: bool,
}

/// `rollback`.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// An id, a unique part of one, `previous` or `stable`; absent: the previous good release
    pub(crate) release: Option<String>,
}

/// `resolve`.
#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// `blue` or `green`
    pub(crate) slot: Slot,
}

/// `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Redraw every second; in a pipe, a line for each change
    #[arg(short, long)]
    pub(crate) watch: bool,
}

/// `history`.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// A deploy, like d42
    pub(crate) id: Option<String>,
}

/// `releases`.
#[derive(Debug, Args)]
pub(crate) struct ReleasesArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<ReleasesVerb>,
}

/// What `releases` changes.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ReleasesVerb {
    /// Keep a release, however old it gets
    Pin {
        /// An id, a unique part of one, or active, previous, stable
        release: String,
    },
    /// Let a pinned release go with the others
    Unpin {
        /// An id, a unique part of one, or active, previous, stable
        release: String,
    },
}

/// `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Of this slot
    #[arg(long)]
    pub(crate) slot: Option<Slot>,
    /// Of this release, the last time it ran
    #[arg(long, conflicts_with = "slot")]
    pub(crate) release: Option<String>,
    /// Of this process of the slot
    #[arg(long, value_name = "NAME")]
    pub(crate) process: Option<String>,
    /// What `prepare` of this deploy wrote
    #[arg(long, value_name = "ID", conflicts_with_all = ["slot", "release", "process"])]
    pub(crate) deploy: Option<String>,
    /// How many lines
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 100)]
    pub(crate) lines: u32,
    /// And what comes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Not in this version
    #[arg(long, hide = true, value_name = "TIME", value_parser = span)]
    pub(crate) since: Option<Duration>,
}

/// `prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Say what would go, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Against what the host runs
    #[arg(long)]
    pub(crate) diff: bool,
}

/// `setup`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags are what people type")]
pub(crate) struct SetupArgs {
    /// Without root, for this user
    #[arg(long)]
    pub(crate) user: bool,
    /// Take it back
    #[arg(long)]
    pub(crate) remove: bool,
    /// Show every file and command, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Take it back and delete releases, shared files and the app's user: asks for the app's name
    #[arg(long, conflicts_with = "user")]
    pub(crate) purge: bool,
    /// The app's name, for --purge where nobody can be asked
    #[arg(long, value_name = "APP", requires = "purge")]
    pub(crate) confirm: Option<String>,
    /// With --host: the public key that the account of `host` lets in; else the one in ~/.ssh
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// The account that people log in to
    #[arg(long, hide = true, requires = "account_key")]
    pub(crate) account: Option<String>,
    /// The key that it lets in
    #[arg(long, hide = true)]
    pub(crate) account_key: Option<String>,
    /// Not in this version
    #[arg(long, hide = true, value_name = "OLD")]
    pub(crate) rename: Option<String>,
    /// The program that units start, instead of this one
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    pub(crate) binary: Option<PathBuf>,
}

/// `preview`.
#[derive(Debug, Args)]
pub(crate) struct PreviewArgs {
    /// Open it on a port of this machine, for as long as this runs, instead of a link
    #[arg(long)]
    pub(crate) tunnel: bool,
    /// End every link
    #[arg(long, conflicts_with = "tunnel")]
    pub(crate) off: bool,
}

/// `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave it running and print its addresses
    #[arg(long)]
    pub(crate) keep: bool,
    /// Stop what `--keep` left running in this directory, and remove it
    #[arg(long, value_name = "DIR", conflicts_with = "keep")]
    pub(crate) stop: Option<PathBuf>,
}

/// `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// bash, zsh, fish, powershell or elvish
    pub(crate) shell: clap_complete::Shell,
}

/// `__names`.
#[derive(Debug, Args)]
pub(crate) struct NamesArgs {
    /// `apps` or `releases`
    pub(crate) kind: String,
}

/// `daemon` and `proxy`.
#[derive(Debug, Args)]
pub(crate) struct ProcessArgs {
    /// Start what belongs to it, and return: what a boot runs
    #[arg(long)]
    pub(crate) boot: bool,
}

/// `demo-app`.
#[derive(Debug, Args)]
pub(crate) struct DemoAppArgs {
    /// Where it listens, on 127.0.0.1
    #[arg(long)]
    pub(crate) port: u16,
}

/// `key`.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// `ci`
    #[arg(value_name = "WHICH", num_args = 0..)]
    pub(crate) words: Vec<String>,
    /// Write the private key to FILE, and the public one to FILE.pub
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<std::path::PathBuf>,
}

/// `host`.
#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// What the key may do, apart by commas; `all`
    #[arg(long)]
    pub(crate) verbs: Option<String>,
    /// With which apps, apart by commas
    #[arg(long)]
    pub(crate) apps: Option<String>,
    /// VERB and APP, where no forced command holds them
    pub(crate) words: Vec<std::ffi::OsString>,
}
