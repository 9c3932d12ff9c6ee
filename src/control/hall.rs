//! The connections that speak HTTP: who is let in, how many from where, and for how long.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{Id, JoinSet};
use tokio::time::timeout;
use tracing::debug;

use super::http::HttpSettings;
use super::meter::{Meter, Metered};
use super::tls_stream::TlsStream;
use crate::signalling::{Limits, Source};
use crate::worker::Guest;

/// The connections that speak HTTP at the moment.
pub(super) struct Hall {
    /// One task for each of them.
    pub(super) connections: JoinSet<()>,
    source_by_task: HashMap<Id, Source>,
    count_by_source: BTreeMap<Source, usize>,
    limit: usize,
    /// The same for those who come by TLS.
    limit_of_guests: usize,
    limit_per_source: usize,
    header_timeout: Duration,
    limits: Arc<Limits>,
    trusted_proxies: Vec<IpNet>,
}

impl Hall {
    /// `has_own_door`: whether there are listeners of HTTP's own. Places are kept for them, so that
    /// a crowd at a port which is the world's does not hide what operators look at.
    pub(super) fn new(settings: &HttpSettings, has_own_door: bool) -> Self {
        let limit = settings.connections;
        let kept = if has_own_door { (limit / 8).max(1).min(limit.saturating_sub(1)) } else { 0 };
        Self {
            limit_of_guests: limit - kept,
            connections: JoinSet::new(),
            source_by_task: HashMap::new(),
            count_by_source: BTreeMap::new(),
            limit,
            limit_per_source: settings.connections_per_source,
            header_timeout: settings.header_timeout,
            limits: Arc::new(settings.limits.clone()),
            trusted_proxies: settings.trusted_proxies.clone(),
        }
    }

    pub(super) fn admit(&mut self, stream: TcpStream, peer: SocketAddr, router: &Router) {
        let Some(source) = self.place_for(peer, self.limit) else {
            // Best effort, and no waiting: whoever is too many costs one system call.
            let _ = stream.try_write(BUSY);
            return;
        };
        let Ok(local) = stream.local_addr() else { return };
        let visitor = Visitor::new(peer, local);
        self.begin(source, stream, visitor, router, |metered| metered);
    }

    pub(super) fn admit_guest(&mut self, guest: Guest, router: &Router) {
        let Guest { mut stream, mut session, said, client, server } = guest;
        let Some(source) = self.place_for(client, self.limit_of_guests) else {
            let _ = session.sealing(&mut stream).write(BUSY);
            session.finish();
            let _ = session.send(&mut stream);
            return;
        };
        let visitor = Visitor::new(client, server);
        let Ok(stream) = TcpStream::from_std(stream) else { return };
        self.begin(source, stream, visitor, router, |metered| {
            TlsStream::new(metered, session, said)
        });
    }

    /// Who is counted for one more connection; nobody, if it would be one too many.
    fn place_for(&self, peer: SocketAddr, limit: usize) -> Option<Source> {
        let address = peer.ip().to_canonical();
        let source = Source::from(address);
        // Behind our own proxy everybody has its address; their sockets are still counted by who
        // they are.
        let is_proxy = self.trusted_proxies.iter().any(|net| net.contains(&address));
        let held = self.count_by_source.get(&source).copied().unwrap_or(0);
        let over_source = held >= self.limit_per_source && !is_proxy;
        (self.connections.len() < limit && !over_source).then_some(source)
    }

    /// Begins to speak HTTP inside what `inside` makes of the stream.
    fn begin<S>(
        &mut self,
        source: Source,
        stream: TcpStream,
        visitor: Visitor,
        router: &Router,
        inside: impl FnOnce(Metered<TcpStream>) -> S,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // A reader that stalls must fill our queue, where it is counted, and not megabytes of
        // kernel memory first.
        let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES);
        let _ = stream.set_nodelay(true);
        let meter = Arc::new(Meter::default());
        let stream = inside(Metered::new(stream, &self.limits, Arc::clone(&meter)));
        let (router, header_timeout) = (router.clone(), self.header_timeout);
        let task = self.connections.spawn(async move {
            let whole = converse(stream, meter, visitor, router, header_timeout);
            if timeout(CONNECTION_LIFETIME, whole).await.is_err() {
                debug!("an HTTP connection was closed for its age");
            }
        });
        self.source_by_task.insert(task.id(), source);
        *self.count_by_source.entry(source).or_insert(0) += 1;
    }

    pub(super) fn release(&mut self, task: Id) {
        let Some(source) = self.source_by_task.remove(&task) else { return };
        if let Some(count) = self.count_by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.count_by_source.remove(&source);
            }
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visitor {
    pub(super) peer: IpAddr,
    /// The address of ours that was reached.
    pub(super) reached: IpAddr,
}

impl Visitor {
    fn new(peer: SocketAddr, reached: SocketAddr) -> Self {
        Self { peer: peer.ip().to_canonical(), reached: reached.ip() }
    }
}

/// Speaks HTTP/1 over one connection, until it ends or becomes a WebSocket.
async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    meter: Arc<Meter>,
    visitor: Visitor,
    router: Router,
    header_timeout: Duration,
) {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(visitor);
        request.extensions_mut().insert(Arc::clone(&meter));
        TowerToHyperService::new(router.clone()).call(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        debug!(%error, "an HTTP connection ended early");
    }
}

/// What a connection over the limits hears.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\
    Connection: close\r\nContent-Length: 0\r\n\r\n";
/// A connection that is no WebSocket lives no longer, whatever it does.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);
/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// What the kernel may hold of what a client has not read; it doubles the number.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
