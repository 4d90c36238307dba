//! The ways to reach a command until it is over: signals and sizes for it, and its input.

use super::{Command, Control, InputPiece, Missing};
use crate::sync::lock;
use bytes::Buf;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Input that waits for a slow program, in bytes, before the client's stream is held up. Signals behind that much input
/// still overtake it.
const MOST_UNREAD_INPUT: usize = 4 << 20;

/// Signals and sizes that may wait for the turn of their command.
const MOST_UNHEARD: usize = 256;

/// What a piece of input counts beside its bytes, so that many small pieces are bounded too.
const PIECE_COST: usize = 64;

/// The ways to reach a command that is not over.
#[derive(Clone)]
pub(super) struct Ways {
    control: mpsc::Sender<Control>,
    input: mpsc::UnboundedSender<QueuedInput>,
    /// Has a permit for each byte that may still be queued.
    input_room: Arc<Semaphore>,
    /// Cancelled when input came that nothing wanted.
    input_refused: CancellationToken,
}

/// A piece of input that waits for the program, and its share of what may wait.
pub(in crate::agent) struct QueuedInput {
    /// The piece.
    pub(in crate::agent) piece: InputPiece,
    /// Given back when the piece is taken out of the queue.
    _room: Option<OwnedSemaphorePermit>,
}

impl Ways {
    /// To a command, and where it hears what is said and has its input.
    pub(super) fn new() -> (Self, mpsc::Receiver<Control>, mpsc::UnboundedReceiver<QueuedInput>) {
        let (control, control_inbox) = mpsc::channel(MOST_UNHEARD);
        let (input, input_inbox) = mpsc::unbounded_channel();
        let input_room = Arc::new(Semaphore::new(MOST_UNREAD_INPUT));
        (Self { control, input, input_room, input_refused: CancellationToken::new() }, control_inbox, input_inbox)
    }
}

impl Command {
    /// The ways to reach it, until it is over.
    fn ways(&self) -> Option<Ways> {
        lock(&self.ways).clone()
    }

    /// Says something to it, and waits while much that was said before waits for its turn. False when it is over.
    pub(in crate::agent) async fn say(&self, control: Control) -> bool {
        match self.ways() {
            Some(ways) => ways.control.send(control).await.is_ok(),
            None => false,
        }
    }

    /// Gives it input, waiting while too much of it is unread. Input that nobody will read is dropped, and so is what has come before
    /// when the input says where its place is.
    pub(in crate::agent) async fn give_input(&self, piece: InputPiece, at: Option<u64>) -> Result<(), Missing> {
        let data = match piece {
            InputPiece::Data(data) => data,
            InputPiece::End => {
                let mut arrived = lock(&self.arrived);
                arrived.fresh(0, at)?;
                if arrived.end() && at.is_some() {
                    return Ok(());
                }
                self.queue_input(InputPiece::End, None);
                return Ok(());
            }
        };
        if lock(&self.arrived).fresh(data.len(), at)?.is_none() {
            return Ok(());
        }
        let cost = (data.len() + PIECE_COST).min(MOST_UNREAD_INPUT) as u32;
        let room = match self.ways() {
            Some(ways) => ways.input_room.acquire_many_owned(cost).await.ok(),
            None => None,
        };
        let mut data = self.log.budget().keep_when_free(data).await;
        // What comes by another call meanwhile counts: only here it is decided whose bytes these are.
        let mut arrived = lock(&self.arrived);
        let Some(known) = arrived.fresh(data.len(), at)? else { return Ok(()) };
        data.advance(known);
        arrived.came(data.len());
        self.queue_input(InputPiece::Data(data), room);
        Ok(())
    }

    /// When the command is over nobody reads it.
    fn queue_input(&self, piece: InputPiece, room: Option<OwnedSemaphorePermit>) {
        if let Some(ways) = &*lock(&self.ways) {
            let _ = ways.input.send(QueuedInput { piece, _room: room });
        }
    }

    /// How many bytes of input have come.
    pub(in crate::agent) fn input_taken(&self) -> u64 {
        lock(&self.arrived).bytes()
    }

    /// Input came that nothing wanted: the call that sends it is told.
    pub(in crate::agent) fn refuse_input(&self) {
        if let Some(ways) = self.ways() {
            ways.input_refused.cancel();
        }
    }

    /// Waits until input came that nothing wanted. For ever, once the command is over.
    pub(in crate::agent) fn input_refused(&self) -> impl Future<Output = ()> + Send + 'static {
        self.ways().map(|ways| ways.input_refused).unwrap_or_default().cancelled_owned()
    }

    /// Whether that is so.
    pub(in crate::agent) fn input_is_refused(&self) -> bool {
        self.ways().is_some_and(|ways| ways.input_refused.is_cancelled())
    }
}
