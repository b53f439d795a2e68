//! Colour and characters. Colour only repeats what words say; without UTF-8 everything is ASCII.

use std::borrow::Cow;

/// What may be used on this terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ink {
    /// Escape sequences.
    pub(crate) color: Color,
    /// Characters beyond ASCII.
    pub(crate) script: Script,
}

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Color {
    /// Yes.
    On,
    /// No.
    Off,
}

/// Which characters there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// All.
    Utf8,
    /// The first 128.
    Ascii,
}

/// A colour of the 16 that every terminal has, so that its own scheme decides the shade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tint {
    /// It went well.
    Green,
    /// It did not.
    Red,
    /// Look here.
    Yellow,
    /// It is under way.
    Cyan,
    /// Nothing to see.
    Dim,
}

impl Color {
    /// `flag`: what the command line says, `None` for `auto`. An environment that forbids wins over one that forces.
    pub(crate) fn choose(
        flag: Option<Self>,
        terminal: bool,
        var: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let set = |name: &str| var(name).filter(|value| !value.is_empty());
        match flag {
            Some(flag) => flag,
            None if set("NO_COLOR").is_some() => Self::Off,
            None if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") => Self::On,
            None if terminal && set("TERM").is_none_or(|term| term != "dumb") => Self::On,
            None => Self::Off,
        }
    }
}

impl Script {
    /// By the locale: the first of LC_ALL, LC_CTYPE and LANG that is set decides.
    pub(crate) fn choose(var: &dyn Fn(&str) -> Option<String>) -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .find_map(|name| var(name).filter(|v| !v.is_empty()));
        let utf8 = locale.is_some_and(|l| {
            let lower = l.to_ascii_lowercase();
            lower.contains("utf-8") || lower.contains("utf8")
        });
        if utf8 { Self::Utf8 } else { Self::Ascii }
    }
}

impl Ink {
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { color: Color::Off, script: Script::Utf8 };

    /// The text in a colour.
    pub(crate) fn tint(self, tint: Tint, text: &str) -> String {
        let code = match tint {
            Tint::Green => 32,
            Tint::Red => 31,
            Tint::Yellow => 33,
            Tint::Cyan => 36,
            Tint::Dim => 2,
        };
        match self.color {
            Color::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Color::Off => text.to_owned(),
        }
    }

    /// The text in the characters that there are. What comes from outside loses its control characters as well: a log
    /// line must not move the cursor.
    pub(crate) fn text(self, text: &str) -> Cow<'_, str> {
        let harmless = |c: char| !c.is_control() || c == '\n';
        match self.script {
            Script::Utf8 if text.chars().all(harmless) => Cow::Borrowed(text),
            Script::Utf8 => text.chars().map(|c| if harmless(c) { c } else { ' ' }).collect(),
            Script::Ascii if text.is_ascii() && text.chars().all(harmless) => Cow::Borrowed(text),
            Script::Ascii => text
                .chars()
                .map(|c| if harmless(c) { ascii(c) } else { " ".into() })
                .collect::<String>()
                .into(),
        }
    }
}

fn ascii(c: char) -> Cow<'static, str> {
    match c {
        '·' | '–' | '—' | '−' => "-".into(),
        '…' => "...".into(),
        '→' => "->".into(),
        '×' => "x".into(),
        'µ' => "u".into(),
        '“' | '”' => "\"".into(),
        '‘' | '’' => "'".into(),
        c if c.is_ascii() => c.to_string().into(),
        _ => "?".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars<'a>(list: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| list.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn colour_is_for_terminals_and_can_be_forbidden_and_forced() {
        let auto = |terminal, list: &[(&str, &str)]| Color::choose(None, terminal, &vars(list));
        assert_eq!(auto(true, &[]), Color::On);
        assert_eq!(auto(false, &[]), Color::Off);
        assert_eq!(auto(true, &[("TERM", "dumb")]), Color::Off);
        assert_eq!(auto(true, &[("NO_COLOR", "1")]), Color::Off);
        assert_eq!(auto(true, &[("NO_COLOR", "")]), Color::On);
        assert_eq!(auto(false, &[("CLICOLOR_FORCE", "1")]), Color::On);
        assert_eq!(auto(false, &[("CLICOLOR_FORCE", "0")]), Color::Off);
        assert_eq!(Color::choose(Some(Color::On), false, &vars(&[("NO_COLOR", "1")])), Color::On);
    }

    #[test]
    fn without_utf8_everything_is_ascii() {
        assert_eq!(Script::choose(&vars(&[("LANG", "de_DE.UTF-8")])), Script::Utf8);
        assert_eq!(
            Script::choose(&vars(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")])),
            Script::Ascii
        );
        assert_eq!(Script::choose(&vars(&[])), Script::Ascii);
        let ink = Ink { color: Color::Off, script: Script::Ascii };
        assert_eq!(ink.text("api · 1 → 2 … 3 × é"), "api - 1 -> 2 ... 3 x ?");
    }

    #[test]
    fn a_log_line_cannot_move_the_cursor() {
        assert_eq!(Ink::PLAIN.text("a\x1b[2Jb\rc\n"), "a [2Jb c\n");
    }

    #[test]
    fn colour_adds_nothing_but_escapes() {
        let ink = Ink { color: Color::On, script: Script::Utf8 };
        assert_eq!(ink.tint(Tint::Red, "FAIL"), "\x1b[31mFAIL\x1b[0m");
        assert_eq!(Ink::PLAIN.tint(Tint::Red, "FAIL"), "FAIL");
    }
}
