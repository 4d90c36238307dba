//! Letters of the sections in which a shell prints its state. Each follows a NUL.

/// The working directory. With it a state begins.
pub(in crate::agent::shell) const DIRECTORY: u8 = b'd';
/// Exported variables, where they are not listed with all others.
pub(in crate::agent::shell) const EXPORTED: u8 = b'x';
/// Variables that may not be changed, where these are not listed with all others.
pub(in crate::agent::shell) const READONLY: u8 = b'r';
/// Variables.
pub(in crate::agent::shell) const VARIABLES: u8 = b'v';
/// Names and attributes of functions.
pub(in crate::agent::shell) const NAMES: u8 = b'n';
/// Functions.
pub(in crate::agent::shell) const FUNCTIONS: u8 = b'f';
/// Aliases.
pub(in crate::agent::shell) const ALIASES: u8 = b'a';
/// Options.
pub(in crate::agent::shell) const OPTIONS: u8 = b'o';
/// Which shell zsh takes itself for.
pub(in crate::agent::shell) const EMULATION: u8 = b'm';
/// Traps.
pub(in crate::agent::shell) const TRAPS: u8 = b't';
/// The file mode creation mask.
pub(in crate::agent::shell) const UMASK: u8 = b'u';
/// How many positional parameters there are.
pub(in crate::agent::shell) const PARAMETERS: u8 = b'#';
/// One positional parameter.
pub(in crate::agent::shell) const PARAMETER: u8 = b'p';
/// Nothing: the state is complete.
pub(in crate::agent::shell) const END: u8 = b'e';
/// The number of a piece that a new shell could not carry out.
pub(in crate::agent::shell) const FAILED: u8 = b'l';
