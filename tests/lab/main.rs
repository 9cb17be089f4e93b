//! Tests on real servers, a real sshd, and the programs that `.ci/prepare` installs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod arm;
mod canary;
mod faremis;
mod fleet;
mod from_bare;
mod guard;
mod host;
mod hostile;
mod lab;
mod messy;
mod mikado;
mod owed;
mod preview;
mod processes;
mod rufus;
mod run;
mod secrets;
mod sshd;
mod support;
mod transport;

use std::process::ExitCode;

/// The tests of each module, in the order in which they begin.
const TESTS: &[&[support::Test]] = &[
    from_bare::TESTS,
    fleet::TESTS,
    preview::TESTS,
    arm::TESTS,
    canary::TESTS,
    faremis::TESTS,
    faremis::data::TESTS,
    faremis::volume::TESTS,
    guard::TESTS,
    lab::TESTS,
    lab::internet::TESTS,
    lab::saves::TESTS,
    messy::accounts::TESTS,
    messy::attributes::TESTS,
    messy::before::TESTS,
    messy::bytes::TESTS,
    messy::clusters::TESTS,
    messy::effect::TESTS,
    messy::git::TESTS,
    messy::locales::TESTS,
    messy::login::TESTS,
    messy::names::TESTS,
    messy::packages::TESTS,
    messy::services::TESTS,
    messy::storage::TESTS,
    messy::units::TESTS,
    mikado::TESTS,
    mikado::accounts::TESTS,
    mikado::containers::TESTS,
    mikado::engine::TESTS,
    mikado::projects::TESTS,
    owed::TESTS,
    rufus::applications::TESTS,
    rufus::cuts::TESTS,
    rufus::lives::TESTS,
    rufus::load::TESTS,
    rufus::plans::TESTS,
    rufus::plugins::TESTS,
    rufus::releases::TESTS,
    rufus::removal::TESTS,
    rufus::rollback::TESTS,
    rufus::schema::TESTS,
    rufus::secrets::TESTS,
    rufus::sets::TESTS,
    rufus::settings::TESTS,
    rufus::sites::TESTS,
    secrets::age::TESTS,
    secrets::edit::TESTS,
    secrets::git::TESTS,
    secrets::kill::TESTS,
    secrets::others::TESTS,
    secrets::process::TESTS,
    secrets::readers::TESTS,
    secrets::rekey::TESTS,
    secrets::values::TESTS,
    host::TESTS,
    hostile::application::TESTS,
    hostile::control::TESTS,
    hostile::database::TESTS,
    hostile::ground::TESTS,
    hostile::neighbour::TESTS,
    hostile::pull_request::TESTS,
    hostile::repository::TESTS,
    transport::TESTS,
    transport::limits::TESTS,
    transport::many::TESTS,
    run::TESTS,
    run::between::TESTS,
    run::fleet::TESTS,
    run::interrupt::TESTS,
    run::limits::TESTS,
    run::report::TESTS,
    run::rotation::TESTS,
    run::saved::TESTS,
    run::secrets::TESTS,
];

fn main() -> ExitCode {
    support::run(TESTS)
}
