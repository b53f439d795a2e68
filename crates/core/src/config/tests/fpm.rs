//! `php_fpm`: what is refused beside it, and what a slot's pool is made from.

use super::{bind::facts, complaints, loaded};
use crate::binding::Address;
use crate::config::bind;
use insta::assert_snapshot;
use std::path::Path;

const POOL: &str = "app = \"shop\"\nweb.php_fpm = { root = \"public\", children = 3 }\n";

#[test]
fn pool_wants_a_router_that_speaks_fastcgi_and_no_command_beside_it() {
    assert_snapshot!(complaints(&format!("{POOL}web.command = \"php -S\"\n")), @r#"
    alcedo.toml:2: `web.php_fpm` needs a router that speaks FastCGI, and `router.kind` is `embedded`
      2 | web.php_fpm = { root = "public", children = 3 }
        |     ^^^^^^^ router.kind = "nginx"
    alcedo.toml:3: `web.command` stands beside `web.php_fpm`, which is started by itself
      3 | web.command = "php -S"
        |     ^^^^^^^ one of the two
    "#);
}

#[test]
fn pool_without_a_root_or_with_a_strange_version_is_refused() {
    let text = "app = \"a\"\nweb.php_fpm = { children = 3 }\nrouter.kind = \"nginx\"\n";
    assert!(complaints(text).contains("alcedo.toml:2: `web.php_fpm` has no `root`"));
    let text =
        "app = \"a\"\nweb.php_fpm = { root = \".\", version = \"8\" }\nrouter.kind = \"nginx\"\n";
    assert!(complaints(text).contains("which is no version of PHP"), "{}", complaints(text));
    let text =
        "app = \"a\"\nweb.php_fpm = { root = \".\", children = 0 }\nrouter.kind = \"nginx\"\n";
    assert!(complaints(text).contains("alcedo.toml:2: `web.php_fpm.children`"));
}

/// S0-4, S0-35, S0-D9: its own socket, `pm = static`, and PHP's own server nowhere.
#[test]
fn pool_of_a_unit_listens_on_a_socket_of_its_slot() {
    let config = loaded(&format!("{POOL}runner = \"systemd\"\nrouter.kind = \"nginx\"\n")).config;
    let binding = bind(&config, facts(&[])).expect("it can be bound");
    let process = &binding.processes[0];
    let socket = Path::new("/run/alcedo/shop/green/web.sock");
    assert_eq!(process.address, Address::Unix(socket.to_owned()));
    assert_eq!(process.stop.signal, "SIGQUIT");
    let pool = process.pool.as_ref().expect("a pool");
    let release = "/srv/shop/releases/r20261120-191405-4be1c07";
    assert_eq!(pool.root, Path::new(release).join("public"));
    for line in [
        "listen = /run/alcedo/shop/green/web.sock",
        "listen.mode = 0660",
        "pm = static",
        "pm.max_children = 3",
        "process_control_timeout = 19s",
        &format!("chdir = {release}"),
    ] {
        assert!(pool.text.lines().any(|found| found == line), "{line} in {}", pool.text);
    }
    let argv = process.argv.join(" ");
    assert!(argv.starts_with("/usr/sbin/php-fpm8.2 --nodaemonize"), "{argv}");
    assert!(argv.ends_with("--fpm-config /run/alcedo/shop/green/web.conf"), "{argv}");
}

/// nginx's user and ours share no directory there.
#[test]
fn pool_of_a_process_listens_on_a_port_of_its_slot() {
    let config = loaded(&format!("{POOL}router.kind = \"nginx\"\n")).config;
    let binding = bind(&config, facts(&[("web", 20110)])).expect("it can be bound");
    let pool = binding.processes[0].pool.as_ref().expect("a pool");
    assert!(pool.text.contains("\nlisten = 127.0.0.1:20110\n"), "{}", pool.text);
}
