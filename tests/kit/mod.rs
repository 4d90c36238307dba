//! The kit: a real server, clients for it, and words to say what a command should do.

pub mod archives;
pub mod breaking;
pub mod certificates;
pub mod cli;
pub mod code;
pub mod datasets;
pub mod disk;
pub mod docker;
pub mod errors;
pub mod examples;
pub mod expected;
pub mod files;
pub mod frames;
pub mod guide;
pub mod hanging;
pub mod host;
pub mod postgres;
pub mod python;
pub mod raw;
pub mod registry;
pub mod running;
pub mod samples;
pub mod sandbox;
pub mod sequences;
pub mod server;
pub mod shells;
pub mod slowness;
pub mod sshd;
pub mod terminal;
pub mod verifying;
pub mod vm;
pub mod volumes;
pub mod within;

pub use running::{Finished, Running};
pub use sandbox::{Sandbox, Session, create_sandbox, create_sandbox_patiently, with_a_connection_that_breaks};
pub use sandshell::api::v1;
pub use server::{Clients, Options, Server, shared};
pub use shells::{At, Runtime, Shell};
pub use within::{LONG, USUAL, within, within_time};

/// Bytes as text for messages; a long text is cut in the middle.
pub fn show(bytes: &[u8]) -> String {
    const LIMIT: usize = 2000;
    let text = |part: &[u8]| part.escape_ascii().to_string().replace("\\n", "\n");
    if bytes.len() <= LIMIT {
        return text(bytes);
    }
    let (head, tail) = (&bytes[..LIMIT / 2], &bytes[bytes.len() - LIMIT / 2..]);
    format!("{} …({} bytes in all)… {}", text(head), bytes.len(), text(tail))
}

/// A word that occurs nowhere else.
pub fn token() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Numbers that look random and can be had again from the printed seed.
pub struct Dice(u64);

impl Dice {
    /// Seeded from `SANDSHELL_TEST_SEED`, else by chance; the seed is printed, and shown when the test fails.
    pub fn new() -> Self {
        let chance = || uuid::Uuid::new_v4().as_u64_pair().0 | 1;
        let seed = std::env::var("SANDSHELL_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(chance);
        println!("SANDSHELL_TEST_SEED={seed} repeats this");
        Self(seed)
    }

    /// The same numbers each time, for a part of a test that got its seed from other dice.
    pub fn of(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number from 0 up to `bound`, which it never is.
    pub fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound
    }
}
