//! What `nginx -T` prints, as directives with their places. Nothing is judged here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Deeper blocks and longer chains of includes are refused.
const DEPTH_MAX: usize = 40;
/// More directives than this are refused: an include that includes itself grows without end.
const DIRECTIVES_MAX: usize = 200_000;
/// How `nginx -T` begins each file.
const FILE_MARK: &str = "# configuration file ";

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Counts from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// One directive; of an `include` what it includes stands in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// `server`, `listen`, `proxy_pass` …
    pub name: String,
    /// Its arguments, quotes taken away.
    pub args: Vec<String>,
    /// Where it stands.
    pub place: Place,
    /// What stands in its block; empty when it has none.
    pub block: Vec<Directive>,
    /// The files whose `include`s led here, the main file first and left out.
    pub via: Vec<PathBuf>,
}

impl Directive {
    /// The first argument.
    pub fn arg(&self) -> &str {
        self.args.first().map_or("", String::as_str)
    }

    /// Directives of that name directly in the block.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Directive> {
        self.block.iter().filter(move |d| d.name == name)
    }

    /// It and everything below it.
    pub fn walk(&self) -> Vec<&Directive> {
        let mut found = vec![self];
        let mut at = 0;
        while let Some(next) = found.get(at) {
            found.extend(&next.block);
            at += 1;
        }
        found
    }
}

/// Everything that a running nginx would read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dump {
    /// The main file's directives, includes put in.
    pub main: Vec<Directive>,
    /// Every file as printed, in order; a file included twice is printed twice and stands here once.
    pub files: BTreeMap<PathBuf, String>,
    /// The main file.
    pub path: PathBuf,
    /// `include` patterns with their places, in the order met.
    pub includes: Vec<(String, Place)>,
}

impl Dump {
    /// The directives of the `http` block.
    pub fn http(&self) -> impl Iterator<Item = &Directive> {
        self.main.iter().filter(|d| d.name == "http").flat_map(|d| &d.block)
    }

    /// A directive of the main context.
    pub fn main_arg(&self, name: &str) -> Option<&str> {
        self.main.iter().find(|d| d.name == name).map(Directive::arg)
    }
}

/// Why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// There is no file in it.
    #[error("find a configuration file in what `nginx -T` printed")]
    Empty,
    /// Not what nginx would take either.
    #[error("read {place}: {problem}")]
    Syntax {
        /// Where.
        place: Place,
        /// What.
        problem: &'static str,
    },
}

/// Reads what `nginx -T` printed.
pub fn parse_dump(text: &str) -> Result<Dump, TextError> {
    let files = split_files(text);
    let Some((path, _)) = files.first().cloned() else { return Err(TextError::Empty) };
    let mut trees = BTreeMap::new();
    for (file, text) in &files {
        if !trees.contains_key(file) {
            trees.insert(file.clone(), parse_file(file, text)?);
        }
    }
    let mut includes = Vec::new();
    let base = path.parent().unwrap_or(Path::new("/")).to_owned();
    let mut budget = DIRECTIVES_MAX;
    let mut expansion =
        Expansion { trees: &trees, base: &base, includes: &mut includes, budget: &mut budget };
    let own = trees.get(&path).cloned().unwrap_or_default();
    let main = expansion.put_in(own, &[], 0)?;
    let mut by_name = BTreeMap::new();
    for (file, text) in files {
        by_name.entry(file).or_insert(text);
    }
    Ok(Dump { main, files: by_name, path, includes })
}

fn split_files(text: &str) -> Vec<(PathBuf, String)> {
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    for line in text.split_inclusive('\n') {
        let mark = line.strip_prefix(FILE_MARK).and_then(|rest| rest.trim_end().strip_suffix(':'));
        match (mark, files.last_mut()) {
            (Some(path), _) => files.push((PathBuf::from(path), String::new())),
            (None, Some((_, text))) => text.push_str(line),
            // `nginx: the configuration file … syntax is ok`
            (None, None) => {}
        }
    }
    files
}

struct Expansion<'a> {
    trees: &'a BTreeMap<PathBuf, Vec<Directive>>,
    base: &'a Path,
    includes: &'a mut Vec<(String, Place)>,
    budget: &'a mut usize,
}

