//! Work in directories of another user, done by root with that user's rights: what is made is theirs from the first moment
//! on, and a link that they put there leads root nowhere.

use rustix::process::{Gid, Uid};
use std::io;

/// A user and a group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    /// The user.
    pub(crate) user: u32,
    /// The group.
    pub(crate) group: u32,
}

/// Does `act` in a thread that is `ids` and nobody else; threads are other users one by one on Linux.
///
/// # Errors
/// When this process may not become that user.
pub(crate) fn as_owner<T: Send>(ids: Ids, act: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let work = scope.spawn(move || -> io::Result<T> {
            become_owner(ids)?;
            Ok(act())
        });
        match work.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Groups first: afterwards there is no right left to change them.
fn become_owner(ids: Ids) -> io::Result<()> {
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let (user, group) = (Uid::from_raw(ids.user), Gid::from_raw(ids.group));
    set_thread_groups(&[group])?;
    set_thread_res_gid(group, group, group)?;
    Ok(set_thread_res_uid(user, user, user)?)
}
