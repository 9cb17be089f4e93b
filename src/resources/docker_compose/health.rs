//! Services whose own check says whether they do their work.

use super::super::patience::Patience;
use super::super::system::{System, run_checked};
use super::engine::{Compose, Container, UNHEALTHY, containers};
use crate::error::{Error, Result};

/// Between two looks.
const PAUSE_MILLISECONDS: u32 = 1000;

/// Restarts what runs without doing its work: Compose itself leaves it as it is.
pub(super) fn restart_the_ill(
    compose: &Compose,
    file: &str,
    containers: &[Container],
    system: &mut dyn System,
) -> Result<()> {
    let ill = containers.iter().filter(|container| container.state == UNHEALTHY);
    let names: Vec<&str> = ill.map(|container| container.service.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    run_checked(system, &compose.with(file, &[&["restart"], &names[..]].concat())).map(drop)
}

/// Waits until no container of the project is starting or unhealthy.
pub(super) fn wait(project: &str, within_seconds: u32, system: &mut dyn System) -> Result<()> {
    if within_seconds == 0 {
        return Ok(());
    }
    let mut patience = Patience::new(within_seconds, PAUSE_MILLISECONDS);
    loop {
        let all = containers(project, system)?;
        let is_ill = |container: &&Container| container.is_starting || container.state == UNHEALTHY;
        let ill: Vec<String> =
            all.iter().filter(is_ill).map(|container| format!("`{}`", container.service)).collect();
        if ill.is_empty() {
            return Ok(());
        }
        if !patience.pause(system) {
            let seconds = patience.elapsed().as_secs();
            let message = format!("not healthy after {seconds} s: {}", ill.join(", "));
            return Err(Error::failed(message).hint(
                "`docker inspect` tells what the check says, `docker logs` what goes wrong",
            ));
        }
    }
}
