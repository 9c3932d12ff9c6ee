//! The HTTP side: the page, `/ice`, `/healthz` and the upgrade to a signalling socket.
//!
//! Bounds are where they cost least. A connection over the limits is turned away before a byte of
//! it is read; a request has seconds to arrive and a connection a minute to live, unless it becomes
//! a WebSocket, which is counted elsewhere. No handler of these reads a body.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use ipnet::IpNet;
use rand::rngs::StdRng;
use serde::Deserialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::access::{self, Access, Caller};
use super::clock::unix_secs;
use super::config::Config;
use super::hall::{Hall, Visitor};
use super::ice::{Grant, IceServer, IceSource, is_user_name};
use super::meter::Meter;
use super::signal_socket::{self, Desk};
use crate::signalling::{IceOffer, Limits, Refused, Rooms, Stats};
use crate::worker::Guest;

/// What [`serve`] needs to know.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// To whom this is open.
    pub access: Access,
    /// Origins of other pages that may call, as `https://app.example`; empty: our own page only.
    pub origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed; empty: none.
    pub trusted_proxies: Vec<IpNet>,
    /// The bounds of the signalling relay.
    pub limits: Limits,
    /// Where `iceServers` come from.
    pub ice: IceSource,
    /// Where they come from as settings change, if they do.
    pub ice_changes: Option<watch::Receiver<IceSource>>,
    /// HTTP connections in all, signalling sockets not among them.
    pub connections: usize,
    /// HTTP connections of one source: an IPv4 address or an IPv6 /64.
    pub connections_per_source: usize,
    /// How long a request's head may take to arrive, and a connection to be idle.
    pub header_timeout: Duration,
    /// Where the relay's counters are kept up to date.
    pub stats: watch::Sender<Stats>,
    /// Routes of others (metrics, administration), which look after their own access and have no
    /// fallback.
    pub extra: Router,
}

impl HttpSettings {
    /// As the operator wants it, for TURN listeners that are up at these addresses.
    #[must_use]
    pub fn from_config(
        config: &Config,
        udp: &[SocketAddr],
        tcp: &[SocketAddr],
        tls: &[SocketAddr],
    ) -> Self {
        let signalling = &config.signalling;
        Self {
            access: Access::from_demo(signalling.demo),
            origins: signalling.origins.clone(),
            trusted_proxies: config.proxies.clone(),
            limits: signalling.limits(),
            ice: IceSource::from_config(config, udp, tcp, tls),
            connections: signalling.http_connections,
            connections_per_source: signalling.http_connections_per_source,
            ..Self::default()
        }
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            access: Access::Local,
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
            ice: IceSource::default(),
            ice_changes: None,
            connections: 4096,
            connections_per_source: 32,
            header_timeout: Duration::from_secs(5),
            stats: watch::Sender::new(Stats::default()),
            extra: Router::new(),
        }
    }
}

/// Where connections come from.
#[derive(Debug, Default)]
pub struct Entrances {
    /// Listeners of HTTP's own.
    pub listeners: Vec<std::net::TcpListener>,
    /// Those who came by a TLS listener and spoke HTTP. They are let in only where everybody is,
    /// and find nothing there but the page, credentials and signalling: a port that is public for
    /// TURN's sake opens nothing that was this machine's only.
    pub guests: Option<mpsc::Receiver<Guest>>,
}

impl From<Vec<std::net::TcpListener>> for Entrances {
    fn from(listeners: Vec<std::net::TcpListener>) -> Self {
        Self { listeners, guests: None }
    }
}

/// Serves who comes by `entrances` until `shutdown` is done, then closes the signalling sockets
/// with the code that says "return", and waits for them for a few seconds.
///
/// # Errors
///
/// Limits that do not hold together, and a listener that cannot be used.
pub async fn serve(
    entrances: impl Into<Entrances>,
    settings: HttpSettings,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    settings.limits.check().map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
    let Entrances { listeners, guests } = entrances.into();
    let mut guests = guests.filter(|_| settings.access == Access::Everybody);
    let (accepted_here, mut accepted) = mpsc::channel(16);
    let has_own_door = !listeners.is_empty();
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        acceptors.spawn(accept(TcpListener::from_std(listener)?, accepted_here.clone()));
    }
    drop(accepted_here);

    let (close, closing) = watch::channel(false);
    let rooms = Rooms::new(settings.limits.clone(), rand::make_rng::<StdRng>());
    let (desk, desk_task) =
        Desk::start(rooms, settings.limits.clone(), closing, settings.stats.clone());
    let mut hall = Hall::new(&settings, has_own_door);
    let routers = Routers::new(settings, desk);

    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some((stream, peer)) = accepted.recv() => hall.admit(stream, peer, &routers.own),
            Some(guest) = next(&mut guests) => hall.admit_guest(guest, &routers.open),
            Some(ended) = hall.connections.join_next_with_id() => {
                hall.release(ended.map_or_else(|error| error.id(), |(id, ())| id));
            }
        }
    }
    drop((acceptors, accepted, guests, routers));
    let _ = close.send(true);
    hall.connections.shutdown().await;
    // The desk ends when the last socket's task has let go of it.
    if timeout(DRAIN, desk_task).await.is_err() {
        debug!("signalling sockets were still open at the end");
    }
    Ok(())
}

