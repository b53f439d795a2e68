//! Brings the files of a release to its final place. Nothing of it counts before the seal.

use super::archive;
use super::incoming::Incoming;
use super::layout::{InstanceName, Layout};
use super::place::{Content, Placer};
use super::received;
use super::seal::{self, FetchedRecord, Inputs, read_seal};
use super::shared;
use crate::engine::ports::{Call, FetchOrder, Fetched, Sent, Source};
use crate::files::{
    Copier, FilesError, Found, Kind, Tree, Until, erase, file_cost_bytes, free_bytes, human_bytes,
    io_error, refuse_foreign, scan,
};
use alcedo_core::config::Config;
use alcedo_core::release::{Fate, Manifest, Reader, RelPath, Rules};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// See [`crate::engine::ports::Releases::fetch`].
pub(super) fn fetch(order: &FetchOrder, call: &Call<'_>) -> Result<Fetched, FilesError> {
    let layout = Layout::new(&order.root);
    let name = InstanceName::first(&order.release);
    if let Some(fetched) = already_there(&layout, &name, &order.source)? {
        return Ok(fetched);
    }
    let rules = rules_of(&order.config)?;
    layout.create()?;
    clear(&layout, &name)?;
    let done = fill(&layout, &name, order, &rules, call);
    if done.is_err() {
        // Without a seal a rest is no release; the next fetch or prune removes what cannot be removed now.
        let _ = clear(&layout, &name);
    } else if let Source::Upload { hash, .. } = &order.source {
        Incoming::of(&layout).forget(hash);
    }
    done
}

/// The rules in a configuration.
pub(super) fn rules_of(config: &Config) -> Result<Rules, FilesError> {
    Rules::new(&config.release.exclude, &config.shared, &config.release.writable)
        .map(|rules| rules.read_by(Reader::of(config.runner)))
        .map_err(|error| FilesError::refused(error.to_string(), "alcedo.toml says so"))
}

/// Removes whatever an earlier try left, the record first.
pub(super) fn clear(layout: &Layout, name: &InstanceName) -> Result<(), FilesError> {
    let record = layout.fetched(name);
    match fs::remove_file(&record) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(io_error("remove", &record)(error));
        }
        _ => {}
    }
    erase(&layout.instance(name))
}

/// The hash that was planned; `None` for a kept release.
pub(super) fn planned_hash(source: &Source) -> Option<&str> {
    match source {
        Source::Directory { hash, .. }
        | Source::File { hash, .. }
        | Source::Archive { hash, .. }
        | Source::Upload { hash, .. } => Some(hash),
        Source::Kept => None,
    }
}

fn already_there(
    layout: &Layout,
    name: &InstanceName,
    source: &Source,
) -> Result<Option<Fetched>, FilesError> {
    let Some(seal) = read_seal(layout, name)? else { return Ok(None) };
    let instance = layout.instance(name);
    if !instance.is_dir() {
        return Err(FilesError::refused_hint(
            format!("use release {name}"),
            format!("it is sealed, and its directory {} is gone", instance.display()),
            "deploy its source again, as a new release",
        ));
    }
    if planned_hash(source).is_some_and(|hash| hash != seal.hash) {
        return Err(FilesError::refused_hint(
            format!("fetch {name}"),
            "a release of that name is there already, with other content",
            "type the command again: the next second has another name",
        ));
    }
    Ok(Some(Fetched { already: true, notices: Vec::new(), ..seal.fetched }))
}

fn fill(
    layout: &Layout,
    name: &InstanceName,
    order: &FetchOrder,
    rules: &Rules,
    call: &Call<'_>,
) -> Result<Fetched, FilesError> {
    let instance = layout.instance(name);
    make_instance(&instance)?;
    let mut placer = Placer::new(layout, &instance, rules, call)?;
    let until = Until::of(call);
    let archive_hash = match &order.source {
        Source::Directory { path, .. } => {
            place_directory(layout, path, &mut placer, &until)?;
            None
        }
        Source::File { path, .. } => {
            place_file(path, &mut placer)?;
            None
        }
        Source::Archive { path, .. } => Some(archive::unpack(path, &mut placer, &until)?),
        Source::Upload { hash, form: Sent::Tree } => {
            received::place(layout, hash, &mut placer, &until)?;
            None
        }
        Source::Upload { hash, form: Sent::Archive } => {
            let path = Incoming::of(layout).whole(hash)?;
            Some(archive::unpack(&path, &mut placer, &until)?)
        }
        Source::Kept => return Err(not_kept(name)),
    };
    let (mut tree, manifest, fetched) = placer.finish()?;
    let hash = archive_hash.unwrap_or_else(|| manifest.hash());
    refuse_changed(&order.source, &hash)?;
    refuse_foreign(&instance, &order.config)?;
    let inputs = bring_in_shared(layout, rules, &order.config, &mut tree, until)?;
    make_writable_dirs(rules, &mut tree)?;
    let record = FetchedRecord { hash, fetched: fetched.clone(), inputs, source: manifest };
    seal::write_for_now(&layout.fetched(name), &record)?;
    Ok(fetched)
}

/// Makes the empty directory of an instance.
pub(super) fn make_instance(instance: &Path) -> Result<(), FilesError> {
    fs::create_dir(instance).map_err(io_error("make the directory", instance))?;
    let permissions = fs::Permissions::from_mode(0o755);
    fs::set_permissions(instance, permissions).map_err(io_error("make the directory", instance))
}

/// Links and copies what is shared, and says what went in.
pub(super) fn bring_in_shared(
    layout: &Layout,
    rules: &Rules,
    config: &Config,
    tree: &mut Tree,
    until: Until,
) -> Result<Inputs, FilesError> {
    let inputs = shared::bring_in(layout, rules, tree, &mut Copier::new(until))?;
    Ok(Inputs { settings: shared::settings_hash(config), ..inputs })
}

