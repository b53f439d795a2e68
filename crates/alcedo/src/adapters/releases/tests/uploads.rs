//! What is sent from another machine: only what was offered counts, and nothing stays of what is wrong.

use super::*;
use crate::adapters::clock;
use crate::api::ConfigText;
use crate::api::upload::{Content as Told, Lacks, Offer, Tree as TreeOffer};
use crate::engine::ports::Sent;
use crate::upload::part::{Order, Part};
use crate::upload::send::Outgoing;
use crate::upload::unhex;
use alcedo_core::release::{Manifest, Node, RelPath};

struct Host {
    root: tempfile::TempDir,
    store: ReleaseStore,
}

impl Host {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), store: ReleaseStore::new() }
    }

    fn offer(&self, outgoing: &Outgoing) -> Lacks {
        let basis = self.store.basis(self.root.path(), outgoing.groups()).unwrap();
        let content = outgoing.told(basis.instance.as_deref(), &basis.digests);
        self.store.offer(self.root.path(), &offer(outgoing.hash(), content)).unwrap()
    }

    fn send(&self, outgoing: &Outgoing, lacks: &Lacks) -> Result<u64, EffectError> {
        let mut whole = 0;
        let mut failed = None;
        let mut emit = |packed: crate::upload::send::Packed| {
            match self.store.take_part(self.root.path(), outgoing.hash(), &packed.bytes) {
                Ok(got) => whole += got.whole,
                Err(error) => failed = Some(error),
            }
            Ok(())
        };
        outgoing.parts(lacks, &Until::done(), &mut emit).unwrap();
        failed.map_or(Ok(whole), Err)
    }

    fn order(&self, release: &str, outgoing: &Outgoing) -> FetchOrder {
        FetchOrder {
            root: self.root.path().to_owned(),
            release: ReleaseId::new(release).unwrap(),
            source: outgoing.source(),
            config: config(),
            commit: None,
        }
    }

    fn fetch(&self, order: &FetchOrder) -> Result<Fetched, EffectError> {
        let cancel = Cancel::default();
        let call = Call {
            deadline: clock::now().after(Duration::from_secs(60)),
            cancel: &cancel,
            progress: &|_| {},
        };
        self.store.fetch(order, &call)
    }

    /// Names in `incoming/`, but the lock and the lists.
    fn waiting(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.path().join("incoming")).into_iter().flatten();
        let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
        names.filter(|name| name != "lock" && !name.ends_with(".json")).collect()
    }
}

fn offer(hash: &str, content: Told) -> Offer {
    let config =
        ConfigText { text: String::new(), file: "alcedo.toml".to_owned(), environment: None };
    Offer { config, hash: hash.to_owned(), content }
}

fn release(dir: &Path) -> Outgoing {
    let rules = alcedo_core::release::Rules::new(&[], &Shared::default(), &[]).unwrap();
    let found = crate::files::scan(dir, &rules, &Until::done()).unwrap();
    let tree = crate::files::manifest_of(dir, &found, &Until::done()).unwrap();
    let source = Source::Directory { path: dir.to_owned(), hash: tree.hash() };
    Outgoing::of(&source, &tree, None, &Until::done()).unwrap().unwrap()
}

fn sources(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let full = dir.path().join(path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(full, content).unwrap();
    }
    dir
}

