//! The closed loop: every connection asks again as soon as it is answered, so the number in flight is the number of
//! connections.

use super::connection::Connection;
use super::request::Request;
use super::{LOST_AFTER, Shared};
use anyhow::Result;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// After a refused connection the client waits this long, so that a dead server is counted and not hammered.
const PAUSE_AFTER_LOSS: Duration = Duration::from_millis(20);

/// Whether a connection is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// As long as the server keeps it.
    Alive,
    /// Never.
    Nothing,
}

pub(super) async fn run(
    shared: Arc<Shared>,
    connections: usize,
    slow: usize,
    keep: Keep,
) -> Result<()> {
    let connected = Rc::new(Cell::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..connections {
        let all = connections;
        let connected = connected.clone();
        clients.spawn_local(client(shared.clone(), number < slow, all, connected, keep));
    }
    while clients.join_next().await.is_some() {}
    Ok(())
}

async fn client(
    shared: Arc<Shared>,
    is_slow: bool,
    all: usize,
    connected: Rc<Cell<usize>>,
    keep: Keep,
) {
    let mut connection = None;
    let mut is_counted = false;
    while !shared.stops() {
        let target = &shared.target;
        let request = if is_slow { Request::slow(target) } else { Request::mixed(target) };
        let done = attempt(&shared, &mut connection, &request, Instant::now()).await;
        if keep == Keep::Nothing {
            connection = None;
        }
        if done && !is_counted {
            is_counted = true;
            connected.set(connected.get() + 1);
        }
        if connected.get() == all && !shared.stops() {
            // This one is about to ask again.
            shared.tally().note_in_flight();
        }
        if !done {
            tokio::time::sleep(PAUSE_AFTER_LOSS).await;
        }
    }
}

/// One request, one attempt. `since`: from when its latency counts.
pub(super) async fn attempt(
    shared: &Shared,
    connection: &mut Option<Connection>,
    request: &Request,
    since: Instant,
) -> bool {
    shared.tally().begin();
    let exchange = exchange(shared, connection, request);
    let result = tokio::time::timeout(LOST_AFTER, exchange).await;
    let result = result.unwrap_or_else(|_| Err("no answer in 5 s".to_owned()));
    let mut tally = shared.tally();
    tally.end();
    match result {
        Ok(told) => {
            tally.posts.extend(request.post_id());
            tally.answer(&told.release, told.at_ns, since.elapsed());
            true
        }
        Err(kind) => {
            tally.lose(kind);
            *connection = None;
            false
        }
    }
}

async fn exchange(
    shared: &Shared,
    connection: &mut Option<Connection>,
    request: &Request,
) -> Result<super::request::Told, String> {
    if connection.as_ref().is_some_and(|c| !c.is_usable()) {
        shared.tally().closed_idle += 1;
        *connection = None;
    }
    if connection.is_none() {
        *connection = Some(Connection::open(shared.target.address).await?);
        shared.tally().connects += 1;
    }
    let Some(open) = connection.as_mut() else { return Err("connect".to_owned()) };
    let answer = open.exchange(&request.bytes).await?;
    if !answer.keeps {
        *connection = None;
    }
    request.check(shared.target.dialect, &answer)
}
