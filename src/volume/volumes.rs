//! All volumes of a server: making, finding and deleting them, and finishing what an earlier server has left.

use super::{Binds, ID_PREFIX, Listing, NewVolume, Volume, from_runtime, in_use};
use crate::{
    error::{Error, Kind, Reason, Result},
    runtime::Runtime,
    store::{Store, VolumeDeletion, VolumeInserted, VolumeRow, VolumeState},
    sync::lock,
    tenant::Caller,
};
use sha2::{Digest, Sha256};
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{Semaphore, watch},
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

/// Volumes of a tenant that has no limit of its own.
const MOST: u64 = 10_000;

/// How long a look at a directory of the host may take, and how many threads look below one that the operator allows at one time: its file
/// system may not answer. Below another one nobody waits for them.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
const LOOKS: usize = 4;

/// How long whoever repeats a request waits for what the first one makes.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often what could not be finished is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// All volumes of a server. Cheap to clone.
#[derive(Clone)]
pub struct Volumes(Arc<Shared>);

struct Shared {
    runtime: Arc<dyn Runtime>,
    store: Store,
    server: String,
    binds: Binds,
    /// Bytes of a volume that does not ask for a limit, where the runtime can keep one.
    default_bytes: Option<u64>,
    /// Volumes that are being made or removed. Who waits for one hears its end.
    under_way: Mutex<HashMap<String, watch::Receiver<()>>>,
    /// Who looks, by directory that the operator allows; what lies in none of them together.
    looks: Mutex<HashMap<Option<PathBuf>, Arc<Semaphore>>>,
    /// Work that owns something and goes on when the call that began it is cancelled.
    work: TaskTracker,
}

/// Takes a volume off the list when the work on it is over, however it ends.
struct UnderWay {
    volumes: Volumes,
    id: String,
    _told: watch::Sender<()>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        lock(&self.volumes.0.under_way).remove(&self.id);
    }
}

impl Volumes {
    /// The volumes of this server; see [`Volumes::recover`]. `work` is what the server waits for before it ends.
    pub fn new(
        runtime: Arc<dyn Runtime>,
        store: Store,
        server: &str,
        binds: Binds,
        default_bytes: Option<u64>,
        work: TaskTracker,
    ) -> Self {
        let (under_way, looks) = (Mutex::default(), Mutex::default());
        let server = server.to_owned();
        Self(Arc::new(Shared { runtime, store, server, binds, default_bytes, under_way, looks, work }))
    }

    /// Makes a volume. Once it was begun it comes to its end: a caller that goes away finds it by its name.
    pub async fn create(&self, caller: &Caller, new: NewVolume) -> Result<Volume> {
        let digest = serde_json::to_vec(&new).map_err(|error| Error::internal("write a request", error))?;
        let request = (new.request_id.clone(), format!("{:x}", Sha256::digest(digest)));
        let is_own = new.host_directory.is_empty();
        let default_bytes = self.0.default_bytes.filter(|_| is_own && self.runtime().limits_volumes());
        let row = VolumeRow {
            id: format!("{ID_PREFIX}{}", Uuid::now_v7().simple()),
            tenant: caller.tenant().to_owned(),
            server: self.server().to_owned(),
            runtime: self.runtime().name().to_owned(),
            name: new.name,
            state: VolumeState::Creating,
            shared: new.shared,
            size_bytes: new.size_bytes.or(default_bytes),
            host_directory: if is_own { String::new() } else { self.find_directory(new.host_directory).await? },
            labels: new.labels,
            create_time: SystemTime::now(),
        };
        let most = caller.limits().volumes.unwrap_or(MOST).min(MOST);
        let this = self.clone();
        let work = self.spawn(async move { this.make(row, request, most).await });
        let id = work.await.map_err(|error| Error::internal("make a volume", error))??;
        self.get(caller, &id).await
    }

