//! Reading and writing trees of files, safely and durably: shared by the release store and the client side.
//!
//! Knows nothing of releases, slots or deploys. Never follows a symbolic link on the way to a file it writes.

mod beneath;
mod copy;
mod durable;
mod erase;
mod error;
mod hash;
mod owner;
mod programs;
mod space;
mod until;
mod walk;

pub(crate) use beneath::Tree;
pub(crate) use copy::{Copied, Copier};
pub(crate) use durable::{sync_dir, sync_tree, write_atomically};
pub(crate) use erase::erase;
pub(crate) use error::{FilesError, io_error};
pub(crate) use hash::{hash_files, manifest_of};
pub(crate) use owner::{Ids, as_owner};
pub(crate) use programs::{foreign_error, foreign_programs, machine_of, refuse_foreign};
pub(crate) use space::{file_cost_bytes, free_bytes, human_bytes};
pub(crate) use until::Until;
pub(crate) use walk::{Found, Kind, Visit, scan, walk};
