//! Directories as people have them, each written and read back by the real parser.

use super::*;
use std::collections::BTreeMap;

fn dir(name: &str, files: &[(&str, &str)]) -> Directory {
    let files: BTreeMap<String, String> =
        files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    Directory { name: name.to_owned(), files }
}

fn draft(name: &str, files: &[(&str, &str)]) -> Draft {
    detect(&dir(name, files)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn text<'a>(draft: &'a Draft, key: &str) -> &'a str {
    draft.get(key).and_then(serde_json::Value::as_str).unwrap_or("nothing")
}

fn notes(draft: &Draft) -> Vec<&str> {
    draft.notes.iter().map(|note| note.id.as_str()).collect()
}

/// S1: FastAPI behind gunicorn with uvicorn's workers.
#[test]
fn fastapi_with_gunicorn_gets_both_and_a_virtualenv_of_each_release() {
    let main = "from fastapi import FastAPI\n\napp = FastAPI()\n\n@app.get(\"/healthz\")\ndef healthz(): ...\n";
    let draft = draft(
        "saltbox",
        &[
            ("main.py", main),
            ("requirements.txt", "fastapi==0.115.12\nuvicorn[standard]\ngunicorn\n"),
        ],
    );
    assert_eq!(draft.app.as_str(), "saltbox");
    assert_eq!(
        text(&draft, "web.command"),
        "venv/bin/gunicorn --workers 2 --worker-class uvicorn.workers.UvicornWorker --bind 127.0.0.1:{port} main:app"
    );
    assert!(text(&draft, "release.prepare").starts_with("python3 -m venv venv && "));
    assert_eq!(text(&draft, "health.path"), "/healthz");
    assert!(notes(&draft).is_empty(), "{:?}", draft.notes);
    assert!(render(&draft).contains("main.py:5"), "{}", render(&draft));
}

#[test]
fn python_without_a_server_among_its_dependencies_is_told() {
    let draft = draft(
        "api",
        &[("src/api/main.py", "api = FastAPI()\n"), ("requirements.txt", "fastapi\n")],
    );
    assert!(
        text(&draft, "web.command")
            .ends_with("uvicorn --host 127.0.0.1 --port {port} api.main:api")
    );
    assert_eq!(notes(&draft), ["python.server", "health.none"]);
}

#[test]
fn flask_by_object_and_by_factory() {
    let plain = draft(
        "shop",
        &[
            ("app.py", "app = Flask(__name__)\n@app.route('/up')\n"),
            ("requirements.txt", "flask\ngunicorn\n"),
        ],
    );
    assert_eq!(
        text(&plain, "web.command"),
        "venv/bin/gunicorn --workers 2 --bind 127.0.0.1:{port} app:app"
    );
    assert_eq!(text(&plain, "health.path"), "/up");
    let made = draft(
        "shop",
        &[
            ("shop/__init__.py", "def create_app():\n    app = Flask(__name__)\n"),
            (
                "pyproject.toml",
                "[project]\nname = \"Shop_Front\"\ndependencies = [\"flask\", \"gunicorn\"]\n",
            ),
        ],
    );
    assert!(text(&made, "web.command").ends_with("'shop:create_app()'"));
    assert_eq!(made.app.as_str(), "shop-front");
}

#[test]
fn django_by_its_wsgi_module_with_its_static_files_and_its_own_slashes() {
    let draft = draft(
        "site",
        &[
            ("manage.py", "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')\n"),
            ("mysite/wsgi.py", "application = get_wsgi_application()\n"),
            ("mysite/settings.py", "STATIC_ROOT = BASE_DIR / 'static'\n"),
            ("mysite/urls.py", "urlpatterns = [path(\"healthz/\", ok)]\n"),
            ("db.sqlite3", ""),
            ("requirements.txt", "Django\ngunicorn\n"),
        ],
    );
    assert!(text(&draft, "web.command").ends_with("mysite.wsgi:application"));
    assert!(
        text(&draft, "release.prepare")
            .ends_with("venv/bin/python manage.py collectstatic --noinput")
    );
    assert_eq!(text(&draft, "health.path"), "/healthz/");
    // S3-1: a database beside the code is no shared one.
    assert_eq!(notes(&draft), ["migrate.by-hand", "shared.sqlite"]);
}

