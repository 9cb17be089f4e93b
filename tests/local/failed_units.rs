//! The units that have failed, as `infra status` asks for them.

use infra::agent::failed;

use crate::support::{Fake, World};

fn told(answer: &str) -> Vec<String> {
    let world = format!("{{ answers: [ {{ run: [systemctl, show], {answer} }} ] }}");
    let world: World = serde_yaml::from_str(&world).unwrap();
    let units = failed::units(&Fake::new(&world)).unwrap();
    let again = |is_restarted| if is_restarted { " again and again" } else { "" };
    let line = |unit: &infra::events::FailedUnit| {
        format!("{}{} {:?}", unit.name, again(unit.is_restarted), unit.since)
    };
    units.iter().map(line).collect()
}

#[test]
fn the_last_to_fail_comes_first() {
    // In the words of systemd 252 and 257, which order the properties as they like.
    let answer = "stdout: \"Id=taust-cron.service\\nActiveState=failed\\nSubState=failed\\n\
                  InactiveEnterTimestamp=@1795872830\\n\\n\
                  ActiveState=failed\\nSubState=failed\\nInactiveEnterTimestamp=\\nId=a\\\\x2db.mount\\n\\n\
                  Id=jobs.service\\nActiveState=activating\\nSubState=auto-restart\\n\
                  InactiveEnterTimestamp=@1795872990\\n\"";
    assert_eq!(
        told(answer),
        [
            "jobs.service again and again Some(1795872990)",
            "taust-cron.service Some(1795872830)",
            "a\\x2db.mount None",
        ]
    );
}

#[test]
fn what_runs_by_now_has_not_failed() {
    let answer = "stdout: \"Id=jobs.service\\nActiveState=active\\nSubState=running\\n\\n\
                  Id=more.service\\nActiveState=activating\\nSubState=start\\n\"";
    assert_eq!(told(answer), Vec::<String>::new());
}

#[test]
fn a_host_without_systemd_has_no_units() {
    assert_eq!(told("status: 1, stderr: no systemd"), Vec::<String>::new());
    assert_eq!(told("stdout: ''"), Vec::<String>::new());
}
