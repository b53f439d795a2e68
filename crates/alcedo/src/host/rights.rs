//! What a key may do: verbs, and the apps it may do them with. Every call is held against it.

use super::request::{Request, Verb};
use crate::api::{DeployCall, Failed, VerbCall, What};
use crate::cli::HostArgs;
use crate::engine::ports::Source;
use alcedo_core::AppName;
use hyper::Method;
use std::collections::BTreeSet;

/// What a key may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rights {
    verbs: BTreeSet<Verb>,
    /// `None`: every app.
    apps: Option<BTreeSet<AppName>>,
}

/// A call of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    Hello,
    Status,
    Plan,
    Deploy,
    Rollback,
    Promote,
    Abort,
    Resolve,
    Retire,
    Prune,
    Pin,
    Preview,
    Events,
    History,
    Releases,
    Logs,
    Config,
    Check,
    Basis,
    Offer,
    Parts,
}

impl Rights {
    /// The flags of the forced command. Without `--verbs` everything: a login that got here may do everything anyway.
    pub(super) fn of(args: &HostArgs) -> Result<Self, Failed> {
        let wrong = |what: String| {
            Err(Failed::new("host", what, 1).hint(
            "command=\"alcedo host --verbs deploy,rollback,status --apps shop\" in authorized_keys",
        ))
        };
        let mut verbs = BTreeSet::new();
        for word in args.verbs.iter().flat_map(|words| words.split(',')) {
            match Verb::parse(word) {
                _ if word == "all" => verbs.extend(Verb::ALL),
                Some(verb) => drop(verbs.insert(verb)),
                None => return wrong(format!("`--verbs` knows no verb {word:?}")),
            }
        }
        if args.verbs.is_none() {
            verbs.extend(Verb::ALL);
        }
        let mut apps = args.apps.as_ref().map(|_| BTreeSet::new());
        for word in args.apps.iter().flat_map(|words| words.split(',')) {
            match (AppName::new(word), &mut apps) {
                (Ok(app), Some(apps)) => drop(apps.insert(app)),
                (_, _) => return wrong(format!("`--apps` names no app with {word:?}")),
            }
        }
        Ok(Self { verbs, apps })
    }

    /// Whether what is asked for may be done at all: said before anything else.
    pub(super) fn check(&self, request: &Request) -> Result<(), Failed> {
        if !self.verbs.contains(&request.verb) {
            return Err(self.no_verb(&format!("`{}`", request.verb.as_str())));
        }
        self.check_app(request.app.as_ref())
    }

    /// Whether this call may be made; `path` without its query.
    pub(super) fn check_call(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
    ) -> Result<Call, Failed> {
        let (call, app) = Call::of(method, path, query).ok_or_else(|| {
            Failed::new("not-allowed", "the client asks for something that this version lacks", 1)
                .hint("put the same version of alcedo on both machines")
        })?;
        if call == Call::Hello {
            return Ok(call);
        }
        if !self.verbs.iter().any(|verb| grants(*verb).contains(&call)) {
            return Err(self.no_verb("this"));
        }
        self.check_app(app.as_ref())?;
        Ok(call)
    }

    /// Whether the body asks for no more than the path does. Files of this machine are nothing for another one.
    pub(super) fn check_body(&self, call: Call, body: &[u8]) -> Result<(), Failed> {
        match call {
            Call::Deploy | Call::Plan => {
                let call: DeployCall = serde_json::from_slice(body).map_err(|e| unread(&e))?;
                match call.what {
                    What::Files { source: Source::Upload { .. } | Source::Kept, .. }
                    | What::Kept(_) => Ok(()),
                    What::Files {
                        source:
                            Source::Directory { .. } | Source::File { .. } | Source::Archive { .. },
                        ..
                    } => Err(Failed::new(
                        "not-allowed",
                        "a release from another machine is uploaded; paths of this one are not taken",
                        1,
                    )),
                }
            }
            Call::Abort if !self.verbs.contains(&Verb::Abort) => {
                let call: VerbCall = serde_json::from_slice(body).map_err(|e| unread(&e))?;
                if call.before_switch { Ok(()) } else { Err(self.no_verb("`abort`")) }
            }
            Call::Promote if !self.verbs.contains(&Verb::Promote) => Err(self.no_verb("`promote`")),
            Call::Abort
            | Call::Promote
            | Call::Hello
            | Call::Status
            | Call::Rollback
            | Call::Resolve
            | Call::Retire
            | Call::Prune
            | Call::Pin
            | Call::Preview
            | Call::Events
            | Call::History
            | Call::Releases
            | Call::Logs
            | Call::Config
            | Call::Check
            | Call::Basis
            | Call::Offer
            | Call::Parts => Ok(()),
        }
    }

