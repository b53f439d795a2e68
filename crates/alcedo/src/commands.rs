//! One file per verb: parse → call → report. Hosts are reached through `transport` only; nothing is decided here that the
//! daemon decides.

mod abort;
mod app;
mod check;
mod completions;
mod config;
mod demo;
mod deploy;
mod follow;
mod history;
mod init;
mod key;
mod logs;
mod names;
mod plan;
mod preview;
mod processes;
mod promote;
mod prune;
mod question;
mod releases;
mod resolve;
mod retire;
mod rollback;
mod schema;
mod session;
mod setup;
mod signals;
mod source;
mod status;
mod watch;

use crate::api::Failed;
use crate::cli::{self, Cli, Refused, Verb};
use crate::report::ended::exit;
use crate::report::error;
use session::Session;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command line, the program's name first.
pub(crate) fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    match cli::parse(args.iter().cloned()) {
        Ok(cli) => ExitCode::from(run(cli)),
        Err(Refused::NotHere(failed)) => {
            Session::bare(&args).refuse(&failed);
            ExitCode::from(failed.exit)
        }
        Err(Refused::Usage(error)) => ExitCode::from(usage(&error, &args)),
    }
}

fn run(cli: Cli) -> u8 {
    // Our own processes have no user in front of them.
    match &cli.verb {
        Verb::Daemon(args) => return processes::daemon(args),
        Verb::Proxy(args) => return processes::proxy(args),
        Verb::DemoApp(args) => return processes::demo_app(args),
        Verb::Names(args) => return names::print(args),
        Verb::Host(args) => return crate::host::main(args),
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
        | Verb::Preview(_)
        | Verb::Retire
        | Verb::Prune(_)
        | Verb::Config(_)
        | Verb::Setup(_)
        | Verb::Demo(_)
        | Verb::Key(_)
        | Verb::Schema
        | Verb::Completions(_) => {}
    }
    let mut session = Session::open(cli.globals);
    session.verb = host_verb(&cli.verb);
    let ends = ends_with_a_line(&cli.verb);
    let result = verb(&mut session, cli.verb);
    let code = result.unwrap_or_else(|error| {
        let failed = error::failed(&error);
        session.refuse(&failed);
        if ends {
            session.nothing_was_done(&failed);
        }
        failed.exit
    });
    match session.reporter.lost.take() {
        Some(error) => {
            let failed =
                Failed::new("stdout", format!("failed to write to stdout: {error}"), exit::FAILED);
            session.reporter.form = crate::report::Form::Lines;
            session.refuse(&failed);
            if code == exit::DONE { exit::FAILED } else { code }
        }
        None => code,
    }
}

fn verb(session: &mut Session, verb: Verb) -> anyhow::Result<u8> {
    match verb {
        Verb::Init(args) => init::run(session, &args),
        Verb::Check(args) => check::run(session, &args),
        Verb::Plan(args) => plan::run(session, &args),
        Verb::Deploy(args) => deploy::run(session, &args),
        Verb::Promote(args) => promote::run(session, &args),
        Verb::Abort => abort::run(session),
        Verb::Rollback(args) => rollback::run(session, &args),
        Verb::Resolve(args) => resolve::run(session, &args),
        Verb::Status(args) => status::run(session, &args),
        Verb::History(args) => history::run(session, &args),
        Verb::Releases(args) => releases::run(session, &args),
        Verb::Logs(args) => logs::run(session, &args),
        Verb::Preview(args) => preview::run(session, &args),
        Verb::Retire => retire::run(session),
        Verb::Prune(args) => prune::run(session, &args),
        Verb::Config(args) => config::run(session, &args),
        Verb::Setup(args) => setup::run(session, &args),
        Verb::Demo(args) => demo::run(session, &args),
        Verb::Key(args) => key::run(session, &args),
        Verb::Schema => schema::run(session),
        Verb::Completions(args) => completions::run(session, &args),
        Verb::Daemon(_) | Verb::Proxy(_) | Verb::DemoApp(_) | Verb::Names(_) | Verb::Host(_) => {
            Ok(exit::DONE)
        }
    }
}

/// What is said to another machine when it is connected to.
fn host_verb(verb: &Verb) -> &'static str {
    match verb {
        Verb::Check(_) => "check",
        Verb::Plan(_) => "plan",
        Verb::Deploy(_) => "deploy",
        Verb::Promote(_) => "promote",
        Verb::Abort => "abort",
        Verb::Rollback(_) => "rollback",
        Verb::Resolve(_) => "resolve",
        Verb::History(_) => "history",
        Verb::Releases(_) => "releases",
        Verb::Logs(_) => "logs",
        Verb::Preview(_) => "preview",
        Verb::Retire => "retire",
        Verb::Prune(_) => "prune",
        Verb::Config(_) => "config",
        Verb::Init(_)
        | Verb::Status(_)
        | Verb::Setup(_)
        | Verb::Demo(_)
        | Verb::Key(_)
        | Verb::Host(_)
        | Verb::Schema
        | Verb::Completions(_)
        | Verb::Daemon(_)
        | Verb::Proxy(_)
        | Verb::DemoApp(_)
        | Verb::Names(_) => "status",
    }
}

/// Verbs whose last line says what is live, and whose `--json` ends with `ended`.
fn ends_with_a_line(verb: &Verb) -> bool {
    match verb {
        Verb::Deploy(_) | Verb::Promote(_) | Verb::Abort | Verb::Rollback(_) => true,
        Verb::History(args) => args.id.is_some(),
        Verb::Init(_)
        | Verb::Check(_)
        | Verb::Plan(_)
        | Verb::Resolve(_)
        | Verb::Status(_)
        | Verb::Releases(_)
        | Verb::Logs(_)
        | Verb::Preview(_)
        | Verb::Retire
        | Verb::Prune(_)
        | Verb::Config(_)
        | Verb::Setup(_)
        | Verb::Demo(_)
        | Verb::Key(_)
        | Verb::Host(_)
        | Verb::Schema
        | Verb::Completions(_)
        | Verb::Daemon(_)
        | Verb::Proxy(_)
        | Verb::DemoApp(_)
        | Verb::Names(_) => false,
    }
}

/// Help and version go to stdout; what was not understood is an error in the form that was asked for.
fn usage(error: &clap::Error, args: &[OsString]) -> u8 {
    let wants_json = args.iter().any(|arg| arg == "--json");
    if !error.use_stderr() || !wants_json {
        let _ = error.print();
        return u8::try_from(error.exit_code()).unwrap_or(exit::USAGE);
    }
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    Session::bare(args).refuse(&Failed::usage(first).hint("alcedo --help"));
    exit::USAGE
}