async fn next(guests: &mut Option<mpsc::Receiver<Guest>>) -> Option<Guest> {
    match guests {
        Some(guests) => guests.recv().await,
        None => None,
    }
}

/// Accepts for ever. Running out of descriptors is waited out: it is others that must close.
async fn accept(listener: TcpListener, hall: mpsc::Sender<(TcpStream, SocketAddr)>) {
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                if hall.send(accepted).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                warn!(%error, "cannot accept an HTTP connection");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// What the handlers share.
#[derive(Debug)]
struct Site {
    access: Access,
    origins: Vec<String>,
    trusted_proxies: Vec<IpNet>,
    frame_bytes: usize,
    ice: watch::Receiver<IceSource>,
    desk: Desk,
}

/// What can be asked for.
struct Routers {
    /// By listeners of HTTP's own: everything.
    own: Router,
    /// By TLS listeners: what [`Access`] guards, and nothing else.
    open: Router,
}

impl Routers {
    fn new(settings: HttpSettings, desk: Desk) -> Self {
        let site = Arc::new(Site {
            access: settings.access,
            origins: settings.origins,
            trusted_proxies: settings.trusted_proxies,
            frame_bytes: settings.limits.frame_bytes,
            ice: settings.ice_changes.unwrap_or_else(|| watch::channel(settings.ice).1),
            desk,
        });
        let open = Router::new()
            .route("/", get(|| page(HTML, include_str!("page/index.html"))))
            .route("/style.css", get(|| page(CSS, include_str!("page/style.css"))))
            .route("/app.js", get(|| page(JAVASCRIPT, include_str!("page/app.js"))))
            .route("/peer.js", get(|| page(JAVASCRIPT, include_str!("page/peer.js"))))
            .route("/returning.js", get(|| page(JAVASCRIPT, include_str!("page/returning.js"))))
            .route("/signal.js", get(|| page(JAVASCRIPT, include_str!("page/signal.js"))))
            .route("/ice", get(ice))
            .route("/v1/signal", get(signal))
            .route_layer(from_fn_with_state(Arc::clone(&site), guard))
            .with_state(site);
        let own = open.clone().route("/healthz", get(healthz)).merge(settings.extra);
        let whole = |router: Router| {
            let not_found = || refusal(StatusCode::NOT_FOUND, "not-found", "there is no such page");
            router
                .fallback(move || async move { not_found() })
                .layer(map_response(with_security_headers))
        };
        Self { own: whole(own), open: whole(open) }
    }
}

/// Lets in whom [`Access`] lets in.
async fn guard(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
    next: Next,
) -> Response {
    match site.access.check(visitor.peer, request.version(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(why) => refusal(StatusCode::FORBIDDEN, "closed", why),
    }
}

async fn page(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text)
}

async fn healthz() -> impl IntoResponse {
    let body = json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")});
    ([(header::CACHE_CONTROL, "no-store")], Json(body))
}

#[derive(Debug, Deserialize)]
struct IceQuery {
    user: Option<String>,
    ttl: Option<u32>,
}

/// `GET /ice?user=NAME&ttl=SECONDS`
async fn ice(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    query: Result<Query<IceQuery>, QueryRejection>,
) -> Response {
    let caller = match access::caller(&headers, &site.origins) {
        Ok(caller) => caller,
        Err(why) => return refusal(StatusCode::FORBIDDEN, "origin", why),
    };
    let mut response = grant(&site, visitor, &headers, query).await.into_response();
    let answered = response.headers_mut();
    answered.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answered.insert(header::VARY, HeaderValue::from_static("Origin"));
    if let (Caller::Listed, Some(origin)) = (caller, headers.get(header::ORIGIN)) {
        answered.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    response
}

async fn grant(
    site: &Site,
    visitor: Visitor,
    headers: &HeaderMap,
    query: Result<Query<IceQuery>, QueryRejection>,
) -> Result<Json<Grant>, Response> {
    let bad = |why| refusal(StatusCode::BAD_REQUEST, "bad-request", why);
    let ttl_rule = "ttl is a number of seconds from 60 to 86400";
    let Ok(Query(query)) = query else { return Err(bad(ttl_rule)) };
    let source = site.ice.borrow().clone();
    let ttl = source.ttl_secs(query.ttl).ok_or_else(|| bad(ttl_rule))?;
    let user = match query.user {
        Some(name) if !is_user_name(&name) => {
            return Err(bad("user has 1 to 64 characters out of a-z A-Z 0-9 . _ @ -"));
        }
        // Nobody has proven who they are: the name is for the log, the quota is the visitor's own.
        Some(name) => format!("{name}.{}", visitor_name()),
        None => visitor_name(),
    };
    site.desk.visit(site.source(visitor, headers)).await.map_err(turned_away)?;
    let host = source.host(access::header_text(headers, "host"), visitor.reached);
    source.grant(unix_secs(), &host, &user, ttl).map(Json).map_err(|_| {
        let why = "no credentials can be made from static users; configure [auth] secrets";
        refusal(StatusCode::SERVICE_UNAVAILABLE, "no-secret", why)
    })
}

/// `GET /v1/signal`, which becomes a WebSocket.
async fn signal(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Extension(meter): Extension<Arc<Meter>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    if let Err(why) = access::caller(&headers, &site.origins) {
        return refusal(StatusCode::FORBIDDEN, "origin", why);
    }
    let Ok(upgrade) = upgrade else {
        let why = "this is the address of a WebSocket";
        return refusal(StatusCode::BAD_REQUEST, "not-a-websocket", why);
    };
    let offer = site.offer(visitor, &headers);
    match site.desk.open(site.source(visitor, &headers), offer).await {
        Err(refused) => turned_away(refused),
        Ok(seat) => upgrade
            .protocols([SUBPROTOCOL])
            // Frames a little too large are read whole, so that they can be answered with a clean
            // close; larger ones are not read at all.
            .max_message_size(site.frame_bytes * 2)
            .max_frame_size(site.frame_bytes * 2)
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .on_upgrade(move |socket| signal_socket::attend(socket, seat, meter)),
    }
}

impl Site {
    fn source(&self, visitor: Visitor, headers: &HeaderMap) -> IpAddr {
        access::client_address(visitor.peer, headers, &self.trusted_proxies)
    }

    /// What a newcomer's `welcome` carries: the same as `/ice`, or STUN alone if that is all there
    /// can be.
    fn offer(&self, visitor: Visitor, headers: &HeaderMap) -> IceOffer {
        let source = self.ice.borrow().clone();
        let host = source.host(access::header_text(headers, "host"), visitor.reached);
        let ttl = source.ttl_secs(None).unwrap_or(3600);
        let (servers, expires_at): (Vec<IceServer>, _) =
            match source.grant(unix_secs(), &host, &visitor_name(), ttl) {
                Ok(grant) => (grant.ice_servers, Some(grant.expires_at)),
                Err(_) => (source.stun_only(&host), None),
            };
        let servers =
            serde_json::value::to_raw_value(&servers).expect("lists of strings always serialise");
        IceOffer { servers, expires_at }
    }
}

/// A name of its own for each anonymous visitor, so that quotas are counted for each.
fn visitor_name() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    rand::random::<[u8; 8]>().map(|b| char::from(ALPHABET[usize::from(b % 32)])).iter().collect()
}

fn turned_away(refused: Refused) -> Response {
    let (status, why) = match refused {
        Refused::Full => (StatusCode::SERVICE_UNAVAILABLE, "as many are here as there may be"),
        Refused::TooFast => (StatusCode::SERVICE_UNAVAILABLE, "too many come at once"),
        Refused::SourceFull => {
            (StatusCode::TOO_MANY_REQUESTS, "too many sockets from your address")
        }
        Refused::SourceTooFast => {
            (StatusCode::TOO_MANY_REQUESTS, "too many requests from your address")
        }
    };
    let mut response = refusal(status, "busy", why);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Every refusal looks like this.
pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    let headers = [(header::CACHE_CONTROL, "no-store")];
    (status, headers, Json(json!({"error": code, "message": message}))).into_response()
}

async fn with_security_headers(mut response: Response) -> Response {
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// `connect-src 'self'` covers the WebSocket of the same host (CSP level 3).
const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(self), microphone=(self), geolocation=(), payment=(), usb=()",
    ),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
/// The name of the protocol for clients that ask for one.
const SUBPROTOCOL: &str = "hairpin.v1";
/// What a signalling socket reads at once. There may be thousands, mostly idle.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// How long to wait at the end for sockets to say goodbye.
const DRAIN: Duration = Duration::from_secs(3);
