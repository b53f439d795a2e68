use super::*;
use crate::engine::ports::Cancel;

fn call(cancel: &Cancel, limit: Duration) -> Call<'_> {
    Call { deadline: clock::now().after(limit), cancel, progress: &|_| {} }
}

fn program(command: &str) -> Program {
    Program {
        argv: shell(command),
        env: Environment::Inherited,
        dir: "/".into(),
        output: Output::Kept { limit_bytes: 1000 },
    }
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn both_outputs_arrive_in_order_with_the_exit_status() {
    let ended = run(
        &program("echo one; echo two >&2; echo three; exit 7"),
        &call(&Cancel::default(), LONG),
    )
    .unwrap();
    assert_eq!(ended.exit, Exit::Status(7));
    assert_eq!(ended.exit.to_string(), "exit status 7");
    assert_eq!(String::from_utf8(ended.output.clone()).unwrap(), "one\ntwo\nthree\n");
    assert_eq!(ended.last_lines(2), "two\nthree");
}

#[test]
fn a_signal_is_named() {
    let ended = run(&program("kill -9 $$"), &call(&Cancel::default(), LONG)).unwrap();
    assert_eq!(ended.exit.to_string(), "signal 9 (SIGKILL)");
}

#[test]
fn the_deadline_kills_the_whole_tree() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let command = format!(
        "trap '' TERM; setsid sleep 1001 & echo $! >> {0}; (sleep 1002 & echo $! >> {0}); echo waiting; sleep 1003",
        pids.display()
    );
    let error =
        run(&program(&command), &call(&Cancel::default(), Duration::from_millis(400))).unwrap_err();
    let ExecError::TimedOut { tail, .. } = &error else { panic!("{error}") };
    assert_eq!(tail, "waiting");
    assert!(error.to_string().starts_with("finish `sh` within its time limit of 1 s"), "{error}");
    let pids = std::fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 2, "{pids}");
    for pid in pids.lines() {
        assert!(Identity::of(pid.parse().unwrap()).is_none(), "{pid} still runs");
    }
}

#[test]
fn what_is_left_in_the_background_ends_with_its_starter() {
    let ended = run(&program("sleep 1004 & echo $!"), &call(&Cancel::default(), LONG)).unwrap();
    let pid = ended.last_lines(1).parse().unwrap();
    assert!(Identity::of(pid).is_none(), "{pid} still runs");
}

#[test]
fn cancel_ends_it() {
    let cancel = Cancel::default();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&program("echo on; sleep 1005"), &call(&cancel, LONG)));
        cancel.cancel();
        assert!(matches!(running.join().unwrap(), Err(ExecError::Cancelled { .. })));
    });
}

#[test]
fn a_flood_is_cut_and_does_not_block() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs/prepare.log");
    let flood = Program {
        output: Output::File { path: path.clone(), limit_bytes: 10_000 },
        ..program("dd if=/dev/zero bs=64k count=200 2>/dev/null; echo the end")
    };
    let ended = run(&flood, &call(&Cancel::default(), LONG)).unwrap();
    assert_eq!(ended.exit, Exit::Status(0));
    assert!(ended.output.ends_with(b"the end\n"));
    assert_eq!(ended.output.len(), 4096);
    let kept = std::fs::read(path).unwrap();
    assert!(kept.ends_with(b"-- 13097208 bytes more were left out --\n"), "{}", kept.len());
    assert!(kept.len() < 10_100);
}

#[test]
fn missing_program_and_missing_directory_are_told_apart() {
    let missing = Program { argv: vec!["/nowhere/app".into()], ..program("") };
    let error = run(&missing, &call(&Cancel::default(), LONG)).unwrap_err();
    assert_eq!(error.to_string(), "start `/nowhere/app`");
    let elsewhere = Program { dir: "/nowhere".into(), ..program("true") };
    let error = EffectError::from(run(&elsewhere, &call(&Cancel::default(), LONG)).unwrap_err());
    let EffectError::Failed { detail, .. } = error else { panic!("{error}") };
    assert!(detail.starts_with("working directory /nowhere: No such file"), "{detail}");
}

#[test]
fn nothing_is_inherited_when_the_environment_is_given() {
    let bare = Program {
        env: Environment::Exactly([("ONLY".to_owned(), "this".to_owned())].into()),
        ..program("env")
    };
    let ended = run(&bare, &call(&Cancel::default(), LONG)).unwrap();
    let text = String::from_utf8(ended.output).unwrap();
    let names: Vec<&str> = text.lines().filter_map(|l| Some(l.split_once('=')?.0)).collect();
    assert!(names.contains(&"ONLY") && names.contains(&"ALCEDO_TASK"), "{text}");
    assert!(!names.contains(&"HOME") && !names.contains(&"CARGO"), "{text}");
}

#[test]
fn leftovers_of_a_dead_owner_are_ended_and_those_of_a_living_one_are_not() {
    let mut command = Command::new("sleep");
    // No process has start time 1, so this owner is dead.
    let mut orphan = command.arg("1006").env(MARK_TASK, "1-1-0").spawn().unwrap();
    let mut command = Command::new("sleep");
    let (name, value) = task_mark();
    let mut mine = command.arg("1007").env(name, value).spawn().unwrap();
    // A daemon of another test may be the one that finds it: only its end counts.
    end_leftovers();
    assert_eq!(orphan.wait().unwrap().signal(), Some(9));
    assert!(mine.try_wait().unwrap().is_none());
    mine.kill().unwrap();
    mine.wait().unwrap();
}
