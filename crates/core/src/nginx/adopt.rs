//! Hand-made blue-green layouts, as their posts describe them: what chooses the slot, and which one is live now. Read from
//! what nginx has loaded, never from what somebody remembers.

use super::text::{Directive, Dump, Place};
use crate::slot::Slot;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is known of files beside those that nginx printed.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// Symbolic links among the included files, and where each leads.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Texts of files in the same directories that nginx did not print: the other colour's.
    pub texts: BTreeMap<PathBuf, String>,
}

/// How a layout chooses its slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// One file with the upstream, its address replaced in place (S0).
    EditedUpstream,
    /// A link to one of two files with the upstream (S0's refinement, S3).
    LinkedUpstream,
    /// An included file that sets a variable to an address (S1).
    SetVariable,
}

/// What is changed to switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switch {
    /// The address in this file.
    File(PathBuf),
    /// Where this link leads.
    Link {
        /// The link.
        path: PathBuf,
        /// Where it leads now.
        to: PathBuf,
        /// The two files, as far as they are known.
        files: BTreeMap<Slot, PathBuf>,
    },
}

/// One site that could be taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// How it chooses.
    pub shape: Shape,
    /// The upstream's name or the variable's, without `$`.
    pub name: String,
    /// Names that it serves.
    pub domains: Vec<String>,
    /// Where its server block stands: the one that proxies.
    pub site: Place,
    /// What is changed to switch.
    pub switch: Switch,
    /// The address that nginx sends to now.
    pub live_address: String,
    /// Whose address that is, when the layout itself says so; a comment never counts (S0-D3).
    pub live: Option<Slot>,
    /// Addresses by slot, as far as the files say.
    pub addresses: BTreeMap<Slot, String>,
    /// Whether it answers TLS.
    pub has_tls: bool,
    /// Whether the app is told the name that was asked for.
    pub passes_host: bool,
}

impl Adopted {
    /// What is replaced to switch: the file, or the link.
    pub fn switch_file(&self) -> &Path {
        match &self.switch {
            Switch::File(path) | Switch::Link { path, .. } => path,
        }
    }

    /// The live slot by its port, once it is known which slot has which (from the units).
    pub fn live_by_port(&self, blue: u16, green: u16) -> Option<Slot> {
        let port: u16 = self.live_address.rsplit(':').next()?.parse().ok()?;
        match port {
            port if port == blue => Some(Slot::Blue),
            port if port == green => Some(Slot::Green),
            _ => self.live,
        }
    }
}

/// Every layout of a known shape. A site of no known shape is not in the list: nothing is guessed.
pub fn read(dump: &Dump, beside: &Beside) -> Vec<Adopted> {
    let servers = dump.http().filter(|d| d.name == "server");
    let mut found: Vec<Adopted> =
        servers.filter_map(|server| of_server(dump, beside, server)).collect();
    found.dedup_by(|a, b| a.site == b.site);
    found
}

fn of_server(dump: &Dump, beside: &Beside, server: &Directive) -> Option<Adopted> {
    let pass = server.walk().into_iter().find(|d| d.name == "proxy_pass")?;
    let target = pass.arg().strip_prefix("http://").unwrap_or(pass.arg());
    let adopted = match target.strip_prefix('$') {
        Some(variable) => by_variable(server, variable)?,
        None => by_upstream(dump, beside, target.trim_end_matches('/'))?,
    };
    let names = server.all("server_name").flat_map(|names| names.args.clone());
    Some(Adopted {
        domains: names.filter(|name| name != "_").collect(),
        site: server.place.clone(),
        has_tls: server.all("listen").any(|l| l.args.iter().any(|a| a == "ssl")),
        passes_host: server.walk().iter().any(|d| {
            let value = d.args.get(1).map(String::as_str);
            d.name == "proxy_set_header"
                && d.arg().eq_ignore_ascii_case("host")
                && matches!(value, Some("$host" | "$http_host"))
        }),
        ..adopted
    })
}

