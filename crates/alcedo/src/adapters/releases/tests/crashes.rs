//! Fetch and seal killed at any moment.

use super::*;
use std::process::{Command, Stdio};
use std::time::Instant;

const CHILD: &str = "ALCEDO_TEST_KILLED_FETCH";

/// Not a test by itself: what the test below starts and kills.
#[test]
fn child_that_fetches_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let root = PathBuf::from(&dir).join("app");
    let source = PathBuf::from(&dir).join("source");
    let rules = Rules::new(&[], &Shared::default(), &[]).expect("rules");
    for number in 0..10_000 {
        let found = scan(&source, &rules, &Until::done()).expect("scan");
        let hash = manifest_of(&source, &found, &Until::done()).expect("hashes").hash();
        let order = FetchOrder {
            root: root.clone(),
            release: release(number),
            source: Source::Directory { path: source.clone(), hash },
            config: config(),
            commit: None,
        };
        with_call(|call| ReleaseStore::new().fetch(&order, call)).expect("fetched");
        ReleaseStore::new().seal(&order).expect("sealed");
        ReleaseStore::new().remove(&root, &release(number - 3)).expect("removed");
    }
}

#[test]
fn a_killed_fetch_leaves_whole_releases_and_rests_alone() {
    let site = Site::new();
    for n in 0..80 {
        site.write(&format!("d{}/f{n}", n % 7), &"x".repeat(n * 120));
    }
    let mut seen_rests = 0;
    let mut seen_releases = 0;
    for round in 0..15 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args([
                "--exact",
                "adapters::releases::tests::crashes::child_that_fetches_until_it_is_killed",
            ])
            .env(CHILD, site.dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("child");
        let deadline = Instant::now() + Duration::from_secs(60);
        // The moment of the crash, spread over many: so many seen steps of the work after so many seals.
        let (mut steps, mut last) = (0, 0);
        while seals(&site) < round % 3 || steps < round * 13 % 97 {
            assert!(Instant::now() < deadline, "{steps} steps within a minute");
            let now = entries(&site.root().join("releases"));
            steps += usize::from(now != last);
            last = now;
            std::thread::yield_now();
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
        let audit = site.store.audit(&site.root()).expect("audit");
        assert_eq!(audit.broken, [], "round {round}");
        for stored in &audit.releases {
            assert_eq!(listing(&site.instance(&stored.release)), listing(&site.source()));
            let found = with_call(|call| site.store.verify(&site.root(), &stored.release, call));
            assert_eq!(found.expect("verified"), []);
        }
        seen_releases += audit.releases.len();
        seen_rests += site.store.sweep_rests(&site.root(), &[]).expect("swept").len();
        for stored in audit.releases {
            site.store.remove(&site.root(), &stored.release).expect("removed");
        }
        assert_eq!(site.store.audit(&site.root()).expect("audit"), super::super::Audit::default());
    }
    assert!(seen_rests > 0 && seen_releases > 0, "{seen_rests} rests, {seen_releases} releases");
}

/// Files and directories below it now; what vanishes meanwhile is not counted.
fn entries(dir: &Path) -> usize {
    let below = fs::read_dir(dir).into_iter().flatten().flatten();
    below
        .map(|entry| {
            1 + entry.file_type().map_or(0, |t| if t.is_dir() { entries(&entry.path()) } else { 0 })
        })
        .sum()
}

/// Seals there are now.
fn seals(site: &Site) -> usize {
    let names = fs::read_dir(site.root().join("releases/.seals"));
    let is_seal = |entry: std::io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "json"))
    };
    names.map_or(0, |names| names.filter_map(|entry| is_seal(entry).then_some(())).count())
}

const NOBODY_CHILD: &str = "ALCEDO_TEST_NOBODY";

/// Not a test by itself: what the test below runs as another user. Root may do everything; an app's user may not.
#[test]
fn child_that_keeps_releases_without_root() {
    let Some(dir) = std::env::var_os(NOBODY_CHILD) else { return };
    let holder = tempfile::tempdir_in(dir).expect("a directory of its own");
    let mut site = Site::at(holder);
    site.config.release.writable = vec![PathBuf::from("tmp")];
    site.config.shared.files = vec![PathBuf::from(".env")];
    site.write(".env", "KEY=one").write("a/b/c", "x").write("private", "x");
    let private = fs::Permissions::from_mode(0o000);
    fs::set_permissions(site.source().join("private"), private).expect("mode");
    let refusal = told(site.fetch(&site.order_of(1, unknown(&site))).expect_err("unreadable"));
    assert!(refusal.contains("source/private") && refusal.contains("ermission"), "{refusal}");
    fs::remove_file(site.source().join("private")).expect("removed");
    let (instance, ..) = site.make(1);
    assert!(fs::write(instance.join("a/b/new"), "x").is_err(), "sealed directories take nothing");
    assert!(fs::write(instance.join("a/b/c"), "y").is_err(), "nor do sealed files");
    put(&instance.join("tmp/session"), "x");
    site.make(2);
    site.store.remove(&site.root(), &release(1)).expect("removed, read-only directories too");
    assert!(!instance.exists());
}

fn unknown(site: &Site) -> Source {
    Source::Directory { path: site.source(), hash: "unknown".to_owned() }
}

#[test]
fn the_store_works_without_root() {
    let dir = tempfile::tempdir().expect("temporary directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("mode");
    // The copy is where everybody may run it.
    let program = dir.path().join("test");
    fs::copy(std::env::current_exe().expect("this test"), &program).expect("copied");
    let child = "adapters::releases::tests::crashes::child_that_keeps_releases_without_root";
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    if !rustix::process::geteuid().is_root() {
        command = Command::new("env");
    }
    let output = command
        .arg(&program)
        .args(["--exact", child])
        .env(NOBODY_CHILD, dir.path())
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
