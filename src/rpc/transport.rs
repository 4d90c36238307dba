//! HTTP/2 settings that server and agent agree on.

/// Unread bytes that one stream may have under way. Large enough for about 1 GB/s, small enough that a stalled reader
/// costs little.
pub const STREAM_WINDOW: u32 = 4 << 20;

/// The same for a stream that only watches. There may be any number of them for one command, so each may cost less: the
/// agent has all of it in memory while many watchers share a connection.
pub const WATCHER_WINDOW: u32 = 64 << 10;

/// Unread bytes of all streams of a connection together: effectively unlimited, so that stalled readers, each bounded by
/// [`STREAM_WINDOW`], never take the connection from the others.
pub const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// Room in a message for what is around its bytes: the fields of a start, and the names of the fields themselves.
pub const MESSAGE_ROOM: usize = 64 << 10;

/// Largest message taken: an input of 32 MiB, or a shorter one and a command's text, and what is around them.
pub const MAX_MESSAGE_BYTES: usize = (32 << 20) + MESSAGE_ROOM;

/// Largest HTTP/2 frame, so that a piece of output (at most 252 KiB) is one frame.
pub const MAX_FRAME_BYTES: u32 = 256 << 10;

/// The newest protocol between server and agent. An agent serves it and all before it.
///
/// 1: sessions. 2: a connection whose first byte is [`FOR_FILES`] is for files. 3: programs without a shell.
/// 4: starts that go on, and input with its place.
pub const PROTOCOL_VERSION: u32 = 4;

/// Metadata of a call to the agent: milliseconds within which the caller must have an answer.
pub const ANSWER_WITHIN: &str = "sandshell-answer-within";

/// Metadata of a call to the agent: milliseconds after which a command ends whose client says nothing of a time-out.
pub const DEFAULT_TIMEOUT: &str = "sandshell-default-timeout";

/// Metadata of a call to the agent: only what an earlier call with the same `request_id` has made is wanted.
pub const ONLY_KNOWN: &str = "sandshell-only-known";

/// Comes before everything else on a connection that is for files.
pub const FOR_FILES: u8 = b'F';

/// Bytes of a file in one message, so that with what is around them they are one HTTP/2 frame.
pub const FILE_PIECE: usize = 252 << 10;
