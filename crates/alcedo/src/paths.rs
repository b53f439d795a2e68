//! Where everything is: state, sockets, apps. For root under `/var/lib`, `/run` and `/srv`, else in the user's own
//! directories, or all under `$ALCEDO_HOME`. On a host that `setup` prepared, the first three are of the user `alcedo`,
//! and whoever may read [`MARKER`] is a client of that daemon.
//!
//! Makes the directories that are alcedo's alone (0700, owner checked) and never touches any other.

use alcedo_core::binding::BindingId;
use alcedo_core::{AppName, ServiceName, Slot};
use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes of a Unix socket's path, without the closing zero.
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 107;
/// The user who owns state, sockets and releases of a host that `setup` prepared.
pub(crate) const SYSTEM_USER: &str = "alcedo";
/// Says that this host was prepared by `setup`: readable by root and the group `alcedo`.
pub(crate) const MARKER: &str = "/etc/alcedo/system";
/// The longest socket path below the run directory: `shims/_alcedo/daemon/notify.sock`.
const LONGEST_SOCKET_BYTES: usize = 33;

/// The directories of one alcedo: who uses the same ones talks to the same daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paths {
    /// Journal, logs, router state: survives reboots.
    pub(crate) state: PathBuf,
    /// Sockets and what is true for this boot only.
    pub(crate) run: PathBuf,
    /// An app without `root` lives in `<apps>/<app>`.
    pub(crate) apps: PathBuf,
    /// Who made them.
    pub(crate) keeper: Keeper,
}

/// Who makes the directories and keeps the processes running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// Whoever uses them first; shims keep the processes running.
    User,
    /// `setup` and systemd.
    System,
}

/// Why there are no directories to work in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PathsError {
    /// Neither `HOME` nor `ALCEDO_HOME` is set.
    #[error("find a home directory: neither HOME nor ALCEDO_HOME is an absolute path")]
    NoHome,
    /// `setup` prepared this host, and it is no longer as it left it.
    #[error("use the directory {}: `alcedo setup` makes it", path.display())]
    NotSetUp {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `ALCEDO_HOME` would mean another place in every directory.
    #[error("use ALCEDO_HOME: {} is not an absolute path", .0.display())]
    Relative(PathBuf),
    /// It cannot be made or read.
    #[error("use the directory {}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else could put things into it.
    #[error("use the directory {}: it belongs to user {owner}, not to user {me}", path.display())]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        me: u32,
    },
}

/// What the choice of directories depends on.
struct Surroundings<'a> {
    uid: u32,
    var: &'a dyn Fn(&str) -> Option<PathBuf>,
    is_prepared: bool,
}

/// Makes state and run directory of a user's own alcedo, or closes them once more.
fn prepare_own(paths: &Paths) -> Result<(), PathsError> {
    make_private(&paths.run)?;
    match fs::symlink_metadata(&paths.state) {
        // Another router's processes pass through: what is ours in it is closed once more.
        Ok(meta) if meta.is_dir() && meta.mode() & 0o077 == 0o011 => {
            let unusable = |source| PathsError::Unusable { path: paths.state.clone(), source };
            let_through(&paths.state, &paths.router()).map_err(unusable)?;
            check_owner(&paths.state, &meta)
        }
        Ok(_) | Err(_) => make_private(&paths.state),
    }
}

impl Paths {
    /// Chooses the directories and makes state and run directory where they are missing.
    pub(crate) fn prepare() -> Result<Self, PathsError> {
        let paths = Self::choose()?;
        match paths.keeper {
            Keeper::User => prepare_own(&paths)?,
            Keeper::System => {
                find(&paths.state)?;
                find(&paths.run)?;
            }
        }
        Ok(paths)
    }

    /// All below one directory.
    pub(crate) fn below(home: &Path) -> Self {
        Self {
            state: home.join("state"),
            run: home.join("run"),
            apps: home.join("apps"),
            keeper: Keeper::User,
        }
    }

    /// As `setup` makes them.
    pub(crate) fn system() -> Self {
        Self {
            state: "/var/lib/alcedo".into(),
            run: "/run/alcedo".into(),
            apps: "/srv".into(),
            keeper: Keeper::System,
        }
    }

    /// Chooses the directories and makes none.
    pub(crate) fn choose() -> Result<Self, PathsError> {
        // Empty is unset, as CI systems have it.
        let var =
            |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let is_prepared = fs::File::open(MARKER).is_ok();
        Self::of(&Surroundings { uid: rustix::process::geteuid().as_raw(), var: &var, is_prepared })
    }

    fn of(around: &Surroundings<'_>) -> Result<Self, PathsError> {
        let mut paths = Self::by_rule(around)?;
        if paths.run.as_os_str().len() + LONGEST_SOCKET_BYTES > SOCKET_PATH_BYTES_MAX {
            paths.run = short_run(around.uid, &paths.run);
        }
        Ok(paths)
    }

