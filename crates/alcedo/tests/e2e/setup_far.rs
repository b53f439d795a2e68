//! `setup --host root@HOST`: a bare VPS and a laptop with an SSH key, over a real sshd.

use crate::app::{says, words};
use crate::systemd::{SOURCE, Vps};
use std::path::{Path, PathBuf};
use xtask::home::{Home, Run};
use xtask::lab;

/// A laptop in the host's own network, with the sources of the app.
struct Laptop {
    vps: Vps,
    home: Home,
    dir: PathBuf,
}

impl Laptop {
    fn new() -> Option<Self> {
        let vps = Vps::bare("")?;
        let home = Home::new(Path::new(env!("CARGO_BIN_EXE_alcedo"))).unwrap();
        let dir = home.path().join("web");
        std::fs::create_dir_all(dir.join("src")).unwrap();
        let laptop = Self { vps, home, dir };
        laptop.write("one");
        Some(laptop)
    }

    fn write(&self, version: &str) {
        let text = std::fs::read_to_string(self.vps.host.path(&format!("{SOURCE}/alcedo.toml")));
        let host = format!("host = \"deploy@{}\"\n", self.vps.host.address());
        std::fs::write(self.dir.join("alcedo.toml"), host + &text.unwrap()).unwrap();
        std::fs::write(self.dir.join("src/version"), version).unwrap();
    }

    /// `alcedo ARGS` as typed on the laptop, with the lab's key.
    fn alcedo(&self, args: &[&str]) -> Run {
        let host_key = self.vps.host.path("/etc/ssh/ssh_host_ed25519_key.pub");
        let host_key = std::fs::read_to_string(host_key).unwrap();
        let known = format!("{} {host_key}", self.vps.host.address());
        let key = std::fs::read_to_string(lab::key().unwrap()).unwrap();
        let env = [("ALCEDO_SSH_KEY".to_owned(), key), ("ALCEDO_KNOWN_HOSTS".to_owned(), known)];
        let run = || self.home.wait(self.home.start_with(&self.dir, args, &env).unwrap()).unwrap();
        self.vps.host.inside(run).unwrap()
    }
}

/// A person with root on a new VPS types it once; afterwards a key that may do nothing else deploys.
#[test]
fn bare_host_is_prepared_from_a_laptop_and_then_deployed_to_with_a_restricted_key() {
    let Some(laptop) = Laptop::new() else { return };
    let vps = &laptop.vps;
    let root = format!("root@{}", vps.host.address());
    let key = lab::key().unwrap().with_extension("pub");
    let setup = |more: &[&str]| {
        let fixed = ["--host", &root, "setup", "--key", key.to_str().unwrap()];
        let args: Vec<&str> = fixed.into_iter().chain(more.iter().copied()).collect();
        laptop.alcedo(&args)
    };
    let before = vps.fingerprint();
    says(
        &setup(&["--dry-run"]),
        0,
        &["web@.service", "useradd --create-home", "Nothing was changed"],
    );
    assert_eq!(vps.fingerprint(), before, "a dry run changes nothing");
    says(&setup(&[]), 0, &["/home/deploy/.ssh/authorized_keys", "Privileges used"]);
    says(&setup(&[]), 0, &["nothing was changed"]);
    let left = vps.host.must(&["find", "/root", "-name", ".alcedo-setup*"]).unwrap();
    assert_eq!(left, "", "nothing is left behind");
    let keys = std::fs::read_to_string(vps.host.path("/home/deploy/.ssh/authorized_keys")).unwrap();
    assert!(
        keys.starts_with("restrict,command=\"/usr/local/bin/alcedo host --verbs all --apps web\"")
    );
    let run = laptop.alcedo(&["deploy"]);
    assert_eq!(run.code, Some(0), "{}", words(&run));
    let (_, one) = vps.active();
    let load = vps.load();
    laptop.write("two");
    says(&laptop.alcedo(&["deploy"]), 0, &["switch"]);
    says(&laptop.alcedo(&["rollback"]), 0, &[&one]);
    let tally = load.stop().unwrap();
    assert_eq!((tally.lost, tally.releases.len()), (0, 2), "{}", tally.losses_in_words());
    // The same key opens no shell and no port.
    let known = "StrictHostKeyChecking=no";
    let login = format!("deploy@{}", vps.host.address());
    let key = lab::key().unwrap();
    let shell = || {
        let mut ssh = std::process::Command::new("ssh");
        ssh.args(["-o", "BatchMode=yes", "-o", known, "-o", "UserKnownHostsFile=/dev/null", "-i"]);
        ssh.arg(&key).args([&login, "id"]).output().unwrap()
    };
    let said = vps.host.inside(shell).unwrap();
    assert!(!said.status.success() && !String::from_utf8_lossy(&said.stdout).contains("uid="));
}

#[test]
fn setup_of_a_host_that_is_not_reached_or_not_root_s_says_what_to_type() {
    let Some(laptop) = Laptop::new() else { return };
    let key = lab::key().unwrap().with_extension("pub");
    let key = key.to_str().unwrap();
    let run = laptop.alcedo(&["--host", "root@127.0.0.1:1", "setup", "--key", key]);
    says(&run, 6, &["reach root@127.0.0.1:1", "ssh"]);
    let vps = &laptop.vps;
    vps.host.must(&["useradd", "--create-home", "--shell", "/bin/sh", "ana"]).unwrap();
    vps.host.must(&["sh", "-c", "cp -r ~/.ssh /home/ana/.ssh"]).unwrap();
    vps.host.must(&["chown", "-R", "ana:ana", "/home/ana/.ssh"]).unwrap();
    let ana = format!("ana@{}", vps.host.address());
    let run = laptop.alcedo(&["--host", &ana, "setup", "--key", key]);
    says(&run, 2, &["which ana@", "may not", "--host root@"]);
    assert!(!vps.host.path("/etc/alcedo").exists(), "nothing was done");
}
