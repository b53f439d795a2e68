//! Puts entries of a source where they belong: into the release, or into `shared/` the first time.

use super::layout::Layout;
use super::previous::Previous;
use super::shared::Seeding;
use crate::adapters::clock;
use crate::engine::ports::{Call, Fetched, Millis};
use crate::files::{Copied, Copier, FilesError, Tree, Until, human_bytes, io_error};
use alcedo_core::release::{Fate, Manifest, Node, RelPath, Rules, link_stays_inside};
use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(300);

/// Where a file's content comes from.
pub(super) enum Content<'a> {
    /// A file of its own, with its length when it was listed.
    File(File),
    /// The next bytes of an archive.
    Stream(&'a mut dyn Read),
}

/// Fills one release.
pub(super) struct Placer<'a> {
    call: &'a Call<'a>,
    rules: &'a Rules,
    tree: Tree,
    seeding: Seeding,
    previous: Option<Previous>,
    copier: Copier,
    /// What was placed so far.
    pub(super) manifest: Manifest,
    /// What was counted so far.
    pub(super) fetched: Fetched,
    /// Shared paths for which the source had something that was not taken.
    left_out: BTreeSet<RelPath>,
    told: Millis,
}

impl<'a> Placer<'a> {
    /// Into `instance`, which is empty.
    pub(super) fn new(
        layout: &Layout,
        instance: &Path,
        rules: &'a Rules,
        call: &'a Call<'a>,
    ) -> Result<Self, FilesError> {
        Ok(Self {
            call,
            rules,
            tree: Tree::open(instance)?,
            seeding: Seeding::open(layout, rules)?,
            previous: Previous::newest(layout)?,
            copier: Copier::new(Until::of(call)),
            manifest: Manifest::default(),
            fetched: Fetched::default(),
            left_out: BTreeSet::new(),
            told: clock::now(),
        })
    }

    /// Whether blocks can still be shared with the previous release.
    pub(super) fn may_share_blocks(&self) -> bool {
        self.copier.can_clone() && self.previous.is_some()
    }

    /// A directory.
    pub(super) fn dir(&mut self, path: &RelPath, fate: &Fate) -> Result<(), FilesError> {
        match fate {
            Fate::LeaveOut => Ok(()),
            Fate::SharedDir(shared) => self.seeding.dir(path, shared),
            Fate::SharedFile(_) => Err(wrong_kind(path, "a directory", "shared.files", "a file")),
            Fate::Ship => {
                self.tree.make_dir(path)?;
                self.manifest.0.insert(path.clone(), Node::Dir);
                Ok(())
            }
        }
    }

    /// A symbolic link.
    pub(super) fn link(
        &mut self,
        path: &RelPath,
        target: &Path,
        fate: &Fate,
    ) -> Result<(), FilesError> {
        match fate {
            Fate::LeaveOut => {}
            // What a link stands for is not in the source: there is nothing to seed with.
            Fate::SharedDir(shared) | Fate::SharedFile(shared) => {
                self.left_out.insert(shared.clone());
            }
            Fate::Ship => {
                if !link_stays_inside(path.as_path(), target) {
                    return Err(FilesError::refused(
                        format!("ship the link {path}"),
                        format!("it points to {}, out of the release", target.display()),
                    ));
                }
                self.tree.link(path, target)?;
                self.manifest.0.insert(path.clone(), Node::link(target));
            }
        }
        Ok(())
    }

    /// A regular file; `from` names it in errors.
    pub(super) fn file(
        &mut self,
        path: &RelPath,
        mode: u32,
        from: &Path,
        content: Content<'_>,
        fate: &Fate,
    ) -> Result<(), FilesError> {
        match fate {
            Fate::LeaveOut => Ok(()),
            Fate::SharedDir(shared) if shared == path => {
                Err(wrong_kind(path, "a file", "shared.dirs", "a directory"))
            }
            Fate::SharedDir(shared) | Fate::SharedFile(shared) => {
                let taken =
                    self.seeding.file(path, shared, mode, from, content, &mut self.copier)?;
                if !taken {
                    self.left_out.insert(shared.clone());
                }
                Ok(())
            }
            Fate::Ship => self.ship(path, mode, from, content),
        }
    }

