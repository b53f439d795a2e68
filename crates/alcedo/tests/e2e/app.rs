//! One app in a private home: what every test begins with. The app is `xtask app`, which misbehaves when it is told to.

use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use xtask::home::{Home, Run, free_port, poll_until};
use xtask::load::{Dialect, Load, Shape, Tally, Target};

/// Keep-alive connections of the load under every test.
const CONNECTIONS: usize = 8;
/// Waiting for anything that has to come ends with a failed test.
pub(crate) const SOON: Duration = Duration::from_secs(45);

/// An app, its directory, its home.
pub(crate) struct App {
    pub(crate) home: Home,
    pub(crate) dir: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) name: String,
    ports: [u16; 2],
}

impl App {
    /// An app in a home of its own, with nothing deployed.
    pub(crate) fn new() -> Self {
        Self::in_home(Home::new(Path::new(env!("CARGO_BIN_EXE_alcedo"))).unwrap(), "web")
    }

    /// An app behind a private nginx.
    pub(crate) fn behind(nginx: &xtask::nginx::Nginx) -> Self {
        let home = Home::new(Path::new(env!("CARGO_BIN_EXE_alcedo"))).unwrap();
        Self::in_home(home.with_nginx(nginx).unwrap(), "web")
    }

    /// The same in an existing home.
    pub(crate) fn in_home(home: Home, name: &str) -> Self {
        let dir = home.path().join(format!("src-{name}"));
        std::fs::create_dir_all(dir.join("src")).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        // Many homes share this machine: each app has ports of its own instead of the first free ones.
        let ports = [free_port().unwrap(), free_port().unwrap()];
        let app = Self { home, dir, address, name: name.to_owned(), ports };
        app.write("one", "", "");
        app
    }

    /// An app whose first release is live.
    pub(crate) fn live() -> Self {
        Self::live_with("", "")
    }

    /// The same, started with `flags` and configured with `settings`.
    pub(crate) fn live_with(flags: &str, settings: &str) -> Self {
        let app = Self::new();
        app.write("one", flags, settings);
        app.deploy();
        app
    }

    /// The next version: other content, other flags of the app, further lines of `alcedo.toml`.
    pub(crate) fn write(&self, version: &str, flags: &str, settings: &str) {
        let release = if flags.contains("--release") { "" } else { " --release {release}" };
        let deadline =
            if settings.contains("health.deadline") { "" } else { "health.deadline = \"20s\"" };
        let bake = if settings.contains("bake.time") { "" } else { "bake.time = \"0s\"" };
        let ports = if settings.contains("web.ports") { String::new() } else { self.ports() };
        let text = format!(
            "app = \"{}\"
release.source = \"src\"
web.command = \"{} app --port {{port}}{release} {flags}\"
health.path = \"/healthz\"
health.release = \"json:/release\"
health.interval = \"50ms\"
{deadline}
{bake}
{ports}
router.listen = [\"{}\"]
{settings}
",
            self.name,
            xtask_program().display(),
            self.address
        );
        std::fs::write(self.dir.join("alcedo.toml"), text).unwrap();
        std::fs::write(self.dir.join("src/version"), version).unwrap();
    }

    /// The line of `alcedo.toml` with this app's ports.
    pub(crate) fn ports(&self) -> String {
        let [blue, green] = self.ports;
        format!("web.ports = {{ blue = {blue}, green = {green} }}")
    }

    /// `alcedo ARGS` to its end.
    pub(crate) fn alcedo(&self, args: &[&str]) -> Run {
        self.home.run(&self.dir, args).unwrap()
    }

    /// A deploy that has to go well.
    pub(crate) fn deploy(&self) -> Run {
        let run = self.alcedo(&["deploy"]);
        assert_eq!(run.code, Some(0), "deploy: {}", words(&run));
        run
    }

    /// Load that sees whatever a user would see.
    pub(crate) fn load(&self) -> Load {
        self.load_of(Dialect::Kit)
    }

    /// Load in the words of that app.
    pub(crate) fn load_of(&self, dialect: Dialect) -> Load {
        let target = Target { address: self.address, host: self.address.to_string(), dialect };
        let load =
            Load::start(target, Shape::Closed { connections: CONNECTIONS, slow: 2 }).unwrap();
        poll_until(SOON, || (load.answered() + load.lost() > 100).then_some(())).unwrap();
        load
    }

    /// This app's part of `status --json`.
    pub(crate) fn status(&self) -> Value {
        let run = self.alcedo(&["status", "--json"]);
        let all: Value =
            serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}", words(&run)));
        let apps = all["apps"].as_array().cloned().unwrap_or_default();
        apps.into_iter()
            .find(|app| app["app"] == self.name.as_str())
            .unwrap_or_else(|| panic!("no app in {all}"))
    }

    /// What is live: slot and release.
    pub(crate) fn active(&self) -> (String, String) {
        let status = self.status();
        let slot = status["active"].as_str().unwrap_or("none").to_owned();
        let release = status["slots"][&slot]["release"].as_str().unwrap_or("none").to_owned();
        (slot, release)
    }

    /// Waits until the status is as wanted.
    pub(crate) fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let found = poll_until(SOON, || Some(self.status()).filter(&is));
        found.unwrap_or_else(|| panic!("never seen: {what}; status: {}", self.status()))
    }

    /// Waits until no deploy is under way.
    pub(crate) fn until_quiet(&self) -> Value {
        self.until("no deploy under way", |status| status["deploy"].is_null())
    }

    /// A process that was started with this word among its arguments.
    pub(crate) fn has_process(&self, word: &str) -> bool {
        self.home
            .processes()
            .iter()
            .any(|process| process.arguments.iter().any(|argument| argument == word))
    }

    /// Its configuration file.
    pub(crate) fn toml(&self) -> PathBuf {
        self.dir.join("alcedo.toml")
    }
}

/// Everything a run said.
pub(crate) fn words(run: &Run) -> String {
    format!("exit {:?} after {:?}\n{}{}", run.code, run.took, run.stdout, run.stderr)
}

/// The run ended so and said all of this.
#[track_caller]
pub(crate) fn says(run: &Run, code: i32, wanted: &[&str]) {
    let said = words(run);
    assert_eq!(run.code, Some(code), "{said}");
    // Texts fold to the width: words count, line ends do not.
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in wanted {
        assert!(flat.contains(word), "{word:?} is missing in: {said}");
    }
}

/// Nothing was lost, and only these releases answered.
#[track_caller]
pub(crate) fn served(load: Load, releases: &[&str]) -> Tally {
    let tally = load.stop().unwrap();
    assert_eq!(tally.lost, 0, "lost: {}", tally.losses_in_words());
    let mut seen: Vec<&str> = tally.releases.keys().map(String::as_str).collect();
    let mut wanted = releases.to_vec();
    seen.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(seen, wanted, "releases that answered");
    tally
}

/// `xtask`, built beside the binary under test; `cargo test -p alcedo` alone does not make it.
pub(crate) fn xtask_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_BIN_EXE_alcedo")).with_file_name("xtask");
        if !program.is_file() {
            let mut build =
                Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            build.args(["build", "--quiet", "-p", "xtask"]).current_dir(xtask::repository());
            assert!(build.status().unwrap().success(), "build xtask");
        }
        assert!(program.is_file(), "{} is missing", program.display());
        program
    })
}
