//! `retire`: stops the slot without traffic.

use super::session::{Session, by, operation};
use crate::api::{Accepted, Failed, VerbCall};
use crate::report::ended::exit;
use crate::transport::CallError;

/// Runs `retire`.
pub(crate) fn run(session: &mut Session) -> anyhow::Result<u8> {
    let app = session.app_by_name()?;
    session.header(&app);
    let client = session.client(Some(&app))?;
    let call =
        VerbCall { operation: operation(), by: by(), slot: None, now: false, before_switch: false };
    let accepted: Accepted = client
        .post(&format!("/v1/apps/{}/retire", app.name), &call)
        .map_err(without_flags_of_deploy)?;
    super::resolve::told(session, &client, &app, &accepted);
    Ok(exit::DONE)
}

/// `retire` neither waits for a lock nor takes it over.
fn without_flags_of_deploy(error: CallError) -> anyhow::Error {
    match error {
        CallError::Refused(failed) if failed.code == "locked" => {
            Failed { hint: Some("alcedo status".to_owned()), ..failed }.into()
        }
        error @ (CallError::Refused(_)
        | CallError::Unreached { .. }
        | CallError::Version { .. }
        | CallError::Unread { .. }) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_not_answered_with_flags_that_retire_lacks() {
        let locked = Failed::new("locked", "locked by ana", 4).hint("wait for it: --wait-lock 15m");
        let failed =
            crate::report::error::failed(&without_flags_of_deploy(CallError::Refused(locked)));
        assert_eq!((failed.exit, failed.hint.as_deref()), (4, Some("alcedo status")));
    }
}
