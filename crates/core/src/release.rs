//! Releases, the pure part: ids, what is shipped and what never, the content hash, which binaries fit a machine, and
//! which releases may go.
//!
//! Never touches a file: paths in here are relative names.

mod elf;
mod id;
mod link;
mod manifest;
mod retention;
mod rules;

pub use elf::{Machine, elf_machine};
pub use id::release_id;
pub use link::link_stays_inside;
pub use manifest::{Manifest, Node, RelPath, RelPathError};
pub use retention::{Guarded, KeepReason, Kept, PrunePlan, prune_plan};
pub use rules::{Fate, Reader, Rules, RulesError};
