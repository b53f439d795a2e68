//! From a laptop or CI to a host: a real sshd on a loopback port, keys with forced commands, load on the app throughout.
//! The client has a home of its own, where no daemon may ever run.

use crate::app::{App, SOON, says, served, words};
use rustix::process::Signal;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use xtask::home::{Home, Run, Started, poll_until, processes_of};
use xtask::noise;
use xtask::sshd::{Key, Sshd};

const CI: &str = "deploy,rollback,status";

/// An app on a host that is only reached over SSH.
struct Far {
    client: Home,
    app: App,
    sshd: Sshd,
    key: Key,
}

impl Far {
    /// With a key for these verbs; `None` when there is no sshd to be had.
    fn with(verbs: &str) -> Option<Self> {
        if !xtask::packages::is_there("sshd") || !xtask::packages::is_there("ssh") {
            xtask::skipped("no sshd here (Debian packages openssh-server and openssh-client)");
            return None;
        }
        let alcedo = Path::new(env!("CARGO_BIN_EXE_alcedo"));
        let app = App::new();
        let client = Home::new(alcedo).unwrap();
        let path = format!("{}:/usr/bin:/bin", alcedo.parent().unwrap().display());
        let home = app.home.path().display().to_string();
        let sshd = Sshd::start(&[("ALCEDO_HOME", &home), ("PATH", &path)]).unwrap();
        let key = sshd.admit("ci", &forced(verbs)).unwrap();
        Some(Self { client, app, sshd, key })
    }

    fn env(&self, key: &Key) -> Vec<(String, String)> {
        let own = [
            ("ALCEDO_HOST", self.sshd.host()),
            ("ALCEDO_SSH_KEY", key.private.clone()),
            ("ALCEDO_KNOWN_HOSTS", self.sshd.known_hosts()),
        ];
        own.map(|(name, value)| (name.to_owned(), value)).into()
    }

    fn start(&self, args: &[&str]) -> Started {
        self.client.start_with(&self.app.dir, args, &self.env(&self.key)).unwrap()
    }

    fn alcedo(&self, args: &[&str]) -> Run {
        self.client.wait(self.start(args)).unwrap()
    }

    fn alcedo_with(&self, key: &Key, args: &[&str]) -> Run {
        let env = self.env(key);
        self.client.wait(self.client.start_with(&self.app.dir, args, &env).unwrap()).unwrap()
    }

    fn deploy(&self) -> Run {
        let run = self.alcedo(&["deploy"]);
        assert_eq!(run.code, Some(0), "deploy: {}", words(&run));
        run
    }

    /// Kills every `ssh` of the client: the line is cut.
    fn cut(&self) -> usize {
        let is_ssh = |p: &xtask::home::Process| p.arguments.first().is_some_and(|a| a == "ssh");
        let lines: Vec<_> = processes_of(self.client.path()).into_iter().filter(is_ssh).collect();
        lines.iter().for_each(xtask::home::Process::kill);
        lines.len()
    }

    /// Bytes that wait on the host for a release.
    fn incoming_bytes(&self) -> u64 {
        let dir = self.app.home.path().join("apps").join(&self.app.name).join("incoming");
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let contents = entries.filter(|e| !e.file_name().to_string_lossy().contains("json"));
        contents.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
    }

    fn ssh(&self, key: &Key, command: &[&str]) -> Run {
        let mut ssh = Command::new("ssh");
        ssh.args(self.sshd.arguments(key)).args(command).stdin(Stdio::null());
        let begun = std::time::Instant::now();
        let output = ssh.output().unwrap();
        Run {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: begun.elapsed(),
        }
    }
}

fn forced(verbs: &str) -> String {
    format!("restrict,command=\"alcedo host --verbs {verbs} --apps web\"")
}

#[test]
fn two_deploys_and_a_rollback_from_ci_lose_nothing() {
    let Some(far) = Far::with(CI) else { return };
    let first = far.deploy();
    let host = far.sshd.host();
    says(&first, 0, &[&format!("web · production · {host}"), "Live: blue"]);
    let (_, one) = far.app.active();
    let load = far.app.load();
    far.app.write("two", "", "");
    says(&far.deploy(), 0, &["1 of 1 files", "Live: green"]);
    let (_, two) = far.app.active();
    says(&far.alcedo(&["status"]), 0, &[&two]);
    says(&far.alcedo(&["rollback"]), 0, &["switch", &one]);
    assert_eq!(far.app.active().1, one);
    served(load, &[&one, &two]);
    assert!(processes_of(far.client.path()).is_empty(), "nothing stays on the client");
}

