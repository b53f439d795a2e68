//! Real file systems: a full one, and one that can share blocks.

use super::*;
use std::process::Command;

/// A file system of its own, unmounted with it.
struct Mount {
    dir: PathBuf,
    _holder: tempfile::TempDir,
}

impl Mount {
    /// `None`, and loud, where it cannot be mounted.
    fn new(arguments: &[&str]) -> Option<Self> {
        let holder = tempfile::tempdir().expect("temporary directory");
        let dir = holder.path().join("mount");
        fs::create_dir(&dir).expect("mount point");
        let output = Command::new("mount").args(arguments).arg(&dir).output().expect("mount runs");
        if output.status.success() {
            return Some(Self { dir, _holder: holder });
        }
        skipped(&format!("needs root: {}", String::from_utf8_lossy(&output.stderr)));
        None
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test says so, loudly")]
fn skipped(why: &str) {
    eprintln!("SKIPPED, {why}");
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.dir).status();
    }
}

#[test]
fn a_full_disk_at_any_point_leaves_no_release() {
    let Some(mount) = Mount::new(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"]) else { return };
    let mut site = Site::new();
    site.config.shared.files = vec![PathBuf::from(".env")];
    site.write(".env", "KEY=one");
    for n in 0..30 {
        site.write(&format!("d/f{n}"), &"x".repeat(64 << 10));
    }
    let mut refusals = std::collections::BTreeSet::new();
    let mut made = 0;
    // From "does not fit at all" to "fits", in steps small enough to fail in the seal too.
    for free_kib in (0..=2_300).step_by(44) {
        let root = mount.dir.join("app");
        let ballast = mount.dir.join("ballast");
        fill(&ballast, (4_096 - free_kib) / 4);
        let mut order = site.order(free_kib as i64);
        order.root.clone_from(&root);
        let done = site.fetch(&order).and_then(|_| site.store.seal(&order));
        let sealed = site.store.is_sealed(&root, &order.release).unwrap_or(false);
        assert_eq!(done.is_ok(), sealed, "{free_kib} KiB free");
        match done {
            Ok(_) => made += 1,
            Err(error) => {
                let refusal = told(error);
                assert!(refusal.contains("free"), "{refusal}");
                refusals.insert(refusal.split_whitespace().nth(2).map(str::to_owned));
            }
        }
        fs::remove_file(&ballast).expect("ballast removed");
        site.store.sweep_rests(&root, &[]).expect("swept");
        site.store.remove(&root, &order.release).expect("removed");
        if root.is_dir() {
            fs::remove_dir_all(&root).expect("removed");
        }
    }
    assert!(made >= 1 && refusals.len() >= 2, "{made} made, {refusals:?}");
}

/// Writes pages of 4 KiB, as many as fit (a tmpfs counts what was just freed a little late).
fn fill(ballast: &Path, pages: usize) {
    let mut file = fs::File::create(ballast).expect("ballast");
    for _ in 0..pages {
        if std::io::Write::write_all(&mut file, &[1; 4_096]).is_err() {
            break;
        }
    }
}

#[test]
fn unchanged_files_share_blocks_where_the_file_system_can() {
    let image = tempfile::NamedTempFile::new().expect("image");
    image.as_file().set_len(400 << 20).expect("sparse");
    let path = image.path().display().to_string();
    let made = Command::new("mkfs.xfs").args(["-q", "-m", "reflink=1", &path]).output();
    if !made.is_ok_and(|output| output.status.success()) {
        skipped("needs mkfs.xfs");
        return;
    }
    let Some(mount) = Mount::new(&["-o", "loop", &path]) else { return };
    let site = Site::at(tempfile::tempdir_in(&mount.dir).expect("site"));
    let source =
        tempfile::tempdir().expect("elsewhere, so that blocks can only come from the old release");
    let write = |name: &str, content: &str| put(&source.path().join(name), content);
    write("big", &"big and unchanged ".repeat(1 << 20));
    write("small", "v1");
    let order = |number| {
        let rules = Rules::new(&[], &Shared::default(), &[]).expect("rules");
        let until = Until::done();
        let found = scan(source.path(), &rules, &until).expect("scan");
        let hash = manifest_of(source.path(), &found, &until).expect("hashes").hash();
        site.order_of(number, Source::Directory { path: source.path().to_owned(), hash })
    };
    let make = |number| {
        let order = order(number);
        let fetched = site.fetch(&order).expect("fetched");
        site.store.seal(&order).expect("sealed");
        fetched
    };
    make(1);
    let before = crate::files::free_bytes(&mount.dir).expect("free");
    write("small", "v2");
    let fetched = make(2);
    assert_eq!((fetched.files, fetched.changed_files, fetched.copied_bytes), (2, 1, 2));
    let after = crate::files::free_bytes(&mount.dir).expect("free");
    assert!(before - after < 4 << 20, "{} bytes for 18 MiB that did not change", before - after);
    assert_eq!(site.verify(2), [""; 0]);
    let big = site.instance(&release(2)).join("big");
    fs::set_permissions(&big, fs::Permissions::from_mode(0o644)).expect("mode");
    fs::write(&big, "x".repeat(18 << 20)).expect("tampered, of the same length");
    write("small", "v3");
    assert_eq!(make(3).copied_bytes, (18 << 20) + 2, "a changed old release is not shared with");
    assert_eq!(site.verify(3), [""; 0]);
}

#[test]
fn a_power_cut_keeps_sealed_releases_whole_and_makes_no_others() {
    for make_file_system in ["mkfs.ext4", "mkfs.xfs"] {
        let image = tempfile::NamedTempFile::new().expect("image");
        image.as_file().set_len(400 << 20).expect("sparse");
        let path = image.path().display().to_string();
        let made = Command::new(make_file_system).args(["-q", &path]).output();
        let can_cut = Command::new("xfs_io").arg("-V").output().is_ok();
        if !can_cut || !made.is_ok_and(|output| output.status.success()) {
            skipped(&format!("needs xfs_io and {make_file_system}"));
            continue;
        }
        // Few files are synced one by one, many with their file system.
        for files in [3, 400] {
            cut_power(&path, files);
        }
    }
}

/// Seals one release, fetches another, loses everything that was not synced, and looks.
fn cut_power(image: &str, files: usize) {
    let Some(mount) = Mount::new(&["-o", "loop", image]) else { return };
    let mut site = Site::new();
    site.config.shared.dirs = vec![PathBuf::from("uploads")];
    site.write("uploads/deep/logo", "logo");
    for n in 0..files {
        site.write(&format!("d{}/f{n}", n % 7), &"x".repeat(n * 9));
    }
    let root = mount.dir.join(format!("app{files}"));
    let order = |number| FetchOrder { root: root.clone(), ..site.order(number) };
    let (sealed, only_fetched) = (order(1), order(2));
    site.fetch(&sealed).expect("fetched");
    site.store.seal(&sealed).expect("sealed");
    site.fetch(&only_fetched).expect("fetched");
    // Without `-f`: what is in memory only is lost, the log too.
    let cut = Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(&mount.dir).output();
    assert!(cut.expect("xfs_io runs").status.success());
    drop(mount);
    let mount = Mount::new(&["-o", "loop", image]).expect("mounted again");
    // The mount point is another one; inside everything is as it was.
    let root = mount.dir.join(format!("app{files}"));
    let audit = site.store.audit(&root).expect("audit");
    assert_eq!(audit.broken, []);
    let names: Vec<_> = audit.releases.iter().map(|stored| stored.release.clone()).collect();
    assert_eq!(names, [release(1)]);
    let found = with_call(|call| site.store.verify(&root, &release(1), call)).expect("verified");
    assert_eq!(found, []);
    assert_eq!(read(root.join("shared/uploads/deep/logo")), "logo");
}
