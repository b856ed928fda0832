//! Was standard output closed when the program began?
//!
//! Rust opens /dev/null in its place before `main`, and what is written there is lost without an error. So the question is
//! asked before that, by what the system calls before any `main`.

use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);

/// Was it?
pub fn is_stdout() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

#[cfg(target_os = "linux")]
extern "C" fn look() {
    CLOSED.store(rustix::io::fcntl_getfd(std::io::stdout()).is_err(), Ordering::Relaxed);
}

/// What is called before `main`.
// SAFETY: the section holds addresses of functions that the system calls with the C convention, and this is one. It calls
// nothing that needs what Rust sets up for `main`.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;
