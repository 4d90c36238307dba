//! Requests of ImageService.

use super::Checks;
use crate::{api::v1::ListImagesRequest, error::Result, rpc::paging};

pub(in crate::server) fn list_images(request: &ListImagesRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.page(request.page_size, paging::last_name(&request.page_token).is_some());
    checks.finish()
}
