//! Releases that do not start as they should: none of them gets a request.

use crate::app::{App, says, served};
use std::net::{Ipv4Addr, TcpListener};
use xtask::home::free_port;

/// Version two is started with `flags`; the deploy fails, says `wanted`, and version one serves all the while.
fn fails_to_start(flags: &str, settings: &str, wanted: &[&str]) {
    let app = App::live();
    let (slot, one) = app.active();
    let load = app.load();
    app.write("two", flags, &format!("health.deadline = \"3s\"\n{settings}"));
    let run = app.alcedo(&["deploy"]);
    says(&run, 1, wanted);
    says(&run, 1, &[&format!("Live: {slot} {one}"), "alcedo "]);
    assert_eq!(app.active(), (slot, one.clone()));
    served(load, &[&one]);
}

#[test]
fn app_that_never_listens_gets_no_traffic() {
    fails_to_start("--never-listen", "", &["FAIL", "probe"]);
}

#[test]
fn app_on_another_port_gets_no_traffic() {
    fails_to_start("--other-port", "", &["FAIL", "probe"]);
}

#[test]
fn app_that_answers_500_gets_no_traffic() {
    fails_to_start("--health-status 500", "", &["FAIL", "probe", "500"]);
}

#[test]
fn app_that_redirects_gets_no_traffic_and_the_message_says_so() {
    fails_to_start("--health-status 302", "", &["FAIL", "probe", "302", "redirect"]);
}

#[test]
fn app_that_answers_as_another_release_gets_no_traffic() {
    fails_to_start("--release r20200101-000000-0000000", "", &["FAIL", "r20200101-000000-0000000"]);
}

#[test]
fn app_that_exits_at_once_gets_no_traffic_and_its_output_is_shown() {
    fails_to_start("--no-such-flag", "", &["FAIL", "no-such-flag"]);
}

#[test]
fn app_that_listens_late_is_waited_for() {
    let app = App::live();
    let (_, one) = app.active();
    let load = app.load();
    app.write("two", "--late-ms 1500", "");
    app.deploy();
    let (_, two) = app.active();
    assert_ne!(one, two);
    served(load, &[&one, &two]);
}

#[test]
fn app_on_all_addresses_is_deployed_with_a_warning() {
    let app = App::live();
    let load = app.load();
    app.write("two", "--all-addresses", "");
    let run = app.alcedo(&["deploy"]);
    says(&run, 0, &["127.0.0.1"]);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("warn") || said.contains("every address"), "{said}");
    assert_eq!(load.stop().unwrap().lost, 0);
}

#[test]
fn address_of_another_app_or_process_is_refused_before_anything_starts() {
    let app = App::live();
    let (_, one) = app.active();
    let dir = app.home.path().join("src-second");
    std::fs::create_dir_all(dir.join("src")).unwrap();
    std::fs::write(dir.join("src/version"), "one").unwrap();
    let text =
        std::fs::read_to_string(app.toml()).unwrap().replace("app = \"web\"", "app = \"second\"");
    let deploy_with = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("web.ports"));
        std::fs::write(dir.join("alcedo.toml"), lines.collect::<Vec<_>>().join("\n")).unwrap();
        app.home.run(&dir, &["deploy"]).unwrap()
    };
    let port = app.address.port();
    let run = deploy_with(&text);
    says(&run, 1, &[&format!("port {port} is taken by the app web, for every host"), "router."]);
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let other = held.local_addr().unwrap();
    let run = deploy_with(&text.replace(&app.address.to_string(), &other.to_string()));
    let pid = format!("pid {}", std::process::id());
    says(&run, 1, &[&format!("port {} is taken by {pid}", other.port())]);
    assert_eq!(app.active().1, one);
}

#[test]
fn taken_port_is_refused_with_the_name_of_its_owner() {
    let app = App::new();
    let (blue, green) = (free_port().unwrap(), free_port().unwrap());
    let ports = format!("web.ports = {{ blue = {blue}, green = {green} }}");
    app.write("one", "", &ports);
    app.deploy();
    let (slot, one) = app.active();
    let load = app.load();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, green)).unwrap();
    app.write("two", "", &ports);
    let run = app.alcedo(&["deploy"]);
    says(
        &run,
        1,
        &[&green.to_string(), &std::process::id().to_string(), &format!("Live: {slot} {one}")],
    );
    drop(taken);
    app.deploy();
    let (_, two) = app.active();
    served(load, &[&one, &two]);
}
