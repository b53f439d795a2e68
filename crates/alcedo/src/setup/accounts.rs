//! Users and groups of this machine, as `/etc/passwd` and `/etc/group` have them.

use std::fs;

/// The id of a user.
pub(super) fn uid(name: &str) -> Option<u32> {
    field("/etc/passwd", name, 2)?.parse().ok()
}

/// The id of a group.
pub(super) fn gid(name: &str) -> Option<u32> {
    field("/etc/group", name, 2)?.parse().ok()
}

/// The name of a user, or the number.
pub(crate) fn name(uid: u32) -> String {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let wanted = uid.to_string();
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(wanted.as_str()));
    line.and_then(|line| line.split(':').next()).map_or(wanted.clone(), str::to_owned)
}

/// Where a user is at home.
pub(super) fn home(name: &str) -> Option<String> {
    field("/etc/passwd", name, 5)
}

/// The main group of a user; a user who does not exist yet will have one of the same name.
pub(super) fn group_of(user: &str) -> String {
    let gid = field("/etc/passwd", user, 3);
    let text = fs::read_to_string("/etc/group").unwrap_or_default();
    let line = text.lines().find(|line| line.split(':').nth(2) == gid.as_deref());
    line.and_then(|line| line.split(':').next()).unwrap_or(user).to_owned()
}

/// Whether the group lists the user.
pub(super) fn is_member(user: &str, group: &str) -> bool {
    let members = field("/etc/group", group, 3).unwrap_or_default();
    members.split(',').any(|member| member == user)
}

fn field(file: &str, name: &str, n: usize) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(n).map(str::to_owned)
}
