//! Only the address is replaced, and a crash between two steps is seen.

use super::*;

fn site(shape: Shape, file: &Path) -> Adopted {
    let text = match shape {
        Shape::SetVariable => "server { listen 80; include sel; location / { proxy_pass $up; } }",
        Shape::EditedUpstream | Shape::LinkedUpstream => {
            "include sel; server { listen 80; location / { proxy_pass http://app; } }"
        }
    };
    let selector = match shape {
        Shape::SetVariable => "set $up http://127.0.0.1:9011;",
        Shape::EditedUpstream | Shape::LinkedUpstream => "upstream app { server 127.0.0.1:9011; }",
    };
    let text = text.replace("sel", &file.display().to_string());
    let dump = format!(
        "# configuration file /etc/nginx/nginx.conf:\nhttp {{ {text} }}\n\n# configuration file {}:\n{selector}\n\n",
        file.display()
    );
    let dump = alcedo_core::nginx::parse_dump(&dump).unwrap();
    alcedo_core::nginx::adopt(&dump, &alcedo_core::nginx::Beside::default()).remove(0)
}

/// S0-D3: the comment and every other number stay; S0-38: nothing is edited in place.
#[test]
fn only_the_address_is_replaced() {
    let file = Path::new("/etc/nginx/conf.d/up.conf");
    let app = AppName::new("shop").unwrap();
    let text = "upstream app {\n    server 127.0.0.1:9011;  # blue is live, not :9012;\n}\n";
    let after = changed(
        &app,
        &site(Shape::EditedUpstream, file),
        &Was::Text(text.to_owned()),
        "127.0.0.1:8080",
    );
    let Some(Was::Text(after)) = after else { panic!("{after:?}") };
    assert!(
        after.ends_with(
            "upstream app {\n    server 127.0.0.1:8080;  # blue is live, not :9012;\n}\n"
        ),
        "{after}"
    );
    let set = "set $up http://127.0.0.1:9011;\n";
    let after = changed(
        &app,
        &site(Shape::SetVariable, file),
        &Was::Text(set.to_owned()),
        "127.0.0.1:8080",
    );
    let Some(Was::Text(after)) = after else { panic!("{after:?}") };
    assert!(after.ends_with("set $up http://127.0.0.1:8080;\n"), "{after}");
}

#[test]
fn two_addresses_are_no_choice_of_ours() {
    let app = AppName::new("shop").unwrap();
    let text = "upstream app {\n server 127.0.0.1:9011;\n server 127.0.0.1:9012;\n}\n".to_owned();
    let site = site(Shape::EditedUpstream, Path::new("/etc/nginx/up.conf"));
    assert_eq!(changed(&app, &site, &Was::Text(text), "127.0.0.1:8080"), None);
}

/// S0-39, S3-25: the two colours' files stay, the link leads beside them, and back.
#[test]
fn link_is_replaced_by_one_beside_it_and_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let app = AppName::new("shop").unwrap();
    crate::files::write_atomically(
        &path("blue.conf"),
        b"upstream app { \nserver 127.0.0.1:9011;\n }\n",
        0o644,
    )
    .unwrap();
    std::os::unix::fs::symlink("blue.conf", path("upstream.conf")).unwrap();
    let file = path("upstream.conf");
    let before = files::read(&file, &ours(&app, &file)).unwrap();
    let after =
        changed(&app, &site(Shape::LinkedUpstream, &file), &before, "127.0.0.1:8080").unwrap();
    files::put(&file, &after).unwrap();
    assert!(fs::read_to_string(&file).unwrap().contains("127.0.0.1:8080"));
    assert_eq!(files::read(&file, &ours(&app, &file)).unwrap(), after);
    assert!(fs::read_to_string(path("blue.conf")).unwrap().contains("9011"));
    files::put(&file, &before).unwrap();
    assert_eq!(fs::read_link(&file).unwrap(), Path::new("blue.conf"));
}
