//! The calls that SQLite makes: C on one side, `File` and `Scratch` on the other.
//!
//! The unsafe code of the engine. What SQLite promises and every `SAFETY` below relies on (sqlite.org/c3ref/vfs.html and
//! sqlite.org/c3ref/io_methods.html): a file handed to a method is memory of at least `szOsFile` bytes that SQLite
//! gave to our `xOpen` before, that no two threads use at once, and that is not used after `xClose`; names end with
//! NUL; buffers are as long as the length beside them says; places to write results to are valid. No panic leaves a
//! call: it becomes an error of SQLite.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::size_of;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, OnceLock};

use rusqlite::ffi::{
    self, SQLITE_CANTOPEN, SQLITE_FULL, SQLITE_IOCAP_IMMUTABLE, SQLITE_IOERR, SQLITE_IOERR_DELETE_NOENT,
    SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ, SQLITE_NOTFOUND, SQLITE_OK, SQLITE_OPEN_MAIN_DB, SQLITE_OPEN_READONLY,
    SQLITE_OPEN_READWRITE, SQLITE_READONLY, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs,
};

use super::scratch::Scratch;
use super::{File, NotRegistered};

/// What lies in the memory that SQLite sets aside for an open file.
#[repr(C)]
struct Handle {
    /// What SQLite sees of it.
    base: sqlite3_file,
    /// Ours: a `Box<Open>` made by `open` and taken back by `close`.
    open: *mut Open,
}

