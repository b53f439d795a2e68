//! `alcedo shim`: what it promises to whoever asks, and what it survives.

use crate::bench::{Bench, kill, pid, private_kib, runs, wait};
use serde_json::json;
use std::fs;
use std::time::{Duration, Instant};

const TICKING: &str = "while :; do echo tick; sleep 0.02; done";

#[test]
fn a_started_child_is_told_with_pid_and_phase() {
    let bench = Bench::shell("echo hello; exec sleep 1001");
    let first = bench.launch();
    assert_eq!(first["version"], 1);
    assert_eq!(first["state"]["phase"], "running");
    let child = pid(&first["state"]["child"]["pid"]);
    assert!(runs(child));
    bench.line("hello");
    let hello = bench.ask("hello");
    assert_eq!(hello["shim"], first["shim"]);
    assert_eq!(hello["state"]["binding"], "d1-green");
    assert!(bench.log_text().contains(&format!("-- started pid {child} at ")));
    assert!(bench.ask("dance")["error"].as_str().unwrap().contains("not a verb"));
    let refused = bench.ask("restart");
    assert!(refused["error"].as_str().unwrap().contains("deploy it again"), "{refused}");
    assert!(runs(child));
}

#[test]
fn a_shim_has_a_session_of_its_own_and_no_terminal() {
    let bench = Bench::shell("exec sleep 1001");
    let shim = pid(&bench.launch()["shim"]);
    let stat = fs::read_to_string(format!("/proc/{shim}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_eq!(fields[3], shim.to_string(), "session");
    assert_eq!(fields[4], "0", "terminal");
    assert_eq!(fs::read_link(format!("/proc/{shim}/cwd")).unwrap().to_str(), Some("/"));
    assert_ne!(fields[1], std::process::id().to_string(), "its parent is not who started it");
}

#[test]
fn stop_sends_the_configured_signal_and_answers_when_it_is_over() {
    let bench =
        Bench::shell("trap 'echo leaving; exit 0' USR1; echo ready; while :; do sleep 0.01; done")
            .with("stop_signal", "SIGUSR1");
    bench.launch();
    bench.line("ready");
    let reply = bench.ask("stop");
    assert_eq!(reply["state"]["phase"], "stopped");
    assert_eq!(reply["state"]["last_exit"], "exit status 0");
    assert!(reply["state"]["child"].is_null());
    assert!(bench.log_text().contains("leaving\n"));
    let shim = pid(&reply["shim"]);
    wait("the shim ends", || !runs(shim));
}

#[test]
fn a_stopped_child_is_never_started_again() {
    let bench = Bench::shell("exec sleep 1001");
    bench.launch();
    let shim = pid(&bench.ask("stop")["shim"]);
    wait("the shim ends", || !runs(shim));
    let again = bench.launch_again(&[]);
    assert!(matches!(again["state"]["phase"].as_str(), Some("stopping" | "stopped")), "{again}");
    wait("it is stopped", || bench.state_on_disk()["phase"] == "stopped");
    assert_eq!(bench.log_text().matches("started pid").count(), 1);
}

#[test]
fn an_app_that_ignores_its_signal_is_killed_with_its_whole_tree() {
    let script = "trap '' TERM
        (trap '' TERM; while :; do sleep 0.05; done) & echo $! >> $DIR/pids
        setsid sh -c 'trap \"\" TERM; echo $$ >> $DIR/pids; while :; do sleep 0.05; done' &
        (setsid sh -c 'sleep 1001 & echo $! >> $DIR/pids' &)
        echo ready; while :; do sleep 0.05; done";
    let bench = Bench::shell(script).with("stop_timeout_ms", 300);
    let main = pid(&bench.launch()["state"]["child"]["pid"]);
    bench.line("ready");
    let pids = || fs::read_to_string(bench.path("pids")).unwrap_or_default();
    wait("three descendants", || pids().lines().count() == 3);
    let begun = Instant::now();
    let reply = bench.ask("stop");
    assert_eq!(reply["state"]["last_exit"], "signal 9 (SIGKILL)");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    for pid in pids().lines().map(|l| l.parse().unwrap()).chain([main]) {
        assert!(!runs(pid), "{pid} still runs");
    }
}

#[test]
fn a_wrapper_that_dies_leaves_its_server_time_to_finish() {
    let script =
        "sh -c 'trap \"echo finished; exit\" TERM; echo ready; while :; do sleep 0.01; done' &
        wait";
    let bench = Bench::shell(script);
    bench.launch();
    bench.line("ready");
    let begun = Instant::now();
    bench.ask("stop");
    assert!(bench.log_text().contains("finished"), "{}", bench.log_text());
    assert!(begun.elapsed() < Duration::from_secs(8), "it waited for the timeout");
}

#[test]
fn an_app_that_ends_at_once_is_given_up_with_its_exit() {
    let bench = Bench::shell("echo no database; exit 3");
    bench.launch();
    let state = bench.state_when("given up", |s| s["phase"] == "gave-up");
    assert_eq!(state["last_exit"], "exit status 3");
    assert_eq!(state["restarts"], 4);
    let log = bench.log_text();
    assert_eq!(log.matches("no database").count(), 5);
    assert!(log.contains("ended: exit status 3 at "), "{log}");
    assert!(log.contains("-- ended too often, not started again at "), "{log}");
}

#[test]
fn what_a_crashed_main_process_leaves_is_ended_before_the_next_start() {
    let script = "sleep 1001 & echo left $!; [ -e $DIR/second ] && { echo again; wait; }
        touch $DIR/second; exit 1";
    let bench = Bench::shell(script);
    bench.launch();
    bench.line("again");
    let log = bench.log_text();
    let left = log.lines().find_map(|l| l.strip_prefix("left ")).unwrap().parse().unwrap();
    assert!(!runs(left));
    assert_eq!(bench.ask("state")["state"]["restarts"], 1);
}

#[test]
fn stop_during_a_wait_for_restart_is_a_stop() {
    let bench = Bench::shell("exit 1").with(
        "restart",
        json!({"first_ms": 60_000, "max_ms": 60_000, "stable_ms": 30_000,
               "give_up_exits": 5, "give_up_within_ms": 60_000}),
    );
    bench.launch();
    bench.state_when("restarting", |s| s["phase"] == "restarting");
    assert_eq!(bench.ask("stop")["state"]["phase"], "stopped");
    assert_eq!(bench.log_text().matches("started pid").count(), 1);
}

#[test]
fn missing_program_and_missing_directory_are_named_and_not_tried_again() {
    let missing = Bench::new(&["/nowhere/app"]);
    let state = &missing.launch()["state"];
    assert_eq!(state["phase"], "gave-up");
    assert_eq!(state["last_exit"], "cannot be started: No such file or directory (os error 2)");
    let elsewhere = Bench::shell("true").with("dir", "/nowhere");
    let state = &elsewhere.launch()["state"];
    assert_eq!(state["phase"], "gave-up");
    let text = state["last_exit"].as_str().unwrap();
    assert!(text.starts_with("cannot be started: working directory /nowhere: No such"), "{text}");
}

#[test]
fn a_killed_shim_is_replaced_and_the_app_never_notices() {
    let bench = Bench::shell(&format!("echo pid $$; {TICKING}"));
    let first = bench.launch();
    let (shim, child) = (pid(&first["shim"]), pid(&first["state"]["child"]["pid"]));
    bench.line("tick");
    kill("-9", shim);
    wait("the shim is dead", || !runs(shim));
    let size = fs::metadata(&bench.log).unwrap().len();
    wait("the app writes on", || fs::metadata(&bench.log).unwrap().len() > size);
    let again = bench.launch_again(&[]);
    assert_eq!(again["state"]["phase"], "running");
    assert_eq!(again["state"]["child"], first["state"]["child"]);
    assert_ne!(again["shim"], first["shim"]);
    assert_eq!(bench.log_text().lines().filter(|l| l.starts_with("pid ")).count(), 1);
    assert_eq!(bench.ask("stop")["state"]["phase"], "stopped");
    assert!(!runs(child));
}

#[test]
fn a_replacement_restarts_what_died_while_nobody_watched() {
    let bench = Bench::shell("exec sleep 1001");
    let first = bench.launch();
    let (shim, child) = (pid(&first["shim"]), pid(&first["state"]["child"]["pid"]));
    kill("-9", shim);
    kill("-9", child);
    wait("both are dead", || !runs(shim) && !runs(child));
    bench.launch_again(&[]);
    let state = bench.state_when("running again", |s| s["phase"] == "running");
    assert_ne!(state["child"], first["state"]["child"]);
    assert_eq!(state["restarts"], 1);
    assert!(state["last_exit"].as_str().unwrap().contains("while nobody watched"));
}

#[test]
fn a_replacement_ends_the_stop_that_was_begun() {
    let bench = Bench::shell("trap '' TERM; echo ready; while :; do sleep 0.05; done")
        .with("stop_timeout_ms", 1_000);
    let first = bench.launch();
    let (shim, child) = (pid(&first["shim"]), pid(&first["state"]["child"]["pid"]));
    bench.line("ready");
    std::thread::scope(|scope| {
        scope.spawn(|| bench.try_ask("stop"));
        wait("stopping", || bench.state_on_disk()["phase"] == "stopping");
        kill("-9", shim);
    });
    wait("the shim is dead", || !runs(shim));
    assert!(runs(child));
    bench.launch_again(&[]);
    wait("stopped", || bench.state_on_disk()["phase"] == "stopped");
    assert!(!runs(child));
    assert_eq!(bench.log_text().matches("started pid").count(), 1);
}

#[test]
fn an_adopted_app_is_stopped_with_descendants_that_left_parent_and_session() {
    let script =
        "(setsid sh -c 'sleep 1001 & echo $! > $DIR/away' &) ; echo ready; exec sleep 1001";
    let bench = Bench::shell(script);
    let first = bench.launch();
    bench.line("ready");
    let away = || fs::read_to_string(bench.path("away")).unwrap_or_default();
    wait("a descendant away", || away().ends_with('\n'));
    let shim = pid(&first["shim"]);
    kill("-9", shim);
    wait("the shim is dead", || !runs(shim));
    bench.launch_again(&[]);
    bench.ask("stop");
    assert!(!runs(away().trim().parse().unwrap()));
}

#[test]
fn two_shims_for_one_directory_are_one() {
    let bench = Bench::shell("exec sleep 1001");
    let first = bench.launch();
    let second = bench.launch_again(&[]);
    assert_eq!(second["error"], "another shim owns this directory");
    let third = bench.launch_again(&["--stop"]);
    assert_eq!(third["error"], "another shim owns this directory");
    assert_eq!(bench.ask("hello")["shim"], first["shim"]);
    assert_eq!(bench.log_text().matches("started pid").count(), 1);
}

#[test]
fn many_replacements_at_once_start_one_child() {
    let bench = Bench::shell("echo born; exec sleep 1001");
    fs::write(bench.dir.join("spec.json"), bench.spec.to_string()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| bench.launch_again(&[]));
        }
    });
    bench.state_when("running", |s| s["phase"] == "running");
    bench.line("born");
    assert_eq!(bench.log_text().matches("born").count(), 1);
}

