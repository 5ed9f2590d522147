//! The `wasi:http/proxy` world: a fresh instance answers each request.
//!
//! Guests run on the workers of the async runtime that serves the connections and yield at every tick, so that they
//! share it fairly. Whoever serves other things too gives them a runtime of their own.

mod connections;
mod instances;
mod pace;
mod server;
mod timely;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::{Request, Response};
use martello_trust::{Blob, Trusted};
use martello_vocab::{ByteCount, Code, Limits, Name, code};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, WasiHttpView};

use crate::guest::Guest;
use crate::imports::{ImportGrant, ImportGrants};
use crate::log::{BudgetedLog, LogLevel, TracingLog};
use crate::meter::{Abandonment, Breach, Meter, Placement};
use crate::runtime::{Extension, LoadError, Runtime, Shared};
use crate::stage::{StageState, closed_wasi, root_causes, trap_code};
use instances::Instances;
pub use pace::Patience;
use pace::TooSlow;
pub use server::{HttpConfig, serve};

/// The export that makes a component answer HTTP requests, of whatever 0.2 version.
const EXPORT: &str = "wasi:http/incoming-handler";

/// A component that answers HTTP requests. Cloning it is cheap.
pub struct HttpComponent<X: Extension> {
    shared: Arc<Shared<X>>,
    pre: ProxyPre<Guest<X::State>>,
    limits: Limits,
    settings: Arc<BTreeMap<Name, String>>,
    instances: Arc<Instances>,
}

/// Why a request has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum HttpFailure {
    /// The request cannot be handed to a guest.
    #[error("request cannot be handed to the guest: {0}")]
    Unfit(String),
    /// The guest answered with an error of its own.
    #[error("guest answered with {0}")]
    Guest(String),
    /// The guest trapped, ran into a limit, or ended without an answer.
    #[error("guest failed with `{code}`: {detail}")]
    Stopped {
        /// The limit, or the trap.
        code: Code,
        /// For the local log.
        detail: String,
    },
}

impl<X: Extension> Runtime<X> {
    /// Makes an HTTP component. As [`Runtime::load`], but for the world `wasi:http/proxy`.
    ///
    /// # Errors
    /// Why the component is refused.
    pub fn load_http(
        &self,
        component: &Trusted<Blob>,
        limits: &Limits,
        grants: ImportGrants,
    ) -> Result<HttpComponent<X>, LoadError> {
        let grants = grants.with(ImportGrant::Http);
        let world = self.shared.extension.interfaces();
        let pre = self.prepare(component, limits, &grants, world, EXPORT, |_| Ok(()))?;
        Ok(HttpComponent {
            shared: Arc::clone(&self.shared),
            pre: ProxyPre::new(pre).map_err(LoadError::Link)?,
            limits: limits.clone(),
            settings: Arc::default(),
            instances: Arc::new(Instances::new(self.shared.shared_instances)),
        })
    }
}

impl<X: Extension> HttpComponent<X> {
    /// The same component with its settings (`wasi:config`).
    #[must_use]
    pub fn with_settings(mut self, settings: BTreeMap<Name, String>) -> Self {
        self.settings = Arc::new(settings);
        self
    }

    /// The same component, of whose instances one peer may have so many; where nothing is said, half of them.
    #[must_use]
    pub fn with_instances_of_peer(self, most: usize) -> Self {
        self.instances.limit_peer(most);
        self
    }

