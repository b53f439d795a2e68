//! Words that are understood only to be refused: what the interface names and this version lacks, and words of other
//! tools, which are answered with ours.

use super::{Cli, Verb};
use crate::api::Failed;
use clap::{Arg, ArgAction, Command};

/// Why the command line is not done.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Not understood; or help, or the version.
    Usage(Box<clap::Error>),
    /// Understood, and not here.
    NotHere(Failed),
}

/// Verbs of a later version, each with what does a part of it today.
const LATER: &[(&str, Option<&str>)] = &[
    ("run", None),
    ("secrets", Some("[shared] files carry them: shared.files = [\".env\"]")),
    ("contract", None),
    ("debug", Some("alcedo logs --release RELEASE")),
    ("maintenance", None),
    ("pause", None),
    ("resume", None),
    ("lock", None),
    ("unlock", None),
    ("bench-switch", Some("cargo xtask bench switch")),
    ("user", None),
    ("token", None),
    ("man", Some("alcedo VERB --help")),
];

/// Words of other tools, ours, and whether ours is in this version.
const FOREIGN: &[(&str, &str, bool)] = &[
    ("doctor", "alcedo check", true),
    ("lint", "alcedo check", true),
    ("validate", "alcedo check", true),
    ("ps", "alcedo status", true),
    ("exec", "alcedo run", false),
    ("console", "alcedo run", false),
    ("cutover", "alcedo promote", true),
    ("switch", "alcedo promote", true),
    ("undo", "alcedo rollback", true),
    ("revert", "alcedo rollback", true),
    ("restart", "alcedo deploy active", true),
    ("redeploy", "alcedo deploy active", true),
    ("destroy", "alcedo setup --remove", true),
    ("remove", "alcedo setup --remove", true),
];

/// Hidden subcommands that swallow whatever follows.
pub(super) fn words() -> Vec<Command> {
    let names = LATER.iter().map(|(name, _)| *name).chain(FOREIGN.iter().map(|(name, _, _)| *name));
    names.map(swallow).collect()
}

/// The refusal of a word of [`words`].
pub(super) fn verb(word: &str) -> Option<Failed> {
    if let Some((name, hint)) = LATER.iter().find(|(name, _)| *name == word) {
        return Some(not_here(&format!("alcedo {name}"), *hint));
    }
    let (name, ours, here) = FOREIGN.iter().find(|(name, _, _)| *name == word)?;
    let rest = if *here { "" } else { ", and that is not in this version" };
    let failed = Failed::usage(format!("what other tools call `{name}` is `{ours}` here{rest}"));
    Some(if *here { failed.hint(*ours) } else { failed })
}

/// The refusal of a flag or a form that this version lacks.
pub(super) fn flag(cli: &Cli) -> Option<Failed> {
    match &cli.verb {
        Verb::Deploy(args) if args.skip_gates.is_some() => Some(not_here("--skip-gates", None)),
        Verb::Setup(args) => setup(args),
        Verb::Key(args) if args.words != ["ci"] => Some(key(&args.words)),
        Verb::Logs(args) if args.since.is_some() => Some(not_here(
            "--since",
            Some("what apps write carries no time of ours: -n says how many lines"),
        )),
        Verb::Init(_)
        | Verb::Check(_)
        | Verb::Plan(_)
        | Verb::Deploy(_)
        | Verb::Promote(_)
        | Verb::Abort
        | Verb::Rollback(_)
        | Verb::Resolve(_)
        | Verb::Status(_)
        | Verb::History(_)
        | Verb::Releases(_)
        | Verb::Logs(_)
        | Verb::Retire
        | Verb::Preview(_)
        | Verb::Prune(_)
        | Verb::Config(_)
        | Verb::Demo(_)
        | Verb::Key(_)
        | Verb::Host(_)
        | Verb::Schema
        | Verb::Completions(_)
        | Verb::Daemon(_)
        | Verb::Proxy(_)
        | Verb::DemoApp(_)
        | Verb::Names(_) => None,
    }
}

fn key(words: &[String]) -> Failed {
    match words.first() {
        None => Failed::usage("`alcedo key` wants to know which").hint("alcedo key ci"),
        Some(word) => not_here(&format!("alcedo key {word}"), Some("alcedo key ci")),
    }
}

fn setup(args: &super::SetupArgs) -> Option<Failed> {
    let form = [
        ("--user --dry-run", args.user && args.dry_run && !args.remove),
        ("--rename", args.rename.is_some()),
    ];
    if let Some((name, _)) = form.iter().find(|(_, given)| *given) {
        return Some(not_here(&format!("alcedo setup {name}"), Some("alcedo setup --help")));
    }
    None
}

fn not_here(what: &str, hint: Option<&str>) -> Failed {
    let failed = Failed::new("not-in-this-version", format!("`{what}` is not in this version"), 2);
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

fn swallow(name: &'static str) -> Command {
    let rest = Arg::new("rest")
        .num_args(0..)
        .allow_hyphen_values(true)
        .trailing_var_arg(true)
        .action(ArgAction::Append);
    Command::default().name(name).hide(true).disable_help_flag(true).arg(rest)
}
