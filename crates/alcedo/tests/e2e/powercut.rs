//! Power cuts in the middle of deploys: 20 here, 200 and more in `cargo xtask bench powercut`.

use crate::app::xtask_program;
use std::path::Path;
use xtask::lab;
use xtask::powercut::{Outcome, Rig, Router, STEPS};

/// Cuts on each of the two hosts.
const CUTS: usize = 10;

fn cut(router: Router, steps: impl Iterator<Item = &'static str>) {
    if let Some(missing) = lab::missing() {
        return xtask::skipped(&missing);
    }
    let alcedo = Path::new(env!("CARGO_BIN_EXE_alcedo"));
    let mut rig = Rig::new(alcedo, xtask_program(), router).unwrap();
    let mut outcomes = Vec::new();
    for step in steps.take(CUTS) {
        outcomes.push((step, rig.cut_in(step).unwrap_or_else(|error| panic!("{error:#}"))));
    }
    // Cuts before the switch undo, cuts behind it go on: both were seen.
    for wanted in [Outcome::Undone, Outcome::Done] {
        assert!(outcomes.iter().any(|(_, seen)| *seen == wanted), "{outcomes:?}");
    }
}

/// Issue 3: the right release serves after boot, and the journal agrees.
#[test]
fn power_cut_at_every_step_leaves_one_release_that_serves() {
    cut(Router::Embedded, STEPS.into_iter().cycle());
}

/// The flag is a file like any other: it is there after the cut exactly when it was synced.
#[test]
fn power_cut_at_every_step_behind_nginx_leaves_one_release_that_serves() {
    cut(Router::Nginx, STEPS.into_iter().rev().cycle());
}