#[test]
fn a_torn_state_does_not_lead_to_a_second_child() {
    let bench = Bench::shell(&format!("echo born; {TICKING}"));
    let first = bench.launch();
    let shim = pid(&first["shim"]);
    bench.line("born");
    kill("-9", shim);
    wait("the shim is dead", || !runs(shim));
    let state = fs::read(bench.dir.join("state.json")).unwrap();
    for torn in [&state[..0], &state[..state.len() / 2], b"\0\0\0\0".as_slice()] {
        fs::write(bench.dir.join("state.json"), torn).unwrap();
        let again = bench.launch_again(&[]);
        assert_eq!(again["state"]["child"], first["state"]["child"]);
        kill("-9", pid(&again["shim"]));
        wait("the shim is dead", || !runs(pid(&again["shim"])));
    }
    assert_eq!(bench.log_text().matches("born").count(), 1);
}

#[test]
fn shims_killed_at_any_moment_never_run_two_children() {
    // It ends all the time, so most kills hit a shim between an end and the next start.
    let script = "mkdir $DIR/one || touch $DIR/two; sleep 0.004; rmdir $DIR/one; exit 1";
    let bench = Bench::shell(script).with(
        "restart",
        json!({"first_ms": 1, "max_ms": 3, "stable_ms": 30_000,
               "give_up_exits": null, "give_up_within_ms": 0}),
    );
    let mut shim = pid(&bench.launch()["shim"]);
    for round in 0..100_u32 {
        // Spread over the shim's life: some starts later, with a child at work and without one in turn.
        let from = starts(&bench);
        wait("the moment of this kill", || {
            let is_running = bench.path("one").exists();
            starts(&bench) >= from + (round % 4) as usize && is_running == (round % 2 == 0)
        });
        kill("-9", shim);
        wait("the shim is dead", || !runs(shim));
        let again = bench.launch_again(&[]);
        assert!(again["error"].is_null(), "{again}");
        shim = pid(&again["shim"]);
    }
    bench.ask("stop");
    assert!(!bench.path("two").exists());
    eprintln!("100 kills, {} starts", starts(&bench));
}

