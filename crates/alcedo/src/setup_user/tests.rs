use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Programs with the interface of the real ones that keep their state in a directory.
struct Host {
    root: tempfile::TempDir,
    setup: SetupUser,
}

impl Host {
    fn new(systemctl: Option<&str>, crontab: Option<&str>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let tool = |name: &str, script: Option<&str>| {
            let path = root.path().join(name);
            if let Some(script) = script {
                let head = format!("#!/bin/sh\nset -eu\nHERE='{}'\n", root.path().display());
                fs::write(&path, head + script).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            path.display().to_string()
        };
        let tools = Tools {
            systemctl: tool("systemctl", systemctl),
            loginctl: tool("loginctl", systemctl.map(|_| LOGINCTL)),
            crontab: tool("crontab", crontab),
        };
        let setup = SetupUser {
            exe: "/opt/alcedo".into(),
            home: None,
            units: Some(root.path().join("units")),
            tools,
        };
        Self { root, setup }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root.path().join(name)).unwrap_or_default()
    }
}

const SYSTEMCTL: &str =
    "echo \"$@\" >> $HERE/asked; [ $2 = is-system-running ] && { echo degraded; exit 1; }; exit 0";
const NO_MANAGER: &str = "echo 'Failed to connect to bus: No medium found' >&2; exit 1";
const LOGINCTL: &str = "case $1 in
    enable-linger) touch $HERE/lingers ;;
    show-user) [ -e $HERE/lingers ] && echo Linger=yes || echo Linger=no ;;
    esac";
const CRONTAB: &str = "if [ $1 = -l ]; then
        [ -e $HERE/table ] || { echo 'no crontab for me' >&2; exit 1; }
        cat $HERE/table
    else cat $1 > $HERE/table; fi";

#[test]
fn a_user_manager_gets_a_unit_with_linger() {
    let host = Host::new(Some(SYSTEMCTL), Some(CRONTAB));
    assert!(matches!(host.setup.describe().unwrap(), Boot::Nothing { .. }));
    for _ in 0..2 {
        let boot = host.setup.install().unwrap();
        let file = host.root.path().join("units/alcedo.service");
        assert_eq!(boot, Boot::Unit { file, lingers: true });
    }
    assert!(host.read("units/alcedo.service").contains("\"/opt/alcedo\" daemon --boot"));
    assert!(host.read("asked").contains("--user enable alcedo.service\n"));
    host.setup.remove().unwrap();
    assert!(host.read("asked").contains("--user disable alcedo.service\n"));
    assert!(matches!(host.setup.describe().unwrap(), Boot::Nothing { .. }));
}

#[test]
fn without_a_user_manager_the_crontab_gets_a_line() {
    let host = Host::new(Some(NO_MANAGER), Some(CRONTAB));
    fs::write(host.root.path().join("table"), "0 4 * * * backup\n").unwrap();
    for _ in 0..2 {
        assert!(matches!(host.setup.install().unwrap(), Boot::Crontab { .. }));
    }
    let table = host.read("table");
    assert!(table.starts_with("0 4 * * * backup\n@reboot /opt/alcedo daemon --boot #"), "{table}");
    assert_eq!(table.lines().count(), 2);
    host.setup.remove().unwrap();
    assert_eq!(host.read("table"), "0 4 * * * backup\n");
}

#[test]
fn an_empty_crontab_is_one_and_none_at_all_is_said() {
    let host = Host::new(None, Some(CRONTAB));
    assert!(matches!(host.setup.install().unwrap(), Boot::Crontab { .. }));
    let bare = Host::new(None, None);
    let boot = bare.setup.install().unwrap();
    let text = boot.to_string();
    assert!(text.starts_with("does not start at boot: this machine has neither"), "{text}");
    bare.setup.remove().unwrap();
}

#[test]
fn a_crontab_that_refuses_is_not_overwritten() {
    let refuse = "echo 'You (me) are not allowed to use this program' >&2; exit 1";
    let host = Host::new(None, Some(refuse));
    assert!(matches!(host.setup.install().unwrap(), Boot::Nothing { .. }));
}
