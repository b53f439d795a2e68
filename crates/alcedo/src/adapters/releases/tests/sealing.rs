//! What a seal promises, and what happens when it does not hold.

use super::*;
use crate::files::io_error;

fn prepare(site: &Site, number: i64, command: &str) -> Result<(), EffectError> {
    let log = site.dir.path().join("logs/prepare.log");
    let order = PrepareOrder {
        instance: site.instance(&release(number)),
        command: command.to_owned(),
        env: BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").expect("PATH"))]),
        timeout: Duration::from_secs(60),
        log,
    };
    with_call(|call| site.store.prepare(&order, call))
}

#[test]
fn a_sealed_release_is_read_only_but_for_its_writable_directories() {
    let mut site = Site::new();
    site.config.release.writable = vec![PathBuf::from("tmp"), PathBuf::from("var/cache")];
    site.write("app", "x").write("var/cache/warm", "x").write("var/fixed", "x");
    let (instance, ..) = site.make(1);
    assert_eq!(mode(&instance), 0o555);
    assert_eq!(mode(&instance.join("app")), 0o444);
    assert_eq!(mode(&instance.join("var")), 0o555);
    assert_eq!((mode(&instance.join("tmp")), mode(&instance.join("var/cache"))), (0o755, 0o755));
    assert_eq!(mode(&instance.join("var/cache/warm")), 0o644);
    put(&instance.join("tmp/session"), "x");
    put(&instance.join("var/cache/warm"), "hot");
    assert_eq!(site.verify(1), [""; 0], "what the app writes there is not sealed");
}

#[test]
fn what_prepare_made_survives_and_is_sealed() {
    let mut site = Site::new();
    let command = "mkdir -p venv/bin && echo made > venv/made && ln -s /usr/bin/env venv/bin/python && echo 2 > app";
    site.config.release.prepare = Some(command.to_owned());
    site.write("app", "1");
    let order = site.order(1);
    site.fetch(&order).expect("fetched");
    prepare(&site, 1, command).expect("prepared");
    let sealed = site.store.seal(&order).expect("sealed");
    let instance = site.instance(&order.release);
    assert_eq!(read(instance.join("venv/made")), "made\n");
    assert_eq!(
        fs::read_link(instance.join("venv/bin/python")).expect("link"),
        Path::new("/usr/bin/env")
    );
    assert_eq!(sealed.size_bytes, 7);
    assert_eq!(sealed.hash, order_hash(&order), "the hash is that of what was shipped");
    assert_eq!(site.verify(1), [""; 0]);
    let needed = with_call(|call| site.store.needed_bytes(&site.order(2), call)).expect("measured");
    assert_eq!(needed, 4_096 + 5, "with what prepare made last time");
}

fn order_hash(order: &FetchOrder) -> String {
    super::super::fetch::planned_hash(&order.source).expect("planned").to_owned()
}

#[test]
fn a_file_linked_from_elsewhere_becomes_the_releases_own() {
    let mut site = Site::new();
    let cache = site.dir.path().join("cache");
    put(&cache, "library");
    let command = format!("ln {} lib", cache.display());
    site.config.release.prepare = Some(command.clone());
    site.write("app", "x");
    let order = site.order(1);
    site.fetch(&order).expect("fetched");
    prepare(&site, 1, &command).expect("prepared");
    site.store.seal(&order).expect("sealed");
    assert_eq!(mode(&cache), 0o644, "the cache stays writable");
    fs::write(&cache, "poisoned").expect("written");
    assert_eq!(read(site.instance(&order.release).join("lib")), "library");
}

#[test]
fn a_failed_prepare_shows_its_last_lines_and_keeps_its_output() {
    let site = Site::new();
    site.write("app", "x");
    site.fetch(&site.order(1)).expect("fetched");
    let command = "echo started; echo Class Redis not found >&2; exit 7";
    let refusal = told(prepare(&site, 1, command).expect_err("failed"));
    assert!(refusal.contains("exit status 7"), "{refusal}");
    assert!(refusal.contains("started\nClass Redis not found"), "{refusal}");
    let log = site.dir.path().join("logs/prepare.log");
    assert!(read(log.clone()).contains("started") && refusal.contains("logs/prepare.log"));
}

#[test]
fn a_prepare_that_hangs_is_killed_with_everything_it_started() {
    let site = Site::new();
    site.write("app", "x");
    site.fetch(&site.order(1)).expect("fetched");
    let instance = site.instance(&release(1));
    let order = PrepareOrder {
        instance: instance.clone(),
        command: "sleep 1000 & echo $! > child; echo waiting; wait".to_owned(),
        env: BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").expect("PATH"))]),
        timeout: Duration::from_millis(700),
        log: site.dir.path().join("prepare.log"),
    };
    let refusal = told(with_call(|call| site.store.prepare(&order, call)).expect_err("too long"));
    assert!(refusal.contains("at its time limit") && refusal.contains("waiting"), "{refusal}");
    let child = read(instance.join("child"));
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "it still runs: {stat}");
}

