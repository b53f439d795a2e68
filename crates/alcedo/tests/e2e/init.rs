//! `init` in directories as people have them: what it writes is what `check --local` and `config` accept.

use crate::app::{says, words};
use serde_json::Value;
use std::path::Path;
use xtask::home::{Home, Run};

struct Desk {
    home: Home,
}

impl Desk {
    fn new(files: &[(&str, &str)]) -> Self {
        let desk = Self { home: Home::new(Path::new(env!("CARGO_BIN_EXE_alcedo"))).unwrap() };
        for (path, text) in files {
            let path = desk.dir().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        desk
    }

    fn dir(&self) -> std::path::PathBuf {
        let dir = self.home.path().join("shop");
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn alcedo(&self, args: &[&str]) -> Run {
        self.home.run(&self.dir(), args).unwrap()
    }
}

/// The files of `examples/`, without their own `alcedo.toml`.
fn example(name: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    let mut found = Vec::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if !path.ends_with("alcedo.toml") {
                let inside = path.strip_prefix(&root).unwrap().display().to_string();
                found.push((inside, std::fs::read_to_string(&path).unwrap_or_default()));
            }
        }
    }
    found
}

#[test]
fn init_writes_what_check_and_config_accept_for_each_kind() {
    let kinds = [
        ("fastapi", "venv/bin/gunicorn", "/healthz"),
        ("go", "--port {port} --color {slot}", "/healthz"),
        ("node", "node server.js", "/healthz"),
        ("php", "php", "/_health"),
    ];
    for (kind, command, health) in kinds {
        let files = example(kind);
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let desk = Desk::new(&files);
        let run = desk.alcedo(&["init", "--json"]);
        says(&run, 0, &[]);
        let told: Value =
            serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}", words(&run)));
        assert_eq!(told["next"][0], "alcedo check", "{told}");
        let text = std::fs::read_to_string(desk.dir().join("alcedo.toml")).unwrap();
        assert!(text.contains(command), "{kind}: {text}");
        assert!(text.contains(&format!("\"{health}\"")), "{kind}: {text}");
        says(&desk.alcedo(&["check", "--local"]), 0, &[]);
        says(&desk.alcedo(&["config"]), 0, &[command]);
        // Never a second time, whatever stands there.
        says(&desk.alcedo(&["init"]), 2, &["is there already", "nothing is overwritten"]);
        assert_eq!(std::fs::read_to_string(desk.dir().join("alcedo.toml")).unwrap(), text);
    }
}

#[test]
fn init_where_nothing_starts_writes_nothing_and_says_what_to_write() {
    let desk = Desk::new(&[("compose.yaml", "services: {}\n")]);
    says(&desk.alcedo(&["init"]), 1, &["compose.yaml", "not in this version", "web.command"]);
    assert!(!desk.dir().join("alcedo.toml").exists());
}

#[test]
fn init_says_what_to_type_next_and_keeps_the_host_that_was_typed() {
    let desk = Desk::new(&[("Procfile", "web: ./shop --port $PORT\nworker: ./work\n")]);
    let run = desk.alcedo(&["init", "--host", "deploy@vps.example"]);
    says(&run, 0, &["Next: alcedo check --local", "process.other", "health.none"]);
    let text = std::fs::read_to_string(desk.dir().join("alcedo.toml")).unwrap();
    assert!(text.contains("\"deploy@vps.example\"") && text.contains("# health.path"), "{text}");
}
