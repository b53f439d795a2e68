//! The texts that `setup` writes: units, a polkit rule, directories in `/run`. Pure.

use super::app::AppPlan;
use super::host::PROXY;
use super::{HEADER, PROGRAM, nginx};
use crate::adapters::router_nginx::UNIT as NGINX;
use crate::adapters::runner_systemd::{CREDENTIAL, instance};
use crate::paths::{Paths, SYSTEM_USER};
use alcedo_core::config::{Hardening, Service};
use alcedo_core::{ServiceName, Slot};
use std::collections::BTreeSet;
use std::path::Path;

/// Before the names of the apps that listen on a socket.
const FOR: &str = "# For: ";

/// What daemon, proxy and `strict` apps can do without.
const CLOSED: &str = "\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
";

/// Directories of one boot.
pub(super) fn tmpfiles(paths: &Paths) -> String {
    let run = paths.run.display();
    let user = SYSTEM_USER;
    // Apps reach their sockets and active files in it by name; only its owner lists it.
    format!(
        "{HEADER}\n\
         d {run} 0711 {user} {user} -\n\
         d {run}/apps 0711 {user} {user} -\n\
         d {run}/sockets 0711 {user} {user} -\n"
    )
}

/// Engine, journal and API.
pub(super) fn daemon(paths: &Paths) -> String {
    let (state, run) = (paths.state.display(), paths.run.display());
    format!(
        "{HEADER}\n\
         [Unit]\n\
         Description=alcedo: deploys and judges the apps of this host\n\
         Wants={PROXY}\n\
         After={PROXY} dbus.service network.target\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=exec\n\
         User={SYSTEM_USER}\n\
         Group={SYSTEM_USER}\n\
         # To read what apps write, for `alcedo logs`.\n\
         SupplementaryGroups=systemd-journal\n\
         ExecStart={PROGRAM} daemon\n\
         # Traffic and apps go on without it; it finishes or undoes what was under way.\n\
         Restart=always\n\
         RestartSec=500ms\n\
         TimeoutStopSec=20\n\
         UMask=0022\n\
         ProtectHome=read-only\n\
         ReadWritePaths={state} {run}\n\
         RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n\
         {CLOSED}\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// One app's directory, for the daemon to write; and who has to be there when it asks what is live.
pub(super) fn daemon_part(app: &AppPlan) -> String {
    let after = nginx::form(&app.config).map(|_| format!("[Unit]\nAfter={NGINX}\n"));
    let after = after.unwrap_or_default();
    format!("{HEADER}\n{after}[Service]\nReadWritePaths=-{}\n", path(&app.root))
}

/// Puts an access log aside. A path in a directory of root's: nginx's master opens it as root.
pub(super) fn rotation(app: &AppPlan) -> String {
    let log = nginx::log_dir(&app.name).join("access.log");
    let log = log.display();
    format!(
        "{HEADER}\n\
         [Unit]\n\
         Description=alcedo: puts the access log of {} aside\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart=/bin/mv -f {log} {log}.1\n\
         ExecStart=/bin/systemctl kill --kill-who=main --signal=USR1 {NGINX}\n",
        app.name
    )
}

/// The data plane. Its sockets are socket units: they stay when it is started again.
pub(super) fn proxy(paths: &Paths) -> String {
    let (state, run) = (paths.state.display(), paths.run.display());
    format!(
        "{HEADER}\n\
         [Unit]\n\
         Description=alcedo: carries the traffic of the apps of this host\n\
         After=network.target\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=notify\n\
         NotifyAccess=main\n\
         User={SYSTEM_USER}\n\
         Group={SYSTEM_USER}\n\
         ExecStart={PROGRAM} proxy\n\
         TimeoutStartSec=30\n\
         Environment=MIMALLOC_ALLOW_THP=0\n\
         Restart=always\n\
         RestartSec=100ms\n\
         # What it binds itself is kept for its next start, too.\n\
         FileDescriptorStoreMax=256\n\
         TimeoutStopSec=60\n\
         LimitNOFILE=65536\n\
         UMask=0077\n\
         ProtectHome=yes\n\
         PrivateTmp=yes\n\
         PrivateUsers=yes\n\
         ProtectProc=invisible\n\
         ProcSubset=pid\n\
         MemoryDenyWriteExecute=yes\n\
         ReadWritePaths={state}/proxy {run}\n\
         InaccessiblePaths=-{state}/slots -{state}/logs\n\
         RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n\
         {CLOSED}\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// The name of the socket unit of an address.
pub(super) fn socket_name(address: &str) -> String {
    let plain = match address.rsplit_once(':') {
        // The colons of IPv6 as underscores.
        Some((ip, port)) => {
            format!("{}-{port}", ip.trim_matches(['[', ']']).replace(':', "_"))
        }
        None => address.to_owned(),
    };
    format!("alcedo-proxy-{plain}.socket")
}

/// The apps that a socket unit is there for.
pub(super) fn socket_apps(text: &str) -> BTreeSet<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(FOR)).unwrap_or_default();
    line.split_whitespace().map(str::to_owned).collect()
}

/// One address to listen on.
pub(super) fn socket(address: &str, apps: &BTreeSet<String>) -> String {
    let apps: Vec<&str> = apps.iter().map(String::as_str).collect();
    format!(
        "{HEADER}\n\
         {FOR}{}\n\
         [Unit]\n\
         Description=alcedo: listens on {address}\n\
         \n\
         [Socket]\n\
         ListenStream={address}\n\
         Service={PROXY}\n\
         Backlog=4096\n\
         NoDelay=yes\n\
         \n\
         [Install]\n\
         WantedBy=sockets.target\n",
        apps.join(" ")
    )
}

/// An app's unit: nothing in it changes with a deploy.
pub(super) fn template(app: &AppPlan, paths: &Paths) -> String {
    let (name, user, group) = (&app.name, &app.user, &app.group);
    let order = paths.orders(name);
    let order = order.display();
    let watchdog = app.config.systemd.watchdog.map_or(String::new(), |time| {
        format!("WatchdogSec={}ms\nNotifyAccess=all\n", time.as_millis())
    });
    let hardening = hardening(app, paths);
    format!(
        "{HEADER}\n\
         # A deploy starts and stops its instances: {name}@blue, {name}@green. What one runs is its order, which is also\n\
         # the condition for its start: a slot that was retired has none, and no reboot revives it.\n\
         [Unit]\n\
         Description=alcedo: {name}, %i\n\
         After=network.target\n\
         ConditionPathExists={order}/%i\n\
         StartLimitIntervalSec=60\n\
         StartLimitBurst=5\n\
         \n\
         [Service]\n\
         Type=exec\n\
         User={user}\n\
         Group={group}\n\
         LoadCredential={CREDENTIAL}:{order}/%i\n\
         ExecStart={PROGRAM} exec {name} %i\n\
         Restart=always\n\
         RestartSec=1\n\
         # The signal goes to the main process; what is left after the time is killed with all its children.\n\
         KillMode=mixed\n\
         # The router reaches sockets as one of the group.\n\
         UMask=0007\n\
         LogRateLimitIntervalSec=30s\n\
         LogRateLimitBurst=10000\n\
         {watchdog}\
         {hardening}\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

fn hardening(app: &AppPlan, paths: &Paths) -> String {
    let writable =
        format!("ReadWritePaths=-{} -{}/sockets\n", path(&app.root), paths.run.display());
    match app.config.systemd.hardening {
        Hardening::None => String::new(),
        Hardening::Basic => format!(
            "# hardening = \"basic\"\n\
             NoNewPrivileges=yes\n\
             PrivateTmp=yes\n\
             ProtectSystem=strict\n\
             ProtectHome=yes\n\
             {writable}"
        ),
        Hardening::Strict => format!(
            "# hardening = \"strict\"\n\
             ProtectHome=yes\n\
             PrivateTmp=yes\n\
             PrivateUsers=yes\n\
             ProtectProc=invisible\n\
             ProcSubset=pid\n\
             RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n\
                 {CLOSED}\
             {writable}"
        ),
    }
}

/// What one instance has of its own.
pub(super) fn part(app: &AppPlan, slot: Slot, name: &ServiceName, service: &Service) -> String {
    let memory =
        service.limits.memory_bytes.map_or(String::new(), |bytes| format!("MemoryMax={bytes}\n"));
    let cpu =
        service.limits.cpu_percent.map_or(String::new(), |share| format!("CPUQuota={share}%\n"));
    format!(
        "{HEADER}\n\
         # {} of {}\n\
         [Service]\n\
         KillSignal={}\n\
         TimeoutStopSec={}ms\n\
         SyslogIdentifier={}-{}\n\
         {memory}{cpu}",
        instance(slot, name),
        app.name,
        service.stop.signal,
        service.stop.timeout.as_millis().max(1),
        app.name,
        instance(slot, name),
    )
}

/// What the daemon's user may ask of systemd: these units by their names, and nothing else.
pub(super) fn polkit(app: &AppPlan) -> String {
    let units: Vec<String> = app.units().iter().map(|unit| format!("\"{unit}\"")).collect();
    let others: Vec<String> = nginx::rights(&app.name, &app.config)
        .iter()
        .map(|(unit, verb)| format!("\"{unit}\": \"{verb}\""))
        .collect();
    format!(
        "//{}\n\
         polkit.addRule(function(action, subject) {{\n\
         \x20   var units = [{}];\n\
         \x20   var verbs = [\"start\", \"stop\", \"reset-failed\"];\n\
         \x20   var others = {{{}}};\n\
         \x20   var unit = action.lookup(\"unit\"), verb = action.lookup(\"verb\");\n\
         \x20   if (action.id == \"org.freedesktop.systemd1.manage-units\" && subject.user == \"{SYSTEM_USER}\"\n\
         \x20       && (units.indexOf(unit) >= 0 && verbs.indexOf(verb) >= 0 || verb && others[unit] == verb)) {{\n\
         \x20       return polkit.Result.YES;\n\
         \x20   }}\n\
         }});\n",
        HEADER.trim_start_matches('#'),
        units.join(", "),
        others.join(", ")
    )
}

/// A path as units have it: quoted, `%` doubled.
fn path(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%");
    if text.contains([' ', '"', '\\', '\'']) {
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
        return format!("\"{escaped}\"");
    }
    text
}
