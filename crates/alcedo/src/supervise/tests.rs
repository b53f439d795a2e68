use super::*;
use std::io::Write;
use std::os::unix::net::UnixListener;
use xtask::home::poll_until;

const LONG: Duration = Duration::from_secs(30);
/// Tells the program below what to be, and where.
const ROLE: &str = "ALCEDO_TEST_SUPERVISED";

/// Not a test but the program that the tests supervise: a daemon that answers on its socket, or a proxy that waits.
#[test]
fn supervised_program() {
    let Some(run) = env::var_os(ROLE).map(PathBuf::from) else { return };
    let mut births = File::options().create(true).append(true).open(run.join("births")).unwrap();
    writeln!(births, "{}", std::process::id()).unwrap();
    let socket = run.join("alcedo.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    while listener.accept().is_ok() {}
}

fn program(exe: &Path, own: Own) -> Vec<String> {
    let _ = exe;
    let me = env::current_exe().unwrap().display().to_string();
    let argv: &[&str] = match own {
        Own::Proxy => &["sleep", "1001"],
        Own::Daemon => &[&me, "--exact", "supervise::tests::supervised_program", "--nocapture"],
    };
    argv.iter().map(|arg| (*arg).to_owned()).collect()
}

struct Host {
    root: tempfile::TempDir,
    supervisor: Supervisor,
}

impl Host {
    fn new(program: fn(&Path, Own) -> Vec<String>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let sub = |name: &str| root.path().join(name);
        let paths = Paths::below(&sub(""));
        let tests = env::current_exe().unwrap();
        let exe = tests.parent().and_then(Path::parent).unwrap().join("alcedo");
        assert!(exe.exists(), "{} is missing: `cargo build -p alcedo` first", exe.display());
        let mut supervisor = Supervisor::new(paths, exe);
        supervisor.program = program;
        supervisor.env.insert(ROLE.into(), sub("run").display().to_string());
        Self { root, supervisor }
    }

    fn births(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.root.path().join("run/births")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for own in [Own::Daemon, Own::Proxy] {
            let _ = self.supervisor.stop(own);
        }
    }
}

#[test]
fn many_callers_at_once_start_one_daemon_and_one_proxy() {
    let host = Host::new(program);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| host.supervisor.ensure_running(LONG).unwrap());
        }
    });
    assert_eq!(host.births().len(), 1);
    host.supervisor.ensure_running(LONG).unwrap();
    assert_eq!(host.births().len(), 1);
    let proxy = ask(&host.supervisor.paths.own_shim("proxy"), Verb::State, ANSWER).unwrap();
    assert_eq!(proxy.state.unwrap().phase, Phase::Running);
}

#[test]
fn a_killed_daemon_comes_back_and_a_stopped_one_only_when_asked() {
    let host = Host::new(program);
    host.supervisor.ensure_running(LONG).unwrap();
    let daemon = crate::process_table::Identity::of(host.births()[0]).unwrap();
    assert!(daemon.signal(rustix::process::Signal::KILL));
    poll_until(LONG, || (host.births().len() >= 2).then_some(())).expect("it comes back");
    let stopped = host.supervisor.stop(Own::Daemon).unwrap().unwrap();
    assert_eq!(stopped.state.unwrap().phase, Phase::Stopped);
    assert!(!host.supervisor.answers(Own::Daemon));
    assert_eq!(host.supervisor.stop(Own::Daemon).unwrap(), None);
    host.supervisor.ensure_running(LONG).unwrap();
    assert_eq!(host.births().len(), 3);
    let again = host.supervisor.restart(Own::Daemon).unwrap().unwrap();
    assert!(again.error.is_none());
}

#[test]
fn a_daemon_whose_socket_was_deleted_is_started_anew() {
    let mut host = Host::new(program);
    host.supervisor.deaf_after = Duration::from_millis(200);
    host.supervisor.ensure_running(LONG).unwrap();
    std::fs::remove_file(host.supervisor.paths.daemon_socket()).unwrap();
    host.supervisor.ensure_running(LONG).unwrap();
    assert!(host.supervisor.answers(Own::Daemon));
    assert_eq!(host.births().len(), 2);
}

#[test]
fn a_daemon_that_cannot_start_is_reported_with_its_exit_and_its_log() {
    let failing = |_: &Path, own: Own| {
        let script = if own == Own::Daemon { "echo no journal; exit 3" } else { "exec sleep 1001" };
        ["sh", "-c", script].map(str::to_owned).to_vec()
    };
    let host = Host::new(failing);
    let error = host.supervisor.ensure_running(LONG).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("start the daemon: exit status 3; its log is /"), "{text}");
    let SuperviseError::NotUp { log, .. } = error else { panic!("{text}") };
    assert!(std::fs::read_to_string(log).unwrap().contains("no journal"));
}

#[test]
fn what_marks_an_app_is_not_inherited() {
    assert!(is_inherited("ALCEDO_HOME") && is_inherited("PATH"));
    assert!(!is_inherited("ALCEDO_SHIM") && !is_inherited("ALCEDO_SLOT"));
    assert!(!is_inherited("DATABASE_URL"));
}
