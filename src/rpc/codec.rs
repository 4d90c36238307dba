//! Protobuf on the wire, with errors that have a type: tonic's own say only in words what went wrong.

use bytes::Buf;
use prost::Message;
use std::{fmt, marker::PhantomData, sync::Arc};
use tonic::{
    Status,
    codec::{BufferSettings, DecodeBuf, Decoder},
};
use tonic_prost::{ProstCodec, ProstEncoder};

/// The source of an error: the other side sent something that is no message of the right kind.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NotProtobuf(#[from] prost::DecodeError);

/// What a message is read to, and written to, begins with so much room. Most messages fit, and the allocator has a piece of this size
/// at hand; tonic's own 8 KiB have to be looked for each time, six times for one call that goes through the server.
fn buffers() -> BufferSettings {
    BufferSettings::new(1 << 10, 32 << 10)
}

/// As [`ProstCodec`].
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> fmt::Debug for Codec<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codec")
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = TypedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        TypedDecoder(PhantomData)
    }
}

/// Decodes one message.
#[derive(Debug)]
pub struct TypedDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for TypedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        decode(bytes).map(Some)
    }
}

/// A message, from its bytes.
pub(super) fn decode<U: Message + Default>(bytes: impl Buf) -> Result<U, Status> {
    U::decode(bytes).map_err(|error| {
        let mut status = Status::internal("a message is not valid protobuf");
        status.set_source(Arc::new(NotProtobuf::from(error)));
        status
    })
}