enum Open {
    Content(Arc<File>),
    Scratch(Scratch),
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// Longer names are not ours.
const MAX_NAME: c_int = 512;

/// Makes the VFS known to SQLite, once for the process. It stays: it holds nothing but pointers to this code.
pub fn register() -> Result<(), NotRegistered> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let registered = REGISTERED.get_or_init(|| {
        // SAFETY: takes no pointers; may be called at any time, also again.
        if unsafe { ffi::sqlite3_initialize() } != SQLITE_OK {
            return false;
        }
        // SAFETY: a null name asks for the default VFS; what comes back is valid for the life of the process or null.
        let system = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        if system.is_null() {
            return false;
        }
        let vfs = Box::new(sqlite3_vfs {
            iVersion: 1,
            szOsFile: size_of::<Handle>() as c_int,
            mxPathname: MAX_NAME,
            pNext: ptr::null_mut(),
            zName: c"strongroom".as_ptr(),
            pAppData: system.cast::<c_void>(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: Some(dl_open),
            xDlError: Some(dl_error),
            xDlSym: Some(dl_sym),
            xDlClose: Some(dl_close),
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(get_last_error),
            xCurrentTimeInt64: None,
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        });
        // SAFETY: SQLite keeps the pointer and links it into its list: it must live as long as the process, and does,
        // for it is leaked. Version 1 says that the fields after xGetLastError are not looked at.
        unsafe { ffi::sqlite3_vfs_register(Box::leak(vfs), 0) == SQLITE_OK }
    });
    if *registered { Ok(()) } else { Err(NotRegistered) }
}

/// Runs what may panic; a panic is an error like any other.
fn guarded(failed: c_int, call: impl FnOnce() -> c_int) -> c_int {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(failed)
}

/// The open file behind SQLite's handle.
///
/// # Safety
/// `file` comes from SQLite, after `open` succeeded on it and before `close`, and no other reference to it is alive.
unsafe fn opened<'f>(file: *mut sqlite3_file) -> &'f mut Open {
    // SAFETY: by the promise above the memory is a Handle that `open` has filled, whose `open` points to a live Box;
    // SQLite uses a file from one thread at a time, and each call makes one reference.
    unsafe { &mut *(*file.cast::<Handle>()).open }
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let handle = file.cast::<Handle>();
    // SAFETY: SQLite hands over szOsFile bytes of memory for us to fill. Without methods it does not call xClose.
    unsafe { (*handle).base.pMethods = ptr::null() };
    guarded(SQLITE_CANTOPEN, || {
        let opened = if flags & SQLITE_OPEN_MAIN_DB != 0 && !name.is_null() {
            // SAFETY: the name is not null and ends with NUL.
            let name = unsafe { CStr::from_ptr(name) };
            let Some(file) = name.to_str().ok().and_then(File::find) else { return SQLITE_CANTOPEN };
            Open::Content(file)
        } else if name.is_null() {
            Open::Scratch(Scratch::default())
        } else {
            // A journal, or a log: there is none, and none is to be made.
            return SQLITE_CANTOPEN;
        };
        if !out_flags.is_null() {
            let flags = match opened {
                Open::Content(_) => flags & !SQLITE_OPEN_READWRITE | SQLITE_OPEN_READONLY,
                Open::Scratch(_) => flags,
            };
            // SAFETY: not null, so SQLite wants the flags there.
            unsafe { *out_flags = flags };
        }
        // SAFETY: the memory is ours to fill, see above; the methods are static.
        unsafe {
            ptr::write(
                handle,
                Handle { base: sqlite3_file { pMethods: &METHODS }, open: Box::into_raw(Box::new(opened)) },
            )
        };
        SQLITE_OK
    })
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let handle = file.cast::<Handle>();
    // SAFETY: SQLite closes a file that `open` has filled, once; the pointer is the one Box::into_raw gave. It is
    // emptied before the Box is taken back.
    let open = unsafe { Box::from_raw(ptr::replace(&raw mut (*handle).open, ptr::null_mut())) };
    guarded(SQLITE_OK, || {
        drop(open);
        SQLITE_OK
    })
}

unsafe extern "C" fn read(file: *mut sqlite3_file, buffer: *mut c_void, length: c_int, offset: sqlite3_int64) -> c_int {
    guarded(SQLITE_IOERR_READ, || {
        let (Ok(length), Ok(offset)) = (usize::try_from(length), u64::try_from(offset)) else {
            return SQLITE_IOERR_READ;
        };
        // SAFETY: the buffer is `length` bytes that nobody else uses during the call. SQLite's memory may be
        // uninitialised: it is given a value before a reference to bytes is made of it.
        let buffer = unsafe {
            ptr::write_bytes(buffer.cast::<u8>(), 0, length);
            std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
        };
        // SAFETY: called by SQLite on an open file.
        let all_there = match unsafe { opened(file) } {
            Open::Content(content) => content.read(offset, buffer),
            Open::Scratch(scratch) => Ok(scratch.read(usize::try_from(offset).unwrap_or(usize::MAX), buffer)),
        };
        match all_there {
            Ok(true) => SQLITE_OK,
            Ok(false) => SQLITE_IOERR_SHORT_READ,
            Err(()) => SQLITE_IOERR_READ,
        }
    })
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    buffer: *const c_void,
    length: c_int,
    offset: sqlite3_int64,
) -> c_int {
    guarded(SQLITE_IOERR, || {
        // SAFETY: called by SQLite on an open file.
        let Open::Scratch(scratch) = (unsafe { opened(file) }) else { return SQLITE_READONLY };
        let (Ok(length), Ok(offset)) = (usize::try_from(length), usize::try_from(offset)) else { return SQLITE_FULL };
        // SAFETY: the buffer is `length` bytes that SQLite wants written: they have a value and do not change.
        let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), length) };
        if scratch.write(offset, bytes).is_ok() { SQLITE_OK } else { SQLITE_FULL }
    })
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    guarded(SQLITE_IOERR, || {
        // SAFETY: called by SQLite on an open file.
        let Open::Scratch(scratch) = (unsafe { opened(file) }) else { return SQLITE_READONLY };
        scratch.truncate(usize::try_from(size).unwrap_or(0));
        SQLITE_OK
    })
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut sqlite3_int64) -> c_int {
    guarded(SQLITE_IOERR, || {
        // SAFETY: called by SQLite on an open file.
        let length = match unsafe { opened(file) } {
            Open::Content(content) => content.length(),
            Open::Scratch(scratch) => scratch.length() as i64,
        };
        // SAFETY: a valid place for the result.
        unsafe { *size = length };
        SQLITE_OK
    })
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    guarded(0, || {
        // SAFETY: called by SQLite on an open file.
        match unsafe { opened(file) } {
            // Nobody changes it: SQLite needs no locks, no journal and no log, not even for databases that have one.
            Open::Content(_) => SQLITE_IOCAP_IMMUTABLE,
            Open::Scratch(_) => 0,
        }
    })
}

