//! The last words of a deploy: why it matters, what stays changed, what to type, and in the last line what is live.

use super::ended::{Asked, Ended, Stop};
use super::time::{self, Zone};
use super::track::Track;
use alcedo_core::event::{Failure, Outcome};
use alcedo_core::judge::Finding;
use alcedo_core::plan::Purpose;
use alcedo_core::step::Step;

/// Lines of a log that are shown under a failure.
const LOG_LINES_MAX: usize = 10;

/// What the words need beside the events.
pub(crate) struct Around<'a> {
    /// What was typed to name the app, with a leading space: ` -a shop -e staging`.
    pub(crate) flags: &'a str,
    /// Where the app is reached.
    pub(crate) url: Option<&'a str>,
    /// The reader's zone.
    pub(crate) zone: &'a Zone,
    /// The end of what the new slot wrote.
    pub(crate) log: &'a [String],
    /// Every release that the host keeps; empty when it is not known.
    pub(crate) kept: &'a [String],
}

/// Lines, not yet folded; the last one says what is live.
pub(crate) fn closing(
    track: &Track,
    ended: &Ended,
    stop: Stop,
    asked: Asked,
    around: &Around<'_>,
) -> Vec<String> {
    let mut lines = match track.outcome {
        Some(Outcome::Live) => live(track, asked, around),
        Some(Outcome::Unchanged) => unchanged(track, stop, asked, around),
        Some(Outcome::RolledBack) => rolled_back(track, around),
        Some(Outcome::Stuck) => stuck(track, around),
        None if track.back_at.is_some() => rolled_back(track, around),
        None => unfinished(track, stop, around),
    };
    lines.push(last(track, ended, asked, around));
    lines
}

/// A command that can be pasted: with the flags that name the app.
pub(crate) fn command(words: &str, flags: &str) -> String {
    format!("alcedo {words}{flags}")
}

fn live(track: &Track, asked: Asked, around: &Around<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if track.goes_back() {
        lines.push(format!("Not undone: whatever {} wrote to the database.", left_slot(track)));
    } else if track.is_first() {
        lines
            .push("Nobody judges a first release: there is no older one to go back to.".to_owned());
    }
    match &track.verdict {
        Some(verdict) if verdict.finding == Finding::Fail => {
            lines.push("The judge would have given it back; somebody accepted it.".to_owned());
        }
        Some(verdict) if verdict.finding == Finding::Inconclusive => {
            lines.push("Kept although the judge could not tell (bake.on_inconclusive).".to_owned());
        }
        Some(_) | None => {}
    }
    if asked == Asked::Deploy && track.verdict.is_none() && !track.goes_back() {
        lines.push(format!("Next: {}", command("status --watch", around.flags)));
    }
    lines
}

fn unchanged(track: &Track, stop: Stop, asked: Asked, around: &Around<'_>) -> Vec<String> {
    let given_up =
        track.given_up_by.is_some() || asked == Asked::GiveUp || stop == Stop::Interrupted;
    // What was cut short on request needs no explanation.
    let mut lines = if given_up { Vec::new() } else { failure_detail(track, around) };
    lines.push(why_it_matters(track, given_up));
    lines.extend(stays_changed(track));
    let again = track.brings().filter(|_| can_be_repeated(track));
    match again {
        Some((_, release)) if !track.goes_back() => {
            let name = short(release, around.kept);
            let look = command(&format!("logs --release {name}"), around.flags);
            let again = command(&format!("deploy {name}"), around.flags);
            let shows_look = track.failure.is_some() && !given_up;
            let wide = if shows_look { look.len().max(again.len()) } else { 0 };
            if shows_look {
                lines.push(format!("Look:  {look:wide$}  what it wrote"));
            }
            lines.push(format!("Again: {again:wide$}  the same release, without a build"));
        }
        Some(_) | None => lines.push(format!("Again: {}", command("deploy", around.flags))),
    }
    lines
}

/// The slot that was emptied for the new release held a warm way back.
fn stays_changed(track: &Track) -> Option<String> {
    let (slot, _) = track.brings().filter(|_| track.cleared)?;
    Some(format!("Stays changed: what {slot} ran before is stopped, so a rollback is a start now."))
}

fn can_be_repeated(track: &Track) -> bool {
    let fetches = track.plan.as_ref().is_some_and(|plan| plan.steps.contains(&Step::Fetch));
    track.sealed || !fetches
}

fn why_it_matters(track: &Track, given_up: bool) -> String {
    let sentence = match track.failure.as_ref().map(|(step, _)| step) {
        _ if given_up => "Given up before the switch; your users have seen nothing of it.",
        None => "It was given up before the switch; your users have seen nothing of it.",
        Some(Step::Fetch) => "The release did not arrive whole, so nothing was started.",
        Some(Step::Prepare) => "The release was never finished, so nothing was started.",
        Some(Step::Clear) => "The slot could not be emptied, so nothing new was started.",
        Some(Step::Start | Step::Probe) => {
            "The new release never became ready, so no traffic went to it."
        }
        Some(Step::Smoke | Step::Warm | Step::Gate) => {
            "The new release did not pass its checks, so no traffic went to it."
        }
        Some(Step::Switch | Step::Verify | Step::Drain | Step::Bake | Step::Retire) => {
            "The switch did not take place, so no traffic went to the new release."
        }
    };
    sentence.to_owned()
}

