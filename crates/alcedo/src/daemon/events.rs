//! Events of an app "since n": from the feed, or from the journal when the feed no longer has them.

use super::server::FollowQuery;
use crate::api::{Failed, Line};
use crate::engine::feed::Feed;
use crate::engine::ports::Journal;
use alcedo_core::event::{Event, Record};
use alcedo_core::names::DeployId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Lines that may wait for a slow reader.
const WAITING_MAX: usize = 64;
/// A sign of life.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// Lines for one reader. With a deploy only its records, and the stream ends after its `ended`; without `follow` it ends
/// with what there is.
pub(super) fn stream(
    feed: Feed,
    journal: Arc<dyn Journal>,
    query: FollowQuery,
) -> Result<Receiver<Line>, Failed> {
    let deploy = query
        .deploy
        .as_deref()
        .map(str::parse::<DeployId>)
        .transpose()
        .map_err(|e| Failed::usage(format!("failed to {e}")))?;
    if let Some(id) = deploy
        && !feed.state().history.iter().any(|p| p.deploy == id)
    {
        return Err(Failed::usage(format!("there is no deploy {id}")).hint("alcedo history"));
    }
    let (sender, receiver) = channel(WAITING_MAX);
    tokio::spawn(async move {
        // A reader that went away ends its stream and nothing else.
        send_all(&feed, &journal, &sender, deploy, query.since, query.follow).await.ok();
    });
    Ok(receiver)
}

async fn send_all(
    feed: &Feed,
    journal: &Arc<dyn Journal>,
    sender: &Sender<Line>,
    deploy: Option<DeployId>,
    mut since: u64,
    follow: bool,
) -> Result<(), tokio::sync::mpsc::error::SendError<Line>> {
    let mut changed = feed.watch();
    let mut said = 0;
    loop {
        changed.mark_unchanged();
        let (records, progress) = feed.since(since);
        let records = match records {
            Some(records) => records,
            None => from_journal(feed, journal, since).await,
        };
        for record in records {
            since = record.seq;
            if deploy.is_some() && record.deploy != deploy {
                continue;
            }
            let over = deploy.is_some() && matches!(record.event, Event::Ended { .. });
            sender.send(Line::Record(Box::new(record))).await?;
            if over {
                return Ok(());
            }
        }
        if !follow {
            return Ok(());
        }
        if let Some(progress) = progress.filter(|p| p.number != said) {
            said = progress.number;
            sender.send(Line::Progress(progress.text)).await?;
        }
        if let Some(trouble) = feed.current_trouble() {
            sender.send(Line::Progress(format!("waiting: {trouble}"))).await?;
        }
        if tokio::time::timeout(ALIVE_EVERY, changed.changed()).await.is_err() {
            sender.send(Line::Alive).await?;
        }
    }
}

async fn from_journal(feed: &Feed, journal: &Arc<dyn Journal>, since: u64) -> Vec<Record> {
    let (app, journal) = (feed.app(), journal.clone());
    let read = tokio::task::spawn_blocking(move || journal.read(&app)).await;
    let records = read.ok().and_then(Result::ok).unwrap_or_default();
    records.into_iter().filter(|r| r.seq > since).collect()
}
