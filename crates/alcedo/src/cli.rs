//! What people type: verbs, flags, their help. Parses and refuses; never does anything.
//!
//! Everything that the interface names and this version lacks is known here, so that it is refused by name and never
//! accepted and ignored.

mod later;
mod span;
mod verbs;

pub(crate) use later::Refused;
pub(crate) use verbs::*;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

const TEMPLATE: &str =
    "{before-help}{about-with-newline}\n{usage-heading} {usage}\n\n{all-args}{after-help}";

const EXAMPLES: &str = "Examples:
  alcedo demo                  watch a deploy, a bad release and a rollback; needs nothing
  alcedo init                  write an alcedo.toml from what is here
  alcedo check                 what stands in the way
  alcedo deploy                build, prove, switch, judge
  alcedo status --watch        what is live, and how it does
  alcedo rollback              back to the release before, at once";

/// Blue-green deployments for the servers that people already own.
#[derive(Debug, Parser)]
#[command(
    name = "alcedo",
    version,
    before_help = EXAMPLES,
    help_template = TEMPLATE,
    max_term_width = 96,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Flags of every verb.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Globals {
    /// Directory to look for `alcedo.toml` from
    #[arg(short = 'C', long = "app-dir", global = true, value_name = "DIR")]
    pub(crate) app_dir: Option<PathBuf>,
    /// This `alcedo.toml`
    #[arg(short = 'c', long = "config", global = true, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The app by its name; needs no `alcedo.toml`
    #[arg(short, long, global = true, value_name = "APP", env = "ALCEDO_APP", hide_env = true)]
    pub(crate) app: Option<String>,
    /// Lay `[environments.NAME]` over the file
    #[arg(
        short,
        long,
        global = true,
        value_name = "NAME",
        env = "ALCEDO_ENVIRONMENT",
        hide_env = true
    )]
    pub(crate) environment: Option<String>,
    /// The machine: USER@HOST, `exec:PROGRAM …`, or `local`; else `host` of the file
    #[arg(long, global = true, value_name = "HOST", env = "ALCEDO_HOST", hide_env = true)]
    pub(crate) host: Option<String>,
    /// Data for programs on stdout, and nothing else there
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to colour
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub(crate) color: When,
    /// Never colour
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// One finished line per step, nothing redrawn
    #[arg(long, global = true)]
    pub(crate) plain: bool,
    /// Answer "go on?" with yes; accepts no "NOT zero-downtime because"
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
}

impl Globals {
    /// A variable that is set to nothing, as CI systems do, is unset. A flag that was typed so stays an error.
    fn forget_empty(&mut self, is_empty: &dyn Fn(&str) -> bool) {
        let named = [
            (&mut self.app, "ALCEDO_APP"),
            (&mut self.environment, "ALCEDO_ENVIRONMENT"),
            (&mut self.host, "ALCEDO_HOST"),
        ];
        for (value, name) in named {
            if value.as_deref() == Some("") && is_empty(name) {
                *value = None;
            }
        }
    }
}

