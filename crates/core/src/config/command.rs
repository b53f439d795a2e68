//! Command lines: text to argument list and back, without a shell.
//!
//! Quotes and backslashes work as in `sh`. What a shell would do beyond that is an error that shows the `sh -c` form.
//! In the words, `$NAME` and `${NAME}` are still to be replaced and `$$` is a dollar sign; see [`super::expand`].

use super::syntax::Complaint;
use super::toml_text;

/// The words of a command line.
pub(super) fn split(text: &str) -> Result<Vec<String>, Complaint> {
    let mut reader = Reader { text, rest: text, word: None, words: Vec::new() };
    if text.contains('\0') {
        return Err(Complaint::new("has a NUL character, which no command can have"));
    }
    reader.read()?;
    if reader.words.first().is_none_or(String::is_empty) {
        return Err(Complaint::new("names no program").hint("like \"bin/app --port {port}\""));
    }
    Ok(reader.words)
}

/// A text that splits into these words.
pub(super) fn join(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// The name that begins `text`, and whether it stands in braces; `text` follows a `$`.
pub(super) fn variable(text: &str) -> Option<(&str, usize)> {
    let (body, braces) = text.strip_prefix('{').map_or((text, 0), |body| (body, 2));
    let is_part = |(at, b): (usize, u8)| {
        b == b'_' || b.is_ascii_alphabetic() || (at > 0 && b.is_ascii_digit())
    };
    let length = body.bytes().enumerate().take_while(|part| is_part(*part)).count();
    let closed = braces == 0 || body[length..].starts_with('}');
    (length > 0 && closed).then(|| (&body[..length], length + braces))
}

/// What a shell takes as its own when it stands outside quotes.
const OPERATORS: &str = "|&;<>()`";
/// After a `$`, what a shell replaces and this does not.
const SPECIAL: &str = "({0123456789@*#?!-";

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    word: Option<Word>,
    words: Vec<String>,
}

#[derive(Default)]
struct Word {
    text: String,
    is_quoted: bool,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), Complaint> {
        while let Some(c) = self.next() {
            match c {
                ' ' | '\t' | '\n' | '\r' => self.end_word()?,
                '\'' => self.single_quoted()?,
                '"' => self.double_quoted()?,
                '\\' => self.escaped()?,
                '$' => self.dollar()?,
                '~' if self.word.is_none() => return Err(self.wants_shell("~")),
                c if OPERATORS.contains(c) => return Err(self.wants_shell(&c.to_string())),
                c => self.push(c),
            }
        }
        self.end_word()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn next_of(&mut self, wanted: &str) -> Option<char> {
        if self.rest.starts_with(|c| wanted.contains(c)) { self.next() } else { None }
    }

    fn current(&mut self) -> &mut Word {
        self.word.get_or_insert_default()
    }

    fn push(&mut self, c: char) {
        self.current().text.push(c);
    }

    /// A character that stands for itself.
    fn push_literal(&mut self, c: char) {
        self.push(c);
        if c == '$' {
            self.push(c);
        }
    }

    fn end_word(&mut self) -> Result<(), Complaint> {
        let Some(word) = self.word.take() else { return Ok(()) };
        if self.words.is_empty() && !word.is_quoted && is_assignment(&word.text) {
            let complaint =
                Complaint::new(format!("begins with `{}`, which only a shell sets", word.text));
            return Err(complaint.hint("put it into [env]"));
        }
        self.words.push(word.text);
        Ok(())
    }

    fn single_quoted(&mut self) -> Result<(), Complaint> {
        self.current().is_quoted = true;
        loop {
            match self.next() {
                Some('\'') => return Ok(()),
                Some(c) => self.push_literal(c),
                None => return Err(unbalanced('\'')),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<(), Complaint> {
        self.current().is_quoted = true;
        loop {
            match self.next() {
                Some('"') => return Ok(()),
                Some('`') => return Err(self.wants_shell("`")),
                Some('$') => self.dollar()?,
                Some('\\') => match self.next_of("$`\"\\\n") {
                    Some('\n') => {}
                    Some(c) => self.push_literal(c),
                    None => self.push('\\'),
                },
                Some(c) => self.push(c),
                None => return Err(unbalanced('"')),
            }
        }
    }

    fn escaped(&mut self) -> Result<(), Complaint> {
        match self.next() {
            Some('\n') => Ok(()),
            Some(c) => {
                self.current().is_quoted = true;
                self.push_literal(c);
                Ok(())
            }
            None => Err(Complaint::new("ends with a backslash").hint("`\\\\` is one backslash")),
        }
    }

    /// `$NAME` and `${NAME}` are kept for later, a `$` that means nothing is itself, `$$` as well.
    fn dollar(&mut self) -> Result<(), Complaint> {
        if let Some((_, length)) = variable(self.rest) {
            let (name, rest) = self.rest.split_at(length);
            self.current().text.extend(["$", name]);
            self.rest = rest;
            return Ok(());
        }
        if let Some(next) = self.rest.chars().next().filter(|c| SPECIAL.contains(*c)) {
            return Err(self.wants_shell(&format!("${next}")));
        }
        self.next_of("$");
        self.push_literal('$');
        Ok(())
    }

    fn wants_shell(&self, operator: &str) -> Complaint {
        let shell = format!("sh -c {}", shell_words::quote(self.text.trim()));
        Complaint::new(format!("has `{operator}`, but no shell runs it"))
            .hint(format!("quote it, or ask for a shell: {}", toml_text::string(&shell)))
    }
}

fn unbalanced(quote: char) -> Complaint {
    Complaint::new(format!("opens a quote with {quote} and does not close it"))
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| variable(name).is_some_and(|(whole, _)| whole.len() == name.len()))
}

fn quoted(word: &str) -> String {
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || "@%+=:,./{}-_*?[]#!^".contains(c) || c == '$';
    let is_bare = !word.is_empty()
        && !word.contains("$$")
        && !is_assignment(word)
        && word.chars().all(is_plain);
    if is_bare {
        return word.to_owned();
    }
    let mut out = String::from("\"");
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\\' | '`' => out.extend(['\\', c]),
            '$' if chars.next_if_eq(&'$').is_some() => out.push_str("\\$"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
