//! `[shared]`: seeded once, linked or copied, never overwritten.

use super::*;

fn shared_site() -> Site {
    let mut site = Site::new();
    site.config.shared.dirs = vec![PathBuf::from("public/uploads")];
    site.config.shared.files = vec![PathBuf::from(".env")];
    site.write("public/index.php", "x").write("public/uploads/logo.png", "logo v1");
    site.write("public/uploads/deep/er/a", "a").write(".env", "KEY=one");
    fs::create_dir_all(site.source().join("public/uploads/empty")).expect("directory");
    site
}

#[test]
fn a_shared_directory_is_a_link_and_is_seeded_once() {
    // S0-D6: `ln -s` onto a directory that the build ships made uploads/uploads.
    let site = shared_site();
    let (instance, fetched, _) = site.make(1);
    let link = instance.join("public/uploads");
    let shared = site.root().join("shared/public/uploads");
    assert_eq!(fs::read_link(&link).expect("a link"), shared);
    assert_eq!(listing(&shared), ["deep", "deep/er", "deep/er/a", "empty", "logo.png"]);
    assert!(fetched.notices[0].contains("seeded"), "{:?}", fetched.notices);
    fs::remove_file(shared.join("deep/er/a")).expect("a user removed it");
    put(&shared.join("mine.png"), "an upload");
    site.write("public/uploads/logo.png", "logo v2").write("public/uploads/new.png", "new");
    let (instance, fetched, _) = site.make(2);
    assert_eq!(listing(&shared), ["deep", "deep/er", "empty", "logo.png", "mine.png"]);
    assert_eq!(read(instance.join("public/uploads/logo.png")), "logo v1");
    let notice = "public/uploads is shared; what the build ships there was left out";
    assert!(fetched.notices.iter().any(|n| n == notice), "{:?}", fetched.notices);
    assert_eq!(site.verify(2), [""; 0]);
}

#[test]
fn uploads_that_were_there_before_alcedo_are_not_overwritten() {
    let site = shared_site();
    put(&site.root().join("shared/public/uploads/logo.png"), "theirs");
    let (instance, ..) = site.make(1);
    assert_eq!(read(instance.join("public/uploads/logo.png")), "theirs");
    assert_eq!(read(instance.join("public/uploads/deep/er/a")), "a", "gaps are filled");
}

#[test]
fn a_shared_file_is_a_private_copy() {
    let site = shared_site();
    let (first, ..) = site.make(1);
    let shared = site.root().join("shared/.env");
    assert_eq!((mode(&shared), mode(&first.join(".env"))), (0o600, 0o400));
    fs::write(&shared, "KEY=two").expect("edited");
    let (second, ..) = site.make(2);
    assert_eq!(
        read(first.join(".env")),
        "KEY=one",
        "a running slot keeps what it was started with"
    );
    assert_eq!(read(second.join(".env")), "KEY=two");
}

#[test]
fn a_missing_shared_file_says_what_to_create() {
    let site = shared_site();
    fs::remove_file(site.source().join(".env")).expect("removed");
    let refusal = site.refusal(&site.order(1));
    let path = site.root().join("shared/.env");
    assert!(refusal.contains(&format!("create {}", path.display())), "{refusal}");
}

#[test]
fn a_file_where_a_shared_directory_is_needed_is_refused() {
    let site = shared_site();
    fs::remove_dir_all(site.source().join("public/uploads")).expect("removed");
    site.write("public/uploads", "a file");
    let refusal = site.refusal(&site.order(1));
    assert!(refusal.contains("share public/uploads") && refusal.contains("a file"), "{refusal}");
    fs::remove_dir_all(site.source().join("public")).expect("removed");
    site.write("public", "a file");
    let refusal = site.refusal(&site.order(1));
    assert!(refusal.contains("in its place"), "{refusal}");
}

#[test]
fn a_file_in_the_place_of_the_shared_directory_itself_is_refused() {
    let site = shared_site();
    put(&site.root().join("shared/public"), "a file");
    let refusal = site.refusal(&site.order(1));
    assert!(refusal.contains("shared/public"), "{refusal}");
}

#[test]
fn a_link_in_the_source_does_not_decide_where_shared_files_are() {
    let site = shared_site();
    fs::remove_dir_all(site.source().join("public/uploads")).expect("removed");
    std::os::unix::fs::symlink("/etc", site.source().join("public/uploads")).expect("link");
    let (instance, ..) = site.make(1);
    let target = fs::read_link(instance.join("public/uploads")).expect("link");
    assert_eq!(target, site.root().join("shared/public/uploads"));
}
