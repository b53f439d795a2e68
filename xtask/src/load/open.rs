//! The open loop: requests arrive when they arrive (Poisson), whether the last ones are answered or not. A slow server
//! cannot slow its own measurement down.

use super::Shared;
use super::closed::attempt;
use super::connection::Connection;
use super::request::Request;
use anyhow::Result;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// What has arrived is sent this often: a wake-up for each arrival would cost more than the requests. Latency counts
/// from the arrival, so this is part of it.
const TICK: Duration = Duration::from_millis(1);

pub(super) async fn run(shared: Arc<Shared>, per_second: f64, connections: usize) -> Result<()> {
    let idle: Rc<RefCell<Vec<Connection>>> = Rc::default();
    let room = Rc::new(Semaphore::new(connections));
    let mut under_way = tokio::task::JoinSet::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut next = Instant::now();
    while !shared.stops() {
        ticks.tick().await;
        while next <= Instant::now() {
            let (at, shared, idle, room) = (next, shared.clone(), idle.clone(), room.clone());
            under_way.spawn_local(async move {
                let Ok(_permit) = room.acquire().await else { return };
                let mut connection = idle.borrow_mut().pop();
                let request = Request::mixed(&shared.target);
                attempt(&shared, &mut connection, &request, at).await;
                idle.borrow_mut().extend(connection);
            });
            // Exponential gaps; 1 - x keeps the logarithm finite.
            next += Duration::from_secs_f64(-(1.0 - fastrand::f64()).ln() / per_second);
        }
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
    Ok(())
}
