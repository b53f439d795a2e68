//! Configuration and facts to a binding.

use super::{SMALL, config};
use crate::binding::{Address, BindingId};
use crate::config::{BindError, BindFacts, ExpandError, bind};
use crate::names::{DeployId, ReleaseId, ServiceName};
use crate::slot::Slot;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub(super) fn facts(services: &[(&str, u16)]) -> BindFacts {
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    BindFacts {
        id: BindingId::new(DeployId(42), Slot::Green),
        slot: Slot::Green,
        release: ReleaseId::new("r20261120-191405-4be1c07").expect("an id"),
        instance: PathBuf::from("/srv/shop/releases/r20261120-191405-4be1c07"),
        addresses: services
            .iter()
            .map(|(name, port)| (ServiceName::new(*name).expect("a name"), address(*port)))
            .collect(),
        socket_dir: PathBuf::from("/run/alcedo/shop/green"),
        php_fpm: BTreeMap::from([(
            ServiceName::new("web").expect("a name"),
            PathBuf::from("/usr/sbin/php-fpm8.2"),
        )]),
        inherited: BTreeMap::from([
            ("PATH".to_owned(), "/usr/bin".to_owned()),
            ("HOME".to_owned(), "/home/shop".to_owned()),
            ("SSH_AUTH_SOCK".to_owned(), "/tmp/agent".to_owned()),
        ]),
        active_file: PathBuf::from("/run/alcedo/shop/green.active"),
    }
}

/// S3-6, S3-7: the port and the colour as flags.
#[test]
fn command_gets_port_slot_and_release() {
    let config = config(
        "app = \"shop\"\nweb.command = \"./api --port {port} --color {slot} {release} {x} {{port}}\"\nweb.dir = \"bin\"\n",
    );
    let binding = bind(&config, facts(&[("web", 20110)])).expect("it can be bound");
    let process = &binding.processes[0];
    let release = "r20261120-191405-4be1c07";
    assert_eq!(
        process.argv,
        ["./api", "--port", "20110", "--color", "green", release, "{x}", "{20110}"]
    );
    assert_eq!(process.dir, PathBuf::from(format!("/srv/shop/releases/{release}/bin")));
    assert_eq!(process.address, Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 20110))));
    assert_eq!(
        (binding.app.as_str(), binding.slot, binding.id.as_str()),
        ("shop", Slot::Green, "d42-green")
    );
}

#[test]
fn environment_is_inherited_then_the_apps_then_alcedos() {
    let config = config(&format!("{SMALL}env = {{ HOME = \"/srv/shop\", LOG = \"info\" }}"));
    let binding = bind(&config, facts(&[("web", 20110)])).expect("it can be bound");
    let env: Vec<String> =
        binding.processes[0].env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        env,
        [
            "ALCEDO_ACTIVE_FILE=/run/alcedo/shop/green.active",
            "ALCEDO_APP=shop",
            "ALCEDO_ENVIRONMENT=production",
            "ALCEDO_RELEASE=r20261120-191405-4be1c07",
            "ALCEDO_SLOT=green",
            "HOME=/srv/shop",
            "LOG=info",
            "PATH=/usr/bin",
            "PORT=20110",
        ]
    );
}

#[test]
fn variables_are_replaced_once_and_only_where_no_quote_forbids_it() {
    let config = config(
        "app = \"shop\"\nweb.command = \"app $PORT ${A}b '$A' \\\\$A x$ $$\"\nenv.A = \"a {slot} $HOME\"\n",
    );
    let binding = bind(&config, facts(&[("web", 7)])).expect("it can be bound");
    assert_eq!(binding.processes[0].argv, ["app", "7", "a {slot} $HOMEb", "$A", "$A", "x$", "$"]);
}

#[test]
fn unknown_variable_is_named() {
    let config = config("app = \"shop\"\nweb.command = \"app --db=$DATABASE_URL\"\n");
    let error = bind(&config, facts(&[("web", 7)])).expect_err("there is no such variable");
    let BindError::Command { source, .. } = error else { panic!("{error}") };
    assert_eq!(
        source,
        ExpandError::UnknownName {
            name: "DATABASE_URL".to_owned(),
            word: "--db=$DATABASE_URL".to_owned()
        }
    );
    assert!(source.to_string().contains("add it to [env]"));
}

#[test]
fn command_with_socket_listens_on_it() {
    let config = config("app = \"shop\"\nweb.command = \"gunicorn --bind unix:{socket} app\"\n");
    let binding = bind(&config, facts(&[])).expect("it can be bound");
    let process = &binding.processes[0];
    assert_eq!(process.address, Address::Unix(PathBuf::from("/run/alcedo/shop/green/web.sock")));
    assert_eq!(process.argv[2], "unix:/run/alcedo/shop/green/web.sock");
    assert!(!process.env.contains_key("PORT"));
}

#[test]
fn socket_path_that_linux_cannot_bind_is_refused() {
    let config = config("app = \"shop\"\nweb.command = \"app {socket}\"\n");
    let facts = BindFacts { socket_dir: PathBuf::from("/").join("x".repeat(120)), ..facts(&[]) };
    assert!(matches!(bind(&config, facts), Err(BindError::Socket { .. })));
}

#[test]
fn service_without_an_address_is_refused() {
    assert!(matches!(bind(&config(SMALL), facts(&[])), Err(BindError::NoAddress { .. })));
}

#[test]
fn probes_ask_with_the_host_that_users_ask_for() {
    let text = format!("{SMALL}health.path = \"/up\"\nrouter.domains = [\"shop.example\"]");
    let binding = bind(&config(&text), facts(&[("web", 7)])).expect("it can be bound");
    assert_eq!(binding.processes[0].health.host.as_deref(), Some("shop.example"));
}

#[test]
fn environment_is_part_of_the_name_on_the_host() {
    let text = format!("{SMALL}environments.staging.env.A = \"b\"");
    let binding = bind(&super::config_in(&text, "staging"), facts(&[("web", 7)])).expect("bound");
    let env = &binding.processes[0].env;
    assert_eq!((binding.app.as_str(), binding.environment.as_str()), ("shop-staging", "staging"));
    assert_eq!(
        (env["ALCEDO_APP"].as_str(), env["ALCEDO_ENVIRONMENT"].as_str()),
        ("shop", "staging")
    );
}
