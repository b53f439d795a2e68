//! The graceful signal by kind of server (S1-D2): the wrong one kills requests in flight.

/// Signals of servers whose graceful one is known, by the name of the program.
///
/// Sources: gunicorn.org/signals, uvicorn and hypercorn (TERM: finish, then exit), puma `docs/signals.md`, nginx
/// `control.html` (QUIT), unicorn `SIGNALS` (QUIT), php-fpm(8) (QUIT), httpd `stopping.html` (WINCH).
const SERVERS: &[(&str, &str)] = &[
    ("apache2", "SIGWINCH"),
    ("daphne", "SIGTERM"),
    ("granian", "SIGTERM"),
    ("gunicorn", "SIGTERM"),
    ("httpd", "SIGWINCH"),
    ("hypercorn", "SIGTERM"),
    ("nginx", "SIGQUIT"),
    ("node", "SIGTERM"),
    ("php", "SIGTERM"),
    ("puma", "SIGTERM"),
    ("unicorn", "SIGQUIT"),
    ("uvicorn", "SIGTERM"),
    ("uwsgi", "SIGQUIT"),
];

/// Programs that run what follows: with the word that has to come first, if any.
const LAUNCHERS: &[(&str, Option<&str>)] = &[
    ("bundle", Some("exec")),
    ("env", None),
    ("exec", None),
    ("nice", None),
    ("npx", None),
    ("pipenv", Some("run")),
    ("poetry", Some("run")),
    ("uv", Some("run")),
];

/// The server that a command starts and its graceful signal; `None` for a program nobody knows.
pub(crate) fn graceful_signal(command: &[String]) -> Option<(&'static str, &'static str)> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let program = match words.as_slice() {
        ["sh" | "/bin/sh" | "bash" | "/bin/bash", "-c", script, ..] => {
            // Without `exec` the shell itself gets the signal, and no preset can help.
            let script = script.trim_start().strip_prefix("exec ")?;
            program(&script.split_whitespace().collect::<Vec<_>>())?.to_owned()
        }
        words => program(words)?.to_owned(),
    };
    if program.starts_with("php-fpm") {
        return Some(("php-fpm", "SIGQUIT"));
    }
    let (server, signal) = SERVERS.iter().find(|(server, _)| *server == program)?;
    if *server == "uwsgi" && command.iter().any(|word| word.contains("--die-on-term")) {
        return Some((server, "SIGTERM"));
    }
    Some((server, signal))
}

/// The name of the program at the end of a chain of launchers.
fn program<'a>(words: &[&'a str]) -> Option<&'a str> {
    let (first, rest) = words.split_first()?;
    let name = first.rsplit('/').next().unwrap_or(first);
    if name.starts_with("python")
        && let ["-m", module, ..] = rest
    {
        return Some(module);
    }
    let Some((_, needs)) = LAUNCHERS.iter().find(|(launcher, _)| *launcher == name) else {
        return Some(name);
    };
    let rest = match (needs, rest) {
        (Some(word), [first, rest @ ..]) if first == word => rest,
        (Some(_), _) => return Some(name),
        (None, rest) => rest,
    };
    let is_setting = |word: &&&str| word.starts_with('-') || word.contains('=');
    program(&rest[rest.iter().take_while(is_setting).count()..])
}
