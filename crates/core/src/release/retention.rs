//! Which releases may be removed. A release that anything could go back to is never among them (S1-44).

use crate::names::ReleaseId;
use std::collections::BTreeSet;

/// Releases that something needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guarded {
    /// What has the traffic.
    pub active: Option<ReleaseId>,
    /// Where `rollback` goes.
    pub previous: Option<ReleaseId>,
    /// The last one that passed its bake.
    pub stable: Option<ReleaseId>,
    /// Bound to a slot, or part of an unfinished deploy.
    pub in_use: BTreeSet<ReleaseId>,
    /// Pinned by hand.
    pub pinned: BTreeSet<ReleaseId>,
}

/// Why a release stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepReason {
    /// It has the traffic.
    Active,
    /// `rollback` goes there.
    Previous,
    /// Abort and automatic rollback go there.
    Stable,
    /// A slot or an unfinished deploy holds it.
    InUse,
    /// Pinned by hand.
    Pinned,
    /// Among the newest `keep`.
    Recent,
}

impl std::fmt::Display for KeepReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Previous => "the way back",
            Self::Stable => "stable",
            Self::InUse => "in use",
            Self::Pinned => "pinned",
            Self::Recent => "one of the newest",
        })
    }
}

/// A release that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub release: ReleaseId,
    /// Why.
    pub reason: KeepReason,
}

/// What a prune would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunePlan {
    /// To be removed, oldest first.
    pub remove: Vec<ReleaseId>,
    /// Everything else, newest first.
    pub kept: Vec<Kept>,
}

/// Sorts `releases` (any order) into what goes and what stays. The newest `keep` stay whatever they are, and every
/// guarded one stays on top of that or among them; order is that of the ids, which sort by time.
pub fn prune_plan(releases: &[ReleaseId], keep: u32, guarded: &Guarded) -> PrunePlan {
    let newest_first: BTreeSet<&ReleaseId> = releases.iter().collect();
    let mut plan = PrunePlan::default();
    for (place, release) in newest_first.into_iter().rev().enumerate() {
        let recent = place < keep as usize;
        match guarded.reason(release).or(recent.then_some(KeepReason::Recent)) {
            Some(reason) => plan.kept.push(Kept { release: release.clone(), reason }),
            None => plan.remove.push(release.clone()),
        }
    }
    plan.remove.reverse();
    plan
}

impl Guarded {
    fn reason(&self, release: &ReleaseId) -> Option<KeepReason> {
        let is = |one: &Option<ReleaseId>| one.as_ref() == Some(release);
        let reasons = [
            (is(&self.active), KeepReason::Active),
            (is(&self.previous), KeepReason::Previous),
            (is(&self.stable), KeepReason::Stable),
            (self.in_use.contains(release), KeepReason::InUse),
            (self.pinned.contains(release), KeepReason::Pinned),
        ];
        reasons.into_iter().find_map(|(holds, reason)| holds.then_some(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::release_id;
    use proptest::prelude::*;

    fn release(number: i64) -> ReleaseId {
        release_id(number * 60, Some("4be1c07"), "", false).expect("valid")
    }

    proptest! {
        #[test]
        fn prune_never_removes_a_guarded_release(
            stored in proptest::collection::vec(0i64..30, 0..30),
            keep in 0u32..8,
            active in proptest::option::of(0i64..30),
            previous in proptest::option::of(0i64..30),
            stable in proptest::option::of(0i64..30),
            in_use in proptest::collection::btree_set(0i64..30, 0..4),
            pinned in proptest::collection::btree_set(0i64..30, 0..4),
        ) {
            let releases: Vec<_> = stored.iter().copied().map(release).collect();
            let guarded = Guarded {
                active: active.map(release),
                previous: previous.map(release),
                stable: stable.map(release),
                in_use: in_use.into_iter().map(release).collect(),
                pinned: pinned.into_iter().map(release).collect(),
            };
            let plan = prune_plan(&releases, keep, &guarded);
            for gone in &plan.remove {
                prop_assert_eq!(guarded.reason(gone), None);
            }
            let distinct: BTreeSet<_> = releases.iter().collect();
            let told: BTreeSet<_> =
                plan.remove.iter().chain(plan.kept.iter().map(|k| &k.release)).collect();
            prop_assert_eq!(&told, &distinct);
            prop_assert_eq!(plan.remove.len() + plan.kept.len(), distinct.len());
            let newest: BTreeSet<_> = distinct.iter().rev().take(keep as usize).collect();
            prop_assert!(plan.remove.iter().all(|gone| !newest.contains(&gone)));
            prop_assert!(plan.remove.is_sorted());
        }
    }
}
