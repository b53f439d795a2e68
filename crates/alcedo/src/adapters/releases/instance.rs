//! The directory a release runs from when its shared files or settings are others than those it was sealed with.
//!
//! `deploy active` after `.env` was edited: the sealed directory is not touched, and a second one is made beside it,
//! `releases/<id>~<n>`, from the files that were fetched (sharing blocks where the file system can), with today's
//! shared files; then `prepare` runs there. What `prepare` changed of the fetched files the first time is taken as it
//! left them, since the original is not kept.

use super::fetch::{
    bring_in_shared, clear, copy_entries, make_instance, make_writable_dirs, rules_of,
};
use super::layout::{InstanceName, Layout};
use super::seal::{self, FetchedRecord, Seal, read_seal};
use super::shared::inputs_now;
use crate::engine::ports::{Call, FetchOrder, Fetched, Instance as InstanceState};
use crate::files::{Copier, FilesError, Tree, Until};
use alcedo_core::ReleaseId;
use alcedo_core::release::{Manifest, Rules};

/// Instances of one release that are kept apart; more differences than this are a mistake.
const INSTANCES_MAX: u32 = 1_000;

/// Finds the instance of `order.release` for the shared files as they are and the settings in `order.config`: one that is
/// sealed, or the name that a new one will have.
pub(super) fn locate(
    order: &FetchOrder,
    until: &Until,
) -> Result<(InstanceName, InstanceState), FilesError> {
    let layout = Layout::new(&order.root);
    let rules = rules_of(&order.config)?;
    let mut copier = Copier::new(until.clone());
    let wanted = inputs_now(&layout, &rules, &order.config, &mut copier)?;
    let sealed = sealed_instances(&layout, &order.release)?;
    if let Some((name, _)) = sealed.iter().find(|(_, seal)| seal.inputs == wanted) {
        return Ok((name.clone(), InstanceState::Sealed));
    }
    if sealed.is_empty() {
        return Err(not_kept(order));
    }
    let number = sealed.iter().map(|(name, _)| name.number).max().unwrap_or(0) + 1;
    if number > INSTANCES_MAX {
        return Err(FilesError::refused_hint(
            format!("make another instance of {}", order.release),
            format!("there are {INSTANCES_MAX} already"),
            "deploy the source again, as a new release",
        ));
    }
    Ok((InstanceName { release: order.release.clone(), number }, InstanceState::Missing))
}

/// Makes the instance that [`locate`] named, up to its seal; one that is sealed is left as it is.
pub(super) fn make_located(order: &FetchOrder, call: &Call<'_>) -> Result<Fetched, FilesError> {
    let until = Until::of(call);
    let (new, state) = locate(order, &until)?;
    if state == InstanceState::Sealed {
        return Ok(Fetched { already: true, ..Fetched::default() });
    }
    let layout = Layout::new(&order.root);
    let sealed = sealed_instances(&layout, &order.release)?;
    let Some((from, seal)) = sealed.first() else { return Err(not_kept(order)) };
    let rules = rules_of(&order.config)?;
    let mut copier = Copier::new(until.clone());
    clear(&layout, &new)?;
    let made = make(&layout, from, seal, &new, order, &rules, &mut copier, &until);
    if made.is_err() {
        // As in a fetch: without a seal it is a rest.
        let _ = clear(&layout, &new);
    }
    made
}

fn not_kept(order: &FetchOrder) -> FilesError {
    FilesError::refused_hint(
        format!("use release {}", order.release),
        "it is not kept here",
        "`alcedo releases` lists what can be gone back to",
    )
}

/// Instances that can be used, the first one first.
fn sealed_instances(
    layout: &Layout,
    release: &ReleaseId,
) -> Result<Vec<(InstanceName, Seal)>, FilesError> {
    let mut found = Vec::new();
    for name in super::audit::sealed_names(layout)? {
        if name.release == *release
            && layout.instance(&name).is_dir()
            && let Some(seal) = read_seal(layout, &name)?
        {
            found.push((name, seal));
        }
    }
    Ok(found)
}

#[expect(
    clippy::too_many_arguments,
    reason = "one call, one place; a struct would only rename them"
)]
fn make(
    layout: &Layout,
    from: &InstanceName,
    seal: &Seal,
    new: &InstanceName,
    order: &FetchOrder,
    rules: &Rules,
    copier: &mut Copier,
    until: &Until,
) -> Result<Fetched, FilesError> {
    let path = layout.instance(new);
    make_instance(&path)?;
    let mut tree = Tree::open(&path)?;
    let is_fetched = |path: &alcedo_core::release::RelPath| !seal.prepared.contains(path);
    let entries = seal.files.0.iter().filter(|(path, _)| is_fetched(path));
    let source = Manifest(entries.map(|(path, node)| (path.clone(), node.clone())).collect());
    copy_entries(&Tree::open(&layout.instance(from))?, &mut tree, &source, copier)?;
    let inputs = bring_in_shared(layout, rules, &order.config, &mut tree, until.clone())?;
    make_writable_dirs(rules, &mut tree)?;
    let record =
        FetchedRecord { hash: seal.hash.clone(), fetched: seal.fetched.clone(), inputs, source };
    seal::write_for_now(&layout.fetched(new), &record)?;
    Ok(Fetched { notices: notices(seal), ..seal.fetched.clone() })
}

fn notices(seal: &Seal) -> Vec<String> {
    if seal.changed.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "{} files that `prepare` changed the first time are taken as it left them",
        seal.changed.len()
    )]
}
