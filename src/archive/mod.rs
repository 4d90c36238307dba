//! Trees of files as tar archives: packing them, unpacking them, and the walk through directories that both need. Whoever packs or
//! unpacks may share the tree with programs that mean harm, so nothing here follows a symbolic link or leaves the directory that
//! it was given. It is used by the program for files inside a sandbox and by the command line outside of it.
//!
//! All of it takes and gives bytes in pieces, so that nobody has to keep a thread waiting for the other end of a connection.

mod compression;
mod directory;
mod entry;
mod error;
mod filter;
mod format;
mod header;
mod ignored;
mod pack;
mod sparse;
mod unpack;
mod walk;

pub use compression::Compression;
pub use error::Error;
pub use filter::{Filter, Passing};
pub use ignored::Patterns;
pub use pack::{Packer, Packing, Top, one_file, open_directory, open_or_make};
pub use unpack::{Import, Limits, Rules, Unpacked};
pub use walk::Walk;

#[cfg(test)]
mod tests;
