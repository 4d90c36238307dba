//! Compiles `proto/` and `proto-agent/` without protoc: protox parses, tonic generates, and the descriptor set is kept for reflection.

use prost::Message;
use std::{env, fs, path::PathBuf};

const PROTOS: &[&str] = &[
    "sandshell/v1/sandbox.proto",
    "sandshell/v1/session.proto",
    "sandshell/v1/file.proto",
    "sandshell/v1/image.proto",
    "sandshell/v1/code.proto",
    "sandshell/v1/sample.proto",
    "sandshell/v1/verification.proto",
    "sandshell/v1/volume.proto",
    "sandshell/agent/v1/agent.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../../proto");
    println!("cargo:rerun-if-changed=../../proto-agent");
    let descriptors = protox::compile(PROTOS, ["../../proto", "../../proto-agent"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Reflection shows only what clients may call: the agent's private service stays out of it.
    let mut public = descriptors.clone();
    public.file.retain(|file| file.package() != "sandshell.agent.v1");
    fs::write(out.join("sandshell.v1.bin"), public.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".sandshell.v1")
        .codec_path("crate::rpc::codec::Codec")
        .compile_fds(descriptors)?;
    Ok(())
}
