//! Where synchronous callers meet asynchronous storage.
//!
//! Owns the runtime that network storage runs on: one per process, made on first use and never dropped, so a store may
//! be let go of anywhere. Never touches an object.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static MAKING: Mutex<()> = Mutex::new(());

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this very thread: local files are read and written here, without a hop to another thread.
pub(super) fn here<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Once somebody has asked to stop, a request has so long to come to its end.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a future on the network runtime, and waits for it here. Unlike `block_on` it may be called from within another
/// runtime. `None` when `stopped` says so and the answer does not come soon.
pub(super) fn on_network<F>(future: F, stopped: impl Fn() -> bool) -> Option<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let runtime = RUNTIME.get().expect("BUG: a network store was opened without a runtime");
    let mut request = runtime.spawn(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut stop_at = None;
    loop {
        match Pin::new(&mut request).poll(&mut context) {
            Poll::Ready(Ok(output)) => return Some(output),
            Poll::Ready(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Poll::Ready(Err(error)) => unreachable!("BUG: nobody cancels a request: {error}"),
            Poll::Pending => thread::park_timeout(Duration::from_millis(200)),
        }
        if stopped() && Instant::now() >= *stop_at.get_or_insert_with(|| Instant::now() + GRACE) {
            request.abort();
            return None;
        }
    }
}

/// Makes the network runtime unless it is there. Fails where the system gives no more threads.
pub(super) fn prepare_network() -> io::Result<()> {
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if RUNTIME.get().is_none() {
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("storage").enable_all().build()?;
        RUNTIME.set(runtime).expect("BUG: made under a lock");
    }
    Ok(())
}
