//! Requests that were sent again: the same `request_id` is the same thing.

use crate::{
    error::{Error, Reason, Result},
    sync::lock,
};
use std::{
    collections::{BTreeMap, HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{Arc, Mutex},
};
use tokio::sync::watch;

/// Ids that are remembered.
const MOST_REMEMBERED: usize = 10_000;

/// Ids of requests, and what has become of them.
pub(in crate::agent) struct RequestIds<T> {
    /// What a request asks for, as an error names it.
    kind: &'static str,
    remembered: Mutex<Remembered<T>>,
}

struct Remembered<T> {
    last_number: u64,
    by_id: HashMap<String, Entry<T>>,
    by_age: BTreeMap<u64, String>,
}

struct Entry<T> {
    content: u64,
    made: watch::Receiver<Option<T>>,
}

/// What a request with an id is.
pub(in crate::agent) enum Claim<T> {
    /// The first one. It has to be carried out.
    New(Claimed<T>),
    /// A repetition of a request that has made this.
    Known(T),
}

/// An id whose request is being carried out. When this is dropped before anything was made, the id is free again.
pub(in crate::agent) struct Claimed<T> {
    ids: Arc<RequestIds<T>>,
    id: String,
    number: u64,
    made: watch::Sender<Option<T>>,
}

impl<T: Clone> RequestIds<T> {
    /// None yet.
    pub(in crate::agent) fn new(kind: &'static str) -> Arc<Self> {
        let remembered = Remembered { last_number: 0, by_id: HashMap::new(), by_age: BTreeMap::new() };
        Arc::new(Self { kind, remembered: Mutex::new(remembered) })
    }

    /// Takes an id, or learns what it has become. While an earlier request with the id is being carried out, this waits for
    /// it; if that one fails, or is given up, it is this one's turn. `content` stands for all else that is in the request.
    pub(in crate::agent) async fn claim(self: &Arc<Self>, id: &str, content: u64) -> Result<Claim<T>> {
        loop {
            let mut earlier = match self.look_up(id, content)? {
                Ok(claimed) => return Ok(Claim::New(claimed)),
                Err(earlier) => earlier,
            };
            if let Ok(made) = earlier.wait_for(Option::is_some).await
                && let Some(made) = made.as_ref()
            {
                return Ok(Claim::Known(made.clone()));
            }
        }
    }

    fn look_up(
        self: &Arc<Self>,
        id: &str,
        content: u64,
    ) -> Result<std::result::Result<Claimed<T>, watch::Receiver<Option<T>>>> {
        let mut remembered = lock(&self.remembered);
        if let Some(entry) = remembered.by_id.get(id) {
            if entry.content == content {
                return Ok(Err(entry.made.clone()));
            }
            return Err(Error::WrongState {
                reason: Reason::RequestIdReused,
                message: format!("request_id \"{id}\" was used for another {}; use a new one", self.kind),
            });
        }
        while remembered.by_age.len() >= MOST_REMEMBERED
            && let Some((_, oldest)) = remembered.by_age.pop_first()
        {
            remembered.by_id.remove(&oldest);
        }
        let (sender, made) = watch::channel(None);
        remembered.last_number += 1;
        let number = remembered.last_number;
        remembered.by_id.insert(id.to_owned(), Entry { content, made });
        remembered.by_age.insert(number, id.to_owned());
        Ok(Ok(Claimed { ids: Arc::clone(self), id: id.to_owned(), number, made: sender }))
    }
}

impl<T> Claimed<T> {
    /// Notes what the request has made.
    pub(in crate::agent) fn fulfil(self, made: T) {
        self.made.send_replace(Some(made));
    }
}

impl<T> Drop for Claimed<T> {
    fn drop(&mut self) {
        if self.made.borrow().is_some() {
            return;
        }
        let mut remembered = lock(&self.ids.remembered);
        // So many may have come since that it was forgotten, and taken once more.
        if remembered.by_age.remove(&self.number).is_some() {
            remembered.by_id.remove(&self.id);
        }
        // Those who wait notice it when the sender is dropped, which is after this.
    }
}

/// A number that stands for a message. Its map of variables has no order of its own: it is given apart, and the message
/// comes without.
pub(in crate::agent) fn fingerprint<M: prost::Message>(
    message: &M,
    env: &HashMap<String, String>,
    more: impl Hash,
) -> u64 {
    let mut env: Vec<_> = env.iter().collect();
    env.sort();
    let mut hasher = DefaultHasher::new();
    message.encode_to_vec().hash(&mut hasher);
    env.hash(&mut hasher);
    more.hash(&mut hasher);
    hasher.finish()
}

/// What a caller is told who may only learn what an earlier call has become. The server says why.
pub(in crate::agent) fn not_known() -> Error {
    Error::exhausted(Reason::TooManySessions, "the tenant has as many sessions as it may")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;

    type Ids = Arc<RequestIds<u32>>;

    async fn new(ids: &Ids, id: &str, content: u64) -> Claimed<u32> {
        match ids.claim(id, content).await {
            Ok(Claim::New(claimed)) => claimed,
            Ok(Claim::Known(made)) => panic!("{id} is known, as {made}"),
            Err(error) => panic!("{id} is refused: {error:?}"),
        }
    }

    async fn known(ids: &Ids, id: &str, content: u64) -> u32 {
        match ids.claim(id, content).await {
            Ok(Claim::Known(made)) => made,
            Ok(Claim::New(_)) => panic!("{id} is new"),
            Err(error) => panic!("{id} is refused: {error:?}"),
        }
    }

    #[tokio::test]
    async fn the_same_id_is_the_same_thing_and_another_content_is_refused() {
        let ids = RequestIds::new("command");
        new(&ids, "a", 1).await.fulfil(7);
        assert_eq!(known(&ids, "a", 1).await, 7);
        let refused = ids.claim("a", 2).await.err();
        assert!(matches!(refused, Some(Error::WrongState { reason: Reason::RequestIdReused, .. })), "{refused:?}");
        new(&ids, "b", 2).await.fulfil(8);
        assert_eq!((known(&ids, "a", 1).await, known(&ids, "b", 2).await), (7, 8));
    }

    #[tokio::test]
    async fn an_id_that_made_nothing_is_free_again() {
        let ids = RequestIds::new("command");
        drop(new(&ids, "a", 1).await);
        // The content may be another one then.
        new(&ids, "a", 2).await.fulfil(7);
        assert_eq!(known(&ids, "a", 2).await, 7);
    }

    #[tokio::test]
    async fn whoever_waits_gets_what_was_made_or_has_the_next_turn() {
        let ids = RequestIds::new("command");
        let first = new(&ids, "a", 1).await;
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(ids.claim("a", 1))).collect();
        for wait in &mut waiting {
            assert!(is_pending(wait.as_mut()).await);
        }
        drop(first);
        let second = waiting.remove(1).await;
        let Ok(Claim::New(second)) = second else { panic!("it is the second one's turn") };
        for wait in &mut waiting {
            assert!(is_pending(wait.as_mut()).await);
        }
        second.fulfil(7);
        for wait in waiting {
            assert!(matches!(wait.await, Ok(Claim::Known(7))));
        }
    }

    #[tokio::test]
    async fn the_oldest_is_forgotten_and_its_late_end_harms_no_later_one() {
        let ids = RequestIds::new("command");
        let oldest = new(&ids, "old", 0).await;
        for number in 0..MOST_REMEMBERED {
            new(&ids, &number.to_string(), 0).await.fulfil(number as u32);
        }
        assert_eq!(lock(&ids.remembered).by_id.len(), MOST_REMEMBERED);
        let again = new(&ids, "old", 0).await;
        drop(oldest);
        again.fulfil(1);
        assert_eq!(known(&ids, "old", 0).await, 1);
        let remembered = lock(&ids.remembered);
        assert_eq!((remembered.by_id.len(), remembered.by_age.len()), (MOST_REMEMBERED, MOST_REMEMBERED));
    }

    #[test]
    fn a_fingerprint_tells_contents_apart_and_not_the_order_of_variables() {
        use crate::api::v1::CreateSessionRequest;
        let request = |shell: &str| CreateSessionRequest { shell: shell.into(), ..Default::default() };
        let env = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), String::new())).collect();
        let print = |shell, names: &[&str]| fingerprint(&request(shell), &env(names), ());
        assert_eq!(print("sh", &["a", "b"]), print("sh", &["b", "a"]));
        assert_ne!(print("sh", &["a", "b"]), print("sh", &["a"]));
        assert_ne!(print("sh", &[]), print("bash", &[]));
        assert_ne!(fingerprint(&request("sh"), &env(&[]), "in"), fingerprint(&request("sh"), &env(&[]), "other"));
    }

    async fn is_pending<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
        std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }
}
