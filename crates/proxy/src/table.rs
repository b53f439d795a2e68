//! Which service a request is for: by listener and host, then by the longest path prefix.
//!
//! Built whole when a structure changes and never by a switch, so a switch costs the same with 1,000 services.

use crate::cidr::{Cidr, CidrError};
use crate::live::{Service, prefix_fits, trim_prefix};
use crate::state::Structure;
use std::collections::HashMap;
use std::sync::Arc;

/// Number of a listener, fixed for the life of its socket.
pub(crate) type ListenerNumber = usize;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Table {
    listeners: Vec<Hosts>,
    pub(crate) entries: Vec<Entry>,
    /// Some state file could not be read, so an unknown host may be one of ours.
    pub(crate) is_incomplete: bool,
}

/// One service with what requests need of its structure.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) service: Arc<Service>,
    pub(crate) rules: Arc<Rules>,
    /// Where it is reachable.
    pub(crate) listeners: Vec<ListenerNumber>,
}

/// What requests need of a structure, parsed.
#[derive(Debug)]
pub(crate) struct Rules {
    domains: Vec<String>,
    aliases: Vec<String>,
    prefixes: Vec<String>,
    pub(crate) max_body_bytes: u64,
    pub(crate) timeout_ms: u64,
    pub(crate) trusted: Vec<Cidr>,
    pub(crate) health_path: Option<String>,
}

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The service with this index in `entries`.
    Service(usize),
    /// A host that is redirected to the first domain of this entry.
    Alias(usize),
    /// Nobody's.
    Nothing,
}

/// A host and prefix that two services want.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("configure {loser}: {what} belongs to {owner} already")]
pub(crate) struct Claimed {
    pub(crate) what: String,
    pub(crate) owner: String,
    pub(crate) loser: String,
}

#[derive(Debug, Default)]
struct Hosts {
    by_name: HashMap<Box<str>, Vec<Claim>>,
    every: Vec<Claim>,
}

/// Longest prefix first.
#[derive(Debug)]
struct Claim {
    prefix: String,
    entry: usize,
    is_alias: bool,
}

impl Rules {
    pub(crate) fn new(structure: &Structure) -> Result<Self, CidrError> {
        let lower = |names: &[String]| names.iter().map(|n| n.to_ascii_lowercase()).collect();
        let mut prefixes: Vec<String> =
            structure.prefixes.iter().map(|p| trim_prefix(p).to_owned()).collect();
        if prefixes.is_empty() {
            prefixes.push("/".to_owned());
        }
        let trusted: Result<Vec<Cidr>, CidrError> =
            structure.trusted_proxies.iter().map(|text| text.parse()).collect();
        Ok(Self {
            domains: lower(&structure.domains),
            aliases: lower(&structure.aliases),
            prefixes,
            max_body_bytes: structure.max_body_bytes,
            timeout_ms: structure.timeout_ms.max(1),
            trusted: trusted?,
            health_path: structure.health_path.clone(),
        })
    }

    /// The host that aliases are redirected to.
    pub(crate) fn first_domain(&self) -> Option<&str> {
        self.domains.first().map(String::as_str)
    }
}

impl Table {
    /// Builds the table. What an earlier entry claimed a later one does not get; each such loss is told.
    pub(crate) fn build(entries: Vec<Entry>) -> (Self, Vec<Claimed>) {
        let count = entries.iter().flat_map(|e| &e.listeners).max().map_or(0, |max| max + 1);
        let mut listeners: Vec<Hosts> = (0..count).map(|_| Hosts::default()).collect();
        let mut lost = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            for listener in &entry.listeners {
                listeners[*listener].add(index, &entries, &mut lost);
            }
        }
        for hosts in &mut listeners {
            let lists = hosts.by_name.values_mut().chain([&mut hosts.every]);
            lists.for_each(|list| list.sort_by_key(|c| std::cmp::Reverse(c.prefix.len())));
        }
        (Self { listeners, entries, is_incomplete: false }, lost)
    }

    /// What a request for `host` (lower case, without port) and `path` on the listener is for.
    pub(crate) fn find(&self, listener: ListenerNumber, host: &str, path: &str) -> Found {
        let Some(hosts) = self.listeners.get(listener) else {
            return Found::Nothing;
        };
        let named = hosts.by_name.get(host).map_or(&[][..], Vec::as_slice);
        let claim = named.iter().chain(&hosts.every).find(|c| prefix_fits(&c.prefix, path));
        match claim {
            Some(claim) if claim.is_alias => Found::Alias(claim.entry),
            Some(claim) => Found::Service(claim.entry),
            None => Found::Nothing,
        }
    }
}

