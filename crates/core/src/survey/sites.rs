//! Hand-made sites: whether what chooses the slot says what is true, and whether somebody keeps running what is live.

use super::{Survey, finding};
use crate::init::local_port;
use crate::lint::{Finding, Severity};
use crate::nginx::{Adopted, Switch};
use crate::slot::Slot;
use crate::units::slot_in;

pub(super) fn findings(survey: &Survey) -> Vec<Finding> {
    let of = |site: &Adopted| {
        [
            stale_comment(survey, site),
            colour_missing(site),
            nobody_keeps(survey, site),
            nobody_there(survey, site),
        ]
    };
    survey.sites.iter().flat_map(of).flatten().collect()
}

/// S0-D3: `sed` left "blue is live" beside green's port.
fn stale_comment(survey: &Survey, site: &Adopted) -> Option<Finding> {
    let text = survey.selectors.get(site.switch_file())?;
    let port = local_port(&site.live_address)?;
    let live = survey.units.iter().find(|unit| unit.port == Some(port))?.slot?;
    let comments =
        text.lines().enumerate().filter_map(|(at, line)| Some((at, line.split_once('#')?.1)));
    let said: Vec<(usize, Slot)> =
        comments.filter_map(|(at, comment)| Some((at, slot_in(comment)?))).collect();
    let (at, slot) = said.into_iter().find(|(_, slot)| *slot != live)?;
    let message = format!("the comment says {slot}, and {} is {live}'s", site.live_address);
    let subject = format!("{}:{}", site.switch_file().display(), at + 1);
    Some(finding(
        "nginx.stale-comment",
        Severity::Warning,
        subject,
        message,
        "trust the address; alcedo status says what is live",
    ))
}

/// S3-D1: the other colour's file was never copied here.
fn colour_missing(site: &Adopted) -> Option<Finding> {
    let Switch::Link { path, to, files } = &site.switch else { return None };
    let missing = Slot::BOTH.into_iter().find(|slot| !files.contains_key(slot))?;
    let message = format!(
        "it leads to {}, and there is no file for {missing}: the next switch has nothing to lead to",
        to.display()
    );
    Some(finding(
        "nginx.colour-missing",
        Severity::Warning,
        path.display().to_string(),
        message,
        "make it before you switch",
    ))
}

/// S3-13: started from a script with `&`.
fn nobody_keeps(survey: &Survey, site: &Adopted) -> Option<Finding> {
    let port = local_port(&site.live_address)?;
    let process = survey.listeners.get(&port)?;
    let has_unit = survey.units.iter().any(|unit| unit.port == Some(port));
    // A process that could not be looked into may be anybody's, alcedo's own proxy among them.
    let known =
        !process.argv.is_empty() && !process.argv.iter().any(|word| word.ends_with("alcedo"));
    (known && !has_unit).then(|| {
        let message = "no unit starts it: it is not back after a crash or a reboot";
        finding(
            "unit.none",
            Severity::Warning,
            format!("port {port}"),
            message,
            "sudo alcedo init --adopt, then alcedo setup and alcedo deploy",
        )
    })
}

/// S1-46: the port that nginx sends to is nobody's.
fn nobody_there(survey: &Survey, site: &Adopted) -> Option<Finding> {
    let port = local_port(&site.live_address)?;
    (!survey.listeners.contains_key(&port)).then(|| {
        let message = format!("nginx sends to {}, and nobody listens there", site.live_address);
        finding(
            "nginx.nobody-there",
            Severity::Error,
            site.switch_file().display().to_string(),
            message,
            "start what should listen there, or point it back",
        )
    })
}
