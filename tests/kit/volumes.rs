//! Volumes as a test sees them.

use super::{Clients, Runtime, Sandbox, Server, v1, within};
use tonic::{Status, transport::Channel};
use v1::{CreateVolumeRequest, VolumeMount, volume_service_client::VolumeServiceClient};

/// A client of a server's volumes.
pub async fn volumes(server: &Server) -> VolumeServiceClient<Channel> {
    of(&server.connect().await)
}

/// The same on a connection that is there.
pub fn of(clients: &Clients) -> VolumeServiceClient<Channel> {
    VolumeServiceClient::new(clients.channel.clone())
}

/// The plainest request.
pub fn named(name: &str) -> CreateVolumeRequest {
    CreateVolumeRequest { name: name.to_owned(), ..Default::default() }
}

/// Makes a volume.
pub async fn create_volume(server: &Server, request: CreateVolumeRequest) -> v1::Volume {
    let made = within("a volume", volumes(server).await.create_volume(request.clone())).await;
    made.unwrap_or_else(|e| panic!("no volume for {request:?}: {e:?}\n{}", server.log())).into_inner()
}

/// One that is there.
pub async fn get_volume(server: &Server, volume: &str) -> Result<v1::Volume, Status> {
    let request = v1::GetVolumeRequest { volume: volume.to_owned() };
    within("a volume's description", volumes(server).await.get_volume(request)).await.map(tonic::Response::into_inner)
}

/// Deletes one.
pub async fn delete_volume(server: &Server, volume: &str) -> Result<(), Status> {
    let request = v1::DeleteVolumeRequest { volume: volume.to_owned() };
    within("the end of a volume", volumes(server).await.delete_volume(request)).await.map(drop)
}

/// A volume at a path; `:ro` behind that for reading.
pub fn mount(volume: &str, path: &str) -> VolumeMount {
    let (path, read_only) = path.strip_suffix(":ro").map_or((path, false), |path| (path, true));
    VolumeMount { volume: volume.to_owned(), path: path.to_owned(), read_only, ..Default::default() }
}

/// A request for a sandbox with volumes.
pub fn with_volumes(on: Runtime, volumes: &[(&str, &str)]) -> v1::CreateSandboxRequest {
    let volumes = volumes.iter().map(|(volume, path)| mount(volume, path)).collect();
    v1::CreateSandboxRequest { volumes, ..on.request() }
}

/// Why a sandbox with volumes cannot be had.
pub async fn refused(server: &Server, request: v1::CreateSandboxRequest) -> Status {
    let answer = within("a refusal", server.connect().await.sandboxes.create_sandbox(request.clone())).await;
    answer.map_or_else(|status| status, |made| panic!("{request:?} should have been refused: {made:?}"))
}

/// Runs something that must succeed, and gives what it printed.
#[track_caller]
pub fn prints(sandbox: &Sandbox, command: &str) -> impl Future<Output = String> {
    let caller = std::panic::Location::caller();
    let (sandbox, command) = (sandbox.clone(), command.to_owned());
    async move {
        let got = sandbox.run(&command).await;
        assert_eq!(got.exit_code(), 0, "{caller}: `{command}`: {got:?}");
        got.out()
    }
}
