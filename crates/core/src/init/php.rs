//! PHP: a pool per slot where this version has one, a real application server, and `php -S` only when there is nothing else.

use super::directory::Directory;
use super::draft::Draft;
use super::node;
use crate::config::{self, Input};
use crate::lint::Severity;
use serde_json::{Value, json};

/// `None`: there is neither `composer.json` nor a front controller.
pub(super) fn detect(dir: &Directory) -> Option<Draft> {
    let composer: Value =
        dir.text("composer.json").and_then(|t| serde_json::from_str(t).ok()).unwrap_or_default();
    let root = ["public", "web", "www", "htdocs"]
        .into_iter()
        .find(|root| dir.has(&format!("{root}/index.php")));
    let root = root.or_else(|| dir.has("index.php").then_some("."))?;
    let requires = |name: &str| composer["require"].get(name).is_some();
    let (kind, is_laravel, is_symfony) =
        match (requires("laravel/framework"), requires("symfony/framework-bundle")) {
            (true, _) => ("Laravel", true, false),
            (false, true) => ("Symfony", false, true),
            (false, false) => ("PHP", false, false),
        };
    let mut draft = Draft::new(kind, composer["name"].as_str().unwrap_or_default(), &dir.name)?;
    let install = dir.has("composer.json").then(|| "composer install --no-dev -o".to_owned());
    let build: Vec<String> = install.into_iter().chain(node::asset_build(dir)).collect();
    if !build.is_empty() {
        draft.set("release.build", build.join(" && "), "composer.json");
        draft.list("release.exclude", &["node_modules"], "needed for the build alone");
    }
    if is_laravel {
        draft.set(
            "release.prepare",
            "php artisan optimize",
            "artisan; its caches hold paths of the release",
        );
        draft.list("release.writable", &["bootstrap/cache"], "Laravel writes its caches there");
    }
    if is_symfony {
        draft.set("release.prepare", "php bin/console cache:clear --env=prod", "bin/console");
        draft.set("env.APP_ENV", "prod", "Symfony's own default is `dev`");
        draft.list("release.writable", &["var"], "Symfony writes caches and logs there");
    }
    serve(dir, &composer, root, &mut draft);
    Some(draft)
}

/// How it is served: the one place to choose.
fn serve(dir: &Directory, composer: &Value, root: &str, draft: &mut Draft) {
    let from = format!("{root}/index.php");
    if dir.has(".rr.yaml") {
        let command = "./rr serve -o http.address=127.0.0.1:{port}";
        return draft.set("web.command", command, ".rr.yaml: RoadRunner");
    }
    if composer["require"].get("laravel/octane").is_some() {
        let command = "php artisan octane:start --host=127.0.0.1 --port={port}";
        return draft.set("web.command", command, "composer.json: laravel/octane");
    }
    if has_php_fpm() {
        draft.set("runner", "systemd", "a pool of PHP-FPM for each slot");
        draft.set("web.php_fpm", json!({ "root": root, "children": 4 }), from);
        return draft.set("router.kind", "nginx", "serves the files of the live slot's release");
    }
    draft.set("web.command", format!("php -S 127.0.0.1:{{port}} -t {root}"), from);
    draft.set("env.PHP_CLI_SERVER_WORKERS", "4", "otherwise one request at a time");
    draft.note(
        "unit.dev-server",
        Severity::Warning,
        "web.command",
        "`php -S` is a development server: pools of PHP-FPM are not in this version",
        "FrankenPHP or RoadRunner as web.command; both take {port}",
    );
}

/// Whether this version's configuration knows pools.
fn has_php_fpm() -> bool {
    let text = "app = \"a\"\nrunner = \"systemd\"\nrouter.kind = \"nginx\"\nweb.php_fpm = { root = \"public\", children = 4 }\n";
    config::load(Input { text, file: "alcedo.toml", environment: None }).is_ok()
}
