//! Signals by their names, as configurations have them.

use rustix::process::Signal;
use signal_hook::low_level::signal_name;

/// `SIGTERM`, `TERM` or `term`; `None` for what is no signal.
pub(crate) fn parse_signal(name: &str) -> Option<Signal> {
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let is_it =
        |number: &i32| signal_name(*number).is_some_and(|n| n.strip_prefix("SIG") == Some(name));
    (1..32).find(is_it).and_then(Signal::from_named_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names() {
        assert_eq!(parse_signal("SIGTERM"), Some(Signal::TERM));
        assert_eq!(parse_signal("quit"), Some(Signal::QUIT));
        assert_eq!(parse_signal("SIGWINCH"), Some(Signal::WINCH));
        assert_eq!(parse_signal("SIGUSR2"), Some(Signal::USR2));
        assert_eq!(parse_signal("SIGNOTHING"), None);
        assert_eq!(parse_signal(""), None);
    }
}
