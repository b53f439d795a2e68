//! Laws over random trees.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What stands at a path: a file with its mode, or a link to a sibling.
#[derive(Debug, Clone)]
enum Item {
    File(Vec<u8>, u32),
    Link(String),
}

fn trees() -> impl Strategy<Value = BTreeMap<String, Item>> {
    let name = "[a-c]{1,2}";
    let path = proptest::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let mode = prop_oneof![Just(0o644), Just(0o755), Just(0o600), Just(0o444), Just(0o750)];
    let content = proptest::collection::vec(any::<u8>(), 0..200);
    let item = prop_oneof![
        4 => (content, mode).prop_map(|(content, mode)| Item::File(content, mode)),
        1 => name.prop_map(Item::Link),
    ];
    proptest::collection::btree_map(path, item, 0..20)
}

fn build(dir: &Path, tree: &BTreeMap<String, Item>) {
    for (path, item) in tree {
        let full = dir.join(path);
        // Paths that need a file to be a directory too are left out.
        if fs::create_dir_all(full.parent().expect("above")).is_err() || full.exists() {
            continue;
        }
        match item {
            Item::File(content, mode) => {
                if fs::write(&full, content).is_ok() {
                    fs::set_permissions(&full, fs::Permissions::from_mode(*mode)).expect("mode");
                }
            }
            Item::Link(target) => drop(std::os::unix::fs::symlink(target, &full)),
        }
    }
}

/// Everything about a tree that a release must reproduce; modes without the write bits, those of files only.
fn facts(dir: &Path) -> BTreeMap<String, String> {
    let fact = |path: String| {
        let full = dir.join(&path);
        let metadata = fs::symlink_metadata(&full).expect("metadata");
        let fact = if metadata.is_symlink() {
            format!("link {}", fs::read_link(&full).expect("link").display())
        } else if metadata.is_dir() {
            "directory".to_owned()
        } else {
            let bits = metadata.permissions().mode() & 0o555;
            format!("{bits:o} {:?}", fs::read(&full).expect("content"))
        };
        (path, fact)
    };
    listing(dir).into_iter().map(fact).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_sealed_release_reproduces_its_source_exactly(first in trees(), second in trees()) {
        let site = Site::new();
        build(&site.source(), &first);
        let (one, _, sealed) = site.make(1);
        prop_assert_eq!(facts(&one), facts(&site.source()));
        prop_assert_eq!(&sealed.hash, &site.hash());
        let before = facts(&one);
        fs::remove_dir_all(site.source()).expect("removed");
        fs::create_dir(site.source()).expect("made");
        build(&site.source(), &second);
        let (two, ..) = site.make(2);
        prop_assert_eq!(facts(&two), facts(&site.source()));
        prop_assert_eq!(facts(&one), before);
        prop_assert!(site.verify(1).is_empty() && site.verify(2).is_empty());
    }
}
