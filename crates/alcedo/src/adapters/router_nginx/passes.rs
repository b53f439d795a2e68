//! Files that let whoever shows a token through to a slot; see [`alcedo_core::nginx::PASSES`].

use crate::adapters::clock;
use crate::engine::ports::{EffectError, Millis};
use crate::files::write_atomically;
use alcedo_core::Slot;
use alcedo_core::nginx::{PASSES, pass_file};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// Makes the token good for so long.
pub(super) fn admit(
    dir: &Path,
    token: &str,
    slot: Slot,
    lifetime: Duration,
) -> Result<(), EffectError> {
    let passes = dir.join(PASSES);
    super::site::make_dir(&passes)?;
    // nginx's workers have to look for a file whose name they know; nobody else has to see the names.
    fs::set_permissions(&passes, fs::Permissions::from_mode(0o711))
        .map_err(|error| EffectError::failed(format!("close {}", passes.display()), error))?;
    let until = clock::now().after(lifetime);
    let text = format!("{} {}\n", clock::boot_id(), until.0);
    Ok(write_atomically(&passes.join(pass_file(token, slot)), text.as_bytes(), 0o644)?)
}

/// No token is good any more.
pub(super) fn end(dir: &Path) -> Result<(), EffectError> {
    remove(dir, |_| true)
}

/// Those whose time is over are not good any more, nor those of an earlier boot.
pub(super) fn sweep(dir: &Path) -> Result<(), EffectError> {
    remove(dir, |path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let until = text.trim().split_once(' ').filter(|(boot, _)| *boot == clock::boot_id());
        let until = until.and_then(|(_, until)| until.parse().ok()).map(Millis);
        until.is_none_or(|until| clock::now() >= until)
    })
}

fn remove(dir: &Path, is_over: impl Fn(&Path) -> bool) -> Result<(), EffectError> {
    let entries = fs::read_dir(dir.join(PASSES)).into_iter().flatten().flatten();
    let mut over = entries.map(|entry| entry.path()).filter(|path| is_over(path));
    over.try_for_each(|path| super::site::remove(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_end_by_their_time_or_all_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let names = || {
            let entries = fs::read_dir(dir.path().join(PASSES)).expect("passes");
            let mut names: Vec<_> =
                entries.map(|entry| entry.expect("an entry").file_name()).collect();
            names.sort();
            names
        };
        admit(dir.path(), "aa", Slot::Blue, Duration::ZERO).expect("admitted");
        admit(dir.path(), "bb", Slot::Green, Duration::from_secs(3600)).expect("admitted");
        fs::write(dir.path().join(PASSES).join("cc.blue"), "of another boot 9\n").expect("written");
        sweep(dir.path()).expect("swept");
        assert_eq!(names(), ["bb.green"]);
        end(dir.path()).expect("ended");
        assert!(names().is_empty());
    }
}
