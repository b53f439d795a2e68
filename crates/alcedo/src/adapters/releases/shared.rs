//! What both slots share: directories that releases link to, and files that are copied in.
//!
//! What a build ships at a shared path fills gaps in `shared/` once and is then left out (S0-D6: no
//! `uploads/uploads`, and no upload is ever overwritten). A file appears there whole or not at all.

use super::layout::Layout;
use super::place::Content;
use super::seal::{self, Inputs};
use crate::files::{Copier, FilesError, Tree, io_error, sync_dir};
use alcedo_core::config::Config;
use alcedo_core::release::{Reader, RelPath, Rules};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Which shared paths were filled by a build: a record beside the seals, in their form.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Seeded(BTreeSet<RelPath>);

/// Fills gaps in `shared/` from one source.
pub(super) struct Seeding {
    layout: Layout,
    tree: Tree,
    seeded: Seeded,
    reader: Reader,
    files: u64,
    /// Directories below `shared/` that got a new name.
    touched: BTreeSet<PathBuf>,
}

impl Seeding {
    pub(super) fn open(layout: &Layout, rules: &Rules) -> Result<Self, FilesError> {
        let mut tree = Tree::open(&layout.shared())?;
        let seeded = seal::read(&record(layout))?.unwrap_or_default();
        let mut touched = BTreeSet::new();
        for dir in rules.shared_dirs() {
            tree.make_dir(dir)?;
            touched.extend(dir.as_path().ancestors().map(Path::to_owned));
        }
        let (layout, reader) = (layout.clone(), rules.reader());
        Ok(Self { layout, tree, seeded, reader, files: 0, touched })
    }

    /// Offers a directory of the source: an app may need empty ones (`storage/framework/cache`).
    pub(super) fn dir(&mut self, path: &RelPath, shared: &RelPath) -> Result<(), FilesError> {
        if self.seeded.0.contains(shared) || self.tree.is_there(path)? {
            return Ok(());
        }
        self.touched.extend(path.as_path().ancestors().map(Path::to_owned));
        self.tree.make_dir(path)
    }

    /// Offers a file of the source at `path` (part of `shared`); says whether it was taken.
    pub(super) fn file(
        &mut self,
        path: &RelPath,
        shared: &RelPath,
        mode: u32,
        from: &Path,
        content: Content<'_>,
        copier: &mut Copier,
    ) -> Result<bool, FilesError> {
        if self.seeded.0.contains(shared) || self.tree.is_there(path)? {
            return Ok(false);
        }
        let temporary = beside(path)?;
        self.tree.remove_file(&temporary)?;
        let full = self.tree.full(path);
        let mut to = self.tree.create(&temporary)?;
        match content {
            Content::Stream(reader) => copier.stream(reader, from, &mut to, &full)?,
            Content::File(mut file) => copier.stream(&mut file, from, &mut to, &full)?,
        };
        // A shared file is likely to hold secrets (`.env`).
        let mode = if path == shared { 0o600 } else { mode & 0o777 | 0o600 };
        let mode = self.reader.opened(mode);
        to.set_permissions(Permissions::from_mode(mode)).map_err(io_error("write", &full))?;
        to.sync_all().map_err(io_error("make durable", &full))?;
        self.tree.rename(&temporary, path)?;
        self.files += 1;
        self.touched.extend(path.as_path().ancestors().skip(1).map(Path::to_owned));
        Ok(true)
    }

    /// The app writes what is shared, as whoever it runs. What its user made is its user's.
    fn open_to_reader(&self, dir: &Path) -> Result<(), FilesError> {
        let metadata = fs::symlink_metadata(dir).map_err(io_error("look at", dir))?;
        let mode = metadata.permissions().mode() & 0o777;
        let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
        if !is_ours || !metadata.is_dir() || self.reader.opened(mode) == mode {
            return Ok(());
        }
        fs::set_permissions(dir, Permissions::from_mode(self.reader.opened(mode)))
            .map_err(io_error("open to the app", dir))
    }

