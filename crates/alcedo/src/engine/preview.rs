//! The slot without traffic, for those who look at it before it gets any (S0-28).

use super::drive::Engine;
use super::ports::PASS_PATH;
use crate::api::{Failed, Preview, PreviewCall};
use alcedo_core::state::Desired;
use std::time::Duration;

/// How long a link is good.
const LIFETIME: Duration = Duration::from_secs(3600);

impl Engine {
    /// Makes a link to the slot without traffic, or ends all links.
    pub(crate) fn preview(&self, call: &PreviewCall) -> Result<Preview, Failed> {
        let slot = self.state.idle();
        let record = self.state.slots.get(&slot).filter(|record| record.desired == Desired::Up);
        let Some(record) = record else {
            return Err(Failed::usage(format!("{slot} runs nothing: there is nothing to look at"))
                .hint("alcedo deploy --stage"));
        };
        let (binding, release) = (&record.binding, record.binding.release.clone());
        if call.off {
            self.world.router.end_passes(&self.app).map_err(Failed::effect)?;
            return Ok(Preview { url: None, slot, release, expires_at: None });
        }
        let entrance =
            self.world.router.entrance(&self.app, &record.config).map_err(Failed::effect)?;
        let token = self.world.machine.token().map_err(Failed::effect)?;
        self.world.router.admit(&self.app, binding, &token, LIFETIME).map_err(Failed::effect)?;
        let expires_at = self.world.clock.wall_in(LIFETIME);
        let url = Some(format!("{}{PASS_PATH}{token}", entrance.url));
        Ok(Preview { url, slot, release, expires_at: Some(expires_at) })
    }
}