impl Hosts {
    fn add(&mut self, index: usize, entries: &[Entry], lost: &mut Vec<Claimed>) {
        let rules = &entries[index].rules;
        for prefix in &rules.prefixes {
            let claim = |is_alias| Claim { prefix: prefix.clone(), entry: index, is_alias };
            for domain in &rules.domains {
                let list = self.by_name.entry(domain.as_str().into()).or_default();
                insert(list, claim(false), &format!("{domain}{prefix}"), entries, lost);
            }
            for alias in &rules.aliases {
                let list = self.by_name.entry(alias.as_str().into()).or_default();
                insert(list, claim(true), &format!("{alias}{prefix}"), entries, lost);
            }
            if rules.domains.is_empty() {
                let what = format!("every host{}", if prefix == "/" { "" } else { prefix });
                insert(&mut self.every, claim(false), &what, entries, lost);
            }
        }
    }
}

fn insert(
    list: &mut Vec<Claim>,
    claim: Claim,
    what: &str,
    entries: &[Entry],
    lost: &mut Vec<Claimed>,
) {
    let Some(owner) = list.iter().find(|c| c.prefix == claim.prefix) else {
        return list.push(claim);
    };
    if owner.entry != claim.entry {
        lost.push(Claimed {
            what: what.to_owned(),
            owner: entries[owner.entry].name.clone(),
            loser: entries[claim.entry].name.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::ServiceRecord;

    fn entry(name: &str, structure: Structure) -> Entry {
        Entry {
            name: name.to_owned(),
            service: Arc::new(
                Service::new(ServiceRecord::new(name, Structure::default()), 1).unwrap(),
            ),
            rules: Arc::new(Rules::new(&structure).unwrap()),
            listeners: vec![0],
        }
    }

    fn domains(names: &[&str]) -> Structure {
        Structure { domains: names.iter().map(ToString::to_string).collect(), ..Default::default() }
    }

    #[test]
    fn host_then_longest_prefix_decides() {
        let api = Structure { prefixes: vec!["/api/".to_owned()], ..domains(&["shop.example"]) };
        let alias = Structure {
            aliases: vec!["WWW.shop.example".to_owned()],
            ..domains(&["shop.example"])
        };
        let (table, lost) = Table::build(vec![
            entry("shop", alias),
            entry("api", api),
            entry("rest", domains(&[])),
        ]);
        assert_eq!(lost, []);
        assert_eq!(table.find(0, "shop.example", "/x"), Found::Service(0));
        assert_eq!(table.find(0, "shop.example", "/api/x"), Found::Service(1));
        assert_eq!(table.find(0, "www.shop.example", "/"), Found::Alias(0));
        assert_eq!(table.find(0, "other.example", "/api"), Found::Service(2));
        assert_eq!(table.find(1, "shop.example", "/"), Found::Nothing);
    }

    #[test]
    fn what_is_claimed_twice_names_the_owner() {
        let (table, lost) = Table::build(vec![
            entry("a", domains(&["one.example"])),
            entry("b", domains(&["two.example", "One.example"])),
            entry("c", domains(&[])),
            entry("d", domains(&[])),
        ]);
        assert_eq!(
            lost.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "configure b: one.example/ belongs to a already",
                "configure d: every host belongs to c already"
            ]
        );
        assert_eq!(table.find(0, "one.example", "/"), Found::Service(0));
        assert_eq!(table.find(0, "two.example", "/"), Found::Service(1));
    }

    #[test]
    fn thousand_services_are_told_apart() {
        let entries =
            (0..1000).map(|n| entry(&format!("s{n}"), domains(&[&format!("s{n}.example")])));
        let (table, _) = Table::build(entries.collect());
        for n in [0, 1, 499, 999] {
            assert_eq!(table.find(0, &format!("s{n}.example"), "/"), Found::Service(n));
        }
    }
}
