//! Units of systemd as text: what hand-made services of an app run, where, and as whom.
//!
//! Pure: texts in. Template units are read once for each slot, as `%i` would be.

use crate::slot::Slot;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One unit that starts something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// `example-blue.service`, `saltbox-api@blue.service`.
    pub name: String,
    /// Where it is written.
    pub file: PathBuf,
    /// The slot that its name says.
    pub slot: Option<Slot>,
    /// `ExecStart`, as words, variables filled in.
    pub exec: Vec<String>,
    /// `WorkingDirectory`.
    pub dir: Option<PathBuf>,
    /// `User`.
    pub user: Option<String>,
    /// `KillSignal`.
    pub kill_signal: Option<String>,
    /// `Environment` and what its files say.
    pub env: BTreeMap<String, String>,
    /// The loopback port that its command or its environment names.
    pub port: Option<u16>,
    /// Directive → line, counted from 1: for findings.
    pub lines: BTreeMap<String, usize>,
}

impl Unit {
    /// `FILE:LINE` of a directive.
    pub fn at(&self, directive: &str) -> String {
        let line = self.lines.get(directive).copied().unwrap_or(1);
        format!("{}:{line}", self.file.display())
    }

    /// The name of the program: of `/srv/x/venv/bin/gunicorn` the last part.
    pub fn program(&self) -> &str {
        let first = self.exec.first().map_or("", String::as_str);
        first.rsplit('/').next().unwrap_or(first)
    }
}

/// The units of a file: one, or one for each slot of a template. `files`: texts of its `EnvironmentFile`s.
pub fn parse(file: &Path, text: &str, files: &BTreeMap<PathBuf, String>) -> Vec<Unit> {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    match name.strip_suffix("@.service") {
        Some(stem) => Slot::BOTH
            .into_iter()
            .filter_map(|slot| {
                one(file, &format!("{stem}@{slot}.service"), slot.as_str(), text, files)
            })
            .collect(),
        None => one(file, name, "", text, files).into_iter().collect(),
    }
}

/// The files that a unit reads its environment from, for whoever reads them.
pub fn environment_files(file: &Path, text: &str) -> Vec<PathBuf> {
    let is_template = file.to_string_lossy().ends_with("@.service");
    let instances: Vec<&str> =
        if is_template { Slot::BOTH.iter().map(|s| s.as_str()).collect() } else { vec![""] };
    let lines = directives(text);
    let named = lines.iter().filter(|(key, ..)| key == "EnvironmentFile");
    let path = |value: &str, instance: &str| {
        PathBuf::from(value.trim_start_matches('-').replace("%i", instance))
    };
    named
        .flat_map(|(_, value, _)| instances.iter().map(move |instance| path(value, instance)))
        .collect()
}

/// The slot that a name says, when it says one.
pub fn slot_in(name: &str) -> Option<Slot> {
    let name = name.to_lowercase();
    let mut fits = Slot::BOTH.into_iter().filter(|slot| name.contains(slot.as_str()));
    match (fits.next(), fits.next()) {
        (Some(slot), None) => Some(slot),
        (_, _) => None,
    }
}

fn one(
    file: &Path,
    name: &str,
    instance: &str,
    text: &str,
    files: &BTreeMap<PathBuf, String>,
) -> Option<Unit> {
    let stem = name.split('@').next().unwrap_or(name).trim_end_matches(".service");
    let filled = |value: &str| {
        value.replace("%i", instance).replace("%I", instance).replace("%p", stem).replace("%%", "%")
    };
    let lines = directives(text);
    let last =
        |key: &str| lines.iter().rev().find(|(k, ..)| k == key).map(|(_, value, _)| filled(value));
    let mut env = BTreeMap::new();
    for (_, value, _) in lines.iter().filter(|(key, ..)| key == "Environment") {
        env.extend(shell_words::split(&filled(value)).unwrap_or_default().iter().filter_map(pair));
    }
    for (_, value, _) in lines.iter().filter(|(key, ..)| key == "EnvironmentFile") {
        let path = PathBuf::from(filled(value.trim_start_matches('-')));
        let text = files.get(&path).map(String::as_str).unwrap_or_default();
        env.extend(
            text.lines().filter(|line| !line.trim_start().starts_with('#')).filter_map(pair),
        );
    }
    let exec = last("ExecStart")?;
    let exec = exec.trim_start_matches(['-', '@', ':', '+', '!']);
    let exec: Vec<String> =
        shell_words::split(exec).ok()?.iter().map(|word| with_env(word, &env)).collect();
    let port = port_of(&exec).or_else(|| env.get("PORT")?.parse().ok());
    Some(Unit {
        name: name.to_owned(),
        file: file.to_owned(),
        slot: slot_in(name),
        port,
        dir: last("WorkingDirectory").map(|dir| PathBuf::from(dir.trim_start_matches('-'))),
        user: last("User"),
        kill_signal: last("KillSignal"),
        lines: lines.iter().map(|(key, _, line)| (key.clone(), *line)).collect(),
        exec,
        env,
    })
}