    /// A file that is the same as one placed before (a hard link in an archive).
    pub(super) fn same_as(
        &mut self,
        path: &RelPath,
        earlier: &RelPath,
        fate: &Fate,
    ) -> Result<(), FilesError> {
        if *fate == Fate::LeaveOut {
            return Ok(());
        }
        let Some(file) = self.tree.read(earlier)? else {
            return Err(FilesError::refused(
                format!("unpack the hard link {path}"),
                format!("{earlier} did not come before it in the archive"),
            ));
        };
        let metadata = file.metadata().map_err(io_error("read", &self.tree.full(earlier)))?;
        let from = self.tree.full(earlier);
        self.file(path, metadata.permissions().mode() & 0o777, &from, Content::File(file), fate)
    }

    /// Ends the seeding and gives back what was done.
    pub(super) fn finish(mut self) -> Result<(Tree, Manifest, Fetched), FilesError> {
        let shared_notices = self.seeding.finish(self.rules, &self.left_out)?;
        self.fetched.notices.extend(shared_notices);
        Ok((self.tree, self.manifest, self.fetched))
    }

    fn ship(
        &mut self,
        path: &RelPath,
        mode: u32,
        from: &Path,
        content: Content<'_>,
    ) -> Result<(), FilesError> {
        let full = self.tree.full(path);
        let mut to = self.tree.create(path)?;
        let old = self.previous.as_ref().and_then(|previous| previous.hash_of(path));
        let (copied, shared) = match content {
            Content::Stream(reader) => (self.copier.stream(reader, from, &mut to, &full)?, false),
            Content::File(mut file) => self.copy_file(path, &mut file, from, &mut to, &full)?,
        };
        // The bits beyond rwx would let a release act as somebody else; its owner must always be able to read it.
        to.set_permissions(Permissions::from_mode(mode & 0o777 | 0o400))
            .map_err(io_error("write", &full))?;
        self.fetched.files += 1;
        self.fetched.changed_files += u64::from(old.as_ref() != Some(&copied.hash));
        self.fetched.size_bytes += copied.size_bytes;
        self.fetched.copied_bytes += if shared { 0 } else { copied.size_bytes };
        let node = Node::File {
            hash: copied.hash,
            size_bytes: copied.size_bytes,
            executable: mode & 0o100 != 0,
        };
        self.manifest.0.insert(path.clone(), node);
        self.tell_progress();
        Ok(())
    }

    /// Shares blocks with the previous release, else with the source, else copies; says whether it was the first.
    fn copy_file(
        &mut self,
        path: &RelPath,
        file: &mut File,
        from: &Path,
        to: &mut File,
        full: &Path,
    ) -> Result<(Copied, bool), FilesError> {
        if self.copier.can_clone()
            && let Some(copied) = self.clone_previous(path, file, from, to, full)?
        {
            return Ok((copied, true));
        }
        if let Some(copied) = self.copier.clone_of(file, to, full)? {
            return Ok((copied, false));
        }
        Ok((self.copier.stream(file, from, to, full)?, false))
    }

    fn clone_previous(
        &mut self,
        path: &RelPath,
        file: &mut File,
        from: &Path,
        to: &mut File,
        full: &Path,
    ) -> Result<Option<Copied>, FilesError> {
        let size_bytes = file.metadata().map_err(io_error("read", from))?.len();
        let Some(previous) = &self.previous else { return Ok(None) };
        let Some(candidate) = previous.same_size(path, size_bytes) else { return Ok(None) };
        let wanted = self.copier.hash(file, from)?;
        if previous.hash_of(path).as_ref() != Some(&wanted.hash) {
            return Ok(None);
        }
        let cloned = self.copier.clone_of(&candidate, to, full)?;
        if cloned.as_ref() == Some(&wanted) {
            return Ok(cloned);
        }
        // Not what its seal says: somebody changed the old release. Copied from the source instead.
        to.set_len(0).map_err(io_error("write", full))?;
        to.seek(SeekFrom::Start(0)).map_err(io_error("write", full))?;
        Ok(None)
    }

    fn tell_progress(&mut self) {
        if clock::now().since(self.told) < PROGRESS_EVERY {
            return;
        }
        self.told = clock::now();
        let Fetched { files, size_bytes, .. } = self.fetched;
        (self.call.progress)(&format!("{files} files, {}", human_bytes(size_bytes)));
    }

    pub(super) fn rules(&self) -> &'a Rules {
        self.rules
    }
}

fn wrong_kind(path: &RelPath, is: &str, key: &str, wanted: &str) -> FilesError {
    FilesError::refused_hint(
        format!("share {path}"),
        format!("the source has {is} there, and `{key}` needs {wanted}"),
        format!("take {path:?} out of `{key}`, or change the source", path = path.to_string()),
    )
}
