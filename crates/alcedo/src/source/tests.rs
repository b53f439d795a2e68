//! With real git, real builds and real files.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests start real programs"
)]

use super::*;
use crate::adapters::releases::test_config;
use crate::engine::ports::{Cancel, Millis};
use std::fs;
use std::process::Command;

const NOW: i64 = 1_795_201_905;

struct Desk {
    dir: tempfile::TempDir,
    config: Config,
    kept: Vec<ReleaseId>,
    named: BTreeMap<String, ReleaseId>,
    root: Option<PathBuf>,
    since: Option<String>,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let config = test_config();
        Self { dir, config, kept: Vec::new(), named: BTreeMap::new(), root: None, since: None }
    }

    fn in_git() -> Self {
        let desk = Self::new();
        desk.git(&["init", "--quiet", "--initial-branch=main"]);
        desk.git(&["config", "user.email", "a@example.org"]);
        desk.git(&["config", "user.name", "A"]);
        desk
    }

    fn path(&self) -> PathBuf {
        self.dir.path().canonicalize().expect("there")
    }

    fn write(&self, path: &str, content: &str) -> &Self {
        let full = self.path().join(path);
        fs::create_dir_all(full.parent().expect("above")).expect("directory");
        fs::write(full, content).expect("file");
        self
    }

    fn commit(&self, subject: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", subject]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git").args(args).current_dir(self.dir.path()).output();
        let output = output.expect("git runs");
        assert!(
            output.status.success(),
            "git {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn resolve(&self, typed: Option<&str>) -> Result<Resolved, String> {
        let dir = self.path();
        let request = Request {
            typed,
            cwd: &dir,
            app_dir: &dir,
            config: &self.config,
            kept: &self.kept,
            named: &self.named,
            target: Machine::HERE,
            root: self.root.as_deref(),
            unix_seconds: NOW,
            since: self.since.as_deref(),
        };
        let cancel = Cancel::default();
        let call = Call { deadline: Millis(u64::MAX), cancel: &cancel, progress: &|_| {} };
        resolve(&request, &programs::run, &call).map_err(|error| match error {
            EffectError::Failed { what, detail, hint } => {
                format!("failed to {what}: {detail}\n{}", hint.unwrap_or_default())
            }
            EffectError::Cancelled | EffectError::TimedOut { .. } => error.to_string(),
        })
    }

    fn ok(&self, typed: Option<&str>) -> Resolved {
        self.resolve(typed).unwrap_or_else(|error| panic!("{error}"))
    }

    fn refusal(&self, typed: Option<&str>) -> String {
        self.resolve(typed).expect_err("refused")
    }
}

fn kept(text: &str) -> ReleaseId {
    ReleaseId::new(text).expect("valid")
}

fn directory(resolved: &Resolved) -> &Path {
    match &resolved.source {
        Source::Directory { path, .. } => path,
        Source::File { .. } | Source::Archive { .. } | Source::Kept | Source::Upload { .. } => {
            panic!("{:?}", resolved.source)
        }
    }
}

#[test]
fn without_a_source_the_working_tree_is_built_and_shipped() {
    let mut desk = Desk::in_git();
    desk.config.release.build = Some(
        "mkdir dist && echo $ALCEDO_COMMIT $ALCEDO_TARGET $ALCEDO_ENVIRONMENT > dist/built"
            .to_owned(),
    );
    desk.config.release.source = PathBuf::from("dist");
    let first = desk.write(".gitignore", "dist").write("app", "1").commit("first");
    let commit = desk.write("app", "2").commit("second");
    desk.since = Some(first);
    let resolved = desk.ok(None);
    assert_eq!(directory(&resolved), desk.path().join("dist"));
    let built = fs::read_to_string(desk.path().join("dist/built")).expect("built");
    assert_eq!(built.trim(), format!("{commit} linux/{} production", Machine::HERE));
    // S1-13: date, time and commit.
    assert_eq!(resolved.release.as_str(), format!("r20261120-191145-{}", &commit[..7]));
    assert_eq!((resolved.commit.as_deref(), resolved.dirty), (Some(commit.as_str()), false));
    assert_eq!(resolved.note.as_deref(), Some("second"));
}