#[test]
fn what_the_host_has_is_not_sent_again() {
    let Some(far) = Far::with(CI) else { return };
    let source = far.app.dir.join("src");
    let mut big = noise(1, 3 << 20);
    std::fs::write(source.join("big"), &big).unwrap();
    for n in 0..200 {
        std::fs::write(source.join(format!("file-{n}")), noise(1_000 + n, 2_000)).unwrap();
    }
    let first = far.deploy();
    assert!(sent_bytes(&first) > 3_000_000, "{}", words(&first));
    far.app.write("two", "", "");
    let second = far.deploy();
    says(&second, 0, &["1 of 202 files"]);
    assert!(sent_bytes(&second) < 1_000, "{}", words(&second));
    big[1 << 20] ^= 1;
    big.splice(100..100, *b"some more");
    std::fs::write(source.join("big"), &big).unwrap();
    let third = far.deploy();
    says(&third, 0, &["1 of 202 files"]);
    assert!(sent_bytes(&third) < 60_000, "{}", words(&third));
    let (_, live) = far.app.active();
    let release = far.app.home.path().join("apps/web/releases").join(live);
    assert!(std::fs::read(release.join("big")).unwrap() == big, "the host has the same file");
}

/// What the line about it says: `…, 1.2 KiB sent`.
fn sent_bytes(run: &Run) -> u64 {
    let flat = words(run).split_whitespace().collect::<Vec<_>>().join(" ");
    let before = flat.split(" sent").next().unwrap();
    let mut last = before.rsplit(' ');
    let (unit, number) = (last.next().unwrap(), last.next().unwrap());
    let factor = match unit {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        other => panic!("{other} in {flat}"),
    };
    (number.parse::<f64>().unwrap() * factor) as u64
}

#[test]
fn an_upload_goes_on_where_it_was_when_the_line_is_cut() {
    let Some(far) = Far::with(CI) else { return };
    far.deploy();
    let (_, one) = far.app.active();
    let load = far.app.load();
    std::fs::write(far.app.dir.join("src/big"), noise(2, 64 << 20)).unwrap();
    let deploy = far.start(&["deploy"]);
    poll_until(SOON, || (far.incoming_bytes() > 9 << 20).then_some(())).expect("the upload");
    assert_eq!(far.cut(), 1);
    let run = far.client.wait(deploy).unwrap();
    says(&run, 0, &["the connection is lost", "goes on where it was", "Live: green"]);
    // 64 MiB that do not pack, and at most one part twice.
    assert!(sent_bytes(&run) < 73 << 20, "{}", words(&run));
    let (_, two) = far.app.active();
    served(load, &[&one, &two]);
    assert_eq!(far.incoming_bytes(), 0, "nothing is left behind");
}

#[test]
fn an_upload_goes_on_after_the_client_was_killed() {
    let Some(far) = Far::with(CI) else { return };
    far.deploy();
    let before = far.app.active();
    let release = std::fs::read_dir(far.app.home.path().join("apps/web/releases")).unwrap().count();
    std::fs::write(far.app.dir.join("src/big"), noise(3, 64 << 20)).unwrap();
    let deploy = far.start(&["deploy"]);
    poll_until(SOON, || (far.incoming_bytes() > 20 << 20).then_some(())).expect("the upload");
    deploy.signal(Signal::KILL).unwrap();
    far.client.wait(deploy).unwrap();
    assert_eq!(far.app.active(), before, "nothing was started");
    let after = std::fs::read_dir(far.app.home.path().join("apps/web/releases")).unwrap().count();
    assert_eq!(after, release, "no release without all of its files");
    let again = far.deploy();
    assert!(sent_bytes(&again) < 50 << 20, "{}", words(&again));
    assert_ne!(far.app.active(), before);
}

