//! Archives, good ones and hostile ones, built header by header.

use super::*;
use std::io::Write;
use tar::{EntryType, Header};

/// A member of an archive, written without the checks of a well-meaning packer.
fn member(kind: EntryType, name: &[u8], link: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(content.len() as u64);
    header.set_entry_type(kind);
    let raw = header.as_gnu_mut().expect("gnu");
    raw.name[..name.len()].copy_from_slice(name);
    raw.linkname[..link.len()].copy_from_slice(link);
    raw.set_real_size(0);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, content: &str) -> Vec<u8> {
    member(EntryType::Regular, name.as_bytes(), b"", content.as_bytes())
}

fn link(name: &str, target: &str) -> Vec<u8> {
    member(EntryType::Symlink, name.as_bytes(), target.as_bytes(), b"")
}

fn of_kind(kind: EntryType, name: &str, target: &str) -> Vec<u8> {
    member(kind, name.as_bytes(), target.as_bytes(), b"")
}

fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn order(site: &Site, bytes: &[u8]) -> FetchOrder {
    let path = site.dir.path().join("release.tar");
    fs::write(&path, bytes).expect("archive");
    let hash = blake3::hash(bytes).to_hex().to_string();
    site.order_of(1, Source::Archive { path, hash })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).expect("packed");
    packer.finish().expect("packed")
}

#[test]
fn all_three_kinds_of_archive_unpack_to_the_same_release() {
    let plain = archive(&[
        of_kind(EntryType::Directory, "./", ""),
        of_kind(EntryType::Directory, "./app/", ""),
        file("./app/main", "run"),
        link("./app/now", "main"),
        of_kind(EntryType::Link, "app/same", "app/main"),
        file("implied/dir/x", "x"),
        file(".git/config", "secret"),
    ]);
    for packed in [plain.clone(), gzip(&plain), zstd::encode_all(&plain[..], 3).expect("packed")] {
        let site = Site::new();
        let order = order(&site, &packed);
        site.fetch(&order).expect("fetched");
        site.store.seal(&order).expect("sealed");
        let instance = site.instance(&order.release);
        let expected =
            ["app", "app/main", "app/now", "app/same", "implied", "implied/dir", "implied/dir/x"];
        assert_eq!(listing(&instance), expected);
        assert_eq!(read(instance.join("app/now")), "run");
        assert_eq!(read(instance.join("app/same")), "run");
        assert_eq!(site.verify(1), [""; 0]);
        let needed = with_call(|call| site.store.needed_bytes(&order, call)).expect("measured");
        assert_eq!(needed, 2 * 4_096);
    }
}

#[test]
fn shared_and_excluded_paths_of_an_archive_follow_the_same_rules() {
    let mut site = Site::new();
    site.config.shared.dirs = vec![PathBuf::from("uploads")];
    site.config.release.exclude = vec!["tests".to_owned()];
    let bytes =
        archive(&[file("tests/deep/a", "x"), file("uploads/logo", "logo"), file("app", "x")]);
    let order = order(&site, &bytes);
    site.fetch(&order).expect("fetched");
    assert_eq!(listing(&site.instance(&order.release)), ["app", "uploads"]);
    assert_eq!(read(site.root().join("shared/uploads/logo")), "logo");
}

#[test]
fn real_tar_and_git_archives_unpack() {
    let site = Site::new();
    site.write("a/b", "x").write("long/".repeat(30).as_str().trim_end_matches('/'), "y");
    let path = site.dir.path().join("real.tar.gz");
    let status = std::process::Command::new("tar")
        .args([
            "-C",
            &site.source().display().to_string(),
            "-czf",
            &path.display().to_string(),
            ".",
        ])
        .status()
        .expect("tar runs");
    assert!(status.success());
    let hash = blake3::hash(&fs::read(&path).expect("archive")).to_hex().to_string();
    let order = site.order_of(1, Source::Archive { path, hash });
    site.fetch(&order).expect("fetched");
    assert_eq!(listing(&site.instance(&order.release)), listing(&site.source()));
}

