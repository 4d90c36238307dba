//! Requests of SampleService.

use super::Checks;
use crate::{
    api::v1::{GetSampleRequest, ListDatasetsRequest, ListSamplesRequest},
    error::Result,
    sample::PageToken,
};

/// Bytes of a name, a language, a tag.
const MAX_WORD: usize = 200;
const MAX_TAGS: usize = 64;

/// Characters that are looked for.
const MAX_TEXT: usize = 1000;

pub(in crate::server) fn list_datasets(request: &ListDatasetsRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.page(request.page_size, PageToken::is_one(&request.page_token));
    checks.finish()
}

pub(in crate::server) fn list_samples(request: &ListSamplesRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.text("dataset", &request.dataset, MAX_WORD);
    checks.text("language", &request.language, MAX_WORD);
    checks.check(request.tags.len() <= MAX_TAGS, "tags", &format!("may have at most {MAX_TAGS} entries"));
    for (number, tag) in request.tags.iter().enumerate().take(MAX_TAGS) {
        checks.text(&format!("tags[{number}]"), tag, MAX_WORD);
    }
    let fits = request.text.chars().count() <= MAX_TEXT;
    checks.check(fits, "text", &format!("may have at most {MAX_TEXT} characters"));
    checks.page(request.page_size, PageToken::is_one(&request.page_token));
    checks.finish()
}

pub(in crate::server) fn get_sample(request: &GetSampleRequest) -> Result<()> {
    let mut checks = Checks::default();
    checks.text("dataset", &request.dataset, MAX_WORD);
    checks.required("sample_id", &request.sample_id);
    checks.text("sample_id", &request.sample_id, MAX_WORD);
    checks.finish()
}

#[cfg(test)]
mod tests {
    use super::{super::fields, *};

    #[test]
    fn all_violations_come_at_once() {
        let wrong = ListSamplesRequest {
            dataset: "x".repeat(MAX_WORD + 1),
            language: "\0".into(),
            tags: vec!["\0".into(); MAX_TAGS + 1],
            text: "é".repeat(MAX_TEXT + 1),
            page_size: 1001,
            page_token: "x".into(),
        };
        let told = fields(list_samples(&wrong));
        assert_eq!(told[..4], ["dataset", "language", "tags", "tags[0]"]);
        assert_eq!(told[told.len() - 4..], ["tags[63]", "text", "page_size", "page_token"]);
        let right = ListSamplesRequest { text: "é".repeat(MAX_TEXT), page_size: 1000, ..Default::default() };
        assert_eq!(fields(list_samples(&right)), [""; 0]);
        assert_eq!(fields(get_sample(&GetSampleRequest::default())), ["sample_id"]);
        let wrong = ListDatasetsRequest { page_size: -1, page_token: "\u{e9}".into() };
        assert_eq!(fields(list_datasets(&wrong)), ["page_size", "page_token"]);
    }
}
