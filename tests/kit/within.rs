//! Waiting with a bound that says what it waited for. Bounds are generous: they end a hang, they time nothing. They are
//! given for a usual machine and grow with the slowness of the one at hand, as it is when the bound is reached.

use super::slowness::{scaled, slowness};
use std::{future::Future, pin::pin, time::Duration};
use tokio::time::Instant;
use tonic_types::StatusExt;

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
    let mut wait = pin!(wait);
    let mut limit = Limit::of(bound);
    loop {
        match tokio::time::timeout_at(limit.at(), &mut wait).await {
            Ok(value) => return value,
            Err(_) if limit.is_over() => panic!("waited {limit} for {what}, and it did not come"),
            Err(_) => {}
        }
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

/// What the server says of a call that has a command go on beyond its deadline. The server answers a little before that; a
/// machine on which the command has not even begun by then, or the client hears of it too late and gives up by itself, gets a
/// longer one.
pub async fn refused_at_deadline(mut call: impl AsyncFnMut(Duration) -> tonic::Status) -> tonic::Status {
    within("the server's own word at a deadline", async {
        let mut deadline = Duration::from_millis(1500);
        loop {
            let status = call(deadline).await;
            let names_it = status.get_details_error_info().is_some_and(|info| info.metadata.contains_key("command_id"));
            if names_it || deadline > USUAL / 4 {
                return status;
            }
            deadline *= 2;
        }
    })
    .await
}

/// Asks again and again until there is an answer, on a thread that may block. Nothing when the bound is over.
pub fn ask_until<T>(bound: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let mut limit = Limit::of(bound);
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if limit.is_over() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// When a wait is over.
pub struct Limit {
    began: Instant,
    bound: Duration,
    times: f64,
}

impl Limit {
    /// So much from now on, on a usual machine.
    pub fn of(bound: Duration) -> Self {
        Self { began: Instant::now(), bound, times: slowness() }
    }

    /// The instant, as far as is known now.
    pub fn at(&self) -> Instant {
        self.began + self.bound.mul_f64(self.times)
    }

    /// How long until then.
    pub fn left(&self) -> Duration {
        self.at().saturating_duration_since(Instant::now())
    }

    /// Whether it is over. A machine that has become slower meanwhile moves it, once it is reached.
    pub fn is_over(&mut self) -> bool {
        if self.at() > Instant::now() {
            return false;
        }
        self.times = self.times.max(slowness());
        self.at() <= Instant::now()
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0?}", self.bound.mul_f64(self.times))?;
        if self.times > 1.0 {
            write!(f, " ({:?} on a machine that is {:.1} times as slow as usual)", self.bound, self.times)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_with_its_bound() {
        let moment = Duration::from_millis(20);
        let wait = tokio::spawn(within_time(moment, "what never comes", std::future::pending::<()>()));
        let said = wait.await.expect_err("a panic").into_panic();
        let said = said.downcast_ref::<String>().expect("words");
        assert!(said.contains("for what never comes"), "{said}");
    }

    #[test]
    fn asking_ends_with_its_bound() {
        assert_eq!(ask_until(Duration::from_millis(20), || None::<()>), None);
        let mut left = 3;
        let mut count = || {
            left -= 1;
            (left == 0).then_some("there")
        };
        assert_eq!(ask_until(USUAL, &mut count), Some("there"));
    }

    #[test]
    fn a_bound_is_never_shorter_than_what_was_asked() {
        let limit = Limit::of(USUAL);
        assert!(limit.at() >= limit.began + USUAL);
        assert!(scaled(USUAL) >= USUAL);
    }
}
