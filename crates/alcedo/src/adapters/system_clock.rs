//! The clock as the engine sees it. Reads nothing itself: [`super::clock`] does.

use super::clock;
use crate::engine::ports::{Cancel, Clock, Millis};
use std::time::Duration;

/// A wait is cut into slices of this length, so that a cancel is seen in time.
const SLICE: Duration = Duration::from_millis(50);

/// This machine's clocks.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        clock::now()
    }

    fn wall(&self) -> String {
        clock::wall()
    }

    fn boot(&self) -> String {
        clock::boot_id().to_owned()
    }

    fn sleep_until(&self, until: Millis, cancel: &Cancel) {
        while !cancel.is_cancelled() {
            let left = clock::left(until);
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left.min(SLICE));
        }
    }
}
