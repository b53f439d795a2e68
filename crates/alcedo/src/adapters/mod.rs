//! One file for each outside thing. Adapters never import each other, except `exec` and `clock`.

pub(crate) mod clock;
pub(crate) mod exec;
pub(crate) mod journal_sqlite;
pub(crate) mod machine;
pub(crate) mod probe_http;
pub(crate) mod releases;
pub(crate) mod router_embedded;
pub(crate) mod router_nginx;
pub(crate) mod runner_process;
pub(crate) mod runner_systemd;
pub(crate) mod system_clock;
