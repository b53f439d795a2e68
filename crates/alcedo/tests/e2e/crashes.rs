//! alcedo's own processes and files break; traffic goes on, and what is shown is what is true.

use crate::app::{App, SOON, served, words};
use std::path::{Path, PathBuf};
use xtask::home::poll_until;

#[test]
fn killed_daemon_comes_back_and_brings_the_deploy_to_its_end() {
    let app = App::live();
    let (_, one) = app.active();
    let load = app.load();
    app.write("two", "--late-ms 2000", "");
    let deploy = app.home.start(&app.dir, &["deploy"]).unwrap();
    poll_until(SOON, || app.has_process("--late-ms").then_some(()))
        .expect("the new release starts");
    let daemon = app.home.process("daemon").expect("a daemon runs");
    daemon.kill();
    app.home.wait(deploy).unwrap();
    app.until_quiet();
    // Before the switch recovery undoes: the live slot was never touched.
    assert_eq!(app.active().1, one);
    poll_until(SOON, || (!app.has_process("--late-ms")).then_some(()))
        .expect("the new release is stopped");
    app.write("three", "", "");
    app.deploy();
    let (_, three) = app.active();
    served(load, &[&one, &three]);
}

#[test]
fn killed_proxy_comes_back_with_the_same_target() {
    let app = App::live();
    let before = app.active();
    app.home.process("proxy").expect("a proxy runs").kill();
    poll_until(SOON, || std::net::TcpStream::connect(app.address).ok())
        .expect("the proxy comes back");
    served(app.load(), &[&before.1]);
    assert_eq!(app.active(), before);
}

#[test]
fn corrupted_state_file_hides_no_other_app() {
    let one = App::live();
    let other = second_app(&one);
    let load = other.load();
    let (slot, release) = one.active();
    let file = state_file(&one);
    std::fs::write(&file, "{ not what was written").unwrap();
    drop(load.stop().unwrap());
    one.home.process("proxy").expect("a proxy runs").kill();
    poll_until(SOON, || std::net::TcpStream::connect(other.address).ok())
        .expect("the proxy comes back");
    served(other.load(), &[&other.release]);
    let run = one.alcedo(&["status"]);
    assert_ne!(run.code, Some(0), "{}", words(&run));
    assert!(format!("{}{}", run.stdout, run.stderr).contains("alcedo resolve"), "{}", words(&run));
    let run = one.alcedo(&["resolve", &slot]);
    assert_eq!(run.code, Some(0), "{}", words(&run));
    served(one.load(), &[&release]);
    assert_eq!(one.alcedo(&["status"]).code, Some(0));
    one.write("two", "", "");
    one.deploy();
}

#[test]
fn corrupted_database_is_named_and_touches_no_traffic() {
    let app = App::live();
    let (_, one) = app.active();
    let load = app.load();
    let database =
        find(app.home.path(), &|path| path.extension().is_some_and(|e| e == "db" || e == "sqlite"))
            .expect("a database");
    app.home.process("daemon").expect("a daemon runs").kill();
    let files = ["", "-wal", "-shm"].map(|suffix| format!("{}{suffix}", database.display()));
    let backup = files.clone().map(|file| std::fs::read(file).ok());
    for file in &files[1..] {
        std::fs::remove_file(file).ok();
    }
    std::fs::write(&database, vec![b'x'; 8192]).unwrap();
    app.write("two", "", "");
    let run = app.alcedo(&["deploy"]);
    assert!(!matches!(run.code, Some(0) | None), "{}", words(&run));
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(
        said.contains(database.file_name().unwrap().to_str().unwrap()),
        "names the file: {}",
        words(&run)
    );
    for (file, bytes) in files.iter().zip(backup) {
        bytes.map_or_else(|| std::fs::remove_file(file).ok(), |b| std::fs::write(file, b).ok());
    }
    app.deploy();
    let (_, two) = app.active();
    served(load, &[&one, &two]);
}

/// Another app in the same home.
struct Second {
    address: std::net::SocketAddr,
    release: String,
}

impl Second {
    fn load(&self) -> xtask::load::Load {
        let target = xtask::load::Target {
            address: self.address,
            host: self.address.to_string(),
            dialect: xtask::load::Dialect::Kit,
        };
        let shape = xtask::load::Shape::Closed { connections: 4, slow: 1 };
        let load = xtask::load::Load::start(target, shape).unwrap();
        poll_until(SOON, || (load.answered() + load.lost() > 50).then_some(())).unwrap();
        load
    }
}

fn second_app(one: &App) -> Second {
    let dir = one.home.path().join("src-other");
    std::fs::create_dir_all(dir.join("src")).unwrap();
    let port = xtask::home::free_port().unwrap();
    let address = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, port));
    let text = std::fs::read_to_string(one.toml()).unwrap();
    let text = text
        .replace("app = \"web\"", "app = \"other\"")
        .replace(&one.address.to_string(), &address.to_string());
    let text =
        text.lines().filter(|line| !line.starts_with("web.ports")).collect::<Vec<_>>().join("\n");
    std::fs::write(dir.join("alcedo.toml"), text).unwrap();
    std::fs::write(dir.join("src/version"), "other").unwrap();
    let run = one.home.run(&dir, &["deploy"]).unwrap();
    assert_eq!(run.code, Some(0), "{}", words(&run));
    let run = one.home.run(&dir, &["status", "--json"]).unwrap();
    let status: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let apps = status["apps"].as_array().unwrap();
    let app = apps.iter().find(|app| app["app"] == "other").unwrap();
    let slot = app["active"].as_str().unwrap();
    Second { address, release: app["slots"][slot]["release"].as_str().unwrap().to_owned() }
}

fn state_file(app: &App) -> PathBuf {
    let is = |path: &Path| {
        path.extension().is_some_and(|e| e == "json")
            && path.parent().is_some_and(|dir| dir.ends_with("services"))
            && path.file_stem().is_some_and(|stem| stem.to_string_lossy().starts_with("web"))
    };
    find(&app.home.path().join("state"), &is).expect("the router's state file of the app")
}

fn find(dir: &Path, is: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let mut entries: Vec<_> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries.into_iter().find_map(|path| {
        if path.is_dir() { find(&path, is) } else { Some(path).filter(|path| is(path)) }
    })
}