#[test]
fn a_deploy_goes_on_without_its_line_and_is_followed_again() {
    let Some(far) = Far::with(CI) else { return };
    far.deploy();
    let (_, one) = far.app.active();
    let load = far.app.load();
    far.app.write("two", "--late-ms 3000", "");
    let deploy = far.start(&["deploy"]);
    poll_until(SOON, || far.app.has_process("--late-ms").then_some(())).expect("it starts");
    assert_eq!(far.cut(), 1);
    let run = far.client.wait(deploy).unwrap();
    says(&run, 0, &["the connection is lost", "it is back", "Live: green"]);
    let (_, two) = far.app.active();
    served(load, &[&one, &two]);
}

#[test]
fn ctrl_c_before_the_switch_gives_it_up_over_the_same_line() {
    let Some(far) = Far::with(CI) else { return };
    far.deploy();
    let (slot, one) = far.app.active();
    let load = far.app.load();
    far.app.write("two", "--never-listen", "health.deadline = \"60s\"");
    let deploy = far.start(&["deploy"]);
    poll_until(SOON, || far.app.has_process("--never-listen").then_some(())).expect("it starts");
    deploy.signal(Signal::INT).unwrap();
    let run = far.client.wait(deploy).unwrap();
    says(&run, 130, &[&format!("Live: {slot} {one}")]);
    far.app.until_quiet();
    served(load, &[&one]);
}

#[test]
fn a_key_does_only_what_its_verbs_say() {
    let Some(far) = Far::with(CI) else { return };
    far.deploy();
    let (_, one) = far.app.active();
    let load = far.app.load();
    far.app.write("two", "", "");
    far.deploy();
    let (_, two) = far.app.active();
    for verb in [&["retire"][..], &["prune"], &["logs"], &["resolve", "blue"], &["history"]] {
        let run = far.alcedo(verb);
        says(&run, 1, &["key may not do", "deploy, rollback, status"]);
    }
    // Another app, and the whole host, are nobody's business.
    says(&far.alcedo(&["rollback", "-a", "other"]), 1, &["for web alone"]);
    let reader = far.sshd.admit("reader", &forced("status")).unwrap();
    says(&far.alcedo_with(&reader, &["status"]), 0, &[&two]);
    says(&far.alcedo_with(&reader, &["rollback"]), 1, &["key may not do"]);
    says(&far.alcedo_with(&reader, &["deploy"]), 1, &["key may not do"]);
    assert_eq!(far.app.active().1, two);
    served(load, &[&one, &two]);
}

#[test]
fn all_verbs_read_over_the_line() {
    let Some(far) = Far::with("all") else { return };
    far.deploy();
    let (_, one) = far.app.active();
    let read: [&[&str]; 7] = [
        &["status", "--json"],
        &["history"],
        &["releases"],
        &["logs", "-n", "5"],
        &["check"],
        &["plan"],
        &["config", "--diff"],
    ];
    for verb in read {
        let run = far.alcedo(verb);
        assert_eq!(run.code, Some(0), "{verb:?}: {}", words(&run));
    }
    far.app.write("two", "", "");
    says(&far.alcedo(&["plan"]), 0, &["1 of 1 files", "would be sent"]);
    says(&far.alcedo(&["deploy", "--stage"]), 75, &["alcedo promote"]);
    assert_eq!(far.app.active().1, one);
    says(&far.alcedo(&["promote"]), 0, &["Live:"]);
    assert_ne!(far.app.active().1, one);
    says(&far.alcedo(&["retire"]), 0, &[]);
    says(&far.alcedo(&["deploy", "active"]), 0, &["Live:"]);
}

#[test]
fn hostile_commands_are_refused_and_nothing_of_them_is_run() {
    let Some(far) = Far::with("all") else { return };
    let marker = far.app.home.path().join("marker");
    let touch = format!("touch {}", marker.display());
    let shell = format!("alcedo host deploy web; {touch}");
    let substituted = format!("alcedo host deploy $({touch})");
    let lines = format!("alcedo host deploy web\n{touch}");
    let long = "a".repeat(100_000);
    for command in [
        touch.as_str(),
        &shell,
        &substituted,
        &lines,
        &long,
        "",
        "sh",
        "alcedo daemon",
        "alcedo host --verbs all deploy web",
        "alcedo host deploy -C/ web",
        "internal-sftp",
        "scp -t /",
        "alcedo host deploy web\u{1b}[2J",
    ] {
        let run = far.ssh(&far.key, &[command]);
        assert_eq!(run.code, Some(1), "{command:.60?}: {}", words(&run));
        assert!(run.stderr.contains("alcedo host: "), "{command:.60?}: {}", words(&run));
        assert!(!words(&run).contains('\u{1b}'), "control characters come back");
    }
    assert!(!marker.exists());
    assert!(far.app.home.processes().is_empty(), "no daemon was started for it");
}

