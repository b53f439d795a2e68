//! Our line in a crontab, known by its mark; every other line stays as it is.

use std::path::Path;

/// Stands at the end of our line.
const MARK: &str = "# alcedo: proxy and daemon at boot";

/// The line that starts `exe` at boot.
pub(super) fn line(exe: &Path, home: Option<&Path>) -> String {
    let home = home
        .map(|home| format!("ALCEDO_HOME={} ", shell_words::quote(&home.display().to_string())));
    let exe = exe.display().to_string();
    let command = format!("{}{} daemon --boot", home.unwrap_or_default(), shell_words::quote(&exe));
    // cron takes a bare % for the end of the command.
    format!("@reboot {} {MARK}", command.replace('%', "\\%"))
}

/// Whether our line is there.
pub(super) fn has_line(crontab: &str) -> bool {
    crontab.lines().any(is_ours)
}

/// With our line, once.
pub(super) fn with_line(crontab: &str, line: &str) -> String {
    let mut text = without_line(crontab);
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text + line + "\n"
}

/// Without our line.
pub(super) fn without_line(crontab: &str) -> String {
    crontab.split_inclusive('\n').filter(|line| !is_ours(line)).collect()
}

/// Whether some cron left its mark of running. Only for a warning: there are crons that leave none.
pub(super) fn has_cron() -> bool {
    ["/run/crond.pid", "/run/cron.pid", "/run/crond.reboot", "/var/run/crond.pid"]
        .iter()
        .any(|path| Path::new(path).exists())
}

fn is_ours(line: &str) -> bool {
    line.trim_end().ends_with(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_line_comes_and_goes_and_the_rest_stays() {
        let rest = "MAILTO=me\n\n# mine\n0 4 * * * backup\n";
        let first = line(Path::new("/opt/a b/alcedo"), None);
        assert_eq!(
            first,
            "@reboot '/opt/a b/alcedo' daemon --boot # alcedo: proxy and daemon at boot"
        );
        let once = with_line(rest, &first);
        assert_eq!(once, format!("{rest}{first}\n"));
        let second = line(Path::new("/opt/100%"), Some(Path::new("/home/u/x")));
        assert!(second.starts_with("@reboot ALCEDO_HOME=/home/u/x "), "{second}");
        assert!(second.contains("100\\%"), "{second}");
        let twice = with_line(&once, &second);
        assert_eq!(twice.matches("@reboot").count(), 1);
        assert_eq!(without_line(&twice), rest);
        assert_eq!(with_line("0 4 * * * backup", &first).lines().count(), 2);
    }
}
