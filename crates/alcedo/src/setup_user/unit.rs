//! The systemd user unit. It only starts: shims keep daemon and proxy running, and live on when it is stopped.

use std::fs;
use std::io;
use std::path::Path;

/// Its name.
pub(super) const NAME: &str = "alcedo.service";

/// Its text.
pub(super) fn text(exe: &Path, home: Option<&Path>) -> String {
    let environment = home
        .map(|home| format!("Environment={}\n", quoted(&format!("ALCEDO_HOME={}", home.display()))))
        .unwrap_or_default();
    format!(
        "# Written by `alcedo setup --user`; `alcedo setup --user --remove` removes it.\n\
         [Unit]\n\
         Description=alcedo: proxy, daemon and apps of this user\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         # What it started is kept running by its own supervisors and serves on.\n\
         KillMode=process\n\
         {environment}\
         ExecStart={} daemon --boot\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n",
        quoted(&exe.display().to_string())
    )
}

/// Writes it whole.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(dir)?;
    let temporary = dir.join(".alcedo.service.tmp");
    fs::write(&temporary, text)?;
    fs::rename(temporary, path)
}

/// Removes it with its link for boot, which `disable` leaves when no manager is there to ask.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let link = path.parent().map(|dir| dir.join("default.target.wants").join(NAME));
    for file in std::iter::once(path).chain(link.as_deref()) {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// systemd's own quoting: C escapes in double quotes, and `%` and `$` doubled.
fn quoted(text: &str) -> String {
    let escaped =
        text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_strange_characters_are_quoted() {
        let text = text(Path::new("/home/u/my bin/100%/alcedo"), Some(Path::new("/home/u/a")));
        assert!(
            text.contains("ExecStart=\"/home/u/my bin/100%%/alcedo\" daemon --boot\n"),
            "{text}"
        );
        assert!(text.contains("Environment=\"ALCEDO_HOME=/home/u/a\"\n"), "{text}");
    }
}