#[test]
fn a_host_that_is_not_reached_says_why_and_what_to_type() {
    let Some(far) = Far::with(CI) else { return };
    let stranger = far.sshd.key("stranger").unwrap();
    says(&far.alcedo_with(&stranger, &["status"]), 6, &["Permission denied", "authorized_keys"]);
    let mut env = far.env(&far.key);
    env[2].1 = "[127.0.0.1]:1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n".to_owned();
    let started = far.client.start_with(&far.app.dir, &["deploy"], &env).unwrap();
    says(&far.client.wait(started).unwrap(), 6, &["Host key verification failed", "by hand"]);
    let nobody = ["status", "--host", "root@127.0.0.1:1"];
    says(&far.alcedo(&nobody), 6, &["reach root@127.0.0.1:1", "refused"]);
    says(&far.alcedo(&["status", "--host=-oProxyCommand=sh"]), 2, &["as a host"]);
    let mut env = far.env(&far.key);
    env[1].1 = "~/.ssh/id_ed25519".to_owned();
    let started = far.client.start_with(&far.app.dir, &["status"], &env).unwrap();
    says(&far.client.wait(started).unwrap(), 6, &["ALCEDO_SSH_KEY", "no private key"]);
}

#[test]
fn any_program_can_be_the_line() {
    let app = App::new();
    let client = Home::new(Path::new(env!("CARGO_BIN_EXE_alcedo"))).unwrap();
    let dir = Path::new(env!("CARGO_BIN_EXE_alcedo")).parent().unwrap();
    let (home, path) = (app.home.path().display(), dir.display());
    let host = format!("exec:env ALCEDO_HOME={home} PATH={path}:/usr/bin:/bin");
    let config = std::fs::read_to_string(app.toml()).unwrap();
    std::fs::write(app.toml(), format!("host = \"{host}\"\n{config}")).unwrap();
    let run = client.run(&app.dir, &["deploy"]).unwrap();
    says(&run, 0, &["web · production · exec:env", "Live: blue"]);
    says(&client.run(&app.dir, &["status"]).unwrap(), 0, &["blue"]);
    let bare = ["status", "--host", "exec:env PATH=/usr/bin:/bin"];
    says(&client.run(&app.dir, &bare).unwrap(), 6, &["no `alcedo`"]);
    let silent = ["status", "--host", "exec:true"];
    says(&client.run(&app.dir, &silent).unwrap(), 6, &["said nothing"]);
    assert!(processes_of(client.path()).is_empty());
}

#[test]
fn the_text_of_the_key_is_in_no_argument_list_no_environment_and_no_log() {
    let Some(far) = Far::with(CI) else { return };
    let secret = far.key.private.lines().nth(2).unwrap().to_owned();
    assert!(secret.len() > 40);
    far.app.write("one", "--late-ms 500", "release.build = \"env > env.txt\"");
    let seen = std::sync::Mutex::new(Vec::new());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                seen.lock().unwrap().extend(processes_with(&secret));
                std::thread::yield_now();
            }
        });
        far.deploy();
        far.app.write("two", "", "release.build = \"env > env.txt\"");
        far.deploy();
        over.store(true, Ordering::Relaxed);
    });
    let seen = seen.into_inner().unwrap();
    assert!(seen.is_empty(), "{seen:?}");
    let mut files = Vec::new();
    for dir in [far.app.home.path(), far.client.path()] {
        files_with(dir, secret.as_bytes(), &mut files);
    }
    assert!(files.is_empty(), "{files:?}");
    assert!(!far.sshd.log().contains(&secret));
    let env = std::fs::read_to_string(far.app.dir.join("env.txt")).unwrap();
    assert!(env.contains("ALCEDO_TARGET=linux/") && !env.contains("PRIVATE KEY"), "{env}");
}

