//! Node: `scripts.start` of `package.json`, started without `npm` in between, which would swallow the stop signal.

use super::command::{as_command, is_setting};
use super::directory::Directory;
use super::draft::Draft;
use crate::lint::Severity;
use serde_json::Value;

/// Files that are started when nothing says which.
const ENTRIES: [&str; 5] = ["server.js", "app.js", "index.js", "src/server.js", "src/index.js"];
/// Programs that are no packages.
const PROGRAMS: [&str; 7] = ["node", "sh", "bash", "env", "npx", "bun", "deno"];

/// `None`: this is no Node app that could be started.
pub(super) fn detect(dir: &Directory) -> Option<Draft> {
    // A server without packages needs no `package.json`.
    let package = package(dir).unwrap_or_default();
    let (command, env, from) = start(dir, &package)?;
    let name = package["name"].as_str().unwrap_or_default();
    let mut draft = Draft::new("Node", name, &dir.name)?;
    dependencies(dir, &package, &mut draft);
    draft.set("env.NODE_ENV", "production", "as Node's frameworks want it where people use them");
    for (name, value) in env {
        draft.set(&format!("env.{name}"), value, from.clone());
    }
    let takes_port = command.contains("{port}");
    let reads = if takes_port { from } else { format!("{from}; it finds its port in PORT") };
    draft.set("web.command", command, reads);
    if !takes_port
        && !dir.ending(&[".js", ".ts", ".mjs", ".cjs"]).iter().any(|(_, t)| t.contains("PORT"))
    {
        draft.note(
            "command.port",
            Severity::Warning,
            "web.command",
            "no source reads PORT: both slots would want the same port",
            "listen on process.env.PORT, or write {port} into web.command",
        );
    }
    Some(draft)
}

/// The command of `npm run build`, for other languages that build their assets so.
pub(super) fn asset_build(dir: &Directory) -> Option<String> {
    let package = package(dir)?;
    package["scripts"]["build"].as_str()?;
    let (install, run) = manager(dir);
    Some(format!("{install} && {run} build"))
}

fn package(dir: &Directory) -> Option<Value> {
    serde_json::from_str(dir.text("package.json")?).ok()
}

/// How packages are installed, and how a script is run.
fn manager(dir: &Directory) -> (&'static str, &'static str) {
    match dir.first_of(&["pnpm-lock.yaml", "yarn.lock", "package-lock.json", "bun.lockb"]) {
        Some("pnpm-lock.yaml") => ("pnpm install --frozen-lockfile", "pnpm run"),
        Some("yarn.lock") => ("yarn install --frozen-lockfile", "yarn run"),
        Some("bun.lockb") => ("bun install --frozen-lockfile", "bun run"),
        Some(_) => ("npm ci", "npm run"),
        None => ("npm install", "npm run"),
    }
}

/// Built where it is typed, packages installed on the host: native modules are of the host's own kind.
fn dependencies(dir: &Directory, package: &Value, draft: &mut Draft) {
    let (install, run) = manager(dir);
    if package["scripts"]["build"].is_string() {
        draft.set(
            "release.build",
            format!("{install} && {run} build"),
            "package.json: scripts.build",
        );
    }
    draft.list(
        "release.exclude",
        &["node_modules"],
        "made on the host, for its own kind of machine",
    );
    if package["dependencies"].as_object().is_some_and(|all| !all.is_empty()) {
        let production = match install {
            "npm ci" | "npm install" => format!("{install} --omit=dev"),
            "bun install --frozen-lockfile" => format!("{install} --production"),
            _ => format!("{install} --prod"),
        };
        draft.set("release.prepare", production, "package.json: dependencies");
    }
}

type Start = (String, Vec<(String, String)>, String);

fn start(dir: &Directory, package: &Value) -> Option<Start> {
    if let Some(script) = package["scripts"]["start"].as_str() {
        let (command, env) = of_script(script);
        return Some((command, env, "package.json: scripts.start".to_owned()));
    }
    let main = package["main"].as_str().filter(|main| looks_served(dir, main));
    if let Some(main) = main {
        return Some((format!("node {main}"), Vec::new(), "package.json: main".to_owned()));
    }
    let entry = ENTRIES.into_iter().find(|entry| looks_served(dir, entry))?;
    Some((format!("node {entry}"), Vec::new(), entry.to_owned()))
}

/// A library has a `main` as well, and listens to nothing.
fn looks_served(dir: &Directory, path: &str) -> bool {
    dir.text(path.trim_start_matches("./")).is_some_and(|text| text.contains("listen("))
}

/// A script as a command of ours: its variables go into `[env]`, its program is found in `node_modules`.
fn of_script(script: &str) -> (String, Vec<(String, String)>) {
    let words: Vec<&str> = script.split_whitespace().filter(|word| *word != "cross-env").collect();
    let settings: Vec<&str> = words.iter().copied().take_while(|word| is_setting(word)).collect();
    let env: Vec<(String, String)> = settings
        .iter()
        .filter_map(|word| word.split_once('='))
        .filter(|(name, _)| *name != "PORT")
        .map(|(name, value)| (name.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect();
    let rest = &words[settings.len()..];
    let program = rest.first().copied().unwrap_or("node");
    let is_package = !program.contains('/') && !PROGRAMS.contains(&program);
    let mut command = rest.join(" ");
    if is_package {
        command = format!("node_modules/.bin/{command}");
        // Frameworks that do not read PORT by themselves in each version.
        if ["next", "nuxt", "vite", "serve"].contains(&program)
            && !command.contains(" -p ")
            && !command.contains("--port")
        {
            let flag = if program == "serve" { " -l {port}" } else { " --port {port}" };
            command.push_str(flag);
        }
    }
    (as_command(&command), env)
}
