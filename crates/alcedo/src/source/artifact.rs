//! Looks at what is to be shipped: what kind it is, whether it can be, and the hash of its content.

use super::Request;
use crate::engine::ports::{Call, Source};
use crate::files::{
    FilesError, Until, foreign_error, foreign_programs, hash_files, io_error, machine_of,
    manifest_of, scan,
};
use alcedo_core::release::{Fate, Manifest, Node, RelPath, Rules};
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Something that can be shipped.
pub(super) struct Artifact {
    pub(super) source: Source,
    pub(super) hash: String,
    /// Its entries; of an archive none.
    pub(super) tree: Manifest,
    pub(super) notices: Vec<String>,
}

/// What `path` is as a source.
pub(super) fn inspect(
    path: &Path,
    request: &Request<'_>,
    call: &Call<'_>,
) -> Result<Artifact, FilesError> {
    let metadata = std::fs::symlink_metadata(path).map_err(|error| no_such(path, error))?;
    let until = Until::of(call);
    let full = path.canonicalize().map_err(io_error("find", path))?;
    if full.is_dir() {
        return directory(&full, request, &until);
    }
    if metadata.is_symlink() {
        return Err(FilesError::refused_hint(
            format!("ship {}", path.display()),
            format!("it is a link to {}", full.display()),
            "name the file itself: its name is the one it has in the release",
        ));
    }
    if !metadata.is_file() {
        return Err(FilesError::refused(
            format!("ship {}", path.display()),
            "it is neither a file nor a directory",
        ));
    }
    if is_archive(&full) { archive(full, &until) } else { file(full, &metadata, request, &until) }
}

fn directory(path: &Path, request: &Request<'_>, until: &Until) -> Result<Artifact, FilesError> {
    let release = &request.config.release;
    let rules = Rules::new(&release.exclude, &request.config.shared, &release.writable)
        .map_err(|error| FilesError::refused(error.to_string(), "alcedo.toml says so"))?;
    if let Some(root) = request.root {
        refuse_overlap(path, root, &rules)?;
    }
    let found = scan(path, &rules, until)?;
    if !found.iter().any(|entry| entry.fate == Fate::Ship) {
        return Err(FilesError::refused_hint(
            format!("ship {}", path.display()),
            "there is nothing in it that is shipped",
            "see `release.source` and `release.exclude` in alcedo.toml",
        ));
    }
    if let Some((program, machine)) =
        foreign_programs(path, request.config, request.target)?.into_iter().next()
    {
        return Err(foreign_error(&program, machine, request.target));
    }
    let manifest = manifest_of(path, &found, until)?;
    let hash = manifest.hash();
    let source = Source::Directory { path: path.to_owned(), hash: hash.clone() };
    Ok(Artifact { source, hash, tree: manifest, notices: Vec::new() })
}

fn file(
    path: PathBuf,
    metadata: &Metadata,
    request: &Request<'_>,
    until: &Until,
) -> Result<Artifact, FilesError> {
    if let Some(machine) = machine_of(&path)?
        && !machine.runs_on(request.target)
    {
        return Err(foreign_error(&path, machine, request.target));
    }
    let (hash, size_bytes) = hash_one(&path, until)?;
    let executable = metadata.permissions().mode() & 0o100 != 0;
    let name = RelPath::new(Path::new(path.file_name().unwrap_or_default()))
        .map_err(|error| FilesError::refused(error.to_string(), "the source names no file"))?;
    let node = Node::File { hash, size_bytes, executable };
    let tree = Manifest([(name, node)].into());
    let hash = tree.hash();
    let notice = "its executable bit is not set; a program cannot be started without it";
    let notices =
        if executable { Vec::new() } else { vec![format!("{}: {notice}", path.display())] };
    Ok(Artifact { source: Source::File { path, hash: hash.clone() }, hash, tree, notices })
}

fn archive(path: PathBuf, until: &Until) -> Result<Artifact, FilesError> {
    let (hash, _) = hash_one(&path, until)?;
    let source = Source::Archive { path, hash: hash.clone() };
    Ok(Artifact { source, hash, tree: Manifest::default(), notices: Vec::new() })
}

fn hash_one(path: &Path, until: &Until) -> Result<(String, u64), FilesError> {
    let mut hashes = hash_files(&[path.to_owned()], until)?;
    Ok(hashes.pop().expect("one hash for one file"))
}

fn is_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    [".tar", ".tar.gz", ".tgz", ".tar.zst"].iter().any(|end| name.ends_with(end))
}

/// A release must not be made of releases, nor of itself.
fn refuse_overlap(source: &Path, root: &Path, rules: &Rules) -> Result<(), FilesError> {
    // A root that is not there yet cannot be resolved; what is above it can.
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let root = real(root);
    if source.starts_with(root.join("releases")) {
        return Err(FilesError::refused_hint(
            format!("ship {}", source.display()),
            "it lies in the directory of the releases themselves",
            "a kept release is deployed by its name: `alcedo deploy release:ID`",
        ));
    }
    let Ok(inside) = root.strip_prefix(source) else { return Ok(()) };
    let left_out =
        RelPath::new(inside).is_ok_and(|inside| rules.fate_alone(&inside, true) == Fate::LeaveOut);
    if left_out {
        return Ok(());
    }
    Err(FilesError::refused_hint(
        format!("ship {}", source.display()),
        format!("the app's root {} lies in it, with every release", root.display()),
        "set `root` to another place, or name it in `release.exclude`",
    ))
}

fn no_such(path: &Path, error: std::io::Error) -> FilesError {
    if error.kind() != std::io::ErrorKind::NotFound {
        return io_error("find", path)(error);
    }
    FilesError::refused_hint(
        format!("ship {}", path.display()),
        "there is no such file or directory",
        "see `release.build` and `release.source` in alcedo.toml",
    )
}