fn starts(bench: &Bench) -> usize {
    bench.log_text().matches("-- started pid").count()
}

#[test]
fn a_reused_pid_is_neither_adopted_nor_killed() {
    let stranger = Bench::shell("exec sleep 1001");
    let stranger_pid = pid(&stranger.launch()["state"]["child"]["pid"]);
    let bench = Bench::shell("exec sleep 1002");
    let shim = pid(&bench.launch()["shim"]);
    let child = pid(&bench.ask("state")["state"]["child"]["pid"]);
    kill("-9", shim);
    kill("-9", child);
    wait("both are dead", || !runs(shim) && !runs(child));
    let mut state = bench.state_on_disk();
    state["child"]["pid"] = json!(stranger_pid);
    fs::write(bench.dir.join("state.json"), state.to_string()).unwrap();
    bench.launch_again(&[]);
    let now = bench.state_when("running", |s| s["phase"] == "running");
    assert_ne!(pid(&now["child"]["pid"]), stranger_pid);
    bench.ask("stop");
    assert!(runs(stranger_pid));
}

#[test]
fn after_a_reboot_it_starts_afresh() {
    let bench = Bench::shell("exec sleep 1001");
    let first = bench.launch();
    let (shim, child) = (pid(&first["shim"]), pid(&first["state"]["child"]["pid"]));
    kill("-9", shim);
    kill("-9", child);
    wait("both are dead", || !runs(shim) && !runs(child));
    let mut state = bench.state_on_disk();
    state["boot_id"] = json!("an earlier one");
    state["child"] =
        json!({"pid": std::process::id(), "start_ticks": 1, "boot_id": "an earlier one"});
    state["phase"] = json!("gave-up");
    fs::write(bench.dir.join("state.json"), state.to_string()).unwrap();
    let again = bench.launch_again(&[]);
    assert_eq!(again["state"]["phase"], "running");
    assert_eq!(again["state"]["restarts"], 0);
}

