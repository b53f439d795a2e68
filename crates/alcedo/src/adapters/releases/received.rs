//! Makes a release of what was sent: every file from where its content is, each hash looked at again.

use super::incoming::{Incoming, Offered};
use super::layout::{InstanceName, Layout};
use super::place::{Content, Placer};
use crate::files::{FilesError, Tree, Until};
use alcedo_core::release::{Manifest, Node, RelPath};
use std::collections::BTreeMap;
use std::fs::File;

/// Places every entry of the upload `hash`.
pub(super) fn place(
    layout: &Layout,
    hash: &str,
    placer: &mut Placer<'_>,
    until: &Until,
) -> Result<(), FilesError> {
    let incoming = Incoming::of(layout);
    let Some(Offered { tree, seeds, .. }) = incoming.offered(hash)? else {
        return Err(FilesError::refused_hint(
            "find what was sent",
            "nothing of it is here (any more)",
            "type the command again",
        ));
    };
    let kept = incoming.kept()?;
    let mut from = Contents { layout, incoming, kept, trees: BTreeMap::new() };
    for part in [&tree, &seeds] {
        place_all(part, placer, &mut from, until)?;
    }
    Ok(())
}

fn place_all(
    part: &Manifest,
    placer: &mut Placer<'_>,
    from: &mut Contents<'_>,
    until: &Until,
) -> Result<(), FilesError> {
    for (path, node) in &part.0 {
        until.check()?;
        let fate = placer.rules().fate(path, matches!(node, Node::Dir));
        match node {
            Node::Dir => placer.dir(path, &fate)?,
            Node::Link { .. } => {
                placer.link(path, &node.link_target().unwrap_or_default(), &fate)?;
            }
            Node::File { hash, executable, .. } => {
                let (file, origin) = from.open(hash, path)?;
                let mode = if *executable { 0o755 } else { 0o644 };
                placer.file(path, mode, path.as_path(), Content::File(file), &fate)?;
                if placer.manifest.0.get(path).is_some_and(|placed| placed != node) {
                    return Err(from.damaged(hash, path, &origin));
                }
            }
        }
    }
    Ok(())
}

/// Where contents are.
struct Contents<'a> {
    layout: &'a Layout,
    incoming: Incoming<'a>,
    kept: BTreeMap<String, (InstanceName, RelPath)>,
    trees: BTreeMap<InstanceName, Tree>,
}

/// Where a content was found.
enum Origin {
    Sent,
    Kept(InstanceName),
}

impl Contents<'_> {
    fn open(&mut self, hash: &str, path: &RelPath) -> Result<(File, Origin), FilesError> {
        if let Ok(whole) = self.incoming.whole(hash) {
            let file = File::open(&whole).map_err(crate::files::io_error("read", &whole))?;
            return Ok((file, Origin::Sent));
        }
        let Some((name, at)) = self.kept.get(hash).cloned() else {
            // Says that it is not whole.
            self.incoming.whole(hash)?;
            return Err(FilesError::refused(format!("find {path}"), "it was not sent"));
        };
        if !self.trees.contains_key(&name) {
            let tree = Tree::open(&self.layout.instance(&name))?;
            self.trees.insert(name.clone(), tree);
        }
        let found = self.trees.get(&name).map(|tree| tree.read(&at)).transpose();
        match found {
            Ok(Some(Some(file))) => Ok((file, Origin::Kept(name))),
            Ok(_) | Err(_) => Err(self.damaged(hash, &at, &Origin::Kept(name))),
        }
    }

    /// Sees to it that the content is sent anew the next time.
    fn damaged(&self, hash: &str, path: &RelPath, origin: &Origin) -> FilesError {
        let why = match origin {
            Origin::Sent => {
                self.incoming.drop_content(hash);
                "what was sent is damaged on this host's disk".to_owned()
            }
            Origin::Kept(name) => {
                self.incoming.mark_lost(hash);
                format!("release {name} is not any more what it was sealed with")
            }
        };
        let hint = "type the command again: this file is then sent anew";
        FilesError::refused_hint(format!("take {path}"), why, hint)
    }
}