#[test]
fn node_is_started_without_npm_in_between() {
    let package = r#"{"name":"@acme/Shop","scripts":{"start":"NODE_OPTIONS=--enable-source-maps node dist/server.js","build":"tsc"},"dependencies":{"express":"4"}}"#;
    let draft = draft(
        "x",
        &[
            ("package.json", package),
            ("package-lock.json", "{}"),
            ("src/server.ts", "app.get('/health', ok); app.listen(process.env.PORT)\n"),
        ],
    );
    assert_eq!(draft.app.as_str(), "shop");
    assert_eq!(text(&draft, "web.command"), "node dist/server.js");
    assert_eq!(text(&draft, "env.NODE_OPTIONS"), "--enable-source-maps");
    assert_eq!(text(&draft, "release.build"), "npm ci && npm run build");
    assert_eq!(text(&draft, "release.prepare"), "npm ci --omit=dev");
    assert_eq!(text(&draft, "health.path"), "/health");
}

#[test]
fn next_gets_its_port_and_its_program_from_the_packages() {
    let package = r#"{"name":"web","scripts":{"start":"next start","build":"next build"},"dependencies":{"next":"15"}}"#;
    let draft = draft(
        "x",
        &[("package.json", package), ("pnpm-lock.yaml", ""), ("app/api/health/route.ts", "")],
    );
    assert_eq!(text(&draft, "web.command"), "node_modules/.bin/next start --port {port}");
    assert_eq!(text(&draft, "release.prepare"), "pnpm install --frozen-lockfile --prod");
    assert_eq!(text(&draft, "health.path"), "/api/health");
}

/// S3-6, S3-7: the post's own server.
#[test]
fn go_server_of_the_post_gets_its_flags() {
    let main = "package main\nfunc main() {\n\tvar port = flag.String(\"port\", \"\", \"\")\n\tvar color = flag.String(\"color\", \"\", \"\")\n\thttp.HandleFunc(\"/healthz\", ok)\n}\n";
    let draft =
        draft("x", &[("go.mod", "module bluegreen-demo\n\ngo 1.22\n"), ("cmd/main.go", main)]);
    assert_eq!(text(&draft, "web.command"), "./bluegreen-demo --port {port} --color {slot}");
    assert_eq!(text(&draft, "release.source"), "dist/bluegreen-demo");
    assert!(text(&draft, "release.build").ends_with("-o dist/bluegreen-demo ./cmd"));
    assert_eq!(text(&draft, "health.path"), "/healthz");
}

#[test]
fn go_with_several_programs_takes_the_server_and_names_the_rest() {
    let main = "package main\nfunc main() { os.Getenv(\"PORT\") }\n";
    let draft = draft(
        "x",
        &[
            ("go.mod", "module example.com/shop/v2\n"),
            ("cmd/migrate/main.go", main),
            ("cmd/server/main.go", main),
        ],
    );
    assert!(text(&draft, "release.build").ends_with("./cmd/server"));
    assert_eq!(text(&draft, "web.command"), "./shop");
    assert_eq!(notes(&draft), ["program.other", "health.none"]);
}

#[test]
fn rust_binary_by_flag_or_by_variable() {
    let by_flag = draft(
        "x",
        &[
            ("Cargo.toml", "[package]\nname = \"shop\"\n"),
            ("Cargo.lock", ""),
            (
                "src/main.rs",
                "use clap::Parser;\nstruct Args {\n    #[arg(long)]\n    port: u16,\n}\n// \"/up\" is not here\n",
            ),
        ],
    );
    assert_eq!(text(&by_flag, "web.command"), "./shop --port {port}");
    assert_eq!(text(&by_flag, "release.build"), "cargo build --release --locked");
    assert_eq!(notes(&by_flag), ["health.none"]);
    let by_variable = draft(
        "x",
        &[
            ("Cargo.toml", "[workspace]\nmembers = [\"crates/web\"]\n"),
            ("crates/web/Cargo.toml", "[package]\nname = \"web\"\n"),
            ("crates/web/src/main.rs", "env::var(\"PORT\"); route(\"/healthz\", ok)\n"),
        ],
    );
    assert_eq!(text(&by_variable, "web.command"), "./web");
    assert_eq!(text(&by_variable, "health.path"), "/healthz");
}

