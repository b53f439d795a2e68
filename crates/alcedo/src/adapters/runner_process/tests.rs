use super::*;
use crate::engine::ports::Cancel;
use alcedo_core::config::{Expect, Health, HealthCheck, Stop};
use alcedo_core::{DeployId, ReleaseId, binding::Address};
use xtask::home::poll_until;

const LONG: Duration = Duration::from_secs(30);

struct Host {
    root: tempfile::TempDir,
    runner: ProcessRunner,
    app: AppName,
    cancel: Cancel,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let sub = |name: &str| root.path().join(name);
        let paths = Paths::below(&sub(""));
        let runner = ProcessRunner::new(paths, binary());
        Self { root, runner, app: AppName::new("shop").unwrap(), cancel: Cancel::default() }
    }

    fn call(&self) -> Call<'_> {
        Call { deadline: clock::now().after(LONG), cancel: &self.cancel, progress: &|_| {} }
    }

    fn binding(&self, deploy: u64, slot: Slot, scripts: &[(&str, &str)]) -> Binding {
        Binding {
            id: BindingId::new(DeployId(deploy), slot),
            app: self.app.clone(),
            environment: "production".into(),
            slot,
            runner: alcedo_core::config::Runner::Process,
            release: ReleaseId::new("r20261120-191405-4be1c07").unwrap(),
            instance: self.root.path().to_owned(),
            processes: scripts.iter().map(|(name, script)| self.process(name, script)).collect(),
            smoke: vec![],
            warmup: None,
        }
    }

    fn process(&self, name: &str, script: &str) -> Process {
        let dir = self.root.path().to_owned();
        Process {
            name: ServiceName::new(name).unwrap(),
            argv: ["sh", "-c", script].map(str::to_owned).into(),
            env: [("PATH", "/usr/bin:/bin"), ("DIR", dir.to_str().unwrap())]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            dir,
            address: Address::Tcp(([127, 0, 0, 1], 1).into()),
            pool: None,
            stop: Stop {
                signal: "SIGTERM".into(),
                signal_origin: "default".into(),
                timeout: Duration::from_secs(5),
            },
            routes: vec![],
            domains: vec![],
            health: Health {
                check: HealthCheck::None,
                host: None,
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                healthy_after: 1,
                deadline: LONG,
                release: None,
                expect: Expect::default(),
            },
        }
    }

    fn observe(&self, slot: Slot) -> SlotState {
        self.runner.observe(&self.app, slot).unwrap()
    }

    fn until(&self, slot: Slot, what: &str, holds: impl Fn(&SlotState) -> bool) -> SlotState {
        let seen = poll_until(LONG, || Some(self.observe(slot)).filter(&holds));
        seen.unwrap_or_else(|| panic!("waited too long until {what}: {:?}", self.observe(slot)))
    }

    fn shim_pid(&self, slot: Slot, service: &str) -> Identity {
        let dir = self.runner.paths.shim(&self.app, slot, &ServiceName::new(service).unwrap());
        Identity::of(ask(&dir, Verb::Hello, ANSWER).unwrap().shim).unwrap()
    }

    fn kill(&self, victim: &Identity) {
        assert!(victim.signal(rustix::process::Signal::KILL));
        poll_until(LONG, || (!victim.is_alive()).then_some(())).expect("it dies");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for slot in Slot::BOTH {
            let _ = self.runner.stop(&self.app, slot, &self.call());
        }
    }
}

/// Beside this test binary, where Cargo puts it for the integration tests.
fn binary() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let binary = tests.parent().and_then(Path::parent).unwrap().join("alcedo");
    assert!(binary.exists(), "{} is missing: `cargo build -p alcedo` first", binary.display());
    binary
}

const SERVE: &str = "echo serving; exec sleep 1001";

#[test]
fn a_binding_runs_as_a_set_until_it_is_stopped_and_its_logs_stay() {
    let host = Host::new();
    let binding = host.binding(7, Slot::Green, &[("web", SERVE), ("api", SERVE)]);
    let state = host.runner.start(&binding, &host.call()).unwrap();
    assert_eq!(state.binding, Some(binding.id.clone()));
    let names: Vec<_> = state.processes.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["api", "web"]);
    assert!(state.processes.iter().all(|p| p.phase == Phase::Running && p.pid.is_some()));
    host.until(Slot::Green, "memory is seen", |s| s.processes.iter().all(|p| p.memory_bytes > 0));
    let again = host.runner.start(&binding, &host.call()).unwrap();
    let pids = |s: &SlotState| s.processes.iter().map(|p| p.pid).collect::<Vec<_>>();
    assert_eq!(pids(&again), pids(&state), "a second start changes nothing");

    let stopped = host.runner.stop(&host.app, Slot::Green, &host.call()).unwrap();
    assert_eq!(stopped, SlotState::default());
    for process in &binding.processes {
        let log = host.runner.paths.log(&host.app, &binding.id, &process.name);
        assert!(fs::read_to_string(log).unwrap().contains("serving\n"), "the log stays");
    }
    let empty = host.runner.stop(&host.app, Slot::Green, &host.call()).unwrap();
    assert_eq!(empty, SlotState::default());
}

