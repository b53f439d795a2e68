//! `plan`: what `deploy` would do. Builds here, changes nothing on the host.

use super::deploy;
use super::session::{Session, status_of};
use super::signals::Signals;
use super::source;
use crate::cli::{DeployArgs, PlanArgs};
use crate::report::{ended::exit, plan};
use crate::views::PlanView;

/// Runs `plan`.
pub(crate) fn run(session: &mut Session, args: &PlanArgs) -> anyhow::Result<u8> {
    let app = session.app()?;
    session.header(&app);
    let client = session.client(Some(&app))?;
    let signals = Signals::catch()?;
    let status = status_of(&client, &app)?;
    let view = status.as_ref().map(|(view, _)| view);
    // Only the answer is for stdout: what `deploy` would tell as events is no part of it.
    let brought = quietly(session, |session| {
        source::bring(session, &client, &signals, &app, view, args.source.as_deref())
    })?;
    let call = deploy::call(
        &app,
        &brought,
        &DeployArgs { source: args.source.clone(), ..DeployArgs::default() },
    );
    let mut answer: PlanView = client.post(&format!("/v1/apps/{}/plan", app.name), &call)?;
    if let Some(build) = brought.built {
        answer.steps.insert(0, build);
    }
    if session.json() {
        session.print_json(&answer);
    } else {
        session.print(&plan::plan(&answer, session.reporter.width, &session.flags));
    }
    Ok(exit::DONE)
}

/// Without events on stdout.
fn quietly<T>(session: &mut Session, work: impl FnOnce(&mut Session) -> T) -> T {
    if !session.json() {
        return work(session);
    }
    let data = std::mem::replace(&mut session.reporter.paper.data, Box::new(std::io::sink()));
    let result = work(session);
    session.reporter.paper.data = data;
    result
}
