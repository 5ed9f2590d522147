//! Connections: HTTP/1.1 on hyper, bounded in number, in time and in bytes.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use martello_vocab::ByteCount;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wasmtime_wasi_http::WasiBody;

use super::connections::{Answering, Connections, NoPlace, Place, Receiving};
use super::pace::{Pace, Paced, Patience};
use super::timely::{ResponseDeadline, Timely};
use super::{HttpComponent, HttpFailure};
use crate::runtime::Extension;

/// How long accepting waits after the system had no descriptor or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often is looked for a connection that waits, while none has ended.
const LOOK: Duration = Duration::from_millis(20);
/// How long a connection that is closed for another may take to write what hyper holds of its last answer.
const FLUSH: Duration = Duration::from_millis(100);

/// How connections are served.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// How many connections are open at once. One more takes the place of the one that has waited longest for a request;
    /// where answers are made on all of them, it waits.
    pub connections: usize,
    /// How many of them one peer may have: an IPv4 address, or a network of IPv6. Beyond it the peer's own make room, or
    /// the new one is closed. Behind a proxy all clients are one peer.
    pub connections_of_peer: usize,
    /// How long a client may take for the head of a request. A connection that rests is closed after it too.
    pub header_timeout: Duration,
    /// How long a client may go on taking a response after the guest's wall deadline. A connection on which it takes
    /// longer is closed, so that clients that do not read cannot hold all places.
    pub response_grace: Duration,
    /// How slowly a client may send a body and take an answer while an instance is held for it. While other requests wait
    /// for an instance, it is held to a second and 64 KiB a second besides.
    pub patience: Patience,
    /// How long a request may wait for an instance before it is sent away.
    pub instance_wait: Duration,
    /// The largest request body.
    pub request_bytes: ByteCount,
    /// How long open requests may go on after shutdown was asked for.
    pub shutdown: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_of_peer: 64,
            header_timeout: Duration::from_secs(10),
            response_grace: Duration::from_secs(30),
            patience: Patience::USUAL,
            instance_wait: Duration::from_secs(5),
            request_bytes: ByteCount::mebibytes(16),
            shutdown: Duration::from_secs(10),
        }
    }
}

/// Serves connections until `shutdown` completes, then lets open requests end. `state` makes the extension's state
/// for each request.
pub async fn serve<X: Extension>(
    listener: TcpListener,
    component: HttpComponent<X>,
    config: HttpConfig,
    state: impl Fn() -> X::State + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopping) = watch::channel(());
    let places = Connections::new(config.connections, config.connections_of_peer);
    let service = Arc::new(Service { component, config, state });
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    'serving: loop {
        let (stream, peer) = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        while connections.try_join_next().is_some() {}
        let place = loop {
            match places.place(peer.ip()) {
                Ok(place) => break Some(place),
                Err(NoPlace::OfPeer) => {
                    tracing::debug!(%peer, "a peer has as many connections as it may");
                    break None;
                }
                Err(NoPlace::AtAll) => tokio::select! {
                    () = &mut shutdown => break 'serving,
                    () = places.one_ends() => {}
                    // What was at work may wait by now.
                    () = tokio::time::sleep(LOOK) => {}
                },
            }
        };
        let Some(place) = place else { continue };
        let (service, stopping) = (Arc::clone(&service), stopping.clone());
        connections.spawn(async move { service.connection(stream, place, stopping).await });
    }
    drop(listener);
    drop(stop);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(service.config.shutdown, all_ended).await.is_err() {
        tracing::warn!("requests were cut off at shutdown");
    }
}

struct Service<X: Extension, F> {
    component: HttpComponent<X>,
    config: HttpConfig,
    state: F,
}

impl<X: Extension, F: Fn() -> X::State + Send + Sync + 'static> Service<X, F> {
    async fn connection(&self, stream: TcpStream, place: Place, mut stopping: watch::Receiver<()>) {
        // Without it small answers wait for acknowledgements; failing to set it only costs time.
        let _ = stream.set_nodelay(true);
        let deadline = ResponseDeadline::at(self.in_time());
        let stream = Timely::new(stream, deadline.clone(), self.pace());
        let answer = service_fn(|request: Request<Incoming>| {
            let at_work = place.at_work();
            let request = Request::map(request, |body| place.receiving(body));
            let (peer, deadline) = (place.peer(), &deadline);
            async move {
                let answer = self.answer(request, peer, deadline).await;
                Ok::<_, Infallible>(answer.map(|body| Answering { body, _at_work: at_work }))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.config.header_timeout)
            .keep_alive(true)
            .serve_connection(TokioIo::new(stream), answer);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = place.closed() => {
                tracing::debug!("a connection that waited is closed for another");
                // The end of an answer may still be on its way.
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(FLUSH, connection).await {
                    Ok(ended) => ended,
                    Err(_late) => return,
                }
            }
            // The sender never sends; it is dropped at shutdown.
            _ = stopping.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended early");
        }
    }

    /// When a response that begins now must be with its client.
    fn in_time(&self) -> Instant {
        Instant::now() + self.component.limits.wall().saturating_add(self.config.response_grace)
    }

    fn pace(&self) -> Pace {
        Pace::new(self.config.patience, Arc::clone(&self.component.instances))
    }

    async fn answer(
        &self,
        request: Request<Receiving<Incoming>>,
        peer: IpAddr,
        deadline: &ResponseDeadline,
    ) -> Response<WasiBody> {
        deadline.move_to(self.in_time());
        if request.body().size_hint().lower() > self.config.request_bytes.0 {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large\n");
        }
        let instances = &self.component.instances;
        let instance = match instances.try_take(peer) {
            Some(instance) => instance,
            None => match tokio::time::timeout(self.config.instance_wait, instances.take(peer)).await {
                Ok(instance) => instance,
                Err(_elapsed) => {
                    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once\n");
                    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                    return response;
                }
            },
        };
        deadline.move_to(self.in_time());
        let given_up = Arc::new(Notify::new());
        let request = request.map(|body| Paced::new(body, self.pace(), Arc::clone(&given_up)));
        let held = deadline.held(instance);
        let answered = self.component.handle(request, self.config.request_bytes, (self.state)(), held);
        let answered = tokio::select! {
            biased;
            () = given_up.notified() => {
                tracing::debug!(%peer, "a request is given up: its body came too slowly");
                let mut response =
                    plain(StatusCode::REQUEST_TIMEOUT, "the body of the request came too slowly\n");
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                return response;
            }
            answered = answered => answered,
        };
        match answered {
            Ok(response) => response,
            Err(HttpFailure::Unfit(_)) => plain(StatusCode::BAD_REQUEST, "the request is not well formed\n"),
            Err(HttpFailure::Guest(_)) => {
                plain(StatusCode::BAD_GATEWAY, "the component answered with an error\n")
            }
            Err(HttpFailure::Stopped { code, .. }) => {
                plain(StatusCode::INTERNAL_SERVER_ERROR, format!("the component was stopped: {code}\n"))
            }
        }
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<WasiBody> {
    let body = Full::new(text.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
