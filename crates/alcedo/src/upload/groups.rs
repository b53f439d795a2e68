//! Compares two trees without telling every entry: entries are put into groups by their path, each group has a digest,
//! and only the entries of groups that differ are told.
//!
//! With a group for about eight entries, a change of 1 % of a tree costs the digests of all groups and the entries of
//! 8 % of them, a tenth of the whole list. A digest that is the same by chance is found out by the hash of the whole.

use alcedo_core::release::{Manifest, RelPath};
use std::os::unix::ffi::OsStrExt;

/// Entries for each group.
const ENTRIES_PER_GROUP: usize = 8;
/// Most groups.
pub(crate) const GROUPS_MAX: u32 = 1 << 17;
/// Digits of a digest that are told: 48 bits.
const DIGITS: usize = 12;

/// How many groups a tree of so many entries is put into.
pub(crate) fn count(entries: usize) -> u32 {
    u32::try_from(entries / ENTRIES_PER_GROUP + 1).unwrap_or(GROUPS_MAX).min(GROUPS_MAX)
}

/// The entries of each group.
pub(crate) fn split(tree: &Manifest, groups: u32) -> Vec<Manifest> {
    let mut all = vec![Manifest::default(); groups.clamp(1, GROUPS_MAX) as usize];
    let count = all.len();
    for (path, node) in &tree.0 {
        all[group_of(path, count)].0.insert(path.clone(), node.clone());
    }
    all
}

/// The digest of a group's entries: the first 12 digits of their content hash.
pub(crate) fn digest(group: &Manifest) -> String {
    let mut hash = group.hash();
    hash.truncate(DIGITS);
    hash
}

fn group_of(path: &RelPath, count: usize) -> usize {
    let hash = blake3::hash(path.as_path().as_os_str().as_bytes());
    let bytes: [u8; 8] = hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes");
    let number = u64::from_le_bytes(bytes) % count as u64;
    usize::try_from(number).expect("less than the number of groups")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alcedo_core::release::Node;
    use std::path::Path;

    fn tree(names: impl IntoIterator<Item = u32>) -> Manifest {
        let node = |n: u32| Node::File {
            hash: blake3::hash(&n.to_le_bytes()).to_hex().to_string(),
            size_bytes: u64::from(n),
            executable: false,
        };
        let path = |n: u32| RelPath::new(Path::new(&format!("dir/file-{n}"))).unwrap();
        Manifest(names.into_iter().map(|n| (path(n), node(n))).collect())
    }

    #[test]
    fn a_change_is_told_by_one_group_and_every_entry_is_in_one() {
        let (one, two) = (tree(0..1_000), tree(0..999));
        let groups = count(one.0.len());
        let (a, b) = (split(&one, groups), split(&two, groups));
        let differing = a.iter().zip(&b).filter(|(a, b)| digest(a) != digest(b)).count();
        assert_eq!((differing, a.len()), (1, 126));
        assert_eq!(a.iter().map(|group| group.0.len()).sum::<usize>(), 1_000);
        let together = Manifest(a.into_iter().flat_map(|group| group.0).collect());
        assert_eq!(together, one);
    }

    #[test]
    fn any_number_of_groups_is_taken() {
        for groups in [0, 1, GROUPS_MAX, u32::MAX] {
            assert!(!split(&tree(0..3), groups).is_empty());
        }
    }
}
