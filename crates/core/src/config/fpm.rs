//! A pool of php-fpm for one slot: its configuration and its command line. A fresh master for each start, so its opcache
//! never knows an older release.

use super::model::{Config, PhpFpm, Runner, Service};
use crate::binding::{Address, Pool};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Before systemd or the shim loses patience, php-fpm itself ends children that do not.
const BEFORE_THE_END: Duration = Duration::from_secs(1);

/// The pool of a service that listens on `address` and works in `dir`.
pub(super) fn pool(
    php_fpm: &PhpFpm,
    config: &Config,
    service: &Service,
    address: &Address,
    dir: &Path,
    program: PathBuf,
    file: PathBuf,
) -> Pool {
    let patience = service.stop.timeout.saturating_sub(BEFORE_THE_END).as_secs().max(1);
    let listen = match address {
        Address::Tcp(address) => format!("listen = {address}\n"),
        // nginx's workers are members of the app's group.
        Address::Unix(path) => format!("listen = {}\nlisten.mode = 0660\n", path.display()),
    };
    let text = format!(
        "; Written by alcedo with each start.\n\
         [global]\n\
         ; Its words go to stderr, which it calls forcing.\n\
         error_log = /dev/null\n\
         daemonize = no\n\
         ; Without it, requests in flight would be cut by a graceful stop.\n\
         process_control_timeout = {patience}s\n\
         \n\
         [{app}]\n\
         {listen}\
         pm = static\n\
         pm.max_children = {children}\n\
         chdir = {dir}\n\
         clear_env = no\n\
         catch_workers_output = yes\n\
         decorate_workers_output = no\n\
         security.limit_extensions = .php\n",
        app = config.app,
        children = php_fpm.children,
        dir = dir.display(),
    );
    let root = dir.join(&php_fpm.root).components().collect();
    Pool { root, program, file, text, children: php_fpm.children }
}

impl Pool {
    /// What starts it.
    pub(super) fn argv(&self, runner: Runner) -> Vec<String> {
        let (program, file) = (self.program.display().to_string(), self.file.display().to_string());
        // What PHP itself logs belongs to the app's log, not to nginx's.
        let fixed = ["--nodaemonize", "--force-stderr", "-d", "fastcgi.logging=0", "--fpm-config"];
        let mut argv = vec![program];
        argv.extend(fixed.map(str::to_owned));
        argv.push(file);
        // Whose processes these are was decided by whoever started alcedo.
        argv.extend((runner == Runner::Process).then(|| "--allow-to-run-as-root".to_owned()));
        argv
    }
}
