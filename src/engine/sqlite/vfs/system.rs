//! SQLite's VFS for files of the system, made safe for folders that other people may write to.
//!
//! Owns three differences to SQLite's own:
//!
//! - A name is taken as it is: no link in it is resolved. Names lead through an open folder (`/proc/self/fd/N/app.db`), and
//!   SQLite opens the last part of one with `O_NOFOLLOW`.
//! - Only regular files are opened, and no open waits: a FIFO beside a database would keep SQLite waiting for ever. SQLite
//!   has one table of system calls for all of its VFSs, so this holds for every database that the process opens.
//! - A journal may name another file, which SQLite reads and then deletes: only names that SQLite itself gives such files.
//!
//! Remembers for each thread which file was opened first, so that the caller can tell whether it is the one that was meant.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::mem::{MaybeUninit, transmute};
use std::ptr;
use std::sync::OnceLock;

use rusqlite::ffi::{
    self, SQLITE_CANTOPEN, SQLITE_IOERR_ACCESS, SQLITE_IOERR_DELETE, SQLITE_OK, sqlite3_file, sqlite3_filename,
    sqlite3_syscall_ptr, sqlite3_vfs,
};

use super::NotRegistered;
use super::calls::full_pathname;

/// The VFS by which SQLite knows it.
pub const NAME: &CStr = c"strongroom-files";
/// What the names of open folders begin with.
pub const FOLDERS: &str = "/proc/self/fd/";

/// A device, and a file's number on it.
pub type FileId = (u64, u64);

type Open = unsafe extern "C" fn(*mut sqlite3_vfs, sqlite3_filename, *mut sqlite3_file, c_int, *mut c_int) -> c_int;
type Access = unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char, c_int, *mut c_int) -> c_int;
type Delete = unsafe extern "C" fn(*mut sqlite3_vfs, *const c_char, c_int) -> c_int;

/// What SQLite's own VFS does.
struct Own {
    open: Open,
    access: Access,
    delete: Delete,
}

static OWN: OnceLock<Option<Own>> = OnceLock::new();

thread_local! {
    static OPENED: Cell<Option<FileId>> = const { Cell::new(None) };
    static LOOKED_AT: Cell<Option<FileId>> = const { Cell::new(None) };
}

/// Forgets which file this thread opened.
pub fn forget() {
    OPENED.set(None);
    LOOKED_AT.set(None);
}

/// The file that SQLite opened first in this thread since [`forget`]. Where it has the file open already it only looks at
/// what stands there, and uses what it has.
pub fn opened() -> Option<FileId> {
    OPENED.get().or(LOOKED_AT.get())
}

/// Makes the VFS known to SQLite, once for the process.
pub fn register() -> Result<(), NotRegistered> {
    match OWN.get_or_init(make) {
        Some(_) => Ok(()),
        None => Err(NotRegistered),
    }
}

fn make() -> Option<Own> {
    // SAFETY: takes no pointers; may be called at any time, also again.
    if unsafe { ffi::sqlite3_initialize() } != SQLITE_OK {
        return None;
    }
    // SAFETY: the name ends with NUL; what comes back is valid for the life of the process or null.
    let system = unsafe { ffi::sqlite3_vfs_find(c"unix".as_ptr()) };
    if system.is_null() {
        return None;
    }
    // SAFETY: not null, and nobody writes to a registered VFS but SQLite to its list, which `pNext` is of.
    let own = unsafe { &*system };
    let calls = Own { open: own.xOpen?, access: own.xAccess?, delete: own.xDelete? };
    let set = own.xSetSystemCall?;
    // SAFETY: SQLite calls what stands in its table under these names with the arguments that `open` and `stat` of C
    // take, which these functions are declared with; a pointer to a function may be kept as one to another kind.
    unsafe {
        let open: sqlite3_syscall_ptr = Some(transmute::<OpenCall, unsafe extern "C" fn()>(open_regular));
        if set(system, c"open".as_ptr(), open) != SQLITE_OK {
            return None;
        }
        // Where SQLite may have another idea of `stat` than this is, its own stays.
        if cfg!(target_pointer_width = "64") {
            let stat: sqlite3_syscall_ptr = Some(transmute::<StatCall, unsafe extern "C" fn()>(stat_itself));
            if set(system, c"stat".as_ptr(), stat) != SQLITE_OK {
                return None;
            }
        }
    }
    let ours = sqlite3_vfs {
        pNext: ptr::null_mut(),
        zName: NAME.as_ptr(),
        xOpen: Some(open),
        xAccess: Some(access),
        xDelete: Some(delete),
        xFullPathname: Some(full_pathname),
        ..*own
    };
    // SAFETY: SQLite keeps the pointer: it must live as long as the process, and does, for it is leaked.
    (unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 0) } == SQLITE_OK).then_some(calls)
}

fn own() -> Option<&'static Own> {
    OWN.get()?.as_ref()
}

