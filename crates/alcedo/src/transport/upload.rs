//! Sends a release: tells the host what it is made of, sends what is lacking, and goes on where it was when the
//! connection breaks.

use super::client::Tried;
use super::{CallError, Client};
use crate::adapters::clock;
use crate::api::ConfigText;
use crate::api::upload::{Basis, BasisCall, Got, Lacks, Offer};
use crate::files::{FilesError, Until};
use crate::upload::send::{Outgoing, Packed};
use crate::upload::{packed, unpacked};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::mpsc::{Receiver, sync_channel};

/// Rounds in which the host says that something is lacking still.
const ROUNDS_MAX: u32 = 8;
/// Parts that are packed ahead.
const AHEAD: usize = 2;

/// What is being sent.
pub(crate) struct Told<'a> {
    /// The app's name on the host.
    pub(crate) app: &'a str,
    /// Says where the app's releases are.
    pub(crate) config: &'a ConfigText,
    /// The release.
    pub(crate) outgoing: &'a Outgoing,
}

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sending {
    /// Contents that were lacking.
    pub(crate) files: u64,
    /// Bytes of those.
    pub(crate) lacking_bytes: u64,
    /// Of these, what was sent.
    pub(crate) content_bytes: u64,
    /// What went over the line for it, packed.
    pub(crate) sent_bytes: u64,
    /// The connection broke, and is tried again; why.
    pub(crate) lost: Option<String>,
}

/// Why it was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The host said no, or is gone.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A file cannot be read, or somebody asked to stop.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// Tells the host what is offered, and hears what is lacking. Changes nothing but that.
pub(crate) fn tell(client: &Client, told: &Told<'_>) -> Result<Lacks, SendError> {
    let app = told.app;
    let ask = BasisCall { config: told.config.clone(), groups: told.outgoing.groups() };
    let basis: Basis = call(client, &format!("/v1/apps/{app}/basis"), &ask)?;
    let lacks = offer(client, told, &basis)?;
    if lacks.stale { offer(client, told, &Basis::default()) } else { Ok(lacks) }
}

fn offer(client: &Client, told: &Told<'_>, basis: &Basis) -> Result<Lacks, SendError> {
    let offer = Offer {
        config: told.config.clone(),
        hash: told.outgoing.hash().to_owned(),
        content: told.outgoing.told(basis.instance.as_deref(), &basis.digests),
    };
    call(client, &format!("/v1/apps/{}/offer", told.app), &offer)
}

/// Sends everything that is lacking; `show` hears of each step. After it the release can be deployed.
///
/// # Errors
/// When the host refuses, stays away too long, or asks again and again; when a file cannot be read.
pub(crate) fn send(
    client: &Client,
    told: &Told<'_>,
    until: &Until,
    show: &mut dyn FnMut(&Sending),
) -> Result<Sending, SendError> {
    let mut lacks = tell(client, told)?;
    let (files, lacking_bytes) = told.outgoing.lacking(&lacks);
    let mut sending = Sending { files, lacking_bytes, ..Sending::default() };
    let mut rounds = 0;
    let mut moved_at = clock::now();
    while !lacks.files.is_empty() {
        show(&sending);
        let before = sending.sent_bytes;
        let end = send_parts(client, told, &lacks, until, &mut sending, show)?;
        if sending.sent_bytes > before {
            moved_at = clock::now();
            rounds = 0;
        }
        rounds += 1;
        match end {
            End::Whole => break,
            End::Again if rounds < ROUNDS_MAX => {}
            End::Again => {
                let why = "the host does not keep what it is sent";
                return Err(FilesError::refused("send the release", why).into());
            }
            End::Broke(seen) if clock::now().since(moved_at) > client.patience() => {
                return Err(client.unreached(seen).into());
            }
            End::Broke(seen) => {
                sending.lost = Some(seen);
                show(&sending);
                sending.lost = None;
                client.pause(rounds);
            }
        }
        until.check()?;
        lacks = tell(client, told)?;
    }
    show(&sending);
    Ok(sending)
}

/// How one round came to its end.
enum End {
    /// Everything that was lacking is whole there.
    Whole,
    /// The host wants to be asked again.
    Again,
    /// The connection broke.
    Broke(String),
}

/// Packs on another thread what this one sends.
fn send_parts(
    client: &Client,
    told: &Told<'_>,
    lacks: &Lacks,
    until: &Until,
    sending: &mut Sending,
    show: &mut dyn FnMut(&Sending),
) -> Result<End, SendError> {
    std::thread::scope(|scope| {
        let (give, parts) = sync_channel::<Packed>(AHEAD);
        let pack = scope.spawn(move || {
            // The other side hangs up when it needs no more.
            let mut emit = |part| give.send(part).map_err(|_| FilesError::Cancelled);
            told.outgoing.parts(lacks, until, &mut emit)
        });
        let end = send_each(client, told, parts, until, sending, show)?;
        let Sent::All(whole) = end else {
            // Its error is that nobody listens any more.
            let _ = pack.join();
            return Ok(match end {
                Sent::Broke(seen) => End::Broke(seen),
                Sent::Again | Sent::All(_) => End::Again,
            });
        };
        match pack.join() {
            Ok(packed) => packed?,
            Err(_) => return Err(FilesError::refused("pack the release", "it ended early").into()),
        }
        Ok(if whole == lacks.files.len() as u64 { End::Whole } else { End::Again })
    })
}

enum Sent {
    /// So many contents became whole.
    All(u64),
    Again,
    Broke(String),
}

fn send_each(
    client: &Client,
    told: &Told<'_>,
    parts: Receiver<Packed>,
    until: &Until,
    sending: &mut Sending,
    show: &mut dyn FnMut(&Sending),
) -> Result<Sent, SendError> {
    let path = format!("/v1/apps/{}/parts/{}", told.app, told.outgoing.hash());
    let mut whole = 0;
    for Packed { bytes, content_bytes } in parts {
        let length = bytes.len() as u64;
        let got: Got = match client.put_part(&path, bytes.into(), until) {
            Ok(Some(got)) => got,
            Ok(None) => return Err(FilesError::Cancelled.into()),
            Err(Tried::Final(error)) => return Err(error.into()),
            Err(Tried::Broke(seen)) => return Ok(Sent::Broke(seen)),
        };
        if got.again {
            return Ok(Sent::Again);
        }
        whole += got.whole;
        sending.sent_bytes += length;
        sending.content_bytes += content_bytes;
        show(sending);
    }
    Ok(Sent::All(whole))
}

fn call<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    body: &impl Serialize,
) -> Result<T, SendError> {
    let unread = |error: std::io::Error| CallError::Unread {
        call: format!("POST {path}"),
        seen: error.to_string(),
    };
    let body = packed(body).map_err(unread)?;
    let answer = client.post_bytes(path, body.into())?;
    Ok(unpacked(&answer).map_err(unread)?)
}
