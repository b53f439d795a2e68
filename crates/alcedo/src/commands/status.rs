//! `status`: one app, or every app of the host.

use super::app;
use super::names;
use super::session::Session;
use crate::cli::StatusArgs;
use crate::report::ended::exit;
use crate::report::status;
use crate::views::StatusView;

/// Runs `status`.
pub(crate) fn run(session: &mut Session, args: &StatusArgs) -> anyhow::Result<u8> {
    let one = app::is_named(&session.globals);
    let app = if one { Some(session.app_by_name()?) } else { None };
    let client = session.client(app.as_ref())?;
    if args.watch {
        return super::watch::run(session, &client, app.as_ref());
    }
    let path = app
        .as_ref()
        .map_or_else(|| "/v1/status".to_owned(), |app| format!("/v1/status?app={}", app.name));
    let view: StatusView = client.get(&path)?;
    if !one && !client.is_far() {
        names::keep_apps(&view);
    }
    if session.json() {
        session.print_json(&view);
    } else {
        let reader = session.reader();
        let lines = match (&app, view.apps.first()) {
            (Some(_), Some(first)) => status::app(first, &view, &reader),
            (Some(_) | None, _) => status::apps(&view, session.reporter.width),
        };
        session.print(&lines);
    }
    Ok(exit_code(&view))
}

/// 5 wins over 1: a person is needed.
pub(super) fn exit_code(view: &StatusView) -> u8 {
    if view.apps.iter().any(|app| app.stuck.is_some()) {
        exit::STUCK
    } else if view.apps.iter().all(|app| app.healthy) {
        exit::DONE
    } else {
        exit::FAILED
    }
}
