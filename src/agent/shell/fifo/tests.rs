use super::*;
use futures_util::FutureExt;

#[tokio::test]
async fn an_error_that_stays_is_returned_once_and_never_spins() {
    // A socket that is not connected is always ready, and each read of it fails.
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    let reader = ReadEnd::new(socket).unwrap();
    assert_eq!(reader.data().await.unwrap_err().raw_os_error(), Some(libc::ENOTCONN));
    assert!(reader.data().now_or_never().is_none());
}

#[tokio::test]
async fn an_end_is_returned_once_after_all_the_bytes() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let reader = ReadEnd::new(reader).unwrap();
    rustix::io::write(&writer, b"last").unwrap();
    drop(writer);
    assert_eq!(reader.data().await.unwrap().as_deref(), Some(&b"last"[..]));
    assert_eq!(reader.data().await.unwrap(), None);
    assert!(reader.data().now_or_never().is_none());
}

#[test]
fn a_whole_text_is_written_or_the_error_says_that_a_part_was() {
    let (read, write) = rustix::pipe::pipe().unwrap();
    rustix::io::ioctl_fionbio(&write, true).unwrap();
    let room = rustix::pipe::fcntl_getpipe_size(&write).unwrap();
    write_whole(&write, &vec![b'x'; room - 4096]).unwrap();
    // More than is atomic, and more than there is room for.
    let torn = write_whole(&write, &[b'y'; 10_000]).unwrap_err();
    assert_eq!(torn.kind(), io::ErrorKind::WriteZero);
    let refused = write_whole(&write, b"z").unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    let mut all = vec![0; room];
    assert_eq!(rustix::io::read(&read, &mut all).unwrap(), room);
    write_whole(&write, b"z").unwrap();
}
