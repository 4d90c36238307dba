//! `sandshell.v1.SampleService`. What an answer leaves out of a sample is decided here: [`shown`] names each part that is told.

use crate::{
    api::v1::{self, GetSampleRequest, codebase, sample_service_server::SampleService},
    error::Error,
    rpc::paging,
    sample::{Codebase, Dataset, Filter, PageToken, Sample, Samples},
    server::request::validate,
};
use std::collections::HashMap;
use tonic::{Request, Response, Status};
use tracing::Span;

/// The service over the catalogue.
pub(in crate::server) struct Service(pub(in crate::server) Samples);

#[tonic::async_trait]
impl SampleService for Service {
    async fn list_datasets(
        &self,
        request: Request<v1::ListDatasetsRequest>,
    ) -> Result<Response<v1::ListDatasetsResponse>, Status> {
        let request = request.into_inner();
        validate::sample::list_datasets(&request)?;
        let size = validate::page_size(request.page_size);
        let after = PageToken::decode(&request.page_token);
        let catalogue = self.0.current();
        let total = catalogue.datasets().len();
        let behind = |dataset: &&Dataset| after.as_ref().is_none_or(|after| dataset.name > after.dataset);
        let mut rest = catalogue.datasets().filter(behind);
        let mut datasets: Vec<_> = rest.by_ref().take(size).map(dataset).collect();
        let fitting = paging::fitting(&datasets);
        let more = rest.next().is_some() || fitting < datasets.len();
        datasets.truncate(fitting);
        let last = datasets.last().filter(|_| more);
        let token = last.map(|last| PageToken { dataset: last.name.clone(), id: String::new() }.encode());
        let next_page_token = token.unwrap_or_default();
        Ok(Response::new(v1::ListDatasetsResponse { datasets, next_page_token, total_size: count(total) }))
    }

    async fn list_samples(
        &self,
        request: Request<v1::ListSamplesRequest>,
    ) -> Result<Response<v1::ListSamplesResponse>, Status> {
        let request = request.into_inner();
        validate::sample::list_samples(&request)?;
        let size = validate::page_size(request.page_size);
        let after = PageToken::decode(&request.page_token);
        let catalogue = self.0.current();
        if !request.dataset.is_empty() {
            catalogue.dataset(&request.dataset)?;
        }
        let filter =
            Filter { dataset: request.dataset, language: request.language, tags: request.tags, text: request.text };
        // Looking through very many descriptions is no work for a thread that serves.
        let listing = tokio::task::spawn_blocking(move || catalogue.list(&filter, size, after.as_ref())).await;
        let listing = listing.map_err(|error| Error::internal("listing samples", error))?;
        let mut samples: Vec<_> =
            listing.samples.iter().map(|sample| v1::Sample { description: String::new(), ..shown(sample) }).collect();
        let fitting = paging::fitting(&samples);
        let more = listing.more || fitting < samples.len();
        samples.truncate(fitting);
        let last = samples.last().filter(|_| more);
        let token = last.map(|last| PageToken { dataset: last.dataset.clone(), id: last.sample_id.clone() }.encode());
        let next_page_token = token.unwrap_or_default();
        Ok(Response::new(v1::ListSamplesResponse { samples, next_page_token, total_size: count(listing.total) }))
    }

    async fn get_sample(&self, request: Request<GetSampleRequest>) -> Result<Response<v1::Sample>, Status> {
        let request = request.into_inner();
        validate::sample::get_sample(&request)?;
        Span::current().record("id", &request.sample_id);
        let sample = self.0.current().find(&request.dataset, &request.sample_id)?;
        Ok(Response::new(shown(&sample)))
    }
}

fn dataset(dataset: &Dataset) -> v1::Dataset {
    let mut languages = HashMap::<String, i32>::new();
    for sample in dataset.samples.values() {
        *languages.entry(sample.language.clone()).or_default() += 1;
    }
    v1::Dataset {
        name: dataset.name.clone(),
        title: dataset.title.clone(),
        description: dataset.description.clone(),
        sample_count: count(dataset.samples.len()),
        languages,
        broken_count: count(dataset.broken),
    }
}

/// What a client may see of a sample. Each field that has anything to do with the verification was thought about: the reference patch, the
/// command, its files and the tests that decide are not here.
fn shown(sample: &Sample) -> v1::Sample {
    let (kind, commit) = match &sample.codebase {
        Codebase::Git { commit, .. } => (codebase::Kind::Git, commit.clone()),
        Codebase::Directory(_) => (codebase::Kind::Directory, String::new()),
        Codebase::Archive(_) => (codebase::Kind::Archive, String::new()),
    };
    v1::Sample {
        dataset: sample.dataset.clone(),
        sample_id: sample.id.clone(),
        title: sample.title.clone(),
        language: sample.language.clone(),
        tags: sample.tags.clone(),
        image: sample.image.clone(),
        version: sample.version.clone(),
        description: sample.description.clone(),
        codebase: Some(v1::Codebase { kind: kind.into(), commit }),
        setup: sample.setup.clone(),
        verification_timeout: sample.verification.timeout.try_into().ok(),
        protected_paths: sample.verification.protected.clone(),
        fingerprint: sample.fingerprint().to_owned(),
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