/// Keys with values and the lines on which they begin; continued lines are one.
fn directives(text: &str) -> Vec<(String, String, usize)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let mut whole = line.trim().to_owned();
        if whole.starts_with(['#', ';', '[']) {
            continue;
        }
        while whole.ends_with('\\') {
            whole.pop();
            let Some((_, next)) = lines.next() else { break };
            whole.push_str(next.trim());
            if !whole.ends_with('\\') {
                break;
            }
        }
        if let Some((key, value)) = whole.split_once('=') {
            found.push((key.trim().to_owned(), value.trim().to_owned(), at + 1));
        }
    }
    found
}

fn pair(word: impl AsRef<str>) -> Option<(String, String)> {
    let (name, value) = word.as_ref().trim().split_once('=')?;
    Some((name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
}

fn with_env(word: &str, env: &BTreeMap<String, String>) -> String {
    env.iter().fold(word.to_owned(), |word, (name, value)| {
        let word = word.replace(&format!("${{{name}}}"), value);
        if word == format!("${name}") { value.clone() } else { word }
    })
}

/// The port behind a flag or an address, for which a client on this host would ask.
pub fn port_of(words: &[String]) -> Option<u16> {
    let flags =
        ["--port", "-p", "--bind", "-b", "-S", "--listen", "--addr", "-addr", "-port", "-l"];
    let after = |text: &str| text.rsplit(':').next()?.parse().ok().filter(|port| *port > 0);
    let behind = words
        .windows(2)
        .filter(|pair| flags.contains(&pair[0].as_str()))
        .find_map(|pair| after(&pair[1]));
    let joined = || {
        let values = words.iter().filter_map(|word| word.split_once('='));
        values.filter(|(flag, _)| flags.contains(flag)).find_map(|(_, value)| after(value))
    };
    behind.or_else(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S0-6: one unit for each colour.
    #[test]
    fn unit_of_one_colour_names_its_port_and_its_directory() {
        let text = "[Service]\nUser=www-data\nWorkingDirectory=/srv/www/example.com/blue\nExecStart=/usr/bin/php -S 127.0.0.1:9001 -t public\n";
        let units =
            parse(Path::new("/etc/systemd/system/example-blue.service"), text, &BTreeMap::new());
        let [unit] = units.as_slice() else { panic!("{units:?}") };
        assert_eq!((unit.slot, unit.port), (Some(Slot::Blue), Some(9001)));
        assert_eq!(unit.user.as_deref(), Some("www-data"));
        assert_eq!(unit.at("ExecStart"), "/etc/systemd/system/example-blue.service:4");
        assert_eq!(unit.program(), "php");
    }

    /// S1-20, S1-21: a template, with the port in a file of each instance.
    #[test]
    fn template_is_a_unit_for_each_slot_with_the_port_of_its_file() {
        let text = "[Service]\nEnvironmentFile=/etc/saltbox/saltbox-api-%i.env\nExecStart=/srv/saltbox/current/venv/bin/gunicorn \\\n  --workers 2 \\\n  --bind 127.0.0.1:${PORT} \\\n  main:app\nKillSignal=SIGQUIT\n";
        let file = Path::new("/etc/systemd/system/saltbox-api@.service");
        let wanted = environment_files(file, text);
        assert_eq!(wanted.len(), 2);
        let files =
            wanted.into_iter().zip(["PORT=9011\n".to_owned(), "PORT=9012\n".to_owned()]).collect();
        let units = parse(file, text, &files);
        let ports: Vec<_> = units.iter().map(|unit| (unit.slot, unit.port)).collect();
        assert_eq!(ports, [(Some(Slot::Blue), Some(9011)), (Some(Slot::Green), Some(9012))]);
        assert_eq!(units[0].exec.last().map(String::as_str), Some("main:app"));
        assert_eq!(units[1].kill_signal.as_deref(), Some("SIGQUIT"));
        assert_eq!(units[1].at("KillSignal"), format!("{}:7", file.display()));
    }

    #[test]
    fn strange_units_are_nothing_and_no_panic() {
        for text in [
            "",
            "ExecStart",
            "ExecStart=",
            "ExecStart='open\n",
            "[Service]\nExecStart=a \\",
            "=\n\\\n",
        ] {
            parse(Path::new("/x/y@.service"), text, &BTreeMap::new());
            parse(Path::new("/"), text, &BTreeMap::new());
        }
    }
}
