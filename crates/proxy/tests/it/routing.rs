//! Hosts and paths find their service.

use crate::support::{Backend, Bench, LIMIT, Wire, anywhere, route, target};
use alcedo_proxy::control::{ClientError, FailureKind};
use alcedo_proxy::state::Structure;

fn on(domains: &[&str]) -> Structure {
    Structure { domains: domains.iter().map(ToString::to_string).collect(), ..anywhere() }
}

fn ask(wire: &mut Wire, host: &str, path: &str) -> (u16, String) {
    let answer = wire.ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    (answer.status(), answer.text().to_owned())
}

#[test]
fn hosts_paths_and_prefixes_lead_to_their_service() {
    let (shop, api, blog) = (Backend::named("shop"), Backend::named("api"), Backend::named("blog"));
    let bench = Bench::start();
    let mut with_api = target("one", shop.address);
    with_api.routes.push(route("/api", api.address));
    let address = bench.serve_as("shop", on(&["shop.example"]), with_api);
    bench.serve_as("blog", on(&["blog.example"]), target("one", blog.address));
    let mut wire = Wire::connect(address);
    assert_eq!(ask(&mut wire, "shop.example", "/").1, "shop");
    assert_eq!(ask(&mut wire, "SHOP.example:80", "/apix").1, "shop");
    assert_eq!(ask(&mut wire, "shop.example", "/api/x?y").1, "api");
    assert_eq!(ask(&mut wire, "blog.example", "/api").1, "blog");
    assert_eq!(ask(&mut wire, "else.example", "/").0, 404);
    bench.client().forget("blog", LIMIT).unwrap();
    assert_eq!(ask(&mut wire, "blog.example", "/").0, 404);
}

#[test]
fn alias_is_redirected_to_the_first_domain() {
    let backend = Backend::named("x");
    let bench = Bench::start();
    let structure =
        Structure { aliases: vec!["www.shop.example".to_owned()], ..on(&["shop.example"]) };
    let mut wire = Wire::connect(bench.serve_as("shop", structure, target("one", backend.address)));
    let answer = wire.ask("GET /a?b HTTP/1.1\r\nHost: www.shop.example\r\n\r\n");
    assert_eq!(
        (answer.status(), answer.header("location")),
        (301, Some("http://shop.example/a?b"))
    );
    let answer = wire.ask("GET /a HTTP/1.1\r\nHost: www.shop.example:8080\r\n\r\n");
    assert_eq!(answer.header("location"), Some("http://shop.example:8080/a"));
    let answer = wire.ask("POST / HTTP/1.1\r\nHost: www.shop.example\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(answer.status(), 308);
}

#[test]
fn what_another_service_owns_is_refused_by_name_and_changes_nothing() {
    let bench = Bench::start();
    let mut client = bench.client();
    client.configure("shop", on(&["shop.example"]), LIMIT).unwrap();
    let error = client.configure("aaa", on(&["Shop.example"]), LIMIT).unwrap_err();
    let ClientError::Failed(failure) = error else { panic!("{error}") };
    assert_eq!(failure.kind, FailureKind::Claimed);
    assert_eq!(failure.message, "configure aaa: shop.example/ belongs to shop already");
    assert_eq!(client.observe("aaa", LIMIT).unwrap(), None);
    client.configure("rest", anywhere(), LIMIT).unwrap();
    let error = client.configure("zzz", anywhere(), LIMIT).unwrap_err();
    assert_eq!(error.to_string(), "configure zzz: every host belongs to rest already");
    client.configure("shop", on(&["shop.example", "more.example"]), LIMIT).unwrap();
}

#[test]
fn service_without_target_says_so_and_maintenance_lets_the_health_path_through() {
    let backend = Backend::named("x");
    let bench = Bench::start();
    let mut client = bench.client();
    let structure = Structure { health_path: Some("/healthz".to_owned()), ..anywhere() };
    let observed = client.configure("web", structure, LIMIT).unwrap();
    let mut wire = Wire::connect(crate::support::address(&observed));
    let answer = wire.get("/");
    assert_eq!((answer.status(), answer.header("retry-after")), (503, Some("5")));
    client.switch("web", 0, "op", target("one", backend.address), LIMIT).unwrap();
    assert_eq!(wire.get("/").status(), 200);
    client.maintenance("web", true, LIMIT).unwrap();
    let page = wire.ask("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n");
    assert_eq!(page.status(), 503);
    assert!(page.text().contains("<h1>Maintenance</h1>"));
    assert_eq!(wire.get("/healthz").status(), 200);
    client.maintenance("web", false, LIMIT).unwrap();
    assert_eq!(wire.get("/").status(), 200);
}

#[test]
fn thousand_services_share_a_listener() {
    let backend = Backend::echo();
    let bench = Bench::start();
    let mut client = bench.client();
    let mut address = None;
    for n in 0..1000 {
        let name = format!("s{n}");
        let observed = client.configure(&name, on(&[&format!("{name}.example")]), LIMIT).unwrap();
        address = Some(crate::support::address(&observed));
        if n % 100 == 0 {
            client.switch(&name, 0, "op", target(&name, backend.address), LIMIT).unwrap();
        }
    }
    let mut wire = Wire::connect(address.unwrap());
    for n in (0..1000).step_by(100) {
        let answer = wire.ask(format!("GET / HTTP/1.1\r\nHost: s{n}.example\r\n\r\n"));
        assert_eq!(answer.header("x-alcedo-release"), Some(format!("s{n}").as_str()));
    }
    assert_eq!(client.list(LIMIT).unwrap().len(), 1000);
}