    fn check_app(&self, app: Option<&AppName>) -> Result<(), Failed> {
        let Some(apps) = &self.apps else { return Ok(()) };
        if app.is_some_and(|app| apps.contains(app)) {
            return Ok(());
        }
        let own = apps.iter().map(AppName::as_str).collect::<Vec<_>>().join(", ");
        Err(Failed::new("not-allowed", format!("this key is for {own} alone"), 1)
            .hint(format!("alcedo status -a {own}")))
    }

    fn no_verb(&self, what: &str) -> Failed {
        let verbs: Vec<_> = self.verbs.iter().map(|verb| verb.as_str()).collect();
        let message = format!("this key may not do {what}; it may: {}", verbs.join(", "));
        Failed::new("not-allowed", message, 1)
            .hint("the verbs stand in the host's authorized_keys, after `alcedo host --verbs`")
    }
}

impl Call {
    /// The call and its app; `None`: there is no such call.
    fn of(method: &Method, path: &str, query: Option<&str>) -> Option<(Self, Option<AppName>)> {
        let parts: Vec<&str> = path.split('/').collect();
        let (app, name) = match parts[..] {
            ["", "v1", "hello"] => return (method == Method::GET).then_some((Self::Hello, None)),
            ["", "v1", "status"] if method == Method::GET => {
                return Some((Self::Status, status_app(query)?));
            }
            ["", "v1", "apps", app, name] => (app, name),
            ["", "v1", "apps", app, "parts", hash] if is_hash(hash) => (app, "parts"),
            _ => return None,
        };
        let (call, wanted) = match name {
            "plan" => (Self::Plan, Method::POST),
            "deploy" => (Self::Deploy, Method::POST),
            "rollback" => (Self::Rollback, Method::POST),
            "promote" => (Self::Promote, Method::POST),
            "abort" => (Self::Abort, Method::POST),
            "resolve" => (Self::Resolve, Method::POST),
            "retire" => (Self::Retire, Method::POST),
            "prune" => (Self::Prune, Method::POST),
            "pin" => (Self::Pin, Method::POST),
            "preview" => (Self::Preview, Method::POST),
            "events" => (Self::Events, Method::GET),
            "history" => (Self::History, Method::GET),
            "releases" => (Self::Releases, Method::GET),
            "logs" => (Self::Logs, Method::GET),
            "config" => (Self::Config, Method::GET),
            "check" => (Self::Check, Method::GET),
            "basis" => (Self::Basis, Method::POST),
            "offer" => (Self::Offer, Method::POST),
            "parts" => (Self::Parts, Method::PUT),
            _ => return None,
        };
        (method == wanted).then_some((call, Some(AppName::new(app).ok()?)))
    }
}

/// `app=APP` alone, or nothing. Names need no escapes.
fn status_app(query: Option<&str>) -> Option<Option<AppName>> {
    match query {
        None | Some("") => Some(None),
        Some(query) => Some(Some(AppName::new(query.strip_prefix("app=")?).ok()?)),
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The calls that a verb is made of.
fn grants(verb: Verb) -> &'static [Call] {
    match verb {
        // Ctrl-C gives it up before the switch; `check_body` holds it to that.
        Verb::Deploy => &[
            Call::Status,
            Call::Releases,
            Call::Plan,
            Call::Deploy,
            Call::Events,
            Call::Logs,
            Call::Abort,
            Call::Basis,
            Call::Offer,
            Call::Parts,
        ],
        Verb::Plan => &[Call::Status, Call::Releases, Call::Plan, Call::Basis, Call::Offer],
        Verb::Rollback => &[Call::Status, Call::Rollback, Call::Events, Call::Logs],
        Verb::Promote => &[Call::Status, Call::Promote, Call::Events, Call::Logs],
        Verb::Abort => &[Call::Status, Call::Abort, Call::Events, Call::Logs],
        Verb::Resolve => &[Call::Status, Call::Resolve],
        Verb::Retire => &[Call::Status, Call::Retire],
        Verb::Preview => &[Call::Status, Call::Preview],
        Verb::Prune => &[Call::Status, Call::Prune, Call::Pin],
        Verb::Status | Verb::Tunnel => &[Call::Status],
        Verb::History => &[Call::Status, Call::History, Call::Events],
        Verb::Releases => &[Call::Status, Call::Releases],
        Verb::Logs => &[Call::Status, Call::Logs],
        Verb::Config => &[Call::Status, Call::Config],
        Verb::Check => &[Call::Status, Call::Check],
    }
}

fn unread(error: &serde_json::Error) -> Failed {
    Failed::new("usage", format!("failed to read the call: {error}"), 2)
}