    /// Answers one request in a fresh instance. Must be called inside a tokio runtime. Dropping the future stops the
    /// guest; once there is a response, the guest goes on until it has written the body or reaches a limit. `held` is
    /// dropped with the guest.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn handle<B>(
        &self,
        request: Request<B>,
        request_bytes: ByteCount,
        state: X::State,
        held: impl Send + 'static,
    ) -> Result<Response<WasiBody>, HttpFailure>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let limits = self.limits.clone();
        // Whoever serves a component looks for its panics here; no patient's file comes this way by itself.
        let sink = Arc::new(TracingLog { trace: "http".to_owned() });
        let log = BudgetedLog::new(sink, limits.log_bytes, LogLevel::Warn);
        let output_bytes = limits.output_bytes;
        let meter = Meter::start(limits, Placement::SharedWorker, Arc::new(Abandonment::default()));
        let stage = StageState {
            settings: Arc::clone(&self.settings),
            ..StageState::empty(&self.shared.spool_folder)
        };
        let guest = Guest::new(closed_wasi(&log), meter, log, stage, state);
        let mut store = guest.into_store(&self.shared.engine, Placement::SharedWorker);
        let (sender, receiver) = oneshot::channel();
        let request = request.map(|body| limited(body, request_bytes, Error::HttpRequestBodySize(None)));
        let unfit = |error: wasmtime::Error| HttpFailure::Unfit(format!("{error:#}"));
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request).map_err(unfit)?;
        let out = store.data_mut().http().new_response_outparam(sender).map_err(unfit)?;
        let (pre, shared) = (self.pre.clone(), Arc::clone(&self.shared));
        let mut task = StoppedOnDrop(Some(tokio::spawn(async move {
            let _held = held;
            let _running = shared.ticker.running();
            let deadline = store.data().deadline();
            let work = async {
                let proxy = pre.instantiate_async(&mut store).await?;
                proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await
            };
            let ended = tokio::time::timeout_at(deadline.into(), work).await;
            let mut guest = store.into_data();
            let ended = ended.unwrap_or_else(|_| Err(guest.meter.stop(Breach::Deadline).into()));
            guest.usage();
            ended.map_err(|error| {
                let failure = HttpFailure::Stopped {
                    code: trap_code(&error, guest.meter.breach()),
                    detail: root_causes(&error),
                };
                tracing::warn!(%failure, "HTTP guest stopped");
                failure
            })
        })));
        match receiver.await {
            Ok(Ok(response)) => {
                drop(task.release());
                Ok(response.map(|body| limited(body, output_bytes, Error::HttpResponseBodySize(None))))
            }
            Ok(Err(error)) => Err(HttpFailure::Guest(format!("{error:?}"))),
            // The sender went down with the guest: the task says why.
            Err(_) => Err(ended(task.release()).await),
        }
    }
}

async fn ended(task: Option<JoinHandle<Result<(), HttpFailure>>>) -> HttpFailure {
    let stopped = |code: &'static str, detail: &str| HttpFailure::Stopped {
        code: Code::of(code),
        detail: detail.to_owned(),
    };
    match task {
        None => stopped(code::HOST_FAULT, "the guest's task is gone"),
        Some(task) => match task.await {
            Ok(Err(failure)) => failure,
            Ok(Ok(())) => stopped(code::GUEST_CONTRACT, "the guest ended without an answer"),
            Err(error) => stopped(code::HOST_FAULT, &error.to_string()),
        },
    }
}

impl<X: Extension> Clone for HttpComponent<X> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            pre: self.pre.clone(),
            limits: self.limits.clone(),
            settings: Arc::clone(&self.settings),
            instances: Arc::clone(&self.instances),
        }
    }
}

impl<X: Extension> fmt::Debug for HttpComponent<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpComponent").finish_non_exhaustive()
    }
}

fn limited<B>(body: B, most: ByteCount, error: Error) -> WasiBody
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut over = Some(error);
    Limited::new(body, most.as_usize())
        .map_err(move |error| match over.take() {
            Some(over) if error.is::<LengthLimitError>() => over,
            _ if error.is::<TooSlow>() => Error::ConnectionReadTimeout,
            _ => Error::ConnectionTerminated,
        })
        .boxed_unsync()
}

/// A guest's task that ends with the future that waits for its answer.
struct StoppedOnDrop<T>(Option<JoinHandle<T>>);

impl<T> StoppedOnDrop<T> {
    /// Takes the task out of this guard's hands; its own deadline ends it.
    fn release(&mut self) -> Option<JoinHandle<T>> {
        self.0.take()
    }
}

impl<T> Drop for StoppedOnDrop<T> {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Refuses every outgoing request.
pub(crate) struct NoEgress;

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for NoEgress {
    fn send_request(
        &mut self,
        _request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _body: Io,
    ) -> Box<dyn Future<Output = wasmtime_wasi_http::Result<(Response<WasiBody>, Io)>> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body_util::Full;
    use hyper::body::Frame;

    use super::*;

    /// A body whose sender went away.
    struct Reset;

    impl Body for Reset {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
        }
    }

    fn collected(body: WasiBody) -> Result<Bytes, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(body.collect()).map(http_body_util::Collected::to_bytes)
    }

    #[test]
    fn a_body_that_breaks_off_is_not_one_that_is_too_large() {
        let most = ByteCount(10);
        let over = || Error::HttpRequestBodySize(None);
        assert!(matches!(collected(limited(Reset, most, over())), Err(Error::ConnectionTerminated)));
        let large = Full::new(Bytes::from_static(b"eleven byte"));
        assert!(matches!(collected(limited(large, most, over())), Err(Error::HttpRequestBodySize(_))));
        let fits = Full::new(Bytes::from_static(b"ten bytes!"));
        assert_eq!(collected(limited(fits, most, over())).unwrap(), "ten bytes!");
    }
}