/// When to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal.
    #[default]
    Auto,
    /// Also in a pipe.
    Always,
    /// Nowhere.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum Verb {
    /// Look at this directory and write a short `alcedo.toml`; never overwrites one
    #[command(before_help = verbs::INIT, help_template = TEMPLATE)]
    Init(InitArgs),
    /// Look at the config and this host: what stands in the way of a deploy
    #[command(before_help = verbs::CHECK, help_template = TEMPLATE)]
    Check(CheckArgs),
    /// Say what `deploy` would do, and change nothing
    #[command(before_help = verbs::PLAN, help_template = TEMPLATE)]
    Plan(PlanArgs),
    /// Bring a release: start it beside the live one, prove it, switch, judge it
    #[command(before_help = verbs::DEPLOY, help_template = TEMPLATE)]
    Deploy(DeployArgs),
    /// Switch to a staged release; with --now, accept one that is being judged
    #[command(before_help = verbs::PROMOTE, help_template = TEMPLATE)]
    Promote(PromoteArgs),
    /// Give up what is under way and return to the stable release
    #[command(before_help = verbs::ABORT, help_template = TEMPLATE)]
    Abort,
    /// Go back to the previous good release, or to RELEASE; asks nothing
    #[command(before_help = verbs::ROLLBACK, help_template = TEMPLATE)]
    Rollback(RollbackArgs),
    /// Say which slot is live: the way out of stuck and of drift
    #[command(before_help = verbs::RESOLVE, help_template = TEMPLATE)]
    Resolve(ResolveArgs),
    /// What is live, how it does, what comes next; exit 0 only when healthy
    #[command(before_help = verbs::STATUS, help_template = TEMPLATE)]
    Status(StatusArgs),
    /// The deploys so far; with ID, one of them again
    #[command(before_help = verbs::HISTORY, help_template = TEMPLATE)]
    History(HistoryArgs),
    /// What can be gone back to, and how long that takes
    #[command(before_help = verbs::RELEASES, help_template = TEMPLATE)]
    Releases(ReleasesArgs),
    /// What the app wrote; the live slot's last 100 lines
    #[command(before_help = verbs::LOGS, help_template = TEMPLATE)]
    Logs(LogsArgs),
    /// Stop the old slot now
    #[command(before_help = verbs::RETIRE, help_template = TEMPLATE)]
    Retire,
    /// Remove old releases
    #[command(before_help = verbs::PRUNE, help_template = TEMPLATE)]
    Prune(PruneArgs),
    /// Every effective setting and where it comes from
    #[command(before_help = verbs::CONFIG, help_template = TEMPLATE)]
    Config(ConfigArgs),
    /// Make this host start alcedo at boot
    #[command(before_help = verbs::SETUP, help_template = TEMPLATE)]
    Setup(SetupArgs),
    /// Look at the slot without traffic: a link for you alone, good for an hour
    #[command(before_help = verbs::PREVIEW, help_template = TEMPLATE)]
    Preview(PreviewArgs),
    /// A deploy, a bad release and a rollback of a built-in app under load, in a private directory
    #[command(before_help = verbs::DEMO, help_template = TEMPLATE)]
    Demo(DemoArgs),
    /// Make an SSH key that may only deploy, roll back and read status
    #[command(before_help = verbs::KEY, help_template = TEMPLATE)]
    Key(KeyArgs),
    /// The JSON Schema of `alcedo.toml`, for editors
    #[command(before_help = verbs::SCHEMA, help_template = TEMPLATE)]
    Schema,
    /// The completion script of a shell
    #[command(before_help = verbs::COMPLETIONS, help_template = TEMPLATE)]
    Completions(CompletionsArgs),
    /// The engine
    #[command(hide = true)]
    Daemon(ProcessArgs),
    /// The data plane
    #[command(hide = true)]
    Proxy(ProcessArgs),
    /// Another machine's way to the daemon: the forced command of an SSH key
    #[command(hide = true)]
    Host(HostArgs),
    /// The demo's app
    #[command(hide = true)]
    DemoApp(DemoAppArgs),
    /// Names for completion scripts, from what this host's alcedo last wrote down
    #[command(name = "__names", hide = true)]
    Names(NamesArgs),
}

/// Parses the command line, the program's name first.
///
/// # Errors
/// Help and version (which are for stdout), what clap does not understand, and what this version lacks.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Refused> {
    let matches = command()
        .try_get_matches_from(with_help(args))
        .map_err(|error| Refused::Usage(Box::new(error)))?;
    if let Some((verb, _)) = matches.subcommand()
        && let Some(failed) = later::verb(verb)
    {
        return Err(Refused::NotHere(failed));
    }
    let mut cli =
        Cli::from_arg_matches(&matches).map_err(|error| Refused::Usage(Box::new(error)))?;
    cli.globals.forget_empty(&|name| std::env::var(name).is_ok_and(|value| value.is_empty()));
    match later::flag(&cli) {
        Some(failed) => Err(Refused::NotHere(failed)),
        None => Ok(cli),
    }
}

/// `alcedo help VERB` as `alcedo VERB --help`.
fn with_help(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).is_some_and(|word| word == "help") {
        args.remove(1);
        args.push("--help".into());
    }
    args
}

/// The whole grammar, with the hidden words that are only understood to be refused.
pub(crate) fn command() -> clap::Command {
    Cli::command().subcommands(later::words())
}

#[cfg(test)]
mod tests;
