//! `sandshell completions` and `sandshell man`: what shells and `man` know of this command line, made from its definition.

use super::{Public, error::CliError, table};
use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use std::{fs, path::PathBuf};

const AFTER_COMPLETIONS: &str = "\
bash: sandshell completions bash > /etc/bash_completion.d/sandshell
zsh:  sandshell completions zsh > \"${fpath[1]}/_sandshell\"
fish: sandshell completions fish > ~/.config/fish/completions/sandshell.fish";

/// Options of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_COMPLETIONS)]
pub(super) struct CompletionsArgs {
    /// For which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Options of `man`.
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Where: sandshell.1, sandshell-run.1 and so on; made if it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// The command line without what Sandshell starts of itself.
#[derive(Debug, Parser)]
#[command(
    name = "sandshell",
    version,
    propagate_version = true,
    about = "Sandboxes with shells that stay",
    disable_help_subcommand = true
)]
struct ForPeople {
    #[command(subcommand)]
    _command: Public,
}

/// Prints the completions.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), CliError> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut ForPeople::command(), "sandshell", &mut text);
    table::print(&String::from_utf8_lossy(&text))
}

/// Writes the pages.
pub(super) fn man(args: &ManArgs) -> Result<(), CliError> {
    let failed = |source| CliError::io("write the manual pages", source);
    fs::create_dir_all(&args.directory).map_err(failed)?;
    clap_mangen::generate_to(ForPeople::command(), &args.directory).map_err(failed)
}