/// Argument lists, and environments of everything but the client that was given the key.
fn processes_with(secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let arguments = read("cmdline");
        let text = String::from_utf8_lossy(&arguments).replace('\0', " ");
        let is_client =
            text.split('/').next_back().is_some_and(|end| end.starts_with("alcedo deploy"));
        let in_environment = !is_client && contains(&read("environ"), secret.as_bytes());
        if contains(&arguments, secret.as_bytes()) || in_environment {
            // A child between `fork` and `exec` still looks like the client.
            found.push(text);
        }
    }
    found
}

fn files_with(dir: &Path, secret: &[u8], found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            files_with(&entry.path(), secret, found);
        } else if kind.is_file()
            && contains(&std::fs::read(entry.path()).unwrap_or_default(), secret)
        {
            found.push(entry.path());
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[test]
fn key_ci_makes_a_key_that_deploys_and_no_more() {
    let Some(far) = Far::with(CI) else { return };
    let run = far.client.run(&far.app.dir, &["key", "ci", "--json"]).unwrap();
    assert_eq!(run.code, Some(0), "{}", words(&run));
    let made: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let line = made["authorized_keys"].as_str().unwrap();
    assert!(line.starts_with("restrict,command=\"alcedo host --verbs deploy,rollback,status --apps web\" ssh-ed25519 "), "{line}");
    far.sshd.admit_line(line).unwrap();
    let private = made["private_key"].as_str().unwrap().to_owned();
    // As a CI system hands it on: without the last line's end.
    let key = Key { private: private.trim_end().to_owned(), ..far.key.clone() };
    says(&far.alcedo_with(&key, &["deploy"]), 0, &["Live: blue"]);
    says(&far.alcedo_with(&key, &["retire"]), 1, &["key may not do"]);
    let out = far.client.path().join("made");
    let words = ["key", "ci", "--out", out.to_str().unwrap()];
    says(&far.client.run(&far.app.dir, &words).unwrap(), 0, &["ALCEDO_SSH_KEY"]);
    assert!(std::fs::read_to_string(&out).unwrap().contains("PRIVATE KEY"));
    says(&far.client.run(&far.app.dir, &words).unwrap(), 1, &["made"]);
}

/// What `packaging/github/action.yml` tells a runner to do, done as a runner does it.
#[test]
fn the_github_action_deploys_as_a_runner_would() {
    let Some(far) = Far::with(CI) else { return };
    let action = xtask::repository().join("packaging/github");
    let text = std::fs::read_to_string(action.join("action.yml")).unwrap();
    let inputs = [
        ("host", far.sshd.host()),
        ("wait", "switch".to_owned()),
        ("app-dir", far.app.dir.display().to_string()),
        ("alcedo", env!("CARGO_BIN_EXE_alcedo").to_owned()),
        ("ssh-key", far.key.private.clone()),
        ("known-hosts", far.sshd.known_hosts()),
    ];
    let value = |input: &str| {
        inputs.iter().find(|(name, _)| *name == input).map_or(String::new(), |(_, v)| v.clone())
    };
    let (_, step) = text.split_once("      run: '").expect("a step with a command");
    let command = step.split('\'').next().unwrap();
    let mut env: Vec<(String, String)> = Vec::new();
    for line in step.lines() {
        if let Some((name, rest)) = line.trim().split_once(": ${{ inputs.") {
            let input = rest.trim_end_matches(" }}");
            assert!(text.contains(&format!("\n  {input}:\n")), "{input} is no input");
            env.push((name.to_owned(), value(input)));
        }
    }
    assert_eq!(env.len(), 8);
    let output = Command::new("bash")
        .args(["-c", command])
        .current_dir(far.client.path())
        .envs(env)
        .env("GITHUB_ACTION_PATH", &action)
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_ACTOR", "octocat")
        .env("ALCEDO_HOME", far.client.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Live: blue"), "{said}");
    let history = far.app.alcedo(&["history", "--json"]);
    assert!(history.stdout.contains("octocat (GitHub)"), "{}", words(&history));
}
