//! One binary: server, command line and the agent inside every sandbox.

fn main() -> std::process::ExitCode {
    sandshell::cli::main()
}
