//! The newest sealed release, as a place to share unchanged blocks with.

use super::audit::sealed_names;
use super::layout::Layout;
use super::seal::{Seal, read_seal};
use crate::files::{FilesError, Tree};
use alcedo_core::release::{Node, RelPath};
use std::fs::File;

/// An older release that is known to be whole.
pub(super) struct Previous {
    seal: Seal,
    tree: Tree,
}

impl Previous {
    /// The newest one that can be used; damaged ones are passed over (`check` names them).
    pub(super) fn newest(layout: &Layout) -> Result<Option<Self>, FilesError> {
        for name in sealed_names(layout)?.into_iter().rev() {
            let Ok(Some(seal)) = read_seal(layout, &name) else { continue };
            if let Ok(tree) = Tree::open(&layout.instance(&name)) {
                return Ok(Some(Self { seal, tree }));
            }
        }
        Ok(None)
    }

    /// Bytes that `prepare` made in it: the next one will need about as many.
    pub(super) fn prepared_bytes(&self) -> u64 {
        let sizes = self.seal.prepared.iter().filter_map(|path| self.seal.files.0.get(path));
        sizes.map(Node::size_bytes).sum()
    }

    /// The hash of a file in it.
    pub(super) fn hash_of(&self, path: &RelPath) -> Option<String> {
        match self.seal.files.0.get(path)? {
            Node::File { hash, .. } => Some(hash.clone()),
            Node::Dir | Node::Link { .. } => None,
        }
    }

    /// The file at `path` when it has this length.
    pub(super) fn same_size(&self, path: &RelPath, size_bytes: u64) -> Option<File> {
        let sealed = self.seal.files.0.get(path);
        let same = matches!(sealed, Some(Node::File { size_bytes: s, .. }) if *s == size_bytes);
        // A file that cannot be opened any more is one that blocks are not shared with.
        if same { self.tree.read(path).ok().flatten() } else { None }
    }
}
