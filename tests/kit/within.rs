//! Waiting with a bound that says what it waited for. Bounds are generous: they end a hang, they time nothing.

use std::{future::Future, time::Duration};

/// For what takes milliseconds, on a machine that is busy with other tests.
pub const USUAL: Duration = Duration::from_secs(30);

/// For what moves much data or starts many things.
pub const LONG: Duration = Duration::from_secs(240);

/// Waits for `what`, at most [`USUAL`].
pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    within_time(USUAL, what, wait).await
}

/// Waits for `what`, at most `bound`.
pub async fn within_time<T>(bound: Duration, what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(bound, wait).await {
        Ok(value) => value,
        Err(_) => panic!("waited {bound:?} for {what}, and it did not come"),
    }
}

/// Asks again and again until the answer is yes, for things that send no event (a process that ends, a file that
/// appears). At most [`USUAL`].
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