fn noise(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn a_release_arrives_whole_and_only_what_changed_is_sent_the_next_time() {
    let host = Host::new();
    let big = noise(300_000);
    let dir = sources(&[("bin/app", b"#!/bin/sh\n"), ("data/big", &big), ("empty", b"")]);
    let one = release(dir.path());
    let lacks = host.offer(&one);
    assert_eq!(lacks.files.len(), 3);
    assert_eq!(host.send(&one, &lacks).unwrap(), 3);
    let order = host.order("r20261120-191405-aaaaaaa", &one);
    host.fetch(&order).unwrap();
    host.store.seal(&order).unwrap();
    assert_eq!(host.waiting(), Vec::<String>::new());

    let mut changed = big.clone();
    changed.splice(5_000..5_010, *b"0123456789abc");
    std::fs::write(dir.path().join("data/big"), &changed).unwrap();
    let two = release(dir.path());
    let lacks = host.offer(&two);
    assert_eq!(lacks.files.len(), 1);
    assert!(lacks.files[0].old.is_some());
    assert_eq!(host.send(&two, &lacks).unwrap(), 1);
    let order = host.order("r20261120-191406-bbbbbbb", &two);
    host.fetch(&order).unwrap();
    let release = host.root.path().join("releases/r20261120-191406-bbbbbbb");
    assert!(std::fs::read(release.join("data/big")).unwrap() == changed);
}

#[test]
fn an_upload_without_all_of_its_files_makes_no_release() {
    let host = Host::new();
    let dir = sources(&[("a", b"one"), ("b", b"two")]);
    let outgoing = release(dir.path());
    let mut lacks = host.offer(&outgoing);
    lacks.files.truncate(1);
    host.send(&outgoing, &lacks).unwrap();
    let order = host.order("r20261120-191405-aaaaaaa", &outgoing);
    let error = host.fetch(&order).unwrap_err();
    assert!(format!("{error:?}").contains("not all of it has come"), "{error:?}");
    assert!(!host.root.path().join("releases/r20261120-191405-aaaaaaa").exists());
}

#[test]
fn a_forged_content_is_refused_and_nothing_of_it_stays() {
    let host = Host::new();
    let dir = sources(&[("a", b"the real one")]);
    let outgoing = release(dir.path());
    let lacks = host.offer(&outgoing);
    // Between the look and the sending somebody changed it.
    std::fs::write(dir.path().join("a"), b"a forged one").unwrap();
    assert!(host.send(&outgoing, &lacks).is_err());
    assert_eq!(host.waiting(), Vec::<String>::new());
    let order = host.order("r20261120-191405-aaaaaaa", &outgoing);
    assert!(host.fetch(&order).is_err());
    assert!(!host.root.path().join("releases/r20261120-191405-aaaaaaa").exists());
}

#[test]
fn parts_that_are_cut_too_long_or_not_offered_leave_nothing() {
    let host = Host::new();
    let dir = sources(&[("a", b"the real one")]);
    let outgoing = release(dir.path());
    let lacks = host.offer(&outgoing);
    let take = |part: &[u8]| host.store.take_part(host.root.path(), outgoing.hash(), part);
    let hash = unhex(&lacks.files[0].hash).unwrap();
    let mut part = Part::default();
    part.add(&Order::File { hash, at: 0 });
    part.add(&Order::Data(b"the real"));
    let packed = part.pack().unwrap();
    assert!(take(&packed[..packed.len() - 3]).is_err());
    assert_eq!(host.waiting(), Vec::<String>::new());
    let mut long = Part::default();
    long.add(&Order::File { hash, at: 0 });
    long.add(&Order::Data(b"the real one and then some"));
    assert!(take(&long.pack().unwrap()).is_err());
    assert_eq!(host.waiting(), Vec::<String>::new());
    let mut other = Part::default();
    other.add(&Order::File { hash: [9; 32], at: 0 });
    other.add(&Order::Data(b"x"));
    assert!(take(&other.pack().unwrap()).is_err());
    assert_eq!(host.waiting(), Vec::<String>::new());
    // A part out of its order is asked for again, a repeated one changes nothing.
    let mut later = Part::default();
    later.add(&Order::File { hash, at: 8 });
    later.add(&Order::Data(b" one"));
    let later = later.pack().unwrap();
    assert!(take(&later).unwrap().again);
    assert!(!take(&packed).unwrap().again);
    assert!(!take(&packed).unwrap().again);
    assert_eq!(take(&later).unwrap().whole, 1);
    assert_eq!(take(&later).unwrap().whole, 0);
    let fetched = host.fetch(&host.order("r20261120-191405-aaaaaaa", &outgoing)).unwrap();
    assert_eq!(fetched.files, 1);
}

#[test]
fn a_list_that_lies_about_its_hash_or_leaves_the_release_is_refused() {
    let host = Host::new();
    let node = Node::File { hash: "0".repeat(64), size_bytes: 1, executable: false };
    let path = RelPath::new(Path::new("a")).unwrap();
    let entries = Manifest([(path.clone(), node)].into());
    let tree = |changed: Manifest| {
        let changed = [(0, changed)].into();
        Told::Tree(TreeOffer { instance: None, groups: 1, changed, seeds: Manifest::default() })
    };
    let refused = |hash: &str, content| host.store.offer(host.root.path(), &offer(hash, content));
    assert!(refused(&"1".repeat(64), tree(entries.clone())).is_err());
    assert!(refused("../../etc/passwd", tree(entries)).is_err());
    let bad = Node::File { hash: "../../../etc/x".to_owned(), size_bytes: 1, executable: false };
    let bad = Manifest([(path.clone(), bad)].into());
    assert!(refused(&bad.hash(), tree(bad.clone())).is_err());
    assert!(refused(&"2".repeat(64), Told::Archive { size_bytes: u64::MAX }).is_err());
    // A link out of the release is only seen when it is placed.
    let out = Manifest([(path, Node::link(Path::new("../../../etc")))].into());
    refused(&out.hash(), tree(out.clone())).unwrap();
    let source = Source::Upload { hash: out.hash(), form: Sent::Tree };
    let order = FetchOrder {
        root: host.root.path().to_owned(),
        release: ReleaseId::new("r20261120-191405-aaaaaaa").unwrap(),
        source,
        config: config(),
        commit: None,
    };
    assert!(host.fetch(&order).is_err());
    assert!(!host.root.path().join("releases/r20261120-191405-aaaaaaa").exists());
}

#[test]
fn a_kept_release_that_was_changed_by_hand_is_found_out_and_its_file_sent_anew() {
    let host = Host::new();
    let dir = sources(&[("a", b"first file"), ("b", b"second file")]);
    let one = release(dir.path());
    let lacks = host.offer(&one);
    host.send(&one, &lacks).unwrap();
    let order = host.order("r20261120-191405-aaaaaaa", &one);
    host.fetch(&order).unwrap();
    host.store.seal(&order).unwrap();
    let old = host.root.path().join("releases/r20261120-191405-aaaaaaa/a");
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(&old, b"FIRST FILE").unwrap();
    std::fs::write(dir.path().join("b"), b"new second").unwrap();
    let two = release(dir.path());
    let lacks = host.offer(&two);
    host.send(&two, &lacks).unwrap();
    let order = host.order("r20261120-191406-bbbbbbb", &two);
    let error = host.fetch(&order).unwrap_err();
    assert!(format!("{error:?}").contains("r20261120-191405-aaaaaaa"), "{error:?}");
    let lacks = host.offer(&two);
    assert_eq!(lacks.files.len(), 1);
    host.send(&two, &lacks).unwrap();
    host.fetch(&order).unwrap();
    let path = host.root.path().join("releases/r20261120-191406-bbbbbbb/a");
    assert_eq!(std::fs::read(path).unwrap(), b"first file");
}
