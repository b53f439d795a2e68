//! `logs`: what the app wrote, on stdout as it is.

use super::session::Session;
use super::signals::Signals;
use crate::api::{Failed, LogLine};
use crate::cli::LogsArgs;
use crate::report::ended::exit;
use crate::transport::Next;
use std::time::Duration;

/// Signals are looked at this often.
const LOOK: Duration = Duration::from_millis(100);

/// Runs `logs`.
pub(crate) fn run(session: &mut Session, args: &LogsArgs) -> anyhow::Result<u8> {
    let app = session.app_by_name()?;
    let client = session.client(Some(&app))?;
    let signals = Signals::catch()?;
    if args.deploy.is_some() {
        session
            .reporter
            .words("The build's output stayed where `deploy` was typed; what came after it:");
    }
    let mut lines = client.lines(&format!("/v1/apps/{}/logs?{}", app.name, query(args)))?;
    loop {
        if signals.take() {
            return Ok(exit::INTERRUPTED);
        }
        match lines.next(LOOK) {
            Next::Line(line) => {
                if show(session, &line, args).is_err() {
                    return Ok(exit::DONE);
                }
            }
            Next::Quiet => {}
            Next::Over if args.follow => {
                return Err(Failed::new(
                    "unreached",
                    "the daemon stopped; type it again",
                    exit::UNREACHED,
                )
                .into());
            }
            Next::Over => return Ok(exit::DONE),
            Next::Broke(seen) => {
                return Err(Failed::new(
                    "unreached",
                    format!("the connection broke: {seen}"),
                    exit::UNREACHED,
                )
                .into());
            }
        }
    }
}

/// One line; with several processes, whose it is.
fn show(session: &mut Session, line: &str, args: &LogsArgs) -> std::io::Result<()> {
    let Ok(line) = serde_json::from_str::<LogLine>(line) else { return Ok(()) };
    if session.json() {
        return session.reporter.raw(&serde_json::to_string(&line).unwrap_or_default());
    }
    if args.process.is_some() || line.process == "web" {
        return session.reporter.data(&line.text);
    }
    session.reporter.data(&format!("{}  {}", line.process, line.text))
}

fn query(args: &LogsArgs) -> String {
    let slot = args.slot.map(|slot| slot.to_string());
    let named = [
        ("slot", slot.as_ref()),
        ("release", args.release.as_ref()),
        ("process", args.process.as_ref()),
        ("deploy", args.deploy.as_ref()),
    ];
    let mut parts: Vec<String> = named
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_ref()?))))
        .collect();
    parts.push(format!("n={}", args.lines));
    if args.follow {
        parts.push("follow=true".to_owned());
    }
    parts.join("&")
}

/// Percent-encoded, all but what is safe in a query.
pub(super) fn encoded(text: &str) -> String {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes()
        .map(|b| if safe(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_cannot_leave_its_place_in_the_query() {
        assert_eq!(encoded("r1-a+dirty&n=9 ü"), "r1-a%2Bdirty%26n%3D9%20%C3%BC");
    }
}