/// May SQLite touch a file of this name? Those in open folders; and elsewhere what SQLite makes for transactions of several
/// databases, whose names stand in journals, which anybody may have written.
///
/// # Safety
/// `name` is null or ends with NUL.
unsafe fn is_meant(name: *const c_char, deleting: bool) -> bool {
    if name.is_null() {
        return true;
    }
    // SAFETY: by the promise above.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    let journal = !deleting && name.ends_with(b"-journal");
    name.starts_with(FOLDERS.as_bytes()) || journal || is_super_journal(name)
}

/// `app.db-mjXXXXXX9XX`
fn is_super_journal(name: &[u8]) -> bool {
    const LENGTH: usize = "-mjXXXXXX9XX".len();
    let Some(end) = name.len().checked_sub(LENGTH).map(|at| &name[at..]) else { return false };
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(byte);
    end.starts_with(b"-mj") && end[3..].iter().all(is_digit) && end[9] == b'9'
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite hands over memory for a file, and a name that is null or ends with NUL. The arguments go on as they
    // came to the method they are meant for, and a file that is not opened has no methods.
    unsafe {
        (*file).pMethods = ptr::null();
        match own() {
            Some(own) if is_meant(name, false) => (own.open)(vfs, name, file, flags, out_flags),
            _ => SQLITE_CANTOPEN,
        }
    }
}

unsafe extern "C" fn access(vfs: *mut sqlite3_vfs, name: *const c_char, flags: c_int, result: *mut c_int) -> c_int {
    // SAFETY: as in `open`.
    unsafe {
        match own() {
            Some(own) if is_meant(name, false) => (own.access)(vfs, name, flags, result),
            _ => SQLITE_IOERR_ACCESS,
        }
    }
}

unsafe extern "C" fn delete(vfs: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: as in `open`.
    unsafe {
        match own() {
            Some(own) if is_meant(name, true) => (own.delete)(vfs, name, sync),
            _ => SQLITE_IOERR_DELETE,
        }
    }
}

type OpenCall = unsafe extern "C" fn(*const c_char, c_int, c_int) -> c_int;
type StatCall = unsafe extern "C" fn(*const c_char, *mut libc::stat) -> c_int;

/// `open`, for regular files: looks before, since opening a device can set it in motion, and after, since what was looked
/// at may have been replaced meanwhile. SQLite opens folders as well, to sync them, and two devices.
unsafe extern "C" fn open_regular(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    const DEVICES: [&CStr; 2] = [c"/dev/null", c"/dev/urandom"];
    // SAFETY: the path ends with NUL.
    let is_device = DEVICES.contains(&unsafe { CStr::from_ptr(path) });
    let mut there = MaybeUninit::<libc::stat>::zeroed();
    let fits = |there: &libc::stat| match there.st_mode & libc::S_IFMT {
        libc::S_IFREG => true,
        libc::S_IFDIR => flags & libc::O_ACCMODE == libc::O_RDONLY || flags & libc::O_TMPFILE == libc::O_TMPFILE,
        libc::S_IFCHR => is_device,
        _ => false,
    };
    // SAFETY: the path ends with NUL, and `there` is a place for the result, which is read only where there is one.
    unsafe {
        if libc::stat(path, there.as_mut_ptr()) == 0 && !fits(there.assume_init_ref()) {
            *libc::__errno_location() = libc::EISDIR;
            return -1;
        }
        let flags = flags | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        let file = libc::open(path, flags, mode as libc::c_uint);
        if file < 0 {
            return file;
        }
        if libc::fstat(file, there.as_mut_ptr()) == 0 && fits(there.assume_init_ref()) {
            note(&OPENED, there.assume_init_ref());
            return file;
        }
        libc::close(file);
        // After which SQLite does not try again, to read only.
        *libc::__errno_location() = libc::EISDIR;
        -1
    }
}

/// `stat`, which in an open folder is about the thing itself and not what it links to.
unsafe extern "C" fn stat_itself(path: *const c_char, result: *mut libc::stat) -> c_int {
    // SAFETY: the path ends with NUL, and there is a place for the result, which is read only where there is one.
    unsafe {
        let inner = CStr::from_ptr(path).to_bytes().strip_prefix(FOLDERS.as_bytes());
        let within = inner.is_some_and(|inner| inner.contains(&b'/'));
        let flags = if within { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
        let failed = libc::fstatat(libc::AT_FDCWD, path, result, flags);
        if failed == 0 {
            note(&LOOKED_AT, &*result);
        }
        failed
    }
}

/// The first counts: SQLite begins with the database, and may look again at what stands there by then.
fn note(first: &'static std::thread::LocalKey<Cell<Option<FileId>>>, there: &libc::stat) {
    if there.st_mode & libc::S_IFMT == libc::S_IFREG && first.get().is_none() {
        first.set(Some((there.st_dev, there.st_ino)));
    }
}
