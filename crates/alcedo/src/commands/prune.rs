//! `prune`: removes old releases, or says what would go.

use super::session::Session;
use crate::api::PruneCall;
use crate::cli::PruneArgs;
use crate::report::{ended::exit, history};
use crate::views::PruneView;

/// Runs `prune`.
pub(crate) fn run(session: &mut Session, args: &PruneArgs) -> anyhow::Result<u8> {
    let app = session.app_by_name()?;
    session.header(&app);
    let client = session.client(Some(&app))?;
    let call = PruneCall { dry_run: args.dry_run };
    let view: PruneView = client.post(&format!("/v1/apps/{}/prune", app.name), &call)?;
    if session.json() {
        session.print_json(&view);
    } else {
        session.print(&history::prune(&view, args.dry_run, session.reporter.width));
    }
    Ok(exit::DONE)
}
