//! `alcedo demo`: the main job with nothing installed and no root. Everything it does, it does by the commands that users
//! type, in a private directory, while real traffic goes on.

pub(crate) mod app;
mod story;
mod traffic;

pub(crate) use story::{stop, tell};

use crate::adapters::exec::{self, Environment, Exit, Output, Program};
use crate::engine::ports::{Call, Cancel};
use crate::paths::Paths;
use crate::setup_user::stop_everything;
use alcedo_core::AppName;
use anyhow::{Context, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The app's name.
const APP: &str = "hello";
/// What the name of a demo's directory begins with.
pub(crate) const PREFIX: &str = "alcedo-demo-";
/// Longest that one command of the demo may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// Output of one command that is read.
const OUTPUT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A private host with one app.
struct Stage {
    exe: PathBuf,
    home: PathBuf,
    app: PathBuf,
    address: SocketAddr,
}

impl Stage {
    fn build(home: &Path) -> anyhow::Result<Self> {
        let exe = std::env::current_exe().context("failed to find this program")?;
        let app = home.join("hello");
        std::fs::create_dir_all(&app)
            .with_context(|| format!("failed to make {}", app.display()))?;
        let free =
            std::net::TcpListener::bind("127.0.0.1:0").context("failed to find a free port")?;
        let address = free.local_addr().context("failed to find a free port")?;
        drop(free);
        let stage = Self { exe, home: home.to_owned(), app, address };
        stage.write("alcedo.toml", &stage.config())?;
        Ok(stage)
    }

    /// What an earlier demo left in `home`.
    fn kept(home: &Path) -> anyhow::Result<Self> {
        let home =
            home.canonicalize().with_context(|| format!("failed to find {}", home.display()))?;
        let is_demo = home
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
        let app = home.join("hello");
        if !is_demo || !app.join("alcedo.toml").is_file() {
            bail!("{} is not the directory of a demo", home.display());
        }
        let exe = std::env::current_exe().context("failed to find this program")?;
        Ok(Self { exe, home, app, address: SocketAddr::from(([127, 0, 0, 1], 0)) })
    }

    fn config(&self) -> String {
        let exe = self.exe.display();
        format!(
            "app = \"{APP}\"\nweb.command = \"'{exe}' demo-app --port {{port}}\"\nhealth.path = \"/healthz\"\n\
             health.healthy_after = 1\nrouter.listen = [\"{}\"]\nbake.time = \"6s\"\nbake.max_error_rate = 0.05\n",
            self.address
        )
    }

    /// Writes one file of the app.
    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.app.join(name);
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    }

    /// The next version of the app, as somebody would edit it.
    fn edit(&self, version: u32, broken: bool) -> anyhow::Result<()> {
        self.write("VERSION", &version.to_string())?;
        if broken {
            return self.write("BROKEN", "every third answer fails\n");
        }
        match std::fs::remove_file(self.app.join("BROKEN")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("failed to mend the app")
            }
            _ => Ok(()),
        }
    }

    /// Types a command; its lines of JSON, and its exit status.
    fn alcedo(&self, words: &[&str]) -> anyhow::Result<(Vec<Value>, i32)> {
        let mut env: BTreeMap<String, String> = std::env::vars()
            .filter(|(name, _)| !name.starts_with("ALCEDO_") && name != "GITHUB_ACTIONS")
            .collect();
        env.insert("ALCEDO_HOME".to_owned(), self.home.display().to_string());
        let argv = std::iter::once(self.exe.display().to_string())
            .chain(words.iter().map(|w| (*w).to_owned()));
        let program = Program {
            argv: argv.chain(["--json".to_owned()]).collect(),
            env: Environment::Exactly(env),
            dir: self.app.clone(),
            output: Output::Kept { limit_bytes: OUTPUT_BYTES_MAX },
        };
        let deadline = crate::adapters::clock::now().after(COMMAND_LIMIT);
        let ended =
            exec::run(&program, &Call { deadline, cancel: &Cancel::default(), progress: &|_| {} })
                .with_context(|| format!("failed to run `alcedo {}`", words.join(" ")))?;
        let text = String::from_utf8_lossy(&ended.output);
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        match ended.exit {
            Exit::Status(status) => Ok((lines, status)),
            Exit::Signal(_) | Exit::Unseen => {
                bail!("`alcedo {}` ended by {}", words.join(" "), ended.exit)
            }
        }
    }

    /// Types a command that must end with `exit`.
    fn must(&self, words: &[&str], exit: i32) -> anyhow::Result<Vec<Value>> {
        let (lines, status) = self.alcedo(words)?;
        if status != exit {
            let last = lines.last().map(Value::to_string).unwrap_or_default();
            bail!(
                "`alcedo {}` ended with exit status {status} instead of {exit}: {last}",
                words.join(" ")
            );
        }
        Ok(lines)
    }

    fn paths(&self) -> Paths {
        Paths::below(&self.home)
    }

    /// Stops everything that runs on the private host.
    fn strike(&self) {
        let apps: Vec<AppName> = AppName::new(APP).into_iter().collect();
        if let Err(error) = stop_everything(&self.paths(), &self.exe, &apps) {
            tracing::warn!("{error:#}");
        }
    }
}
