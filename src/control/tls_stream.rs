//! A TLS connection that a worker has accepted, as the stream that HTTP wants.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::tls::{HEADROOM, Session};

/// The bytes inside TLS.
#[derive(Debug)]
pub(super) struct TlsStream<S> {
    stream: S,
    session: Box<Session>,
    /// What was decrypted and not asked for yet.
    kept: Vec<u8>,
}

impl<S> TlsStream<S> {
    /// Goes on with a session that has `said` this already.
    pub(super) fn new(stream: S, session: Box<Session>, said: Vec<u8>) -> Self {
        Self { stream, session, kept: said }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, session, kept } = self.get_mut();
        let mut stream = Polled { stream, cx };
        while kept.is_empty() {
            // Made for each read: there may be thousands of connections, mostly idle.
            let mut scratch = vec![0; HEADROOM + READ_BYTES];
            match session.receive(&mut stream, &mut scratch) {
                Ok(arrived) if arrived.ended => return Poll::Ready(Ok(())),
                Ok(arrived) => kept.extend_from_slice(&scratch[..arrived.length]),
                Err(error) => {
                    // What is to be said about it, if it can be said at once.
                    let _ = session.send(&mut stream);
                    return ready(Err(error));
                }
            }
        }
        let length = kept.len().min(buffer.remaining());
        buffer.put_slice(&kept[..length]);
        kept.drain(..length);
        if kept.is_empty() {
            *kept = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, session, .. } = self.get_mut();
        ready(session.sealing(&mut Polled { stream, cx }).write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, session, .. } = self.get_mut();
        ready(session.sealing(&mut Polled { stream, cx }).write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, session, .. } = self.get_mut();
        ready(session.send(&mut Polled { stream, cx }))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, session, .. } = self.get_mut();
        session.finish();
        match session.send(&mut Polled { stream: &mut *stream, cx: &mut *cx }) {
            Ok(()) => Pin::new(stream).poll_shutdown(cx),
            Err(error) => ready(Err(error)),
        }
    }
}

/// A stream as one that does not block; whoever it would have blocked is woken.
struct Polled<'a, 'c, S> {
    stream: &'a mut S,
    cx: &'a mut Context<'c>,
}

impl<S: AsyncRead + Unpin> Read for Polled<'_, '_, S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        unready(Pin::new(&mut *self.stream).poll_read(self.cx, &mut buffer))?;
        Ok(buffer.filled().len())
    }
}

impl<S: AsyncWrite + Unpin> Write for Polled<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unready(Pin::new(&mut *self.stream).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        unready(Pin::new(&mut *self.stream).poll_write_vectored(self.cx, parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        unready(Pin::new(&mut *self.stream).poll_flush(self.cx))
    }
}

fn unready<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

fn ready<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

/// Bytes read from the stream at a time.
const READ_BYTES: usize = 8 * 1024;
