//! The part of the file that belongs to a release: a rollback brings the code and this back together.

use super::model::{Config, Service, Smoke, Warmup};
use crate::names::ServiceName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `web services env health smoke warmup`. Stored with each release: fields are added with `#[serde(default)]` and
/// never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasePart {
    /// `[web]`, `[services]`, each with its `[health]`.
    pub services: BTreeMap<ServiceName, Service>,
    /// `[env]`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// `[[smoke]]`.
    #[serde(default)]
    pub smoke: Vec<Smoke>,
    /// `[warmup]`.
    #[serde(default)]
    pub warmup: Option<Warmup>,
}

impl Config {
    /// What a release made from this configuration carries with it.
    pub fn release_part(&self) -> ReleasePart {
        ReleasePart {
            services: self.services.clone(),
            env: self.env.clone(),
            smoke: self.smoke.clone(),
            warmup: self.warmup.clone(),
        }
    }

    /// This configuration with the part of a kept release: router, bake, drain and shared stay today's.
    pub fn with_release_part(&self, part: ReleasePart) -> Self {
        let ReleasePart { services, env, smoke, warmup } = part;
        Self { services, env, smoke, warmup, ..self.clone() }
    }
}
