//! Power cuts at every step of a deploy, on hosts that really lose what was not synced.

use super::Programs;
use super::sheet::{Sheet, Wanted};
use anyhow::{Result, bail};
use xtask::lab;
use xtask::powercut::{Outcome, Rig, Router, STEPS};

pub(super) fn run(programs: &Programs, sheet: &mut Sheet) -> Result<()> {
    if let Some(missing) = lab::missing() {
        bail!("boot a host: {missing}");
    }
    // 2 routers × 8 steps × 13 are 208; each step gets 26.
    let rounds = sheet.rounds(13, 1);
    let (mut cuts, mut wrong, mut done) = (0_u32, 0_u32, 0_u32);
    for router in [Router::Embedded, Router::Nginx] {
        let mut rig = Rig::new(&programs.alcedo, &programs.xtask, router)?;
        for round in 1..=rounds {
            sheet.progress(&format!("{router:?}, round {round} of {rounds}, {cuts} cuts so far"));
            for step in STEPS {
                cuts += 1;
                match rig.cut_in(step) {
                    Ok(Outcome::Done) => done += 1,
                    Ok(Outcome::Undone) => {}
                    Err(error) => {
                        sheet.progress(&format!("WRONG: {error:#}"));
                        wrong += 1;
                        rig = Rig::new(&programs.alcedo, &programs.xtask, router)?;
                    }
                }
            }
        }
    }
    let how = "systemd runner, embedded router and nginx flag; the host's own XFS shut down without flushing its log, host killed, booted";
    let n = u64::from(cuts);
    sheet.put("cuts at every step of a deploy", f64::from(cuts), "cuts", Wanted::Shown, n, how);
    sheet.put(
        "of these went on to the new release",
        f64::from(done),
        "cuts",
        Wanted::Shown,
        n,
        how,
    );
    sheet.put(
        "afterwards another release served, or router, journal and answer differed",
        f64::from(wrong),
        "cuts",
        Wanted::AtMost(0.0),
        n,
        how,
    );
    Ok(())
}