/// S1: `set $saltbox_upstream http://127.0.0.1:9011;` from an included file.
fn by_variable(server: &Directive, variable: &str) -> Option<Adopted> {
    let mut sets = server.all("set").filter(|set| set.arg().strip_prefix('$') == Some(variable));
    // Among several the last one counts, but then the file alone does not choose.
    let (set, None) = (sets.next()?, sets.next()) else { return None };
    // In the site itself it is no selector: nothing but the choice may stand in a file that is rewritten.
    if set.place.file == server.place.file {
        return None;
    }
    let address = set.args.get(1)?.strip_prefix("http://")?.trim_end_matches('/').to_owned();
    Some(Adopted {
        shape: Shape::SetVariable,
        name: variable.to_owned(),
        domains: Vec::new(),
        site: server.place.clone(),
        switch: Switch::File(set.place.file.clone()),
        live_address: address,
        live: None,
        addresses: BTreeMap::new(),
        has_tls: false,
        passes_host: false,
    })
}

fn by_upstream(dump: &Dump, beside: &Beside, name: &str) -> Option<Adopted> {
    let upstream = dump.http().find(|d| d.name == "upstream" && d.arg() == name)?;
    let address = only_server(upstream)?;
    let file = &upstream.place.file;
    // In the file of the site or the main file, nothing was made for switching.
    let has_more = dump.http().any(|d| d.place.file == *file && d.name != "upstream");
    if has_more || *file == dump.path {
        return None;
    }
    let adopted = Adopted {
        shape: Shape::EditedUpstream,
        name: name.to_owned(),
        domains: Vec::new(),
        site: upstream.place.clone(),
        switch: Switch::File(file.clone()),
        live_address: address,
        live: None,
        addresses: BTreeMap::new(),
        has_tls: false,
        passes_host: false,
    };
    let link = std::iter::once(file).chain(&upstream.via).find(|f| beside.links.contains_key(*f));
    Some(match link {
        Some(link) => linked(beside, link, adopted),
        None => adopted,
    })
}

fn linked(beside: &Beside, link: &Path, adopted: Adopted) -> Adopted {
    let dir = link.parent().unwrap_or(Path::new("/"));
    let to = beside.links.get(link).map(|to| dir.join(to)).unwrap_or_default();
    let live = colour(&to);
    let mut files: BTreeMap<Slot, PathBuf> =
        live.map(|slot| (slot, to.clone())).into_iter().collect();
    let mut addresses: BTreeMap<Slot, String> =
        live.map(|slot| (slot, adopted.live_address.clone())).into_iter().collect();
    for (path, text) in &beside.texts {
        let (Some(slot), true) = (colour(path), path.parent() == to.parent()) else { continue };
        let Ok(directives) = super::text::parse_file(path, text) else { continue };
        let own = directives.iter().find(|d| d.name == "upstream" && d.arg() == adopted.name);
        if let Some(address) = own.and_then(only_server) {
            files.entry(slot).or_insert_with(|| path.clone());
            addresses.entry(slot).or_insert(address);
        }
    }
    let switch = Switch::Link { path: link.to_owned(), to, files };
    Adopted { shape: Shape::LinkedUpstream, switch, live, addresses, ..adopted }
}

/// The file's text with another address in the place of the live one: nothing else of it is changed. `None`: the address
/// is not in it exactly once.
pub fn pointed_at(text: &str, shape: &Shape, to: &str) -> Option<String> {
    let (key, prefix) = match shape {
        Shape::EditedUpstream | Shape::LinkedUpstream => ("server", ""),
        Shape::SetVariable => ("set", "http://"),
    };
    let is_it = |line: &&str| line.split_whitespace().next() == Some(key);
    let mut found = text.lines().filter(is_it);
    let (line, None) = (found.next()?, found.next()) else { return None };
    let value = line.split_whitespace().nth(if prefix.is_empty() { 1 } else { 2 })?;
    let value = value.split(';').next()?.trim_matches(['"', '\'']);
    let at = text.find(line)? + line.find(value)?;
    let mut out = text.to_owned();
    out.replace_range(at..at + value.len(), &format!("{prefix}{to}"));
    Some(out)
}

/// The one server of an upstream; with several, none of them is the live slot.
fn only_server(upstream: &Directive) -> Option<String> {
    let mut servers = upstream.all("server");
    let (only, None) = (servers.next()?, servers.next()) else { return None };
    Some(only.arg().to_owned())
}

fn colour(path: &Path) -> Option<Slot> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    let mut fits = Slot::BOTH.into_iter().filter(|slot| name.contains(slot.as_str()));
    match (fits.next(), fits.next()) {
        (Some(slot), None) => Some(slot),
        (_, _) => None,
    }
}
