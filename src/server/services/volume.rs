//! `sandshell.v1.VolumeService`.

use crate::{
    api::v1::{
        self, CreateVolumeRequest, DeleteVolumeRequest, DeleteVolumeResponse, GetVolumeRequest, ListVolumesRequest,
        ListVolumesResponse, volume_service_server::VolumeService,
    },
    rpc::paging,
    server::{layers::auth::caller, request::validate},
    volume::{NewVolume, Volume, Volumes},
};
use tonic::{Request, Response, Status};
use tracing::Span;

/// The service over all volumes.
pub(in crate::server) struct Service(pub(in crate::server) Volumes);

#[tonic::async_trait]
impl VolumeService for Service {
    async fn create_volume(&self, request: Request<CreateVolumeRequest>) -> Result<Response<v1::Volume>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::volume::create_volume(&request)?;
        let new = NewVolume {
            name: request.name,
            labels: request.labels.into_iter().collect(),
            // Checked before: not negative.
            size_bytes: request.size_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
            shared: request.shared,
            host_directory: request.host_directory,
            request_id: request.request_id,
        };
        let volume = self.0.create(&caller, new).await?;
        Span::current().record("id", &volume.row.id);
        Ok(Response::new(shown(volume)))
    }

    async fn get_volume(&self, request: Request<GetVolumeRequest>) -> Result<Response<v1::Volume>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::volume::named(&request.volume)?;
        Span::current().record("id", &request.volume);
        Ok(Response::new(shown(self.0.get(&caller, &request.volume).await?)))
    }

    async fn list_volumes(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Result<Response<ListVolumesResponse>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::volume::list_volumes(&request)?;
        let size = validate::page_size(request.page_size);
        let after = paging::last_name(&request.page_token).unwrap_or_default();
        let listing = self.0.list(&caller, &after, size).await?;
        let mut volumes: Vec<_> = listing.volumes.into_iter().map(shown).collect();
        let fitting = paging::fitting(&volumes);
        let more = listing.more || fitting < volumes.len();
        volumes.truncate(fitting);
        let last = volumes.last().filter(|_| more);
        let next_page_token = last.map_or_else(String::new, |last| paging::name_token(&last.volume_id));
        let total_size = i32::try_from(listing.total).unwrap_or(i32::MAX);
        Ok(Response::new(ListVolumesResponse { volumes, next_page_token, total_size }))
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        let (caller, request) = (caller(&request), request.into_inner());
        validate::volume::named(&request.volume)?;
        Span::current().record("id", &request.volume);
        self.0.delete(&caller, &request.volume).await?;
        Ok(Response::new(DeleteVolumeResponse {}))
    }
}

fn shown(volume: Volume) -> v1::Volume {
    let signed = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    let Volume { row, used_bytes, uses } = volume;
    let used_by = uses.into_iter().map(|used| v1::VolumeUse {
        sandbox_id: used.sandbox_id,
        path: used.path,
        read_only: used.read_only,
    });
    v1::Volume {
        volume_id: row.id,
        name: row.name,
        labels: row.labels.into_iter().collect(),
        size_bytes: signed(row.size_bytes),
        used_bytes: signed(used_bytes),
        shared: row.shared,
        host_directory: row.host_directory,
        create_time: Some(row.create_time.into()),
        used_by: used_by.collect(),
    }
}
