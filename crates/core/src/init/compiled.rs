//! Go and Rust: built where it is typed (S3-2), one binary shipped.

use super::directory::Directory;
use super::draft::Draft;
use crate::lint::Severity;

/// `None`: there is no `go.mod` with a program.
pub(super) fn go(dir: &Directory) -> Option<Draft> {
    let module = dir.text("go.mod")?.lines().find_map(|line| line.strip_prefix("module "))?.trim();
    let is_version = |part: &&str| {
        part.len() > 1 && part.starts_with('v') && part[1..].bytes().all(|b| b.is_ascii_digit())
    };
    let name = module.rsplit('/').find(|part| !is_version(part)).unwrap_or(module);
    let mains: Vec<&str> = dir
        .ending(&[".go"])
        .into_iter()
        .filter(|(path, text)| {
            !path.ends_with("_test.go")
                && text.contains("package main")
                && text.contains("func main(")
        })
        .map(|(path, _)| path.rsplit_once('/').map_or("", |(dir, _)| dir))
        .collect();
    let package = choose(&mains, name)?;
    let mut draft = Draft::new("Go", name, &dir.name)?;
    let binary = draft.app.to_string();
    let at = if package.is_empty() { ".".to_owned() } else { format!("./{package}") };
    let cgo = dir.text("go.mod").is_some_and(|text| text.contains("mattn/go-sqlite3"));
    let free = if cgo { "" } else { "CGO_ENABLED=0 " };
    draft.set(
        "release.build",
        format!("{free}GOOS=linux GOARCH=${{ALCEDO_TARGET#linux/}} go build -trimpath -o dist/{binary} {at}"),
        format!("go.mod; main in {}", if package.is_empty() { "." } else { package }),
    );
    draft.set("release.source", format!("dist/{binary}"), "the binary alone");
    let sources: Vec<(&str, &str)> = dir.ending(&[".go"]);
    let flags = go_flags(&sources);
    finish(&mut draft, &binary, flags, sources.iter().any(|(_, text)| text.contains("\"PORT\"")));
    others(&mut draft, &mains, package);
    Some(draft)
}

/// `None`: there is no `Cargo.toml` with a program.
pub(super) fn rust(dir: &Directory) -> Option<Draft> {
    let manifests = dir.ending(&["Cargo.toml"]);
    let programs: Vec<(String, &str)> =
        manifests.iter().filter_map(|(path, text)| rust_program(dir, path, text)).collect();
    let (name, from) = programs.first()?;
    let mut draft = Draft::new("Rust", name, &dir.name)?;
    let locked = if dir.has("Cargo.lock") { " --locked" } else { "" };
    let which = if programs.len() > 1 { format!(" --bin {name}") } else { String::new() };
    draft.set("release.build", format!("cargo build --release{locked}{which}"), (*from).to_owned());
    draft.set("release.source", format!("target/release/{name}"), "the binary alone");
    let sources = dir.ending(&[".rs"]);
    let takes = sources.iter().find_map(|(path, text)| {
        let line = text
            .lines()
            .position(|line| line.trim_start().trim_start_matches("pub ").starts_with("port:"))?;
        text.contains("clap").then(|| format!("{path}:{}", line + 1))
    });
    let flags = takes.map(|from| ("--port {port}".to_owned(), from));
    finish(&mut draft, name, flags, sources.iter().any(|(_, text)| text.contains("\"PORT\"")));
    let names: Vec<&str> = programs.iter().map(|(name, _)| name.as_str()).collect();
    others(&mut draft, &names, name);
    Some(draft)
}

/// The package's program, when it has one.
fn rust_program<'a>(dir: &Directory, path: &'a str, text: &str) -> Option<(String, &'a str)> {
    let table: toml::Table = text.parse().ok()?;
    let base = path.trim_end_matches("Cargo.toml");
    let bin = table.get("bin").and_then(|bins| bins.as_array()?.first()?.get("name")?.as_str());
    let package = || table.get("package")?.get("name")?.as_str();
    let name = bin.or_else(|| package().filter(|_| dir.has(&format!("{base}src/main.rs"))))?;
    Some((name.to_owned(), path))
}

/// The package whose program is meant: the one at the top, of the module's name, or called like a server.
fn choose<'a>(mains: &[&'a str], name: &str) -> Option<&'a str> {
    let last = |dir: &str| dir.rsplit('/').next().unwrap_or(dir).to_owned();
    let words = [name, "server", "web", "api", "app", "cmd"];
    let by_word = || words.iter().find_map(|word| mains.iter().find(|dir| last(dir) == *word));
    mains.iter().find(|dir| dir.is_empty()).or_else(by_word).or_else(|| mains.first()).copied()
}

/// Flags of the standard library's kind: `flag.String("port", …)` (S3-6, S3-7).
fn go_flags(sources: &[(&str, &str)]) -> Option<(String, String)> {
    let declares = |text: &str, name: &str| {
        let kinds = ["String", "Int", "StringVar", "IntVar", "Uint", "StringP", "IntP"];
        let quoted = format!("\"{name}\"");
        text.lines().position(|line| {
            line.contains(&quoted) && kinds.iter().any(|kind| line.contains(&format!(".{kind}(")))
        })
    };
    let find = |name: &str| {
        sources
            .iter()
            .find_map(|(path, text)| Some(format!("{path}:{}", declares(text, name)? + 1)))
    };
    let (flag, from) = [
        ("port", "--port {port}"),
        ("addr", "--addr 127.0.0.1:{port}"),
        ("listen", "--listen 127.0.0.1:{port}"),
    ]
    .into_iter()
    .find_map(|(name, flag)| Some((flag.to_owned(), find(name)?)))?;
    let colour = ["color", "colour", "slot"].into_iter().find(|name| find(name).is_some());
    Some((colour.map_or(flag.clone(), |name| format!("{flag} --{name} {{slot}}")), from))
}

fn finish(draft: &mut Draft, binary: &str, flags: Option<(String, String)>, reads_port: bool) {
    match flags {
        Some((flags, from)) => draft.set("web.command", format!("./{binary} {flags}"), from),
        None if reads_port => {
            draft.set("web.command", format!("./{binary}"), "it finds its port in PORT")
        }
        None => {
            draft.set("web.command", format!("./{binary}"), "no flag for the port was found");
            draft.note(
                "command.port",
                Severity::Warning,
                "web.command",
                "neither a flag for the port nor PORT was found in the sources: both slots would want the same port",
                "write {port} into web.command where the program takes it, or let it read PORT",
            );
        }
    }
}

fn others(draft: &mut Draft, all: &[&str], chosen: &str) {
    let rest: Vec<&str> = all.iter().copied().filter(|one| *one != chosen).collect();
    if !rest.is_empty() {
        let message = format!("there are other programs: {}", rest.join(", "));
        draft.note(
            "program.other",
            Severity::Info,
            "release.build",
            &message,
            "name another one there if this is not the server",
        );
    }
}