#[test]
fn sealing_twice_gives_the_same_seal() {
    let site = Site::new();
    let (_, _, sealed) = site.write("app", "x").make(1);
    let path = site.root().join("releases/.seals").join(format!("{}.json", release(1)));
    let before = read(path.clone());
    assert_eq!(site.store.seal(&site.order(1)).expect("sealed"), sealed);
    assert_eq!(read(path), before);
}

#[test]
fn nothing_is_sealed_that_was_not_fetched_whole() {
    let site = Site::new();
    let order = site.write("app", "x").order(1);
    let told_of = |result: Result<Sealed, EffectError>| told(result.expect_err("refused"));
    assert!(told_of(site.store.seal(&order)).contains("not fetched whole"));
    site.fetch(&order).expect("fetched");
    assert!(!site.store.is_sealed(&site.root(), &order.release).expect("asked"));
    assert_eq!(site.store.list(&site.root()).expect("list"), []);
    put(&site.instance(&order.release).join("app"), "y");
    let refusal = told_of(site.store.seal(&order));
    assert!(refusal.contains("app changed after it was fetched"), "{refusal}");
}

#[test]
fn changed_missing_and_foreign_files_are_found() {
    let site = Site::new();
    let (instance, ..) = site.write("a", "1").write("b", "1").write("c", "1").make(1);
    open_up(&instance);
    for name in ["a", "b", "c"] {
        fs::set_permissions(instance.join(name), fs::Permissions::from_mode(0o644)).expect("mode");
    }
    fs::write(instance.join("a"), "2").expect("written");
    fs::remove_file(instance.join("b")).expect("removed");
    fs::write(instance.join("d"), "1").expect("written");
    assert_eq!(site.verify(1), ["a is changed", "b is missing", "d does not belong to it"]);
}

fn open_up(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
        .map_err(io_error("open", dir))
        .expect("mode");
}

#[test]
fn damaged_seals_and_vanished_releases_are_named_and_never_trusted() {
    let site = Site::new();
    site.write("app", "x");
    for number in 1..=5 {
        site.make(number);
    }
    let seals = site.root().join("releases/.seals");
    let seal = |number| seals.join(format!("{}.json", release(number)));
    let text = read(seal(1));
    fs::write(seal(1), text.replace("\"app\"", "\"apq\"")).expect("flipped");
    fs::write(seal(2), &read(seal(2))[..100]).expect("cut");
    fs::write(seal(3), read(seal(3)).replacen("\"format\":1", "\"format\":2", 1)).expect("newer");
    fs::remove_dir_all(site.instance(&release(4))).expect("removed");
    let audit = site.store.audit(&site.root()).expect("audit");
    let whys: Vec<_> = audit.broken.iter().map(|b| (b.name.as_str(), b.why.as_str())).collect();
    let gone = format!("its directory {} is gone", site.instance(&release(4)).display());
    assert_eq!(
        whys,
        [
            (release(4).as_str(), gone.as_str()),
            (release(3).as_str(), "another version wrote it"),
            (release(2).as_str(), "its end is missing"),
            (release(1).as_str(), "its checksum does not match"),
        ]
    );
    let usable: Vec<_> = audit.releases.into_iter().map(|r| r.release).collect();
    assert_eq!(usable, [release(5)]);
    for number in 1..=3 {
        let refusal = told(site.fetch(&site.order(number)).expect_err("refused"));
        assert!(refusal.contains(release(number).as_str()), "{refusal}");
        assert!(site.store.is_sealed(&site.root(), &release(number)).is_err());
    }
    assert!(!site.store.is_sealed(&site.root(), &release(4)).expect("asked"));
    let refusal = told(site.fetch(&site.order(4)).expect_err("refused"));
    assert!(refusal.contains("is gone"), "{refusal}");
}

#[test]
fn removing_takes_the_seal_first_and_then_everything() {
    let site = Site::new();
    site.write("a/b/c", "x").make(1);
    site.make(2);
    site.store.remove(&site.root(), &release(1)).expect("removed");
    site.store.remove(&site.root(), &release(1)).expect("again is fine");
    assert!(!site.instance(&release(1)).exists());
    let left: Vec<_> =
        site.store.list(&site.root()).expect("list").into_iter().map(|r| r.release).collect();
    assert_eq!(left, [release(2)]);
}

#[test]
fn rests_are_swept_and_busy_ones_are_not() {
    let site = Site::new();
    site.write("app", "x").make(1);
    site.fetch(&site.order(2)).expect("fetched, never sealed");
    site.fetch(&site.order(3)).expect("being fetched");
    put(&site.root().join("releases/notes.txt"), "not ours");
    site.store.sweep_rests(&site.root(), &[release(3)]).expect("swept");
    assert!(!site.instance(&release(2)).exists());
    assert!(site.instance(&release(1)).exists() && site.instance(&release(3)).exists());
    assert!(site.root().join("releases/notes.txt").exists());
    site.store.seal(&site.order(3)).expect("it goes on");
}
