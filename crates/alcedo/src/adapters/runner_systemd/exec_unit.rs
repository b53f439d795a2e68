//! `alcedo exec APP INSTANCE`: what a unit runs. Reads the order that systemd passed it as a credential and becomes the
//! app's program. Never returns when that works.

use super::order::Order;
use crate::adapters::exec;
use alcedo_core::binding::Pool;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// The name of the credential that holds the order.
pub(crate) const CREDENTIAL: &str = "order";
/// What shells answer for a program that cannot be started.
const NOT_STARTED: u8 = 127;

/// Becomes the program; the arguments come after the verb.
pub(crate) fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let error = match find(&args) {
        Ok(order) => become_program(&order),
        Err(error) => error,
    };
    // To the journal: there is nobody else to tell.
    let _ = writeln!(std::io::stderr(), "alcedo: failed to {error}");
    ExitCode::from(NOT_STARTED)
}

fn find(args: &[String]) -> Result<Order, String> {
    let [app, instance] = args else {
        return Err("read the command line: expected `alcedo exec APP INSTANCE`".to_owned());
    };
    let dir = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let dir = dir.ok_or("find the order: only systemd starts this, with a credential")?;
    let path = dir.join(CREDENTIAL);
    let bytes = std::fs::read(&path).map_err(|e| format!("read {}: {e}", path.display()))?;
    let order = Order::parse(&bytes).map_err(|e| format!("read {}: {e}", path.display()))?;
    if order.app.as_str() != app || order.instance() != *instance {
        let held = format!("{} {}", order.app, order.instance());
        return Err(format!("run {app} {instance}: the order is for {held}"));
    }
    Ok(order)
}

/// Over what systemd says of user and home, the binding's environment.
fn become_program(order: &Order) -> String {
    if let Some(pool) = &order.pool
        && let Err(error) = write_configuration(pool)
    {
        return format!("write {}: {error}", pool.file.display());
    }
    let error = exec::replace(&order.argv, &order.env, &order.dir);
    let program = order.argv.first().map_or("", String::as_str);
    format!("start `{program}` in {}: {error}", order.dir.display())
}

/// Beside the pool's socket, in a directory of this boot. What ended may have left its socket there.
fn write_configuration(pool: &Pool) -> std::io::Result<()> {
    std::fs::write(&pool.file, &pool.text)
}