impl Expansion<'_> {
    fn put_in(
        &mut self,
        list: Vec<Directive>,
        via: &[PathBuf],
        depth: usize,
    ) -> Result<Vec<Directive>, TextError> {
        let mut out = Vec::new();
        for mut directive in list {
            *self.budget = self.budget.saturating_sub(1);
            if depth > DEPTH_MAX || *self.budget == 0 {
                let problem = "includes and blocks are too many or too deep";
                return Err(TextError::Syntax { place: directive.place, problem });
            }
            if directive.name == "include" && !directive.args.is_empty() {
                let pattern = self.base.join(directive.arg());
                let pattern = pattern.to_string_lossy().into_owned();
                self.includes.push((pattern.clone(), directive.place.clone()));
                for (file, tree) in self.trees.iter().filter(|(f, _)| fits(&pattern, f)) {
                    let via: Vec<PathBuf> = via.iter().cloned().chain([file.clone()]).collect();
                    out.extend(self.put_in(tree.clone(), &via, depth + 1)?);
                }
                continue;
            }
            directive.block = self.put_in(directive.block, via, depth + 1)?;
            directive.via = via.to_vec();
            out.push(directive);
        }
        Ok(out)
    }
}

/// `*` and `?` within one name, as nginx's `glob` does it (a hidden file fits no `*`).
pub(super) fn fits(pattern: &str, path: &Path) -> bool {
    let path = path.to_string_lossy();
    let (mut patterns, mut names) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if name_fits(pattern.as_bytes(), name.as_bytes()) => {}
            (_, _) => return false,
        }
    }
}

fn name_fits(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            Some(_) | None => match star {
                Some((at, from)) => {
                    p = at + 1;
                    n = from + 1;
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

/// Directives of one file; `include`s stay as they are.
pub(super) fn parse_file(file: &Path, text: &str) -> Result<Vec<Directive>, TextError> {
    let error =
        |line, problem| TextError::Syntax { place: Place { file: file.to_owned(), line }, problem };
    let mut stack: Vec<(Directive, Vec<Directive>)> = Vec::new();
    let (mut list, mut words): (Vec<Directive>, Vec<(String, usize)>) = (Vec::new(), Vec::new());
    let made = |words: &mut Vec<(String, usize)>| {
        let mut words = std::mem::take(words).into_iter();
        let (name, line) = words.next()?;
        let args = words.map(|(word, _)| word).collect();
        let place = Place { file: file.to_owned(), line };
        Some(Directive { name, args, place, block: Vec::new(), via: Vec::new() })
    };
    for (token, line) in tokens(text).map_err(|(line, problem)| error(line, problem))? {
        match token {
            Token::Word(word) => words.push((word, line)),
            Token::End => {
                list.push(made(&mut words).ok_or_else(|| error(line, "a `;` without a directive"))?)
            }
            Token::Open => {
                let head =
                    made(&mut words).ok_or_else(|| error(line, "a `{` without a directive"))?;
                if stack.len() >= DEPTH_MAX {
                    return Err(error(line, "blocks are too deep"));
                }
                stack.push((head, std::mem::take(&mut list)));
            }
            Token::Close => {
                if !words.is_empty() {
                    return Err(error(line, "a directive without `;`"));
                }
                let (mut head, outer) = stack.pop().ok_or_else(|| error(line, "a `}` too many"))?;
                head.block = std::mem::replace(&mut list, outer);
                list.push(head);
            }
        }
    }
    if let Some((_, line)) = words.first() {
        return Err(error(*line, "a directive without `;`"));
    }
    match stack.pop() {
        Some((head, _)) => Err(error(head.place.line, "a block without `}`")),
        None => Ok(list),
    }
}

type Tokens = Vec<(Token, usize)>;

fn tokens(text: &str) -> Result<Tokens, (usize, &'static str)> {
    let mut out = Tokens::new();
    let mut line = 1;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let at = line;
        match c {
            '\n' => line += 1,
            c if c.is_whitespace() => {}
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            ';' => out.push((Token::End, at)),
            '{' => out.push((Token::Open, at)),
            '}' => out.push((Token::Close, at)),
            '"' | '\'' => {
                let mut word = String::new();
                loop {
                    match chars.next() {
                        None => return Err((at, "a quotation without its end")),
                        Some('\\') => {
                            // nginx keeps the backslash but before quotes and itself.
                            let next = chars.next().ok_or((at, "a quotation without its end"))?;
                            if !matches!(next, '"' | '\'' | '\\') {
                                word.push('\\');
                            }
                            line += usize::from(next == '\n');
                            word.push(next);
                        }
                        Some(end) if end == c => break,
                        Some(inner) => {
                            line += usize::from(inner == '\n');
                            word.push(inner);
                        }
                    }
                }
                out.push((Token::Word(word), at));
            }
            first => {
                let mut word = String::from(first);
                while let Some(next) = chars.next_if(|c| {
                    !c.is_whitespace() && *c != ';' && (*c != '{' || word.ends_with('$'))
                }) {
                    word.push(next);
                    if next == '\\'
                        && let Some(escaped) = chars.next_if(|c| !c.is_whitespace())
                    {
                        word.push(escaped);
                    }
                }
                out.push((Token::Word(word), at));
            }
        }
    }
    Ok(out)
}

/// A text as one word of nginx's language. Variables in it stay variables.
pub fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@:$".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