    /// Records what is seeded now, and says what was left out.
    pub(super) fn finish(
        &mut self,
        rules: &Rules,
        left_out: &BTreeSet<RelPath>,
    ) -> Result<Vec<String>, FilesError> {
        let before = self.seeded.0.len();
        self.seeded.0.extend(rules.shared_dirs().iter().chain(rules.shared_files()).cloned());
        for dir in &self.touched {
            let full = self.layout.shared().join(dir);
            // The directory of all that is shared stays ours alone.
            if !dir.as_os_str().is_empty() {
                self.open_to_reader(&full)?;
            }
            sync_dir(&full)?;
        }
        if self.seeded.0.len() != before {
            seal::write(&record(&self.layout), &self.seeded)?;
        }
        let mut notices = Vec::new();
        if self.files > 0 {
            let shared = self.layout.shared();
            notices.push(format!(
                "{} files of the build seeded {}; from now on what a build ships there is left out",
                self.files,
                shared.display()
            ));
        }
        let out =
            |path: &RelPath| format!("{path} is shared; what the build ships there was left out");
        notices.extend(left_out.iter().map(out));
        Ok(notices)
    }
}

/// Links shared directories into a release and copies shared files.
pub(super) fn bring_in(
    layout: &Layout,
    rules: &Rules,
    tree: &mut Tree,
    copier: &mut Copier,
) -> Result<Inputs, FilesError> {
    let mut inputs = Inputs::default();
    for dir in rules.shared_dirs() {
        let target = layout.shared().join(dir.as_path());
        tree.link(dir, &target).map_err(|error| in_the_way(dir, error))?;
    }
    let shared = Tree::open(&layout.shared())?;
    for file in rules.shared_files() {
        let from_path = shared.full(file);
        let Some(mut from) = shared.read(file)? else { return Err(missing(file, &from_path)) };
        let mode = from.metadata().map_err(io_error("read", &from_path))?.permissions().mode();
        let full = tree.full(file);
        let mut to = tree.create(file).map_err(|error| in_the_way(file, error))?;
        let copied = copier.stream(&mut from, &from_path, &mut to, &full)?;
        let permissions = Permissions::from_mode(rules.reader().opened(mode & 0o777 | 0o400));
        to.set_permissions(permissions).map_err(io_error("write", &full))?;
        inputs.shared_files.insert(file.clone(), copied.hash);
    }
    Ok(inputs)
}

/// What `bring_in` would take now: shared files as they are, and the settings in `config`.
pub(super) fn inputs_now(
    layout: &Layout,
    rules: &Rules,
    config: &Config,
    copier: &mut Copier,
) -> Result<Inputs, FilesError> {
    let mut inputs = Inputs { settings: settings_hash(config), ..Inputs::default() };
    let shared = Tree::open(&layout.shared())?;
    for file in rules.shared_files() {
        let path = shared.full(file);
        let Some(mut open) = shared.read(file)? else { return Err(missing(file, &path)) };
        inputs.shared_files.insert(file.clone(), copier.hash(&mut open, &path)?.hash);
    }
    Ok(inputs)
}

/// The environment counts only where `prepare` can have seen it.
pub(super) fn settings_hash(config: &Config) -> String {
    let prepare = config.release.prepare.as_ref().map(|command| (command, &config.env));
    let settings = (prepare, &config.shared.dirs, &config.release.writable);
    let text = serde_json::to_string(&settings).expect("strings and maps of strings");
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

fn record(layout: &Layout) -> PathBuf {
    layout.seals().join("shared.seeded")
}

fn beside(path: &RelPath) -> Result<RelPath, FilesError> {
    let name = path.as_path().file_name().expect("a RelPath ends with a name");
    let mut hidden = std::ffi::OsString::from(".alcedo-");
    hidden.push(name);
    RelPath::new(&path.as_path().with_file_name(hidden))
        .map_err(|error| FilesError::refused("seed", error.to_string()))
}

fn missing(file: &RelPath, path: &Path) -> FilesError {
    FilesError::refused_hint(
        format!("bring in the shared file {file}"),
        format!("there is no {}, and the build ships none", path.display()),
        format!("create {}, or take it out of `shared.files`", path.display()),
    )
}

fn in_the_way(path: &RelPath, error: FilesError) -> FilesError {
    let why = match &error {
        FilesError::Io { cause, .. } if cause.kind() != std::io::ErrorKind::AlreadyExists => {
            return error;
        }
        FilesError::Io { cause, .. } => cause.to_string(),
        FilesError::Refused { why, .. } => why.clone(),
        FilesError::Cancelled | FilesError::TimedOut => return error,
    };
    FilesError::refused_hint(
        format!("share {path}"),
        why,
        format!(
            "`[shared]` needs the place of {path} in the release: change the source or the name"
        ),
    )
}
