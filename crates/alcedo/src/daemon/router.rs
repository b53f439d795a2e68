//! The router of each app: the embedded proxy, or the host's nginx once it was configured for it. Which one is recorded
//! durably by nginx's own part, so it is known whatever the configuration says later.

use crate::adapters::router_embedded::EmbeddedRouter;
use crate::adapters::router_nginx::NginxRouter;
use crate::engine::ports::{
    EffectError, Effective, Entrance, EntranceTaken, Router, SwitchError, Switched, Traffic,
};
use alcedo_core::AppName;
use alcedo_core::binding::{Binding, BindingId};
use alcedo_core::config::{Config, RouterKind};
use alcedo_core::lint::Finding;
use alcedo_core::nginx::Upstream;
use std::time::Duration;

/// Every router of this host.
pub(super) struct Routers {
    /// alcedo's own.
    pub(super) embedded: EmbeddedRouter,
    /// The host's nginx.
    pub(super) nginx: NginxRouter,
}

impl Routers {
    fn of(&self, app: &AppName) -> &dyn Router {
        if self.nginx.knows(app) { &self.nginx } else { &self.embedded }
    }

    fn by_kind(&self, config: &Config) -> &dyn Router {
        match config.router.kind {
            RouterKind::Embedded => &self.embedded,
            RouterKind::Nginx { .. } => &self.nginx,
        }
    }

    /// Traffic cannot be carried over from one kind to the other without both listening at once.
    fn refuse_change(&self, app: &AppName, config: &Config) -> Result<(), EffectError> {
        let is_nginx = self.nginx.knows(app);
        let wants_nginx = matches!(config.router.kind, RouterKind::Nginx { .. });
        if is_nginx == wants_nginx || self.of(app).observe(app)?.is_none_or(|e| e.target.is_none())
        {
            return Ok(());
        }
        let (now, then) = if is_nginx { ("nginx", "embedded") } else { ("embedded", "nginx") };
        Err(EffectError::Failed {
            what: format!("change router.kind of {app} from {now} to {then} while it is live"),
            detail: "this is not in this version: the two would have to listen at once".to_owned(),
            hint: Some(format!("router.kind = \"{now}\"")),
        })
    }
}

impl Router for Routers {
    fn observe(&self, app: &AppName) -> Result<Option<Effective>, EffectError> {
        self.of(app).observe(app)
    }

    fn configure(
        &self,
        app: &AppName,
        config: &Config,
        upstreams: &[Upstream],
    ) -> Result<(), EffectError> {
        self.refuse_change(app, config)?;
        if config.router.kind == RouterKind::Embedded && self.nginx.knows(app) {
            self.nginx.remove(app)?;
        }
        self.by_kind(config).configure(app, config, upstreams)
    }

    fn switch(
        &self,
        app: &AppName,
        expected: u64,
        binding: &Binding,
        operation: &str,
    ) -> Result<Switched, SwitchError> {
        self.of(app).switch(app, expected, binding, operation)
    }

    fn drain(
        &self,
        app: &AppName,
        binding: &BindingId,
        config: &Config,
    ) -> Result<(), EffectError> {
        self.of(app).drain(app, binding, config)
    }

    fn traffic(&self, app: &AppName) -> Result<Vec<Traffic>, EffectError> {
        self.of(app).traffic(app)
    }

    fn admit(
        &self,
        app: &AppName,
        binding: &Binding,
        token: &str,
        lifetime: Duration,
    ) -> Result<(), EffectError> {
        self.of(app).admit(app, binding, token, lifetime)
    }

    fn end_passes(&self, app: &AppName) -> Result<(), EffectError> {
        self.of(app).end_passes(app)
    }

    fn entrances_taken(&self, app: &AppName, config: &Config) -> Vec<EntranceTaken> {
        self.by_kind(config).entrances_taken(app, config)
    }

    fn unprepared(&self, app: &AppName, config: &Config, upstreams: &[Upstream]) -> Vec<String> {
        self.by_kind(config).unprepared(app, config, upstreams)
    }

    fn findings(&self, app: &AppName) -> Vec<Finding> {
        self.of(app).findings(app)
    }

    fn entrance(&self, app: &AppName, config: &Config) -> Result<Entrance, EffectError> {
        self.of(app).entrance(app, config)
    }
}
