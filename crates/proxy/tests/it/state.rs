//! State survives, and damage stays where it is.

use crate::support::{Backend, Bench, LIMIT, Wire, address, anywhere, target};
use alcedo_proxy::control::{ClientError, FailureKind};
use alcedo_proxy::disk::RealDisk;
use alcedo_proxy::state::{ServiceRecord, StateDir, Structure, Switch};

/// Every host on this port of every address of this host alone.
fn named(domain: &str) -> Structure {
    Structure { domains: vec![domain.to_owned()], ..anywhere() }
}

#[test]
fn restart_serves_what_the_state_files_say() {
    let backend = Backend::named("a");
    let bench = Bench::start();
    bench.serve(target("a", backend.address));
    let mut client = bench.client();
    client.switch("web", 1, "op-2", target("b", backend.address), LIMIT).unwrap();
    client.maintenance("web", true, LIMIT).unwrap();
    let before = client.observe("web", LIMIT).unwrap().unwrap();
    let bench = Bench::start_in(bench.stop(), |_| {});
    let mut client = bench.client();
    let after = client.observe("web", LIMIT).unwrap().unwrap();
    assert_eq!((after.generation, after.operation.as_deref()), (2, Some("op-2")));
    assert_eq!((after.target.clone(), after.maintenance), (before.target, true));
    assert_eq!(Wire::connect(address(&after)).get("/").status(), 503);
    client.maintenance("web", false, LIMIT).unwrap();
    let answer = Wire::connect(address(&after)).get("/");
    assert_eq!((answer.text(), answer.header("x-alcedo-release")), ("a", Some("b")));
    // The same operation, repeated by someone who did not hear the answer.
    let again = client.switch("web", 1, "op-2", target("b", backend.address), LIMIT).unwrap();
    assert!(again.already);
}

#[test]
fn damaged_state_file_hides_no_other_service() {
    let backend = Backend::named("x");
    let bench = Bench::start();
    bench.serve_as("one", named("one.example"), target("a", backend.address));
    bench.serve_as("two", named("two.example"), target("a", backend.address));
    let dir = bench.stop();
    let state = StateDir::new(dir.path());
    let mut bytes = std::fs::read(state.path("one")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    std::fs::write(state.path("one"), bytes).unwrap();
    let bench = Bench::start_in(dir, |_| {});
    let mut client = bench.client();
    let observed = client.observe("two", LIMIT).unwrap().unwrap();
    let mut wire = Wire::connect(address(&observed));
    assert_eq!(wire.ask("GET / HTTP/1.1\r\nHost: two.example\r\n\r\n").text(), "x");
    assert_eq!(wire.ask("GET / HTTP/1.1\r\nHost: one.example\r\n\r\n").status(), 503);
    let bad = client.status(LIMIT).unwrap().bad_files;
    assert_eq!((bad.len(), bad[0].service.as_str()), (1, "one"));
    assert!(bad[0].path.ends_with("one.json.bad-1") && bad[0].path.exists());
    // Configured again, it is a service like any other.
    bench.serve_as("one", named("one.example"), target("a", backend.address));
    assert_eq!(wire.ask("GET / HTTP/1.1\r\nHost: one.example\r\n\r\n").text(), "x");
    assert_eq!(client.status(LIMIT).unwrap().bad_files, []);
}

#[test]
fn state_of_a_newer_version_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path());
    state.load(&RealDisk).unwrap();
    let newer = b"{\"version\":9,\"anything\":true}\n";
    std::fs::write(state.path("web"), newer).unwrap();
    let bench = Bench::start_in(dir, |_| {});
    let error = bench.client().configure("web", anywhere(), LIMIT).unwrap_err();
    let ClientError::Failed(failure) = error else { panic!("{error}") };
    assert_eq!(failure.kind, FailureKind::Refused);
    let dir = bench.stop();
    assert_eq!(std::fs::read(StateDir::new(dir.path()).path("web")).unwrap(), newer);
}

#[test]
fn record_that_was_saved_and_never_published_is_served_after_a_crash() {
    let backend = Backend::named("x");
    let bench = Bench::start();
    bench.serve(target("a", backend.address));
    let dir = bench.stop();
    let state = StateDir::new(dir.path());
    let record: ServiceRecord = state.load(&RealDisk).unwrap().records.remove(0);
    let Ok(Switch::To(next)) = record.switch(1, "op-2", &target("b", backend.address)) else {
        panic!("it is a switch")
    };
    state.save(&RealDisk, &next).unwrap();
    // What a crash in the middle of the next save leaves.
    std::fs::write(state.path("web").with_extension("json.tmp"), b"{\"ver").unwrap();
    let bench = Bench::start_in(dir, |_| {});
    let observed = bench.client().observe("web", LIMIT).unwrap().unwrap();
    assert_eq!((observed.generation, observed.operation.as_deref()), (2, Some("op-2")));
    assert_eq!(bench.client().status(LIMIT).unwrap().bad_files, []);
}

#[test]
fn switch_that_cannot_be_made_durable_is_not_published() {
    let backend = Backend::named("x");
    let bench = Bench::start();
    let mut wire = Wire::connect(bench.serve(target("a", backend.address)));
    let mut client = bench.client();
    // A directory where the temporary file would be.
    let blocked = StateDir::new(bench.dir.path()).path("web").with_extension("json.tmp");
    std::fs::create_dir(&blocked).unwrap();
    let error = client.switch("web", 1, "op", target("b", backend.address), LIMIT).unwrap_err();
    let ClientError::Failed(failure) = error else { panic!("{error}") };
    assert_eq!(failure.kind, FailureKind::NotDurable);
    assert_eq!(wire.get("/").header("x-alcedo-release"), Some("a"));
    assert_eq!(client.observe("web", LIMIT).unwrap().unwrap().generation, 1);
    std::fs::remove_dir(&blocked).unwrap();
    client.switch("web", 1, "op", target("b", backend.address), LIMIT).unwrap();
    assert_eq!(wire.get("/").header("x-alcedo-release"), Some("b"));
}