#[test]
fn hostile_members_are_refused_and_nothing_leaves_the_release() {
    let outside = tempfile::tempdir().expect("outside");
    let target = outside.path().display().to_string();
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("absolute", vec![file("/tmp/alcedo-test-absolute", "x")]),
        ("..", vec![file("a/../../evil", "x")]),
        ("out of the release", vec![link("door", &target)]),
        ("out of the release", vec![link("a/up", "../../evil")]),
        ("in its place", vec![link("d", "e"), file("d/evil", "x")]),
        ("absolute", vec![of_kind(EntryType::Link, "passwd", "/etc/passwd")]),
        ("..", vec![of_kind(EntryType::Link, "passwd", "../../../etc/passwd")]),
        ("did not come before", vec![of_kind(EntryType::Link, "a", "b")]),
        (
            "not a regular file",
            vec![file("x", "x"), link("l", "x"), of_kind(EntryType::Link, "a", "l")],
        ),
        ("a device", vec![of_kind(EntryType::Char, "null", "")]),
        ("a device", vec![of_kind(EntryType::Block, "disk", "")]),
        ("a named pipe", vec![of_kind(EntryType::Fifo, "pipe", "")]),
        ("comes twice", vec![file("a", "1"), file("a", "2")]),
        ("comes twice", vec![file("a", "1"), file("./a", "2")]),
        ("comes twice", vec![link("a", "b"), file("a", "2")]),
        ("in its place", vec![file("a", "1"), file("a/b", "2")]),
        ("sparse", vec![of_kind(EntryType::GNUSparse, "s", "")]),
        ("neither file", vec![of_kind(EntryType::new(b'M'), "m", "")]),
    ];
    for (why, members) in cases {
        let site = Site::new();
        let refusal = site.refusal(&order(&site, &archive(&members)));
        assert!(refusal.contains(why), "{why:?} in {refusal}");
    }
    assert_eq!(fs::read_dir(outside.path()).expect("listing").count(), 0);
    assert!(!Path::new("/tmp/alcedo-test-absolute").exists());
}

#[test]
fn sizes_that_lie_are_refused() {
    let mut huge = Header::new_gnu();
    huge.set_path("huge").expect("name");
    huge.set_size(1 << 62);
    huge.set_mode(0o644);
    huge.set_cksum();
    let site = Site::new();
    let refusal = site.refusal(&order(&site, huge.as_bytes()));
    assert!(refusal.contains("it says that it has"), "{refusal}");
    let mut cut = file("cut", &"x".repeat(5_000));
    cut.truncate(3_000);
    let refusal = site.refusal(&order(&site, &cut));
    assert!(refusal.contains("release.tar"), "{refusal}");
    let refusal = site.refusal(&order(
        &site,
        b"this is no archive at all, but it is longer than a header would be; "
            .repeat(20)
            .as_slice(),
    ));
    assert!(refusal.contains("release.tar"), "{refusal}");
}

#[test]
fn bombs_are_defused_before_they_fill_the_disk() {
    let zeros = vec![0; 8 << 20];
    let members: Vec<_> = (0..32)
        .map(|n| member(EntryType::Regular, format!("z{n}").as_bytes(), b"", &zeros))
        .collect();
    let site = Site::new();
    let refusal = site.refusal(&order(&site, &gzip(&archive(&members))));
    assert!(refusal.contains("200 times"), "{refusal}");
    let name_bomb = member(EntryType::GNULongName, b"././@LongLink", b"", &vec![b'a'; 32 << 20]);
    let refusal = site.refusal(&order(&site, &gzip(&archive(&[name_bomb, file("x", "x")]))));
    assert!(refusal.contains("headers are too long"), "{refusal}");
}

#[test]
fn an_archive_that_changed_after_the_plan_is_refused() {
    let site = Site::new();
    let mut order = order(&site, &archive(&[file("a", "x")]));
    let Source::Archive { hash, .. } = &mut order.source else { panic!("an archive") };
    *hash = "0".repeat(64);
    assert!(site.refusal(&order).contains("the source changed"));
}