    /// Makes a volume, or waits for the one that the same request makes. Returns its id.
    async fn make(&self, row: VolumeRow, request: (String, String), most: u64) -> Result<String> {
        let under_way = self.begin(&row.id);
        match self.store().insert_volume(&row, request, most).await? {
            VolumeInserted::New => {}
            VolumeInserted::Repeated(id) => {
                let other = lock(&self.0.under_way).get(&id).cloned();
                if let Some(mut other) = other {
                    // It has no values: it ends.
                    let _ = timeout(SETTLE_TIMEOUT, other.changed()).await;
                }
                return match self.store().volume(&row.tenant, &id).await? {
                    Some(found) if found.state == VolumeState::Ready => Ok(id),
                    _ => Err(not_settled(&row.name)),
                };
            }
            VolumeInserted::Reused => {
                let message = "request_id was used for another request; make up a new one".to_owned();
                return Err(Error::WrongState { reason: Reason::RequestIdReused, message });
            }
            VolumeInserted::NameTaken(VolumeState::Ready) => {
                let message = format!("there is a volume \"{}\"; choose another name, or delete that one", row.name);
                return Err(Error::Exists { message });
            }
            VolumeInserted::NameTaken(_) => return Err(not_settled(&row.name)),
            VolumeInserted::TooMany => {
                let message = format!("tenant \"{}\" has its limit of {most} volumes; delete some", row.tenant);
                return Err(Error::quota(Reason::TooManyVolumes, message));
            }
            VolumeInserted::Overlaps => {
                let what = "must neither be in the directory of another volume nor have one in it";
                return Err(Error::invalid("host_directory", what));
            }
        }
        if row.host_directory.is_empty()
            && let Err(error) = self.runtime().create_volume(&row.id, row.size_bytes).await
        {
            if let Err(error) = self.undo(&row).await {
                tracing::warn!(volume = row.id, %error, "a volume that could not be made is removed later");
            }
            return Err(from_runtime("make a volume", error));
        }
        // After an error it is not known whether the row says so. One that does not is removed later, by who looks for such.
        let is_ready = self.store().set_volume_ready(&row.id).await?;
        drop(under_way);
        if is_ready { Ok(row.id) } else { Err(Error::internal("make a volume", "its row is gone")) }
    }

    /// One of the caller's, by name or id.
    pub async fn get(&self, caller: &Caller, name: &str) -> Result<Volume> {
        let row = self.find(caller, name).await?;
        let uses = self.store().uses_of_volume(&row.id).await?;
        let used_bytes = self.measure(std::slice::from_ref(&row)).await.remove(&row.id);
        Ok(Volume { row, used_bytes, uses })
    }

    /// A page of the caller's, behind the one with the id `after`.
    pub async fn list(&self, caller: &Caller, after: &str, size: usize) -> Result<Listing> {
        let page = self.store().volumes_of_tenant(caller.tenant(), after, size).await?;
        let mut bytes = self.measure(&page.rows).await;
        let mut uses = HashMap::<String, Vec<_>>::new();
        for used in page.uses {
            uses.entry(used.volume_id.clone()).or_default().push(used);
        }
        let volume = |row: VolumeRow| Volume {
            used_bytes: bytes.remove(&row.id),
            uses: uses.remove(&row.id).unwrap_or_default(),
            row,
        };
        Ok(Listing { volumes: page.rows.into_iter().map(volume).collect(), more: page.more, total: page.total })
    }

    /// Deletes one that no sandbox has. Goes on without the caller.
    pub async fn delete(&self, caller: &Caller, name: &str) -> Result<()> {
        let row = self.store().volume(caller.tenant(), name).await?;
        let Some(row) = row.filter(|row| row.state != VolumeState::Creating) else {
            return Err(Error::not_found(Kind::Volume, name));
        };
        self.check_here(&row)?;
        let this = self.clone();
        let work = self.spawn(async move {
            let _under_way = this.begin(&row.id);
            match this.store().begin_volume_deletion(&row.tenant, &row.id).await? {
                VolumeDeletion::Begun => this.remove(&row).await,
                VolumeDeletion::Used(users) => Err(in_use(&row.name, &users, "delete it first")),
                VolumeDeletion::Gone => Ok(()),
            }
        });
        work.await.map_err(|error| Error::internal("delete a volume", error))?
    }