#[test]
fn uncommitted_changes_mark_the_release_dirty() {
    let desk = Desk::in_git();
    desk.write("app", "1").commit("first");
    assert!(!desk.ok(None).dirty);
    desk.write("new", "x");
    let resolved = desk.ok(None);
    assert!(resolved.dirty && resolved.release.as_str().ends_with("+dirty"), "{resolved:?}");
}

#[test]
fn without_git_the_content_names_the_release() {
    let desk = Desk::new();
    desk.write("app", "1");
    let resolved = desk.ok(None);
    let Source::Directory { hash, .. } = &resolved.source else { panic!("a directory") };
    assert_eq!(resolved.release.tail(), &hash[..7]);
    assert_eq!((resolved.commit, resolved.note), (None, None));
}

#[test]
fn a_git_ref_is_built_in_a_clean_checkout() {
    let mut desk = Desk::in_git();
    desk.config.release.build = Some("test ! -e untracked && cp app built".to_owned());
    let commit = desk.write("app", "1").commit("first");
    desk.git(&["tag", "v1"]);
    desk.write("app", "2").commit("second");
    desk.write("untracked", "x");
    let before = desk.git(&["status", "--porcelain"]);
    let resolved = desk.ok(Some("v1"));
    let dir = directory(&resolved).to_owned();
    assert_eq!(resolved.checkout.as_deref(), Some(dir.as_path()));
    assert_eq!(fs::read_to_string(dir.join("built")).expect("built"), "1");
    assert_eq!(resolved.commit.as_deref(), Some(commit.as_str()));
    assert!(!resolved.dirty);
    drop(resolved);
    assert!(!dir.exists(), "the checkout is gone");
    assert_eq!(desk.git(&["status", "--porcelain"]), before, "the repository is as it was");
}

#[test]
fn paths_are_shipped_without_a_build() {
    let mut desk = Desk::new();
    desk.config.release.build = Some("false".to_owned());
    desk.write("out/app", "x").write("api", "#!/bin/sh\n").write("r.tar.gz", "whatever");
    assert_eq!(directory(&desk.ok(Some("out"))), desk.path().join("out"));
    assert!(matches!(desk.ok(Some("path:./api")).source, Source::File { .. }));
    assert!(matches!(desk.ok(Some("r.tar.gz")).source, Source::Archive { .. }));
}

#[test]
fn a_failed_build_shows_its_last_lines() {
    let mut desk = Desk::new();
    desk.config.release.build = Some("echo no such module; exit 3; echo never".to_owned());
    let refusal = desk.write("app", "x").refusal(None);
    assert!(refusal.contains("exit status 3") && refusal.contains("no such module"), "{refusal}");
}

#[test]
fn kept_releases_are_found_by_id_part_and_name() {
    let mut desk = Desk::new();
    desk.kept =
        ["r20261119-170211-9f3c21a", "r20261120-191405-4be1c07", "r20261120-200000-4be1c07"]
            .map(kept)
            .into();
    desk.named.insert("active".to_owned(), desk.kept[1].clone());
    for typed in ["9f3c21a", "release:9f3c", "r20261119-170211-9f3c21a", "9f3c21abcdef", "20261119"]
    {
        assert_eq!(desk.ok(Some(typed)).release, desk.kept[0], "{typed}");
    }
    assert_eq!(desk.ok(Some("active")).release, desk.kept[1]);
    assert_eq!(desk.ok(Some("active")).source, Source::Kept);
    let refusal = desk.refusal(Some("4be1c07"));
    assert!(refusal.contains("r20261120-191405-4be1c07, r20261120-200000-4be1c07"), "{refusal}");
    let refusal = desk.refusal(Some("release:beef"));
    assert!(refusal.contains("kept are r20261120-200000-4be1c07"), "{refusal}");
}

