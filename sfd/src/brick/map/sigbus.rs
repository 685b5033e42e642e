//! What happens when a mapped page cannot be had: it becomes a page of zeros, and its map knows.
//!
//! The kernel reports such a page with SIGBUS: the file was truncated by somebody else, the disk could not be read, or
//! a file system that overcommits is full. By default that ends the process. One handler for the whole process looks for
//! the address among the guarded maps, puts an anonymous page there, notes it, and lets the instruction run again.
//! Whoever uses a map asks its guard afterwards, and takes nothing for true that was read through a lost page. Every
//! other SIGBUS goes to the action that was there before.
//!
//! The list of guarded maps only grows (slots are used again), so that the handler, which must not lock or allocate, can
//! walk it at any moment. Its length is the largest number of maps that there ever were at once.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Once, OnceLock};

use rustix::mm::{MapFlags, ProtFlags};

/// Where one guarded map is. Free slots have `end` 0.
struct Slot {
    taken: AtomicBool,
    start: AtomicUsize,
    end: AtomicUsize,
    /// A page of it was lost.
    is_hit: AtomicBool,
    next: *const Slot,
}

// SAFETY: `next` is written once, before the slot is shared, and points to a slot that is never freed; the rest is atomic.
unsafe impl Sync for Slot {}

static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();
/// Set before the handler is installed; the smallest there is until then.
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);

/// Keeps a map from ending the process, as long as it lives. Drop it before the map.
#[derive(Debug)]
pub(super) struct Guard(&'static Slot);

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("is_hit", &self.is_hit).finish_non_exhaustive()
    }
}

impl Guard {
    /// Guards a map, which must not be empty.
    pub(super) fn new(map: &[u8]) -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(install);
        let slot = free_slot();
        slot.is_hit.store(false, Ordering::Relaxed);
        let start = map.as_ptr().expose_provenance();
        slot.start.store(start, Ordering::Relaxed);
        // From here on the handler may use it.
        slot.end.store(start + map.len(), Ordering::Release);
        Self(slot)
    }

    /// Whether a page of the map was lost since it was mapped: what was read there is zero, what was written is gone.
    pub(super) fn is_hit(&self) -> bool {
        self.0.is_hit.load(Ordering::Acquire)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.end.store(0, Ordering::Release);
        self.0.taken.store(false, Ordering::Release);
    }
}

fn slots() -> impl Iterator<Item = &'static Slot> {
    // SAFETY: every pointer in the list is to a leaked slot or null.
    let as_ref = |slot: *const Slot| unsafe { slot.as_ref() };
    std::iter::successors(as_ref(SLOTS.load(Ordering::Acquire)), move |slot| as_ref(slot.next))
}

fn free_slot() -> &'static Slot {
    let take = |slot: &&Slot| !slot.taken.swap(true, Ordering::AcqRel);
    if let Some(slot) = slots().find(take) {
        return slot;
    }
    let slot = Box::leak(Box::new(Slot {
        taken: AtomicBool::new(true),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        is_hit: AtomicBool::new(false),
        next: ptr::null(),
    }));
    let mut head = SLOTS.load(Ordering::Acquire);
    loop {
        slot.next = head;
        match SLOTS.compare_exchange_weak(head, slot, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return slot,
            Err(now) => head = now,
        }
    }
}

fn install() {
    // SAFETY: sysconf has no preconditions.
    if let Ok(bytes @ 1..) = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }) {
        PAGE_BYTES.store(bytes, Ordering::Relaxed);
    }
    // SAFETY: both structures are plain data for which zero is valid, and `on_sigbus` has the signature that SA_SIGINFO
    // asks for and does only what a signal handler may. ONSTACK: the thread may be out of stack when another
    // cause of SIGBUS is passed on.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let mut before: libc::sigaction = std::mem::zeroed();
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_sigbus;
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // It can only fail for a signal that cannot be caught or an address that is none.
        if libc::sigaction(libc::SIGBUS, &raw const action, &raw mut before) == 0 {
            let _ = BEFORE.set(before);
        }
    }
}

extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a whole `siginfo_t`; the address is read only where it has one.
    let address = unsafe {
        let is_fault = (*info).si_code > 0;
        if is_fault { Some((*info).si_addr().addr()) } else { None }
    };
    if !address.is_some_and(replace_page) {
        pass_on(signal, info, context, address.is_some());
    }
}

/// Puts a page of zeros at an address of a guarded map. Async-signal-safe: atomics and one system call, which `rustix`
/// makes without `errno`.
fn replace_page(address: usize) -> bool {
    let page_bytes = PAGE_BYTES.load(Ordering::Relaxed);
    let page = address & !(page_bytes - 1);
    let holds = |slot: &&Slot| {
        let end = slot.end.load(Ordering::Acquire);
        let start = slot.start.load(Ordering::Acquire);
        // Twice: between the two it may have become the slot of another map.
        (start..end).contains(&address) && slot.end.load(Ordering::Acquire) == end
    };
    let Some(slot) = slots().find(holds) else { return false };
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the page is in a map whose guard is alive, so it is mapped and nobody else's; whoever reads it through
    // the map sees bytes change, which the users of these maps put up with anyway.
    let mapped = unsafe {
        let at = ptr::with_exposed_provenance_mut(page);
        rustix::mm::mmap_anonymous(at, page_bytes, protection, MapFlags::PRIVATE | MapFlags::FIXED)
    };
    slot.is_hit.store(true, Ordering::Release);
    mapped.is_ok()
}

/// Does what would have been done without this handler.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void, is_fault: bool) {
    let before = BEFORE.get().filter(|b| ![libc::SIG_DFL, libc::SIG_IGN].contains(&b.sa_sigaction));
    let Some(before) = before else {
        // SAFETY: zero is valid, and is the default action. A fault happens again when the handler returns; a
        // signal that somebody sent is sent again.
        unsafe {
            let action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, &raw const action, ptr::null_mut());
            if !is_fault {
                libc::raise(signal);
            }
        }
        return;
    };
    // SAFETY: the flag says which of the two signatures the address has; both are what the kernel would have called.
    unsafe {
        if before.sa_flags & libc::SA_SIGINFO != 0 {
            type Long = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
            std::mem::transmute::<libc::sighandler_t, Long>(before.sa_sigaction)(signal, info, context);
        } else {
            std::mem::transmute::<libc::sighandler_t, extern "C" fn(c_int)>(before.sa_sigaction)(signal);
        }
    }
}
