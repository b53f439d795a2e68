//! Directories and files as sources.

use super::*;
use std::os::unix::fs::symlink;

#[test]
fn a_release_is_an_exact_mirror_without_leftovers() {
    // S0-18
    let site = Site::new();
    site.write("index.php", "one").write("old/gone.php", "x").write("same", "same");
    let (first, fetched, _) = site.make(1);
    assert_eq!(listing(&first), ["index.php", "old", "old/gone.php", "same"]);
    assert_eq!((fetched.files, fetched.changed_files, fetched.size_bytes), (3, 3, 8));
    fs::remove_dir_all(site.source().join("old")).expect("removed");
    site.write("index.php", "two");
    let (second, fetched, _) = site.make(2);
    assert_eq!(listing(&second), ["index.php", "same"]);
    assert_eq!((fetched.files, fetched.changed_files), (2, 1));
    assert_eq!(read(first.join("index.php")), "one", "the old release is untouched");
    assert_eq!(read(second.join("index.php")), "two");
}

#[test]
fn git_and_excluded_files_are_not_shipped() {
    // S0-D5
    let mut site = Site::new();
    site.config.release.exclude = vec!["node_modules".to_owned(), "*.log".to_owned()];
    site.write("app.js", "x").write(".git/config", "secret").write("sub/.git", "gitdir: …");
    site.write("sub/node_modules/a.js", "x").write("sub/debug.log", "x").write("sub/b.js", "x");
    let (instance, ..) = site.make(1);
    assert_eq!(listing(&instance), ["app.js", "sub", "sub/b.js"]);
}

#[test]
fn links_stay_links_and_may_not_leave_the_release() {
    let site = Site::new();
    site.write("v2/app", "x");
    symlink("v2", site.source().join("current")).expect("link");
    let (instance, ..) = site.make(1);
    assert_eq!(fs::read_link(instance.join("current")).expect("link"), Path::new("v2"));
    symlink("/etc/passwd", site.source().join("stolen")).expect("link");
    let refusal = site.refusal(&site.order(2));
    assert!(refusal.contains("stolen") && refusal.contains("/etc/passwd"), "{refusal}");
    assert!(refusal.contains("release.exclude"), "{refusal}");
}

#[test]
fn special_files_are_refused_by_name() {
    let site = Site::new();
    site.write("app", "x");
    let _socket = std::os::unix::net::UnixListener::bind(site.source().join("app.sock"));
    let refusal = site.refusal(&site.order(1));
    assert!(refusal.contains("app.sock") && refusal.contains("a socket"), "{refusal}");
}

#[test]
fn a_source_that_changed_after_the_plan_is_refused() {
    let site = Site::new();
    site.write("app", "planned");
    let order = site.order(1);
    site.write("app", "changed");
    let refusal = site.refusal(&order);
    assert!(refusal.contains("the source changed while it was copied"), "{refusal}");
}

#[test]
fn a_source_that_vanished_is_named() {
    let site = Site::new();
    let order = site.order(1);
    fs::remove_dir(site.source()).expect("removed");
    let refusal = site.refusal(&order);
    assert!(refusal.contains(&site.source().display().to_string()), "{refusal}");
}

#[test]
fn a_running_binary_needs_no_stop_for_the_next_release() {
    // S3-3: a new path per release, where overwriting in place gives "text file busy".
    let site = Site::new();
    let binary = site.source().join("api");
    fs::copy("/bin/sleep", &binary).expect("copied");
    let make = |number| {
        let mut order = site.order_of(number, Source::Kept);
        let hash = site.hash();
        order.source = Source::File { path: binary.clone(), hash };
        site.fetch(&order).expect("fetched");
        site.store.seal(&order).expect("sealed");
        site.instance(&order.release).join("api")
    };
    let first = make(1);
    let mut running = std::process::Command::new(&first).arg("60").spawn().expect("runs");
    let second = make(2);
    assert_ne!(first, second);
    assert_eq!(mode(&second), 0o555);
    let looked = running.try_wait().expect("asked");
    running.kill().expect("killed");
    running.wait().expect("ended");
    assert!(looked.is_none(), "the old release went on");
}

#[test]
fn a_binary_for_another_machine_is_refused_with_the_reason() {
    // S3-10
    let mut site = Site::new();
    site.config.services.extend([web("bin/api --port {port}")]);
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(18, 0);
    header.extend(9_u16.to_le_bytes());
    fs::create_dir(site.source().join("bin")).expect("directory");
    fs::write(site.source().join("bin/api"), header).expect("binary");
    let refusal = site.refusal(&site.order(1));
    assert!(refusal.contains("it is built for linux/machine 9"), "{refusal}");
    assert!(refusal.contains("ALCEDO_TARGET"), "{refusal}");
}

#[test]
fn bits_beyond_rwx_are_dropped() {
    let site = Site::new();
    site.write("tool", "x");
    let permissions = fs::Permissions::from_mode(0o6755);
    fs::set_permissions(site.source().join("tool"), permissions).expect("mode");
    let (instance, ..) = site.make(1);
    assert_eq!(mode(&instance.join("tool")), 0o555);
}

#[test]
fn the_same_name_with_other_content_is_refused() {
    let site = Site::new();
    site.write("app", "one").make(1);
    assert!(site.fetch(&site.order(1)).expect("there already").already);
    site.write("app", "two");
    let refusal = told(site.fetch(&site.order(1)).expect_err("refused"));
    assert!(refusal.contains("with other content"), "{refusal}");
}

#[test]
fn cancelling_a_fetch_leaves_nothing() {
    let site = Site::new();
    for n in 0..600 {
        site.write(&format!("f{n}"), "x");
    }
    let cancel = Cancel::default();
    let order = site.order(1);
    cancel.cancel();
    let call = Call { deadline: Millis(u64::MAX), cancel: &cancel, progress: &|_| {} };
    assert!(matches!(site.store.fetch(&order, &call), Err(EffectError::Cancelled)));
    assert!(!site.instance(&order.release).exists());
}

#[test]
fn the_plan_knows_how_much_room_is_needed() {
    let site = Site::new();
    site.write("a", &"x".repeat(10_000)).write("b", "x");
    let needed = with_call(|call| site.store.needed_bytes(&site.order(1), call)).expect("measured");
    assert_eq!(needed, 3 * 4_096 + 4_096);
}
