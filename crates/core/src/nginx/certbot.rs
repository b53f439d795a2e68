//! What certbot wrote into a site of ours: its lines and its own blocks, which stay as they are when the site is rendered
//! anew. certbot ends each line of its own with a comment; its redirect is a server block without our mark.

use std::collections::{BTreeMap, BTreeSet};

const MANAGED: &str = "# managed by Certbot";
/// The first line in each server block of ours, followed by its name.
pub(super) const MARK: &str = "# alcedo: ";

/// What certbot wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Certbot {
    /// Its lines in our blocks, by the block's name, as they stand.
    pub lines: BTreeMap<String, Vec<String>>,
    /// Blocks of ours from which it took `listen`: its own block listens there and redirects.
    pub without_listen: BTreeSet<String>,
    /// Its own blocks, as they stand.
    pub blocks: Vec<String>,
}

/// Takes certbot's part out of a site of ours.
pub fn split(text: &str) -> Certbot {
    let mut certbot = Certbot::default();
    for chunk in chunks(text) {
        let Some(name) = name_of(&chunk) else {
            if chunk.contains(MANAGED) {
                certbot.blocks.push(chunk.trim().to_owned());
            }
            continue;
        };
        let (managed, own): (Vec<&str>, Vec<&str>) =
            chunk.lines().partition(|line| line.trim_end().ends_with(MANAGED));
        if managed.is_empty() {
            continue;
        }
        let managed = managed.iter().map(|line| line.trim().to_owned()).collect();
        certbot.lines.insert(name.clone(), managed);
        if !own.iter().any(|line| line.trim_start().starts_with("listen ")) {
            certbot.without_listen.insert(name);
        }
    }
    certbot
}

/// Whether two texts of a site differ in nothing but what certbot writes and takes away.
pub fn same_but_for_certbot(one: &str, other: &str) -> bool {
    one == other || without_certbot(one) == without_certbot(other)
}

fn without_certbot(text: &str) -> Vec<String> {
    let is_ours = |chunk: &String| name_of(chunk).is_some() || !chunk.contains(MANAGED);
    let kept: Vec<String> = chunks(text).into_iter().filter(is_ours).collect();
    let lines = kept.iter().flat_map(|chunk| chunk.lines()).map(str::trim);
    let is_own =
        |line: &&str| !line.is_empty() && !line.ends_with(MANAGED) && !line.starts_with("listen ");
    lines.filter(is_own).map(str::to_owned).collect()
}

fn name_of(chunk: &str) -> Option<String> {
    let line = chunk.lines().find_map(|line| line.trim().strip_prefix(MARK))?;
    chunk.trim_start().starts_with("server").then(|| line.trim().to_owned())
}

/// The text cut after each directive of the outermost level; nothing is left out.
fn chunks(text: &str) -> Vec<String> {
    let (mut out, mut chunk) = (Vec::new(), String::new());
    let (mut depth, mut quote, mut in_comment) = (0_usize, None, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        chunk.push(c);
        let mut ends = false;
        match (quote, c) {
            (_, '\n') => in_comment = false,
            (_, _) if in_comment => {}
            (Some(open), c) if c == open => quote = None,
            (Some(_), '\\') => chunk.extend(chars.next()),
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') => in_comment = true,
            (None, '{') => depth += 1,
            (None, '}') => {
                depth = depth.saturating_sub(1);
                ends = depth == 0;
            }
            (None, ';') => ends = depth == 0,
            (None, _) => {}
        }
        if ends {
            // What stands behind it on its line belongs to it.
            while let Some(c) = chars.next_if(|c| *c != '\n') {
                chunk.push(c);
            }
            chunk.extend(chars.next());
            out.push(std::mem::take(&mut chunk));
        }
    }
    out.push(chunk);
    out
}
