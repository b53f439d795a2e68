//! What every prepared host has: the user, the directories, daemon and proxy as units.

use super::step::{After, Change, Owner, Step};
use super::{HEADER, PROGRAM, units};
use crate::paths::{MARKER, Paths, SYSTEM_USER};
use std::path::{Path, PathBuf};

/// The daemon's unit.
pub(super) const DAEMON: &str = "alcedo.service";
/// The proxy's unit.
pub(super) const PROXY: &str = "alcedo-proxy.service";
/// Where `/run`'s directories are told to `systemd-tmpfiles`.
pub(super) const TMPFILES: &str = "/etc/tmpfiles.d";

/// Files of the host that no app's removal takes away while there is another app.
pub(super) const FILES: [&str; 4] = [
    "etc/alcedo/system",
    "tmpfiles.d/alcedo.conf",
    "system/alcedo.service",
    "system/alcedo-proxy.service",
];

/// Its steps; `exe` is the program that runs now. nginx's workers pass through the state directory to their flags.
pub(super) fn steps(paths: &Paths, exe: PathBuf, is_passed_through: bool) -> Vec<Step> {
    let own = || Owner::of(SYSTEM_USER, SYSTEM_USER);
    let directory = |path: &Path, mode| {
        Step::of(Change::Directory { path: path.to_owned(), mode, owner: own() })
    };
    let marker = PathBuf::from(MARKER);
    let readable = Owner::of("root", SYSTEM_USER);
    let restart = |unit: &str| After::Restart(unit.to_owned());
    let mut steps = vec![
        Step::of(Change::Program { from: exe, to: PROGRAM.into() })
            .then(restart(DAEMON))
            .then(restart(PROXY)),
        Step::of(Change::User { name: SYSTEM_USER.to_owned(), home: paths.state.clone() }),
        Step::of(Change::Directory {
            path: marker.parent().unwrap_or(Path::new("/etc")).to_owned(),
            mode: 0o750,
            owner: readable.clone(),
        }),
        Step::of(Change::File {
            path: marker,
            text: format!(
                "{HEADER}\n# This host was prepared by it. Whoever may read this uses its daemon.\nformat = 1\n"
            ),
            mode: 0o640,
            owner: readable,
        }),
        directory(
            &paths.state,
            if is_passed_through || is_open(&paths.state) { 0o711 } else { 0o700 },
        ),
        directory(&paths.state.join("proxy"), 0o700),
        Step::file(Path::new(TMPFILES).join("alcedo.conf"), units::tmpfiles(paths))
            .then(After::MakeRunDirectories),
        Step::unit(DAEMON, units::daemon(paths)).then(restart(DAEMON)),
        Step::unit(PROXY, units::proxy(paths)).then(restart(PROXY)),
    ];
    for unit in [PROXY, DAEMON] {
        let unit = unit.to_owned();
        steps.push(Step::of(Change::Enabled {
            unit: unit.clone(),
            wants: "multi-user.target.wants",
        }));
        steps.push(Step::of(Change::Running { unit }));
    }
    steps
}

/// Another app's router needs it so.
fn is_open(state: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(state).is_ok_and(|meta| meta.mode() & 0o077 == 0o011)
}
