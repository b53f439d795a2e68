//! Python: FastAPI, Starlette, Flask and Django behind gunicorn or uvicorn, in a virtualenv of each release.

use super::directory::Directory;
use super::draft::Draft;
use crate::lint::Severity;

/// What serves it, by how its framework is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interface {
    Asgi,
    Wsgi,
}

/// `None`: this is no Python app.
pub(super) fn detect(dir: &Directory) -> Option<Draft> {
    let (file, prepare, bin) = dependencies(dir)?;
    let deps = dir.text(file).unwrap_or_default().to_lowercase();
    let (framework, interface, target, from) = app(dir, &deps)?;
    let name = dir.text("pyproject.toml").and_then(project_name).unwrap_or_default();
    let has = |package: &str| deps.contains(package);
    let server = match interface {
        Interface::Asgi if has("gunicorn") && has("uvicorn") => "gunicorn",
        Interface::Asgi => "uvicorn",
        Interface::Wsgi => "gunicorn",
    };
    let mut draft = Draft::new(&format!("{framework} on {server}"), &name, &dir.name)?;
    draft.list("release.exclude", &["venv", ".venv", "__pycache__"], "made anew for each release");
    draft.set(
        "release.prepare",
        with_static(dir, prepare, bin),
        format!("{file}; a virtualenv knows its path, so it is made on the host"),
    );
    let command = match (server, interface) {
        ("gunicorn", Interface::Asgi) => format!(
            "{bin}/gunicorn --workers 2 --worker-class uvicorn.workers.UvicornWorker --bind 127.0.0.1:{{port}} {target}"
        ),
        ("gunicorn", Interface::Wsgi) => {
            format!("{bin}/gunicorn --workers 2 --bind 127.0.0.1:{{port}} {target}")
        }
        (_, Interface::Asgi | Interface::Wsgi) => {
            format!("{bin}/uvicorn --host 127.0.0.1 --port {{port}} {target}")
        }
    };
    draft.set("web.command", command, from);
    if !has(server) {
        draft.note(
            "python.server",
            Severity::Warning,
            file,
            &format!("{server} is not among the dependencies: the command would not start"),
            &format!("add {server} to {file}"),
        );
    }
    if framework == "Django" {
        draft.note(
            "migrate.by-hand",
            Severity::Info,
            "manage.py",
            "migrations are not run by a deploy in this version",
            "venv/bin/python manage.py migrate, before a release that needs them",
        );
    }
    Some(draft)
}

type Dependencies = (&'static str, String, &'static str);

/// The file, what makes the virtualenv from it, and where its programs are.
fn dependencies(dir: &Directory) -> Option<Dependencies> {
    const VENV: &str =
        "python3 -m venv venv && venv/bin/pip install --quiet --disable-pip-version-check";
    if dir.has("uv.lock") && dir.has("pyproject.toml") {
        return Some(("pyproject.toml", "uv sync --frozen --no-dev".to_owned(), ".venv/bin"));
    }
    if dir.has("requirements.txt") {
        return Some(("requirements.txt", format!("{VENV} -r requirements.txt"), "venv/bin"));
    }
    let is_app = dir
        .text("pyproject.toml")
        .is_some_and(|text| text.contains("[project]") || text.contains("[tool.poetry]"));
    is_app.then(|| ("pyproject.toml", format!("{VENV} ."), "venv/bin"))
}

fn with_static(dir: &Directory, prepare: String, bin: &str) -> String {
    let collects =
        dir.ending(&["settings.py"]).iter().any(|(_, text)| text.contains("STATIC_ROOT"));
    if !(collects && dir.has("manage.py")) {
        return prepare;
    }
    format!("{prepare} && {bin}/python manage.py collectstatic --noinput")
}

/// Framework, interface, `module:object`, and where it was found.
fn app(dir: &Directory, deps: &str) -> Option<(&'static str, Interface, String, String)> {
    if let Some(found) = django(dir, deps) {
        return Some(found);
    }
    let frameworks = [
        ("FastAPI", "FastAPI(", Interface::Asgi),
        ("Litestar", "Litestar(", Interface::Asgi),
        ("Starlette", "Starlette(", Interface::Asgi),
        ("Quart", "Quart(", Interface::Asgi),
        ("Flask", "Flask(", Interface::Wsgi),
    ];
    for (path, text) in dir.ending(&[".py"]) {
        if path.contains("test") {
            continue;
        }
        for (framework, call, interface) in frameworks {
            let Some((target, line)) = object(text, call) else { continue };
            let module =
                path.trim_end_matches(".py").trim_end_matches("/__init__").replace('/', ".");
            let module = module.strip_prefix("src.").unwrap_or(&module);
            let whole = format!("{module}:{target}");
            // Parentheses are the shell's, unless they are quoted.
            let whole = if target.ends_with(')') { format!("'{whole}'") } else { whole };
            return Some((framework, interface, whole, format!("{path}:{line}")));
        }
    }
    None
}

/// `app = FastAPI(…)`, or a function that makes one.
fn object(text: &str, call: &str) -> Option<(String, usize)> {
    let mut maker = None;
    for (at, line) in text.lines().enumerate() {
        if line.starts_with("def create_app(") || line.starts_with("def make_app(") {
            let name = line.trim_start_matches("def ").split('(').next().unwrap_or_default();
            maker = Some((name.to_owned(), at + 1));
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        let name = name.split(':').next().unwrap_or(name);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let at_top = !line.starts_with([' ', '\t']);
        if at_top && value.trim_start().starts_with(call) && name.trim().chars().all(is_name) {
            return Some((name.trim().to_owned(), at + 1));
        }
    }
    let (name, line) = maker.filter(|_| text.contains(call))?;
    // gunicorn calls it; uvicorn wants to be told.
    Some((if call == "Flask(" { format!("{name}()") } else { format!("{name} --factory") }, line))
}

fn django(dir: &Directory, deps: &str) -> Option<(&'static str, Interface, String, String)> {
    let manage = dir.text("manage.py")?;
    if !manage.contains("DJANGO_SETTINGS_MODULE") {
        return None;
    }
    let asgi = deps.contains("uvicorn") || deps.contains("daphne");
    let (file, interface) =
        if asgi { ("asgi.py", Interface::Asgi) } else { ("wsgi.py", Interface::Wsgi) };
    let found = dir.ending(&[file]);
    let (path, _) = found.first()?;
    let module = path.trim_end_matches(".py").replace('/', ".");
    Some(("Django", interface, format!("{module}:application"), (*path).to_owned()))
}

fn project_name(text: &str) -> Option<String> {
    let table: toml::Table = text.parse().ok()?;
    let of = |value: &toml::Value| value.get("name")?.as_str().map(str::to_owned);
    table.get("project").and_then(of).or_else(|| table.get("tool")?.get("poetry").and_then(of))
}