#[test]
fn a_flood_of_output_stays_near_its_limit_and_does_not_block() {
    let limit: u64 = 1 << 20;
    let script =
        "i=0; while [ $i -lt 20 ]; do head -c 8388608 /dev/zero | tr '\\0' x; i=$((i+1)); done
        touch $DIR/done; exec sleep 1001";
    let bench = Bench::shell(script).with("log_limit_bytes", limit);
    bench.launch();
    let mut highest = 0;
    wait("the flood is over", || {
        highest = highest.max(fs::metadata(&bench.log).map_or(0, |meta| meta.len()));
        bench.path("done").exists()
    });
    eprintln!("160 MiB of output, limit 1 MiB: at most {highest} bytes seen");
    assert!(highest < 120 * limit, "{highest}");
    wait("the file is cut", || fs::metadata(&bench.log).unwrap().len() <= limit + 4096);
    let kept = bench.log.with_extension("log.1");
    wait("an older part is kept", || kept.exists());
    assert!(fs::metadata(kept).unwrap().len() <= limit);
}

#[test]
fn a_full_disk_breaks_neither_shim_nor_app() {
    // What cannot be written to is as good as full: a directory stands where the log should be.
    let bench = Bench::shell("echo into nothing; touch $DIR/alive; exec sleep 1001");
    fs::create_dir_all(&bench.log).unwrap();
    assert_eq!(bench.launch()["state"]["phase"], "running");
    wait("the app runs", || bench.path("alive").exists());
    // `/dev/full` answers every write with ENOSPC.
    let full =
        Bench::shell("echo lost; touch $DIR/alive; exec sleep 1001").with("log", "/dev/full");
    assert_eq!(full.launch()["state"]["phase"], "running");
    wait("the app runs", || full.path("alive").exists());
    assert_eq!(full.ask("stop")["state"]["phase"], "stopped");
}