#[test]
fn slots_are_independent() {
    let host = Host::new();
    let (blue, green) = (
        host.binding(1, Slot::Blue, &[("web", SERVE)]),
        host.binding(2, Slot::Green, &[("web", SERVE)]),
    );
    host.runner.start(&blue, &host.call()).unwrap();
    host.runner.start(&green, &host.call()).unwrap();
    host.runner.stop(&host.app, Slot::Blue, &host.call()).unwrap();
    assert!(!host.observe(Slot::Blue).is_up());
    assert!(host.observe(Slot::Green).is_up());
}

#[test]
fn a_slot_that_holds_another_binding_is_refused() {
    let host = Host::new();
    let first = host.binding(1, Slot::Blue, &[("web", SERVE), ("old", SERVE)]);
    host.runner.start(&first, &host.call()).unwrap();
    let second = host.binding(2, Slot::Blue, &[("web", SERVE)]);
    let EffectError::Failed { what, detail, .. } =
        host.runner.start(&second, &host.call()).unwrap_err()
    else {
        panic!("another error");
    };
    assert_eq!(what, "start d2-blue in blue");
    assert_eq!(detail, "the slot still holds old of d1-blue");
    host.runner.stop(&host.app, Slot::Blue, &host.call()).unwrap();
    host.runner.start(&second, &host.call()).unwrap();
}

#[test]
fn a_program_that_is_missing_fails_the_start_and_leaves_a_slot_to_clear() {
    let host = Host::new();
    let mut binding = host.binding(1, Slot::Blue, &[("web", SERVE)]);
    binding.processes[0].argv = vec!["/nowhere/app".into()];
    let EffectError::Failed { what, detail, .. } =
        host.runner.start(&binding, &host.call()).unwrap_err()
    else {
        panic!("another error");
    };
    assert_eq!(what, "start web in blue");
    assert!(detail.starts_with("cannot be started: No such file or directory"), "{detail}");
    let state = host.observe(Slot::Blue);
    assert_eq!(state.processes[0].phase, Phase::GaveUp);
    host.runner.stop(&host.app, Slot::Blue, &host.call()).unwrap();
    assert_eq!(host.observe(Slot::Blue), SlotState::default());
}

#[test]
fn a_crash_loop_is_seen_with_its_exit_and_can_be_started_anew() {
    let host = Host::new();
    let script = "[ -e $DIR/fixed ] && exec sleep 1001; exit 9";
    let binding = host.binding(1, Slot::Blue, &[("web", script)]);
    host.runner.start(&binding, &host.call()).unwrap();
    let state = host.until(Slot::Blue, "given up", |s| s.processes[0].phase == Phase::GaveUp);
    assert_eq!(state.processes[0].last_exit.as_deref(), Some("exit status 9"));
    assert_eq!(state.processes[0].restarts, 4);
    fs::write(host.root.path().join("fixed"), "").unwrap();
    host.runner.start(&binding, &host.call()).unwrap();
    let state = host.until(Slot::Blue, "running", |s| s.processes[0].phase == Phase::Running);
    assert_eq!(state.processes[0].restarts, 0);
}

#[test]
fn dead_shims_are_replaced_around_living_children() {
    let host = Host::new();
    let binding = host.binding(1, Slot::Blue, &[("web", SERVE), ("api", SERVE)]);
    let before = host.runner.start(&binding, &host.call()).unwrap();
    host.kill(&host.shim_pid(Slot::Blue, "web"));
    let meanwhile = host.observe(Slot::Blue);
    assert_eq!(meanwhile.processes[1].phase, Phase::Running, "observed without a shim");
    host.runner.ensure(&binding, &host.call()).unwrap();
    host.runner.ensure(&binding, &host.call()).unwrap();
    let after = host.observe(Slot::Blue);
    assert_eq!(after.processes[1].pid, before.processes[1].pid);
}

#[test]
fn start_adopts_what_a_dead_shim_left_and_stop_ends_it() {
    let host = Host::new();
    let binding = host.binding(1, Slot::Blue, &[("web", SERVE)]);
    let before = host.runner.start(&binding, &host.call()).unwrap();
    host.kill(&host.shim_pid(Slot::Blue, "web"));
    let after = host.runner.start(&binding, &host.call()).unwrap();
    assert_eq!(after.processes[0].pid, before.processes[0].pid);
    host.kill(&host.shim_pid(Slot::Blue, "web"));
    let child = Identity::of(before.processes[0].pid.unwrap()).unwrap();
    host.runner.stop(&host.app, Slot::Blue, &host.call()).unwrap();
    assert!(!child.is_alive());
}

