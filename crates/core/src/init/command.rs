//! Command lines of other tools as ours: an argument list, the port filled in by alcedo.

/// What only a shell understands.
const SHELL: [char; 8] = ['|', '&', ';', '<', '>', '(', ')', '`'];

/// A line that was written for a shell. `$PORT` in all its forms is `{port}`; what needs a shell gets one.
pub(super) fn as_command(line: &str) -> String {
    let line = with_port(line.trim());
    let sets = line.split_whitespace().next().is_some_and(is_setting);
    if !line.contains(SHELL) && !sets && !line.contains("$(") && !line.contains("${") {
        return line;
    }
    // The shell must not stand between the signal and the server.
    let needs_exec = !line.contains(['|', '&', ';']) && !line.starts_with("exec ") && !sets;
    let line = if needs_exec { format!("exec {line}") } else { with_exec_last(&line) };
    // Within double quotes the outer reader takes `$` for its own.
    format!("sh -c {}", quoted(&line))
}

/// The last command of a chain takes the shell's place.
fn with_exec_last(line: &str) -> String {
    if line.contains("exec ") || line.contains('|') && !line.contains("||") {
        return line.to_owned();
    }
    let at =
        line.rfind("&&").map(|at| at + 2).or_else(|| line.rfind(';').map(|at| at + 1)).unwrap_or(0);
    let (before, last) = line.split_at(at);
    let last = last.trim();
    let settings: Vec<&str> = last.split_whitespace().take_while(|word| is_setting(word)).collect();
    let rest = last.splitn(settings.len() + 1, ' ').last().unwrap_or(last);
    let parts = [before.trim(), &settings.join(" "), "exec", rest];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// `NAME=value` before a command.
pub(super) fn is_setting(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    })
}

/// `$PORT`, `${PORT}` and `${PORT:-8000}`.
fn with_port(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("$") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let braced = rest.strip_prefix("${PORT").and_then(|after| {
            let end = after.find('}')?;
            (end == 0 || after.starts_with(':') || after.starts_with('-'))
                .then(|| &after[end + 1..])
        });
        let plain = rest
            .strip_prefix("$PORT")
            .filter(|after| !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
        match braced.or(plain) {
            Some(after) => {
                out.push_str("{port}");
                rest = after;
            }
            None => {
                out.push('$');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
