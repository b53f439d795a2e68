//! Decides what follows when a program ended by itself: another start after a wait, or giving up. Pure.

use super::files::{Restart, State};
use crate::engine::ports::Millis;
use std::time::Duration;

/// The wait of the second restart where the first one is immediate.
const AFTER_IMMEDIATE_MS: u64 = 100;

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Start it again after this time.
    StartAfter(Duration),
    /// Not again.
    GiveUp,
}

/// Notes in `state` that a run ended at `now` and says what follows.
pub(super) fn after_end(restart: &Restart, state: &mut State, now: Millis) -> Next {
    if now.0.saturating_sub(state.started_ms) >= restart.stable_ms {
        state.short_runs_ms.clear();
        state.restarts = state.restarts.saturating_add(1);
        return Next::StartAfter(Duration::from_millis(restart.first_ms));
    }
    // Without a limit the list only says how long to wait; it must not grow for ever.
    state.short_runs_ms.push(now.0);
    let surplus = state.short_runs_ms.len().saturating_sub(16);
    state.short_runs_ms.drain(..surplus);
    if is_too_often(restart, &state.short_runs_ms, now) {
        return Next::GiveUp;
    }
    state.restarts = state.restarts.saturating_add(1);
    Next::StartAfter(wait(restart, state.short_runs_ms.len()))
}

fn is_too_often(restart: &Restart, ends_ms: &[u64], now: Millis) -> bool {
    let Some(limit) = restart.give_up_exits else { return false };
    let recent = ends_ms
        .iter()
        .filter(|end| now.0.saturating_sub(**end) <= restart.give_up_within_ms)
        .count();
    recent >= limit as usize
}

fn wait(restart: &Restart, short_runs: usize) -> Duration {
    let doublings = u32::try_from(short_runs.saturating_sub(1)).unwrap_or(u32::MAX).min(20);
    let wait_ms = match (restart.first_ms, doublings) {
        (0, 0) => 0,
        (0, n) => AFTER_IMMEDIATE_MS << (n - 1),
        (first, n) => first << n,
    };
    Duration::from_millis(wait_ms.min(restart.max_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::files::{Phase, VERSION};

    fn state() -> State {
        State {
            version: VERSION,
            binding: "d1-blue".into(),
            boot_id: String::new(),
            phase: Phase::Running,
            child: None,
            started_ms: 0,
            restarts: 0,
            short_runs_ms: vec![],
            last_exit: None,
            ready: false,
        }
    }

    /// Ends it `times` times in a row, each after a run of `run_ms`; the waits in milliseconds.
    fn waits(restart: &Restart, state: &mut State, run_ms: u64, times: usize) -> Vec<Option<u64>> {
        let mut now = state.started_ms;
        let mut end = || {
            now += run_ms;
            let next = after_end(restart, state, Millis(now));
            let Next::StartAfter(wait) = next else { return None };
            now += wait.as_millis() as u64;
            state.started_ms = now;
            Some(wait.as_millis() as u64)
        };
        (0..times).map(|_| end()).collect()
    }

    #[test]
    fn an_app_that_ends_at_once_is_started_four_more_times() {
        let mut state = state();
        let seen = waits(&Restart::APP, &mut state, 10, 5);
        assert_eq!(seen, [Some(200), Some(400), Some(800), Some(1600), None]);
        assert_eq!(state.restarts, 4);
    }

    #[test]
    fn a_long_run_forgets_what_was_before() {
        let mut state = state();
        waits(&Restart::APP, &mut state, 10, 4);
        assert_eq!(waits(&Restart::APP, &mut state, 30_000, 1), [Some(200)]);
        assert_eq!(waits(&Restart::APP, &mut state, 10, 4)[3], Some(1600));
    }

    #[test]
    fn slow_crashes_are_not_given_up_and_wait_at_most_ten_seconds() {
        let seen = waits(&Restart::APP, &mut state(), 20_000, 50);
        assert!(seen.iter().all(Option::is_some));
        assert_eq!(seen[49], Some(10_000));
    }

    #[test]
    fn our_own_programs_start_again_at_once_and_for_ever() {
        let mut state = state();
        let seen = waits(&Restart::SUPERVISED, &mut state, 1, 1000);
        assert_eq!(seen[..4], [Some(0), Some(100), Some(200), Some(400)]);
        assert_eq!(seen[999], Some(2000));
        assert!(state.short_runs_ms.len() <= 16);
    }
}
