//! `demo`: plays the main job in a private directory.

use super::session::Session;
use crate::cli::DemoArgs;
use crate::demo;
use crate::report::ended::exit;
use anyhow::Context;

/// Runs `demo`.
pub(crate) fn run(session: &mut Session, args: &DemoArgs) -> anyhow::Result<u8> {
    if let Some(home) = &args.stop {
        demo::stop(home)?;
        session.reporter.words(&format!("Stopped, and {} is removed.", home.display()));
        return Ok(exit::DONE);
    }
    let home = tempfile::Builder::new()
        .prefix(demo::PREFIX)
        .tempdir()
        .context("make a private directory")?;
    session.reporter.words(&format!(
        "Four versions of a small web app under steady traffic, all in {} and on 127.0.0.1.",
        home.path().display()
    ));
    let words = std::cell::RefCell::new(session);
    let outcome =
        demo::tell(home.path(), args.keep, &|line| words.borrow_mut().reporter.words(line))?;
    let session = words.into_inner();
    if session.json() {
        session.print_json(&outcome);
    } else {
        session.reporter.words("");
        session.reporter.words(&outcome.summary());
    }
    session
        .reporter
        .words("Your own app: an alcedo.toml with app and web.command, then: alcedo deploy");
    if args.keep {
        session.reporter.words(&outcome.kept());
        let _ = home.keep();
    }
    Ok(if outcome.is_good() { exit::DONE } else { exit::FAILED })
}