#[test]
fn two_kinds_that_match_are_an_error_naming_both() {
    let mut desk = Desk::in_git();
    desk.write("v1", "a file named like the tag").commit("first");
    desk.git(&["tag", "v1"]);
    let refusal = desk.refusal(Some("v1"));
    assert!(refusal.contains("the path") && refusal.contains("the git commit"), "{refusal}");
    assert!(refusal.contains("`path:v1` or `git:v1`"), "{refusal}");
    assert!(matches!(desk.ok(Some("path:v1")).source, Source::File { .. }));
    assert!(desk.ok(Some("git:v1")).checkout.is_some());
    desk.named.insert("main".to_owned(), kept("r20261119-170211-9f3c21a"));
    let refusal = desk.refusal(Some("main"));
    assert!(refusal.contains("the release") && refusal.contains("`git:main`"), "{refusal}");
}

#[test]
fn a_commit_that_is_kept_is_not_built_again() {
    let mut desk = Desk::in_git();
    let commit = desk.write("app", "x").commit("first");
    desk.kept = vec![kept(&format!("r20261119-170211-{}", &commit[..7]))];
    assert_eq!(desk.ok(Some(&commit[..7])).source, Source::Kept);
    desk.kept = vec![kept(&format!("r20261119-170211-{}+dirty", &commit[..7]))];
    assert!(desk.refusal(Some(&commit[..7])).contains("decide what"));
}

#[test]
fn what_cannot_be_shipped_is_named() {
    let mut desk = Desk::in_git();
    desk.write("app", "x").commit("first");
    let contains = |typed: &str, words: &str| {
        let refusal = desk.refusal(Some(typed));
        assert!(refusal.contains(words), "{words:?} in {refusal}");
    };
    contains("nothing-here", "no path, no kept release and no git ref");
    contains("path:nothing-here", "there is no such file or directory");
    contains("git:nothing-here", "git knows no commit of that name");
    contains("image:app:1", "not in this version");
    contains("git:", "it names nothing");
    contains("path:/dev/null", "neither a file nor a directory");
    fs::create_dir_all(desk.path().join("empty/.git")).expect("directory");
    contains("path:empty", "nothing in it that is shipped");
    std::os::unix::fs::symlink("app", desk.path().join("alias")).expect("link");
    contains("path:alias", "it is a link to");
    desk.config.release.source = PathBuf::from("dist");
    assert!(desk.refusal(None).contains("release.build"));
    let outside = Desk::new();
    assert!(outside.refusal(Some("git:main")).contains("not in a git repository"));
}

#[test]
fn a_release_is_never_made_of_releases() {
    let mut desk = Desk::new();
    desk.write("app", "x").write("srv/releases/r20261119-170211-9f3c21a/app", "x");
    desk.root = Some(desk.path().join("srv"));
    let refusal = desk.refusal(Some("path:."));
    assert!(refusal.contains("lies in it") && refusal.contains("`root`"), "{refusal}");
    let refusal = desk.refusal(Some("path:srv/releases/r20261119-170211-9f3c21a"));
    assert!(refusal.contains("releases themselves"), "{refusal}");
    desk.config.release.exclude = vec!["/srv".to_owned()];
    desk.ok(Some("path:."));
}

#[test]
fn the_same_content_has_the_same_hash_wherever_it_lies() {
    let (one, two) = (Desk::new(), Desk::new());
    for desk in [&one, &two] {
        for n in 0..300 {
            desk.write(&format!("d{}/f{n}", n % 9), &n.to_string());
        }
    }
    assert_eq!(one.ok(None).release, two.ok(None).release);
    two.write("d3/f3", "changed");
    assert_ne!(one.ok(None).release, two.ok(None).release);
}

#[test]
fn a_binary_for_another_machine_is_refused_before_it_is_sent() {
    // S3-10
    let desk = Desk::new();
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(18, 0);
    header.extend(9_u16.to_le_bytes());
    fs::write(desk.path().join("api"), header).expect("binary");
    let refusal = desk.refusal(Some("api"));
    assert!(refusal.contains("built for linux/machine 9"), "{refusal}");
}
