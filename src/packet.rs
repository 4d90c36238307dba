//! Packets with descriptors over a Unix socket: how programs of ours on one host hand things to each other.

use rustix::{
    cmsg_space,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

/// The longest packet: paths of 4096 bytes several times over, escaped.
const MAX_BYTES: usize = 64 * 1024;
/// The most descriptors in a packet.
const MAX_DESCRIPTORS: usize = 4;

/// What one packet held.
pub struct Packet {
    /// Its bytes. Empty when the other side is gone.
    pub bytes: Vec<u8>,
    /// Its descriptors, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

/// A connected pair; neither end survives an exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one packet. `WouldBlock` when the other side is too far behind and `flags` says not to wait.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>], flags: SendFlags) -> io::Result<()> {
    if bytes.len() > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the request is too long"));
    }
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags | SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one packet, waiting for it.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Packet> {
    let mut bytes = vec![0; MAX_BYTES];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet was cut off"));
    }
    bytes.truncate(received.bytes);
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    Ok(Packet { bytes, descriptors })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{fs::File, io::Write, os::fd::AsFd};

    #[test]
    fn a_packet_keeps_its_bytes_and_descriptors() {
        let (one, other) = pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send(one.as_fd(), b"hello", &[writer.as_fd()], SendFlags::empty()).unwrap();
        drop(writer);
        let mut packet = receive(other.as_fd()).unwrap();
        assert_eq!(packet.bytes, b"hello");
        let mut passed = File::from(packet.descriptors.remove(0));
        passed.write_all(b"through").unwrap();
        drop(passed);
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "through");
    }

    #[test]
    fn a_gone_sender_reads_as_an_empty_packet() {
        let (one, other) = pair().unwrap();
        drop(one);
        let packet = receive(other.as_fd()).unwrap();
        assert!(packet.bytes.is_empty() && packet.descriptors.is_empty());
    }
}
