//! What goes over a connection, counted below HTTP and WebSocket.
//!
//! Empty fragments and control frames never become a message that the rooms could charge for, and
//! a frame that dribbles in costs a system call for each byte. So the bytes that come are held
//! against a rate of their own, with each read counted as a small packet at least. The bytes that
//! go out tell a client that reads slowly from one that does not read at all.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep};

use crate::signalling::{Bucket, Limits, Millis};

/// What the kernel has taken of what was written.
#[derive(Debug, Default)]
pub(super) struct Meter {
    written: AtomicU64,
}

impl Meter {
    /// Waits until nothing was written for as long as this.
    pub(super) async fn stalled(&self, after: Duration) {
        let mut before = self.written.load(Ordering::Relaxed);
        loop {
            sleep(after).await;
            let now = self.written.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            before = now;
        }
    }
}

/// A stream whose reads fail with [`ErrorKind::QuotaExceeded`] once it is over its rate.
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
    bytes: Bucket,
    started: Instant,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, limits: &Limits, meter: Arc<Meter>) -> Self {
        let bytes = Bucket::full(Millis(0), limits.raw_bytes_per_sec(), limits.raw_byte_burst());
        Self { stream, meter, bytes, started: Instant::now() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        let now = Millis(u64::try_from(this.started.elapsed().as_millis()).unwrap_or(u64::MAX));
        if read == 0 || this.bytes.take(now, read.max(Limits::RAW_BYTES_LEAST)) {
            return Poll::Ready(Ok(()));
        }
        buf.set_filled(before);
        Poll::Ready(Err(Error::new(ErrorKind::QuotaExceeded, "more bytes than any frames need")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.meter.written.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs))?;
        this.meter.written.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
