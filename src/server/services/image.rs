//! `sandshell.v1.ImageService`.

use crate::{
    api::v1::{self, image::Kind, image_service_server::ImageService},
    image::Image,
    rpc::paging,
    sandbox::{KnownImage, Sandboxes},
    server::request::validate,
};
use tonic::{Request, Response, Status};

/// The service over what the runtime has and the operator has named.
pub(in crate::server) struct Service(pub(in crate::server) Sandboxes);

#[tonic::async_trait]
impl ImageService for Service {
    async fn list_images(
        &self,
        request: Request<v1::ListImagesRequest>,
    ) -> Result<Response<v1::ListImagesResponse>, Status> {
        let request = request.into_inner();
        validate::image::list_images(&request)?;
        let size = validate::page_size(request.page_size);
        let after = paging::last_name(&request.page_token).unwrap_or_default();
        let known = self.0.images().await?;
        let total_size = i32::try_from(known.len()).unwrap_or(i32::MAX);
        let mut rest = known.into_iter().filter(|image| image.name > after).map(shown);
        let mut images: Vec<_> = rest.by_ref().take(size).collect();
        let fitting = paging::fitting(&images);
        let more = rest.next().is_some() || fitting < images.len();
        images.truncate(fitting);
        let last = images.last().filter(|_| more);
        let next_page_token = last.map_or_else(String::new, |last| paging::name_token(&last.name));
        Ok(Response::new(v1::ListImagesResponse { images, next_page_token, total_size }))
    }
}

fn shown(known: KnownImage) -> v1::Image {
    let KnownImage { name, description, image, is_default, held } = known;
    let kind = match image {
        Image::Host => Kind::Host,
        Image::Directory(_) => Kind::Directory,
        Image::Reference(_) => Kind::Reference,
    };
    v1::Image {
        name,
        description,
        kind: kind.into(),
        is_default,
        size_bytes: held.as_ref().and_then(|held| i64::try_from(held.size_bytes).ok()),
        create_time: held.and_then(|held| held.create_time).map(prost_types::Timestamp::from),
    }
}
