//! How the process uses memory: what is large goes back to the system the moment it is freed.
//!
//! glibc raises its own threshold for that with every large block it sees freed, and then keeps such blocks in an
//! arena per thread: measured on 800 MB of documents, 250 MB resident instead of 100, and no faster.

/// Above this, a block has pages of its own.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: i32 = 256 << 10;

/// Fixes the threshold. Call it before there are threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub fn bound() {
    // SAFETY: mallopt takes two integers, touches only the allocator's settings, and no other thread runs yet.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
}

/// Other allocators give large blocks back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn bound() {}