/// Further lines of the failure, or what the new slot wrote, then the hint.
fn failure_detail(track: &Track, around: &Around<'_>) -> Vec<String> {
    let Some((step, failure)) = &track.failure else { return Vec::new() };
    let mut lines = Vec::new();
    let from_log = failure.detail.is_empty();
    let text: Vec<&str> = if from_log {
        around.log.iter().map(String::as_str).collect()
    } else {
        failure.detail.lines().collect()
    };
    if !text.is_empty() {
        let (shown, own) = last_of(&text);
        lines.push(detail_title(track, *step, own, from_log, around));
        lines.extend(shown.iter().map(|line| format!("    {line}")));
        lines.push(String::new());
    }
    // Where to look is said below.
    let further = hint(failure, around).filter(|hint| !hint.starts_with("alcedo logs"));
    lines.extend(further.map(|hint| format!("Hint:  {hint}")));
    lines
}

/// The last lines of a text, and how many of them the program wrote: the shim's own (`-- started pid 7 … --`) are
/// shown between them and not counted, so that many restarts do not hide why.
fn last_of<'a>(text: &'a [&'a str]) -> (&'a [&'a str], usize) {
    let is_own = |line: &str| !(line.starts_with("-- ") && line.ends_with(" --"));
    let mut own = 0;
    let from = text
        .iter()
        .rposition(|line| {
            own += usize::from(is_own(line));
            own == LOG_LINES_MAX
        })
        .unwrap_or(0);
    (&text[from..], own)
}

fn detail_title(
    track: &Track,
    step: Step,
    shown: usize,
    from_log: bool,
    around: &Around<'_>,
) -> String {
    let slot = track.brings().map_or("the slot", |(slot, _)| slot.as_str());
    let name = track
        .brings()
        .map(|(_, release)| short(release, around.kept).to_owned())
        .unwrap_or_default();
    let logs = command(&format!("logs --release {name}"), around.flags);
    match step {
        Step::Prepare => "  The last of what `prepare` wrote:".to_owned(),
        Step::Start | Step::Probe | Step::Smoke | Step::Warm if from_log || step == Step::Probe => {
            match shown {
                0 => format!("  {slot} wrote nothing ({logs}):"),
                1 => format!("  The last line that {slot} wrote ({logs}):"),
                _ => format!("  The last {shown} lines that {slot} wrote ({logs}):"),
            }
        }
        Step::Fetch
        | Step::Clear
        | Step::Start
        | Step::Probe
        | Step::Smoke
        | Step::Warm
        | Step::Gate
        | Step::Switch
        | Step::Verify
        | Step::Drain
        | Step::Bake
        | Step::Retire => "  What was seen:".to_owned(),
    }
}

/// A hint that is one command of ours gets the flags that were used.
fn hint(failure: &Failure, around: &Around<'_>) -> Option<String> {
    let hint = failure.hint.as_ref()?;
    let is_command = hint.starts_with("alcedo ") && !hint.contains([',', ';', '(']);
    Some(if is_command { format!("{hint}{}", around.flags) } else { hint.clone() })
}

fn rolled_back(track: &Track, around: &Around<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let (slot, release) = track
        .brings()
        .map_or(("the slot", "the release"), |(slot, release)| (slot.as_str(), release));
    match (&track.verdict, &track.given_up_by) {
        (Some(verdict), None) if verdict.finding == Finding::Fail => {
            let after = time::span(verdict.observed_ms / 1000);
            lines.push(format!(
                "Rolled back by itself after {after}; {} of {} requests failed in that time.",
                verdict.errors, verdict.requests
            ));
        }
        (_, Some(by)) => lines.push(format!("Taken back by {by}.")),
        (_, None) => lines
            .push("Rolled back by itself: the public answer was not the new release's.".to_owned()),
    }
    lines.push(format!("What {slot} wrote to the database meanwhile stays there."));
    lines.push(format!("{release} is marked bad: shipping the same content again wants --retry."));
    let id = track.plan.as_ref().map(|plan| plan.deploy.to_string()).unwrap_or_default();
    let logs = command(&format!("logs --release {}", short(release, around.kept)), around.flags);
    lines.push(format!("Look:  {logs}     {}", command(&format!("history {id}"), around.flags)));
    lines
}

fn stuck(track: &Track, around: &Around<'_>) -> Vec<String> {
    let failure = track.undo_failure.as_ref().or(track.failure.as_ref().map(|(_, f)| f));
    let what = failure.map_or("it could not be taken back", |f| f.what.as_str());
    let live = track.live().map_or("blue", |(slot, _)| slot.as_str());
    let out = failure
        .and_then(|f| hint(f, around))
        .unwrap_or_else(|| command(&format!("resolve {live}"), around.flags));
    vec![format!("Stuck: {what}."), format!("Nothing more happens by itself. The way out: {out}")]
}

fn unfinished(track: &Track, stop: Stop, around: &Around<'_>) -> Vec<String> {
    let id = track.plan.as_ref().map(|plan| plan.deploy.to_string()).unwrap_or_default();
    let join = command("deploy --follow", around.flags);
    match stop {
        Stop::AtGate if track.switched => {
            let (yes, no) = (command("promote", around.flags), command("abort", around.flags));
            vec![format!("Waiting: the judge may not decide this. Keep it: {yes}   Go back: {no}")]
        }
        Stop::AtGate => {
            let slot = track.brings().map_or("the new slot", |(slot, _)| slot.as_str());
            let (go, no) = (command("promote", around.flags), command("abort", around.flags));
            let see = command("preview", around.flags);
            vec![
                format!("Waiting: {slot} is ready and has no traffic. See it: {see}"),
                format!("Go: {go}   Give up: {no}"),
            ]
        }
        Stop::Detached => vec![format!("{id} goes on by itself. Join it: {join}")],
        Stop::Interrupted if track.switched => vec![format!(
            "Only the watching stopped: {id} has switched and goes on. Join it: {join}"
        )],
        Stop::Interrupted => vec![format!(
            "Only the watching stopped: {id} goes on. Give it up: {}",
            command("abort", around.flags)
        )],
        Stop::Over | Stop::Enough => watched(track, around),
    }
}

fn watched(track: &Track, around: &Around<'_>) -> Vec<String> {
    if track.goes_back() {
        return vec![format!("Not undone: whatever {} wrote to the database.", left_slot(track))];
    }
    let mut lines = Vec::new();
    let pending = track.judged_until().filter(|_| track.verdict.is_none());
    if let (Some(until), Some(plan)) = (pending, &track.plan) {
        let length = time::span(plan.config.bake.time.as_secs());
        let what =
            if plan.config.bake.auto_rollback { "given back by itself" } else { "only reported" };
        let then = format!("{what} {}", conditions(&plan.config.bake));
        lines.push(format!("Judged until {} ({length}); {then}.", around.zone.minute(&until)));
    }
    lines.push(format!("Next: {}", command("status --watch", around.flags)));
    lines
}

/// What the judge acts on: no more is promised than is configured.
fn conditions(bake: &alcedo_core::config::Bake) -> String {
    let rate = bake
        .max_error_rate
        .map(|rate| format!("over {} of requests fail", alcedo_core::judge::percent(rate)));
    let count = bake.max_failed_requests.map(|max| format!("more than {max} requests fail"));
    let limits: Vec<String> = rate.into_iter().chain(count).collect();
    if limits.is_empty() {
        return "when it crashes or its probes fail (bake.max_error_rate adds errors)".to_owned();
    }
    format!("when it crashes, its probes fail, or {}", limits.join(" or "))
}

fn last(track: &Track, ended: &Ended, asked: Asked, around: &Around<'_>) -> String {
    let (Some(slot), Some(release)) = (ended.active, &ended.release) else {
        return "Live: nothing yet".to_owned();
    };
    let url = around.url.map(|url| format!(", {url}")).unwrap_or_default();
    let rest = if let Some(at) = &track.back_at {
        format!("{url}, back since {}", around.zone.clock(at))
    } else if !track.switched {
        ", unchanged".to_owned()
    } else if asked == Asked::GoBack
        || track.plan.as_ref().is_some_and(|plan| plan.purpose == Purpose::Flip)
    {
        url
    } else {
        format!("{url}, after {}", time::took(ended.duration_ms.saturating_mul(1000)))
    };
    format!("Live: {slot} {release}{rest}")
}

fn left_slot(track: &Track) -> &'static str {
    track
        .plan
        .as_ref()
        .and_then(|plan| plan.from_slot())
        .map_or("the other slot", alcedo_core::Slot::as_str)
}

/// The shortest end of a release's id that names no other of `kept` and no commit beside it; the whole id when what is
/// kept is not known.
pub(crate) fn short<'a>(release: &'a str, kept: &[String]) -> &'a str {
    let is_known = kept.iter().any(|other| other == release);
    // `4be1c07+dirty` is not what git has under 4be1c07.
    if !is_known || release.ends_with("+dirty") {
        return release;
    }
    let ends = release.rmatch_indices('-').map(|(at, _)| &release[at + 1..]);
    let is_unique = |end: &&str| kept.iter().filter(|other| other.contains(*end)).count() == 1;
    ends.into_iter().find(is_unique).unwrap_or(release)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_by_the_shortest_part_that_is_its_own() {
        let kept =
            ["r20261120-191405-4be1c07", "r20261120-191500-01c91b5", "r20261120-191600-01c91b5"]
                .map(str::to_owned);
        assert_eq!(short(&kept[0], &kept), "4be1c07");
        assert_eq!(short(&kept[1], &kept), "191500-01c91b5");
        assert_eq!(short(&kept[1], &[]), kept[1]);
        let dirty = ["r20261120-191405-4be1c07+dirty".to_owned()];
        assert_eq!(short(&dirty[0], &dirty), dirty[0]);
    }
}