#[test]
fn laravel_shares_its_storage_and_its_settings() {
    let draft = draft(
        "x",
        &[
            ("composer.json", r#"{"name":"acme/shop","require":{"laravel/framework":"^11"}}"#),
            ("artisan", ""),
            ("public/index.php", "<?php\n"),
            ("storage/app/.gitignore", "*"),
            (".env.example", "APP_KEY=\n"),
            ("bootstrap/app.php", "health: '/up',\n"),
            ("package.json", r#"{"scripts":{"build":"vite build"}}"#),
            ("package-lock.json", "{}"),
        ],
    );
    assert_eq!(draft.app.as_str(), "shop");
    assert_eq!(
        text(&draft, "release.build"),
        "composer install --no-dev -o && npm ci && npm run build"
    );
    assert_eq!(draft.get("shared.dirs"), Some(&serde_json::json!(["storage"])));
    assert_eq!(draft.get("shared.files"), Some(&serde_json::json!([".env"])));
    assert_eq!(text(&draft, "health.path"), "/up");
}

/// S0: plain PHP with uploads; S0-D9: never a development server without a word.
#[test]
fn plain_php_gets_a_pool_or_an_honest_word() {
    let draft = draft(
        "example.com",
        &[
            ("public/index.php", "<?php if ($path === '/_health') {}\n"),
            ("public/uploads/a.jpg", ""),
        ],
    );
    assert_eq!(draft.app.as_str(), "example-com");
    assert_eq!(draft.get("shared.dirs"), Some(&serde_json::json!(["public/uploads"])));
    let has_pool = draft.get("web.php_fpm").is_some();
    assert_eq!(has_pool, !notes(&draft).contains(&"unit.dev-server"), "{draft:?}");
}

#[test]
fn procfile_says_how_the_web_process_starts_and_others_are_told() {
    let procfile =
        "release: rake db:migrate\nweb: bundle exec puma -p ${PORT:-3000}\nworker: sidekiq\n";
    let draft = draft("Shop Front", &[("Procfile", procfile)]);
    assert_eq!(draft.app.as_str(), "shop-front");
    assert_eq!(text(&draft, "web.command"), "bundle exec puma -p {port}");
    assert_eq!(notes(&draft), ["process.other", "process.other", "health.none"]);
}

#[test]
fn procfile_goes_before_what_the_language_would_start() {
    let draft = draft(
        "x",
        &[
            ("Procfile", "web: cd web && HOST=127.0.0.1 node app.js --port $PORT\n"),
            ("package.json", r#"{"name":"x","scripts":{"start":"node other.js"}}"#),
        ],
    );
    assert_eq!(
        text(&draft, "web.command"),
        "sh -c 'cd web && HOST=127.0.0.1 exec node app.js --port {port}'"
    );
}

#[test]
fn compose_file_alone_is_named_as_not_in_this_version() {
    let error = detect(&dir("x", &[("compose.yaml", "services: {}\n")])).unwrap_err();
    assert!(error.to_string().contains("compose.yaml is there"), "{error}");
    let nothing = detect(&dir("x", &[("README.md", "")])).unwrap_err();
    assert!(nothing.to_string().contains("no Procfile"), "{nothing}");
    let library = detect(&dir(
        "x",
        &[("package.json", "{\"name\":\"lib\",\"main\":\"index.js\"}"), ("index.js", "")],
    ))
    .unwrap_err();
    assert!(library.to_string().contains("package.json is there"), "{library}");
}

#[test]
fn strange_texts_are_refused_and_never_panic() {
    for (path, content) in [
        ("Procfile", "web: \u{0}\n"),
        ("Procfile", "web: 'open\n"),
        ("Procfile", "web:$PORT${PORT${PORT:-\n"),
        ("package.json", "{\"scripts\":{\"start\":\"\"}}"),
        ("package.json", "[1"),
        ("go.mod", "module \n"),
        ("Cargo.toml", "[[bin]]\nname = \"\"\n"),
        ("composer.json", "null"),
    ] {
        let found = detect(&dir(
            "",
            &[(path, content), ("index.php", ""), ("main.go", "package main\nfunc main() {}")],
        ));
        if let Ok(draft) = found {
            check(&draft).unwrap();
        }
    }
}
