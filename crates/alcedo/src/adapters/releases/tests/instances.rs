//! The same release with other shared files.

use super::*;
use crate::engine::ports::Instance;

fn located(site: &Site) -> (PathBuf, Instance) {
    site.store.locate(&site.order_of(1, Source::Kept)).expect("an instance")
}

#[test]
fn an_edited_env_file_gets_an_instance_of_its_own() {
    let mut site = Site::new();
    site.config.shared.files = vec![PathBuf::from(".env")];
    site.config.shared.dirs = vec![PathBuf::from("uploads")];
    site.config.release.writable = vec![PathBuf::from("tmp")];
    site.write("app/main", "x").write(".env", "KEY=one");
    let (first, ..) = site.make(1);
    assert_eq!(located(&site), (first.clone(), Instance::Sealed));
    fs::write(site.root().join("shared/.env"), "KEY=two").expect("edited");
    let made = site.root().join("releases").join(format!("{}~1", release(1)));
    assert_eq!(located(&site), (made.clone(), Instance::Missing));
    site.fetch(&site.order_of(1, Source::Kept)).expect("fetched");
    assert_eq!(listing(&made), [".env", "app", "app/main", "tmp", "uploads"]);
    assert_eq!(read(made.join(".env")), "KEY=two");
    assert_eq!(read(first.join(".env")), "KEY=one");
    site.store.seal(&site.order_of(1, Source::Kept)).expect("sealed");
    assert_eq!(located(&site), (made.clone(), Instance::Sealed));
    fs::write(site.root().join("shared/.env"), "KEY=one").expect("edited back");
    assert_eq!(located(&site).0, first);
    assert_eq!(site.store.list(&site.root()).expect("list").len(), 1, "it is one release");
    assert_eq!(site.verify(1), [""; 0]);
    site.store.remove(&site.root(), &release(1)).expect("removed");
    assert!(!made.exists() && !first.exists());
}

#[test]
fn a_changed_environment_counts_only_where_prepare_sees_it() {
    let mut site = Site::new();
    let (first, ..) = site.write("app", "x").make(1);
    site.config.env.insert("LEVEL".to_owned(), "debug".to_owned());
    assert_eq!(located(&site).0, first);
    site.config.release.prepare = Some("true".to_owned());
    assert_eq!(located(&site).1, Instance::Missing);
}

#[test]
fn an_unsealed_instance_is_discarded_and_a_sealed_one_never() {
    let mut site = Site::new();
    site.config.shared.files = vec![PathBuf::from(".env")];
    let (first, ..) = site.write("app", "x").write(".env", "KEY=one").make(1);
    fs::write(site.root().join("shared/.env"), "KEY=two").expect("edited");
    site.fetch(&site.order_of(1, Source::Kept)).expect("fetched");
    let made = located(&site).0;
    for instance in [&made, &first] {
        site.store.discard(&site.root(), instance).expect("discarded");
    }
    assert!(!made.exists() && first.exists());
    assert_eq!(site.verify(1), [""; 0]);
}

#[test]
fn a_release_that_is_not_kept_has_no_instance() {
    let site = Site::new();
    site.write("app", "x").make(2);
    let order = site.order_of(1, Source::Kept);
    let refused = site.store.locate(&order).expect_err("refused");
    assert!(told(refused).contains("not kept"));
    assert!(site.refusal(&order).contains("not kept"));
}
