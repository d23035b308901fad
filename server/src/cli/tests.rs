use super::*;
use clap::CommandFactory;

/// What clap finds only when a command is asked for: two options of one name for instance.
#[test]
fn every_command_can_be_parsed() {
    Cli::command().debug_assert();
}