    fn by_rule(around: &Surroundings<'_>) -> Result<Self, PathsError> {
        if let Some(home) = (around.var)("ALCEDO_HOME") {
            if !home.is_absolute() {
                return Err(PathsError::Relative(home));
            }
            return Ok(Self::below(&home));
        }
        if around.is_prepared {
            return Ok(Self::system());
        }
        if around.uid == 0 {
            return Ok(Self { keeper: Keeper::User, ..Self::system() });
        }
        let absolute = |name: &str| (around.var)(name).filter(|path| path.is_absolute());
        let home = absolute("HOME").ok_or(PathsError::NoHome)?;
        let state = absolute("XDG_STATE_HOME").unwrap_or_else(|| home.join(".local/state"));
        let state = state.join("alcedo");
        let runtime = absolute("XDG_RUNTIME_DIR").filter(|dir| dir.is_dir());
        let run = runtime.map_or_else(|| short_run(around.uid, &state), |dir| dir.join("alcedo"));
        Ok(Self { state, run, apps: home.join(".local/share/alcedo"), keeper: Keeper::User })
    }

    /// Where the daemon answers.
    pub(crate) fn daemon_socket(&self) -> PathBuf {
        self.run.join("alcedo.sock")
    }

    /// Where the proxy takes commands.
    pub(crate) fn proxy_socket(&self) -> PathBuf {
        self.run.join("proxy.sock")
    }

    /// The directory of the shim that owns one process of a slot.
    pub(crate) fn shim(&self, app: &AppName, slot: Slot, service: &ServiceName) -> PathBuf {
        self.shims(app, slot).join(service.as_str())
    }

    /// The directories of all shims of a slot.
    pub(crate) fn shims(&self, app: &AppName, slot: Slot) -> PathBuf {
        self.run.join("shims").join(app.as_str()).join(slot.as_str())
    }

    /// The directory of the shim that owns the daemon or the proxy. No app's name starts with an underscore.
    pub(crate) fn own_shim(&self, what: &str) -> PathBuf {
        self.run.join("shims/_alcedo").join(what)
    }

    /// Where the processes of a binding write, one file for each, named after the service.
    pub(crate) fn logs(&self, app: &AppName, binding: &BindingId) -> PathBuf {
        self.state.join("logs").join(app.as_str()).join(binding.as_str())
    }

    /// Where one process of a binding writes.
    pub(crate) fn log(&self, app: &AppName, binding: &BindingId, service: &ServiceName) -> PathBuf {
        self.logs(app, binding).join(format!("{service}.log"))
    }

    /// What each instance of an app's unit runs: the file is its condition for starting, and its order.
    pub(crate) fn orders(&self, app: &AppName) -> PathBuf {
        self.state.join("slots").join(app.as_str())
    }

    /// Where other routers than the embedded one are kept, a directory for each app: nginx's workers can enter it.
    pub(crate) fn router(&self) -> PathBuf {
        self.state.join("router")
    }

    /// Where the daemon or the proxy writes.
    pub(crate) fn own_log(&self, what: &str) -> PathBuf {
        self.state.join("logs").join(format!("_{what}.log"))
    }
}

/// Leaves as it is what `setup` made.
fn find(dir: &Path) -> Result<(), PathsError> {
    let found = fs::metadata(dir);
    found.map(drop).map_err(|source| PathsError::NotSetUp { path: dir.to_owned(), source })
}

/// Makes `dir` (and its parents) with mode 0700 and checks that it is ours and closed to others.
pub(crate) fn make_private(dir: &Path) -> Result<(), PathsError> {
    let unusable = |source| PathsError::Unusable { path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable)?;
    // Not followed: in a directory that others can write, a link could be theirs.
    let meta = fs::symlink_metadata(dir).map_err(unusable)?;
    check_owner(dir, &meta)?;
    if !meta.is_dir() {
        return Err(unusable(io::ErrorKind::NotADirectory.into()));
    }
    if meta.mode() & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(unusable)?;
    }
    Ok(())
}

/// Lets other users pass through `dir` on their way to `to`, one of its entries: they can list nothing, and every other
/// entry is closed to them.
pub(crate) fn let_through(dir: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        if path != to && !meta.is_symlink() && meta.mode() & 0o077 != 0 {
            fs::set_permissions(&path, fs::Permissions::from_mode(meta.mode() & 0o700))?;
        }
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o711))
}

fn check_owner(dir: &Path, meta: &fs::Metadata) -> Result<(), PathsError> {
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() == me {
        return Ok(());
    }
    Err(PathsError::NotOurs { path: dir.to_owned(), owner: meta.uid(), me })
}