#[test]
fn what_died_with_its_shim_is_seen_and_ensured() {
    let host = Host::new();
    let binding = host.binding(1, Slot::Blue, &[("web", SERVE)]);
    let before = host.runner.start(&binding, &host.call()).unwrap();
    host.kill(&host.shim_pid(Slot::Blue, "web"));
    host.kill(&Identity::of(before.processes[0].pid.unwrap()).unwrap());
    assert_eq!(host.observe(Slot::Blue).processes[0].phase, Phase::Restarting);
    host.runner.ensure(&binding, &host.call()).unwrap();
    let after = host.until(Slot::Blue, "running", |s| s.processes[0].phase == Phase::Running);
    assert_ne!(after.processes[0].pid, before.processes[0].pid);
    assert_eq!(after.processes[0].restarts, 1);
}

#[test]
fn a_helper_that_outlived_its_program_and_its_shim_is_not_taken_for_the_program() {
    let host = Host::new();
    let script = "setsid sleep 1002 & echo $! > $DIR/helper.tmp; mv $DIR/helper.tmp $DIR/helper
        exec sleep 1001";
    let binding = host.binding(1, Slot::Blue, &[("web", script)]);
    let before = host.runner.start(&binding, &host.call()).unwrap();
    let is_there = || host.root.path().join("helper").exists().then_some(());
    poll_until(LONG, is_there).expect("the helper runs");
    let pid = fs::read_to_string(host.root.path().join("helper")).unwrap();
    let helper = Identity::of(pid.trim().parse().unwrap()).unwrap();
    host.kill(&host.shim_pid(Slot::Blue, "web"));
    host.kill(&Identity::of(before.processes[0].pid.unwrap()).unwrap());
    host.runner.ensure(&binding, &host.call()).unwrap();
    let after = host.until(Slot::Blue, "running", |s| s.processes[0].phase == Phase::Running);
    assert_ne!(after.processes[0].pid, Some(helper.pid));
    assert!(!helper.is_alive());
    assert_eq!(after.processes[0].restarts, 1);
}

#[test]
fn a_directory_without_an_order_is_cleared_and_a_damaged_order_is_said() {
    let host = Host::new();
    let dir = host.runner.paths.shim(&host.app, Slot::Blue, &ServiceName::new("web").unwrap());
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(".spec.json.tmp"), "half").unwrap();
    host.runner.stop(&host.app, Slot::Blue, &host.call()).unwrap();
    assert!(!dir.exists());

    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(files::SPEC), "half").unwrap();
    let error = host.runner.stop(&host.app, Slot::Blue, &host.call()).unwrap_err();
    assert!(matches!(error, EffectError::Failed { .. }), "{error}");
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_stop_that_takes_longer_than_its_limit_says_so_and_goes_on() {
    let host = Host::new();
    let mut binding =
        host.binding(1, Slot::Blue, &[("web", "trap '' TERM; while :; do sleep 0.05; done")]);
    binding.processes[0].stop.timeout = Duration::from_millis(1500);
    host.runner.start(&binding, &host.call()).unwrap();
    let short = Call { deadline: clock::now().after(Duration::from_millis(300)), ..host.call() };
    let error = host.runner.stop(&host.app, Slot::Blue, &short).unwrap_err();
    assert!(matches!(error, EffectError::TimedOut { .. }), "{error}");
    assert_eq!(host.observe(Slot::Blue).processes[0].phase, Phase::Running);
    let stopped = host.runner.stop(&host.app, Slot::Blue, &host.call()).unwrap();
    assert_eq!(stopped, SlotState::default());
}

#[test]
fn a_stale_socket_is_removed_before_each_start() {
    let host = Host::new();
    let socket = host.root.path().join("sockets/web.sock");
    let script = "[ -e $DIR/sockets/web.sock ] && exit 5; touch $DIR/sockets/web.sock
        [ -e $DIR/once ] && exec sleep 1001; touch $DIR/once; exit 1";
    let mut binding = host.binding(1, Slot::Blue, &[("web", script)]);
    binding.processes[0].address = Address::Unix(socket.clone());
    host.runner.start(&binding, &host.call()).unwrap();
    let state = host.until(Slot::Blue, "running", |s| {
        s.processes[0].restarts == 1 && s.processes[0].phase == Phase::Running
    });
    assert_eq!(state.processes[0].last_exit.as_deref(), Some("exit status 1"));
}