    /// Finishes what an earlier server has begun, and goes on to look for such. To be called once, before the first call is served.
    pub async fn recover(&self) -> Result<()> {
        let rows = self.finish_all().await?;
        // Never removed: a row may be in another database, and the files are somebody's.
        match self.runtime().volumes().await {
            Ok(there) => {
                let known: HashSet<_> = rows.iter().map(|row| row.id.as_str()).collect();
                let strays: Vec<_> = there.iter().filter(|id| !known.contains(id.as_str())).collect();
                if !strays.is_empty() {
                    tracing::warn!(
                        ?strays,
                        "the database does not know these volumes; their files stay where they are"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "the volumes could not be looked at"),
        }
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                sleep(AGAIN).await;
                if let Err(error) = this.finish_all().await {
                    tracing::warn!(%error, "volumes that are being made or deleted could not be looked for");
                }
            }
        });
        Ok(())
    }

    /// Removes what is being made or deleted, and by nobody. Returns all volumes of this server.
    async fn finish_all(&self) -> Result<Vec<VolumeRow>> {
        let rows = self.store().volumes_of_server(self.server()).await?;
        for row in rows.iter().filter(|row| row.state != VolumeState::Ready && self.check_here(row).is_ok()) {
            if lock(&self.0.under_way).contains_key(&row.id) {
                continue;
            }
            let (this, row) = (self.clone(), row.clone());
            let _ = self
                .spawn(async move {
                    let _under_way = this.begin(&row.id);
                    if let Err(error) = this.undo(&row).await {
                        tracing::warn!(volume = row.id, %error, "a volume could not be removed; it is tried again");
                    }
                })
                .await;
        }
        Ok(rows)
    }

    /// Removes a volume unless it was finished meanwhile.
    async fn undo(&self, row: &VolumeRow) -> Result<()> {
        if self.store().give_up_volume(&row.id).await? { self.remove(row).await } else { Ok(()) }
    }

    /// Removes the files of a volume that is being deleted, and then its row.
    async fn remove(&self, row: &VolumeRow) -> Result<()> {
        if row.host_directory.is_empty() {
            let removed = self.runtime().remove_volume(&row.id).await;
            removed.map_err(|error| from_runtime("delete a volume", error))?;
        }
        Ok(self.store().forget_volume(&row.id).await?)
    }

    async fn find(&self, caller: &Caller, name: &str) -> Result<VolumeRow> {
        let row = self.store().volume(caller.tenant(), name).await?;
        row.filter(|row| row.state == VolumeState::Ready).ok_or_else(|| Error::not_found(Kind::Volume, name))
    }

    /// Bytes that volumes take, of those that are here and are counted.
    async fn measure(&self, rows: &[VolumeRow]) -> HashMap<String, u64> {
        let own = rows.iter().filter(|row| row.host_directory.is_empty() && self.check_here(row).is_ok());
        let ids: Vec<_> = own.map(|row| row.id.clone()).collect();
        self.runtime().volume_bytes(ids).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "volumes could not be measured");
            HashMap::new()
        })
    }

    /// The canonical path of a directory of the host, on a thread of its own.
    async fn find_directory(&self, path: String) -> Result<String> {
        self.runtime().check_host_directories().map_err(|error| from_runtime("use a directory", error))?;
        let binds = self.binds().clone();
        let root = binds.split(Path::new(&path)).map(|(root, _)| root);
        let looks = lock(&self.0.looks).entry(root).or_insert_with(|| Arc::new(Semaphore::new(LOOKS))).clone();
        let looking = async move {
            let permit = looks.acquire_owned().await;
            // The thread keeps the permit: it is given back when the file system has answered.
            let looked = spawn_blocking(move || {
                let _permit = permit;
                binds.find(&path)
            });
            looked.await.map_err(|error| Error::internal("look for a directory", error))?
        };
        let found = timeout(LOOK_TIMEOUT, looking).await.unwrap_or_else(|_| {
            let message = "host_directory: its file system does not answer; try again later".to_owned();
            Err(Error::Unavailable { reason: Reason::RuntimeUnreachable, message })
        })?;
        found
            .into_os_string()
            .into_string()
            .map_err(|_| Error::invalid("host_directory", "leads to a path that is no UTF-8"))
    }

    fn begin(&self, id: &str) -> UnderWay {
        let (told, end) = watch::channel(());
        lock(&self.0.under_way).insert(id.to_owned(), end);
        UnderWay { volumes: self.clone(), id: id.to_owned(), _told: told }
    }

    fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.0.work.spawn(work.in_current_span())
    }

    pub(super) fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.0.runtime
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn server(&self) -> &str {
        &self.0.server
    }

    pub(super) fn binds(&self) -> &Binds {
        &self.0.binds
    }
}

fn not_settled(name: &str) -> Error {
    let message = format!("a volume \"{name}\" is just being made or deleted; send it again later");
    Error::Unavailable { reason: Reason::ServerBusy, message }
}