/// Makes the directories that the app may write, where the source has none and nothing shared takes their place.
pub(super) fn make_writable_dirs(rules: &Rules, tree: &mut Tree) -> Result<(), FilesError> {
    let is_shared = |path: &RelPath| matches!(rules.fate(path, true), Fate::SharedDir(_));
    rules.writable().iter().filter(|path| !is_shared(path)).try_for_each(|path| tree.make_dir(path))
}

fn place_directory(
    layout: &Layout,
    source: &Path,
    placer: &mut Placer<'_>,
    until: &Until,
) -> Result<(), FilesError> {
    let found = scan(source, placer.rules(), until)?;
    refuse_too_big(layout, &found, placer)?;
    for entry in &found {
        until.check()?;
        let full = source.join(entry.path.as_path());
        match &entry.kind {
            Kind::Dir { .. } => placer.dir(&entry.path, &entry.fate)?,
            Kind::Link { target } => placer.link(&entry.path, target, &entry.fate)?,
            Kind::File { mode, .. } => {
                let content = Content::File(open(&full)?);
                placer.file(&entry.path, *mode, &full, content, &entry.fate)?;
            }
        }
    }
    Ok(())
}

fn place_file(source: &Path, placer: &mut Placer<'_>) -> Result<(), FilesError> {
    let file = open(source)?;
    let mode = file.metadata().map_err(io_error("read", source))?.permissions().mode();
    let name = Path::new(source.file_name().unwrap_or_default());
    let path = RelPath::new(name)
        .map_err(|error| FilesError::refused(error.to_string(), "the source names no file"))?;
    placer.file(&path, mode & 0o777, source, Content::File(file), &Fate::Ship)
}

/// A link put in the file's place since the walk is an error, and so is a pipe.
fn open(path: &Path) -> Result<File, FilesError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(io_error("read", path))?;
    let file = File::from(file);
    if file.metadata().map_err(io_error("read", path))?.is_file() {
        return Ok(file);
    }
    Err(FilesError::refused(
        format!("read {}", path.display()),
        "it is no regular file any more: the source changed while it was copied",
    ))
}

/// Says so before a byte is written. Where blocks are shared nobody can know, and writing tells.
fn refuse_too_big(layout: &Layout, found: &[Found], placer: &Placer<'_>) -> Result<(), FilesError> {
    if placer.may_share_blocks() {
        return Ok(());
    }
    let needed = cost_of(found);
    let free = free_bytes(layout.root()).map_err(io_error("look at", layout.root()))?;
    if needed <= free {
        return Ok(());
    }
    Err(FilesError::refused_hint(
        format!("fetch into {}", layout.releases().display()),
        format!("it needs {}, and {} are free there", human_bytes(needed), human_bytes(free)),
        "`alcedo prune --dry-run` shows what old releases take",
    ))
}

/// What the shipped part of a source takes on disk.
pub(super) fn cost_of(found: &[Found]) -> u64 {
    let cost = |entry: &Found| match entry.kind {
        Kind::File { size_bytes, .. } => file_cost_bytes(size_bytes),
        Kind::Dir { .. } | Kind::Link { .. } => file_cost_bytes(1),
    };
    found.iter().filter(|entry| entry.fate == Fate::Ship).map(cost).sum()
}

fn refuse_changed(source: &Source, hash: &str) -> Result<(), FilesError> {
    if planned_hash(source).is_none_or(|planned| planned == hash) {
        return Ok(());
    }
    Err(FilesError::refused_hint(
        "fetch the release as it was planned",
        "the source changed while it was copied",
        "type the command again when nothing writes to the source any more",
    ))
}

fn not_kept(name: &InstanceName) -> FilesError {
    FilesError::refused_hint(
        format!("use release {name}"),
        "it is not kept here",
        "`alcedo releases` lists what can be gone back to",
    )
}

/// What was fetched, for the seal.
pub(super) fn read_record(
    layout: &Layout,
    name: &InstanceName,
) -> Result<FetchedRecord, FilesError> {
    seal::read(&layout.fetched(name))?.ok_or_else(|| {
        FilesError::refused_hint(
            format!("seal {name}"),
            "its files were not fetched whole",
            "deploy again",
        )
    })
}

/// Copies the entries of a manifest from one tree to another, by content.
pub(super) fn copy_entries(
    from: &Tree,
    to: &mut Tree,
    entries: &Manifest,
    copier: &mut Copier,
) -> Result<(), FilesError> {
    use alcedo_core::release::Node;
    for (path, node) in &entries.0 {
        match node {
            Node::Dir => to.make_dir(path)?,
            Node::Link { .. } => {
                let target = node.link_target().unwrap_or_default();
                to.link(path, &target)?;
            }
            Node::File { hash, .. } => {
                let full = from.full(path);
                let gone = || FilesError::refused(format!("copy {}", full.display()), "it is gone");
                let mut file = from.read(path)?.ok_or_else(gone)?;
                let mode = file.metadata().map_err(io_error("read", &full))?.permissions().mode();
                let mut copy = to.create(path)?;
                let to_full = to.full(path);
                let copied = match copier.clone_of(&file, &mut copy, &to_full)? {
                    Some(copied) => copied,
                    None => copier.stream(&mut file, &full, &mut copy, &to_full)?,
                };
                if copied.hash != *hash {
                    let why = "it is not what its release was sealed with";
                    return Err(FilesError::refused(format!("copy {}", full.display()), why));
                }
                copy.set_permissions(fs::Permissions::from_mode(mode & 0o777))
                    .map_err(io_error("write", &to_full))?;
            }
        }
    }
    Ok(())
}