unsafe extern "C" fn sync(_: *mut sqlite3_file, _: c_int) -> c_int {
    SQLITE_OK
}

unsafe extern "C" fn lock(_: *mut sqlite3_file, _: c_int) -> c_int {
    SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(_: *mut sqlite3_file, result: *mut c_int) -> c_int {
    // SAFETY: a valid place for the result.
    unsafe { *result = 0 };
    SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut sqlite3_file) -> c_int {
    4096
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, _: *const c_char, _: c_int) -> c_int {
    SQLITE_IOERR_DELETE_NOENT
}

/// No journal and no log lies beside anything.
unsafe extern "C" fn access(_: *mut sqlite3_vfs, _: *const c_char, _: c_int, result: *mut c_int) -> c_int {
    // SAFETY: a valid place for the result.
    unsafe { *result = 0 };
    SQLITE_OK
}

/// Names are whole already.
pub(super) unsafe extern "C" fn full_pathname(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    guarded(SQLITE_CANTOPEN, || {
        if name.is_null() {
            return SQLITE_CANTOPEN;
        }
        // SAFETY: the name is not null and ends with NUL.
        let bytes = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
        if usize::try_from(room).is_ok_and(|room| bytes.len() <= room) {
            // SAFETY: `out` has room for `room` bytes, which is enough; the two do not overlap.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr().cast::<c_char>(), out, bytes.len()) };
            return SQLITE_OK;
        }
        SQLITE_CANTOPEN
    })
}

unsafe extern "C" fn dl_open(_: *mut sqlite3_vfs, _: *const c_char) -> *mut c_void {
    ptr::null_mut()
}

unsafe extern "C" fn dl_error(_: *mut sqlite3_vfs, room: c_int, out: *mut c_char) {
    if room > 0 && !out.is_null() {
        // SAFETY: there is room for at least one byte.
        unsafe { *out = 0 };
    }
}

unsafe extern "C" fn dl_sym(
    _: *mut sqlite3_vfs,
    _: *mut c_void,
    _: *const c_char,
) -> Option<unsafe extern "C" fn(*mut sqlite3_vfs, *mut c_void, *const c_char)> {
    None
}

unsafe extern "C" fn dl_close(_: *mut sqlite3_vfs, _: *mut c_void) {}

/// The system's VFS, which knows the time and where random bytes come from.
///
/// # Safety
/// `vfs` is the one that `register` has made.
unsafe fn system(vfs: *mut sqlite3_vfs) -> *mut sqlite3_vfs {
    // SAFETY: `register` has put the system's VFS there, which lives as long as the process.
    unsafe { (*vfs).pAppData.cast::<sqlite3_vfs>() }
}

unsafe extern "C" fn randomness(vfs: *mut sqlite3_vfs, length: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite calls us with our VFS; the arguments go on as they came to the method they are meant for.
    unsafe {
        let system = system(vfs);
        (*system).xRandomness.map_or(0, |call| call(system, length, out))
    }
}

unsafe extern "C" fn sleep(vfs: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    // SAFETY: as in `randomness`.
    unsafe {
        let system = system(vfs);
        (*system).xSleep.map_or(0, |call| call(system, microseconds))
    }
}

unsafe extern "C" fn current_time(vfs: *mut sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: as in `randomness`.
    unsafe {
        let system = system(vfs);
        (*system).xCurrentTime.map_or(SQLITE_IOERR, |call| call(system, out))
    }
}

unsafe extern "C" fn get_last_error(_: *mut sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}
