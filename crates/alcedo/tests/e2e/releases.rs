//! What goes wrong with the files of a release.

use crate::app::{App, SOON, says, served};
use rustix::process::Signal;
use std::path::Path;
use std::process::Command;
use xtask::home::{Home, poll_until};

#[test]
fn prepare_that_fails_changes_nothing_and_its_output_is_shown() {
    let app = App::live();
    let (slot, one) = app.active();
    let load = app.load();
    app.write("two", "", "release.prepare = \"echo the wheel is missing; exit 3\"");
    let run = app.alcedo(&["deploy"]);
    says(&run, 1, &["FAIL", "prepare", "the wheel is missing", &format!("Live: {slot} {one}")]);
    served(load, &[&one]);
}

#[test]
fn prepare_that_hangs_is_ended_with_all_its_children_by_ctrl_c() {
    let app = App::live();
    let (_, one) = app.active();
    let load = app.load();
    app.write("two", "", "release.prepare = \"sleep 86413 & sleep 86413\"");
    let deploy = app.home.start(&app.dir, &["deploy"]).unwrap();
    poll_until(SOON, || app.has_process("86413").then_some(())).expect("prepare runs");
    deploy.signal(Signal::INT).unwrap();
    let run = app.home.wait(deploy).unwrap();
    says(&run, 130, &["Live:", &one]);
    poll_until(SOON, || (!app.has_process("86413")).then_some(()))
        .expect("prepare and its children end");
    assert_eq!(app.active().1, one);
    served(load, &[&one]);
}

#[test]
fn release_directory_that_vanished_is_not_gone_back_to() {
    let app = App::live_with("", "bake.keep_warm = \"0s\"");
    let (_, one) = app.active();
    app.write("two", "", "bake.keep_warm = \"0s\"");
    app.deploy();
    let (_, two) = app.active();
    poll_until(SOON, || (!app.has_process(&one)).then_some(())).expect("the old process ends");
    app.until_quiet();
    let load = app.load();
    let removed = remove_release(&app, &one);
    assert!(removed, "the release's directory is somewhere under the home");
    let run = app.alcedo(&["rollback", &one]);
    says(&run, 2, &[&one, "alcedo releases"]);
    assert_eq!(app.active().1, two);
    served(load, &[&two]);
}

#[test]
fn release_that_does_not_fit_on_the_disk_is_refused() {
    let Some(disk) = Tmpfs::mount("200m") else {
        return xtask::skipped(
            "mounting a tmpfs wants root: release_that_does_not_fit_on_the_disk_is_refused",
        );
    };
    let app = App::new();
    let settings = format!("root = \"{}\"", disk.path().join("web").display());
    app.write("one", "", &settings);
    app.deploy();
    let (slot, one) = app.active();
    let load = app.load();
    app.write("two", "", &settings);
    let large = app.dir.join("src/large");
    std::fs::write(&large, vec![7; 190 << 20]).unwrap();
    let run = app.alcedo(&["deploy"]);
    says(&run, 1, &["MiB", "alcedo prune", &format!("Live: {slot} {one}")]);
    std::fs::remove_file(large).unwrap();
    app.deploy();
    let (_, two) = app.active();
    served(load, &[&one, &two]);
    app.home.end();
}

#[test]
fn disk_that_fills_up_while_preparing_changes_nothing() {
    let Some(disk) = Tmpfs::mount("200m") else {
        return xtask::skipped(
            "mounting a tmpfs wants root: disk_that_fills_up_while_preparing_changes_nothing",
        );
    };
    let app = App::new();
    let settings = format!("root = \"{}\"", disk.path().join("web").display());
    app.write("one", "", &settings);
    app.deploy();
    let (slot, one) = app.active();
    let load = app.load();
    app.write(
        "two",
        "",
        &format!("{settings}\nrelease.prepare = \"head -c 400M /dev/zero > fill\""),
    );
    says(
        &app.alcedo(&["deploy"]),
        1,
        &["prepare", "No space left", &format!("Live: {slot} {one}")],
    );
    app.write("three", "", &settings);
    app.deploy();
    let (_, three) = app.active();
    served(load, &[&one, &three]);
    app.home.end();
}

#[test]
fn full_disk_under_journal_and_router_touches_no_traffic() {
    let Some(disk) = Tmpfs::mount("200m") else {
        return xtask::skipped(
            "mounting a tmpfs wants root: full_disk_under_journal_and_router_touches_no_traffic",
        );
    };
    let home = Home::new_in(Path::new(env!("CARGO_BIN_EXE_alcedo")), disk.path()).unwrap();
    let app = App::in_home(home, "web");
    app.deploy();
    let before = app.active();
    let load = app.load();
    app.write("two", "", "");
    let filler = disk.path().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    let output = app.home.command(&app.dir, &["deploy"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    drop(file);
    std::fs::remove_file(filler).unwrap();
    app.until_quiet();
    assert_eq!(app.active(), before, "{said}");
    app.deploy();
    let (_, two) = app.active();
    served(load, &[&before.1, &two]);
    app.home.end();
}

/// A small file system of its own; unmounted when dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("alc").tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(dir.path());
        mount.stderr(std::process::Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.path()).status().ok();
    }
}

fn remove_release(app: &App, release: &str) -> bool {
    fn walk(dir: &Path, release: &str, removed: &mut bool) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir && entry.file_name().to_str() == Some(release) {
                make_writable(&entry.path());
                std::fs::remove_dir_all(entry.path()).unwrap();
                *removed = true;
            } else if is_dir {
                walk(&entry.path(), release, removed);
            }
        }
    }
    let mut removed = false;
    walk(&app.home.path().join("apps"), release, &mut removed);
    removed
}

fn make_writable(dir: &Path) {
    Command::new("chmod").args(["-R", "u+w"]).arg(dir).status().unwrap();
}