#[test]
fn a_stop_that_cannot_be_written_down_holds_all_the_same() {
    let bench = Bench::shell("trap '' TERM; echo ready; while :; do sleep 0.05; done")
        .with("stop_timeout_ms", 1_000);
    let shim = pid(&bench.launch()["shim"]);
    bench.line("ready");
    // A directory in the place of the temporary file: the state cannot be replaced any more.
    fs::create_dir(bench.dir.join(".state.json.tmp")).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| bench.try_ask("stop"));
        wait("the stop is noted", || bench.dir.join("stopped.json").exists());
        kill("-9", shim);
    });
    wait("the shim is dead", || !runs(shim));
    fs::remove_dir(bench.dir.join(".state.json.tmp")).unwrap();
    bench.launch_again(&[]);
    wait("stopped", || bench.state_on_disk()["phase"] == "stopped");
    assert_eq!(bench.log_text().matches("started pid").count(), 1);
}

#[test]
fn a_path_longer_than_a_socket_address_is_no_obstacle() {
    let mut bench = Bench::shell("exec sleep 1001");
    bench.dir = bench.dir.join("deep".repeat(20)).join("deeper".repeat(10));
    fs::create_dir_all(&bench.dir).unwrap();
    assert!(bench.dir.as_os_str().len() > 108);
    let reply = bench.launch();
    assert_eq!(reply["state"]["phase"], "running");
    let child = pid(&reply["state"]["child"]["pid"]);
    // The bench itself cannot connect by the whole path; a link makes it short.
    let link = bench.path("s");
    std::os::unix::fs::symlink(&bench.dir, &link).unwrap();
    bench.dir = link;
    assert_eq!(bench.ask("stop")["state"]["phase"], "stopped");
    assert!(!runs(child));
}

#[test]
fn an_idle_shim_is_one_thread() {
    let bench = Bench::shell("exec sleep 1001");
    let shim = pid(&bench.launch()["shim"]);
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{shim}/stat")).unwrap();
        let fields: Vec<u64> =
            stat.rsplit_once(") ").unwrap().1.split(' ').map(|f| f.parse().unwrap_or(0)).collect();
        fields[11] + fields[12]
    };
    bench.ask("hello");
    let kib = private_kib(shim);
    eprintln!("an idle shim: {kib} KiB private, {} ticks of CPU since its start", ticks());
    // How small is measured on the release build (`cargo xtask bench footprint`); that it is one thread without a runtime
    // is what keeps it so.
    let status = fs::read_to_string(format!("/proc/{shim}/status")).unwrap();
    assert!(status.lines().any(|line| line == "Threads:\t1"), "{status}");
}