/// Beside `/tmp`'s other inhabitants, named so that the same alcedo finds it again.
fn short_run(uid: u32, long: &Path) -> PathBuf {
    let hash = blake3::hash(long.as_os_str().as_bytes()).to_hex();
    PathBuf::from(format!("/tmp/alcedo-{uid}-{}", &hash[..12]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(uid: u32, vars: &[(&str, &str)]) -> Paths {
        let var = |name: &str| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value))
        };
        Paths::of(&Surroundings { uid, var: &var, is_prepared: false }).unwrap()
    }

    #[test]
    fn a_prepared_host_has_one_alcedo_for_all_who_may_see_it() {
        let var = |_: &str| Some(PathBuf::from("/home/u"));
        let without_home = |name: &str| (name != "ALCEDO_HOME").then(|| var(name)).flatten();
        for uid in [0, 7] {
            let around = Surroundings { uid, var: &without_home, is_prepared: true };
            let paths = Paths::of(&around).unwrap();
            assert_eq!(paths, Paths::system());
            assert_eq!(paths.daemon_socket(), Path::new("/run/alcedo/alcedo.sock"));
        }
        let around = Surroundings { uid: 7, var: &var, is_prepared: true };
        assert_eq!(Paths::of(&around).unwrap().keeper, Keeper::User, "ALCEDO_HOME comes first");
    }

    #[test]
    fn root_has_the_system_directories_and_alcedo_home_replaces_them() {
        let paths = choose(0, &[("HOME", "/root")]);
        assert_eq!(paths.daemon_socket(), Path::new("/run/alcedo/alcedo.sock"));
        assert_eq!(paths.apps, Path::new("/srv"));
        let paths = choose(0, &[("ALCEDO_HOME", "/opt/a")]);
        assert_eq!(paths.state, Path::new("/opt/a/state"));
        assert_eq!(paths.run, Path::new("/opt/a/run"));
        assert_eq!(paths.apps, Path::new("/opt/a/apps"));
    }

    #[test]
    fn a_relative_alcedo_home_is_an_error_and_not_another_home() {
        let var = |name: &str| (name == "ALCEDO_HOME").then(|| PathBuf::from("ci/home"));
        let error = Paths::of(&Surroundings { uid: 0, var: &var, is_prepared: false }).unwrap_err();
        assert_eq!(error.to_string(), "use ALCEDO_HOME: ci/home is not an absolute path");
    }

    #[test]
    fn a_user_has_xdg_directories() {
        let paths = choose(7, &[("HOME", "/home/u"), ("XDG_RUNTIME_DIR", "/tmp")]);
        assert_eq!(paths.state, Path::new("/home/u/.local/state/alcedo"));
        assert_eq!(paths.run, Path::new("/tmp/alcedo"));
        assert_eq!(paths.apps, Path::new("/home/u/.local/share/alcedo"));
    }

    #[test]
    fn a_user_without_a_runtime_directory_gets_a_short_one() {
        let paths = choose(7, &[("HOME", "/home/u"), ("XDG_RUNTIME_DIR", "/nowhere/7")]);
        assert!(paths.run.starts_with("/tmp"), "{}", paths.run.display());
        assert!(paths.run.to_str().unwrap().starts_with("/tmp/alcedo-7-"));
    }

    #[test]
    fn every_socket_path_fits_however_deep_the_home_is() {
        let deep = format!("/{}", "deep/".repeat(40));
        let paths = choose(7, &[("ALCEDO_HOME", &deep)]);
        let longest = paths.own_shim("daemon").join("notify.sock");
        assert!(longest.as_os_str().len() <= SOCKET_PATH_BYTES_MAX, "{}", longest.display());
        assert_ne!(paths.run, choose(7, &[("ALCEDO_HOME", &format!("{deep}2"))]).run);
    }

    #[test]
    fn whoever_passes_through_finds_everything_else_closed() {
        let dir = tempfile::tempdir().unwrap();
        let (router, journal) = (dir.path().join("router"), dir.path().join("journal.db"));
        fs::create_dir(&router).unwrap();
        fs::write(&journal, "secret").unwrap();
        fs::set_permissions(&journal, fs::Permissions::from_mode(0o644)).unwrap();
        let_through(dir.path(), &router).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(dir.path()), 0o711);
        assert_eq!(mode(&journal), 0o600);
        assert_eq!(mode(&router) & 0o055, 0o055);
    }

    #[test]
    fn directories_are_closed_to_others_and_a_link_is_not_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        make_private(&open).unwrap();
        assert_eq!(fs::metadata(&open).unwrap().mode() & 0o777, 0o700);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&open, &link).unwrap();
        assert!(make_private(&link).is_err());
    }
}
